"""The front of one search: who is in it, and that as a document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evolve.ledger.records import IndividualRecord, SearchRecord
from evolve.objectives import Objectives
from evolve.overview import default_of
from evolve.pareto import compared, front
from evolve.trial import Json


@dataclass(frozen=True)
class Front:
    """What there is to show.

    Attributes:
        search: The search.
        objectives: Its objectives; empty where the fitness alone counts, and then so is the front.
        members: Those that no other one beats, the best in the first objective first.
        default: The default configuration, if it was evaluated.
        evaluated: Individuals that the front was chosen from.
    """

    search: SearchRecord
    objectives: Objectives
    members: Sequence[IndividualRecord]
    default: IndividualRecord | None
    evaluated: int

    @classmethod
    def of(cls, search: SearchRecord, individuals: Iterable[IndividualRecord]) -> Front:
        """The front as it stands."""
        objectives = Objectives.of_document(search.document)
        everyone = list(individuals)
        known = compared(everyone) if objectives else []
        default = default_of(everyone)
        return cls(search, objectives, front(known), default if default in known else None, len(known))

    def document(self) -> dict[str, Json]:
        """As JSON; objectives as they were reported, not as they are compared."""
        members: list[Json] = [self._member(each) for each in self.members]
        return {
            "search": self.search.id,
            "objectives": dict(self.objectives.directions),
            "evaluated": self.evaluated,
            "front": members,
            "default": None if self.default is None else self._member(self.default),
        }

    def _member(self, each: IndividualRecord) -> dict[str, Json]:
        return {
            "number": each.number,
            "objectives": dict(self.objectives.metrics(each.objectives)),
            "fitness": each.fitness,
            "params": dict(each.params),
        }
