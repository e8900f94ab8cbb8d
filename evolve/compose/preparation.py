"""Before a search: everything that can be checked is checked, and data and weights are made ready."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from evolve.compose.options import BUILT_IN_OBJECTIVE, RunOptions
from evolve.environment import describe_environment
from evolve.exceptions import DataError
from evolve.ledger import Ledger, SearchRecord
from evolve.models import MODEL, models_of, weights_begun_with
from evolve.settings import Settings
from evolve.space import SearchSpace
from evolve.trial import Json

if TYPE_CHECKING:
    from workers.datasets import DatasetReport


@dataclass(frozen=True)
class Prepared:
    """What a search trains on, checked and ready.

    Attributes:
        data: Path of the data YAML for the trials, or empty.
        source: Where the data came from: the user's own YAML.
        data_hash: Content hash of the data, or empty.
        weights: `none`, or a path; where a gene decides the model, what the space says.
        notes: What a person should know before the training starts.
        weights_of: Where a gene decides the model: `none` or a path for each model.
    """

    data: str = ""
    source: str = ""
    data_hash: str = ""
    weights: str = "none"
    notes: tuple[str, ...] = ()
    weights_of: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Json]:
        """What is kept with the search, so that it can go on alike."""
        kept: dict[str, Json] = {"weights": self.weights, "notes": list(self.notes)}
        return kept | ({"weights_of": dict(self.weights_of)} if self.weights_of else {})


def check_objective(space: SearchSpace, objective: str) -> None:
    """Check that the objective can be had, and that it understands the space.

    Raises:
        InputError: with the key and what to do.
    """
    from workers.objectives import resolve_objective

    resolve_objective(objective)
    if objective == BUILT_IN_OBJECTIVE:
        from workers.yolo12.checks import check_arguments

        check_arguments(space)


def check_data(path: Path) -> DatasetReport:
    """Judge a data set; see `workers.datasets.check_dataset`."""
    from workers.datasets import check_dataset

    return check_dataset(path)


def prepare(
    space: SearchSpace, objective: str, settings: Settings, begun_with: Mapping[str, str] | None = None
) -> Prepared:
    """Check everything that can be checked before a training starts, and get data and weights ready.

    Args:
        space: What is to be searched.
        objective: What trains.
        settings: Where things are kept.
        begun_with: The weights of each model, where a former driver has found them already.

    Raises:
        InputError: with the file, the key, and what to do.
    """
    check_objective(space, objective)
    if objective != BUILT_IN_OBJECTIVE:
        return Prepared(data=space.data, source=space.data)
    data = prepare_data(space.data, settings)
    weights_of, notes = _weights(space, settings, begun_with or {})
    data = replace(data, notes=(*data.notes, *notes))
    if MODEL in space.genes:
        return replace(data, weights=space.weights, weights_of=weights_of)
    return replace(data, weights=weights_of[space.model])


def _weights(
    space: SearchSpace, settings: Settings, begun_with: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """What each model starts from, and what a person should know of it."""
    from workers.yolo12 import resolve_weights

    found: dict[str, str] = {}
    notes: list[str] = []
    for model in models_of(space):
        weights, note = resolve_weights(model, begun_with.get(model, space.weights), settings.home)
        found[model] = str(weights or "none")
        notes += [note] if note else []
    return found, notes


def prepare_data(ref: str, settings: Settings) -> Prepared:
    """Find a data set, check it, and build the view of it that trainers read.

    Args:
        ref: What the user calls it: a data YAML, a folder, `demo`, or a name that Ultralytics can download.
        settings: Where things are kept.

    Raises:
        DataError: if it cannot be had or used.
    """
    from workers.datasets import check_dataset, prepare_view, resolve_data
    from workers.yolo12 import download_dataset, prepare_labels

    source = resolve_data(ref, settings.home, download=partial(download_dataset, home=settings.home))
    report = check_dataset(source, settings.home)
    report.raise_for_errors()
    view = prepare_view(report, settings.home)
    prepare_labels(view)
    return Prepared(str(view), str(source.absolute()), report.content_hash, notes=tuple(report.warnings()))


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
        options={**options.document(), **prepared.document()},
        environment=describe_environment(),
        directory=str(directory),
        data_hash=prepared.data_hash,
        search_id=search_id,
    )


def prepare_again(search: SearchRecord, settings: Settings) -> Prepared:
    """Get a search ready to go on, with the weights that it began with: `auto` may find others by now.

    One without a hash of its data was entered without a preparation; this is its first.

    Raises:
        InputError: where data, weights or objective cannot be had any more.
        DataError: where the data changed; old and new fitness could not be compared.
    """
    space = SearchSpace.from_document(search.document, f"search {search.id}")
    weights = str(search.options.get("weights", space.weights))
    begun_with = weights_begun_with(search)
    prepared = prepare(space.model_copy(update={"weights": weights}), search.objective, settings, begun_with)
    if search.data_hash and prepared.data_hash != search.data_hash:
        raise DataError(
            f"{space.data}: the data changed since search {search.id} began (content {search.data_hash[:12]} then,"
            f" {prepared.data_hash[:12]} now); restore it, or start a new search with `evolve run --fresh`"
        )
    return prepared
