"""What the client hands out of searches: frozen records with the names of the service's answers.

They leave out what a newer server says beyond that. Times are seconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from evolve.trial import Json


@dataclass(frozen=True)
class Search:
    """A search with its running totals."""

    id: str
    name: str
    state: str
    reason: str
    request: str | None
    leased: bool
    managed: bool
    priority: int
    allotment: int | None
    submitted_by: str | None
    objective: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    evaluated: int
    trained: int
    failed: int
    gpu_seconds: float
    trial_seconds: float
    best_individual: int | None
    best_fitness: float | None
    default_fitness: float | None

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.state in ("completed", "cancelled")

    @property
    def has_ended(self) -> bool:
        """Whether nothing happens to it unless somebody resumes it: it is over, or has failed."""
        return self.is_over or self.state == "failed"


@dataclass(frozen=True)
class SearchDetail(Search):
    """A search with its documents."""

    individuals: int | None
    document: Mapping[str, Json]
    data: str
    data_hash: str
    notes: tuple[str, ...]
    environment: Mapping[str, Json]
    answer: Mapping[str, Json] | None = None


@dataclass(frozen=True)
class Generation:
    """One generation; the figures are None while none of its individuals has a fitness."""

    generation: int
    evaluated: int
    failed: int
    open: int
    best: float | None
    mean: float | None
    std: float | None
    best_so_far: float | None


@dataclass(frozen=True)
class Individual:
    """One hyperparameter set and what became of it."""

    number: int
    generation: int
    state: str
    fitness: float | None
    failure: str | None
    params: Mapping[str, Json]
    metrics: Mapping[str, float | None]
    parents: tuple[int, ...]
    told: int | None
    attempts: int
    reused_from: int | None
    inherited_from: int | None
    role: str = field(default="search", kw_only=True)
    original: int | None = field(default=None, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Ancestor:
    """One of those that an individual descends from."""

    number: int
    generation: int
    parents: tuple[int, ...]
    fitness: float | None


@dataclass(frozen=True)
class Birth:
    """Where a gene's value first appeared, and how."""

    individual: int
    origin: str


@dataclass(frozen=True)
class Attempt:
    """One attempt to train an individual."""

    attempt: int
    state: str
    seed: int
    epochs: int
    epochs_trained: int
    requested: Mapping[str, Json]
    effective: Mapping[str, Json]
    differences: Mapping[str, Json]
    metrics: Mapping[str, float | None]
    notes: tuple[str, ...]
    failure: str | None
    failure_message: str
    failure_details: str
    worker: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    seconds: float
    gpu_seconds: float
    has_weights: bool


@dataclass(frozen=True)
class Epoch:
    """One epoch of one attempt."""

    attempt: int
    epoch: int
    seconds: float
    metrics: Mapping[str, float | None]


@dataclass(frozen=True)
class IndividualDetail(Individual):
    """An individual with everything that is known of it."""

    genes: tuple[str, ...]
    genome: tuple[float, ...]
    operators: tuple[str, ...]
    origins: Mapping[str, str]
    births: Mapping[str, Birth]
    lineage: tuple[Ancestor, ...]
    evaluations: tuple[Attempt, ...]
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True)
class Best:
    """The fittest individual as a configuration to train with."""

    search_id: str
    search_name: str
    individual: int
    generation: int
    fitness: float | None
    default_fitness: float | None
    gain: float | None
    verdict: str
    arguments: Mapping[str, Json]
    foreign: Mapping[str, Json]
    notes: tuple[str, ...]
    has_weights: bool


@dataclass(frozen=True)
class ComparedBest:
    """The fittest individual of a compared search."""

    number: int
    generation: int
    fitness: float | None
    params: Mapping[str, Json]


@dataclass(frozen=True)
class ComparedSearch:
    """One of the searches that are compared."""

    search: Search
    generations: tuple[Generation, ...]
    best: ComparedBest | None
    failures: Mapping[str, int]


@dataclass(frozen=True)
class Comparison:
    """Searches side by side; `genes` are those in which the fittest differ."""

    data: tuple[ComparedSearch, ...]
    count: int
    genes: tuple[str, ...]


@dataclass(frozen=True)
class Event:
    """One line of a search's history; `sequence` counts from 1 without gaps."""

    search_id: str
    sequence: int
    kind: str
    at: float
    individual: int | None = None
    data: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckedSubmission:
    """A submission that could be run."""

    name: str
    individuals: int
    genes: int
    notes: tuple[str, ...]
    document: Mapping[str, Json]
