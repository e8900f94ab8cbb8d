"""Webhooks from end to end: registered over REST, told by the running service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.routes import webhooks
from api.webhooks import dispatcher, verify
from evolve.client import Client
from evolve.exceptions import InputError, NotFound, StateConflict
from evolve.ledger import SearchState
from running_service import RunningService, drive
from webhook_receiver import Receiver

ALL = ["search_finished", "search_failed", "new_best"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(dispatcher, "BACKOFF_SECONDS", (0.05, 0.2))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    service = RunningService(tmp_path, webhook_allow="127.0.0.1")
    yield service
    service.close()


@pytest.fixture
def client(service: RunningService) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def test_a_hook_is_told_and_a_restart_of_the_service_loses_nothing(
    client: Client, service: RunningService, receiver: Receiver
) -> None:
    hook = client.add_webhook(receiver.url, ALL)
    first, second = (client.submit("demo", data="demo", objective="synthetic") for _ in range(2))
    drive(service.ledger, first.id, [0.1, 0.2])
    receiver.wait(lambda: len(receiver.taken) == 3)
    service.stop()
    drive(service.ledger, second.id, [0.3], SearchState.FAILED)
    service.start()
    receiver.wait(lambda: len(receiver.taken) == 5)
    assert [(each["kind"], each["search"]["id"]) for each in receiver.taken] == [
        ("new_best", first.id),
        ("new_best", first.id),
        ("search_finished", first.id),
        ("new_best", second.id),
        ("search_failed", second.id),
    ]
    assert all(verify(hook.secret, body, headers["X-Evolve-Signature"]) for headers, body in receiver.received)
    client.remove_webhook(hook.id)
    assert client.webhooks().count == 0
    with pytest.raises(NotFound):
        client.remove_webhook(hook.id)


def test_the_secret_is_shown_once(client: Client, service: RunningService, receiver: Receiver) -> None:
    search = client.submit("demo", data="demo", objective="synthetic")
    hook = client.add_webhook(receiver.url, ["new_best", "new_best"], search.id)
    assert hook.secret.startswith("whsec_")
    assert (hook.kinds, hook.search_id) == (("new_best",), search.id)
    assert [each.secret for each in client.webhooks()] == [""]
    for path in ("webhooks", f"webhooks/{hook.id}"):
        assert hook.secret not in httpx.get(f"{service.url}/api/v1/{path}").text


def test_a_test_tells_how_it_went_and_brings_a_hook_back(
    client: Client, service: RunningService, receiver: Receiver
) -> None:
    hook = client.add_webhook(receiver.url, ALL)
    receiver.statuses = [500]
    failed = client.test_webhook(hook.id)
    assert (failed.delivered, failed.status) == (False, 500)
    assert "answered 500" in failed.error
    service.ledger.registry.note_delivery(hook.id, "away")
    service.ledger.registry.disable_webhook(hook.id)
    [listed] = client.webhooks()
    assert (listed.failures, listed.last_error) == (1, "away")
    assert listed.disabled_at is not None
    passed = client.test_webhook(hook.id)
    assert (passed.delivered, passed.status, passed.error) == (True, 204, "")
    [listed] = client.webhooks()
    assert (listed.failures, listed.last_error, listed.disabled_at) == (0, "", None)
    assert [each["kind"] for each in receiver.taken] == ["ping"]
    with pytest.raises(NotFound):
        client.test_webhook("nothing")


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest/meta-data/", "http://[::ffff:10.0.0.1]/",
        "file:///etc/passwd", "http://u:p@127.0.0.1/", "http://nowhere.invalid/", "x",
    ],
)  # fmt: skip
def test_a_hostile_address_is_refused_when_it_is_registered(client: Client, url: str) -> None:
    with pytest.raises(InputError):
        client.add_webhook(url, ALL)
    assert client.webhooks().count == 0


def test_what_cannot_be_registered(client: Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for kinds in ([], ["everything"], ["new_best"] * 4):
        with pytest.raises(InputError, match="kinds"):
            client.add_webhook(receiver.url, kinds)
    with pytest.raises(NotFound):
        client.add_webhook(receiver.url, ALL, "nothing")
    monkeypatch.setattr(webhooks, "MOST", 1)
    client.add_webhook(receiver.url, ALL)
    with pytest.raises(StateConflict, match="remove one first"):
        client.add_webhook(receiver.url, ALL)


def test_settings_that_make_no_sense_stop_the_service(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="EVOLVE_WEBHOOK_ALLOW"):
        RunningService(tmp_path, webhook_allow="http://127.0.0.1")
