"""The command line: parse, call, print. What a command does is in the module that it calls.

Heavy imports are inside the commands, so that `evolve --help` answers at once.
"""

from __future__ import annotations

import logging
import sys

import typer

from evolve.cli import compare, detector, inputs, keys, look, remote, run, serve
from evolve.exceptions import EvolveError

app = typer.Typer(
    name="evolve",
    help="Evolve the hyperparameters of YOLO12 detectors. Start with: evolve run --space demo.yaml --data demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
run.register(app)
look.register(app)
compare.register(app)
detector.register(app)
inputs.register(app)
keys.register(app)
serve.register(app)
remote.register(app)


def main() -> None:
    """Entry point of the script `evolve`; turns our errors into one line and an exit code."""
    logging.basicConfig(format="evolve: %(message)s", level=logging.WARNING, handlers=[_StandardError()])
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # every attempt to reach a server that is away
    try:
        app()
    except EvolveError as error:
        print(f"evolve: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        sys.exit(0)


class _StandardError(logging.Handler):
    """Writes to standard error as it is at that moment: the live display puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr)
