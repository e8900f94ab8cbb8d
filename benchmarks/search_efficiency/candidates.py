"""Our search in the protocol of an offline benchmark of search efficiency.

The benchmark hands over a space of its own kind and asks for configurations; here the very classes that
`evolve run` drives answer. A configuration is trained from rung to rung: after each the search is told how it
stands, as an epoch report would tell it, and decides whether it goes on.

Put this file beside the benchmark's `bench.py`, or its folder on `PYTHONPATH`:
`bench.py run --set sets/public.json --opts evolve --seeds 0-9 --budget 100 --out results.jsonl`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

from evolve.search.base import Decision, Outcome, Proposal
from evolve.search.genetic import GeneticSearch
from evolve.space import SearchSpace
from evolve.trial import Json


class Evolve:
    """One search.

    Args:
        space: The benchmark's space: a list of parameters.
        full: Length of a whole training.
        seed: Of the search.
        budget: Whole trainings that may be spent; not used.
        settings: Of the search, where they differ from the defaults.
    """

    def __init__(self, space: Any, full: int, seed: int, budget: float, **settings: Json) -> None:
        self._full = full
        self._names = {plain(each.name): each.name for each in space}
        document: dict[str, Json] = {
            "genes": {plain(each.name): gene(each) for each in space},
            "train": {"epochs": full},
            "search": {"seed": seed, **settings},
        }
        searched = SearchSpace.from_document(document, "benchmark")
        self._search = GeneticSearch(searched)
        self._stops = [*map(int, searched.rung_levels()), full]
        self._going: deque[int] = deque()  # individuals that may go on at once
        self._proposals: dict[int, Proposal] = {}  # by the individual that is in training
        self._first: dict[int, int] = {}
        self._seen: dict[int, dict[int, float]] = {}

    def ask(self) -> tuple[int, Mapping[str, Json], int]:
        """Which individual to train next, its configuration, and how far; any number may be in training."""
        if not self._going:
            self._begin(self._search.ask(1)[0])
        key = self._going.popleft()
        proposal = self._proposals[key]
        stops = self._stops if self._search.is_judged(proposal.number) else [self._full]
        length = next(stop for stop in stops if stop not in self._seen[key])
        return key, {self._names[name]: value for name, value in proposal.params.items()}, length

    def _begin(self, proposal: Proposal) -> None:
        key = proposal.number if proposal.original is None else self._first[proposal.original]
        self._first[proposal.number] = key
        self._proposals[key] = proposal
        self._seen.setdefault(key, {})
        self._going.append(key)

    def tell(self, key: int, config: Mapping[str, Json], length: int, score: float, seconds: float = 0.0) -> None:
        """What came of it; `seconds` if they are to count."""
        proposal, seen = self._proposals[key], self._seen[key]
        seen[length] = max(score, *seen.values()) if seen else score
        rungs = {float(stop): value for stop, value in seen.items() if stop != self._full}
        if length == self._full:
            self._search.tell(Outcome(proposal, score, rungs=rungs, seconds=seconds))
        elif self._search.report(proposal.number, length, score) is Decision.STOP:
            self._search.tell(Outcome(proposal, None, rungs=rungs, seconds=seconds))
        else:
            self._going.append(key)


def plain(name: str) -> str:
    """A name that a gene may have, and that is no training setting of ours."""
    return "p_" + re.sub(r"\W", "_", name)


def gene(parameter: Any) -> Json:
    """A parameter of the benchmark as a gene; one without a default begins in the middle."""
    conditions: dict[str, Json] = {}
    if parameter.cond:
        conditions = {"when": {plain(parameter.cond[0]): sorted(parameter.cond[1])}}
    default = parameter.decode(0.5) if parameter.default is None else parameter.default
    if parameter.kind == "cat":
        return {"type": "categorical", "choices": list(parameter.choices), "default": default, **conditions}
    kind = {"int": int, "float": float}[parameter.kind]
    bounds: dict[str, Json] = {"low": kind(parameter.lo), "high": kind(parameter.hi), "log": bool(parameter.log)}
    return {"type": parameter.kind, **bounds, "default": kind(default), **conditions}


OPTS = {
    "evolve": Evolve,
    "evolve_rungs": partial(Evolve, rungs={"over": "epochs", "levels": 2, "factor": 3}),
    "evolve_full": partial(Evolve, rungs=None),
    "evolve_unscreened": partial(Evolve, screening=1, rungs=None),
}
"""`evolve` is what `evolve run` does by default, which is with rungs; `evolve_full` trains all to their end, and
`evolve_unscreened` is the plain genetic algorithm."""
