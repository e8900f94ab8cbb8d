"""What goes to a trial and what comes back: the only module that the search and the workers share.

A trial is one attempt to train one individual. The driver sends a `TrialSpec`; an `Objective` yields an
`EpochReport` after every epoch and returns a `TrialResult`, or raises `TrialFailed` with a `FailureKind`.
Everything here is plain data that survives JSON, so that the ledger can keep it as it was.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from evolve.exceptions import TrialError

Json: TypeAlias = bool | int | float | str | None | list["Json"] | dict[str, "Json"]
"""A value that JSON can hold."""


class FailureKind(StrEnum):
    """Why a trial failed. The kind decides what the runner does (see `evolve.policy`)."""

    OUT_OF_MEMORY = "out_of_memory"
    DIVERGED = "diverged"
    DATA = "data"
    HANG = "hang"
    INFRASTRUCTURE = "infrastructure"
    CODE = "code"


class Role(StrEnum):
    """What an individual is there for.

    A `REPEAT` has the genes of another individual and another seed: how far the two differ is noise. A `PARTIAL`
    one is trained cheaply (smaller pictures, part of the data), which tells whether a whole training would pay. A
    `CONTINUATION` goes on with a training that was stopped, or has a partial one repeated in full. A `FINAL` is
    trained when the search is over.
    """

    SEARCH = "search"
    REPEAT = "repeat"
    PARTIAL = "partial"
    CONTINUATION = "continuation"
    FINAL = "final"


def continued(role: str, original: int | None) -> int | None:
    """The individual whose training one with this role goes on with, or repeats in full after a cheap one."""
    return original if role in (Role.CONTINUATION, Role.PARTIAL) else None


class TrialState(StrEnum):
    """The life of an evaluation: pending -> running -> one of the finished states.

    `INTERRUPTED` is an attempt that was lost through no fault of its own (its driver or worker died, or it was
    stopped with its search); the individual gets a new attempt.
    """

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def is_finished(self) -> bool:
        """Whether this attempt will never report again."""
        return self not in (TrialState.PENDING, TrialState.RUNNING)


@dataclass(frozen=True)
class TrialSpec:
    """All that a worker needs to train one individual.

    Attributes:
        search_id: The search it belongs to.
        individual: The individual's number in birth order, from 0.
        attempt: 1 for the first try, counted up by retries and restarts.
        params: The values of the active genes, decoded (never the unit cube).
        settings: The fixed training settings beside the genes; `epochs` among them.
        model: Model name, e.g. `yolo12n`; empty for objectives that need none.
        weights: `none`, `auto` or a local path.
        data: Path of the data YAML, or empty.
        seed: Seed of the training.
        directory: Folder that belongs to this individual alone, kept between its attempts; checkpoints live here.
        measure: Metrics that the search needs; one that takes time to measure is left out where it is not needed.
        score_test: Whether to score what was trained on the test split as well, if the data have one; the names of
            those metrics begin with `test/`.
    """

    search_id: str
    individual: int
    attempt: int
    params: Mapping[str, Json]
    settings: Mapping[str, Json]
    seed: int
    directory: str
    model: str = ""
    weights: str = "none"
    data: str = ""
    measure: tuple[str, ...] = ()
    score_test: bool = False

    @property
    def trial_id(self) -> str:
        """Unique over all searches, e.g. `3f2a9c1b-12.1`."""
        return f"{self.search_id}-{self.individual}.{self.attempt}"


@dataclass(frozen=True)
class EpochReport:
    """What is known after an epoch.

    Attributes:
        epoch: Epochs finished so far, from 1.
        epochs: Epochs that this trial will train in all.
        metrics: The validator's metrics by their Ultralytics names, e.g. `metrics/mAP50-95(B)`.
        seconds: Wall-clock seconds since the trial began.
    """

    epoch: int
    epochs: int
    metrics: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class TrialResult:
    """What a finished trial leaves.

    Attributes:
        metrics: Metrics of the best checkpoint; the fitness is computed from these.
        effective: The arguments that really took effect, by name.
        differences: For each argument whose effective value differs from the requested one: [requested, effective].
        weights: Path of the best weights on the machine that trained, if there are any.
        epochs: Epochs trained.
        seconds: Wall-clock seconds of the trial.
        gpu_seconds: `seconds` times the share of a GPU that the trial held; the driver fills it in.
        notes: What a person should know, e.g. that pretrained weights could not be had.
    """

    metrics: Mapping[str, float]
    effective: Mapping[str, Json] = field(default_factory=dict)
    differences: Mapping[str, list[Json]] = field(default_factory=dict)
    weights: str | None = None
    epochs: int = 0
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A typed failure.

    Attributes:
        kind: What went wrong, which decides the policy.
        message: One line that says what happened and, where possible, what to do.
        epoch: The epoch in which it happened, if known.
        details: Traceback or last losses, for the curious; never needed to understand `message`.
    """

    kind: FailureKind
    message: str
    epoch: int | None = None
    details: str = ""


class TrialFailed(TrialError):
    """Raised by an objective that knows why it fails."""

    def __init__(self, kind: FailureKind, message: str, *, epoch: int | None = None, details: str = "") -> None:
        super().__init__(message)
        self.failure = Failure(kind, message, epoch, details)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the failure when a worker process sends the exception home."""
        return _rebuild_failed, (self.failure,)


def _rebuild_failed(failure: Failure) -> TrialFailed:
    return TrialFailed(failure.kind, failure.message, epoch=failure.epoch, details=failure.details)


TrialStream: TypeAlias = Generator[EpochReport, None, TrialResult]
"""Yields after every epoch and returns the result; closing it stops the trial and frees what it holds."""


class Objective(Protocol):
    """Trains one individual. It knows nothing of the search."""

    def run(self, spec: TrialSpec) -> TrialStream:
        """Train `spec` and report.

        Raises:
            TrialFailed: with a kind; any other exception counts as `FailureKind.CODE`.
        """
        ...
