"""A search on two Ray nodes, one of which dies on the way."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolve.exceptions import EvolveError
from evolve.ledger import EvaluationRecord, Ledger, SearchState
from evolve.trial import FailureKind, TrialState
from evolve.yaml_io import dump_yaml
from ray_nodes import RayNode, environment, free_port, new_token
from spaces import OBJECTIVE, document

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

POPULATION, GENERATIONS = 4, 4
QUICKLY = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3"}
"""How a head finds out that a node is gone; by itself it takes a quarter of a minute."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[RayNode, RayNode]]:
    """A head and a node that joined it, with room for one trial each; the last test ends the second."""
    token, port = new_token(), free_port()
    head = RayNode(token, port, cpus=1, settings=QUICKLY)
    other: RayNode | None = None
    try:
        head.wait()
        other = RayNode(token, port, joins=True, cpus=1, settings=QUICKLY)
        yield head, other.wait()
    finally:
        for node in (other, head):
            if node is not None:
                node.stop()


def test_a_node_without_the_token_cannot_join(nodes: tuple[RayNode, RayNode]) -> None:
    stranger = RayNode(new_token(), nodes[0].port, joins=True)
    try:
        assert stranger.exit_code(60) != 0
        assert "Ray runtime started" not in stranger.said()
    finally:
        stranger.stop()


def test_a_search_survives_the_death_of_a_node(nodes: tuple[RayNode, RayNode], tmp_path: Path) -> None:
    head, other = nodes
    driver = start_search(tmp_path, head)
    try:
        lost = wait_for_a_trial_on_both(driver, tmp_path, head, other)
        other.kill()
        said, complaints = driver.communicate(timeout=150)
    finally:
        driver.kill()
        driver.wait()
    assert driver.returncode == 0, said + complaints

    with Ledger(f"sqlite:///{tmp_path}/home/evolve.db") as ledger:
        search = ledger.search("mine")
        evaluations = ledger.evaluations(search.id)
        individuals = ledger.individuals(search.id)
    assert search.state is SearchState.COMPLETED
    assert search.evaluated == POPULATION * GENERATIONS
    assert all(individual.state is TrialState.COMPLETED for individual in individuals)

    failed = [each for each in evaluations if each.state is TrialState.FAILED]
    assert (lost.individual, lost.attempt) in [(each.individual, each.attempt) for each in failed]
    for each in failed:
        assert each.failure is FailureKind.INFRASTRUCTURE
        assert other.runs(each.worker) or not each.worker
    retried = [each for each in evaluations if each.individual == lost.individual][-1]
    assert retried.attempt > lost.attempt
    assert retried.state is TrialState.COMPLETED
    assert head.process.is_running()


def start_search(folder: Path, head: RayNode) -> subprocess.Popen[str]:
    sections = {
        "name": "mine",
        "train": {"epochs": 4, "delay": 0.4},
        "search": {"population": POPULATION, "generations": GENERATIONS},
    }
    space = folder / "space.yaml"
    space.write_text(dump_yaml(document(**sections)))
    command = [sys.executable, "-m", "evolve", "run", "--space", str(space), "--objective", OBJECTIVE, "--json"]
    return subprocess.Popen(
        [*command, "--workers", "2", "--ray-address", head.address],
        env=environment(head.token, folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_a_trial_on_both(
    driver: subprocess.Popen[str], folder: Path, head: RayNode, other: RayNode
) -> EvaluationRecord:
    """Until both nodes have trained, and the other one is at it; the trial that it is at."""
    deadline = time.monotonic() + 120
    trained: set[bool] = set()
    while time.monotonic() < deadline and driver.poll() is None:
        for each in evaluations_so_far(folder):
            at_home, away = head.runs(each.worker), other.runs(each.worker)
            if each.state is TrialState.COMPLETED:
                assert at_home != away, each.worker
                trained.add(at_home)
            elif each.state is TrialState.RUNNING and away and trained == {True, False}:
                return each
        time.sleep(0.1)
    driver.kill()
    raise AssertionError(f"no trial on both nodes: {trained}; {driver.communicate()}")


def evaluations_so_far(folder: Path) -> list[EvaluationRecord]:
    try:
        with Ledger(f"sqlite:///{folder}/home/evolve.db") as ledger:
            return [each for each in ledger.evaluations(ledger.search("mine").id) if each.worker]
    except EvolveError:  # the driver has not begun
        return []
