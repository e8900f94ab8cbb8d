"""What only the Ray dispatcher does: real processes that die, hang, are shared, replaced and left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dispatch_helpers import collect, make_spec, verdict, workers_of
from evolve.dispatch import Completed, Failed, Reported, Stopped
from evolve.exceptions import InputError
from evolve.trial import Failure, FailureKind
from workers.ray_cluster import RayCluster
from workers.ray_dispatcher import RayDispatcher
from workers.shares import Share

pytestmark = pytest.mark.slow

Make = Callable[..., RayDispatcher]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    cluster = RayCluster(gpus=1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    yield cluster
    cluster.close()


@pytest.fixture
def make(cluster: RayCluster) -> Iterator[Make]:
    """Makes a dispatcher on the shared Ray, and closes it after the test."""
    made: list[RayDispatcher] = []

    def dispatcher(objective: str = "synthetic", *, workers: int = 1, **options: Any) -> RayDispatcher:
        made.append(RayDispatcher(objective, workers=workers, cluster=cluster, **options))
        return made[-1]

    yield dispatcher
    for one in made:
        one.close()


def failure_in(events: list[Any], trial_id: str) -> Failure:
    failed = verdict(events, trial_id)
    assert isinstance(failed, Failed)
    return failed.failure


def is_dead(pid: int) -> bool:
    """Whether a process has ended, even if its parent has not noticed."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def pid_of(worker: str) -> int:
    return int(worker.rpartition(":")[2])


def test_a_worker_stays_warm_between_trials_and_after_a_stop(make: Make) -> None:
    dispatcher = make()
    for individual in range(3):
        dispatcher.submit(make_spec(individual))
    events = collect(dispatcher, ended=3)
    dispatcher.submit(make_spec(3, epochs=1000, delay=0.05))
    events += collect(dispatcher, reported=1)
    dispatcher.stop("s-3.1")
    events += collect(dispatcher, ended=1)
    dispatcher.submit(make_spec(4))
    events += collect(dispatcher, ended=1)
    assert len(workers_of(events)) == 5
    assert len(set(workers_of(events))) == 1


def test_a_failure_of_the_genes_keeps_the_worker_and_a_crash_does_not(make: Make) -> None:
    dispatcher = make()
    failures = {"0": "diverge", "1": "crash"}
    for individual in range(3):
        dispatcher.submit(make_spec(individual, failures=failures))
    first, second, third = workers_of(collect(dispatcher, ended=3))
    assert first == second != third


def test_more_slots_train_at_once_and_fewer_leave_what_runs_alone(make: Make) -> None:
    dispatcher = make(cpus_per_trial=0.5)
    for individual in range(2):
        dispatcher.submit(make_spec(individual, epochs=1000, delay=0.05))
    collect(dispatcher, reported=1)
    dispatcher.resize(2)
    events = collect(dispatcher, reported=1)
    while not workers_of(events):
        events += collect(dispatcher, reported=1)
    dispatcher.resize(1)
    assert len(workers_of(collect(dispatcher, reported=20))) == 0, "both go on"
    assert dispatcher.slots == 1
    dispatcher.submit(make_spec(2))
    dispatcher.stop("s-1.1")
    assert collect(dispatcher, ended=1, seconds=30)[-1] == Stopped("s-1.1")
    leaver = pid_of(workers_of(events)[0])
    wait_for(lambda: is_dead(leaver), seconds=30)
    assert workers_of(dispatcher.events(0.5)) == [], "one runs, and one is all there may be"
    dispatcher.stop("s-0.1")
    events = collect(dispatcher, ended=2, seconds=30)
    assert isinstance(verdict(events, "s-2.1"), Completed)


def test_workers_that_do_not_train_leave_at_once(make: Make) -> None:
    dispatcher = make(workers=2, cpus_per_trial=0.5)
    for individual in range(2):
        dispatcher.submit(make_spec(individual, delay=0.5))
    pids = {pid_of(worker) for worker in workers_of(collect(dispatcher, ended=2))}
    dispatcher.resize(0)
    wait_for(lambda: all(is_dead(pid) for pid in pids), seconds=30)
    dispatcher.resize(1)
    dispatcher.submit(make_spec(2))
    assert isinstance(verdict(collect(dispatcher, ended=1), "s-2.1"), Completed)


def test_a_worker_retires_after_its_trials_without_leaving_its_slot_empty(make: Make) -> None:
    dispatcher = make(recycle_after=2, cpus_per_trial=0.5)
    started: list[str] = []
    deadline = time.monotonic() + 40
    individual = 0
    while len(set(started)) < 2 and time.monotonic() < deadline:
        dispatcher.submit(make_spec(individual, delay=0.05))
        events = collect(dispatcher, ended=1, seconds=5)
        started += workers_of(events)
        individual += 1
    assert len(set(started)) == 2
    assert started.count(started[0]) >= 2
    wait_for(lambda: is_dead(pid_of(started[0])), seconds=30)


