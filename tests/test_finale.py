"""How a search ends: its finals, its answer, and what a kill in the midst of them changes, which is nothing."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from api import views
from api.schemas.answers import SearchDetail
from api.webhooks.messages import WebhookKind, message_of
from evolve.answer import answer_of
from evolve.best import best_of, best_yaml
from evolve.client import records
from evolve.client.reading import read
from evolve.client.watching import search_record
from evolve.dispatch import Completed, Started, Stopped, TrialEvent
from evolve.finals import final_seeds, finalists
from evolve.formatting import gain_text
from evolve.keeper import LeaseKeeper
from evolve.ledger import EventKind, IndividualRecord, Ledger, Request, SearchRecord, SearchState, Transaction
from evolve.report import render
from evolve.report.content import content_of
from evolve.runner import Ending
from evolve.search.base import Outcome, Proposal
from evolve.search.genetic import GeneticSearch
from evolve.space import SearchSpace
from evolve.tables import search_view
from evolve.tracking.names import search_tags
from evolve.trial import FailureKind, Role, TrialFailed, TrialResult, TrialSpec, TrialState, TrialStream
from evolve.verdict import Answer, name_of, sentence
from search_helpers import create, fingerprint, make_runner, run
from spaces import METRIC, space
from workers.synthetic import SyntheticObjective

FINALS = {"top": 2, "seeds": 4, "epochs": 3}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


def searched(ledger: Ledger, folder: Path, name: str = "test", **sections: Any) -> SearchRecord:
    merged = {
        "train": {"epochs": 1, "noise": 0.02, **sections.pop("train", {})},
        "search": {"population": 4, "generations": 2, "generational": True, **sections.pop("search", {})},
        "finals": sections.pop("finals", FINALS),
    }
    return create(ledger, space(**merged, **sections), folder, name)


def space_of(search: SearchRecord) -> SearchSpace:
    return SearchSpace.from_document(search.document, "test")


def finals_of(ledger: Ledger, search: SearchRecord) -> list[IndividualRecord]:
    return [each for each in ledger.individuals(search.id) if each.role is Role.FINAL]


def test_a_search_ends_with_its_finals_and_an_answer(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path)
    ending = run(ledger, search)
    assert ending == Ending(SearchState.COMPLETED, "2 generations are complete")
    record, finals = ledger.search(search.id), finals_of(ledger, search)
    seeds = final_seeds(space_of(search))
    chosen = [each.original.number for each in finalists(space_of(search), ledger.individuals(search.id))]
    assert [(each.original, each.seed) for each in finals] == [
        (original, None if seed == seeds[0] else seed) for seed in seeds for original in (0, *chosen)
    ]
    for each in finals:
        (evaluation,) = ledger.evaluations(search.id, each.number)
        assert (evaluation.epochs, evaluation.seed) == (3, each.seed if each.seed is not None else seeds[0])
        assert each.metrics[METRIC] == each.fitness
    assert record.answer is not None
    answer = Answer.read(record.answer)
    assert answer == answer_of(space_of(search), ledger.individuals(search.id))
    assert {each.original for each in answer.contenders} == {0, *chosen}
    assert answer.winner in chosen
    # the noise of this objective is that of the seed alone, so pairs are free of it
    assert answer.best.gain is not None
    assert answer.best.gain.paired
    assert answer.best.gain.is_sure
    assert record.answer["text"] == sentence(answer)


def test_the_winner_of_the_finals_is_the_best_of_the_search(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path)
    run(ledger, search)
    record = ledger.search(search.id)
    answer = Answer.read(record.answer or {})
    assert (record.best_individual, record.best_fitness) == (answer.best.individual, answer.best.mean)
    assert answer.default is not None
    assert record.default_fitness == answer.default.mean
    individual, evaluation = best_of(ledger, record)
    assert (individual.role, individual.original, evaluation.epochs) == (Role.FINAL, answer.winner, 3)
    rivals = [each.fitness for each in finals_of(ledger, search) if each.original == answer.winner]
    assert individual.fitness == max(rival for rival in rivals if rival is not None)


def test_who_looks_at_the_search_sees_its_finals(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path)
    run(ledger, search)
    record, individuals = ledger.search(search.id), ledger.individuals(search.id)
    answer = Answer.read(record.answer or {})
    screen = Console(width=200, file=io.StringIO())
    screen.print(search_view(record, individuals, metric=METRIC))
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    page = render(content_of(record, individuals, ledger.evaluations(search.id)))
    assert "8/8, finals 12/12" in shown
    for text in (shown, page):
        assert "Finals" in text
        for each in answer.contenders:
            assert f"#{each.individual}" in text
            assert name_of(each) in text
    assert sentence(answer) in page
    assert "every figure comes from one training" not in page
    # the fittest are those of the search, with their gain over the default as the search trained it
    leader = max((each for each in individuals if each.role is Role.SEARCH), key=lambda each: each.fitness or 0)
    gained = gain_text(leader.fitness, individuals[0].fitness)
    assert f"<td>{leader.number}</td><td>{leader.fitness:.4f}</td><td>{gained}</td>" in page
    best, evaluation = best_of(ledger, record)
    yaml = best_yaml(record, best, evaluation, space_of(search))
    assert f"# Result: {sentence(answer)}\n" in yaml
    assert f"# Mean fitness of this configuration over its seeds: {answer.best.mean:.5f}\n" in yaml


def test_the_answer_goes_out_by_rest_webhook_and_mlflow(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path)
    run(ledger, search)
    record = ledger.search(search.id)
    answer = Answer.read(record.answer or {})
    shown = SearchDetail.model_validate(views.search_detail(record)).model_dump(mode="json")
    received = read(records.SearchDetail, json.loads(json.dumps(shown)))
    assert received.answer == record.answer
    assert search_record(received).answer == record.answer
    (final,) = ledger.individuals(search.id, numbers=[record.best_individual or 0])
    told = read(records.Individual, json.loads(json.dumps(views.individual_summary(final))))
    assert (told.role, told.original, told.seed) == ("final", answer.winner, final.seed)
    best = views.best(ledger, search.id)
    assert best["gain"] == pytest.approx(answer.best.gain and answer.best.gain.value)
    assert best["verdict"] == sentence(answer)
    ended = ledger.events(search.id, limit=1000)[-1]
    assert message_of(ended, WebhookKind.SEARCH_FINISHED, record).data["answer"] == sentence(answer)
    tags = search_tags(record, final)
    assert tags["evolve.answer"] == sentence(answer)
    assert tags["evolve.winner"] == str(answer.winner)
    assert float(tags["evolve.gain"]) == pytest.approx(best["gain"])


def test_finals_are_no_generation_and_no_news_of_a_best(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path, finals={"top": 3, "seeds": 1, "epochs": 50})  # as many as a population
    run(ledger, search)
    events = ledger.events(search.id, limit=1000)
    began = next(event for event in events if event.kind is EventKind.FINALS_STARTED)
    assert began.data == {"reason": "2 generations are complete", "trainings": 4}
    kinds = [event.kind for event in events if event.sequence > began.sequence]
    assert EventKind.GENERATION_FINISHED not in kinds
    assert EventKind.NEW_BEST not in kinds
    assert [each.generation for each in ledger.generation_summaries(search.id)] == [0, 1]
    assert {each.generation for each in finals_of(ledger, search)} == {2}


def test_what_the_search_trained_is_not_trained_again(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path, finals={"top": 2, "seeds": 3})
    run(ledger, search)
    assert len(finals_of(ledger, search)) == 2 * 3  # the seed of the search is there already
    answer = Answer.read(ledger.search(search.id).answer or {})
    assert [each.selected is None for each in answer.contenders] == [
        each.original == 0 for each in answer.contenders
    ]


def test_without_finals_the_answer_says_what_it_rests_on(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path, finals=None)
    run(ledger, search)
    record = ledger.search(search.id)
    assert finals_of(ledger, search) == []
    assert "one training each cannot tell gain from luck" in str((record.answer or {})["text"])
    best = max(ledger.individuals(search.id), key=lambda each: each.fitness or 0)
    assert (record.best_individual, record.best_fitness) == (best.number, best.fitness)


def test_repeats_measure_the_noise_and_never_are_the_best(ledger: Ledger, tmp_path: Path) -> None:
    repeats = {"default": 3, "elites": 2}
    search = searched(
        ledger, tmp_path, finals=None, search={"generations": 6, "repeats": repeats}, train={"optimum": {"x": 0.2}}
    )
    run(ledger, search)
    record, individuals = ledger.search(search.id), ledger.individuals(search.id)
    repeated = [each for each in individuals if each.role is Role.REPEAT]
    defaults = [individuals[0], *(each for each in repeated if each.original == 0)]
    assert len(defaults) == 4
    assert record.default_fitness == pytest.approx(sum(each.fitness or 0 for each in defaults) / 4)
    answer = Answer.read(record.answer or {})
    assert answer.source == "repeats"
    assert answer.noise
    own = [each for each in individuals if each.role is Role.SEARCH]
    best = max(own, key=lambda each: (each.fitness or 0, -each.number))
    assert {each.original for each in answer.contenders} == {0, best.number}
    bests = {
        event.individual for event in ledger.events(search.id, limit=10_000) if event.kind is EventKind.NEW_BEST
    }
    assert not bests & {each.number for each in repeated}


def test_a_lucky_repeat_reaches_no_target(ledger: Ledger, tmp_path: Path) -> None:
    class Lucky:
        def run(self, spec: TrialSpec) -> TrialStream:
            yield from ()
            return TrialResult({METRIC: 0.5 if spec.seed == 3 else 0.9}, epochs=1)

    search = searched(
        ledger, tmp_path, finals=None, search={"repeats": {"default": 2, "elites": 0}}, stop={"target": 0.8}
    )
    assert run(ledger, search, Lucky()).reason == "2 generations are complete"
    found = [event.data["fitness"] for event in ledger.events(search.id) if event.kind is EventKind.NEW_BEST]
    assert found == [0.5]


def test_finals_fall_under_no_limit_but_end_with_a_cancellation(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path, stop={"evaluations": 5})
    assert run(ledger, search).reason == "5 evaluations are done (stop.evaluations)"
    assert all(each.fitness is not None for each in finals_of(ledger, search))
    cancelled = searched(ledger, tmp_path, "cancelled")

    class Cancels(SyntheticObjective):
        def run(self, spec: TrialSpec) -> TrialStream:
            if spec.settings["epochs"] == 3 and spec.individual == 10:
                ledger.ask_driver(cancelled.id, Request.CANCEL)
            return (
                yield from super().run(TrialSpec(**{**vars(spec), "settings": {**spec.settings, "delay": 0.1}}))
            )

    assert run(ledger, cancelled, Cancels()).state is SearchState.CANCELLED
    record = ledger.search(cancelled.id)
    assert record.answer is None
    assert record.best_individual is not None
    assert record.best_individual < 8


def test_finals_that_fail_leave_an_answer_and_data_that_are_gone_end_the_search(
    ledger: Ledger, tmp_path: Path
) -> None:
    class Flawed(SyntheticObjective):
        kind = FailureKind.DIVERGED

        def run(self, spec: TrialSpec) -> TrialStream:
            if spec.individual == 9:
                raise TrialFailed(self.kind, "no more")
            return (yield from super().run(spec))

    search = searched(ledger, tmp_path)
    assert run(ledger, search, Flawed()).state is SearchState.COMPLETED
    answer = Answer.read(ledger.search(search.id).answer or {})
    assert sum(each.failed for each in answer.contenders) == 1
    search = searched(ledger, tmp_path, "gone")
    Flawed.kind = FailureKind.DATA
    assert run(ledger, search, Flawed()).state is SearchState.FAILED
    assert ledger.search(search.id).answer is None
    # a failed search can be resumed, and the finals go on
    assert run(ledger, search) == Ending(SearchState.COMPLETED, "2 generations are complete")


class Killed(BaseException):
    """The driver dies: nothing of it runs any more."""


class Mortal(LeaseKeeper):
    """Dies before or after one of its transactions, or when it lets go of the search."""

    deadline = 0
    chance = random.Random(5)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        self.deadline -= 1
        before = self.chance.random() < 0.5
        if self.deadline <= 0 and before:
            raise Killed
        with super().transaction() as tx:
            yield tx
        if self.deadline <= 0:
            raise Killed

    def release(self, *arguments: Any, **more: Any) -> None:
        self.deadline -= 1
        if self.deadline <= 0:
            raise Killed
        super().release(*arguments, **more)


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_at_any_point_changes_nothing(ledger: Ledger, tmp_path: Path, seed: int) -> None:
    whole = searched(ledger, tmp_path, "whole")
    broken = searched(ledger, tmp_path, "broken")
    run(ledger, whole)
    chance, kills = random.Random(seed), 0
    while ledger.search(broken.id).state is not SearchState.COMPLETED:
        try:
            with Mortal(ledger.acquire(broken.id), interval=10.0) as keeper:
                keeper.deadline = chance.randint(2, 14)
                make_runner(ledger, broken, keeper).run()
        except Killed:
            kills += 1
    assert kills > 3
    assert fingerprint(ledger, broken.id) == fingerprint(ledger, whole.id)
    ours, theirs = ledger.search(broken.id), ledger.search(whole.id)
    assert (ours.answer, ours.reason, ours.best_individual) == (
        theirs.answer,
        theirs.reason,
        theirs.best_individual,
    )
    completed = [each.individual for each in ledger.evaluations(broken.id) if each.state is TrialState.COMPLETED]
    assert len(completed) == len(set(completed))
    began = [event for event in ledger.events(broken.id, limit=10_000) if event.kind is EventKind.FINALS_STARTED]
    assert len(began) == 1


def test_a_search_that_began_its_finals_never_goes_back(ledger: Ledger, tmp_path: Path) -> None:
    """A better fitness in the finals would undo a plateau, and the hours of the finals would be another reason."""
    search = searched(
        ledger, tmp_path, search={"population": 4, "generations": 50, "generational": False}, stop={"plateau": 1}
    )
    asked: list[int] = []

    class Watched(GeneticSearch):
        def ask(self, n: int) -> list[Proposal]:
            asked.append(n)
            return super().ask(n)

        def tell(self, outcome: Outcome) -> None:
            assert outcome.proposal.role is not Role.FINAL
            super().tell(outcome)

    class Stopping(SyntheticObjective):
        def run(self, spec: TrialSpec) -> TrialStream:
            if spec.score_test:
                raise Killed
            return (yield from super().run(spec))

    with pytest.raises(Killed), LeaseKeeper(ledger.acquire(search.id)) as keeper:
        make_runner(ledger, search, keeper, objective=Stopping(), algorithm=Watched(space_of(search))).run()
    reason = "no improvement for a generation (stop.plateau)"
    born = len(ledger.individuals(search.id))
    asked.clear()
    with LeaseKeeper(ledger.acquire(search.id)) as keeper:
        ending = make_runner(ledger, search, keeper, algorithm=Watched(space_of(search))).run()
    assert ending == Ending(SearchState.COMPLETED, reason)
    assert len(ledger.individuals(search.id)) == born
    assert max(asked) <= 0


class Slow:
    """Three slots; one trial ends at a time, the first that was submitted first."""

    slots = 3

    def __init__(self) -> None:
        self.waiting: list[TrialSpec] = []
        self.started: list[TrialSpec] = []
        self.news: list[TrialEvent] = []
        self.stopped: list[str] = []

    def submit(self, spec: TrialSpec) -> None:
        self.waiting.append(spec)
        self.started.append(spec)
        self.news.append(Started(spec.trial_id, "slow"))

    def events(self, timeout: float) -> list[TrialEvent]:
        if not self.news and self.waiting:
            spec = self.waiting.pop(0)
            result = TrialResult({METRIC: 0.5 + spec.individual / 100}, epochs=1)
            self.news.append(Completed(spec.trial_id, result))
        news, self.news = self.news, []
        return news

    def stop(self, trial_id: str) -> None:
        self.stopped.append(trial_id)
        self.news.append(Stopped(trial_id))

    def resize(self, slots: int) -> None:
        self.slots = slots

    def close(self) -> None:
        pass


def test_what_runs_when_the_search_is_over_is_trained_to_its_end(ledger: Ledger, tmp_path: Path) -> None:
    stop = {"target": 0.54}  # of individual 4
    search = searched(ledger, tmp_path, search={"generations": 9, "generational": False}, stop=stop)
    dispatcher = Slow()
    with LeaseKeeper(ledger.acquire(search.id)) as keeper:
        ending = make_runner(ledger, search, keeper, dispatcher=dispatcher).run()
    assert "reached the target" in ending.reason
    assert dispatcher.stopped == []
    roles = [spec.score_test for spec in dispatcher.started]
    assert roles == sorted(roles)
    searched_ones = [each for each in ledger.individuals(search.id) if each.role is Role.SEARCH]
    assert len(searched_ones) == 7  # two others ran when number 4 came home
    assert all(each.fitness is not None for each in searched_ones)


class LeavesWeights(SyntheticObjective):
    def run(self, spec: TrialSpec) -> TrialStream:
        result = yield from super().run(spec)
        weights = Path(spec.directory) / "best.pt"
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.write_text(f"{spec.individual}")
        return TrialResult(result.metrics, weights=str(weights), epochs=result.epochs)


def test_the_best_training_of_each_contender_is_kept(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path)
    run(ledger, search, LeavesWeights())
    record = ledger.search(search.id)
    answer = Answer.read(record.answer or {})
    kept = {int(folder.name) for folder in (tmp_path / "test" / "trials").iterdir()}
    assert {each.individual for each in answer.contenders} <= kept
    assert len(kept & {each.number for each in finals_of(ledger, search)}) == 3
    _, evaluation = best_of(ledger, record)
    assert Path(evaluation.weights or "").read_text() == str(record.best_individual)


def test_finals_start_from_the_weights_of_the_search(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path, search={"inherit_weights": True, "generations": 3})
    run(ledger, search, LeavesWeights())
    assert any(each.inherited_from is not None for each in ledger.individuals(search.id))
    assert all(each.inherited_from is None for each in finals_of(ledger, search))
