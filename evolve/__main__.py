"""`python -m evolve` is the command line."""

from evolve.cli import main

main()
