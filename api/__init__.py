"""The web service: nothing of the search lives here, it is a caller of `evolve` like the command line."""
