"""What does the search itself cost for each trial, and what bounds that when thousands of evaluations are known?

    python benchmarks/search_efficiency/cost.py
    python benchmarks/search_efficiency/cost.py --known 100,1000 --asks 20

Thirty genes, some of them categorical, some conditional. For each number of known evaluations a search takes them
over as after a restart, then is asked and told in turns. `ask` is how long a proposal takes: in this very thread,
as an inline run feels it; and with the search thinking ahead, as a free GPU feels it while others train (here a
tenth of a second lies between a verdict and the next question). TPE answers the same questions.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from evolve.codec import Codec
from evolve.search.ahead import Ahead
from evolve.search.base import Outcome, Proposal, SearchAlgorithm
from evolve.search.genetic import GeneticSearch
from evolve.search.making import make_search
from evolve.space import SearchSpace
from evolve.trial import Json

GENES, CONDITIONAL = 30, 4
POPULATION = 20
PAUSE = 0.1
AHEAD = "genetic, ahead"
CONTENDERS = ("genetic", AHEAD, "tpe")


def genes() -> dict[str, Json]:
    """Twenty-four numbers, of which four depend on a choice, and six choices."""
    found: dict[str, Json] = {}
    for place in range(GENES - 6):
        condition: dict[str, Json] = {"when": {"kind0": ["abc"[place % 3]]}} if place < CONDITIONAL else {}
        number: dict[str, Json] = {"type": "float", "low": 1e-4, "high": 1.0, "log": place % 2 == 0, "default": 0.1}
        found[f"x{place}"] = number | condition
    for place in range(6):
        found[f"kind{place}"] = {"type": "categorical", "choices": ["a", "b", "c"], "default": "a"}
    return found


def space(algorithm: str) -> SearchSpace:
    """With the defaults of a search, apart from its size."""
    search: dict[str, Json] = {"algorithm": algorithm, "population": POPULATION, "generations": 1000, "seed": 0}
    document: dict[str, Json] = {"genes": genes(), "train": {"epochs": 100}, "search": search}
    return SearchSpace.from_document(document, "cost")


def judged(proposal: Proposal, chance: np.random.Generator) -> Outcome:
    """A noisy bowl."""
    distance = float(np.mean((np.array(proposal.genome) - 0.7) ** 2))
    return Outcome(proposal, -distance + float(chance.normal(0, 0.01)))


def history(searched: SearchSpace, known: int) -> list[Outcome]:
    """Evaluations that look like a search's: the later, the nearer to the best."""
    codec, chance = Codec(searched), np.random.default_rng(1)
    found = []
    for number in range(known):
        nearness = number / known
        genome = nearness * 0.7 + (1 - nearness) * chance.random(codec.dimensions)
        canonical = codec.canonical(np.clip(genome + chance.normal(0, 0.05, len(genome)), 0, 1).tolist())
        params = codec.decode(canonical)
        proposal = Proposal(number, number // POPULATION, canonical, params, codec.key(params))
        found.append(judged(proposal, chance))
    return found


def timed(search: SearchAlgorithm, asks: int, pause: float) -> tuple[list[float], list[float]]:
    """Seconds of each `ask`, until it has a proposal, and of each `tell`."""
    chance = np.random.default_rng(2)
    asked, told = [], []
    for _ in range(asks):
        begun = time.perf_counter()
        proposals: list[Proposal] = []
        while not proposals:
            proposals = search.ask(1)
        asked.append(time.perf_counter() - begun)
        outcome = judged(proposals[0], chance)
        begun = time.perf_counter()
        search.tell(outcome)
        told.append(time.perf_counter() - begun)
        time.sleep(pause)
    return asked, told


def contend(name: str, known: int, asks: int) -> None:
    """Print a row."""
    searched = space("tpe" if name == "tpe" else "genetic")
    outcomes = history(searched, known)
    search = make_search(searched)
    begun = time.perf_counter()
    search.replay([outcome.proposal for outcome in outcomes], outcomes)
    taken_over = time.perf_counter() - begun
    if name == AHEAD and isinstance(search, GeneticSearch):
        with Ahead(search) as ahead:
            timed(ahead, 3, 1.0)  # the first thoughts are those after a restart
            asked, told = timed(ahead, asks, PAUSE)
    else:
        timed(search, 3, 0.0)
        asked, told = timed(search, asks, 0.0)
    milliseconds: Callable[[float], str] = "{:10.1f}".format
    figures = (np.median(asked), np.quantile(asked, 0.95), max(asked), np.median(told), taken_over)
    print(f"{name:<16}{known:>8}" + "".join(milliseconds(1000 * each) for each in figures), flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--known", default="100,1000,10000")
    parser.add_argument("--asks", type=int, default=50)
    parser.add_argument("--contenders", default=";".join(CONTENDERS), help="separated by semicolons")
    options = parser.parse_args()
    print(f"{'milliseconds':<16}{'known':>8}{'ask, median':>12}{'95 %':>9}{'worst':>9}{'tell':>10}{'takeover':>10}")
    for name in options.contenders.split(";"):
        for known in map(int, options.known.split(",")):
            contend(name, known, options.asks)


if __name__ == "__main__":
    main()
