"""What goes out. Answers are encoded from the ledger's records by the names of these fields."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from evolve.ledger import Request, SearchState
from evolve.trial import FailureKind, TrialState

_Item = TypeVar("_Item")


class Answer(BaseModel):
    """A document that goes out; it holds these keys and no others."""

    model_config = ConfigDict(extra="forbid")


class Problem(Answer):
    """What is wrong, in one line.

    Attributes:
        detail: Place, rule, value given, what to do.
    """

    detail: str


class Page(Answer, Generic[_Item]):
    """A part of a list.

    Attributes:
        data: The items of this page.
        count: How many there are on all pages.
    """

    data: list[_Item]
    count: int = Field(ge=0)


class SearchSummary(Answer):
    """A search with its running totals. Times are seconds since the epoch, UTC.

    Attributes:
        id: Names it in every path.
        name: What people call it; any text.
        state: Where it stands.
        reason: Why it stands there.
        request: What its driver has been asked for.
        leased: Whether a driver is at work on it.
        managed: Whether the service drives it.
        priority: Searches of a higher one go first.
        allotment: Workers that it may use now.
        submitted_by: Id of the key that it came with.
        objective: What trains.
        created_at: When it was entered.
        started_at: When its first driver began.
        finished_at: When its last driver let go of it.
        evaluated: Individuals with a verdict.
        trained: Trials that trained to their end.
        failed: Trials that failed.
        gpu_seconds: GPU time of all trials.
        trial_seconds: Time of all trials.
        best_individual: Number of the fittest.
        best_fitness: Its fitness.
        default_fitness: Fitness of the default configuration.
    """

    id: str
    name: str
    state: SearchState
    reason: str
    request: Request | None
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


class SearchDetail(SearchSummary):
    """A search with its documents.

    Attributes:
        individuals: How many it trains at most.
        document: The search space.
        data: What its submission called the data set.
        data_hash: Content of the data set; empty until it is known.
        notes: What a person should know of how it began.
        environment: The machine that it was submitted on.
    """

    individuals: int | None
    document: dict[str, Any]
    data: str
    data_hash: str
    notes: list[str]
    environment: dict[str, Any]


class GenerationSummary(Answer):
    """One generation; figures are null while none of its individuals has a fitness.

    Attributes:
        generation: From 0.
        evaluated: Individuals with a fitness.
        failed: Individuals that failed for good.
        open: Individuals without a verdict yet.
        best: Highest fitness.
        mean: Mean fitness.
        std: Standard deviation of the fitness.
        best_so_far: Highest fitness up to and with this generation.
    """

    generation: int
    evaluated: int
    failed: int
    open: int
    best: float | None
    mean: float | None
    std: float | None
    best_so_far: float | None


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


class BestConfiguration(Answer):
    """The fittest individual as a configuration to train with.

    Attributes:
        search_id: The search.
        search_name: What people call it.
        individual: Number of the individual.
        generation: Its generation.
        fitness: Its fitness.
        default_fitness: Fitness of the default configuration.
        gain: How far it lies above that.
        verdict: The same in words.
        arguments: All that training it again needs.
        foreign: Those of them that stock Ultralytics does not know.
        notes: What to know before they are used.
        has_weights: Whether its weights can be downloaded.
    """

    search_id: str
    search_name: str
    individual: int
    generation: int
    fitness: float | None
    default_fitness: float | None
    gain: float | None
    verdict: str
    arguments: dict[str, Any]
    foreign: dict[str, Any]
    notes: list[str]
    has_weights: bool


class ComparedBest(Answer):
    """The fittest individual of a compared search.

    Attributes:
        number: Its number.
        generation: Its generation.
        fitness: Its fitness.
        params: The active genes' values.
    """

    number: int
    generation: int
    fitness: float | None
    params: dict[str, Any]


class ComparedSearch(Answer):
    """One of the searches that are compared.

    Attributes:
        search: The search.
        generations: Its generations.
        best: The fittest individual so far.
        failures: Individuals that failed for good, by kind.
    """

    search: SearchSummary
    generations: list[GenerationSummary]
    best: ComparedBest | None
    failures: dict[str, int]


class Comparison(Answer):
    """Searches side by side.

    Attributes:
        data: The searches, in the order that was asked for.
        count: How many.
        genes: Names of the genes in which the fittest differ.
    """

    data: list[ComparedSearch]
    count: int
    genes: list[str]


class CheckedSubmission(Answer):
    """A submission that could be run.

    Attributes:
        name: What the search would be called.
        individuals: How many it would train at most.
        genes: How many genes there are.
        notes: What to know before it is submitted.
        document: The search space with everything filled in.
    """

    name: str
    individuals: int
    genes: int
    notes: list[str]
    document: dict[str, Any]


class SpaceSummary(Answer):
    """A search space that is shipped.

    Attributes:
        name: What a submission calls it.
        model: The model that it trains.
        genes: How many genes it has.
        population: Individuals of a generation.
        generations: Generations at most.
        individuals: Both multiplied.
    """

    name: str
    model: str
    genes: int
    population: int
    generations: int
    individuals: int


class DatasetSummary(Answer):
    """A data set that submissions may name.

    Attributes:
        id: What they call it.
        built_in: Whether it comes with the product.
        path: Where it is; shown to admins only.
        content_hash: Digest of pictures, labels and names.
        names: Class names.
        images: Pictures of each split.
        boxes: Boxes of each split.
        warnings: What is odd about it.
        registered_by: Id of the key that registered it.
        created_at: When that was.
    """

    id: str
    built_in: bool
    path: str | None
    content_hash: str
    names: list[str]
    images: dict[str, int]
    boxes: dict[str, int]
    warnings: list[str]
    registered_by: str | None
    created_at: float | None


class KeySummary(Answer):
    """An API key; nobody can see the key itself any more.

    Attributes:
        id: Names it.
        name: Who or what it is for.
        scopes: What it may do.
        created_at: When it was made.
        revoked_at: When it was revoked.
        last_used_at: When it was last used, to the minute.
    """

    id: str
    name: str
    scopes: list[str]
    created_at: float
    revoked_at: float | None
    last_used_at: float | None


class CreatedKey(KeySummary):
    """A key that was just made.

    Attributes:
        key: What to send as `Authorization: Bearer <key>`; shown only now.
    """

    key: str


class Health(Answer):
    """Whether the service is well.

    Attributes:
        status: `ok`, or what is wrong.
    """

    status: str
