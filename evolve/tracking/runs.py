"""The MLflow runs of one search, known by a key and found again by tag: writing twice is writing once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from evolve.ledger.records import SearchRecord
from evolve.tracking.names import SEARCH, Key, Kind, Point
from evolve.tracking.store import artifact_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

T = TypeVar("T")

logger = logging.getLogger(__name__)

SEARCH_TAG = "evolve.search"
KIND_TAG = "evolve.kind"
NUMBER_TAG = "evolve.number"
COMPLETE_TAG = "evolve.complete"

# MLflow's limits 1000 entries a call, of which 100 parameters and 100 tags; 6000 characters a parameter.
MAX_METRICS = 800
MAX_LABELS = 100
MAX_VALUE = 6000
_PAGE = 1000
_REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")


@dataclass
class _Known:
    """What is known of a run; a `gone` one was deleted by somebody, whose wish it is."""

    run_id: str
    status: str
    gone: bool = False


class SearchRuns:
    """Creates and writes the runs of one search.

    Opening reads the keys of all runs that exist already, once; after that every write costs the same,
    however long the search has become. Nobody else may write the runs of the same search at the same time.

    Attributes:
        complete: Whether everything up to the observer's cursor was delivered here.

    Args:
        client: Of the store.
        search: Whose runs these are; its name is the experiment's.

    Raises:
        MlflowException: The store cannot be reached. Every method may raise it.
    """

    def __init__(self, client: MlflowClient, search: SearchRecord) -> None:
        self._client = client
        self._search_id = search.id
        self._experiment = _experiment(client, search)
        self._known: dict[Key, _Known] = {}
        self.complete = False
        for run in self._stored():
            self._recognise(run)

    def mark_complete(self) -> None:
        """Remember in the store that nothing before the observer's cursor is missing here."""
        self.write(SEARCH, tags={COMPLETE_TAG: "true"})
        self.complete = True

    def status(self, key: Key) -> str | None:
        """MLflow's status of a run, None if there is no such run."""
        return self._known[key].status if key in self._known else None

    def running(self, kind: Kind) -> list[int]:
        """Numbers of the runs of a kind that have not ended."""
        return [key.number for key, known in self._known.items() if key.kind == kind and known.status == "RUNNING"]

    def ensure(
        self, key: Key, start: float, *, parent: Key | None = None, tags: Mapping[str, str] | None = None
    ) -> None:
        """Make sure that there is a run.

        Args:
            key: Names it.
            start: When it began, in seconds since the epoch.
            parent: The run that it is shown under; exists already.
            tags: What it carries from birth.
        """
        if key in self._known:
            return
        labels = {
            "mlflow.source.name": "evolve",
            SEARCH_TAG: self._search_id,
            KIND_TAG: key.kind,
            NUMBER_TAG: str(key.number),
            **(tags or {}),
        }
        if parent is not None:
            labels["mlflow.parentRunId"] = self._known[parent].run_id
        run = self._client.create_run(
            self._experiment,
            _milliseconds(start),
            {name: value[:MAX_VALUE] for name, value in labels.items()},
            run_name=f"search {self._search_id}" if key == SEARCH else str(key),
        )
        self._known[key] = _Known(run.info.run_id, run.info.status)

    def write(
        self,
        key: Key,
        *,
        params: Mapping[str, str] | None = None,
        points: Sequence[Point] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Add to a run, in as few calls as MLflow's limits allow; nothing at all makes no call."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(p.name, p.value, _milliseconds(p.at), p.step) for p in points]
        values = [Param(name, value[:MAX_VALUE]) for name, value in (params or {}).items()]
        labels = [RunTag(name, value[:MAX_VALUE]) for name, value in (tags or {}).items()]
        batches = zip_longest(
            _chunks(metrics, MAX_METRICS),
            _chunks(values, MAX_LABELS),
            _chunks(labels, MAX_LABELS),
            fillvalue=(),
        )
        for batch in batches:
            self._do(key, partial(self._log, batch))

    def set_status(self, key: Key, status: str, end: float) -> None:
        """End a run at `end` (seconds since the epoch), or open it again with `RUNNING`."""
        known = self._known[key]
        if known.status == status:
            return
        if status == "RUNNING":
            self._do(key, lambda run_id: self._client.update_run(run_id, status))
        else:
            self._do(key, lambda run_id: self._client.set_terminated(run_id, status, _milliseconds(end)))
        known.status = status

    def attach_text(self, key: Key, text: str, name: str) -> None:
        """Store a text as the artifact `name`; replaces an earlier one."""
        self._attach(key, lambda run_id: self._client.log_text(run_id, text, name))

    def attach_file(self, key: Key, path: Path, folder: str) -> None:
        """Store a file in the artifact folder `folder`, if it can be read from here."""
        if path.is_file():
            self._attach(key, lambda run_id: self._client.log_artifact(run_id, str(path), folder))

    def _log(self, batch: tuple[Sequence[Any], ...], run_id: str) -> None:
        metrics, params, tags = batch
        self._client.log_batch(run_id, metrics, params, tags)

    def _attach(self, key: Key, action: Callable[[str], object]) -> None:
        try:
            self._do(key, action)
        except Exception as error:  # artifacts may lie on a storage with errors of its own kind
            # They are extras: metrics must not wait for a storage that is set up wrongly. A server that is
            # away fails the write that follows too, and then all of it is delivered again.
            logger.warning("MLflow: search %s: an artifact was not stored: %s", self._search_id, error)

    def _do(self, key: Key, action: Callable[[str], object]) -> None:
        """Act on a run unless somebody deleted it."""
        from mlflow.exceptions import MlflowException

        known = self._known[key]
        if known.gone:
            return
        try:
            action(known.run_id)
        except MlflowException as error:
            if error.error_code not in _REFUSALS or not self._is_deleted(known.run_id):
                raise
            known.gone = True

    def _is_deleted(self, run_id: str) -> bool:
        """Whether this run was deleted by itself; not so if its whole experiment was."""
        from mlflow.exceptions import MlflowException

        if self._client.get_experiment(self._experiment).lifecycle_stage != "active":
            return False
        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage != "active")
        except MlflowException as error:
            return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")

    def _stored(self) -> Iterator[Run]:
        from mlflow.entities import ViewType

        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                f"tags.{SEARCH_TAG} = '{self._search_id}'",
                ViewType.ALL,
                _PAGE,
                ["attributes.start_time ASC"],
                token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _recognise(self, run: Run) -> None:
        """Remember a stored run; of two for the same key, made by racing processes, the second is deleted."""
        tags = run.data.tags
        key = Key(cast("Kind", tags[KIND_TAG]), int(tags[NUMBER_TAG]))
        gone = run.info.lifecycle_stage != "active"
        self.complete |= COMPLETE_TAG in tags
        first = self._known.get(key)
        if first is None or first.gone:
            self._known[key] = _Known(run.info.run_id, run.info.status, gone)
        elif not gone:
            self._client.delete_run(run.info.run_id)


def _experiment(client: MlflowClient, search: SearchRecord) -> str:
    """Id of the experiment: a deleted one keeps its name in MLflow, so its successor gets a number."""
    for attempt in count(1):
        name = search.name if attempt == 1 else f"{search.name} ({attempt})"
        found = client.get_experiment_by_name(name)
        if found is None:
            return _create_experiment(client, name, search.id)
        if found.lifecycle_stage == "active":
            return str(found.experiment_id)
    raise AssertionError  # counting has no end


def _create_experiment(client: MlflowClient, name: str, search_id: str) -> str:
    from mlflow.exceptions import MlflowException

    folder = artifact_folder(client.tracking_uri)
    location = None if folder is None else str(folder / search_id)
    try:
        # The kind decides which pages MLflow shows: those for trainings, not those for prompts.
        return str(client.create_experiment(name, location, {"mlflow.experimentKind": "custom_model_development"}))
    except MlflowException as error:
        found = client.get_experiment_by_name(name)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
            raise
        return str(found.experiment_id)  # another search of this name was a moment faster


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
