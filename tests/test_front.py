"""The front of a search, as a person gets to see it: tables, files, report, Python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.schemas import answers
from api_helpers import Api, line_of, opened
from evolve.cli import app
from evolve.exceptions import InputError
from evolve.ledger import IndividualRecord, Ledger
from evolve.objectives import Objectives
from evolve.pareto import front
from evolve.report import render, write_report
from evolve.report.content import content_of
from evolve.report.pareto import MOST_ROWS, traded
from evolve.searches import Search
from evolve.tables import search_view
from evolve.trial import TrialResult, TrialSpec, TrialState
from evolve.yaml_io import parse_yaml
from sample_searches import DOCUMENT, GENES, SampleLedger, sample_ledger, search_record
from test_report import screen

MAP, LATENCY, SIZE = "metrics/mAP50-95(B)", "model/latency_ms", "model/parameters"
TRADED = {MAP: "maximise", LATENCY: "minimise"}
MODEL = {"type": "categorical", "choices": ["yolo12n", "yolo12s"], "default": "yolo12n"}
TRAIN = {"epochs": 3, "optimizer": "SGD"}
DOCUMENT_OF_TWO = {**DOCUMENT, "train": TRAIN, "genes": {"model": MODEL, **GENES}, "objectives": TRADED}


def of_two(size: int, document: dict | None = None) -> SampleLedger:
    """A sample search in which the larger model is better and slower."""
    document = document or DOCUMENT_OF_TWO
    made = sample_ledger(size)
    members = []
    for each in made.members:
        large = each.number % 3 == 1
        params = {"model": "yolo12s" if large else "yolo12n", **each.params}
        accuracy, latency = (each.fitness or 0) + 0.05 * large, 8 + 5 * large + each.number % 7 / 10
        values = {MAP: accuracy, LATENCY: latency, SIZE: 2.6e6 + 7e6 * large}
        objectives = Objectives(document["objectives"]).of(values) if each.fitness is not None else ()
        members.append(replace(each, params=params, objectives=objectives, seconds=90.0 + each.number))
    return SampleLedger(replace(made.record, document=document), members, made.attempts)


class TestTables:
    def test_show_says_how_many_there_are_and_what_the_leaders_took(self):
        made = of_two(60)
        text = screen(search_view(made.record, made.members, metric=MAP, now=1500.0))
        assert f"{len(front(made.members))} individuals: evolve best 3f2a9c1b --pareto" in text
        assert "TOOK" in text
        assert " min " in text.partition("TOOK")[2]

    def test_a_search_without_objectives_says_nothing_of_a_front(self):
        made = sample_ledger(60)
        text = screen(search_view(made.record, made.members, metric=MAP, now=1500.0))
        assert "pareto" not in text
        assert "TOOK" not in text


class TestReport:
    def test_the_section_is_there_only_where_there_are_objectives(self):
        assert "The front" not in render(content_of_ledger(sample_ledger(20)))
        page = render(content_of_ledger(of_two(60)))
        assert "<h2>The front</h2>" in page
        assert "<th>latency (ms)</th>" in page
        assert "No other individual beats these" in page

    def test_the_figure_shows_front_default_and_the_fittest(self):
        made = of_two(60)
        section = traded(Objectives(TRADED), made.members, ["model"], made.record.best_individual)
        traces = {each["name"]: each for each in section.figures["front"]["data"]}
        assert set(traces) == {"beaten", "front", "default", "highest fitness"}
        assert traces["front"]["customdata"] == [each.number for each in front(made.members)][::-1]
        assert traces["front"]["x"] == sorted(traces["front"]["x"])
        assert traces["front"]["y"] == sorted(traces["front"]["y"])
        assert traces["front"]["line"]["shape"] == "hv"
        assert all(value > 0 for value in traces["front"]["x"])
        drawn = len(traces["beaten"]["x"]) + len(traces["front"]["x"])
        assert drawn == sum(bool(each.objectives) for each in made.members)
        shares = section.figures["volume"]["data"][0]["y"]
        assert shares == sorted(shares)
        assert shares[-1] == 1
        assert [strong for _, strong in section.rows].count(True) == 1

    def test_more_objectives_are_parallel_coordinates(self):
        three = {**TRADED, SIZE: "minimise"}
        made = of_two(60, {**DOCUMENT_OF_TWO, "objectives": three})
        section = traded(Objectives(three), made.members, [], None)
        (trace,) = section.figures["front"]["data"]
        assert [each["label"] for each in trace["dimensions"]] == ["mAP50-95", "latency (ms)", "parameters"]
        low, high = trace["dimensions"][1]["range"]
        assert low > high  # the better end is on top
        assert sum(trace["line"]["color"]) == len(front(made.members))
        assert "The front" in render(content_of_ledger(made))

    def test_nothing_evaluated_yet(self):
        made = SampleLedger(search_record(document=DOCUMENT_OF_TWO), [], [])
        assert traded(Objectives(TRADED), [], [], None) is None
        assert "The front" not in render(content_of_ledger(made))

    def test_a_long_front_is_cut_in_the_table_and_a_large_search_takes_a_moment(self):
        made = of_two(2)
        many = [
            replace(made.members[0], number=number, told=number, objectives=(number / 1e4, -float(number)))
            for number in range(10_000)
        ]
        started = time.perf_counter()
        section = traded(Objectives(TRADED), many, ["model"], 9_999)
        assert time.perf_counter() - started < 20
        assert len(section.rows) in (MOST_ROWS, MOST_ROWS + 1)
        assert f"the table shows the first {MOST_ROWS}" in section.said


@pytest.mark.slow
@pytest.mark.parametrize("objectives", [TRADED, {**TRADED, SIZE: "minimise"}])
def test_a_browser_draws_the_front(tmp_path, objectives):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium here")
    made = of_two(120, {**DOCUMENT_OF_TWO, "objectives": objectives})
    page = write_report(made, "3f2a9c1b", tmp_path / "r.html")
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run([chromium, *options], capture_output=True, text=True, timeout=120, check=True)
    assert 'data-drawn="yes"' in done.stdout
    drawn = re.findall(r'<div class="figure[^"]*js-plotly-plot[^>]*data-figure="([a-z]+)"', done.stdout)
    assert {"front", "volume"} <= set(drawn)


def content_of_ledger(made: SampleLedger):
    return content_of(made.record, made.members, made.attempts)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EVOLVE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("EVOLVE_DATABASE_URL", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path


def ledger_of_two(home: Path, values, document: dict = DOCUMENT_OF_TWO) -> str:
    """A search whose individuals have these values of accuracy and latency; None for one that failed."""
    from evolve.settings import Settings

    objectives = Objectives(document.get("objectives", {}))
    with Ledger(Settings().ledger_url) as ledger:
        search = ledger.create_search(
            name="traded", document=document, objective="yolo12", options={"weights": "none"}, environment={},
            directory=str(home / "s"), data_hash="",
        )  # fmt: skip
        with ledger.acquire(search.id).transaction() as tx:
            tx.start(resumed=False)
            for number, (accuracy, latency, model) in enumerate(values):
                params = {"model": model, "lr0": 0.01 + number / 1000}
                tx.propose(IndividualRecord(search.id, number, 0, (0.5, 0.5), params, f"k{number}"))
                tx.submit(TrialSpec(search.id, number, 1, params, {"epochs": 3}, 7, str(home / "s")))
                tx.started(number, 1, "w")
                metrics = {MAP: accuracy, LATENCY: latency}
                tx.completed(number, 1, TrialResult(metrics, epochs=3, seconds=5.0))
                tx.evaluated(
                    number, state=TrialState.COMPLETED, fitness=accuracy, metrics=metrics,
                    objectives=objectives.of(metrics), seconds=5.0,
                )  # fmt: skip
        return search.id


@pytest.fixture
def api(home) -> Iterator[Api]:
    from evolve.settings import Settings

    with opened(Settings().ledger_url, home / "home") as (client, _):
        yield client


VALUES = [(0.30, 9.0, "yolo12n"), (0.40, 12.0, "yolo12s"), (0.35, 8.0, "yolo12n"), (0.39, 12.5, "yolo12s")]


class TestCommand:
    def call(self, *arguments: str):
        return CliRunner().invoke(app, ["best", "traded", "--pareto", *arguments])

    def test_the_table_has_each_objective_with_its_unit(self, home):
        ledger_of_two(home, VALUES)
        done = self.call()
        assert done.exit_code == 0, done.output
        lines = done.output.splitlines()
        assert lines[0] == "2 of 4 individuals that no other beats in all of: more mAP50-95, less latency (ms)"
        assert "the default configuration is beaten" in done.output
        rows = [line.split() for line in lines if re.match(r"\s*\d+ ", line) and "yolo12" in line]
        assert [row[0] for row in rows] == ["1", "2", "0"]
        assert rows[0][1:4] == ["0.4", "12", "yolo12s"]
        assert "latency (ms)" in done.output

    def test_json_has_metrics_as_reported(self, home):
        search = ledger_of_two(home, VALUES)
        found = json.loads(self.call("--json").output)
        assert found["search"] == search
        assert found["objectives"] == TRADED
        assert [each["number"] for each in found["front"]] == [1, 2]
        assert found["front"][0]["objectives"] == {MAP: 0.4, LATENCY: 12.0}
        assert found["default"]["number"] == 0

    def test_each_gets_a_file_that_can_be_trained(self, home):
        from evolve.compose.training import params_of_file
        from workers.yolo12.configuration import read_configuration

        ledger_of_two(home, VALUES)
        done = self.call("-o", str(home / "configs"))
        paths = sorted((home / "configs").iterdir())
        assert [path.name for path in paths] == ["individual-00001.yaml", "individual-00002.yaml"]
        assert all(path.name in done.output for path in paths)
        text = paths[0].read_text()
        assert "# Objectives: mAP50-95 0.4, latency (ms) 12" in text
        assert parse_yaml(text, "t")["model"] == "yolo12s.yaml"
        assert read_configuration(params_of_file(paths[0])).model == "yolo12s"
        assert read_configuration(params_of_file(paths[1])).model == "yolo12n"

    def test_a_search_without_objectives_is_refused(self, home):
        ledger_of_two(home, VALUES, {**DOCUMENT_OF_TWO, "objectives": {}})
        done = self.call()
        assert done.exit_code != 0
        assert isinstance(done.exception, InputError)
        assert "must have objectives, but has one fitness alone" in str(done.exception)

    def test_an_empty_one_is_refused(self, home):
        ledger_of_two(home, [])
        assert "must have been evaluated, but none has" in str(self.call().exception)

    def test_json_is_for_the_front(self, home):
        ledger_of_two(home, VALUES)
        done = CliRunner().invoke(app, ["best", "traded", "--json"])
        assert "--json: must stand beside --pareto" in str(done.exception)

    def test_from_python(self, home):
        from evolve.settings import Settings

        search = ledger_of_two(home, VALUES)
        with Ledger(Settings().ledger_url) as ledger:
            assert [each.number for each in Search(ledger, search).front] == [1, 2]


class TestService:
    def test_the_front_of_a_search(self, home, api):
        search = ledger_of_two(home, VALUES)
        found = api.get(f"/searches/{search}/front").json()
        assert answers.Front.model_validate(found)
        assert [each["number"] for each in found["front"]] == [1, 2]
        assert found["front"][1]["objectives"] == {MAP: 0.35, LATENCY: 8.0}
        assert (found["search"], found["evaluated"], found["default"]["number"]) == (search, 4, 0)
        assert api.get("/searches/nothing/front").status_code == 404

    def test_without_objectives_it_is_empty(self, home, api):
        search = ledger_of_two(home, VALUES, {**DOCUMENT_OF_TWO, "objectives": {}})
        found = api.get(f"/searches/{search}/front").json()
        assert found == {"search": search, "objectives": {}, "evaluated": 0, "front": [], "default": None}

    def test_the_shipped_space_can_be_submitted(self, api):
        body = {"space": "yolo12_tradeoff", "data": "demo", "name": "traded"}
        made = api.post("/searches", json=body)
        assert made.status_code == 201, made.text
        assert api.get("/searches/traded/front").json()["objectives"] == TRADED

    def test_what_the_synthetic_objective_does_not_report_is_refused(self, api):
        body = {"space": "yolo12_tradeoff", "objective": "synthetic"}
        assert "objectives: the objective synthetic reports" in line_of(api.post("/searches", json=body), 422)
