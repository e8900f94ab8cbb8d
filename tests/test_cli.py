"""The command line as a user meets it: real processes, the synthetic objective, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from evolve.ledger import Ledger, SearchState
from evolve.yaml_io import dump_yaml
from spaces import OBJECTIVE, document

ROOT = Path(__file__).parents[1]
BENCHMARK = ROOT / "benchmarks/durability.py"


class Evolve:
    """The command line in a home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.environment = {**os.environ, "EVOLVE_HOME": str(self.home), "COLUMNS": "120"}
        self.environment.pop("EVOLVE_DATABASE_URL", None)
        self.environment.pop("MLFLOW_TRACKING_URI", None)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "evolve", *arguments]

    def __call__(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.command(*arguments), stdout=pipe, stderr=pipe, text=True, cwd=self.folder, env=self.environment
        )

    def space(self, **sections: object) -> str:
        path = self.folder / "mine.yaml"
        path.write_text(dump_yaml({**document(**sections), "name": "mine"}))
        return str(path)

    def run(self, *arguments: str, code: int = 0, **sections: object) -> subprocess.CompletedProcess[str]:
        return self("run", "--space", self.space(**sections), "--objective", OBJECTIVE, *arguments, code=code)

    def ledger(self) -> Ledger:
        return Ledger(f"sqlite:///{self.home}/evolve.db")