def test_a_worker_that_is_killed_is_infrastructure_and_its_slot_comes_back(make: Make) -> None:
    dispatcher = make()
    dispatcher.submit(make_spec(0, epochs=1000, delay=0.05))
    (worker,) = workers_of(collect(dispatcher, reported=1))
    os.kill(pid_of(worker), signal.SIGKILL)
    dispatcher.submit(make_spec(1))
    events = collect(dispatcher, ended=2)
    assert failure_in(events, "s-0.1").kind is FailureKind.INFRASTRUCTURE
    assert isinstance(verdict(events, "s-1.1"), Completed)
    assert workers_of(events) != [worker]


def test_a_trial_that_hangs_is_killed(make: Make) -> None:
    dispatcher = make("objectives_for_tests:never_ends_its_epoch", hang_timeout=1.5)
    dispatcher.submit(make_spec(0))
    events = collect(dispatcher, ended=1)
    assert failure_in(events, "s-0.1").kind is FailureKind.HANG
    assert "no report for" in failure_in(events, "s-0.1").message


def test_a_stop_that_is_not_obeyed_kills_the_worker(make: Make) -> None:
    dispatcher = make("objectives_for_tests:never_ends_its_epoch", stop_grace=1.0)
    dispatcher.submit(make_spec(0))
    (worker,) = workers_of(collect(dispatcher, reported=1))
    dispatcher.stop("s-0.1")
    assert collect(dispatcher, ended=1, seconds=10) == [Stopped("s-0.1")]
    wait_for(lambda: is_dead(pid_of(worker)), seconds=30)


def test_children_of_a_trial_die_with_its_worker(make: Make) -> None:
    dispatcher = make("objectives_for_tests:starts_a_child", stop_grace=0.0)
    dispatcher.submit(make_spec(0))
    (report,) = [event.report for event in collect(dispatcher, reported=1) if isinstance(event, Reported)]
    child = int(report.metrics["fitness"])
    assert psutil.pid_exists(child)
    dispatcher.stop("s-0.1")
    collect(dispatcher, ended=1)
    wait_for(lambda: is_dead(child), seconds=30)


@pytest.mark.parametrize(
    ("objective", "said"), [("reports_unpicklable", "must return or yield a number"), ("exits", "SystemExit: 3")]
)
def test_odd_ends_are_failures_of_the_code(make: Make, objective: str, said: str) -> None:
    dispatcher = make(f"objectives_for_tests:{objective}")
    dispatcher.submit(make_spec(0))
    failure = failure_in(collect(dispatcher, ended=1), "s-0.1")
    assert failure.kind is FailureKind.CODE
    assert said in failure.message


def test_an_objective_that_cannot_be_imported_fails_its_trials_one_by_one(make: Make) -> None:
    dispatcher = make("no_such_module:train")
    for individual in range(2):
        dispatcher.submit(make_spec(individual))
        events = collect(dispatcher, ended=1)
        assert [type(event) for event in events] == [Failed]
        failure = failure_in(events, f"s-{individual}.1")
        assert failure.kind is FailureKind.CODE
        assert "no_such_module" in failure.message


