"""`--ray-address` against a Ray that somebody else started: a real head in processes of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from evolve.ledger import Ledger, SearchState
from evolve.yaml_io import dump_yaml
from spaces import OBJECTIVE, document

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@dataclass(frozen=True)
class Head:
    """A running head node: where it listens, and the token that it asks for."""

    address: str
    token: str
    processes: psutil.Process


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A head on the loopback interface, which ends with the process group that it was started in."""
    folder = tempfile.mkdtemp(prefix="evolve-head-", dir="/tmp")  # a short path, for Ray's sockets
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(32)
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--include-dashboard=false"]
    command += ["--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2", f"--temp-dir={folder}"]
    command += ["--object-store-memory=80000000", "--disable-usage-stats"]
    process = subprocess.Popen(
        command,
        env=environment(token),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    head = Head(f"127.0.0.1:{port}", token, psutil.Process(process.pid))
    try:
        wait_until_it_answers(port, process)
        yield head
    finally:
        below = head.processes.children(recursive=True)
        process.send_signal(signal.SIGTERM)
        psutil.wait_procs(below, timeout=20)
        for one in below:
            if one.is_running():
                one.kill()
        process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def environment(token: str | None, home: Path | None = None) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "EVOLVE_", "MLFLOW_"))
    }
    kept |= {"RAY_AUTH_MODE": "token"} | ({} if token is None else {"RAY_AUTH_TOKEN": token})
    return kept if home is None else {**kept, "EVOLVE_HOME": str(home / "home"), "HOME": str(home)}


def wait_until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                time.sleep(3)  # the node registers with it
                return
        time.sleep(0.2)
    raise AssertionError("the head did not start")


def evolve(folder: Path, token: str | None, address: str) -> subprocess.CompletedProcess[str]:
    space = folder / "space.yaml"
    space.write_text(dump_yaml({**document(search={"population": 4, "generations": 2}), "name": "mine"}))
    arguments = ["run", "--space", str(space), "--objective", OBJECTIVE, "--workers", "2", "--ray-address", address]
    return subprocess.run(
        [sys.executable, "-m", "evolve", *arguments],
        env=environment(token, folder),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )


def test_a_search_runs_to_its_end_on_a_cluster_that_outlives_it(head: Head, tmp_path: Path) -> None:
    done = evolve(tmp_path, head.token, head.address)
    assert done.returncode == 0, done.stdout + done.stderr
    with Ledger(f"sqlite:///{tmp_path}/home/evolve.db") as ledger:
        search = ledger.search("mine")
        workers = {one.worker for n in range(8) for one in ledger.evaluations(search.id, n)}
    assert search.state is SearchState.COMPLETED
    assert search.evaluated == 8
    assert len(workers - {""}) == 2
    assert head.processes.is_running()


@pytest.mark.parametrize("token", [None, "0" * 64])
def test_a_cluster_that_does_not_let_us_in_is_named_in_one_line(
    head: Head, tmp_path: Path, token: str | None
) -> None:
    refused(evolve(tmp_path, token, head.address), head.address)


def test_an_address_where_nothing_listens_is_named_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        refused(evolve(tmp_path, None, address), address)


def refused(done: subprocess.CompletedProcess[str], address: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert f"--ray-address: must be a running Ray cluster that lets us in, but got '{address}'" in done.stderr
