from __future__ import annotations

import io
import itertools
import json
import math
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from evolve.formatting import MISSING, clean, duration, gain_text, metric_label, number, verdict
from evolve.ledger.records import EventKind, EventRecord, SearchRecord, SearchState
from evolve.progress import JsonProgress, LiveProgress, PlainProgress, make_progress
from evolve.progress_state import ProgressState

METRIC = "metrics/mAP50-95(B)"
HOSTILE = "[red]戦略\x1b[31m\x07 검색\nnext[/red]"


def search_record(**changes) -> SearchRecord:
    record = SearchRecord(
        id="3f2a9c1b", name="bottles", state=SearchState.RUNNING, reason="", document={}, objective="yolo12",
        options={}, environment={}, directory="", data_hash="", created_at=990.0, started_at=1000.0,
        finished_at=None, request=None, owner=None, lease_expires=None, evaluated=0, trained=0, failed=0,
        gpu_seconds=0.0, trial_seconds=0.0, best_individual=None, best_fitness=None, default_fitness=None,
    )  # fmt: skip
    return replace(record, **changes)


class Story:
    """Writes events with gapless sequence numbers, ten seconds apart."""

    def __init__(self, first: int = 1) -> None:
        self._sequence = itertools.count(first)
        self.events: list[EventRecord] = []

    def tell(self, kind: EventKind, individual: int | None = None, /, **data) -> EventRecord:
        sequence = next(self._sequence)
        event = EventRecord("3f2a9c1b", sequence, kind, 1000.0 + 10 * sequence, individual, data)
        self.events.append(event)
        return event

    def evaluate(self, individual: int, fitness: float | None, previous: float | None = None, failure=None):
        self.tell(EventKind.TRIAL_STARTED, individual, attempt=1, worker="gpu-0")
        report = {
            "attempt": 1,
            "epoch": 2,
            "epochs": 5,
            "metrics": {METRIC: fitness or math.nan},
            "seconds": 4.0,
        }
        self.tell(EventKind.EPOCH_REPORTED, individual, **report)
        if failure:
            self.tell(EventKind.TRIAL_FAILED, individual, attempt=1, kind=failure, message="no", retry=False)
        else:
            self.tell(EventKind.TRIAL_COMPLETED, individual, attempt=1, seconds=9.0, gpu_seconds=9.0)
        state = "failed" if failure else "completed"
        self.tell(
            EventKind.INDIVIDUAL_EVALUATED,
            individual,
            state=state,
            fitness=fitness,
            failure=failure,
            reused_from=None,
        )
        if fitness is not None and (previous is None or fitness > previous):
            self.tell(EventKind.NEW_BEST, individual, fitness=fitness, previous=previous)


def console(width: int = 100, *, terminal: bool = False) -> Console:
    return Console(
        file=io.StringIO(), width=width, height=30, force_terminal=terminal, legacy_windows=False, _environ={}
    )


def output(screen: Console) -> str:
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


@pytest.fixture
def story() -> Story:
    story = Story()
    story.tell(EventKind.SEARCH_CREATED, name="bottles")
    story.tell(EventKind.SEARCH_STARTED, owner="me", resumed=False)
    story.evaluate(0, 0.40)
    story.evaluate(1, 0.42, previous=0.40)
    story.evaluate(2, None, failure="out_of_memory")
    return story


def test_state_follows_the_events(story):
    state = ProgressState(total=10)
    state.begin(search_record(evaluated=3), story.events)
    for event in story.events:
        state.fold(event)
    assert (state.evaluated, state.best, state.default) == (3, (1, 0.42), 0.40)
    assert state.failures == {"out_of_memory": 1}
    assert not state.running
    assert state.eta == pytest.approx(7 * (story.events[-1].at - story.events[1].at) / 3)


def test_state_joins_a_resumed_search_where_it_stands():
    story = Story(first=40)
    story.tell(EventKind.SEARCH_STARTED, resumed=True)
    story.evaluate(7, 0.30)
    record = search_record(evaluated=8, best_individual=3, best_fitness=0.5, default_fitness=0.4)
    state = ProgressState(total=10)
    state.begin(record, story.events[:-1])
    for event in story.events[:-1]:
        state.fold(event)
    assert (state.evaluated, state.best, state.default) == (8, (3, 0.5), 0.4)