def test_a_slot_that_found_no_worker_is_filled_when_there_is_work(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first two processes that import this module, the second fails."""
    (tmp_path / "starts_badly.py").write_text(
        "import os\n"
        "number = next(n for n in range(9) if not os.path.exists(str(n)) and not os.mkdir(str(n)))\n"
        "assert number != 1\n"
        "from workers.synthetic import SyntheticObjective\n"
    )
    monkeypatch.chdir(tmp_path)
    dispatcher = make("starts_badly:SyntheticObjective", workers=2, cpus_per_trial=0.5)
    wait_for(lambda: dispatcher.events(0.1) or (tmp_path / "1").exists(), seconds=60)
    dispatcher.events(3.0)
    dispatcher.submit(make_spec(0, epochs=1000, delay=0.05))
    dispatcher.submit(make_spec(1))
    events = collect(dispatcher, ended=1)
    assert isinstance(verdict(events, "s-1.1"), Completed)


def test_temporary_files_of_workers_go_with_a_local_ray(make: Make) -> None:
    dispatcher = make("objectives_for_tests:tells_its_temporary_folder")
    dispatcher.submit(make_spec(0))
    assert "/evolve-ray-" in failure_in(collect(dispatcher, ended=1), "s-0.1").message


def test_the_users_own_module_is_found_and_reads_its_folder(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_training.py").write_text(
        "from pathlib import Path\ndef train(spec):\n    return float(Path('value.txt').read_text())\n"
    )
    (tmp_path / "value.txt").write_text("0.25")
    monkeypatch.chdir(tmp_path)
    dispatcher = make("my_training:train")
    dispatcher.submit(make_spec(0))
    completed = verdict(collect(dispatcher, ended=1), "s-0.1")
    assert isinstance(completed, Completed)
    assert completed.result.metrics == {"fitness": 0.25}


def test_two_trials_share_a_gpu(make: Make, tmp_path: Path) -> None:
    dispatcher = make("objectives_for_tests:meets_on_a_gpu", workers=2, gpus_per_trial=0.5)
    for individual in range(2):
        dispatcher.submit(make_spec(individual, tmp_path))
    events = collect(dispatcher, ended=2)
    for individual in range(2):
        completed = verdict(events, f"s-{individual}.1")
        assert isinstance(completed, Completed)
        assert completed.result.metrics == {"met": 1.0}
        assert completed.result.effective == {"CUDA_VISIBLE_DEVICES": "0"}


def test_too_many_workers_are_refused_in_one_line(make: Make) -> None:
    with pytest.raises(InputError) as refused:
        make(workers=3, gpus_per_trial=0.5)
    message = str(refused.value)
    assert "\n" not in message
    for part in ("--workers 3", "0.5 GPUs", "room for 2", "1 GPUs", "--gpus-per-trial", "--ray-address"):
        assert part in message


def test_more_workers_than_the_cores_can_bear_are_refused(make: Make) -> None:
    with pytest.raises(InputError, match=r"--workers 999: each trial must find 0\.125 CPUs"):
        make(workers=999)


@pytest.mark.parametrize(
    ("share", "node", "room"),
    [
        (Share(1, 0.3), {"CPU": 64.0, "GPU": 2.0}, 6),
        (Share(1, 0.6), {"CPU": 64.0, "GPU": 2.0}, 2),
        (Share(8, 2), {"CPU": 64.0, "GPU": 5.0}, 2),
        (Share(8, 1), {"CPU": 16.0, "GPU": 8.0}, 2),
        (Share(0.3333, 0), {"CPU": 1.0}, 3),
        (Share(1, 1), {"CPU": 8.0}, 0),
    ],
)
def test_room_on_a_node(share: Share, node: dict[str, float], room: int) -> None:
    assert share.fits(node) == room


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "nowhere"])
def test_a_cluster_that_is_not_there_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="--ray-address: must be"):
        RayCluster(address)


def test_a_local_ray_listens_on_the_loopback_interface_only(cluster: RayCluster) -> None:
    own = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    listening = [
        connection.laddr.ip
        for connection in psutil.net_connections("tcp")
        if connection.pid in own and connection.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert all(address.removeprefix("::ffff:").startswith("127.") for address in listening), listening


DRIVER = """
import signal, sys, time
from dispatch_helpers import make_spec, collect
from workers.ray_dispatcher import RayDispatcher
interrupts = []
signal.signal(signal.SIGINT, lambda *_: interrupts.append("SIGINT"))
signal.signal(signal.SIGTERM, lambda *_: interrupts.append("SIGTERM"))
dispatcher = RayDispatcher("objectives_for_tests:starts_a_child", workers=1)
dispatcher.submit(make_spec(0))
print([type(event).__name__ for event in collect(dispatcher, reported=1)], flush=True)
while len(interrupts) < 2:
    time.sleep(0.05)
print(interrupts, dispatcher.events(3.0), flush=True)
time.sleep(600)
"""


def test_signals_reach_the_driver_alone_and_its_death_ends_everything(tmp_path: Path) -> None:
    tests = Path(__file__).parent
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        env={**os.environ, "PYTHONPATH": f"{tests}:{tests.parent}", "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert driver.stdout is not None
    with driver, driver.stdout:
        assert driver.stdout.readline() == "['Started', 'Reported']\n"
        os.killpg(driver.pid, signal.SIGINT)
        time.sleep(0.5)
        driver.send_signal(signal.SIGTERM)
        assert driver.stdout.readline() == "['SIGINT', 'SIGTERM'] []\n"
        family = psutil.Process(driver.pid).children(recursive=True)
        assert {"raylet", "gcs_server", "sleep"} <= {process.name() for process in family}
        folders = {process.environ().get("EVOLVE_RAY_DIRECTORY", "") for process in family} - {""}
        driver.kill()
        driver.wait()
        wait_for(lambda: not any(is_alive(process) for process in family), seconds=15)
    (folder,) = folders
    assert not Path(folder).exists()


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_for(condition: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)
