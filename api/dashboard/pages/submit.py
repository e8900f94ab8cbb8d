"""Submitting a search: the space is shown, and checked, while it is typed."""

from __future__ import annotations

import secrets
from functools import cache
from importlib.resources import files
from typing import Any

from nicegui import ui
from pydantic import ValidationError

from api import service
from api.auth import Principal
from api.dashboard.components import DataTable, banner, block, button, text
from api.dashboard.components.table import cell, column, row
from api.dashboard.components.text import attribute
from api.dashboard.components.tiles import Tiles
from api.dashboard.following import attempt, still_allowed
from api.dashboard.frame import page, require
from api.dashboard.sections.settings import worded
from api.dashboard.site import Site, site
from api.reach import DEMO, reach
from api.schemas.submissions import Budget, Submission
from api.service import Checked
from evolve.exceptions import EvolveError, InputError
from evolve.formatting import MISSING, compact, fitness_label
from evolve.models import model_label
from evolve.space import shipped_spaces
from evolve.space.genes import CategoricalGene, FloatGene, Gene, IntGene
from evolve.space.validation import first_problem
from evolve.yaml_io import MAX_BYTES

FIRST = "demo"
_OWN = ""
_AS_WRITTEN = ""

_COLUMNS = (column("Gene"), column("Type"), column("Values", wide=True), column("Default", end=True))


@page("/submit", "Submit", "submit")
async def submit_page(principal: Principal, space: str = FIRST) -> None:
    """The form."""
    here = site()
    datasets = await here.run(here.ledger.registry.datasets)
    await _Form(here, [each.id for each in datasets], space if space in shipped_spaces() else FIRST).build()


