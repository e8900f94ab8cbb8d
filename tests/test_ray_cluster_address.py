"""`--ray-address` against a Ray that somebody else started: a real head in processes of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolve.ledger import Ledger, SearchState
from evolve.yaml_io import dump_yaml
from ray_nodes import RayNode, environment, free_port, new_token
from spaces import OBJECTIVE, document

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def head() -> Iterator[RayNode]:
    """A head on the loopback interface."""
    node = RayNode(new_token(), free_port())
    try:
        yield node.wait()
    finally:
        node.stop()


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


def test_a_search_runs_to_its_end_on_a_cluster_that_outlives_it(head: RayNode, tmp_path: Path) -> None:
    done = evolve(tmp_path, head.token, head.address)
    assert done.returncode == 0, done.stdout + done.stderr
    with Ledger(f"sqlite:///{tmp_path}/home/evolve.db") as ledger:
        search = ledger.search("mine")
        workers = {one.worker for n in range(8) for one in ledger.evaluations(search.id, n)}
    assert search.state is SearchState.COMPLETED
    assert search.evaluated == 8
    assert len(workers - {""}) == 2
    assert head.process.is_running()


@pytest.mark.parametrize("token", [None, "0" * 64])
def test_a_cluster_that_does_not_let_us_in_is_named_in_one_line(
    head: RayNode, tmp_path: Path, token: str | None
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
