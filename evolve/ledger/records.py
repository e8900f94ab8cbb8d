"""What the ledger hands out: plain frozen records, free of SQLAlchemy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from evolve.trial import FailureKind, Json, Role, TrialState, continued


class SearchState(StrEnum):
    """The life of a search. `RUNNING` and `PAUSED` with a dead driver mean: killed, and can be resumed."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do; every other state can be resumed."""
        return self in (SearchState.COMPLETED, SearchState.CANCELLED)


class Request(StrEnum):
    """What another process asks of the driver of a search."""

    CANCEL = "cancel"
    PAUSE = "pause"


class EventKind(StrEnum):
    """What can happen to a search; `EventRecord.data` is described at each."""

    SEARCH_CREATED = "search_created"  # name
    SEARCH_STARTED = "search_started"  # owner, resumed: bool
    SEARCH_PAUSED = "search_paused"  # reason
    SEARCH_UNPAUSED = "search_unpaused"  # reason
    SEARCH_FINISHED = "search_finished"  # state, reason: the driver has let go, for whichever state
    INDIVIDUAL_PROPOSED = "individual_proposed"  # generation, inherited_from or null, continues or null
    TRIAL_STARTED = "trial_started"  # attempt, worker
    EPOCH_REPORTED = "epoch_reported"  # attempt, epoch, epochs, metrics, seconds
    TRIAL_COMPLETED = "trial_completed"  # attempt, seconds, gpu_seconds, differences
    TRIAL_FAILED = "trial_failed"  # attempt, kind, message, retry: bool
    TRIAL_STOPPED = "trial_stopped"  # attempt
    TRIAL_INTERRUPTED = "trial_interrupted"  # attempt
    INDIVIDUAL_EVALUATED = "individual_evaluated"  # state, fitness or null, failure or null, reused_from or null
    NEW_BEST = "new_best"  # fitness, previous or null
    GENERATION_FINISHED = "generation_finished"  # generation, and population statistics
    FINALS_STARTED = "finals_started"  # reason why the search proper ended, trainings: how many finals there are
    NOTICE = "notice"  # message: something that a person should know


@dataclass(frozen=True)
class SearchRecord:
    """A search with its running totals, so that a list of a thousand needs no second query.

    Times are seconds since the epoch, UTC, on the database's clock.
    """

    id: str
    name: str
    state: SearchState
    reason: str
    document: Mapping[str, Json]  # the space, as evolve.space reads it back
    objective: str  # "yolo12" or "package.module:function"
    options: Mapping[str, Json]  # how it was asked to run: workers, gpus_per_trial, inline, ...
    environment: Mapping[str, Json]  # versions, host, hardware
    directory: str  # where its trials keep their files
    data_hash: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    request: Request | None
    owner: str | None  # "host:pid:started@boot" of the driver that holds the lease, if any
    lease_expires: float | None
    evaluated: int  # individuals with a final verdict, reused ones included
    trained: int  # evaluations that really trained to an end
    failed: int
    gpu_seconds: float
    trial_seconds: float
    best_individual: int | None
    best_fitness: float | None
    default_fitness: float | None  # of individual 0; the mean where it was trained with several seeds
    leased: bool = False  # whether the lease held when this was read, on the database's clock
    managed: bool = False  # whether a service drives it
    priority: int = 0  # higher ones get workers first
    allotment: int | None = None  # how many workers a supervisor grants it now
    submitted_by: str | None = None  # id of the key that it was submitted with
    answer: Mapping[str, Json] | None = None  # what it came to in the end; see evolve.verdict


