"""`evolve serve` as a process: it starts, leaves in time, is alone, and finds its drivers again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from api.options import is_loopback
from api.server import check_host, listen
from api.supervisor.pool import read_pool
from evolve.exceptions import InputError
from evolve.ledger import SearchState
from supervision import Site, kill, site, wait_for

ANSWER_SECONDS = 180.0
LEAVE_SECONDS = 15.0
SPACE = {
    "name": "made",
    "fitness": "metrics/mAP50-95(B)",
    "genes": {"x": {"type": "float", "low": 0, "high": 1, "default": 0.2}},
}


class Service:
    """A running `evolve serve`.

    Args:
        home: Its home.
        options: Of the command line.
    """

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "evolve", "serve", "--port", "0", *options],
            env=environment(home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self._said.append(line)

    @property
    def said(self) -> str:
        return "".join(self._said)

    @property
    def url(self) -> str:
        """Where it answers, as soon as it does."""
        wait_for(
            lambda: "Ctrl-C ends" in self.said or self.process.poll() is not None,
            lambda: self.said,
            ANSWER_SECONDS,
        )
        assert self.process.poll() is None, self.said
        return json.loads((self.home / "serve.json").read_text())["url"]

    def end(self, number: signal.Signals) -> float:
        """Send a signal; returns the seconds that it takes to leave."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(60)
        self._reader.join(5)
        return time.monotonic() - began


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EVOLVE_", "MLFLOW_"))}
    return {**kept, "EVOLVE_HOME": str(home), "EVOLVE_REQUESTS_PER_SECOND": "1000"}


@contextlib.contextmanager
def serving(home: Path, *options: str) -> Iterator[Service]:
    """A service that is killed at the end if it has not left."""
    service = Service(home, *options)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.end(signal.SIGKILL)


