"""The pools that drivers train on: how they are started, shared, watched and ended; real Rays are in test_serve."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from api.options import ServiceOptions
from api.supervisor.choice import make_pool
from api.supervisor.cluster import ClusterPool, Survey
from api.supervisor.pool import InlinePool, LocalPool, end_pool, read_pool
from evolve.compose.capacity import room
from evolve.environment import cpu_count, memory_bytes
from evolve.exceptions import InputError
from evolve.settings import Settings
from supervision import wait_for
from workers import ray_pool

HOLDER = """
import fcntl, json, os, sys, time, psutil
time.sleep(0.3)
found = {"address": "127.0.0.1:1", "token": os.environ.get("RAY_AUTH_TOKEN", "t"), "pid": os.getpid()}
found["started"] = psutil.Process().create_time()
draft = sys.argv[1] + ".draft"
open(draft, "w").write(json.dumps(found))
os.replace(draft, sys.argv[1])
time.sleep(60)
"""


def local_pool(file: Path, program: str = HOLDER) -> LocalPool:
    """A pool whose process only looks like one."""
    pool = LocalPool(file, slots=3, cpus=2, gpus=1, cpus_per_trial=0.5, gpus_per_trial=0.25)
    pool._command = [sys.executable, "-c", program, str(file)]
    return pool


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "pool.json"
    end_pool(tmp_path / "pool.json")


def test_a_local_pool_is_started_when_it_is_needed_and_found_by_the_next_service(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of another Ray")
    pool = local_pool(file)
    assert (pool.slots, pool.slots_of_a_search, pool.gpus) == (3, 3, 1.0)
    assert not file.exists()
    assert not pool.is_ready
    assert not pool.is_ready, "still starting, and not started twice"
    wait_for(lambda: pool.is_ready)
    found = read_pool(file)
    assert found is not None
    assert pool.arguments == [
        *("--ray-address", "127.0.0.1:1", "--cpus-per-trial", "0.5", "--gpus-per-trial", "0.25")
    ]
    assert pool.environment["RAY_AUTH_TOKEN"] == "t", "and not the token of another Ray"
    pool.close(for_good=False)
    following = local_pool(file)
    assert following.is_ready
    assert read_pool(file) == found
    following.close(for_good=True)
    wait_for(lambda: read_pool(file) is None)


def test_who_inherits_the_lock_keeps_the_pool(file: Path) -> None:
    pool = local_pool(file)
    wait_for(lambda: pool.is_ready)
    with pool.held() as files:
        child = subprocess.Popen(["sleep", "60"], pass_fds=files)
    with open(file.with_suffix(".lock"), "ab") as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child.kill()
        child.wait()
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError), pool.held():
            pass
    pool.close(for_good=True)


def test_a_pool_that_an_unseen_driver_holds_is_not_ended(file: Path) -> None:
    pool = local_pool(file)
    wait_for(lambda: pool.is_ready)
    with pool.held():
        pool.close(for_good=True)
        assert read_pool(file) is not None
    pool.close(for_good=True)
    wait_for(lambda: read_pool(file) is None)


def test_a_pool_that_does_not_start_is_tried_again_after_a_pause(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("api.supervisor.pool.FIRST_RETRY_SECONDS", 0.5)
    pool = local_pool(file, "import sys; sys.exit('no room for Ray')")
    with caplog.at_level(logging.WARNING):
        wait_for(lambda: pool.is_ready or caplog.messages)
        assert caplog.messages == ["the pool of workers ended: no room for Ray"]
        assert not pool.is_ready
        pool._command = local_pool(file)._command
        wait_for(lambda: pool.is_ready)
    pool.close(for_good=True)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"pid": 1, "started": 0}', '{"pid": "x", "started": 1}'])
def test_a_file_that_names_no_living_pool_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "pool.json").write_text(text)
    assert read_pool(tmp_path / "pool.json") is None
    assert not end_pool(tmp_path / "pool.json")


def test_a_pool_that_does_not_end_is_killed(file: Path) -> None:
    pool = local_pool(file, "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HOLDER)
    wait_for(lambda: pool.is_ready)
    found = read_pool(file)
    assert found is not None
    began = time.monotonic()
    assert end_pool(file, seconds=0.5)
    assert 0.5 < time.monotonic() - began < 10
    assert read_pool(file) is None, "killed, although its parent has not noticed"
    pool.close(for_good=True)


def test_a_pool_waits_as_long_as_somebody_holds_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_pool, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(ray_pool, "LOOK_SECONDS", 0.05)
    path, ended = tmp_path / "pool.lock", threading.Event()
    with path.open("ab") as own, path.open("ab") as other, path.open("ab") as late:
        fcntl.flock(other, fcntl.LOCK_SH)
        waiting = threading.Thread(target=ray_pool._wait, args=(own.fileno(), ended))
        waiting.start()
        time.sleep(0.8)
        assert waiting.is_alive()
        fcntl.flock(other, fcntl.LOCK_UN)
        waiting.join(10)
        assert not waiting.is_alive()
        with pytest.raises(BlockingIOError):
            fcntl.flock(late, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_pool_that_is_told_to_end_does_not_wait(tmp_path: Path) -> None:
    ended = threading.Event()
    ended.set()
    with (tmp_path / "pool.lock").open("ab") as lock:
        ray_pool._wait(lock.fileno(), ended)


SURVEY = """
import json, sys, time
print(json.dumps([{"CPU": 4.0, "memory": 1e11}, {"CPU": 16.0, "GPU": 2.0, "memory": 1e11}]), flush=True)
if sys.argv[1] == "leave":
    sys.exit("the head is gone")
