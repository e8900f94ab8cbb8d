"""The genetic algorithm inside tools that people have already: Ray Tune and Optuna.

    >>> from evolve.integrations import EvolveSearch   # a search algorithm of ray.tune
    >>> from evolve.integrations import EvolveSampler  # a sampler of optuna

Each is loaded, and the tool with it, on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evolve.integrations.optuna_sampler import EvolveSampler
    from evolve.integrations.ray_tune import EvolveSearch

_MODULES = {
    "EvolveSampler": "evolve.integrations.optuna_sampler",
    "EvolveSearch": "evolve.integrations.ray_tune",
}

__all__ = ["EvolveSampler", "EvolveSearch"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'evolve.integrations' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
