"""`evolve submit`, `watch`, `logs` and their like against the real service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from evolve.cli import app
from evolve.client import Client, Event, http
from evolve.client.watching import event_line, event_records, search_record
from evolve.exceptions import EvolveError, InputError, NotFound, ServiceAway, ServiceError
from evolve.ledger import SearchState
from ledger_fixtures import live
from running_service import RunningService, drive

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    service = RunningService(tmp_path_factory.mktemp("service"))
    yield service
    service.close()


@pytest.fixture
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


@pytest.fixture
def run(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command as somebody does who has told the environment where the service is."""
    monkeypatch.setattr(http, "BACKOFF_SECONDS", (0.01, 0.05))
    monkeypatch.setenv("EVOLVE_SERVER", service.url)
    monkeypatch.delenv("EVOLVE_API_KEY", raising=False)
    monkeypatch.setenv("COLUMNS", "160")

    def command(*arguments: str) -> Result:
        result = CliRunner().invoke(app, arguments)
        if isinstance(result.exception, Exception) and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return command


@pytest.fixture
def submit(run: Run) -> Callable[..., str]:
    """Submits a search and returns its id."""

    def command(*arguments: str) -> str:
        said = run(
            "submit", "--space", "demo.yaml", "--data", "demo", "--objective", "synthetic", "--json", *arguments
        )
        return str(json.loads(said.stdout)["id"])

    return command


