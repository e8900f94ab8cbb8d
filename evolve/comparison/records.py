"""What a comparison of searches comes to: plain frozen records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from evolve.comparison.course import Axis, Course
from evolve.formatting import finite, gain
from evolve.ledger.records import SearchRecord
from evolve.trial import Json

if TYPE_CHECKING:
    import pandas as pd

    from evolve.comparison.statistics import Contrast

By: TypeAlias = Literal["trainings", "time"]
"""What all searches get as much of when their fitness is compared."""


@dataclass(frozen=True)
class Entry:
    """A search in a comparison.

    Attributes:
        record: What the ledger has of it.
        label: Its name, with its id where others have the same.
        contender: Whose run it is; searches that differ only by their seeds are runs of one contender.
        algorithm: What proposed its individuals.
        seed: Of the search.
        course: How its best rose.
        scores: Fitness of every individual that could be its best, in the order told.
        best: The best configuration; None without one.
    """

    record: SearchRecord
    label: str
    contender: str
    algorithm: str
    seed: int
    course: Course
    scores: tuple[float, ...]
    best: Mapping[str, Json] | None


@dataclass(frozen=True)
class Budget:
    """What every search of a comparison has spent at least, so that all can be judged after as much.

    Attributes:
        trainings: The smallest number of trainings.
        seconds: The smallest sum of trial times.
        clock: Whether `seconds` are of GPU or, where a search has none, of training.
        by: After which of the two contenders are compared.
    """

    trainings: int
    seconds: float
    clock: Literal["gpu_seconds", "seconds"]
    by: By

    @property
    def marks(self) -> tuple[int, int, int]:
        """A quarter, a half and all of the trainings."""
        return math.ceil(self.trainings / 4), math.ceil(self.trainings / 2), self.trainings

    @property
    def axis(self) -> tuple[Axis, float]:
        """On which axis contenders are compared, and after how much."""
        return ("trainings", self.trainings) if self.by == "trainings" else (self.clock, self.seconds)


@dataclass(frozen=True)
class Contender:
    """Runs that differ only by their seeds.

    Attributes:
        label: What tells it from the others.
        results: Best fitness after the budget, by seed; the mean where a seed was run more than once.
        mean: Of the results; None without any.
        spread: Standard deviation of the results; None below two.
    """

    label: str
    results: Mapping[int, float]
    mean: float | None
    spread: float | None


@dataclass(frozen=True)
class Comparison:
    """Searches side by side.

    Attributes:
        entries: The searches, in the order asked for.
        contenders: What they are runs of.
        contrasts: Contenders against each other; empty where no test can honestly be made.
        budget: After how much they are compared.
        metric: Name of the fitness.
        verdicts: What the tests say, or why there are none, a sentence each.
        warnings: Why figures cannot be compared.
        notes: What a reader should know besides.
    """

    entries: Sequence[Entry]
    contenders: Sequence[Contender]
    contrasts: Sequence[Contrast]
    budget: Budget
    metric: str
    verdicts: Sequence[str]
    warnings: Sequence[str]
    notes: Sequence[str]

    @property
    def grouped(self) -> bool:
        """Whether a contender has more than one run."""
        return len(self.contenders) < len(self.entries)

    def frame(self) -> pd.DataFrame:
        """A pandas table with a row for each search."""
        import pandas as pd

        return pd.DataFrame([_row(each, self.budget) for each in self.entries])

    def document(self) -> dict[str, Any]:
        """Everything as JSON values."""
        whole = {
            "metric": self.metric,
            "budget": {**asdict(self.budget), "after_trainings": self.budget.marks},
            "searches": [{**_row(each, self.budget), "best_params": each.best} for each in self.entries],
            "contenders": [asdict(each) for each in self.contenders],
            "contrasts": [{**asdict(each), "shown": each.shown} for each in self.contrasts],
            "verdicts": self.verdicts,
            "warnings": self.warnings,
            "notes": self.notes,
        }
        return {key: finite(value) for key, value in whole.items()}

    def write(self, path: str | Path) -> Path:
        """Write one HTML page that needs nothing else; see `evolve.comparison.page.write_page`."""
        from evolve.comparison.page import write_page

        return write_page(self, Path(path))


def _row(entry: Entry, budget: Budget) -> dict[str, Any]:
    record, course = entry.record, entry.course
    quarter, half, whole = (course.reached("trainings", mark) for mark in budget.marks)
    return {
        "id": record.id,
        "name": record.name,
        "contender": entry.contender,
        "algorithm": entry.algorithm,
        "seed": entry.seed,
        "state": record.state.value,
        "scored": len(entry.scores),
        "trainings": course.trainings,
        "gpu_hours": course.gpu_seconds / 3600,
        "trial_hours": course.seconds / 3600,
        "wall_hours": course.wall / 3600,
        "default_fitness": record.default_fitness,
        "best_fitness": record.best_fitness,
        "gain": gain(record.best_fitness, record.default_fitness),
        "after_quarter": quarter,
        "after_half": half,
        "after_all": whole,
        "after_time": course.reached(budget.clock, budget.seconds),
    }
