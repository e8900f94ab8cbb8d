"""How much each gene had to do with the fitness, by fANOVA, and whether the genes tell anything at all.

Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance" (ICML 2014), in
Optuna's implementation, over an in-memory study filled with the individuals of a search: a random forest learns
the fitness from the genes, and a gene's importance is the part of the forest's variance that it alone explains.
A forest fits noise as well, so the fit is judged by individuals that a tree has not seen.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from evolve.ledger.records import IndividualRecord
from evolve.trial import Json, Role

if TYPE_CHECKING:
    from optuna import Study

Genes: TypeAlias = Mapping[str, Mapping[str, Json]]
"""Genes as the document of a search describes them: type, low, high, log, choices, default."""

FEWEST = 20
"""Below this many individuals with a fitness, one lucky value decides the order of the genes."""

_MOST = 300
_TREES = 16
_DEPTH = 12
_JUDGES = 128


@dataclass(frozen=True)
class Importance:
    """What the genes had to do with the fitness.

    Attributes:
        shares: The part of the differences in fitness that each gene explains by itself, the highest first; the
            rest lies in how genes work together. Empty where nothing can be said.
        explained: How much of the differences between individuals the genes predict that a tree has not seen:
            1 for all, 0 for none.
        individuals: With how many it was reckoned.
        problem: Why nothing can be said; empty where something can.
    """

    shares: Mapping[str, float]
    explained: float
    individuals: int
    problem: str = ""

    @property
    def said(self) -> str:
        """What the genes explain, or why nothing can be said of them, in plain sentences."""
        if self.problem:
            return f"Nothing can be said of how much each gene decides: {self.problem}."
        return (
            f"The genes predict {self.explained:.0%} of what differs between individuals that the model has not "
            f"seen (fANOVA over {self.individuals} individuals). A share is what a gene explains by itself; what "
            "is missing to 100 % lies in how genes work together."
        )


def importance(genes: Genes, individuals: Sequence[IndividualRecord]) -> Importance:
    """Judge the genes of a search by its individuals.

    A gene that does not exist under an individual's conditions counts as its default.

    Args:
        genes: The genes of the search.
        individuals: Its individuals; those without a fitness say nothing here, nor do the finals, whose trainings
            are of another length.
    """
    scored = [each for each in individuals if each.fitness is not None and each.role is not Role.FINAL]
    if len(scored) < FEWEST:
        needed = f"{FEWEST} individuals with a fitness are needed, and there are {len(scored)}"
        return Importance({}, 0.0, len(scored), needed)
    if len({each.fitness for each in scored}) == 1:
        return Importance({}, 0.0, len(scored), "all individuals have the same fitness")
    shown = _spread(scored, _MOST)
    explained = _explained(genes, shown)
    if explained <= 0:
        unclear = "the genes predict nothing of the fitness yet: too few individuals, or too much noise"
        return Importance({}, explained, len(shown), unclear)
    return Importance(_shares(genes, shown), explained, len(shown))


def _spread(individuals: Sequence[IndividualRecord], limit: int) -> list[IndividualRecord]:
    """At most `limit`, evenly over the search: a choice by fitness would make its own importance."""
    step = max(1.0, len(individuals) / limit)
    return [individuals[int(index * step)] for index in range(min(limit, len(individuals)))]


def _explained(genes: Genes, individuals: Sequence[IndividualRecord]) -> float:
    from sklearn.ensemble import RandomForestRegressor

    table = [
        [_coordinate(gene, each.params.get(name, gene.get("default"))) for name, gene in genes.items()]
        for each in individuals
    ]
    forest = RandomForestRegressor(_JUDGES, min_samples_leaf=2, oob_score=True, random_state=0)
    forest.fit(table, [each.fitness for each in individuals])
    return float(forest.oob_score_)


def _shares(genes: Genes, individuals: Sequence[IndividualRecord]) -> dict[str, float]:
    from optuna.importance import FanovaImportanceEvaluator

    study = _study(genes, individuals)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the interface may change, of which our tests tell us
        found = FanovaImportanceEvaluator(n_trees=_TREES, max_depth=_DEPTH, seed=0).evaluate(study)
    shares = {name: float(value) for name, value in found.items() if math.isfinite(value)}
    return dict(sorted(shares.items(), key=lambda item: (-item[1], item[0])))


def _study(genes: Genes, individuals: Sequence[IndividualRecord]) -> Study:
    import optuna
    from optuna.trial import create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study otherwise
    distributions = {name: _distribution(gene) for name, gene in genes.items()}
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage(), direction="maximize")
    study.add_trials(
        [
            create_trial(
                value=each.fitness,
                params={
                    name: _value(gene, each.params.get(name, gene.get("default"))) for name, gene in genes.items()
                },
                distributions=distributions,
            )
            for each in individuals
        ]
    )
    return study


def _distribution(gene: Mapping[str, Json]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    log = bool(gene.get("log"))
    match gene.get("type"):
        case "float":
            return FloatDistribution(cast("float", gene["low"]), cast("float", gene["high"]), log=log)
        case "int":
            return IntDistribution(cast("int", gene["low"]), cast("int", gene["high"]), log=log)
        case _:
            return CategoricalDistribution([repr(choice) for choice in _choices(gene)])


def _value(gene: Mapping[str, Json], value: Json) -> Any:
    """A value as the study takes it; choices by their text, as True equals 1 otherwise."""
    return value if gene.get("type") in ("float", "int") else repr(value)


def _coordinate(gene: Mapping[str, Json], value: Json) -> float:
    if gene.get("type") in ("float", "int"):
        number = float(cast("float", value))
        return math.log(number) if gene.get("log") else number
    texts = [repr(choice) for choice in _choices(gene)]
    return float(texts.index(repr(value)))


def _choices(gene: Mapping[str, Json]) -> list[Json]:
    choices = gene.get("choices")
    return choices if isinstance(choices, list) else [False, True]