def test_pauses_do_not_count_as_throughput():
    story = Story()
    story.tell(EventKind.SEARCH_STARTED, resumed=False)
    story.tell(EventKind.SEARCH_PAUSED, reason="disk full")
    for _ in range(100):
        story.tell(EventKind.NOTICE, message="waiting")
    story.tell(EventKind.SEARCH_UNPAUSED, reason="room again")
    story.tell(EventKind.INDIVIDUAL_EVALUATED, 0, state="completed", fitness=0.1)
    state = ProgressState(total=2)
    state.begin(search_record(), story.events)
    for event in story.events:
        state.fold(event)
    assert state.eta == pytest.approx(20.0)


def test_time_without_a_driver_does_not_count_as_elapsed(story):
    story.tell(EventKind.SEARCH_FINISHED, state="interrupted", reason="Ctrl-C")
    resumed = replace(story.tell(EventKind.SEARCH_STARTED, resumed=True), at=story.events[-2].at + 86400)
    state = ProgressState(total=10)
    for event in (*state.begin(search_record(), story.events)[:-1], resumed):
        state.fold(event)
    assert state.elapsed == pytest.approx(story.events[-2].at - 1000, abs=1)


def test_live_says_what_it_waits_for_and_where_to_look():
    story = Story()
    story.tell(EventKind.SEARCH_STARTED, resumed=False)
    screen = console(80)
    progress = LiveProgress(10, METRIC, screen, tracking="evolve ui")
    with progress._lock:
        progress._state.begin(search_record(), story.events)
        for event in story.events:
            progress._state.fold(event)
    screen.print(progress)
    assert "the workers are starting" in output(screen)
    assert "look  evolve show 3f2a9c1b  MLflow: evolve ui" in output(screen)


def test_the_summary_breaks_between_words(story):
    story.tell(EventKind.SEARCH_FINISHED, state="completed", reason="")
    record = search_record(state=SearchState.COMPLETED, best_individual=1, best_fitness=0.42, default_fitness=0.40)
    screen = console(60, terminal=True)
    LiveProgress(3, METRIC, screen).handle(record, story.events)
    lines = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", output(screen)).splitlines()
    assert max(map(len, lines)) <= 60
    assert {"default", "configuration"} <= set(" ".join(lines).split())


def test_plain_prints_a_line_for_everything_notable(story):
    story.tell(EventKind.TRIAL_FAILED, 3, attempt=1, kind="infrastructure", message="node died", retry=True)
    story.tell(EventKind.GENERATION_FINISHED, generation=0, best=0.42, mean=0.41)
    story.tell(EventKind.NOTICE, message="weights not found")
    screen = console()
    PlainProgress(10, METRIC, screen).handle(search_record(evaluated=3), story.events)
    lines = output(screen).splitlines()
    assert lines[0] == "bottles (3f2a9c1b) started: 10 individuals"
    assert "individual 1: mAP50-95 0.4200, best 0.4000 (individual 0)" in lines[2]
    assert lines[3] == "new best: individual 1, mAP50-95 0.4200, +0.0200 (+5.0%) over the default"
    assert lines[4] == "individual 2: attempt 1 failed: out of memory: no"
    assert lines[5].startswith("[3/10, ETA ")
    assert "failed (out of memory)" in lines[5]
    assert lines[6] == "individual 3: attempt 1 failed, tries again: infrastructure: node died"
    assert lines[7] == "generation 0 is complete: best 0.4200, mean 0.4100"
    assert lines[8] == "notice: weights not found"


@pytest.mark.parametrize("mode", ["plain", "live"])
def test_the_end_says_what_was_found_and_how_to_go_on(story, mode):
    story.tell(EventKind.SEARCH_FINISHED, state="interrupted", reason="Ctrl-C")
    record = search_record(
        state=SearchState.INTERRUPTED, reason="Ctrl-C", evaluated=3, trained=2, failed=1, gpu_seconds=120.0,
        best_individual=1, best_fitness=0.42, default_fitness=0.40,
    )  # fmt: skip
    screen = console(200, terminal=mode == "live")
    progress = make_progress(mode, 10, METRIC, screen)
    progress.handle(record, story.events)
    progress.close()
    text = output(screen)
    for expected in (
        "interrupted", "Ctrl-C",
        "individual 1, mAP50-95 0.4200; +0.0200 (+5.0%) over the default configuration",
        "2 trainings, 3 individuals", "2 min 00 s of GPU", "1 trial: 1 out of memory",
        "evolve resume 3f2a9c1b", "evolve best 3f2a9c1b", "evolve report 3f2a9c1b",
    ):  # fmt: skip
        assert text.count(expected) == 1, expected


