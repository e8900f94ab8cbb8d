"""Evolve: hyperparameter evolution for YOLO12 object detectors.

    >>> from evolve import load_space, run_search
    >>> search = run_search(load_space("demo.yaml"))
    >>> search.frame().sort_values("fitness").tail()

Everything here is loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evolve.comparison import compare_searches
    from evolve.compose import RunOptions
    from evolve.exceptions import DataError, EvolveError, InputError, SpaceError
    from evolve.searches import Search, resume_search, run_search
    from evolve.space import SearchSpace, load_space
    from evolve.trial import EpochReport, FailureKind, TrialFailed, TrialResult, TrialSpec

_HOMES = {
    "evolve.comparison": ("compare_searches",),
    "evolve.compose": ("RunOptions",),
    "evolve.exceptions": ("DataError", "EvolveError", "InputError", "SpaceError"),
    "evolve.searches": ("Search", "resume_search", "run_search"),
    "evolve.space": ("SearchSpace", "load_space"),
    "evolve.trial": ("EpochReport", "FailureKind", "TrialFailed", "TrialResult", "TrialSpec"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "DataError",
    "EpochReport",
    "EvolveError",
    "FailureKind",
    "InputError",
    "RunOptions",
    "Search",
    "SearchSpace",
    "SpaceError",
    "TrialFailed",
    "TrialResult",
    "TrialSpec",
    "compare_searches",
    "load_space",
    "resume_search",
    "run_search",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'evolve' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
