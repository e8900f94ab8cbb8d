"""What a search has to show for itself, in its row: the best, the default, and the answer in the end."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from sqlalchemy import and_, bindparam, or_, select, update

from evolve.ledger.models import individuals, searches
from evolve.ledger.records import EventKind
from evolve.ledger.writing import RowWriter
from evolve.trial import Json, Role, continued


class Results(RowWriter):
    """The part of `Transaction` that says which individual is best."""

    def begin_finals(self, reason: str, trainings: int) -> None:
        """The search proper is over, for this reason; so many finals are in the ledger with this transaction."""
        self._append(EventKind.FINALS_STARTED, reason=reason, trainings=trainings)

    def answer(self, document: Mapping[str, Json]) -> None:
        """Write down what the search came to; see `evolve.verdict.Answer`."""
        mine = searches.c.id == self._search_id
        self._connection.execute(update(searches).where(mine).values(answer=dict(document)))

    def crown(self, individual: int, fitness: float | None, default_fitness: float | None) -> None:
        """Another individual is the best from now on, as several trainings of its configuration say.

        Args:
            individual: The best one.
            fitness: Mean over the trainings of its configuration.
            default_fitness: The same of the default configuration.
        """
        self._totals.update(best_individual=individual, best_fitness=fitness, default_fitness=default_fitness)

    def _compare(self, individual: int, fitness: float, role: Role, original: int | None) -> None:
        """Take in the fitness of a training that was completed.

        Of several trainings of a configuration the luckiest would be the best; so repeats and finals never are.
        """
        trained = original if role is Role.REPEAT and original is not None else individual
        # most continue nobody, and for those the database need not be asked
        if (trained if role in (Role.SEARCH, Role.FINAL) else self._first(trained)) == 0:
            self._totals["default_fitness"] = self._mean(trained)
        if role in (Role.REPEAT, Role.FINAL):
            return
        previous = self._totals["best_fitness"]
        if previous is None or fitness > previous:
            self._totals.update(best_individual=individual, best_fitness=fitness)
            self._append(EventKind.NEW_BEST, individual, fitness=fitness, previous=previous)

    def _first(self, individual: int) -> int:
        """The number under which it first entered, if it continues another one."""
        query = select(individuals.c.role, individuals.c.original).where(
            individuals.c.search_id == self._search_id, individuals.c.number == bindparam("number")
        )
        while (before := continued(*self._connection.execute(query, {"number": individual}).one())) is not None:
            individual = before
        return individual

    def _mean(self, individual: int) -> float:
        """Mean fitness of a training and its repeats."""
        repeat = and_(individuals.c.role == Role.REPEAT, individuals.c.original == individual)
        query = select(individuals.c.fitness).where(
            individuals.c.search_id == self._search_id,
            individuals.c.fitness.is_not(None),
            or_(individuals.c.number == individual, repeat),
        )
        return fmean(self._connection.scalars(query))