def test_a_finished_search_is_not_offered_for_resuming_and_says_when_nothing_was_gained():
    story = Story()
    story.tell(EventKind.SEARCH_FINISHED, state="completed", reason="")
    record = search_record(
        state=SearchState.COMPLETED,
        evaluated=2,
        trained=2,
        best_individual=0,
        best_fitness=0.4,
        default_fitness=0.4,
    )
    screen = console(200)
    PlainProgress(2, METRIC, screen).handle(record, story.events)
    assert "no individual beat the default configuration" in output(screen)
    assert "evolve resume" not in output(screen)


def test_the_summary_comes_once_even_if_events_follow_it(story):
    story.tell(EventKind.SEARCH_FINISHED, state="completed", reason="")
    record = search_record(state=SearchState.COMPLETED, best_individual=1, best_fitness=0.42)
    screen = console(200)
    progress = PlainProgress(3, METRIC, screen)
    progress.handle(record, story.events)
    progress.handle(record, [story.tell(EventKind.NOTICE, message="late")])
    assert output(screen).count("evolve report") == 1


def test_the_past_of_a_resumed_search_is_counted_but_not_shown(story):
    story.tell(EventKind.SEARCH_FINISHED, state="interrupted", reason="Ctrl-C")
    resumed = story.tell(EventKind.SEARCH_STARTED, resumed=True)
    story.evaluate(3, 0.43, previous=0.42)
    texts = []
    for mode in ("plain", "json"):
        screen = console(200)
        make_progress(mode, 10, METRIC, screen, since=resumed.at).handle(search_record(evaluated=4), story.events)
        texts.append(output(screen).splitlines())
    plain, lines = texts
    assert plain[0] == "bottles (3f2a9c1b) resumed: 10 individuals, 3 already evaluated"
    assert plain[1].startswith("[4/10")
    assert plain[2].startswith("new best: individual 3")
    assert len(plain) == 3
    assert json.loads(lines[0])["sequence"] == resumed.sequence


@pytest.mark.parametrize("mode", ["plain", "json"])
def test_events_told_twice_are_shown_once(story, mode):
    screen = console(200)
    progress = make_progress(mode, 10, METRIC, screen)
    progress.handle(search_record(), story.events[:9])
    first = output(screen)
    progress.handle(search_record(), story.events[3:9])
    assert output(screen) == first


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_live_fits_the_terminal_and_escapes_names(story, width):
    for individual in range(3, 40):
        story.tell(EventKind.TRIAL_STARTED, individual, attempt=2, worker=HOSTILE)
        report = {"attempt": 1, "epoch": 2, "epochs": 5, "metrics": {METRIC: 0.3}, "seconds": 4.0}
        story.tell(EventKind.EPOCH_REPORTED, individual, **report)
    story.tell(EventKind.NOTICE, message=HOSTILE * 20)
    screen = console(width)
    progress = LiveProgress(10, METRIC, screen, tracking="http://localhost:5000")
    with progress._lock:
        progress._state.begin(search_record(name=HOSTILE), story.events)
        for event in story.events:
            progress._state.fold(event)
    screen.print(progress)
    lines = output(screen).splitlines()
    assert len(lines) <= screen.height
    assert max(cell_len(line) for line in lines) <= width
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert "[red]戦略" in text
    assert "+0.0200 (+5.0%) over" in text
    assert "#3 (attempt 2)" in text
    assert "more" in text


def test_live_draws_on_a_terminal_and_gives_it_back(story):
    screen = console(terminal=True)
    progress = make_progress("live", 10, METRIC, screen)
    progress.handle(search_record(), story.events)
    progress.close()
    progress.close()
    text = output(screen)
    assert "3/10" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is visible again


def test_live_bears_metrics_that_are_no_numbers(story):
    screen = console(terminal=True)
    progress = LiveProgress(3, METRIC, screen)
    events = [story.tell(EventKind.TRIAL_STARTED, 1, attempt=1, worker="gpu-0")]
    for value in ("nan", "-inf", None):
        events.append(
            story.tell(EventKind.EPOCH_REPORTED, 1, attempt=1, epoch=1, epochs=3, metrics={METRIC: value})
        )
        progress.handle(search_record(), events)
        screen.print(progress)
    progress.close()
    assert f"epoch 1/3 {MISSING}" in " ".join(output(screen).split())


def test_a_place_takes_the_place_of_local_commands(story):
    for terminal in (True, False):
        screen = console(terminal=terminal)
        progress = make_progress("live", 3, METRIC, screen, place="http://server/searches/1")
        record = search_record(state=SearchState.RUNNING)
        progress.handle(record, story.events)
        if terminal:
            screen.print(progress)
            assert "look  http://server/searches/1" in output(screen)
        record = replace(record, state=SearchState.COMPLETED)
        progress.handle(record, [story.tell(EventKind.SEARCH_FINISHED, state="completed", reason="")])
        progress.close()
        assert "next   http://server/searches/1" in re.sub(r"\x1b\[[0-9;]*m", "", output(screen))
        assert "evolve report" not in output(screen)


