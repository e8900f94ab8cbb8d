"""A submission that is sent again: what it says, and what has become of what it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api_helpers import Api, add_key, line_of, opened
from dataset_factory import write_dataset
from evolve.exceptions import IdempotencyConflict
from evolve.ledger import Ledger


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Api, Ledger]]:
    with opened(f"sqlite:///{tmp_path}/ledger.db", tmp_path / "home") as both:
        yield both


def test_a_submission_is_found_again_though_its_data_set_is_not_known_any_more(
    ledger_url: str, tmp_path: Path
) -> None:
    with opened(ledger_url, tmp_path / "home") as (api, ledger):
        ledger.registry.add_dataset("helmets", str(write_dataset(tmp_path / "helmets").parent), "", {})
        body, headers = {"space": "yolo12n", "data": "helmets"}, {"Idempotency-Key": "k"}
        made = api.post("/searches", json=body, headers=headers)
        assert made.status_code == 201, made.text
        assert api.delete("/datasets/helmets").status_code == 204
        again = api.post("/searches", json=body, headers=headers)
        assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
        assert again.json()["id"] == made.json()["id"]
        line_of(api.post("/searches", json={**body, "name": "x"}, headers=headers), 409)
        for changed in (
            {"headers": {"Idempotency-Key": "l"}},
            {"headers": headers, "key": add_key(ledger, "submit")},
        ):
            assert "data: must be" in line_of(api.post("/searches", json=body, **changed), 422)
        assert ledger.search_page()[1] == 1


def test_a_key_is_looked_up_for_its_owner_and_its_submission(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    made = api.post("/searches", json={"space": "demo", "objective": "synthetic"}, headers={"Idempotency-Key": "k"})
    record = ledger.search(made.json()["id"])
    with pytest.raises(IdempotencyConflict):
        ledger.registry.submitted(record.submitted_by, "k", "another digest")
    assert ledger.registry.submitted(None, "k", "another digest") is None
    assert api.delete(f"/searches/{record.id}").status_code == 204
    assert ledger.registry.submitted(record.submitted_by, "k", "another digest") is None


@pytest.mark.parametrize("key", ["my key", "", "x" * 256, "\N{SNOWMAN}".encode().decode("latin-1")])
def test_a_key_that_cannot_be_one_is_told_what_keys_are(served: tuple[Api, Ledger], key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    response = served[0].post("/searches", json={"space": "demo", "objective": "synthetic"}, headers=headers)
    rule = "Idempotency-Key: must be 1 to 255 visible ASCII characters without spaces, but got '"
    assert line_of(response, 422).startswith(rule + key[:1])