@dataclass(frozen=True)
class IndividualRecord:
    """One hyperparameter set, where it came from, and what became of it.

    Attributes:
        number: Birth order in its search, from 0.
        generation: `number // population`.
        genome: Coordinates in [0, 1], one for each gene, in the space's order.
        params: The active genes' values.
        key: Digest of `params`; equal keys with an equal `inherited_from` are the same training.
        parents: Numbers of the parents, the one that gave most genes first.
        operators: Names of what made it, e.g. `("tournament", "uniform_crossover", "gaussian_mutation")`.
        origins: For each gene, `default`, `sampled`, `inherited:<number>`, `mutated` or `repaired`.
        told: Position in the order in which results reached the search, from 0; None while unknown.
        state: State of its newest evaluation.
        fitness: None until evaluated, and for failures.
        reused_from: The individual whose verdict holds for this one too, as it was the same training.
        inherited_from: The individual whose weights this one starts from; None for the weights of the search.
        role: What it is there for.
        original: The individual whose genes it has, for every role but `SEARCH`.
        seed: Seed of its training; None for that of the search.
        settings: Training settings that differ from those of the search.
        rungs: Best fitness up to each rung that the training passed, by epochs or what a rung is measured in.
        objectives: Values of the space's `objectives`, in their order, each the larger the better.
        seconds: What its training took, all attempts together.
    """

    search_id: str
    number: int
    generation: int
    genome: tuple[float, ...]
    params: Mapping[str, Json]
    key: str
    parents: tuple[int, ...] = ()
    operators: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    told: int | None = None
    state: TrialState = TrialState.PENDING
    fitness: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    failure: FailureKind | None = None
    reused_from: int | None = None
    attempts: int = 0
    inherited_from: int | None = None
    role: Role = Role.SEARCH
    original: int | None = None
    seed: int | None = None
    settings: Mapping[str, Json] = field(default_factory=dict)
    rungs: Mapping[float, float] = field(default_factory=dict)
    objectives: tuple[float, ...] = ()
    seconds: float = 0.0

    @property
    def continues(self) -> int | None:
        """The individual that this one continues; see `evolve.trial.continued`."""
        return continued(self.role, self.original)


@dataclass(frozen=True)
class EvaluationRecord:
    """One attempt to train one individual."""

    search_id: str
    individual: int
    attempt: int
    state: TrialState
    seed: int
    epochs: int  # asked for
    requested: Mapping[str, Json]
    effective: Mapping[str, Json]
    differences: Mapping[str, Json]
    metrics: Mapping[str, float]
    weights: str | None
    notes: tuple[str, ...]
    failure: FailureKind | None
    failure_message: str
    failure_details: str
    worker: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    seconds: float
    gpu_seconds: float
    epochs_trained: int


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of one attempt."""

    individual: int
    attempt: int
    epoch: int
    metrics: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class EventRecord:
    """One line of a search's history; `sequence` counts from 1 without gaps within a search."""

    search_id: str
    sequence: int
    kind: EventKind
    at: float
    individual: int | None = None
    data: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class GenerationSummary:
    """One generation; the figures are None while none of its individuals has a fitness.

    Attributes:
        generation: From 0.
        evaluated: Individuals with a fitness.
        failed: Individuals that failed for good.
        open: Individuals without a verdict yet.
        best: Highest fitness of the generation.
        mean: Mean fitness.
        std: Standard deviation of the fitness over the population.
        best_so_far: Highest fitness up to and with this generation.
        stopped: Individuals whose training was stopped at a rung, or is partial.
    """

    generation: int
    evaluated: int
    failed: int
    open: int
    best: float | None
    mean: float | None
    std: float | None
    best_so_far: float | None
    stopped: int = 0


@dataclass(frozen=True)
class Standing:
    """What a driver learns when it renews its lease.

    Attributes:
        request: What other processes ask of it.
        allotment: How many workers a supervisor grants it; None where nobody rations them.
    """

    request: Request | None
    allotment: int | None


@dataclass(frozen=True)
class LedgerTotals:
    """Sums over every search that is in the ledger; a search that is deleted takes its share with it."""

    searches: Mapping[SearchState, int]  # every state, also those that no search is in
    driven: int  # searches whose lease holds
    evaluated: int
    trained: int
    failed: int
    gpu_seconds: float
    trial_seconds: float
    trials_pending: int  # of driven searches
    trials_running: int