class _Form:
    """The form while it is open."""

    def __init__(self, here: Site, datasets: list[str], first: str) -> None:
        self._here = here
        self._datasets = datasets
        self._first = first
        self._round = 0
        # a second click, or a click again after a broken connection, enters nothing twice
        self._idempotency = secrets.token_hex(16)

    async def build(self) -> None:
        """Lay out the form and what is said of it."""
        text("h1", "Submit a search")
        with block(classes="ev-split"):
            with block("section", "ev-card"):
                self._fields()
            with block("section", "ev-card"):
                text("h2", "What it amounts to")
                self._verdict = block(aria_live="polite")
                self._tiles = Tiles("Size of the search")
                self._genes = DataTable("Genes", _COLUMNS)
                self._rules = block("ul", "ev-list")
        await self._check()

    def _fields(self) -> None:
        with block(classes="ev-fields"):
            spaces = {_OWN: "My own document", **{name: name for name in shipped_spaces()}}
            self._space = _field(ui.select(spaces, value=self._first, label="Start from"))
            data = {_AS_WRITTEN: "As in the document", DEMO: DEMO, **{each: each for each in self._datasets}}
            self._data = _field(ui.select(data, value=_AS_WRITTEN, label="Data set"))
            objectives = {"yolo12": "yolo12", "synthetic": "synthetic (no GPU)"}
            self._objective = _field(ui.select(objectives, value="yolo12", label="Objective"))
        self._yaml = ui.textarea("Search space (YAML)", value=_shipped(self._first))
        self._yaml.props("outlined debounce=300 spellcheck=false").classes("ev-code")
        attribute(self._yaml, maxlength=MAX_BYTES)
        with block(classes="ev-fields"):
            self._name = _field(ui.input("Name", placeholder="that of the space"))
            self._priority = _field(ui.number("Priority", value=0, min=-100, max=100, step=1, precision=0))
        text("h3", "Budget: the search ends at the latest when one of these is spent")
        with block(classes="ev-fields"):
            self._hours = _field(ui.number("Hours", min=0))
            self._gpu_hours = _field(ui.number("GPU-hours", min=0))
            self._evaluations = _field(ui.number("Trainings", min=1, step=1, precision=0))
        with block(classes="ev-actions"):
            self._submit = button("Submit", self._enter, "strong")
        self._space.on_value_change(lambda event: self._load(str(event.value)))
        for field in (
            self._data, self._objective, self._yaml, self._name, self._priority,
            self._hours, self._gpu_hours, self._evaluations,
        ):  # fmt: skip
            field.on_value_change(self._check)

    async def _load(self, name: str) -> None:
        if name == _OWN:
            return
        self._yaml.value = _shipped(name)  # which checks it, too

    def _submission(self) -> Submission:
        """What the form says.

        Raises:
            InputError: with one line for the first field that breaks a rule.
        """
        content = str(self._yaml.value or "")
        name = str(self._space.value)
        unchanged = name != _OWN and content == _shipped(name)
        budget = {
            "hours": self._hours.value,
            "gpu_hours": self._gpu_hours.value,
            "evaluations": _whole(self._evaluations.value),
        }
        given = {key: value for key, value in budget.items() if value is not None}
        entries: dict[str, Any] = {
            "space": name if unchanged else None,
            "yaml": None if unchanged else content,
            "data": str(self._data.value) or None,
            "name": str(self._name.value or "").strip() or None,
            "priority": _whole(self._priority.value) or 0,
            "objective": str(self._objective.value),
        }
        try:
            return Submission(**entries, budget=Budget(**given) if given else None)
        except ValidationError as error:
            raise InputError(first_problem(error)) from None

    async def _check(self) -> None:
        self._round += 1
        asked = self._round
        try:
            if not await still_allowed("submit"):
                return
            checked = await self._here.service.threads.judge(
                service.check_document, self._here.ledger, self._here.settings, self._submission()
            )
            problem = ""
        except EvolveError as error:
            checked, problem = None, str(error)
        if asked == self._round:  # otherwise somebody typed on meanwhile
            self._show(checked, problem)

    def _show(self, checked: Checked | None, problem: str) -> None:
        self._submit.set_enabled(checked is not None)
        self._verdict.clear()
        with self._verdict:
            if checked is None:
                banner(problem)
            else:
                banner("This can be submitted.", "note")
        if checked is None:
            return
        space = checked.space
        epochs = space.train.get("epochs")
        self._tiles.show(
            [
                (
                    "At most",
                    f"{checked.individuals:,}",
                    f"{space.search.generations} generations of {space.search.population}",
                ),
                ("Maximises", fitness_label(space.fitness.weights), f"{worded(epochs)} epochs each"),
                ("Model", model_label(space.document()) or MISSING, f"weights {space.weights}"),
                ("Genes", str(len(space.genes)), f"{len(space.constraints)} constraints"),
            ]
        )
        self._genes.show([_gene_row(name, gene) for name, gene in space.genes.items()])
        self._rules.clear()
        with self._rules:
            for note in checked.notes:
                with block("li", "ev-caption"):
                    text("span", note)
            for rule in space.constraints:
                with block("li", "ev-small"):
                    text("span", "must hold", "ev-muted")
                    text("code", str(rule))

    async def _enter(self) -> None:
        self._submit.disable()
        entered = False
        try:
            entered = await attempt(self._submitted)
        finally:
            if not entered:  # otherwise the browser is on its way to the search
                self._submit.enable()

    async def _submitted(self) -> str:
        principal = await require("submit")
        here = self._here
        try:
            submission = self._submission()
            reached = await here.service.threads.judge(reach, here.ledger, submission)
            record, _ = await here.service.threads.write(
                service.enter_search, here.ledger, here.settings, submission, reached, principal, self._idempotency
            )
        except InputError:
            # nothing was entered, and what is sent next is another submission; after any other error the search may
            # be in the queue all the same, and the next click is to find it
            self._idempotency = secrets.token_hex(16)
            raise
        here.supervisor.poke()
        ui.navigate.to(f"/searches/{record.id}")
        return f"Search {record.id} is in the queue"


def _field(element: Any) -> Any:
    return element.props("outlined dense options-dense")


def _gene_row(name: str, gene: Gene) -> dict[str, Any]:
    conditions = (f"{parent} is {' or '.join(map(compact, values))}" for parent, values in gene.when.items())
    when = f"when {' and '.join(conditions)}" if gene.when else ""
    scale = ", log" if isinstance(gene, FloatGene | IntGene) and gene.log else ""
    named = cell(name, mono=True, **({"under": when} if when else {}))
    return row(name, [named, f"{gene.type}{scale}", _range(gene), cell(compact(gene.default))])


def _range(gene: Gene) -> str:
    if isinstance(gene, FloatGene | IntGene):
        return f"{compact(gene.low)} to {compact(gene.high)}"
    return ", ".join(map(compact, gene.choices)) if isinstance(gene, CategoricalGene) else "true, false"


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


@cache
def _shipped(name: str) -> str:
    """The text of a space that is shipped, with its comments."""
    return (files("search_spaces") / f"{name}.yaml").read_text(encoding="utf-8")
