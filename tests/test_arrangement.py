"""What a team deploys, running: each command of `docker-compose.yml` in a container, and a search through all.

PostgreSQL, MLflow with its login, a Ray head, a Ray worker and the service have addresses, process ids and file
systems of their own, see `containers`; only the images are this machine's own programs.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from arrangement import Arrangement, Messenger
from containers import Container, Unavailable, check_this_machine
from spaces import document

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

API = "http://evolve:8000/api/v1"
MLFLOW = "http://mlflow:5000/api/2.0/mlflow"
POPULATION, GENERATIONS = 4, 2


@dataclass(frozen=True)
class Team:
    """What runs, a key to the service, and who asks: from its published side, and from among the services."""

    running: Arrangement
    key: str
    stranger: Container
    outside: Messenger
    behind: Messenger

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """An answer of the service to somebody with a key on its published side."""
        headers = {"Authorization": f"Bearer {self.key}"}
        status, answer = self.outside.ask(method, API + path, headers, body)
        assert status in (200, 201), answer
        return answer

    def mlflow(self, path: str, body: dict[str, Any]) -> Any:
        """An answer of MLflow to its administrator."""
        password = self.running.secrets["MLFLOW_ADMIN_PASSWORD"]
        login = base64.b64encode(f"evolve:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {login}"}
        status, answer = self.behind.ask("POST", MLFLOW + path, headers, body)
        assert status == 200, answer
        return answer

    @property
    def service(self) -> Container:
        return self.running.engine.containers["evolve"]

    def submit(self, name: str, **train: float) -> str:
        space = document(train=train, search={"population": POPULATION, "generations": GENERATIONS})
        made = self.api("POST", "/searches", {"space": space, "objective": "synthetic", "name": name})
        assert made["state"] == "created"
        return str(made["id"])

    def wait(self, search: str, seconds: float = 120, **wanted: Any) -> dict[str, Any]:
        """Until all that is wanted of a search holds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found: dict[str, Any] = self.api("GET", f"/searches/{search}")
            if all(found[name] == value for name, value in wanted.items()):
                return found
            assert found["state"] not in ("failed", "cancelled"), found
            time.sleep(0.5)
        log = self.service.enter(["cat", f"/var/lib/evolve/searches/{search}/driver.log"]).stdout
        raise AssertionError(f"not {wanted}: {found}\n{log[-2000:]}\n{self.service.said[-3000:]}")


@pytest.fixture(scope="module")
def team() -> Iterator[Team]:
    """All of it, started in the order that the file demands, with a key that was made as docs/deploy.md says."""
    pgserver = pytest.importorskip("pgserver", reason="pgserver brings the PostgreSQL server")
    try:
        check_this_machine()
    except Unavailable as error:
        pytest.skip(f"no containers here: {error}")
    folder = Path(tempfile.mkdtemp(prefix="evolve-team-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "datasets").mkdir()
    binaries = Path(pgserver.__file__).parent / "pginstall/bin"
    running = Arrangement(folder, binaries, {"EVOLVE_DATASETS": f"{folder}/datasets", "EVOLVE_SHM_SIZE": "1gb"})
    try:
        running.up("postgres")
        said = running.run("evolve", ["evolve", "key", "create", "me", "--scope", "admin"])
        (key,) = [line for line in said.splitlines() if line.startswith("evk_")]
        running.up()
        stranger = running.stranger(["frontend"])
        messengers = [Messenger(stranger), Messenger(running.engine.containers["ray-head"])]
        yield Team(running, key, stranger, *messengers)
        for each in messengers:
            each.close()
    finally:
        running.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_search_goes_through_all_of_it(team: Team) -> None:
    search = team.submit("together", epochs=2, delay=0.1)
    done = team.wait(search, state="completed")
    assert done["evaluated"] == POPULATION * GENERATIONS

    attempts = [attempt for one in individuals(team, search) for attempt in one["evaluations"]]
    workers = {attempt["worker"].partition(":")[0] for attempt in attempts}
    assert workers == {"ray-worker"}

    # MLflow follows the ledger, and may be some seconds behind
    deadline = time.monotonic() + 60
    wanted = {"FINISHED": 1 + GENERATIONS + POPULATION * GENERATIONS}
    while (found := runs_of(team, "together")) != wanted and time.monotonic() < deadline:
        time.sleep(0.5)
    assert found == wanted


def individuals(team: Team, search: str) -> list[dict[str, Any]]:
    numbers = range(POPULATION * GENERATIONS)
    return [team.api("GET", f"/searches/{search}/individuals/{number}") for number in numbers]


def runs_of(team: Team, name: str) -> dict[str, int]:
    """How many runs an experiment has, by state."""
    found = team.mlflow("/experiments/search", {"max_results": 100}).get("experiments", [])
    wanted = [each["experiment_id"] for each in found if each["name"] == name]
    if not wanted:
        return {}
    runs = team.mlflow("/runs/search", {"experiment_ids": wanted, "max_results": 100}).get("runs", [])
    return dict(Counter(run["info"]["status"] for run in runs))


def test_nobody_is_let_in_without_a_key_or_a_password(team: Team) -> None:
    status, answer = team.outside.ask("GET", f"{API}/searches")
    assert status == 401, answer
    status, answer = team.behind.ask("POST", f"{MLFLOW}/experiments/search", body={"max_results": 1})
    assert status == 401, answer
    for node in ("ray-head", "ray-worker"):
        assert team.behind.ask("GET", f"http://{node}:52365/api/local_raylet_healthz")[0] == 200
        job = {"entrypoint": "id"}
        assert team.behind.ask("POST", f"http://{node}:52365/api/job_agent/jobs/", body=job)[0] == 401
    connect = "import sys, psycopg; psycopg.connect(sys.argv[1], password=sys.argv[2], connect_timeout=5)"
    for role, password, said in (
        ("evolve", "wrong", "password authentication failed"),
        ("mlflow", team.running.secrets["MLFLOW_DB_PASSWORD"], "permission denied for database"),
    ):
        refused = team.service.enter(["python", "-c", connect, f"postgresql://{role}@postgres/evolve", password])
        assert said in refused.stderr


def test_only_the_service_is_reached_from_outside(team: Team) -> None:
    engine = team.running.engine
    assert team.outside.ask("GET", "http://evolve:8000/healthz")[0] == 200
    for name, port in (("postgres", 5432), ("mlflow", 5000), ("ray-head", 6379), ("ray-head", 10001)):
        address = engine.address(name, "backend")
        code = f"import socket; socket.create_connection(({address!r}, {port}), 1)"
        done = team.stranger.enter(["python3", "-c", code])
        assert done.returncode == 1
        assert "Error" in done.stderr


def test_a_stop_of_the_service_ends_its_drivers_in_order_and_a_start_goes_on(team: Team) -> None:
    search = team.submit("interrupted", epochs=10, delay=0.25)
    team.wait(search, state="running")
    assert team.service.stop(60) == 0, team.service.said
    assert "drivers ended: 1;" in team.service.said

    team.running.up("evolve")
    team.wait(search, state="completed", evaluated=POPULATION * GENERATIONS)
    states = Counter(attempt["state"] for one in individuals(team, search) for attempt in one["evaluations"])
    assert states["completed"] == POPULATION * GENERATIONS  # nothing that was finished was trained again
    assert states["interrupted"] >= 1
    assert set(states) == {"completed", "interrupted"}