sys.stdin.read() if sys.argv[1] == "stay" else time.sleep(600)
"""


def cluster_pool(tmp_path: Path, then: str, most: int | None, gpus: float | None) -> ClusterPool:
    command = [sys.executable, "-c", SURVEY, then]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Survey, "_command_for", lambda self, address: command)
        return ClusterPool("head:6379", most, gpus, tmp_path / "cluster.log")


@pytest.mark.parametrize(
    ("most", "gpus", "slots"), [(None, None, 2), (None, 0.5, 4), (3, 0.5, 3), (None, 0.0, 20), (None, 4.0, 0)]
)
def test_a_cluster_has_as_many_slots_as_its_living_nodes(
    tmp_path: Path, most: int | None, gpus: float | None, slots: int
) -> None:
    pool = cluster_pool(tmp_path, "stay", most, gpus)
    try:
        assert pool.slots == 0, "nothing is known of it yet"
        wait_for(lambda: pool.is_ready)
        assert (pool.slots, pool.gpus) == (slots, 2.0)
        share = [] if gpus is None else ["--gpus-per-trial", f"{gpus:g}"]
        assert pool.arguments == ["--ray-address", "head:6379", *share]
        with pool.held() as files:
            assert files == ()
    finally:
        pool.close(for_good=True)


def test_a_cluster_that_does_not_answer_any_more_has_no_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("api.supervisor.cluster.STALE_SECONDS", 1.0)
    pool = cluster_pool(tmp_path, "leave", None, None)
    try:
        wait_for(lambda: pool.slots == 2)
        wait_for(lambda: pool.slots == 0)
        assert not pool.is_ready
        wait_for(lambda: "the cluster does not answer: the head is gone" in caplog.messages)
    finally:
        pool.close(for_good=True)


def test_a_watcher_that_is_not_answered_is_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.supervisor.cluster.STALE_SECONDS", 3.0)
    monkeypatch.setattr("api.supervisor.cluster.RETRY_SECONDS", 0.1)
    pool = cluster_pool(tmp_path, "hang", None, None)
    try:
        wait_for(lambda: pool.slots == 2)
        first = pool._survey._process
        wait_for(lambda: pool.slots == 2 and pool._survey._process is not first)
    finally:
        pool.close(for_good=True)


def test_the_watcher_of_a_cluster_ends_with_the_pool(tmp_path: Path) -> None:
    pool = cluster_pool(tmp_path, "stay", None, None)
    wait_for(lambda: pool.is_ready)
    process = pool._survey._process
    assert process is not None
    pool.close(for_good=True)
    assert process.poll() == -signal.SIGKILL


def test_a_service_gets_the_pool_that_it_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = {"CPU": 16.0, "GPU": 4.0, "memory": 1e11}
    monkeypatch.setattr("api.supervisor.choice.this_machine", lambda: machine)
    settings = Settings(home=tmp_path)

    def made(**options: object) -> object:
        return make_pool(settings, ServiceOptions(**options))  # type: ignore[arg-type]

    inline = made(pool="inline", workers=3, gpus_per_trial=0.5)
    assert isinstance(inline, InlinePool)
    assert (inline.slots, inline.slots_of_a_search, inline.gpus) == (3, 1, 4.0)
    assert inline.arguments == ["--inline", "--gpus-per-trial", "0.5"]
    local = made()
    assert isinstance(local, LocalPool)
    assert (local.slots, local._shares) == (4, ["--cpus-per-trial", "4", "--gpus-per-trial", "1"])
    shared = made(gpus_per_trial=0.25)
    assert isinstance(shared, LocalPool)
    assert (shared.slots, shared._shares) == (16, ["--cpus-per-trial", "1", "--gpus-per-trial", "0.25"])
    without = made(gpus_per_trial=0.0)
    assert isinstance(without, LocalPool)
    assert without.slots == 16
    with pytest.raises(InputError, match=r"--workers 5: each trial must find 3 CPUs and 1 GPUs, but this machine"):
        made(workers=5)
    machine["GPU"] = 0.0
    small = made()
    assert isinstance(small, LocalPool)
    assert (small.slots, small._shares) == (16, ["--cpus-per-trial", "1", "--gpus-per-trial", "0"])


def test_room_without_gpus_is_bounded_by_memory() -> None:
    assert room([{"CPU": 16.0, "memory": 9e9}, {"CPU": 2.0, "memory": 9e9}], 0.0) == 6
    assert room([], 1.0) == room([], 0.0) == 0


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 8), ("150000 100000", 1), ("400000 100000", 4), ("", 8)]
)
def test_a_container_counts_the_cores_and_the_memory_that_it_may_use(
    monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    limits = {"cpu.max": quota, "memory.max": "1000000"}
    monkeypatch.setattr("evolve.environment._control_group", limits.__getitem__)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert cpu_count() == cores
    assert memory_bytes() == 1000000
    limits["memory.max"] = "max"
    assert memory_bytes() == psutil.virtual_memory().total
