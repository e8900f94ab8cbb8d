"""The composition root: puts the parts of a search together. Only here does `evolve` know of `workers`."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from evolve.dispatch import Dispatcher, InlineDispatcher
from evolve.environment import DiskWatch, describe_environment, gpu_names
from evolve.exceptions import DataError, InputError
from evolve.keeper import LeaseKeeper
from evolve.ledger import Ledger, SearchRecord, SearchState
from evolve.observers import Follower, Observer
from evolve.runner import INTERRUPTION, Ending, Interrupted, Runner
from evolve.search.genetic import GeneticSearch
from evolve.settings import Settings
from evolve.signals import Signals
from evolve.space import SearchSpace
from evolve.specs import SpecTemplate
from evolve.trial import Json

if TYPE_CHECKING:
    from evolve.trial import Objective
    from workers.datasets import DatasetReport

log = logging.getLogger(__name__)

BUILT_IN_OBJECTIVE = "yolo12"
GRACE_SECONDS = 30.0
"""How long a finished search waits for those who look on and can be reached; MLflow gets what is left later."""
HURRY_SECONDS = 3.0
"""The same for a search that is interrupted, and for those who cannot be reached."""
WORKER_BYTES = 2e9
"""Memory that a worker is expected to need on a machine without GPUs."""


@dataclass(frozen=True)
class RunOptions:
    """How a search is run; kept with it, so that a resume runs it the same way.

    Attributes:
        objective: `yolo12`, or `package.module:function`.
        inline: Train in the driver's own process.
        workers: Trials at once; by default one for each GPU share, or for each CPU core.
        gpus_per_trial: GPUs, or the share of one, that a trial gets; by default 1 where there is one.
        ray_address: A Ray cluster to join; a local Ray is started otherwise.
        hang_timeout: Seconds without a report after which a trial counts as hung.
    """

    objective: str = BUILT_IN_OBJECTIVE
    inline: bool = False
    workers: int | None = None
    gpus_per_trial: float | None = None
    ray_address: str | None = None
    hang_timeout: float | None = None

    def document(self) -> dict[str, Json]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def of(cls, search: SearchRecord) -> RunOptions:
        """The options that a search was started with."""
        names = {field.name for field in fields(cls)}
        values: dict[str, Any] = {name: value for name, value in search.options.items() if name in names}
        return cls(**values)


@dataclass(frozen=True)
class Prepared:
    """What a search trains on, checked and ready.

    Attributes:
        data: Path of the data YAML for the trials, or empty.
        source: Where the data came from: the user's own YAML.
        data_hash: Content hash of the data, or empty.
        weights: `none`, or a path.
        notes: What a person should know before the training starts.
    """

    data: str = ""
    source: str = ""
    data_hash: str = ""
    weights: str = "none"
    notes: tuple[str, ...] = ()


def check_objective(space: SearchSpace, objective: str) -> None:
    """Check that the objective can be had, and that it understands the space.

    Raises:
        InputError: with the key and what to do.
    """
    from workers.objectives import resolve_objective

    resolve_objective(objective)
    if objective == BUILT_IN_OBJECTIVE:
        from workers.yolo12.arguments import check_arguments

        check_arguments(space)


def check_data(path: Path) -> DatasetReport:
    """Judge a data set; see `workers.datasets.check_dataset`."""
    from workers.datasets import check_dataset

    return check_dataset(path)


def prepare(space: SearchSpace, objective: str, settings: Settings) -> Prepared:
    """Check everything that can be checked before a training starts, and get data and weights ready.

    Raises:
        InputError: with the file, the key, and what to do.
    """
    check_objective(space, objective)
    if objective != BUILT_IN_OBJECTIVE:
        return Prepared(data=space.data, source=space.data)
    from workers.datasets import check_dataset, prepare_view, resolve_data
    from workers.yolo12 import download_dataset, prepare_labels, resolve_weights

    source = resolve_data(space.data, settings.home, download=partial(download_dataset, home=settings.home))
    report = check_dataset(source, settings.home)
    report.raise_for_errors()
    view = prepare_view(report, settings.home)
    prepare_labels(view)
    weights, note = resolve_weights(space.model, space.weights, settings.home)
    notes = (*report.warnings(), *([note] if note else []))
    return Prepared(str(view), str(source.absolute()), report.content_hash, str(weights or "none"), notes)


def create_search(
    ledger: Ledger, space: SearchSpace, options: RunOptions, prepared: Prepared, settings: Settings
) -> SearchRecord:
    """Enter a new search into the ledger, under the name of its space."""
    search_id = secrets.token_hex(4)
    directory = settings.home.absolute() / "searches" / search_id
    directory.mkdir(parents=True)
    return ledger.create_search(
        name=space.name,
        document={**space.document(), "data": prepared.source},
        objective=options.objective,
        options={**options.document(), "weights": prepared.weights, "notes": list(prepared.notes)},
        environment=describe_environment(),
        directory=str(directory),
        data_hash=prepared.data_hash,
        search_id=search_id,
    )


def prepare_again(search: SearchRecord, settings: Settings) -> Prepared:
    """Get a search ready to go on, with the weights that it began with: `auto` may find others by now.

    Raises:
        InputError: where data, weights or objective cannot be had any more.
        DataError: where the data changed; old and new fitness could not be compared.
    """
    space = SearchSpace.from_document(search.document, f"search {search.id}")
    begun_with = str(search.options.get("weights", space.weights))
    prepared = prepare(space.model_copy(update={"weights": begun_with}), search.objective, settings)
    if prepared.data_hash != search.data_hash:
        raise DataError(
            f"{space.data}: the data changed since search {search.id} began (content {search.data_hash[:12]} then,"
            f" {prepared.data_hash[:12]} now); restore it, or start a new search with `evolve run --fresh`"
        )
    return prepared


def drive(
    ledger: Ledger,
    search: SearchRecord,
    prepared: Prepared,
    settings: Settings,
    observers: Sequence[Observer],
) -> Ending:
    """Run a search until it ends or is interrupted.

    Args:
        ledger: Where it is recorded.
        search: A new search, or one to go on with.
        prepared: What it trains on.
        settings: Where things are kept.
        observers: Shown what happens, beside MLflow.

    Raises:
        LeaseHeld: another driver is at work on it.
        LeaseLost: another driver has taken it over.
    """
    space = SearchSpace.from_document(search.document, f"search {search.id}")
    for note in prepared.notes:
        log.warning("note: %s", note)
    with LeaseKeeper(ledger.acquire(search.id)) as keeper, Signals() as signals:
        followers: list[Follower] = []
        ending = INTERRUPTION
        try:
            followers += _follow(ledger, search.id, observers, settings)
            runner = _runner(ledger, keeper, search, space, prepared, settings)
            signals.call(runner.interrupt)
            ending = runner.run()
        except Interrupted:
            keeper.release(ending.state, ending.reason)
        except InputError as error:
            if search.started_at is None:  # a search that cannot begin is not one to resume
                keeper.release(SearchState.CANCELLED, f"never started: {error}")
            raise
        finally:
            _dismiss(followers, HURRY_SECONDS if ending is INTERRUPTION else GRACE_SECONDS)
    return ending


def _follow(ledger: Ledger, search_id: str, observers: Sequence[Observer], settings: Settings) -> list[Follower]:
    """Everyone who looks on: the given observers from the start, MLflow from where it was."""
    from evolve.tracking import MlflowObserver

    mlflow = MlflowObserver(settings.tracking_uri, ledger)
    followers = [Follower(ledger, search_id, observer, durable=False) for observer in observers]
    followers.append(Follower(ledger, search_id, mlflow, locks=settings.home / "locks"))
    return [follower.start() for follower in followers]


def _dismiss(followers: Sequence[Follower], seconds: float) -> None:
    deadline = time.monotonic() + seconds

    def left() -> float:
        return max(0.1, deadline - time.monotonic())

    for follower in followers:
        if not follower.drain(min(left(), HURRY_SECONDS)) and not follower.is_failing:
            follower.drain(left())
        follower.close(left())


def _runner(
    ledger: Ledger,
    keeper: LeaseKeeper,
    search: SearchRecord,
    space: SearchSpace,
    prepared: Prepared,
    settings: Settings,
) -> Runner:
    options = RunOptions.of(search)
    gpus = _gpus_per_trial(options)
    template = SpecTemplate(
        search_id=search.id,
        directory=Path(search.directory),
        settings=space.train,
        model=space.model,
        weights=prepared.weights,
        data=prepared.data,
        seed=space.search.seed,
    )
    return Runner(
        space=space,
        algorithm=GeneticSearch(space),
        dispatcher=make_dispatcher(options, gpus, space.search.population),
        ledger=ledger,
        keeper=keeper,
        template=template,
        gpus_per_trial=gpus,
        shortage=DiskWatch(settings.home, settings.min_free_gb),
    )


def make_dispatcher(options: RunOptions, gpus_per_trial: float, population: int) -> Dispatcher:
    """The dispatcher that the options ask for."""
    from workers.objectives import resolve_objective

    if options.inline:
        objective: Objective = resolve_objective(options.objective)
        return InlineDispatcher(objective)
    from workers.ray_dispatcher import RayDispatcher

    return RayDispatcher(
        options.objective,
        workers=options.workers or default_workers(gpus_per_trial, population),
        gpus_per_trial=gpus_per_trial,
        address=options.ray_address,
        hang_timeout=options.hang_timeout,
    )


def _gpus_per_trial(options: RunOptions) -> float:
    if options.gpus_per_trial is not None:
        return options.gpus_per_trial
    return 1.0 if gpu_names() and options.objective == BUILT_IN_OBJECTIVE else 0.0


def default_workers(gpus_per_trial: float, population: int) -> int:
    """One trial for each GPU share of this machine; without GPUs, one for each core as far as memory reaches.

    Two small trainings on a core each are faster than one after the other on both. More than a generation at
    once would breed nothing.
    """
    if gpus_per_trial > 0:
        return max(1, int(len(gpu_names()) / gpus_per_trial))
    roomy = int(psutil.virtual_memory().available / WORKER_BYTES)
    return max(1, min(os.cpu_count() or 1, roomy, population))
