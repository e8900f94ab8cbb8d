"""Search spaces for tests of the search, on the synthetic objective."""

from __future__ import annotations

from typing import Any

from evolve.space import SearchSpace

OBJECTIVE = "workers.synthetic:SyntheticObjective"
METRIC = "metrics/mAP50-95(B)"


def document(*, genes: dict[str, Any] | None = None, **sections: Any) -> dict[str, Any]:
    """A space of two floats, an integer, a category and a conditional gene; sections are merged in."""
    base: dict[str, Any] = {
        "name": "synthetic",
        "fitness": METRIC,
        "train": {"epochs": 1},
        "genes": genes
        or {
            "x": {"type": "float", "low": 0, "high": 1, "default": 0.2},
            "y": {"type": "float", "low": 1e-5, "high": 1, "log": True, "default": 0.01},
            "n": {"type": "int", "low": 1, "high": 9, "default": 3},
            "kind": {"type": "categorical", "choices": ["a", "b", "c"], "default": "a"},
            "extra": {"type": "float", "low": 0, "high": 1, "default": 0.5, "when": {"kind": ["b", "c"]}},
        },
        # a model that screens costs a tenth of a second a trial; tests of it ask for it
        "search": {"population": 8, "generations": 5, "seed": 3, "screening": 1, "rungs": None},
    }
    for key, value in sections.items():
        base[key] = {**base.get(key, {}), **value} if isinstance(value, dict) else value
    return base


def space(**sections: Any) -> SearchSpace:
    return SearchSpace.from_document(document(**sections), "test")
