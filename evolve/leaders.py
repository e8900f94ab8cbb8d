"""The fittest as a table: what is said of each before its genes, in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from evolve.formatting import MISSING, compact, duration, gain_text, number, role_text
from evolve.ledger.records import IndividualRecord

_HOUR = 3600


def leader_columns(
    leaders: Sequence[IndividualRecord], default: float | None, spent: Mapping[int, float], metric: str
) -> dict[str, list[str]]:
    """Cells by heading; a column about which nothing is known of anybody is left out.

    Args:
        leaders: The fittest.
        default: Fitness of the default configuration.
        spent: Seconds that each took, with the trainings that it continues.
        metric: What the fitness is called.
    """
    told: dict[str, Callable[[IndividualRecord], str]] = {
        "#": lambda each: str(each.number),
        metric: lambda each: number(each.fitness),
        "gain": lambda each: gain_text(each.fitness, default),
    }
    if any(role_text(each) for each in leaders):
        told["role"] = role_text
    if any(spent.get(each.number) for each in leaders):
        told["took"] = lambda each: duration(spent.get(each.number) or None)
        told["per hour"] = lambda each: _rate(each.fitness, spent.get(each.number, 0.0))
    if any(each.inherited_from is not None for each in leaders):
        told["weights of"] = _start
    return {heading: [cell(each) for each in leaders] for heading, cell in told.items()}


def _rate(fitness: float | None, seconds: float) -> str:
    """Fitness for an hour of training, which means something for scores above zero only."""
    return MISSING if fitness is None or fitness <= 0 or not seconds else compact(fitness / seconds * _HOUR)


def _start(individual: IndividualRecord) -> str:
    return MISSING if individual.inherited_from is None else f"#{individual.inherited_from}"