def evolve(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evolve", *arguments],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path) as opened:
        yield opened


INLINE = ("--pool", "inline", "--no-mlflow-ui")


def submit(url: str, name: str, generations: int, population: int = 2, delay: float = 0.1) -> str:
    space = {**SPACE, "train": {"epochs": 2, "delay": delay}}
    space["search"] = {"population": population, "generations": generations}
    body = {"space": space, "objective": "synthetic", "name": name}
    answer = httpx.post(f"{url}/api/v1/searches", json=body, timeout=60)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_it_answers_trains_and_leaves_in_time_whatever_is_open(home: Site) -> None:
    with serving(home.settings.home, *INLINE) as service, contextlib.ExitStack() as open_connections:
        url = service.url
        assert httpx.get(f"{url}/healthz", timeout=30).status_code == 200
        assert f"dashboard  {url}/" in service.said
        assert "no key yet" in service.said
        search = submit(url, "first", generations=500)
        home.until_evaluated(search)
        host, port = url.removeprefix("http://").split(":")
        streams = [
            open_connections.enter_context(contextlib.closing(socket.create_connection((host, int(port)), 30)))
            for _ in range(20)
        ]
        for stream in streams:
            stream.sendall(f"GET /api/v1/searches/{search}/events HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
            assert stream.recv(4096).startswith(b"HTTP/1.1 200")
        idle = open_connections.enter_context(contextlib.closing(socket.create_connection((host, int(port)), 30)))
        idle.sendall(b"POST /api/v1/searches HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        driver = home.pid(search)
        assert service.end(signal.SIGTERM) < LEAVE_SECONDS
        assert service.process.returncode == 0
        assert "1 search goes on without it" in service.said
        assert "Traceback" not in service.said
    assert psutil.pid_exists(driver)
    home.until_evaluated(search, home.search(search).evaluated + 1)
    ended = evolve(home.settings.home, "serve", "--stop")
    assert ended.returncode == 0
    assert "drivers ended: 1" in ended.stdout
    assert home.search(search).state is SearchState.INTERRUPTED
    wait_for(lambda: not psutil.pid_exists(driver))
    assert "nothing to end" in evolve(home.settings.home, "serve", "--stop").stdout


def test_a_service_that_is_killed_finds_its_drivers_again(home: Site) -> None:
    with serving(home.settings.home, *INLINE, "--workers", "2") as service:
        searches = [submit(service.url, f"search {number}", generations=500) for number in range(2)]
        for search in searches:
            home.until_evaluated(search)
        drivers = [home.pid(search) for search in searches]
        service.end(signal.SIGKILL)
    with serving(home.settings.home, *INLINE, "--workers", "2") as service:
        url = service.url
        second = evolve(home.settings.home, "serve", "--port", "0", *INLINE)
        assert second.returncode == 2
        assert len(second.stderr.splitlines()) == 1
        assert f"process {service.process.pid} at {url} serves it" in second.stderr
        cancelled = httpx.post(f"{url}/api/v1/searches/{searches[0]}/cancel", timeout=30)
        assert cancelled.is_success, cancelled.text
        home.until(searches[0], SearchState.CANCELLED)
        assert home.pid(searches[1]) == drivers[1]
        assert [home.starts(search) for search in searches] == [1, 1]
        ended = evolve(home.settings.home, "serve", "--stop")
        assert "the service at" in ended.stdout
        assert "drivers ended: 1" in ended.stdout
        service.process.wait(30)
    assert home.search(searches[1]).state is SearchState.INTERRUPTED


class Clients:
    """Ten clients that submit a hundred searches, each again and again until it is answered."""

    def __init__(self, url: str) -> None:
        self.answered: dict[int, str] = {}
        self.refusals: list[str] = []
        self._url = url
        self._gone = threading.Event()

    def __enter__(self) -> Clients:
        self._threads = [threading.Thread(target=self._submit, args=(first,)) for first in range(10)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._gone.set()
        for thread in self._threads:
            thread.join()

    def _submit(self, first: int) -> None:
        with httpx.Client(base_url=self._url, timeout=10) as client:
            for number in range(first, 100, 10):
                while number not in self.answered and not self._gone.wait(0.05):
                    with contextlib.suppress(httpx.TransportError):
                        self._submit_one(client, number)

    def _submit_one(self, client: httpx.Client, number: int) -> None:
        body = {"space": SPACE, "objective": "synthetic", "name": f"s{number}"}
        key = {"Idempotency-Key": f"submission-{number}"}
        answer = client.post("/api/v1/searches", json=body, headers=key)
        if answer.is_success:
            self.answered[number] = str(answer.json()["id"])
        else:
            self.refusals.append(answer.text)


def test_a_service_that_is_killed_amid_submissions_loses_and_doubles_none(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    options = (*INLINE, "--port", port)
    with serving(tmp_path, *options) as service, Clients(service.url) as clients:
        wait_for(lambda: len(clients.answered) >= 20, lambda: clients.refusals, ANSWER_SECONDS)
        service.end(signal.SIGKILL)
        killed_after = len(clients.answered)
        with serving(tmp_path, *options) as following:
            wait_for(lambda: len(clients.answered) == 100, lambda: clients.refusals, ANSWER_SECONDS)
            listed = httpx.get(f"{following.url}/api/v1/searches?limit=200", timeout=30).json()
            assert following.end(signal.SIGTERM) < LEAVE_SECONDS
    assert clients.refusals == []
    assert killed_after < 100
    assert sorted(search["name"] for search in listed["data"]) == sorted(f"s{number}" for number in range(100))
    assert {search["id"] for search in listed["data"]} == set(clients.answered.values())
    assert evolve(tmp_path, "serve", "--stop").returncode == 0


def refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_other_machines_are_not_let_in_without_a_key(tmp_path: Path) -> None:
    said = refused(evolve(tmp_path, "serve", "--host", "0.0.0.0", "--port", "0", *INLINE))
    assert said.startswith("evolve: --host 0.0.0.0: without a key")
    assert "evolve key create NAME --scope admin" in said


@pytest.mark.parametrize("host", ["", "::", "0.0.0.0", "192.0.2.1", "example.org", "127.0.0.1.example.org", "10.1"])
def test_addresses_that_others_may_reach_need_a_key(host: str) -> None:
    with pytest.raises(InputError, match=r"--host .*: without a key"):
        check_host(host, has_keys=False)
    check_host(host, has_keys=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "::1", "127.9.9.9"])
def test_addresses_of_this_machine_alone_need_none(host: str) -> None:
    check_host(host, has_keys=False)


def test_a_name_with_several_addresses_gets_one_port_on_all_of_them() -> None:
    sockets = listen("localhost", 0)
    try:
        assert len({each.getsockname()[1] for each in sockets}) == 1
        assert all(is_loopback(each.getsockname()[0]) for each in sockets)
    finally:
        for each in sockets:
            each.close()


@pytest.mark.parametrize("host", ["nonsense.invalid", "x" * 300, "192.0.2.1"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    with pytest.raises(InputError, match=r"--(host|port) .*: must be") as refusal:
        listen(host, 0)
    assert "\n" not in str(refusal.value)


def test_with_a_key_other_machines_are_let_in(tmp_path: Path) -> None:
    assert evolve(tmp_path, "key", "create", "boss", "--scope", "admin").returncode == 0
    with serving(tmp_path, "--host", "0.0.0.0", *INLINE) as service:
        assert httpx.get(f"{service.url}/healthz", timeout=30).status_code == 200
        assert httpx.get(f"{service.url}/api/v1/searches", timeout=30).status_code == 401
        assert "A key is needed" in service.said
        assert service.end(signal.SIGINT) < LEAVE_SECONDS
        assert service.process.returncode == 0
        assert "no search is running" in service.said


def test_what_cannot_be_served_is_refused_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = refused(evolve(tmp_path, "serve", "--port", port, *INLINE))
        assert f"--port {port}: must be free on 127.0.0.1, but got Address already in use" in said
    said = refused(evolve(tmp_path, "serve", "--port", "0", "--workers", "99999", "--no-mlflow-ui"))
    assert "--workers 99999: each trial must find 0.125 CPUs" in said
    said = refused(evolve(tmp_path, "serve", "--pool", "inline", "--ray-address", "127.0.0.1:6379"))
    assert "--pool inline" in said


@pytest.mark.slow
def test_the_mlflow_ui_ends_with_the_service_however_that_ends(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for number in (signal.SIGKILL, signal.SIGTERM):
        with serving(tmp_path, "--pool", "inline", "--mlflow-port", str(port)) as service:
            assert service.url
            assert f"MLflow     http://127.0.0.1:{port}" in service.said
            wait_for(lambda: answers(port), (tmp_path / "mlflow-ui.log").read_text, ANSWER_SECONDS)
            below = psutil.Process(service.process.pid).children(recursive=True)
            assert below
            service.end(number)
            _, alive = psutil.wait_procs(below, timeout=15)
            assert alive == []


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).is_success
    except httpx.TransportError:
        return False


def workers_of(home: Site, search: str) -> set[str]:
    return {each.worker for each in home.ledger.evaluations(search) if each.worker}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_searches_share_a_ray_that_outlives_the_service_and_its_own_death_costs_nothing(home: Site) -> None:
    options = ("--workers", "2", "--no-mlflow-ui")
    file = home.settings.home / "pool.json"
    with serving(home.settings.home, *options) as service:
        first = submit(service.url, "first", generations=500)
        home.until_evaluated(first)
        pool = read_pool(file)
        assert pool is not None
        assert file.stat().st_mode & 0o077 == 0
        second = submit(service.url, "second", generations=500)
        home.until_evaluated(second)
        assert [home.search(search).allotment for search in (first, second)] == [1, 1]
        assert workers_of(home, first).isdisjoint(workers_of(home, second))
        drivers = [home.pid(first), home.pid(second)]
        service.end(signal.SIGKILL)
    home.until_evaluated(first, home.search(first).evaluated + 3)
    with serving(home.settings.home, *options) as service:
        httpx.post(f"{service.url}/api/v1/searches/{first}/cancel", timeout=30)
        home.until(first, SearchState.CANCELLED)
        wait_for(lambda: home.search(second).allotment == 2)
        wait_for(lambda: len(home.ledger.running(second)) == 2)
        assert home.pid(second) == drivers[1]
        assert read_pool(file) == pool
        kill(int(pool["pid"]))
        trained = home.search(second).trained
        wait_for(lambda: read_pool(file) not in (None, pool), lambda: service.said, 120)
        home.until_evaluated(second, trained + 3)
        completed = [each for each in home.ledger.evaluations(second) if each.state == "completed"]
        assert len({each.individual for each in completed}) == len(completed)
        ended = evolve(home.settings.home, "serve", "--stop")
        assert "the pool of workers ended" in ended.stdout
        service.process.wait(30)
    assert read_pool(file) is None