@pytest.fixture
def follows(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a command has taken note of the past and begins to follow."""
    begun, real = threading.Event(), Client.event_batches

    def event_batches(self: Client, *arguments: Any, **options: Any) -> Iterator[list[Event]]:
        if options.get("follow", True):
            begun.set()
        return real(self, *arguments, **options)

    monkeypatch.setattr(Client, "event_batches", event_batches)
    return begun


def test_submit_says_how_to_go_on(run: Run, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ngenes:\n  lr0: {type: float, low: 0.001, high: 0.1, default: 0.01}\n")
    options = ["--name", "first try", "--priority", "3", "--generations", "2", "--population", "4", "--epochs", "1"]
    options += ["--seed", "5", "--generational", "--hours", "0.5", "--evaluations", "6", "--objective", "synthetic"]
    said = run("submit", "--space", str(file), *options)
    search = client.search("first try")
    assert f"evolve watch {search.id}\n" in said.stdout
    assert f"{client.url}/searches/{search.id}" in said.stdout
    assert search.priority == 3
    how = search.document["search"]
    assert (how["generations"], how["population"], how["seed"], how["generational"]) == (2, 4, 5, True)
    assert search.document["train"]["epochs"] == 1
    assert (search.document["stop"]["hours"], search.document["stop"]["evaluations"]) == (0.5, 6)


def test_the_same_submission_twice(submit: Callable[..., str]) -> None:
    first = submit("--idempotency-key", "nightly-1")
    assert submit("--idempotency-key", "nightly-1") == first
    assert submit() != submit()


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (("submit", "--space", "no/such.yaml"), InputError, "there is no such file"),
        (
            ("submit", "--space", "demo", "--data", "gone"),
            InputError,
            "data: must be the id of a registered data set",
        ),
        (("submit", "--space", "demo", "--data", "demo", "--population", "1"), InputError, "population"),
        (("submit", "--space", "demo", "--data", "demo", "--weights", "/x.pt"), InputError, "weights"),
        (("submit", "--space", "demo", "--server", "ftp://x"), InputError, "--server"),
        (("watch", "nothing"), NotFound, "nothing: no search has this id or name"),
        (("logs", "nothing"), NotFound, "nothing"),
        (("pause", "nothing"), NotFound, "nothing"),
        (("watch", "x", "--server", "http://127.0.0.1:9"), ServiceAway, "evolve serve"),
        (("watch", "x", "--key", "evk_00000000_" + "a" * 43), ServiceError, "EVOLVE_API_KEY"),
    ],
)
def test_bad_input_is_one_line(run: Run, arguments: tuple[str, ...], kind: type[EvolveError], said: str) -> None:
    with pytest.raises(kind) as refused:
        run(*arguments)
    assert said in str(refused.value)
    assert str(refused.value).isprintable()


def test_logs_have_a_line_for_every_event(run: Run, submit: Callable[..., str], service: RunningService) -> None:
    search_id = submit("--name", "noisy \x1b[31m".replace("\x1b", "e"))
    drive(service.ledger, search_id, [0.25], None)
    lines = run("logs", search_id).stdout.splitlines()
    assert len(lines) == len(service.ledger.events(search_id))
    assert " search_created name=" in lines[0]
    assert any(" new_best #0 fitness=0.25" in line for line in lines)
    assert any(" epoch_reported #0 attempt=1 epoch=1 epochs=3 mAP50-95=0.5 seconds=1" in line for line in lines)
    rest = run("logs", search_id, "--after", "3", "--json").stdout.splitlines()
    assert [json.loads(line)["sequence"] for line in rest] == list(range(4, len(lines) + 1))


def test_logs_follow_to_the_end(run: Run, submit: Callable[..., str], service: RunningService) -> None:
    search_id = submit()
    timer = threading.Timer(0.3, drive, (service.ledger, search_id, [0.1, 0.2]))
    timer.start()
    said = run("logs", search_id, "--follow").stdout
    timer.join()
    assert "search_finished state=completed reason=because" in said.splitlines()[-1]


def test_a_line_cannot_drive_the_terminal() -> None:
    event = Event("1", 1, "notice", 0.0, None, {"message": "\x1b[2J\nhello", "bad\n": {"\x07": "\x1b"}})
    line = event_line(event)
    assert line.isprintable()
    assert "hello" in line


def test_an_event_of_a_newer_server_is_no_obstacle() -> None:
    events = [Event("1", 1, "something_new", 0.0), Event("1", 2, "notice", 0.0)]
    assert [each.sequence for each in event_records(events)] == [2]


@pytest.mark.parametrize(
    ("state", "code"), [(SearchState.COMPLETED, 0), (SearchState.CANCELLED, 0), (SearchState.FAILED, 1)]
)
def test_watch_shows_what_happens_from_now_on(
    run: Run,
    submit: Callable[..., str],
    service: RunningService,
    follows: threading.Event,
    state: SearchState,
    code: int,
) -> None:
    search_id = submit("--name", "watched")
    lease = drive(service.ledger, search_id, [0.1], None)

    def go_on() -> None:
        assert follows.wait(30)
        with lease.transaction() as writing:
            live(writing, search_id, 1, 0.4)
        lease.release(state, "because")

    thread = threading.Thread(target=go_on)
    thread.start()
    said = run("watch", search_id[:6])
    thread.join()
    assert said.exit_code == code
    assert "individual 0:" not in said.stdout
    assert "new best: individual 1, mAP50-95 0.4000, +0.3000 (+300.0%) over the default" in said.stdout
    assert f"watched ({search_id}) {state}: because" in said.stdout
    assert f"{service.url}/searches/{search_id}" in said.stdout
    assert "evolve report" not in said.stdout


def test_a_search_that_has_ended_is_summed_up(
    run: Run, submit: Callable[..., str], service: RunningService
) -> None:
    search_id = submit()
    drive(service.ledger, search_id, [0.1, 0.3], SearchState.FAILED)
    service.ledger.acquire(search_id).release(SearchState.COMPLETED, "all done")
    said = run("watch", search_id).stdout
    assert said.count("completed: all done") == 1
    assert "individual 1, mAP50-95 0.3000" in said


def test_a_failure_in_the_past_does_not_end_the_watch(
    run: Run, submit: Callable[..., str], service: RunningService, follows: threading.Event
) -> None:
    search_id = submit()
    drive(service.ledger, search_id, [0.1], SearchState.FAILED)
    lease = service.ledger.acquire(search_id)
    with lease.transaction() as writing:
        writing.start(resumed=True)

    def go_on() -> None:
        assert follows.wait(30)
        with lease.transaction() as writing:
            live(writing, search_id, 1, 0.4)
        lease.release(SearchState.FAILED, "once more")

    thread = threading.Thread(target=go_on)
    thread.start()
    said = run("watch", search_id)
    thread.join()
    assert "failed: once more" in said.stdout
    again = run("watch", search_id)
    assert again.exit_code == said.exit_code == 1
    assert again.stdout.count("failed: once more") == 1


def test_a_state_of_a_newer_server_is_explained(run: Run, submit: Callable[..., str], client: Client) -> None:
    search = replace(client.search(submit()), state="levitating")
    with pytest.raises(ServiceError, match="'levitating', which this client does not know"):
        search_record(search)


def test_watch_speaks_json(
    run: Run, submit: Callable[..., str], service: RunningService, follows: threading.Event
) -> None:
    search_id = submit()

    def driver() -> None:
        assert follows.wait(30)
        drive(service.ledger, search_id, [0.1])

    thread = threading.Thread(target=driver)
    thread.start()
    lines = run("watch", search_id, "--json").stdout.splitlines()
    thread.join()
    assert json.loads(lines[0])["kind"] == "search_started"
    assert json.loads(lines[-1])["kind"] == "search_finished"


def test_submit_and_watch_in_one(run: Run, client: Client, service: RunningService) -> None:
    def driver() -> None:
        while not client.searches(name="both").count:
            time.sleep(0.05)
        drive(service.ledger, client.search("both").id, [0.2])

    thread = threading.Thread(target=driver)
    thread.start()
    options = ["--space", "demo", "--objective", "synthetic", "--name", "both", "--watch"]
    said = run("submit", *options)
    thread.join()
    assert said.exit_code == 0
    assert "waits for workers (priority 0)" in said.stderr
    assert "individual 0: mAP50-95 0.2000" in said.stdout


def test_searches_are_listed_paused_resumed_and_cancelled(
    run: Run, submit: Callable[..., str], client: Client, service: RunningService
) -> None:
    search_id = submit("--name", "steered")
    listed = run("list", "--server", service.url, "--limit", "1").stdout
    assert search_id in listed
    assert "steered" in listed
    assert json.loads(run("list", "--server", service.url, "--json").stdout)[0]["id"] == search_id
    assert f"evolve resume {search_id} --server {service.url}" in run("pause", "steered").stdout
    assert client.search(search_id).request == "pause"
    run("resume", "steered", "--server", service.url)
    assert client.search(search_id).request is None
    run("cancel", "steered", "--server", service.url)
    assert client.search(search_id).request == "cancel"
    with pytest.raises(InputError, match="--server"):
        run("resume", "steered", "--server", service.url, "--workers", "2")
    with pytest.raises(InputError, match="add its id"):
        run("resume", "--server", service.url)


def command(service: RunningService, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "EVOLVE_SERVER": service.url}
    line = [sys.executable, "-m", "evolve", *arguments]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_control_c_stops_watching_only(service: RunningService, submit: Callable[..., str]) -> None:
    search_id = submit()
    lease = drive(service.ledger, search_id, [0.1], None)
    watching = command(service, "logs", search_id, "--follow"), command(service, "watch", search_id, "--json")
    seen = threading.Event()

    def chatter() -> None:  # until somebody watches, which takes a moment
        while not seen.wait(0.2):
            with lease.transaction() as writing:
                writing.notice("here")

    chatting = threading.Thread(target=chatter)
    chatting.start()
    assert watching[0].stdout is not None
    assert watching[1].stdout is not None
    assert "search_created" in watching[0].stdout.readline()
    assert json.loads(watching[1].stdout.readline())["kind"] == "notice"
    seen.set()
    chatting.join()
    asked = time.monotonic()
    for each in watching:
        each.send_signal(signal.SIGINT)
    said = [each.communicate(timeout=20) for each in watching]
    assert time.monotonic() - asked < 10
    assert [each.returncode for each in watching] == [130, 130]
    assert "Traceback" not in said[0][1] + said[1][1]
    assert f"goes on; look again with: evolve watch {search_id}" in said[1][1]
    lease.release(SearchState.COMPLETED)


def test_an_error_ends_the_process_with_one_line() -> None:
    environment = {**os.environ, "EVOLVE_SERVER": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-m", "evolve", "watch", "x"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("evolve: --server: must be an address")


def test_the_help_warns_about_keys_on_a_command_line() -> None:
    for name in ("submit", "watch", "logs", "pause"):
        said = " ".join(CliRunner().invoke(app, [name, "--help"]).stdout.split())
        assert "other users of this machine can see a command line" in said
        assert "EVOLVE_API_KEY" in said
        assert "EVOLVE_SERVER" in said
