"""Individuals, as they go out."""

from __future__ import annotations

from typing import Any

from api.schemas.basics import Answer
from evolve.trial import FailureKind, Role, TrialState


class IndividualSummary(Answer):
    """One hyperparameter set and what became of it.

    Attributes:
        number: Birth order, from 0, which is the default configuration.
        generation: From 0.
        state: State of its newest attempt.
        fitness: Null until evaluated, and for failures.
        failure: Why it failed for good.
        params: The active genes' values.
        metrics: What its training reported; null where that was no number.
        parents: Their numbers, the one that gave most genes first.
        told: Place in the order of verdicts, from 0.
        attempts: How often it was tried.
        reused_from: Whose verdict holds for it too, as it was the same training.
        inherited_from: Whose weights it starts from.
        role: What it is there for: the search itself, or to repeat, continue or finally judge what that found.
        original: Whose genes it has, for every role but `search`.
        seed: Seed of its training; null for that of the search.
    """

    number: int
    generation: int
    state: TrialState
    fitness: float | None
    failure: FailureKind | None
    params: dict[str, Any]
    metrics: dict[str, float | None]
    parents: list[int]
    told: int | None
    attempts: int
    reused_from: int | None
    inherited_from: int | None
    role: Role
    original: int | None
    seed: int | None


class Ancestor(Answer):
    """One of those an individual descends from.

    Attributes:
        number: Its number.
        generation: Its generation.
        parents: Their numbers.
        fitness: Its fitness.
    """

    number: int
    generation: int
    parents: list[int]
    fitness: float | None


class Birth(Answer):
    """Where a gene's value first appeared.

    Attributes:
        individual: The individual.
        origin: How it came about there: default, sampled, mutated, repaired or inherited:<number>.
    """

    individual: int
    origin: str


class Attempt(Answer):
    """One attempt to train an individual.

    Attributes:
        attempt: From 1.
        state: Where it stands.
        seed: Seed of the training.
        epochs: Epochs asked for.
        epochs_trained: Epochs trained.
        requested: Arguments that were asked for.
        effective: Arguments that took effect.
        differences: Where these differ: name to [requested, effective].
        metrics: What it reported in the end.
        notes: What a person should know.
        failure: Why it failed.
        failure_message: The same in one line.
        failure_details: Traceback or last losses.
        worker: Where it trained.
        created_at: When it was submitted to the pool.
        started_at: When it had a worker.
        finished_at: When it ended.
        seconds: How long it trained.
        gpu_seconds: The same times its share of a GPU.
        has_weights: Whether it left weights.
    """

    attempt: int
    state: TrialState
    seed: int
    epochs: int
    epochs_trained: int
    requested: dict[str, Any]
    effective: dict[str, Any]
    differences: dict[str, Any]
    metrics: dict[str, float | None]
    notes: list[str]
    failure: FailureKind | None
    failure_message: str
    failure_details: str
    worker: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    seconds: float
    gpu_seconds: float
    has_weights: bool


class EpochPoint(Answer):
    """One epoch of one attempt.

    Attributes:
        attempt: The attempt.
        epoch: From 1.
        seconds: Since the attempt began.
        metrics: What the validator reported.
    """

    attempt: int
    epoch: int
    seconds: float
    metrics: dict[str, float | None]


class IndividualDetail(IndividualSummary):
    """An individual with everything that is known of it.

    Attributes:
        genes: Names of all genes, in the order of the genome.
        genome: Coordinates in [0, 1], one for each gene.
        operators: What made it.
        origins: How each gene came about.
        births: Where the value of each gene first appeared.
        lineage: Itself and those it descends from, nearest first.
        evaluations: Its attempts.
        epochs: The curve of every attempt.
    """

    genes: list[str]
    genome: list[float]
    operators: list[str]
    origins: dict[str, str]
    births: dict[str, Birth]
    lineage: list[Ancestor]
    evaluations: list[Attempt]
    epochs: list[EpochPoint]
