"""A Ray cluster that is started anew under a search, as after a crash or an upgrade of its head."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolve.exceptions import EvolveError
from evolve.ledger import Ledger, SearchState
from evolve.trial import TrialState
from evolve.yaml_io import dump_yaml
from ray_nodes import RayNode, environment, free_port, new_token
from spaces import OBJECTIVE, document

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

POPULATION, GENERATIONS = 4, 2
UNAVAILABLE = 69


@pytest.fixture
def heads() -> Iterator[list[RayNode]]:
    """A head; those that are put beside it end with it."""
    started = [RayNode(new_token(), free_port())]
    try:
        started[0].wait()
        yield started
    finally:
        for node in started:
            node.stop()


def evolve(folder: Path, head: RayNode, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "evolve", *arguments, "--workers", "2", "--ray-address", head.address],
        env=environment(head.token, folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def evaluated(folder: Path) -> int:
    try:
        with Ledger(f"sqlite:///{folder}/home/evolve.db") as ledger:
            return ledger.search("mine").evaluated
    except EvolveError:  # the driver has not begun
        return 0


def test_a_driver_ends_when_its_cluster_was_started_anew_and_another_goes_on(
    heads: list[RayNode], tmp_path: Path
) -> None:
    sections = {
        "name": "mine",
        "train": {"epochs": 4, "delay": 0.5},
        "search": {"population": POPULATION, "generations": GENERATIONS},
    }
    (tmp_path / "space.yaml").write_text(dump_yaml(document(**sections)))
    driver = evolve(tmp_path, heads[0], "run", "--space", "space.yaml", "--objective", OBJECTIVE, "--json")
    try:
        deadline = time.monotonic() + 90
        while evaluated(tmp_path) < 2:
            assert driver.poll() is None, driver.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        heads[0].kill()
        heads.append(RayNode(heads[0].token, heads[0].port).wait())
        _, complaints = driver.communicate(timeout=90)
    finally:
        driver.kill()
        driver.wait()
    assert driver.returncode == UNAVAILABLE
    ours = [line for line in complaints.splitlines() if line.startswith("evolve: ")]
    assert ours[-1].startswith("evolve: the Ray cluster was started anew; `evolve resume` goes on"), complaints

    resumed = evolve(tmp_path, heads[1], "resume", "mine", "--json")
    said, complaints = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, said + complaints
    with Ledger(f"sqlite:///{tmp_path}/home/evolve.db") as ledger:
        search = ledger.search("mine")
        evaluations = ledger.evaluations(search.id)
    assert search.state is SearchState.COMPLETED
    assert search.evaluated == POPULATION * GENERATIONS
    trained = [each.individual for each in evaluations if each.state is TrialState.COMPLETED]
    assert sorted(trained) == list(range(POPULATION * GENERATIONS))
