"""Running whole searches in tests, without MLflow and without a terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evolve.dispatch import Dispatcher, InlineDispatcher
from evolve.keeper import LeaseKeeper
from evolve.ledger import Ledger, SearchRecord
from evolve.runner import Ending, Runner
from evolve.search.base import SearchAlgorithm
from evolve.search.genetic import GeneticSearch
from evolve.space import SearchSpace
from evolve.specs import SpecTemplate
from evolve.trial import Objective
from spaces import OBJECTIVE
from workers.synthetic import SyntheticObjective


def create(ledger: Ledger, space: SearchSpace, folder: Path, name: str = "test") -> SearchRecord:
    return ledger.create_search(
        name=name,
        document=space.document(),
        objective=OBJECTIVE,
        options={},
        environment={},
        directory=str(folder / name),
        data_hash="",
    )


def make_runner(
    ledger: Ledger,
    search: SearchRecord,
    keeper: LeaseKeeper,
    *,
    objective: Objective | None = None,
    dispatcher: Dispatcher | None = None,
    algorithm: SearchAlgorithm | None = None,
    shortage: Callable[[], str | None] = lambda: None,
    gpus_per_trial: float = 0.0,
    allotted: bool = False,
) -> Runner:
    space = SearchSpace.from_document(search.document, "test")
    template = SpecTemplate(search.id, Path(search.directory), space.train, "", "none", "", space.search.seed)
    return Runner(
        space=space,
        algorithm=algorithm or GeneticSearch(space),
        dispatcher=dispatcher or InlineDispatcher(objective or SyntheticObjective()),
        ledger=ledger,
        keeper=keeper,
        template=template,
        gpus_per_trial=gpus_per_trial,
        shortage=shortage,
        allotted=allotted,
    )


def run(ledger: Ledger, search: SearchRecord, objective: Objective | None = None) -> Ending:
    with LeaseKeeper(ledger.acquire(search.id), interval=0.05) as keeper:
        return make_runner(ledger, search, keeper, objective=objective).run()


def fingerprint(ledger: Ledger, search_id: str) -> list[tuple[object, ...]]:
    """What a search amounts to: every individual with its genome, parents, origins and fitness, bit by bit."""
    return [
        (each.number, each.genome, dict(each.params), each.parents, dict(each.origins), each.state, each.fitness)
        for each in ledger.individuals(search_id)
    ]