def test_live_falls_back_to_lines_without_a_terminal():
    assert isinstance(make_progress("live", 10, METRIC, console()), PlainProgress)


def test_json_is_valid_whatever_the_numbers(story):
    stream = io.StringIO()
    story.tell(EventKind.GENERATION_FINISHED, generation=0, table=[math.inf, 1.0], mean=-math.inf)
    story.tell(EventKind.NOTICE, message="line\nbreak \x1b[31m 戦略")
    JsonProgress(stream).handle(search_record(), story.events)
    lines = stream.getvalue().splitlines()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [line["sequence"] for line in read] == [event.sequence for event in story.events]
    assert read[-2]["data"] == {"generation": 0, "table": [None, 1.0], "mean": None}
    assert read[-1]["data"]["message"] == "line\nbreak \x1b[31m 戦略"
    assert "\x1b" not in lines[-1]


def test_no_events_no_output():
    screen = console(terminal=True)
    for mode in ("live", "plain", "json"):
        progress = make_progress(mode, None, METRIC, screen)
        progress.handle(search_record(), [])
        progress.close()
    assert output(screen) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, MISSING),
        (math.nan, MISSING),
        (0.4, "0 s"),
        (59.6, "1 min 00 s"),
        (3840, "1 h 04 min"),
        (90000, "1 d 01 h"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_figures():
    assert number(math.nan) == number(None) == MISSING
    assert metric_label(METRIC) == "mAP50-95"
    assert gain_text(0.1, 0.0) == "+0.1000"
    assert gain_text(0.1, None) == MISSING
    assert clean("a\n\x1b[2Jb\u202e") == "a �[2Jb�"


@pytest.mark.parametrize(
    ("best", "default", "words"),
    [
        (None, None, "no individual has been evaluated"),
        (0.5, None, "no gain to state"),
        (0.4, 0.4, "no individual beat the default"),
        (0.5, 0.4, "+0.1000 (+25.0%) over the default configuration"),
    ],
)
def test_verdict(best, default, words):
    assert words in verdict(search_record(best_fitness=best, default_fitness=default))


@pytest.mark.parametrize(
    ("best", "default", "words"),
    [
        (0.5, 0.4, "+0.1000 (+25.0%)"),
        (0.5, 0.02, "+0.4800"),
        (0.5, 1e-9, "+0.5000"),
        (0.5, 0.0, "+0.5000"),
        (0.5, -1.0, "+1.5000"),
    ],
)
def test_no_percent_of_a_default_that_has_learnt_next_to_nothing(best, default, words):
    assert gain_text(best, default) == words
    searched = search_record(best_fitness=best, default_fitness=default)
    assert verdict(searched) == f"{words} over the default configuration"


@pytest.mark.parametrize("mode", ["plain", "live"])
def test_finals_have_a_count_of_their_own(story, mode):
    story.tell(EventKind.FINALS_STARTED, reason="2 generations are complete", trainings=6)
    story.tell(EventKind.INDIVIDUAL_PROPOSED, 4, generation=2)
    story.evaluate(4, 0.45)
    screen = console(160, terminal=mode == "live")
    progress = make_progress(mode, 10, METRIC, screen)
    progress.handle(search_record(evaluated=4), story.events)
    if mode == "live":
        screen.print(progress)
        progress.close()
        assert "finals 1/6" in output(screen)
        assert progress._state.generation == 0
    else:
        lines = output(screen).splitlines()
        assert "the search is over (2 generations are complete); its finals: 6 trainings" in lines
        assert any(line.startswith("[finals 1/6, ETA ") for line in lines)


def test_the_summary_gives_the_answer(story):
    story.tell(EventKind.SEARCH_FINISHED, state="completed", reason="")
    answer = {"source": "finals", "fresh": True, "text": "+0.0210 ± 0.0080 over the default configuration"}
    record = search_record(
        state=SearchState.COMPLETED, best_individual=12, best_fitness=0.42, default_fitness=0.40, answer=answer
    )
    screen = console(200)
    PlainProgress(3, METRIC, screen).handle(record, story.events)
    expected = "individual 12, mean mAP50-95 0.4200; +0.0210 ± 0.0080 over the default configuration"
    assert expected in output(screen)
