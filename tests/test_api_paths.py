"""Where data sets lie is for admins; where the best weights lie may change while somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from api import views
from api.routes import results
from api_helpers import Api, add_key, line_of, opened
from dataset_factory import write_dataset
from evolve.ledger import Ledger, SearchState
from evolve.trial import TrialState
from ledger_fixtures import begin, create
from ledger_fixtures import result as trained


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Api, Ledger]]:
    with opened(f"sqlite:///{tmp_path}/ledger.db", tmp_path / "home") as both:
        yield both


def test_a_search_names_its_data_set_and_not_where_it_lies(served: tuple[Api, Ledger], tmp_path: Path) -> None:
    api, ledger = served
    root = str(write_dataset(tmp_path / "helmets").parent)
    ledger.registry.add_dataset("helmets", root, "", {})
    body = {"space": "yolo12n", "data": "helmets"}
    made = api.post("/searches", json=body).json()
    assert ledger.search(made["id"]).document["data"] == root  # as its driver opens it
    reader = add_key(ledger, "read")
    for shown in (api.get(f"/searches/{made['id']}", key=reader), api.post("/check", json=body, key=reader)):
        assert shown.json()["document"]["data"] == "helmets"
        assert root not in shown.text
    again = api.post("/searches", json={"space": shown.json()["document"]})  # so it can be sent as it is
    assert ledger.search(again.json()["id"]).document == ledger.search(made["id"]).document


def test_a_search_of_a_command_line_shows_what_was_given_there(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    record = create(ledger)
    shown = api.get(f"/searches/{record.id}").json()
    assert (shown["document"], shown["data"]) == (record.document, record.document.get("data") or "")


def with_weights(ledger: Ledger, search_id: str, *names: str) -> list[Path]:
    """Individuals that left weights, each fitter than the one before; returns where these are."""
    directory = Path(ledger.search(search_id).directory)
    directory.mkdir(parents=True, exist_ok=True)
    lease = ledger.acquire(search_id)
    for number, name in enumerate(names):
        (directory / name).write_bytes(name.encode() * 100_000)
        with lease.transaction() as writing:
            begin(writing, search_id, number)
            writing.completed(number, 1, replace(trained(), weights=str(directory / name)))
            writing.evaluated(number, state=TrialState.COMPLETED, fitness=0.1 * (number + 1))
    lease.release(SearchState.INTERRUPTED)
    return [directory / name for name in names]


def submitted(api: Api) -> str:
    return str(api.post("/searches", json={"space": "demo", "objective": "synthetic"}).json()["id"])


def test_weights_that_are_removed_while_they_are_sent_are_sent_whole(
    served: tuple[Api, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, ledger = served
    search_id = submitted(api)
    (path,) = with_weights(ledger, search_id, "a.pt")
    opened = results.open_best_weights

    def open_and_remove(*args: object):
        found = opened(*args)
        path.unlink()
        return found

    monkeypatch.setattr(results, "open_best_weights", open_and_remove)
    response = api.get(f"/searches/{search_id}/best/weights")
    assert response.content == b"a.pt" * 100_000
    assert response.headers["Content-Disposition"] == f'attachment; filename="best-{search_id}.pt"'
    line_of(api.get(f"/searches/{search_id}/best/weights"), 404)


def test_weights_may_be_asked_for_in_parts(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    search_id = submitted(api)
    with_weights(ledger, search_id, "a.pt")
    part = api.get(f"/searches/{search_id}/best/weights", headers={"Range": "bytes=4-11"})
    assert (part.status_code, part.content) == (206, b"a.pta.pt")


def test_weights_that_others_have_just_replaced_are_those_of_the_others(
    served: tuple[Api, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, ledger = served
    search_id = submitted(api)
    first, second = with_weights(ledger, search_id, "a.pt", "b.pt")
    looked, looks = views.best_weights, iter([first, second])

    def outrun(*args: object) -> tuple[str, Path]:
        looked(*args)
        path = next(looks, first)
        first.unlink(missing_ok=True)  # between the look and the opening
        return search_id, path

    monkeypatch.setattr(views, "best_weights", outrun)
    assert api.get(f"/searches/{search_id}/best/weights").content == b"b.pt" * 100_000
    assert "weights: must stay" in line_of(api.get(f"/searches/{search_id}/best/weights"), 404)
