"""The client against the real service on a real server."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from api.schemas import answers, webhooks
from evolve import client as package
from evolve.client import Client, Event, Search, http
from evolve.client import client as client_module
from evolve.exceptions import (
    InputError,
    NotFound,
    ServiceAway,
    ServiceError,
    SpaceError,
    StateConflict,
)
from evolve.ledger import SearchState
from evolve.space import load_space
from evolve.trial import TrialResult, TrialState
from ledger_fixtures import METRIC, begin, live
from running_service import RunningService, drive


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    service = RunningService(tmp_path_factory.mktemp("service"))
    yield service
    service.close()


@pytest.fixture
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BACKOFF_SECONDS", (0.02, 0.2))
    monkeypatch.setattr(client_module, "WAIT_SECONDS", 0.05)


class CuttingProxy:
    """Stands between client and server, and cuts connections after the request went through, before the answer.

    Args:
        port: The server's.
        cut: How many connections to cut.
    """

    def __init__(self, port: int, cut: int) -> None:
        self._port = port
        self.cut = cut
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                cut = self.cut > 0
                self.cut -= cut
                threading.Thread(target=self._serve, args=(near, cut), daemon=True).start()

    def _serve(self, near: socket.socket, cut: bool) -> None:
        with near, socket.create_connection(("127.0.0.1", self._port)) as far:
            back = threading.Thread(target=pump, args=(far, near, cut), daemon=True)
            back.start()
            pump(near, far, False)
            back.join()


def pump(source: socket.socket, target: socket.socket, cut: bool) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            if cut:  # the answer has come, so the request was served
                break
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def submit(client: Client, **options: object) -> Search:
    return client.submit("demo", **{"data": "demo", "objective": "synthetic", **options})


def test_a_submission_arrives_as_it_was_meant(client: Client, service: RunningService) -> None:
    pokes = service.supervisor.pokes
    submitted = client.submit(
        "demo.yaml",
        data="demo",
        name="<script>alert(1)</script>",
        overrides={"search.generations": 2, "train.epochs": 1, "weights": "none"},
        priority=7,
        hours=1.5,
        evaluations=5,
    )
    assert service.supervisor.pokes > pokes
    found = client.search(submitted.id)
    assert (found.name, found.state, found.priority) == ("<script>alert(1)</script>", "created", 7)
    assert found.document["search"]["generations"] == 2
    assert found.document["stop"]["hours"] == 1.5
    assert found.individuals == 2 * found.document["search"]["population"]
    assert found.data == "demo"


def test_a_space_may_come_in_several_forms(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ngenes:\n  lr0: {type: float, low: 0.001, high: 0.1, default: 0.01}\n")
    space = load_space(file)
    forms = [file, str(file), space, space.document()]
    checked = [client.check(form, data="demo", objective="synthetic") for form in forms]
    assert {each.name for each in checked} == {"mine"}
    assert len({str(each.document) for each in checked}) == 1
    assert client.submit(file, objective="synthetic").name == "mine"


def test_a_form_that_is_none_is_refused(client: Client, tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="there is no such file"):
        client.submit(tmp_path / "gone.yaml")
    with pytest.raises(InputError, match="must be one of"):
        client.submit("gone.yaml", data="demo")
    binary, long = tmp_path / "binary.yaml", tmp_path / "long.yaml"
    binary.write_bytes(b"\xff\xfe")
    long.write_bytes(b"#" * 70_000)
    with pytest.raises(SpaceError, match="must be UTF-8"):
        client.submit(binary)
    with pytest.raises(SpaceError, match="at most 64 KiB"):
        client.submit(long)
    with pytest.raises(InputError, match=r"data: must be the id of a registered data set.*registered are demo"):
        client.submit("demo", data="nothing")
    with pytest.raises(InputError, match="weights"):
        client.submit("demo", data="demo", overrides={"weights": "http://evil.example/x.pt"})


def test_a_broken_connection_doubles_no_search(client: Client, service: RunningService) -> None:
    proxy = CuttingProxy(service.port, cut=3)
    with Client(proxy.url) as shaky:
        submitted = submit(shaky, name="once")
    proxy.close()
    assert proxy.cut == 0
    assert [each.id for each in client.searches(name="once")] == [submitted.id]


def test_a_key_of_ones_own_names_a_submission(client: Client) -> None:
    first = submit(client, name="mine", idempotency_key="job-7")
    assert submit(client, name="mine", idempotency_key="job-7").id == first.id
    assert submit(client, name="mine").id != first.id
    with pytest.raises(StateConflict, match="job-7"):
        submit(client, name="another", idempotency_key="job-7")


def test_searches_are_listed_and_found(client: Client) -> None:
    made = [submit(client, name=f"found-{number}", priority=number) for number in range(3)]
    page = client.searches(text="found-", order="-priority", limit=2)
    assert [each.name for each in page] == ["found-2", "found-1"]
    assert (len(page), page.count) == (2, 3)
    assert client.searches(states=["failed", "paused"], text="found-").count == 0
    assert client.searches(states=["created"], text="found-").count == 3
    newest = submit(client, name="found-0")
    assert client.search("found-0").id == newest.id
    assert client.search(made[1].id).id == client.search(made[1].id[:6]).id == made[1].id
    for nothing in ("nothing", "", "..", "../datasets", "a b", "x" * 90):
        with pytest.raises(NotFound):
            client.search(nothing)


def test_a_search_is_steered(client: Client, service: RunningService) -> None:
    search = submit(client)
    assert client.pause(search.id).request == "pause"
    assert client.resume(search.id).request is None
    assert client.prioritise(search.id, -5).priority == -5
    assert client.cancel(search.id).request == "cancel"
    service.ledger.acquire(search.id).release(SearchState.CANCELLED)
    with pytest.raises(StateConflict, match="must be unfinished"):
        client.pause(search.id)
    client.delete(search.id)
    with pytest.raises(NotFound):
        client.delete(search.id)


def test_a_deletion_over_a_broken_connection_succeeds(client: Client, service: RunningService) -> None:
    search = submit(client)
    proxy = CuttingProxy(service.port, cut=1)
    with Client(proxy.url) as shaky:
        shaky.delete(search.id)
    proxy.close()
    with pytest.raises(NotFound):
        client.search(search.id)


def test_what_was_found_can_be_had(client: Client, service: RunningService, tmp_path: Path) -> None:
    search = submit(client, name="results")
    weights = Path(service.ledger.search(search.id).directory) / "best.pt"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights" * 100_000)
    lease = service.ledger.acquire(search.id)
    with lease.transaction() as writing:
        writing.start(resumed=False)
        live(writing, search.id, 0, 0.3)
        begin(writing, search.id, 1)
        result = TrialResult({METRIC: 0.5}, effective={}, weights=str(weights), epochs=1, seconds=1.0)
        writing.completed(1, 1, result)
        writing.evaluated(1, state=TrialState.COMPLETED, fitness=0.5, metrics={METRIC: 0.5})
    lease.release(SearchState.COMPLETED)
    assert [each.best for each in client.generations(search.id)] == [0.5]
    assert [each.number for each in client.individuals(search.id, sort="-fitness")] == [1, 0]
    assert client.individuals(search.id, states=["failed"]).count == 0
    one = client.individual(search.id, 0)
    assert one.evaluations[0].epochs_trained == 3
    assert one.epochs[0].metrics == {METRIC: 0.5}
    assert one.lineage[0].number == 0
    best = client.best(search.id)
    assert (best.individual, best.fitness, best.has_weights) == (1, 0.5, True)
    assert client.best_yaml(search.id).lstrip().startswith("#")
    assert client.weights(search.id, tmp_path).read_bytes() == weights.read_bytes()
    assert client.weights(search.id, tmp_path / "new" / "w.pt").stat().st_size == 700_000
    with pytest.raises(NotFound):
        client.weights("gone", tmp_path / "gone.pt")
    assert not (tmp_path / "gone.pt").exists()
    with pytest.raises(InputError, match="weights cannot be written"):
        client.weights(search.id, "/proc/nowhere/w.pt")
    assert "<html" in client.report(search.id, tmp_path / "report.html").read_text().lower()
    other = submit(client)
    comparison = client.compare([search.id, other.id])
    assert [each.search.id for each in comparison.data] == [search.id, other.id]


def test_a_download_that_breaks_off_begins_anew(client: Client, service: RunningService, tmp_path: Path) -> None:
    search = submit(client)
    drive(service.ledger, search.id, [0.5])
    proxy = CuttingProxy(service.port, cut=2)
    with Client(proxy.url) as shaky:
        assert "<html" in shaky.report(search.id, tmp_path / "r.html").read_text().lower()
    proxy.close()


def test_events_come_from_the_past_and_as_they_happen(client: Client, service: RunningService) -> None:
    search = submit(client)
    lease = drive(service.ledger, search.id, [0.1, 0.2], None)
    seen: list[Event] = []
    reader = threading.Thread(target=lambda: seen.extend(client.events(search.id)), daemon=True)
    reader.start()
    time.sleep(0.3)
    with lease.transaction() as writing:
        writing.notice("\u2028 separators \x85 and a name: <b>")
    so_far = [each.sequence for each in client.events(search.id, follow=False)]
    assert so_far == list(range(1, service.ledger.events(search.id)[-1].sequence + 1))
    assert list(client.events(search.id, so_far[-1], follow=False)) == []
    lease.release(SearchState.COMPLETED)
    reader.join(20)
    assert not reader.is_alive()
    recorded = service.ledger.events(search.id)
    assert [each.sequence for each in seen] == [each.sequence for each in recorded]
    assert [each.kind for each in seen] == [each.kind for each in recorded]
    assert "\u2028 separators \x85 and a name: <b>" in [each.data.get("message") for each in seen]
    assert [each.sequence for each in client.events(search.id, after=3)] == [each.sequence for each in recorded[3:]]
    assert list(client.events(search.id, after=10_000)) == []
    with pytest.raises(NotFound):
        next(client.events("nothing"))


def test_a_restart_of_the_server_loses_and_repeats_no_event(tmp_path: Path) -> None:
    service = RunningService(tmp_path)
    client = Client(service.url)
    search = submit(client)
    lease = drive(service.ledger, search.id, [0.1], None)
    seen: list[int] = []
    reader = threading.Thread(
        target=lambda: seen.extend(event.sequence for event in client.events(search.id)), daemon=True
    )
    reader.start()
    time.sleep(0.3)
    service.stop()
    with lease.transaction() as writing:
        for number in range(1, 600):
            writing.notice(str(number))
    time.sleep(0.3)
    service.start()
    lease.release(SearchState.COMPLETED)
    reader.join(30)
    assert not reader.is_alive()
    assert seen == list(range(1, service.ledger.events(search.id, limit=1000)[-1].sequence + 1))
    client.close()
    service.close()


@pytest.mark.parametrize("state", [SearchState.COMPLETED, SearchState.FAILED, SearchState.CANCELLED])
def test_waiting_ends_with_the_search(client: Client, service: RunningService, state: SearchState) -> None:
    search = submit(client)
    assert client.wait(search.id, 0.2).state == "created"
    timer = threading.Timer(0.2, drive, (service.ledger, search.id, [0.1], state))
    timer.start()
    found = client.wait(search.id, 20)
    timer.join()
    assert (found.state, found.best_fitness) == (state, 0.1)


def test_waiting_outlasts_a_server_that_is_away(tmp_path: Path) -> None:
    service = RunningService(tmp_path)
    with Client(service.url, retries=0) as client:
        search = submit(client)
        service.stop()
        with pytest.raises(ServiceAway):
            client.wait(search.id, patience=0.2)
        timer = threading.Timer(0.5, service.start)
        timer.start()
        drive(service.ledger, search.id, [0.1])
        assert client.wait(search.id, 20).state == "completed"
        timer.join()
    service.close()


def test_keys_decide_who_may_do_what(tmp_path: Path) -> None:
    service = RunningService(tmp_path)
    with Client(service.url) as local:
        admin = local.create_key("root", "admin")
    with Client(service.url, admin.key) as root:
        reading, submitting = root.create_key("r"), root.create_key("s", "submit")
        assert {(each.name, each.key) for each in root.keys().data} == {("root", ""), ("r", ""), ("s", "")}
        with Client(service.url, submitting.key) as client:
            search = submit(client)
            assert client.search(search.id).submitted_by == submitting.id
            with pytest.raises(ServiceError, match="scope admin is needed") as refused:
                client.keys()
            assert refused.value.status == 403
        with Client(service.url, reading.key) as client:
            assert client.searches().count == 1
            with pytest.raises(ServiceError, match="scope submit is needed"):
                submit(client)
        root.revoke_key(reading.id)
        with Client(service.url, reading.key) as client, pytest.raises(ServiceError, match="EVOLVE_API_KEY"):
            client.searches()
    time.sleep(1.1)  # the service remembers for a second that it had no keys
    with Client(service.url) as nobody, pytest.raises(ServiceError, match="EVOLVE_API_KEY") as refused:
        nobody.searches()
    assert refused.value.status == 401
    service.close()


def test_spaces_and_data_sets(client: Client, tmp_path: Path) -> None:
    assert "demo" in {each.name for each in client.spaces()}
    assert client.space("demo")["name"] == "demo"
    assert [each.id for each in client.datasets()] == ["demo"]
    with pytest.raises(InputError, match="absolute path"):
        client.register_dataset("mine", "relative.yaml")
    with pytest.raises(NotFound):
        client.remove_dataset("mine")


def test_nobody_at_home() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with Client(f"http://127.0.0.1:{taken.getsockname()[1]}", retries=1) as client:
            with pytest.raises(ServiceAway, match="start it with `evolve serve`"):
                client.searches()
            with pytest.raises(ServiceAway):
                next(client.events("1", patience=0.1))


NAMES = {
    "Search": "SearchSummary",
    "Generation": "GenerationSummary",
    "Individual": "IndividualSummary",
    "Epoch": "EpochPoint",
    "Best": "BestConfiguration",
    "Space": "SpaceSummary",
    "Dataset": "DatasetSummary",
    "Key": "CreatedKey",
    "Webhook": "CreatedWebhook",
    "WebhookTest": "TestedWebhook",
}


@pytest.mark.parametrize("name", [name for name in package.__all__ if name not in ("Client", "Page", "Event")])
def test_records_hold_what_the_service_says(name: str) -> None:
    home = webhooks if name.startswith("Webhook") else answers
    schema = getattr(home, NAMES.get(name, name))
    assert {field.name for field in dataclasses.fields(getattr(package, name))} == set(schema.model_fields)
