"""Several searches side by side: how fast they improved, what they found, what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlencode

from api import service
from api.auth import Principal
from api.dashboard.charts.comparison import Race, over_evaluations, over_hours, race_figure
from api.dashboard.components import Chart, DataTable, banner, block, busy, empty, link, text
from api.dashboard.components.table import cell, column, row
from api.dashboard.facts import HOUR, genes_of, metric_of, population_of, state_words, what_of
from api.dashboard.following import follow
from api.dashboard.frame import page
from api.dashboard.live import Snapshot
from api.dashboard.site import Site, site
from evolve.exceptions import InputError
from evolve.formatting import MISSING, clean, compact, duration, gain, gain_text, number
from evolve.ledger.records import IndividualRecord
from evolve.trial import Json

if TYPE_CHECKING:
    from evolve.ledger import Ledger

SECONDS = 2.0
MOST = 8

Points: TypeAlias = Sequence[tuple[float, float]]


@page("/compare", "Compare")
async def compare_page(principal: Principal, ids: str = "") -> None:
    """The searches whose ids are in the address, with commas between."""
    here, wanted = site(), ids_of(ids)
    with block(classes="ev-title-row"):
        text("h1", "Compare searches")
        if wanted and here.mlflow_pages:
            address = f"/compare/mlflow?{urlencode({'ids': ','.join(wanted)})}"
            link("MLflow", address, "ev-button ev-button-link", new_tab=True)
    if not wanted:
        with empty("Nothing to compare", "Tick two searches or more in the list, and press Compare."):
            link("To the list of searches", "/", "ev-button ev-button-link")
        return
    await _Page(here, [(await here.run(service.search, here.ledger, each)).id for each in wanted]).build()


def ids_of(ids: str) -> list[str]:
    """The searches that an address names.

    Raises:
        InputError: They are too many to be compared.
    """
    wanted = list(dict.fromkeys(part.strip() for part in ids.split(",") if part.strip()))
    if len(wanted) > MOST:
        raise InputError(f"ids: {MOST} searches can be compared at once, but got {len(wanted)}; leave some out")
    return wanted


@dataclass(frozen=True)
class _Course:
    """How a search improved, over what it took."""

    evaluations: Points
    hours: Points
    gpu_hours: Points
    gpu: bool


def _course(ledger: Ledger, snapshot: Snapshot) -> _Course:
    """Reads and sums up; takes a while for a long search."""
    individuals, times = snapshot.individuals, ledger.trial_times(snapshot.record.id)
    return _Course(
        over_evaluations(individuals),
        over_hours(individuals, times, gpu=False),
        over_hours(individuals, times, gpu=True),
        any(each.gpu_seconds for each in times),
    )


@dataclass(frozen=True)
class _Entry:
    """One of the searches."""

    snapshot: Snapshot
    course: _Course
    name: str
    color: int

    @property
    def best(self) -> IndividualRecord | None:
        number = self.snapshot.record.best_individual
        return next((each for each in self.snapshot.individuals if each.number == number), None)


class _Page:
    """The page while it is open."""

    def __init__(self, here: Site, ids: list[str]) -> None:
        self._here = here
        self._ids = ids
        self._seen: list[Snapshot] = []
        self._courses: dict[str, tuple[Snapshot, _Course]] = {}
        self._built = False

    async def build(self) -> None:
        """Lay out the page, which fills itself once the browser has it."""
        self._problem = block()
        with block(classes="ev-panel") as self._content:
            busy("Reading the searches …")
        follow(SECONDS, self._refresh, self._problem)

    async def _refresh(self) -> None:
        snapshots = [await self._here.run(self._here.searches.snapshot, each) for each in self._ids]
        if len(snapshots) == len(self._seen) and all(
            new is old for new, old in zip(snapshots, self._seen, strict=True)
        ):
            return
        courses = [await self._course(each) for each in snapshots]
        if not self._built:
            self._lay_out(snapshots)
        names = _names(snapshots)
        self._show(
            [_Entry(*parts, color) for color, parts in enumerate(zip(snapshots, courses, names, strict=True), 1)]
        )
        self._seen = snapshots

    async def _course(self, snapshot: Snapshot) -> _Course:
        """How a search improved, which is summed up anew only when it has changed, and once for all who look."""
        search_id = snapshot.record.id
        known, course = self._courses.get(search_id, (None, None))
        if course is None or known is not snapshot:
            key = ("course", search_id, snapshot.version)
            course = await self._here.shared(key, SECONDS, _course, self._here.ledger, snapshot)
            self._courses[search_id] = snapshot, course
        return course

    def _lay_out(self, snapshots: Sequence[Snapshot]) -> None:
        self._built = True
        metric = metric_of(snapshots[0].record)
        self._content.clear()
        with self._content:
            if len({metric_of(each.record) for each in snapshots}) > 1:
                banner("These searches maximise different things: their figures cannot be compared.", "warning")
            elif len({each.record.data_hash for each in snapshots if each.record.data_hash}) > 1:
                banner(
                    "These searches trained on different data: compare how they improve, not how high.", "warning"
                )
            with block(classes="ev-split"):
                with block("section", "ev-card"):
                    text("h2", f"Best {metric} over evaluations")
                    self._evaluations = Chart("The best so far of each search over its evaluations")
                with block("section", "ev-card"):
                    self._hours_title = text("h2", "")
                    self._hours = Chart("The best so far of each search over the hours that it took")
            with block("section", "ev-card"):
                text("h2", "The searches")
                columns = (
                    column("Search", wide=True),
                    column("State"),
                    column("Best", end=True),
                    column("Default", end=True),
                    column("Gain", end=True),
                    column("Evaluated", end=True),
                    column("Failed", end=True),
                    column("Training", end=True),
                    column("GPU-hours", end=True),
                    column("Population", end=True),
                    column("Model and data"),
                )
                self._table = DataTable("The searches", columns, stacked=True)
            with block("section", "ev-card"):
                with block(classes="ev-card-head"):
                    text("h2", "Their best configurations")
                    text("p", "Values in bold differ between the searches.", "ev-caption")
                self._genes = DataTable("Their best configurations", ())

    def _show(self, entries: Sequence[_Entry]) -> None:
        gpu = any(entry.course.gpu for entry in entries)
        what = "GPU-hours" if gpu else "hours of training"
        metric = metric_of(entries[0].snapshot.record)
        self._hours_title.text = f"Best {metric} over {what}"
        names = ",".join(entry.name for entry in entries)
        by_evaluation = [_race(entry, entry.course.evaluations) for entry in entries]
        by_hour = [_race(entry, entry.course.gpu_hours if gpu else entry.course.hours) for entry in entries]
        self._evaluations.show(race_figure(by_evaluation, "evaluations"), {"x": "evaluation"}, names)
        self._hours.show(race_figure(by_hour, what), {"x": what}, names)
        self._table.show([_search_row(entry) for entry in entries])
        columns = [column("Gene"), *(column(entry.name, end=True) for entry in entries)]
        self._genes.show(gene_table([(entry.snapshot, entry.best) for entry in entries]), columns)


def _race(entry: _Entry, points: Points) -> Race:
    return Race(entry.name, entry.color, points, entry.snapshot.record.default_fitness)


def _names(snapshots: Sequence[Snapshot]) -> list[str]:
    """Their names, with their ids where several have the same."""
    names = [clean(each.record.name) for each in snapshots]
    amounts = Counter(names)
    return [
        f"{name} ({each.record.id})" if amounts[name] > 1 else name
        for name, each in zip(names, snapshots, strict=True)
    ]


def _search_row(entry: _Entry) -> dict[str, Any]:
    record = entry.snapshot.record
    improvement = gain(record.best_fitness, record.default_fitness)
    words = state_words(record)
    settings = record.document.get("search")
    generations = settings.get("generations") if isinstance(settings, dict) else None
    return row(
        record.id,
        [
            cell(entry.name, f"/searches/{record.id}", swatch=entry.color),
            cell(words, mark=words),
            cell(number(record.best_fitness)),
            cell(number(record.default_fitness)),
            cell(
                gain_text(record.best_fitness, record.default_fitness),
                tone="good" if improvement is not None and improvement > 0 else "muted",
            ),
            cell(str(record.evaluated)),
            cell(str(record.failed)),
            cell(duration(record.trial_seconds)),
            cell(f"{record.gpu_seconds / HOUR:.2f}"),
            cell(f"{population_of(record)} × {generations or MISSING}"),  # noqa: RUF001 - a product
            cell(what_of(record)),
        ],
    )


def gene_table(found: Sequence[tuple[Snapshot, IndividualRecord | None]]) -> list[dict[str, Any]]:
    """A row for each gene of any of the searches, with its value in the best individual of each."""
    genes: dict[str, None] = {}
    for snapshot, _ in found:
        genes |= dict.fromkeys(genes_of(snapshot.record))
    rows = []
    for name in genes:
        values = [_value(name, snapshot, best) for snapshot, best in found]
        differ = len(set(values)) > 1
        cells = [
            cell(name, mono=True),
            *(cell(value, **({"tone": "strong"} if differ else {})) for value in values),
        ]
        rows.append(row(name, cells))
    return rows


def _value(name: str, snapshot: Snapshot, best: IndividualRecord | None) -> str:
    genes: Mapping[str, Mapping[str, Json]] = genes_of(snapshot.record)
    if name not in genes:
        fixed = snapshot.record.document.get("train")
        value = fixed.get(name) if isinstance(fixed, dict) else None
        return MISSING if value is None else f"{compact(value)} (fixed)"
    if best is None:
        return MISSING
    return "off" if best.params.get(name) is None else compact(best.params[name])