@pytest.fixture
def evolve(tmp_path: Path) -> Evolve:
    return Evolve(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Evolve:
    """A home with one finished search."""
    evolve = Evolve(tmp_path_factory.mktemp("finished"))
    evolve.run("--inline", search={"generations": 3})
    return evolve


def test_plain_lines_tell_the_story(evolve: Evolve) -> None:
    said = evolve.run("--inline", search={"generations": 2}).stdout
    assert "generation 1 is complete" in said
    assert "completed: 2 generations are complete" in said
    assert "over the default" in said
    assert "\x1b[" not in said


def test_json_has_an_object_for_every_event(evolve: Evolve) -> None:
    lines = evolve.run("--inline", "--json", search={"generations": 1}).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    kinds = [event["kind"] for event in events]
    assert kinds.count("individual_evaluated") == 8
    assert kinds[-1] == "search_finished"


def test_a_search_in_which_all_fails_says_why_and_fails(evolve: Evolve) -> None:
    failures = {str(number): "crash" for number in range(8)}
    sections = {"train": {"failures": failures}, "search": {"generations": 1, "same_error_limit": 99}}
    said = evolve.run("--inline", code=1, **sections).stdout
    assert "and no individual has a fitness" in said
    assert "8 trials: 8 code error" in said
    assert "the last one: RuntimeError: injected crash" in said
    assert "the last one: RuntimeError: injected crash" in evolve("show", "mine").stdout


def test_list_show_best_report_export(finished: Evolve, tmp_path: Path) -> None:
    assert "completed" in finished("list").stdout
    listed = json.loads(finished("list", "--json").stdout)
    assert [each["name"] for each in listed] == ["mine"]
    assert "Generations" in finished("show", "mine").stdout
    shown = json.loads(finished("show", listed[0]["id"][:5], "--json").stdout)
    assert len(shown["individuals"]) == 24
    assert "kind:" in finished("best", "mine").stdout
    assert "cannot be written" in finished("best", "mine", "-o", "/proc/nowhere/best.yaml", code=2).stderr
    table = tmp_path / "table.csv"
    finished("show", "mine", "--csv", str(table), "--parquet", str(table.with_suffix(".parquet")))
    assert len(pd.read_csv(table)) == len(pd.read_parquet(table.with_suffix(".parquet"))) == 24
    page = tmp_path / "report.html"
    finished("report", "mine", "-o", str(page))
    assert "mine" in page.read_text()
    finished("export", "mine", "-o", str(tmp_path / "bundle"))
    assert {"best.yaml", "report.html", "individuals.csv", "environment.json", "MANIFEST"} <= {
        path.name for path in (tmp_path / "bundle").iterdir()
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "--space", "nowhere.yaml"), "nowhere.yaml"),
        (("run", "--space", "a" * 5000), "there is no such file"),
        (("run", "--space", "yolo12n", "--population", "1"), "population"),
        (("run", "--space", "yolo12n", "--data", "missing.yaml"), "--data"),
        (("run", "--space", "demo", "--objective", "no.such:thing"), "no module named 'no'"),
        (("run", "--space", "demo", "--data", "demo", "--weights", "gone.pt"), "gone.pt"),
        (("run", "--space", "demo", "--inline", "--workers", "4"), "--inline"),
        (("show", "nothing"), "no search has this id or name"),
        (("resume",), "no search is unfinished"),
        (("data", "check", "nowhere"), "nowhere"),
        (("space", "check", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(evolve: Evolve, arguments: tuple[str, ...], expected: str) -> None:
    done = evolve(*arguments, code=2)
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    with evolve.ledger() as ledger:
        assert ledger.searches() == []


def test_a_broken_space_names_file_key_and_rule(evolve: Evolve) -> None:
    path = evolve.folder / "broken.yaml"
    path.write_text("genes:\n  lr0: {type: float, low: 0, high: 0.1, log: true, default: 0.01}\n")
    said = evolve("space", "check", str(path), code=2).stderr
    assert "broken.yaml: gene 'lr0': low > 0 must hold on a log scale, but got low=0" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_search_in_order_and_resume_goes_on(evolve: Evolve, number: signal.Signals) -> None:
    space = evolve.space(train={"epochs": 50, "delay": 0.02}, search={"generations": 2})
    driver = evolve.start("run", "--space", space, "--objective", OBJECTIVE, "--inline", "--json")
    wait_for(driver, "epoch_reported")
    sent = time.monotonic()
    driver.send_signal(number)
    _, said = driver.communicate(timeout=30)
    assert time.monotonic() - sent < 15
    assert driver.returncode == 130
    with evolve.ledger() as ledger:
        search = ledger.search("mine")
    assert search.state is SearchState.INTERRUPTED
    assert f"evolve resume {search.id}" in said

    refused = evolve("run", "--space", space, "--objective", OBJECTIVE, "--inline", code=2).stderr
    assert f"go on with `evolve resume {search.id}`, or start anew with --fresh" in refused
    moved = evolve("resume", "mine", "--ray-address", "127.0.0.1:9", code=2).stderr
    assert "127.0.0.1:9" in moved
    assert evolve("cancel", "mine").stdout.strip() == f"search {search.id}: cancelled"
    assert "must be unfinished" in evolve("resume", "mine", code=2).stderr


def wait_for(driver: subprocess.Popen[str], kind: str) -> None:
    assert driver.stdout is not None
    for line in driver.stdout:
        if json.loads(line)["kind"] == kind:
            return
    raise AssertionError(f"the driver ended before {kind}: {driver.stderr and driver.stderr.read()}")


def test_a_second_driver_is_refused_and_cancel_reaches_the_first(evolve: Evolve) -> None:
    space = evolve.space(train={"epochs": 500, "delay": 0.02}, search={"generations": 2})
    driver = evolve.start("run", "--space", space, "--objective", OBJECTIVE, "--inline", "--json")
    wait_for(driver, "epoch_reported")
    assert "drives it since" in evolve("resume", "mine", code=1).stderr
    assert "was asked to stop" in evolve("cancel", "mine").stdout
    driver.communicate(timeout=30)
    with evolve.ledger() as ledger:
        assert ledger.search("mine").state is SearchState.CANCELLED


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_driver_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    arguments = ["--kills", "6", "--evaluations", "40", "--mode", "inline", "--longest", "4"]
    done = subprocess.run([sys.executable, str(BENCHMARK), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["kills"] > 0
