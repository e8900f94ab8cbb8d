"""Where data sets lie is for admins; where the best weights lie may change while somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api_helpers import Api, add_key, opened
from dataset_factory import write_dataset
from evolve.ledger import Ledger
from ledger_fixtures import create


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
