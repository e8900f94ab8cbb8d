"""What goes out. Answers are encoded from the ledger's records by the names of these fields."""

from __future__ import annotations

from typing import Any, Literal

from api.schemas.basics import Answer, Health, Page, Problem
from api.schemas.catalogue import CheckedSubmission, CreatedKey, DatasetSummary, KeySummary, SpaceSummary
from api.schemas.individuals import (
    Ancestor,
    Attempt,
    Birth,
    EpochPoint,
    IndividualDetail,
    IndividualSummary,
)
from evolve.ledger import Request, SearchState

__all__ = [
    "Ancestor",
    "Answer",
    "Attempt",
    "BestConfiguration",
    "Birth",
    "CheckedSubmission",
    "ComparedBest",
    "ComparedSearch",
    "Comparison",
    "CreatedKey",
    "DatasetSummary",
    "EpochPoint",
    "GenerationSummary",
    "Health",
    "IndividualDetail",
    "IndividualSummary",
    "KeySummary",
    "Page",
    "Problem",
    "SearchDetail",
    "SearchSummary",
    "SpaceSummary",
]


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
        best_individual: Number of the fittest; after finals, the best training of their winner.
        best_fitness: Its fitness; after finals, the mean over the seeds of its configuration.
        default_fitness: Fitness of the default configuration, the mean where it was trained several times.
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
        document: The search space; its data set by what its submission called it.
        data: What its submission called the data set.
        data_hash: Content of the data set; empty until it is known.
        notes: What a person should know of how it began.
        environment: The machine that it was submitted on.
        answer: What it came to, once it is completed: `text` in words; `source` (finals, repeats or search),
            `winner`, `within_noise`, `noise` of a seed; and of each of the `contenders` its trainings on the
            `validation` and the `test` split (`mean`, `sd`, `n`), and its `gain` and `test_gain` over the default
            (`value`, `margin`).
    """

    individuals: int | None
    document: dict[str, Any]
    data: str
    data_hash: str
    notes: list[str]
    environment: dict[str, Any]
    answer: dict[str, Any] | None


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


class FrontMember(Answer):
    """An individual of a front.

    Attributes:
        number: Its number.
        objectives: Its objectives by the names of the metrics, as they were reported.
        fitness: Its fitness.
        params: The active genes' values.
    """

    number: int
    objectives: dict[str, float]
    fitness: float | None
    params: dict[str, Any]


class Front(Answer):
    """The individuals that no other one beats in all objectives; empty where a search has none.

    Attributes:
        search: The search.
        objectives: Metrics, each to maximise or to minimise.
        evaluated: Individuals that the front was chosen from.
        front: Its members, the best in the first objective first.
        default: The default configuration, once it was evaluated.
    """

    search: str
    objectives: dict[str, Literal["maximise", "minimise"]]
    evaluated: int
    front: list[FrontMember]
    default: FrontMember | None


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
