"""The composition root: puts the parts of a search together. Only here does `evolve` know of `workers`."""

from evolve.compose.driving import drive
from evolve.compose.options import BUILT_IN_OBJECTIVE, RunOptions
from evolve.compose.preparation import Prepared, check_data, check_objective, create_search, prepare, prepare_again

__all__ = [
    "BUILT_IN_OBJECTIVE",
    "Prepared",
    "RunOptions",
    "check_data",
    "check_objective",
    "create_search",
    "drive",
    "prepare",
    "prepare_again",
]
