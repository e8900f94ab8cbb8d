"""MLflow as a user of the command line meets it: `evolve ui`, and an MLflow that is away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from evolve.yaml_io import dump_yaml
from spaces import OBJECTIVE, document

SECONDS = 90


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def evolve_ui(home: Path, port: int) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return subprocess.Popen(
        [sys.executable, "-m", "evolve", "ui", "--port", str(port)],
        env={**kept, "EVOLVE_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_open(port: int) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                assert answer.status == 200
                return
        except urllib.error.URLError:
            time.sleep(0.3)
    raise AssertionError(f"nothing answered within {SECONDS} s")


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_interface_is_small_and_a_signal_ends_all_of_it(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    ui = evolve_ui(tmp_path, port)
    try:
        wait_until_open(port)
        below = psutil.Process(ui.pid).children(recursive=True)
        assert len(below) <= 3  # and not MLflow's workers for judging language models
    finally:
        ui.send_signal(number)
        said, complaints = ui.communicate(timeout=30)
    assert ui.returncode == 0
    assert f"http://127.0.0.1:{port}" in said
    assert "Traceback" not in complaints
    _, alive = psutil.wait_procs(below, timeout=5)
    assert alive == []


def test_a_taken_port_is_refused_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ui = evolve_ui(tmp_path, port)
        _, complaints = ui.communicate(timeout=60)
    assert ui.returncode == 2
    assert (
        complaints.strip() == f"evolve: --port {port}: must be free, but Address already in use; choose another one"
    )


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "nonsense://there"])
def test_an_mlflow_that_is_away_is_one_line(tmp_path: Path, uri: str) -> None:
    (tmp_path / "space.yaml").write_text(dump_yaml(document(search={"population": 2, "generations": 1})))
    environment = {**os.environ, "EVOLVE_HOME": str(tmp_path / "home"), "MLFLOW_TRACKING_URI": uri}
    environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"  # its own ones last half a minute

    def evolve(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "evolve", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
        )

    searched = evolve("run", "--space", "space.yaml", "--objective", OBJECTIVE, "--inline")
    assert searched.returncode == 0
    assert len(searched.stderr.splitlines()) == 1
    assert "the rest is delivered later" in searched.stderr

    synced = evolve("sync")
    assert synced.returncode == 1
    assert len(synced.stderr.splitlines()) == 1
    assert f"MLFLOW_TRACKING_URI: MLflow must answer at {uri}" in synced.stderr
