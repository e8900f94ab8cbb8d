"""Searches side by side: what each reached for what it spent, and whether that is more than luck."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import replace

import pandas as pd
import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from comparison_searches import enter, rising
from evolve import InputError, compare_searches
from evolve.cli import app, main
from evolve.comparison.contenders import contender_labels, incomparable
from evolve.comparison.course import course_of, working_clock
from evolve.comparison.figures import ranks
from evolve.comparison.page import apart
from evolve.ledger import EventKind, EventRecord, Ledger, SearchState
from evolve.ledger.models import searches
from evolve.ledger.times import TrialTimes
from evolve.settings import Settings
from evolve.trial import FailureKind, Role, TrialState
from ledger_bulk import fill
from sample_searches import DOCUMENT, GENES, individual, search_record
from test_report import HOSTILE, figures_of


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("EVOLVE_HOME", str(tmp_path / "home"))
    with Ledger(Settings().ledger_url) as opened:
        yield opened


def contest(ledger, seeds=4, **changes):
    """Two contenders of which the second is better."""
    return [
        enter(ledger, f"{algorithm}-{seed}", algorithm=algorithm, seed=seed, curve=rising(height), **changes)
        for algorithm, height in (("genetic", 0.5), ("tpe", 0.53))
        for seed in range(seeds)
    ]


def times(number, at=None, **changes):
    record = TrialTimes(number, 1, TrialState.COMPLETED, "box", 1000.0 + number * 10, at, 10.0, 5.0)
    return replace(record, **changes)


def told(number, fitness=None, **changes):
    state = TrialState.COMPLETED if fitness is not None else TrialState.FAILED
    return replace(individual(number), fitness=fitness, state=state, told=number, **changes)


def test_a_course_counts_what_was_spent():
    history = [
        told(0, 0.4),
        told(1, failure=FailureKind.DIVERGED),
        told(2, failure=FailureKind.INFRASTRUCTURE),
        told(3, 0.5),
        told(4, 0.5, reused_from=3),
        told(5, 0.9, role=Role.REPEAT, original=3),
        replace(told(6, 0.7), state=TrialState.STOPPED),
        told(7, 0.6, role=Role.CONTINUATION, original=6),
        told(8, 0.99, role=Role.FINAL, original=3),
    ]
    attempts = [times(number, 1010.0 + number * 10) for number in range(9) if number != 4]
    attempts.append(times(3, 1035.0, attempt=2))
    started = EventRecord("x", 1, EventKind.SEARCH_STARTED, 990.0)
    course = course_of(history, attempts, [started])
    assert [(each.trainings, each.fitness) for each in course.rises] == [(1, 0.4), (3, 0.5), (5, 0.6)]
    assert [each.seconds for each in course.rises] == [10, 50, 80]
    assert [each.wall for each in course.rises] == [20, 50, 90]
    assert (course.trainings, course.seconds, course.gpu_seconds, course.wall) == (5, 80, 40, 90)
    assert [course.reached("trainings", amount) for amount in (0, 1, 2, 3, 99)] == [None, 0.4, 0.4, 0.5, 0.6]
    assert course.reached("gpu_seconds", 39.9) == 0.5


def test_a_night_between_a_crash_and_a_resume_does_not_count():
    starts = [(EventKind.SEARCH_STARTED, 100.0), (EventKind.SEARCH_STARTED, 5000.0)]
    stops = [(EventKind.SEARCH_FINISHED, 6000.0), (EventKind.SEARCH_STARTED, 7000.0)]
    events = [EventRecord("x", n, kind, at) for n, (kind, at) in enumerate([*starts, *stops], 1)]
    clock = working_clock([times(0, 200.0, started_at=110.0)], events)
    assert [clock(at) for at in (100.0, 200.0, 5000.0, 5050.0, 7000.0, 7001.0)] == [0, 100, 100, 150, 1100, 1101]
    assert working_clock([], [])(5.0) == 5.0
    assert working_clock([times(0, 1010.0)], [])(1010.0) == 10.0


def test_equal_searches_but_for_seed_name_and_length_are_one_contender():
    def search(name="a", algorithm="genetic", seed=0, objective="yolo12", **settings):
        document = {**DOCUMENT, "name": name, "stop": {"hours": seed}}
        document["search"] = {**DOCUMENT["search"], "algorithm": algorithm, "seed": seed, **settings}
        return search_record(name=name, document=document, objective=objective)

    assert contender_labels([search(), search("b", seed=1, generations=5), search("c", "tpe", 2)]) == [
        "genetic", "genetic", "tpe",
    ]  # fmt: skip
    old = replace(search(seed=3), document={**DOCUMENT, "search": {**DOCUMENT["search"], "seed": 3}})
    assert contender_labels([search(), old]) == ["genetic", "genetic"]
    warm = replace(search(), document={**DOCUMENT, "known": [{"genes": {"lr0": 0.01, "momentum": 0.9}}]})
    assert contender_labels([search(), warm])[1] == "genetic, known [{'genes': {'lr0': 0.01…"
    assert contender_labels([search(), search(population=16), search(algorithm="tpe")]) == [
        "genetic, population 8", "genetic, population 16", "tpe, population 8",
    ]  # fmt: skip


def test_what_makes_figures_incomparable_is_named():
    one = search_record(data_hash="9b1c" * 16)
    assert incomparable([one, one]) == ""
    changed = {
        "data_hash": ("77aa" * 16, "data (9b1c9b1c / 77aa77aa)"),
        "document": ({**DOCUMENT, "train": {"epochs": 5, "imgsz": 640}}, "epochs of a training (30 / 5)"),
        "objective": ("mine:train", "objective (yolo12 / mine:train)"),
    }
    for field, (value, said) in changed.items():
        assert said in incomparable([one, replace(one, **{field: value})])
    weighted = [replace(one, document={**DOCUMENT, "fitness": {"a": 0.9, "b": weight}}) for weight in (0.1, 0.2)]
    assert "fitness (0.9 * a + 0.1 * b / 0.9 * a + 0.2 * b)" in incomparable(weighted)
    for key, value in (("model", "yolo12s"), ("fitness", "metrics/mAP50(B)"), ("weights", "auto")):
        assert value in incomparable([one, replace(one, document={**DOCUMENT, key: value})])


def test_groups_of_seeds_are_tested(ledger):
    found = compare_searches(*contest(ledger), ledger=ledger)
    assert [each.label for each in found.contenders] == ["genetic", "tpe"]
    assert [len(each.results) for each in found.contenders] == [4, 4]
    (contrast,) = found.contrasts
    assert contrast.p == pytest.approx(2 / 70)
    assert contrast.shown
    assert (contrast.superiority, contrast.paired) == (0.0, False)
    assert -0.04 < contrast.low < contrast.difference < contrast.high < -0.02
    assert found.verdicts[0].startswith("tpe reached more than genetic: 0.0")
    turned = compare_searches(*reversed([each.record.id for each in found.entries]), ledger=ledger).contrasts[0]
    assert (turned.p, turned.difference) == (contrast.p, -contrast.difference)


def test_enough_equal_seeds_are_paired(ledger):
    (contrast,) = compare_searches(*contest(ledger, seeds=6), ledger=ledger).contrasts
    assert contrast.paired
    assert contrast.p == pytest.approx(2 / 64)


def test_too_few_seeds_are_said_to_be_too_few(ledger):
    found = compare_searches(*contest(ledger, seeds=3), ledger=ledger)
    assert found.contrasts[0].hopeless
    assert "with 3 and 3 runs no difference could be shown, however large; 4 of each can" in found.verdicts[0]


def test_one_run_each_is_not_tested(ledger):
    found = compare_searches(*contest(ledger, seeds=1), ledger=ledger)
    assert found.contrasts == []
    assert "one run per contender cannot tell luck from skill" in found.verdicts[0]
    assert any("default configuration alone came out between" in note for note in found.notes)


def test_one_run_against_many_and_one_contender_are_not_tested_either(ledger):
    searches = contest(ledger, seeds=2)
    lone = compare_searches(*searches[:3], ledger=ledger)
    assert lone.contrasts == []
    assert lone.verdicts == [
        "no test is made: tpe must have two runs or more with different seeds to tell luck from skill"
    ]
    same = compare_searches(*searches[:2], ledger=ledger)
    assert "what differs is luck" in same.verdicts[0]


def test_a_seed_counts_once_however_often_it_was_run(ledger):
    searches = [enter(ledger, f"{name}-{n}", algorithm=name) for name in ("genetic", "tpe") for n in range(5)]
    found = compare_searches(*searches, ledger=ledger)
    assert found.contrasts == []
    assert [len(each.results) for each in found.contenders] == [1, 1]
    assert any("runs of one seed count once" in note for note in found.notes)


def test_other_data_is_warned_of_and_not_tested(ledger):
    searches = contest(ledger)[:4] + [
        enter(ledger, f"other-{seed}", algorithm="tpe", seed=seed, data_hash="77aa" * 16) for seed in range(4)
    ]
    found = compare_searches(*searches, ledger=ledger)
    assert found.warnings == ["figures cannot be compared, as the searches differ in data (9b1c9b1c / 77aa77aa)"]
    assert found.contrasts == []
    assert found.verdicts == ["no test is made: these figures do not mean the same"]


def test_three_contenders_are_corrected_for(ledger):
    searches = contest(ledger) + [enter(ledger, f"r-{seed}", algorithm="random", seed=seed) for seed in range(4)]
    found = compare_searches(*searches, ledger=ledger)
    assert len(found.contrasts) == 3
    assert all(each.adjusted >= each.p for each in found.contrasts)
    assert min(each.adjusted for each in found.contrasts) == pytest.approx(3 * 2 / 70)
    assert "p by Holm's correction for 3 comparisons" in found.notes


def test_all_are_judged_after_as_much_as_all_have_spent(ledger):
    short = enter(ledger, "short", size=9, fails=(2,))
    long = enter(ledger, "long", algorithm="tpe", size=40, curve=lambda number, rng: number / 100)
    empty = enter(ledger, "empty", size=2, fails=(0, 1), state=SearchState.FAILED)
    found = compare_searches(short, long, empty, ledger=ledger)
    assert found.budget.marks == (3, 5, 9)
    assert (found.budget.clock, found.budget.seconds) == ("gpu_seconds", 16.0)
    row = found.frame().set_index("name").loc["long"]
    assert (row["after_quarter"], row["after_half"], row["after_all"]) == (0.02, 0.04, 0.08)
    assert row["after_time"] == 0.07
    assert row["best_fitness"] == 0.39
    assert found.frame().set_index("name").loc["short", "trainings"] == 9
    assert "without any fitness, so left out: empty" in found.notes
    assert any("not over, so figures may change: empty (failed)" in note for note in found.notes)
    by_time = compare_searches(short, long, by="time", ledger=ledger)
    assert by_time.contenders[1].mean == 0.07


def test_trial_time_counts_where_a_search_had_no_gpu(ledger):
    found = compare_searches(enter(ledger, "a"), enter(ledger, "b", gpu_seconds=0.0), ledger=ledger)
    assert (found.budget.clock, found.budget.seconds) == ("seconds", 80.0)


def test_searches_without_anything_can_be_compared(ledger, tmp_path):
    found = compare_searches(enter(ledger, "a", size=0), enter(ledger, "b", size=0, seed=1), ledger=ledger)
    assert "no search has reached anything yet" in found.notes
    assert "Nothing to draw yet" in found.write(tmp_path / "c.html").read_text("utf-8")
    json.dumps(found.document(), allow_nan=False)


def test_early_stopping_is_not_judged_by_trainings_without_a_word(ledger):
    rungs = {"rungs": {"over": "epochs", "levels": 2, "factor": 3.0}}
    searches = [enter(ledger, "a"), enter(ledger, "b", search=rungs)]
    assert any("--by time is fair" in note for note in compare_searches(*searches, ledger=ledger).notes)


@pytest.mark.parametrize(
    ("refs", "said"),
    [
        ([], "two searches or more are needed, but got none"),
        (["one"], r"two searches or more are needed, but got 1 \(one\)"),
        (["one", "nothing"], "search nothing: no search has this id or name"),
        (["one", "one"], r"every search must be given once, but one and one are both \w{8}; leave one out"),
    ],
)
def test_what_cannot_be_compared_is_refused(ledger, monkeypatch, capsys, refs, said):
    enter(ledger, "one")
    with pytest.raises(InputError, match=said):
        compare_searches(*refs)
    monkeypatch.setattr("sys.argv", ["evolve", "compare", *refs])
    with pytest.raises(SystemExit) as ended:
        main()
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert re.search(said, error)
    assert error.count("\n") == 1


def test_the_command(ledger, tmp_path):
    searches = contest(ledger)
    run = CliRunner().invoke
    page = tmp_path / "compare.html"
    done = run(app, ["compare", *searches, "-o", str(page)], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert "CONTENDER" in done.stdout
    assert "tpe reached more than genetic" in done.stdout
    assert lines[-1] == str(page)
    answer = json.loads(run(app, ["compare", *searches, "--json"]).stdout)
    assert [each["algorithm"] for each in answer["searches"]] == ["genetic"] * 4 + ["tpe"] * 4
    assert answer["contrasts"][0]["shown"] is True
    assert answer["budget"]["after_trainings"] == [5, 10, 20]
    table = tmp_path / "compare.csv"
    assert run(app, ["compare", *searches, "--csv", str(table)]).stdout.strip() == str(table)
    assert list(pd.read_csv(table)["id"]) == searches
    other = enter(ledger, "other", weights="auto")
    warned = run(app, ["compare", searches[0], other, "--by", "time"])
    assert "evolve: warning: figures cannot be compared" in warned.stderr
    assert "TRIAL" not in warned.stdout
    assert "GPU TIME" in warned.stdout


def test_the_page(ledger, tmp_path):
    searches = contest(ledger)
    page = compare_searches(*searches).write(tmp_path / "deep" / "compare.html").read_text("utf-8")
    assert not re.search(r"<(link|img|iframe|script)[^>]*\s(src|href)=", page[:20000])
    assert page.count("<!doctype html>") == 1
    figures = figures_of(page)
    assert set(figures) == {"trainings", "spent", "wall", "spread"}
    lines = figures["trainings"]["data"]
    assert [line["name"] for line in lines if line["showlegend"]] == ["genetic, mean of 4", "tpe, mean of 4"]
    assert all(line["y"] == sorted(line["y"]) for line in lines)
    assert figures["trainings"]["layout"]["shapes"][0]["x0"] == 20
    assert "tpe reached more than genetic" in page
    assert page.count('class="apart"') >= len(searches)


def test_hostile_text_stays_text_on_the_page(ledger, tmp_path):
    genes = {**GENES, HOSTILE: {"type": "categorical", "choices": ["a", HOSTILE], "default": HOSTILE}}
    found = compare_searches(
        enter(ledger, HOSTILE, genes=genes, fitness=HOSTILE, data=HOSTILE, data_hash=""),
        enter(ledger, "b", algorithm=HOSTILE, genes=genes, data_hash=""),
    )
    page = found.write(tmp_path / "c.html").read_text("utf-8")
    assert '<script>alert("x")' not in page
    assert "<img src=x" not in page
    assert "<" not in json.dumps(figures_of(page)).replace("<br>", "").replace("<extra></extra>", "")


def test_genes_are_marked_where_they_are_far_apart():
    assert not apart(GENES["lr0"], [0.01, 0.011])
    assert apart(GENES["lr0"], [0.01, 0.05])
    assert apart(GENES["optimizer"], ["SGD", "AdamW"])
    assert not apart(GENES["cos_lr"], [True, True])
    assert apart(GENES["momentum"], [0.9, None])


def test_a_sample_by_rank_keeps_the_ends():
    shown = ranks([float(value) for value in range(1000, 0, -1)], 10)
    assert (len(shown), shown[0], shown[-1]) == (10, 1.0, 1000.0)
    assert ranks([2.0, 1.0], 10) == [1.0, 2.0]


def test_ten_thousand_individuals_each(ledger, tmp_path):
    ids = fill(ledger, 2, 10_000)
    with ledger._database.writing() as connection:
        for seed, search_id in enumerate(ids):
            document = {**DOCUMENT, "search": {"seed": seed}}
            connection.execute(update(searches).where(searches.c.id == search_id).values(document=document))
    start = time.perf_counter()
    found = compare_searches(*ids, ledger=ledger)
    path = found.write(tmp_path / "c.html")
    assert time.perf_counter() - start < 20
    assert path.stat().st_size < 8e6


@pytest.mark.slow
def test_a_browser_draws_the_comparison(ledger, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium here")
    page = compare_searches(*contest(ledger)).write(tmp_path / "c.html")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        errors = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-drawn=yes]", state="attached")
        assert tab.locator(".js-plotly-plot").count() == 4
        assert errors == []
        browser.close()
