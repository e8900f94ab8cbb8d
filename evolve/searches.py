"""Searches from Python: start one, go on with one, look at one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolve.exceptions import InputError
from evolve.ledger import IndividualRecord, Ledger, SearchRecord, SearchState
from evolve.ledger.owner import is_dead
from evolve.observers import Observer
from evolve.retention import WeightShelf
from evolve.settings import Settings
from evolve.space import SearchSpace, load_space
from evolve.trial import Json

if TYPE_CHECKING:
    import pandas as pd

    from evolve.compose import Prepared, RunOptions

UNFINISHED = tuple(state for state in SearchState if not state.is_over)


class Search:
    """A search in the ledger, as it stands whenever it is asked.

    Args:
        ledger: Where it is recorded; stays open as long as this is used.
        search_id: Its id.
    """

    def __init__(self, ledger: Ledger, search_id: str) -> None:
        self._ledger = ledger
        self.id = search_id

    def __repr__(self) -> str:
        record = self.record
        return f"<Search {record.id} {record.name!r} {record.state}, best {record.best_fitness}>"

    @property
    def record(self) -> SearchRecord:
        """All that the ledger has of the search itself."""
        return self._ledger.search(self.id)

    @property
    def state(self) -> SearchState:
        """Where it stands."""
        return self.record.state

    @property
    def best(self) -> IndividualRecord | None:
        """The fittest individual so far."""
        number = self.record.best_individual
        return None if number is None else self._ledger.individuals(self.id, numbers=[number])[0]

    @property
    def front(self) -> list[IndividualRecord]:
        """The individuals that no other beats in all objectives of the space; none where it has no objectives."""
        from evolve.pareto import front

        return front(self.individuals())

    def individuals(self) -> list[IndividualRecord]:
        """All individuals in birth order."""
        return self._ledger.individuals(self.id)

    def frame(self) -> pd.DataFrame:
        """A pandas table with a row for each individual; see `evolve.frame.search_frame`."""
        from evolve.frame import search_frame

        return search_frame(self._ledger, self.id)

    def report(self, path: str | Path) -> Path:
        """Write the report, one HTML file; see `evolve.report.write_report`."""
        from evolve.report import write_report

        return write_report(self._ledger, self.id, Path(path))

    def export(self, path: str | Path) -> Path:
        """Write the bundle of the best individual; see `evolve.bundle.export_bundle`."""
        from evolve.bundle import export_bundle

        return export_bundle(self._ledger, self.id, Path(path))


def is_driven(search: SearchRecord) -> bool:
    """Whether a living driver is at work on a search."""
    return search.leased and search.owner is not None and not is_dead(search.owner)


def cancel_idle(ledger: Ledger, search: SearchRecord) -> None:
    """End a search that nobody drives for good, and make room on the disk as its driver would have.

    Raises:
        LeaseHeld: it has a driver after all.
    """
    ledger.end_idle(search.id, SearchState.CANCELLED, "cancelled on request")
    shelf = WeightShelf(Path(search.directory))
    for record in sorted(ledger.individuals(search.id), key=lambda each: (each.told is None, each.told)):
        if record.reused_from is None:
            shelf.offer(record, record.fitness)
    shelf.clear()


def unfinished(ledger: Ledger, name: str | None = None) -> list[SearchRecord]:
    """Searches that were interrupted or failed and that nobody drives now, newest first; a service has its own."""
    waiting = ledger.searches(name=name, states=UNFINISHED)
    return [each for each in waiting if not each.managed and not is_driven(each)]


def start(
    ledger: Ledger,
    space: SearchSpace,
    options: RunOptions,
    settings: Settings,
    name: str | None = None,
    warm_start: Sequence[str | Path] = (),
) -> tuple[SearchRecord, Prepared]:
    """Check everything, and enter a new search into the ledger.

    Args:
        ledger: Where it is recorded.
        space: What it searches.
        options: How it is run.
        settings: Where things are kept.
        name: What it is called; the space's name unless given.
        warm_start: Searches and files to begin with, see `evolve.warmstart`.

    Raises:
        InputError: if anything that the user gave cannot be used; then nothing was entered.
    """
    from evolve.compose import create_search, prepare
    from evolve.warmstart import warm_started

    if name is not None:
        space = SearchSpace.from_document({**space.document(), "name": name}, "--name")
    space, notes = warm_started(space, warm_start, ledger)
    prepared = prepare(space, options.objective, settings)
    prepared = replace(prepared, notes=(*notes, *prepared.notes))
    return create_search(ledger, space, options, prepared, settings), prepared


def check_resumable(search: SearchRecord) -> None:
    """Refuse a search that is over.

    Raises:
        InputError: if there is nothing to go on with.
    """
    if search.state.is_over:
        raise InputError(
            f"search {search.id}: must be unfinished to go on, but it is {search.state} ({search.reason}); "
            "start a new one with `evolve run`"
        )


def resume_search(ref: str, *, observers: Sequence[Observer] = (), home: str | Path | None = None) -> Search:
    """Go on with an unfinished search until it ends, and return it.

    Args:
        ref: Its id or name.
        observers: As for `run_search`.
        home: As for `run_search`.

    Raises:
        InputError: if there is no such search, it is over, or what it needs is gone.
        LeaseHeld: if another driver is at work on it.
    """
    from evolve.compose import drive, prepare_again

    settings = _settings(home)
    ledger = Ledger(settings.ledger_url)
    search = ledger.search(ref)
    check_resumable(search)
    drive(ledger, search, prepare_again(search, settings), settings, observers)
    return Search(ledger, search.id)


def run_search(
    space: SearchSpace | str | Path,
    *,
    name: str | None = None,
    overrides: Mapping[str, Json] | None = None,
    warm_start: Sequence[str | Path] = (),
    observers: Sequence[Observer] = (),
    home: str | Path | None = None,
    **options: Any,
) -> Search:
    """Run a whole search and return it.

    Args:
        space: A space, the path of one, or the name of one that is shipped.
        name: Name of the search and of its MLflow experiment; the space's unless given.
        overrides: Values for keys of the space, with dots: `{"train.epochs": 3, "data": "my.yaml"}`; only where
            `space` is a path or a name.
        warm_start: What to begin with: searches of the ledger (id, beginning of one, or name) and files
            (`best.yaml`, a YAML list of configurations, or a CSV with a column for each gene).
        observers: Hear of every event, in threads of their own.
        home: Folder for everything that is kept; `EVOLVE_HOME` or `.evolve` unless given.
        options: Fields of `evolve.compose.RunOptions`, e.g. `objective="my_module:train"`, `workers=2`.

    Raises:
        InputError: if anything given cannot be used.
    """
    from evolve.compose import RunOptions, drive

    settings = _settings(home)
    if not isinstance(space, SearchSpace):
        space = load_space(space, overrides or {})
    ledger = Ledger(settings.ledger_url)
    search, prepared = start(ledger, space, RunOptions(**options), settings, name, warm_start)
    drive(ledger, search, prepared, settings, observers)
    return Search(ledger, search.id)


def _settings(home: str | Path | None) -> Settings:
    return Settings() if home is None else Settings(home=Path(home))
