"""What the dashboard is made of, without a browser: figures, facts, sessions, and searches that are followed."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from api.auth import Principal, make_key
from api.dashboard import facts, live
from api.dashboard.charts.base import rounded
from api.dashboard.charts.comparison import over_evaluations, over_hours
from api.dashboard.charts.epochs import Curve, epoch_figure
from api.dashboard.charts.fitness import DOTS, fitness_figure
from api.dashboard.charts.genes import distribution_figure, importance_figure, parallel_figure
from api.dashboard.charts.lineage import lineage_figure
from api.dashboard.charts.workers import worker_figure, worker_use
from api.dashboard.live import LiveSearch, LiveSearches
from api.dashboard.session import COOKIE, SECONDS, Sessions
from api.dashboard.site import Site
from api.options import ServiceOptions
from dashboard_helpers import Driver, FakeSupervisor, enter, fail_with, fill
from evolve.exceptions import SearchNotFound
from evolve.ledger import Ledger, Request, SearchState
from evolve.ledger.times import TrialTimes
from evolve.overview import ancestors, generations
from evolve.settings import Settings
from evolve.trial import TrialState
from sample_searches import GENES, individual, sample_ledger, search_record

OWNER = "host:1:1@boot"


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


def fitness_of(sample):
    return fitness_figure(
        generations(sample.members), sample.members, population=8, default=sample.record.default_fitness,
        best=sample.record.best_individual, metric="mAP50-95",
    )  # fmt: skip


def series(figure, name):
    return next(each for each in figure["series"] if each["id"] == name)


def plain(figure) -> None:
    """A figure is data that JSON holds without NaN, and names no function that is not ours."""
    text = json.dumps(figure, allow_nan=False)
    assert "function" not in text


@pytest.mark.parametrize("size", [0, 1, 7, 60, 3000])
def test_the_fitness_figure_shows_what_there_is(size: int) -> None:
    sample = sample_ledger(size)
    figure = fitness_of(sample)
    plain(figure)
    scored = [each for each in sample.members if each.fitness is not None]
    dots = series(figure, "individuals")["data"]
    assert len(dots) == min(len(scored), DOTS)
    assert len(series(figure, "mean")["data"]) == len(
        [g for g in generations(sample.members) if g.mean is not None]
    )
    if size >= 60:
        best = next(dot for dot in dots if isinstance(dot, dict) and dot.get("symbol") == "diamond")
        assert best["value"][2] == sample.record.best_individual
        assert series(figure, "best so far")["data"][-1][1] == pytest.approx(sample.record.best_fitness, abs=1e-5)
        low = figure["yAxis"]["min"]
        assert all((dot["value"] if isinstance(dot, dict) else dot)[1] >= low for dot in dots)


def test_gene_figures_leave_out_what_does_not_exist() -> None:
    sample = sample_ledger(80)
    figure = parallel_figure(GENES, sample.members, "mAP50-95")
    plain(figure)
    assert [axis["name"] for axis in figure["parallelAxis"]] == [*GENES, "mAP50-95"]
    places = list(GENES)
    for values in figure["series"][0]["data"]:
        assert (values[places.index("momentum")] is None) == (values[places.index("optimizer")] == "AdamW")
    for name, gene in GENES.items():
        figure = distribution_figure(name, gene, sample.members, best=sample.record.best_individual)
        plain(figure)
        if gene["type"] in ("categorical", "boolean"):
            shares = [each["data"] for each in figure["series"]]
            assert all(sum(parts) == pytest.approx(1) for parts in zip(*shares, strict=True))
    log = distribution_figure("lr0", GENES["lr0"], sample.members, best=None)
    assert (log["yAxis"]["min"], log["yAxis"]["max"]) == (-5, -1)
    plain(importance_figure({"lr0": 0.7, "batch": 0.1}))
    plain(parallel_figure(GENES, [], "x"))


def test_lineage_ends_at_the_individual() -> None:
    sample = sample_ledger(80)
    best = sample.record.best_individual
    family = ancestors(sample.members, best, 24)
    figure = lineage_figure(family, "mAP50-95", "/searches/a/individuals/")
    plain(figure)
    nodes = {node["id"]: node for node in figure["series"][0]["data"]}
    assert nodes[str(best)]["href"] == f"/searches/a/individuals/{best}"
    assert max(node["value"][0] for node in nodes.values()) == nodes[str(best)]["value"][0]
    assert all(edge["source"] in nodes and edge["target"] in nodes for edge in figure["series"][0]["links"])


def times(number: int, worker: str, start: float, end: float | None, state=TrialState.COMPLETED) -> TrialTimes:
    seconds = 0.0 if end is None else end - start
    return TrialTimes(number, 1, state, worker, start, end, seconds, seconds / 2)


def test_the_use_of_workers_counts_overlaps_once() -> None:
    trials = [
        times(0, "a", 0, 60),
        times(1, "a", 30, 90),  # half a GPU each
        times(2, "b", 0, 50, TrialState.FAILED),
        times(3, "b", 80, None, TrialState.RUNNING),
        TrialTimes(4, 1, TrialState.PENDING, "", None, None, 0.0, 0.0),
    ]
    use = {each.worker: each for each in worker_use(trials, now=100)}
    assert use["a"].share == pytest.approx(0.9)
    assert use["b"].share == pytest.approx(0.7)
    assert (use["b"].trials, use["b"].failed) == (2, 1)
    assert use["a"].gpu_seconds == 60
    figure = worker_figure(trials, 100, "/i/")
    plain(figure)
    assert [bar["value"] for bar in figure["series"][0]["data"]] == [
        [0, 0, 60],
        [0, 30, 90],
        [1, 0, 50],
        [1, 80, 100],
    ]
    assert worker_use([], 0) == []
    plain(worker_figure([], 0, "/i/"))


def test_races_rise_and_end_where_the_search_stands() -> None:
    members = [replace(individual(n), fitness=f, told=n) for n, f in enumerate([0.3, 0.2, None, 0.5, 0.4])]
    assert over_evaluations(members) == [(1, 0.3), (4, 0.5), (5, 0.5)]
    trials = [times(n, "a", 3600 * n, 3600 * (n + 1)) for n in range(5)]
    assert over_hours(members, trials, gpu=False) == [(1, 0.3), (4, 0.5), (5, 0.5)]
    assert over_hours(members, trials, gpu=True) == [(0.5, 0.3), (2, 0.5), (2.5, 0.5)]
    assert over_evaluations([]) == over_hours([], [], gpu=True) == []


def test_epoch_curves() -> None:
    figure = epoch_figure([Curve("default (#0)", [(1, 0.1), (2, 0.2)], True), Curve("this one", [(1, 0.3)])])
    plain(figure)
    assert [each["name"] for each in figure["series"]] == ["default (#0)", "this one"]
    plain(epoch_figure([]))


@pytest.mark.parametrize(("low", "high"), [(0.34, 0.5), (0, 0), (0.4, 0.4), (-3, 5), (1e-9, 2e-9), (0.0412, 137.2)])
def test_axes_have_round_bounds(low: float, high: float) -> None:
    bounds = rounded(low, high)
    assert bounds["min"] <= low <= high <= bounds["max"]
    assert bounds["min"] < bounds["max"]
    steps = (bounds["max"] - bounds["min"]) / bounds["interval"]
    assert math.isclose(steps, round(steps), rel_tol=1e-6)
    assert 1 <= round(steps) <= 8


def test_what_follows_from_a_record() -> None:
    running = search_record(
        evaluated=60, trained=50, trial_seconds=5000.0, owner=OWNER, leased=True, options={"workers": 4}
    )
    assert facts.total_of(running) == 240
    assert facts.progress_of(running) == 0.25
    assert facts.remaining_of(running) == 180 * 100 / 4
    assert facts.remaining_of(replace(running, leased=False)) is None
    assert facts.state_words(running) == "running"
    assert facts.state_words(replace(running, request=Request.CANCEL)) == "cancelling"
    assert facts.state_words(replace(running, request=Request.PAUSE)) == "pausing"
    assert facts.state_words(replace(running, leased=False)) == "stalled"
    assert facts.state_words(replace(running, leased=False, managed=True)) == "waiting"
    queued = replace(running, state=SearchState.CREATED, managed=True, leased=False)
    assert facts.state_words(queued) == "queued"
    assert facts.state_words(replace(queued, request=Request.PAUSE)) == "paused"
    assert facts.can_pause(queued)
    assert not facts.can_resume(queued)
    assert facts.can_resume(replace(queued, request=Request.PAUSE))
    over = replace(running, state=SearchState.COMPLETED)
    assert facts.progress_of(over) == 1
    assert not facts.can_pause(over)
    assert not facts.can_resume(over)
    short = replace(running, document={**running.document, "stop": {"evaluations": 100, "gpu_hours": 2.0}})
    assert facts.total_of(short) == 100
    assert [what for what, _, _ in facts.budgets_of(short)] == ["GPU-hours", "trainings"]
    strange = replace(running, document={"genes": 3, "search": "?", "fitness": []})
    assert facts.total_of(strange) is None
    assert facts.progress_of(strange) is None
    assert facts.genes_of(strange) == {}
    assert facts.metric_of(strange) == "mAP50-95"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("demo", "yolo12n on demo"),
        ("v1.2", "yolo12n on v1.2"),
        ("/data/sets/bottles/data.yaml", "yolo12n on bottles"),
        ("/data/sets/bottles", "yolo12n on bottles"),
        ("../bottles.yaml", "yolo12n on bottles"),
        ("/data.yaml", "yolo12n on data"),
    ],
)
def test_a_data_set_has_a_short_name(data: str, words: str) -> None:
    assert facts.what_of(search_record(options={"data": data})) == words


def test_who_owns_a_search() -> None:
    mine = search_record(submitted_by="aa")
    assert facts.owns(Principal("aa", ("submit",)), mine)
    assert facts.owns(Principal("bb", ("admin",)), mine)
    assert not facts.owns(Principal("bb", ("submit",)), mine)
    assert not facts.owns(Principal("aa", ("read",)), mine)


def test_a_followed_search_is_the_search_as_it_stands(ledger: Ledger, tmp_path: Path) -> None:
    search = enter(ledger, tmp_path, "followed")
    one = LiveSearch(ledger, search.id)
    assert one.snapshot().record.state is SearchState.CREATED
    driver = Driver(ledger, search, sample_ledger(20, seed=4), epochs=3)
    lives = driver.lives()
    for _ in range(12):
        next(lives)
        seen = one.snapshot(fresh=True)
        assert list(seen.individuals) == ledger.individuals(search.id)
        assert seen.record == ledger.search(search.id)
        assert seen.running == ()
    assert one.snapshot() is seen
    assert one.snapshot(fresh=True) is seen  # nothing happened

    waiting = driver.members()[12]
    driver.begin(waiting, worker=3)
    driver.report(waiting, 1)
    driver.report(waiting, 2)
    for follower in (one, LiveSearch(ledger, search.id)):  # one that saw it begin, and one that comes later
        (trial,) = follower.snapshot(fresh=True).running
        assert (trial.individual, trial.attempt, trial.worker, trial.epochs) == (12, 1, "node-1/gpu1", 3)
        assert [epoch for epoch, _ in trial.curve] == [1, 2]
        assert trial.curve[0][1] < trial.curve[1][1]
    fail_with(driver, 13, "the disk is <full>")
    newest = one.snapshot(fresh=True).news[0]
    assert (newest.individual, newest.text, newest.kind) == (13, "the disk is <full>", "code")
    assert LiveSearch(ledger, search.id).snapshot().news[0] == newest
    ledger.ask_driver(search.id, Request.PAUSE)
    assert one.snapshot(fresh=True).record.request is Request.PAUSE
    driver.release(SearchState.CANCELLED)
    assert one.snapshot(fresh=True).running == ()


def test_failures_of_long_ago_are_recalled_once(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = fill(ledger, tmp_path, "old", 40, seed=1)
    failed = [each.number for each in ledger.individuals(search.id) if each.failure is not None]
    assert len(failed) > 1
    for recent in (1, 1_000_000):
        monkeypatch.setattr("api.dashboard.live._FIRST_EVENTS", recent)
        news = LiveSearch(ledger, search.id).snapshot().news
        assert sorted(each.individual for each in news) == failed


def test_a_search_that_is_gone_is_forgotten(ledger: Ledger, tmp_path: Path) -> None:
    search = fill(ledger, tmp_path, "gone", 3)
    searches = LiveSearches(ledger)
    assert searches.snapshot(search.id).record.id == search.id
    ledger.delete_search(search.id)
    with pytest.raises(SearchNotFound):
        searches.snapshot(search.id, fresh=True)


def test_the_curve_of_a_trial_begins_with_its_first_epoch(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_FIRST_EVENTS", 1)
    driver = Driver(ledger, enter(ledger, tmp_path, "long"), sample_ledger(1), epochs=9)
    (member,) = driver.members()
    driver.begin(member)
    follower = None
    for epoch in range(1, 7):
        driver.report(member, epoch)
        if epoch == 4:
            follower = LiveSearch(ledger, driver.search.id)
            follower.snapshot()
    (trial,) = follower.snapshot(fresh=True).running
    assert [epoch for epoch, _ in trial.curve] == [1, 2, 3, 4, 5, 6]


def test_searches_that_many_look_at_in_turn_are_not_read_anew(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_MOST_INDIVIDUALS", 3)
    ids = [fill(ledger, tmp_path, f"search {number}", 1).id for number in range(30)]
    searches = LiveSearches(ledger)
    first = [searches.snapshot(each) for each in ids]
    assert all(searches.snapshot(each) is seen for each, seen in zip(ids, first, strict=True))
    monkeypatch.setattr(live, "_IN_USE_SECONDS", -1.0)
    assert searches.snapshot(ids[0]) is first[0]
    assert searches.snapshot(ids[1]) is not first[1]


def test_many_look_at_one_search_and_it_is_read_once(ledger: Ledger, tmp_path: Path) -> None:
    search = fill(ledger, tmp_path, "popular", 10)
    searches = LiveSearches(ledger)
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(searches.snapshot(search.id))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in seen}) == 1


def test_cookies_name_a_key_until_it_is_revoked(ledger: Ledger, tmp_path: Path) -> None:
    now = 1_000_000.0
    made, token = make_key("boss", ["admin"])
    ledger.registry.add_key(**made)
    home = tmp_path / "home"
    sessions = Sessions(ledger.registry, home, clock=lambda: now)
    principal = Principal(made["key_id"], ("admin",))
    cookie = sessions.cookie(principal)
    assert token.split("_", 2)[2] not in cookie
    assert sessions.principal(cookie) == principal
    assert Sessions(ledger.registry, home, clock=lambda: now).principal(cookie) == principal  # after a restart
    assert Sessions(ledger.registry, tmp_path / "other", clock=lambda: now).principal(cookie) is None
    assert stat.S_IMODE(os.stat(home / "dashboard.secret").st_mode) == 0o600
    assert [each.name for each in home.iterdir()] == ["dashboard.secret"]

    key_id, until, signature = cookie.split(".")
    forged = (
        f"{key_id}.{int(until) + 1}.{signature}",
        f"{'0' * 8}.{until}.{signature}",
        f"{key_id}.{until}.{'0' * 64}",
        f"{key_id}.{until}.{signature}x",
        f"{COOKIE}", "", None, "..", cookie + "\n",
    )  # fmt: skip
    assert [sessions.principal(each) for each in forged] == [None] * len(forged)
    later = Sessions(ledger.registry, home, clock=lambda: now + SECONDS + 1)
    assert later.principal(cookie) is None
    ledger.registry.revoke_key(made["key_id"])
    assert Sessions(ledger.registry, home, clock=lambda: now).principal(cookie) is None


@pytest.mark.parametrize("left", [b"", b"x" * 31])
def test_a_secret_that_is_not_whole_signs_nothing(ledger: Ledger, tmp_path: Path, left: bytes) -> None:
    made, _ = make_key("boss", ["admin"])
    ledger.registry.add_key(**made)
    (tmp_path / "dashboard.secret").write_bytes(left)
    content = f"{made['key_id']}.{2**33}"
    forged = f"{content}.{hmac.new(left, content.encode(), hashlib.sha256).hexdigest()}"
    assert Sessions(ledger.registry, tmp_path).principal(forged) is None
    principal = Principal(made["key_id"], ("admin",))
    cookie = Sessions(ledger.registry, tmp_path).cookie(principal)
    assert Sessions(ledger.registry, tmp_path).principal(cookie) == principal
    assert len((tmp_path / "dashboard.secret").read_bytes()) == 32


@pytest.mark.parametrize(
    ("tracking", "port", "given", "pages"),
    [
        ("", 5000, "", "http://127.0.0.1:5000"),
        ("", None, "", ""),
        ("http://mlflow:5000", None, "", ""),  # known within a network of containers only
        ("http://mlflow:5000", None, "https://mlflow.example.com/", "https://mlflow.example.com"),
        ("https://mlflow.example.com/", None, "", "https://mlflow.example.com"),
        ("http://[::1]:5000", None, "", "http://[::1]:5000"),
    ],
)
def test_where_a_browser_finds_mlflow(tmp_path: Path, tracking, port, given, pages) -> None:
    settings = Settings(home=tmp_path, MLFLOW_TRACKING_URI=tracking, mlflow_url=given)
    with Ledger(settings.ledger_url) as ledger:
        site = Site(ledger, settings, FakeSupervisor(), ServiceOptions(mlflow_port=port), None)
        assert site.mlflow_pages == pages
        site.close()


def test_settings_show_a_few_known_configurations_only() -> None:
    from api.dashboard.sections.settings import MOST_KNOWN, _document

    record = search_record()
    whole = [{"genes": {"lr0": 0.01}, "fitness": None, "source": ""}]
    assert "more known" not in _document(replace(record, document={**record.document, "known": whole * MOST_KNOWN}))
    shown = _document(replace(record, document={**record.document, "known": whole * 1000}))
    assert shown.endswith("# and 990 more known configurations\n")
    assert shown.count("lr0: 0.01") == MOST_KNOWN
