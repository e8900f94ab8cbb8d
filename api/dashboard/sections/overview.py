"""The head of a search's page: tiles, the fitness curve, what runs now, what went wrong lately."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from api.dashboard.charts.base import Options
from api.dashboard.charts.fitness import fitness_figure, fitness_meta
from api.dashboard.components import Chart, DataTable, block, empty, text
from api.dashboard.components.table import cell, column, row
from api.dashboard.components.tiles import Tiles
from api.dashboard.facts import (
    HOUR,
    budgets_of,
    metric_of,
    population_of,
    progress_of,
    split_gain,
    state_words,
    total_of,
)
from api.dashboard.live import News, RunningTrial, Snapshot
from api.dashboard.sections.base import Section
from evolve.formatting import best_label, duration, failure_label, gain, number, verdict
from evolve.ledger.records import IndividualRecord, SearchRecord, SearchState
from evolve.overview import default_fitness, generations, searched
from evolve.rung_agreement import agreement_in
from evolve.rung_table import rung_note
from evolve.trial import Role

_NEWS = 6
_SHARED_SECONDS = 10.0


class Overview(Section):
    """Tiles, the fitness curve, and what happens now."""

    def build(self, snapshot: Snapshot) -> None:
        """Lay out the elements."""
        metric = metric_of(snapshot.record)
        with block(
            "div", "ev-progress", role="progressbar", aria_label="Progress", aria_valuemin=0, aria_valuemax=100
        ):
            self._bar = block()
        self._progress = self._bar.parent_slot.parent if self._bar.parent_slot else self._bar
        self._tiles = Tiles("The search at a glance")
        self._answer = text("p", "", "ev-caption")
        self._rungs = text("p", "", "ev-caption")
        self._rungs.set_visibility(False)
        with block(classes="ev-wide-split"):
            with block("section", "ev-card"):
                with block(classes="ev-card-head"):
                    text("h2", f"{metric} over generations")
                    text("p", "A dot is an individual: click it for its page; a cross failed.", "ev-caption")
                self._waiting = empty("No verdict yet", "The curve begins with the first evaluated individual.")
                self._chart = Chart(
                    f"{metric} of every individual, with best, mean and spread of each generation",
                    href=self.view.individuals,
                    classes="ev-tall",
                )
            with block(classes="ev-panel"):
                with block("section", "ev-card"):
                    with block(classes="ev-card-head"):
                        text("h2", "Running now")
                        self._running_note = text("p", "", "ev-caption")
                    self._running = DataTable(
                        "Trials that run now",
                        (column("#"), column("Epoch"), column(metric), column("", end=True)),
                    )
                self._news_card = block("section", "ev-card")
                with self._news_card:
                    text("h2", "News")
                    self._news = block("ul", "ev-list")
        self._shown_news: tuple[News, ...] = ()
        self._drawn: object = None
        self._judged: object = None

    async def refresh(self, snapshot: Snapshot) -> bool:
        """Show a newer state of the search."""
        record = snapshot.record
        self._show_progress(record)
        self._show_tiles(snapshot)
        await self._show_curve(snapshot)
        await self._show_rungs(snapshot)
        self._show_running(snapshot)
        self._show_news(snapshot.news[:_NEWS])
        return True

    def _show_progress(self, record: SearchRecord) -> None:
        share = progress_of(record)
        self._progress.set_visibility(share is not None)
        percent = round(100 * (share or 0.0), 1)
        if self._progress.props.get("aria-valuenow") != percent:
            self._progress.props["aria-valuenow"] = percent
            self._bar.style(f"width: {percent}%")

    def _show_tiles(self, snapshot: Snapshot) -> None:
        record, total = snapshot.record, total_of(snapshot.record)
        improvement = gain(record.best_fitness, record.default_fitness)
        finals = _finals(snapshot)
        done = record.evaluated - finals[0]
        running = sum(trial.started_at is not None for trial in snapshot.running)
        allotted = f"{record.allotment} granted" if record.allotment is not None else state_words(record)
        spent = record.gpu_seconds / HOUR
        tiles = [
            ("Evaluated", f"{done:,}" + (f" / {total:,}" if total else ""), _to_go(snapshot, finals)),
            (
                f"Best {best_label(record, metric_of(record))}",
                number(record.best_fitness),
                f"individual {record.best_individual}" if record.best_individual is not None else "none yet",
            ),
            ("Gain over the default", *split_gain(record.best_fitness, record.default_fitness)),
            ("Trials running", str(running), allotted),
            (
                "Cost",
                f"{spent:.2f} GPU-h" if record.gpu_seconds else duration(record.trial_seconds),
                _budget(record) or f"{record.trained:,} trainings, {duration(record.trial_seconds)}",
            ),
            ("Failed trials", f"{record.failed:,}", _failure_share(record)),
        ]
        found = f"The answer: {verdict(record)}." if record.answer else ""
        if self._answer.text != found:
            self._answer.text = found
        self._answer.set_visibility(bool(found))
        self._tiles.show(tiles, good=(2,) if improvement is not None and improvement > 0 else ())

    async def _show_curve(self, snapshot: Snapshot) -> None:
        record = snapshot.record
        told = tuple(each.told for each in snapshot.individuals[-64:])
        state = (record.evaluated, record.best_individual, len(snapshot.individuals), told)
        if state == self._drawn:
            return
        shown = any(each.told is not None for each in snapshot.individuals)
        self._waiting.set_visibility(not shown)
        self._chart.set_visibility(shown)
        if shown:
            key = ("curve", record.id, state)
            options, meta = await self.view.site.shared(key, _SHARED_SECONDS, _curve, snapshot)
            self._chart.show(options, meta, "fitness")
        self._drawn = state

    async def _show_rungs(self, snapshot: Snapshot) -> None:
        record = snapshot.record
        # a few verdicts more change little, and to read ten thousand individuals takes a quarter of a second
        step = 1 if record.state.is_over else 1 + record.evaluated // 50
        worth = (step, record.evaluated // step)
        if worth == self._judged:
            return
        key = ("rungs", record.id, worth)
        found = await self.view.site.shared(key, _SHARED_SECONDS, rungs_said, record, snapshot.individuals)
        self._rungs.text = found
        self._rungs.set_visibility(bool(found))
        self._judged = worth

    def _show_running(self, snapshot: Snapshot) -> None:
        trials = snapshot.running
        best = next((each for each in snapshot.individuals if each.number == snapshot.record.best_individual), None)
        now = time.time()
        self._running.show([self._trial(each, now) for each in trials])
        self._running.set_visibility(bool(trials))
        note = f"best so far {number(best.fitness)}" if best and trials else _idle_words(snapshot.record, trials)
        if self._running_note.text != note:
            self._running_note.text = note

    def _trial(self, trial: RunningTrial, now: float) -> dict[str, Any]:
        done, newest = trial.curve[-1] if trial.curve else (0, None)
        took = duration(max(0.0, now - trial.started_at)) if trial.started_at else "waiting"
        epochs = f"{done}/{trial.epochs}" if trial.epochs else str(done)
        worker = trial.worker or "no worker yet"
        return row(
            f"{trial.individual}.{trial.attempt}",
            [
                cell(f"#{trial.individual}", f"{self.view.individuals}{trial.individual}", under=took, note=worker),
                cell(epochs, bar=done / trial.epochs if trial.epochs else 0.0, under=worker),
                cell(number(newest), mono=True),
                {
                    "text": f"individual {trial.individual} after each epoch",
                    "spark": {"values": [value for _, value in trial.curve], "span": max(1, trial.epochs - 1)},
                },
            ],
        )

    def _show_news(self, news: tuple[News, ...]) -> None:
        if news == self._shown_news:
            self._news_card.set_visibility(bool(news))
            return
        self._shown_news = news
        self._news_card.set_visibility(bool(news))
        self._news.clear()
        with self._news:
            for each in news:
                with block("li"):
                    text(
                        "span",
                        failure_label(each.kind) if each.kind else "notice",
                        f"ev-mark mark-{'failed' if each.kind else 'waiting'}",
                    )
                    who = f"#{each.individual}: " if each.individual is not None else ""
                    text("span", f"{who}{each.text}" + (" (tried again)" if each.retry else ""), "ev-small")


def rungs_said(record: SearchRecord, individuals: Sequence[IndividualRecord]) -> str:
    """What the rungs are worth; nothing where there are none, or nobody has reached one yet."""
    found = agreement_in(record.document, individuals)
    return "" if found is None else rung_note(found)


def _curve(snapshot: Snapshot) -> tuple[Options, dict[str, Any]]:
    """The figure of a search; takes a while for a long one."""
    record, metric = snapshot.record, metric_of(snapshot.record)
    individuals = [each for each in snapshot.individuals if each.role is not Role.FINAL]
    options = fitness_figure(
        generations(individuals),
        individuals,
        population=population_of(record),
        default=default_fitness(individuals),
        best=searched(snapshot.individuals, record.best_individual),
        metric=metric,
    )
    return options, fitness_meta(individuals, metric)


def _to_go(snapshot: Snapshot, finals: tuple[int, int]) -> str:
    record = snapshot.record
    if finals[1] and not record.state.is_over:
        return f"finals {finals[0]}/{finals[1]}"
    if snapshot.eta is not None:
        return f"about {duration(snapshot.eta)} to go"
    if record.finished_at and record.started_at and record.state.is_over:
        return f"took {duration(record.finished_at - record.started_at)}"
    return state_words(record)


def _finals(snapshot: Snapshot) -> tuple[int, int]:
    """How many finals have a verdict, and how many there are."""
    finals = [each for each in snapshot.individuals if each.role is Role.FINAL]
    return sum(each.told is not None for each in finals), len(finals)


def _budget(record: SearchRecord) -> str:
    return ", ".join(f"{used} {what}" for what, _, used in budgets_of(record))


def _failure_share(record: SearchRecord) -> str:
    tried = record.trained + record.failed
    return f"{record.failed / tried:.0%} of {tried:,}" if tried else "nothing tried yet"


def _idle_words(record: SearchRecord, trials: tuple[RunningTrial, ...]) -> str:
    if trials:
        return ""
    if record.state is SearchState.RUNNING:
        return "the workers are starting"
    return f"nothing: the search is {state_words(record)}"
