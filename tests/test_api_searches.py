"""The API over a ledger in SQLite and in PostgreSQL: submit, look, steer, delete, compare."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from api import service
from api.reach import reach
from api.schemas import answers
from api_helpers import Api, add_key, line_of, make_app, opened
from dataset_factory import write_dataset
from evolve.exceptions import StateConflict
from evolve.ledger import IndividualRecord, Ledger, Request, SearchRecord, SearchState
from evolve.settings import Settings
from evolve.trial import EpochReport, Failure, FailureKind, TrialState
from evolve.yaml_io import parse_yaml
from ledger_fixtures import METRIC, attempt_of, begin, create, live, newborn, report, result
from search_helpers import run


@pytest.fixture
def served(ledger_url: str, tmp_path: Path) -> Iterator[tuple[Api, Ledger]]:
    with opened(ledger_url, tmp_path / "home") as both:
        yield both


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[tuple[Api, Ledger]]:
    """The same over SQLite alone, for what does not differ between databases."""
    with opened(f"sqlite:///{tmp_path}/ledger.db", tmp_path / "home") as both:
        yield both


def submit(api: Api, status: int = 201, **body: object) -> dict[str, object]:
    given = {"space": "demo", "objective": "synthetic", **body}
    response = api.post("/searches", json=given)
    assert response.status_code == status, response.text
    answer: dict[str, object] = response.json()
    return answer


def finished(ledger: Ledger, search_id: str) -> SearchRecord:
    """Run a submitted search to its end, here."""
    run(ledger, ledger.search(search_id))
    return ledger.search(search_id)


def test_a_search_is_submitted_and_found(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    made = submit(api, name="Helmets & <script>", priority=7, budget={"hours": 2, "evaluations": 5})
    record = ledger.search(str(made["id"]))
    assert (made["state"], made["managed"], made["priority"], record.name) == (
        "created", True, 7, "Helmets & <script>",
    )  # fmt: skip
    assert record.document["stop"] == {
        "plateau": None, "hours": 2.0, "gpu_hours": None, "evaluations": 5, "target": None,
    }  # fmt: skip
    assert Path(record.directory).parent.name == "searches"
    assert api.app.state.service.supervisor.pokes == 1
    shown = api.get(f"/searches/{record.id}").json()
    assert shown["document"] == record.document
    assert shown["individuals"] == 12
    assert shown["submitted_by"] == ledger.registry.keys()[0].id
    assert answers.SearchDetail.model_validate(shown)
    listed = api.get("/searches").json()
    assert (listed["count"], [each["id"] for each in listed["data"]]) == (1, [record.id])
    assert answers.Page[answers.SearchSummary].model_validate(listed)


def test_a_list_has_filters_pages_and_an_order(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    ids = [submit(api, name=f"run {number}", priority=number)["id"] for number in range(5)]
    unmanaged = create(ledger, "by hand").id
    ledger.ask_driver(str(ids[0]), Request.PAUSE)

    def found(**query: object) -> tuple[list[str], int]:
        answer = api.get("/searches", params=query).json()
        return [each["id"] for each in answer["data"]], answer["count"]

    assert found() == ([unmanaged, *reversed(ids)], 6)
    assert found(order="created", limit=2, offset=1) == (ids[1:3], 6)
    assert found(managed=True, order="-priority") == ([*reversed(ids)], 5)
    assert found(managed=False) == ([unmanaged], 1)
    assert found(name="run 3") == ([ids[3]], 1)
    assert found(text="RUN") == ([*reversed(ids)], 5)
    assert found(text="100%_") == ([], 0)
    assert found(state=["created", "running"], limit=1) == ([unmanaged], 6)
    assert found(state="completed") == ([], 0)
    assert found(submitted_by=ledger.registry.keys()[0].id)[1] == 5
    assert found(offset=100) == ([], 6)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("limit=0", "limit: must be >= 1, but got '0'"),
        ("limit=1001", "limit: must be <= 1000, but got '1001'"),
        ("limit=many", "limit: must be a whole number, but got 'many'"),
        ("offset=-1", "offset: must be >= 0, but got '-1'"),
        ("offset=99999999999999999999", "offset: must be <= 2147483647, but got '99999999999999999999'"),
        ("state=odd", "state[0]: must be one of 'created'"),
        ("order=secret", "order: must be one of 'created'"),
        (f"text={'x' * 101}", "text: must have at most 100 characters"),
        ("managed=perhaps", "managed: "),
    ],
)
def test_a_list_refuses_what_it_does_not_know(quick: tuple[Api, Ledger], query: str, problem: str) -> None:
    assert problem in line_of(quick[0].get(f"/searches?{query}"), 422)


@pytest.mark.parametrize(
    "text", ["%00", "a%00b", "%ff", "'; drop table searches; --", "\N{SNOWMAN}", "%F0%9F%98%80"]
)
def test_odd_text_finds_nothing_and_breaks_nothing(served: tuple[Api, Ledger], text: str) -> None:
    api, _ = served
    for query in (f"name={text}", f"text={text}", f"submitted_by={text}"):
        assert api.get(f"/searches?{query}").json() == {"data": [], "count": 0}
    for path in (f"/searches/{text}", f"/searches/{text}/individuals/0", f"/compare?ids={text}", f"/spaces/{text}"):
        assert api.get(path).status_code == 404, path
    for path in (f"/searches/{text}", f"/keys/{text}", f"/datasets/{text}"):
        assert api.delete(path).status_code == 404, path


def test_names_are_for_looking_and_ids_for_changing(quick: tuple[Api, Ledger]) -> None:
    api, _ = quick
    made = submit(api, name="helmets")
    assert api.get("/searches/helmets").json()["id"] == made["id"]
    assert api.get(f"/searches/{str(made['id'])[:5]}").json()["id"] == made["id"]
    line_of(api.post("/searches/helmets/cancel"), 404)
    line_of(api.delete("/searches/helmets"), 404)


def test_an_idempotency_key_enters_one_search(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    body = {"space": "demo", "objective": "synthetic", "name": "once"}
    sent = [api.post("/searches", json=body, headers={"Idempotency-Key": "k"}) for _ in range(3)]
    assert [each.status_code for each in sent] == [201, 200, 200]
    assert [each.headers.get("Idempotency-Replayed") for each in sent] == [None, "true", "true"]
    assert len({each.json()["id"] for each in sent}) == 1
    # the same, written down otherwise
    text = b"# again\nname: once\nobjective: synthetic\nspace: demo\npriority: 0\n"
    again = api.post(
        "/searches", content=text, headers={"Idempotency-Key": "k", "Content-Type": "application/yaml"}
    )
    assert (again.status_code, again.json()["id"]) == (200, sent[0].json()["id"])
    other = api.post("/searches", json={**body, "name": "twice"}, headers={"Idempotency-Key": "k"})
    assert "idempotency key" in line_of(other, 409)
    # another submitter's keys are another submitter's
    elsewhere = add_key(ledger, "submit")
    mine = api.post("/searches", json=body, key=elsewhere, headers={"Idempotency-Key": "k"})
    assert mine.status_code == 201
    assert ledger.search_page()[1] == 2


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\N{SNOWMAN}".encode().decode("latin-1")])
def test_an_idempotency_key_is_short_and_plain(quick: tuple[Api, Ledger], key: str) -> None:
    body = {"space": "demo", "objective": "synthetic"}
    response = quick[0].post("/searches", json=body, headers={"Idempotency-Key": key.encode("latin-1")})
    assert "Idempotency-Key: " in line_of(response, 422)


def test_one_key_from_many_threads_enters_one_search(ledger_url: str, tmp_path: Path) -> None:
    with Ledger(ledger_url) as ledger:
        api = Api(make_app(ledger, tmp_path), add_key(ledger, "submit"))
        parts = api.app.state.service
        principal = parts.doorkeeper.admit(api.key)
        body = service.Submission(space="demo", objective="synthetic")
        barrier = threading.Barrier(8)

        def enter(_: int) -> tuple[str, bool]:
            barrier.wait()
            record, created = service.enter_search(
                ledger, parts.settings, body, reach(ledger, body), principal, "same"
            )
            return record.id, created

        with ThreadPoolExecutor(8) as pool:
            entered = list(pool.map(enter, range(8)))
        api.close()
        assert len({search_id for search_id, _ in entered}) == 1
        assert [created for _, created in entered].count(True) == 1
        assert ledger.search_page()[1] == 1


def test_a_waiting_search_is_steered(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    search_id = submit(api)["id"]

    def do(what: str) -> object:
        response = api.post(f"/searches/{search_id}/{what}")
        assert response.status_code == 200, response.text
        assert answers.SearchSummary.model_validate(response.json())
        return response.json()["request"]

    assert [do("pause"), do("resume"), do("cancel")] == ["pause", None, "cancel"]
    pokes = api.app.state.service.supervisor.pokes
    assert pokes == 4
    changed = api.call("PATCH", f"/searches/{search_id}", json={"priority": -3})
    assert changed.json()["priority"] == -3
    assert ledger.search(str(search_id)).priority == -3
    assert "priority: must be <= 100" in line_of(
        api.call("PATCH", f"/searches/{search_id}", json={"priority": 101}), 422
    )


def test_a_search_that_is_over_stays_so(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    search_id = str(submit(api)["id"])
    assert finished(ledger, search_id).state is SearchState.COMPLETED
    for what in ("pause", "resume", "cancel"):
        assert "must be unfinished, but it is completed" in line_of(api.post(f"/searches/{search_id}/{what}"), 409)
    line_of(api.call("PATCH", f"/searches/{search_id}", json={"priority": 1}), 409)


def test_a_search_that_failed_goes_back_into_the_queue(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    search_id = str(submit(api)["id"])
    ledger.acquire(search_id).release(SearchState.FAILED, "five equal errors in a row")
    assert ledger.queue() == []
    assert api.post(f"/searches/{search_id}/resume").json()["state"] == "interrupted"
    assert [each.id for each in ledger.queue()] == [search_id]


def test_a_search_from_a_command_line_goes_on_there(quick: tuple[Api, Ledger]) -> None:
    api, ledger = quick
    search_id = create(ledger).id
    assert f"evolve resume {search_id}" in line_of(api.post(f"/searches/{search_id}/resume"), 409)
    with pytest.raises(StateConflict):
        service.resume(ledger, search_id)
    assert api.post(f"/searches/{search_id}/pause").json()["request"] == "pause"


def test_a_search_that_nobody_will_drive_is_cancelled_at_once(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    failed, mine = str(submit(api)["id"]), create(ledger).id
    ledger.acquire(failed).release(SearchState.FAILED, "five equal errors in a row")
    ledger.acquire(mine).release(SearchState.INTERRUPTED, "by a signal")
    for search_id in (failed, mine):
        answer = api.post(f"/searches/{search_id}/cancel").json()
        assert (answer["state"], answer["reason"]) == ("cancelled", "cancelled on request")


def test_a_driven_search_is_asked_and_not_deleted(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    search_id = str(submit(api)["id"])
    lease = ledger.acquire(search_id)
    assert api.get(f"/searches/{search_id}").json()["leased"] is True
    assert "drives it" in line_of(api.delete(f"/searches/{search_id}"), 409)
    assert api.post(f"/searches/{search_id}/pause").json()["request"] == "pause"
    assert lease.renew().request is Request.PAUSE
    assert api.post(f"/searches/{search_id}/resume").json()["request"] is None
    lease.release(SearchState.INTERRUPTED)
    assert api.delete(f"/searches/{search_id}").status_code == 204
    line_of(api.get(f"/searches/{search_id}"), 404)


def test_what_is_deleted_takes_its_files_along_and_no_others(quick: tuple[Api, Ledger], tmp_path: Path) -> None:
    api, ledger = quick
    search_id = str(submit(api)["id"])
    directory = Path(ledger.search(search_id).directory)
    (directory / "trials").mkdir(parents=True)
    (directory.parent / "other").mkdir()
    elsewhere = ledger.create_search(
        name="x", document={}, objective="synthetic", options={}, environment={},
        directory=str(tmp_path), data_hash="",
    ).id  # fmt: skip
    assert api.delete(f"/searches/{search_id}").status_code == 204
    assert api.delete(f"/searches/{elsewhere}").status_code == 204
    assert not directory.exists()
    assert (directory.parent / "other").is_dir()
    assert tmp_path.is_dir()
    (directory.parent / f"{service.TRASH}abc" / "trials").mkdir(parents=True)
    service.empty_trash(Settings(home=directory.parent.parent))
    assert [each.name for each in directory.parent.iterdir()] == ["other"]
    line_of(api.delete(f"/searches/{search_id}"), 404)


def test_only_its_owner_and_admins_change_a_search(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    owner, stranger = add_key(ledger, "submit", "ann"), add_key(ledger, "submit", "bob")
    search_id = api.post("/searches", key=owner, json={"space": "demo", "objective": "synthetic"}).json()["id"]
    for method, path, body in (
        ("POST", "/pause", None), ("POST", "/resume", None), ("POST", "/cancel", None), ("DELETE", "", None),
        ("PATCH", "", {"priority": 9}),
    ):  # fmt: skip
        response = api.call(method, f"/searches/{search_id}{path}", key=stranger, json=body)
        assert "only the key that submitted it" in line_of(response, 403)
    assert ledger.search(search_id).request is None
    assert api.post(f"/searches/{search_id}/pause", key=owner).status_code == 200
    assert api.post(f"/searches/{search_id}/cancel").status_code == 200  # an admin


def populated(ledger: Ledger, search_id: str) -> None:
    """Seven individuals: two generations, a failure with a retry, one that trains, one that waits."""
    lease = ledger.acquire(search_id)
    with lease.transaction() as writing:
        writing.start(resumed=False)
        for number, fitness in enumerate((0.4, 0.7, 0.2)):
            live(writing, search_id, number, fitness)
        begin(writing, search_id, 3)
        writing.failed(3, 1, Failure(FailureKind.INFRASTRUCTURE, "the node is gone"), retry=True)
        begin(writing, search_id, 3, attempt=2)
        writing.reported(3, 2, EpochReport(1, 3, {METRIC: float("nan")}, 1.0))
        writing.failed(3, 2, Failure(FailureKind.DIVERGED, "the loss is nan", 1, "losses: nan"), retry=False)
        writing.evaluated(3, state=TrialState.FAILED, fitness=None, failure=FailureKind.DIVERGED)
        writing.propose(newborn(search_id, 4, generation=1))
        writing.submit(attempt_of(search_id, 4))
        writing.started(4, 1, "host/gpu1")
        for epoch in (1, 2):
            writing.reported(4, 1, report(epoch, epoch / 10))
        writing.propose(newborn(search_id, 5, generation=1))
    lease.release(SearchState.INTERRUPTED, "for the test")


def test_generations_and_individuals(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    search_id = str(submit(api)["id"])
    populated(ledger, search_id)
    path = f"/searches/{search_id}"
    generations = api.get(f"{path}/generations").json()
    assert answers.Page[answers.GenerationSummary].model_validate(generations)
    first, second = generations["data"]
    assert (first["evaluated"], first["failed"], first["open"], first["best"]) == (3, 1, 0, 0.7)
    assert (second["evaluated"], second["open"], second["mean"], second["best_so_far"]) == (0, 2, None, 0.7)

    def numbers(**query: object) -> tuple[list[int], int]:
        answer = api.get(f"{path}/individuals", params=query).json()
        assert answers.Page[answers.IndividualSummary].model_validate(answer)
        return [each["number"] for each in answer["data"]], answer["count"]

    assert numbers() == ([0, 1, 2, 3, 4, 5], 6)
    assert numbers(sort="-fitness", limit=2) == ([1, 0], 6)
    assert numbers(sort="fitness")[0][:3] == [2, 0, 1]
    assert numbers(sort="-number", offset=1, limit=2) == ([4, 3], 6)
    assert numbers(state=["running", "pending"]) == ([4, 5], 2)
    assert numbers(failure="diverged") == ([3], 1)
    assert numbers(generation=1) == ([4, 5], 2)
    assert numbers(generation=2147483647) == ([], 0)
    assert "sort: must be one of" in line_of(api.get(f"{path}/individuals?sort=genome"), 422)
    assert "failure: must be one of" in line_of(api.get(f"{path}/individuals?failure=bad"), 422)


def test_an_individual_with_everything(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    search_id = str(submit(api)["id"])
    populated(ledger, search_id)
    good = api.get(f"/searches/{search_id}/individuals/1").json()
    assert answers.IndividualDetail.model_validate(good)
    (attempt,) = good["evaluations"]
    assert attempt["requested"] == {"epochs": 3, "imgsz": 64, "lr0": 0.01}
    assert attempt["effective"] == {"lr0": 0.01, "batch": 8}
    assert attempt["differences"] == {"batch": [16, 8]}
    assert (attempt["has_weights"], "weights" in attempt) == (True, False)
    assert [(each["number"], each["parents"]) for each in good["lineage"]] == [(1, [0]), (0, [])]
    assert good["births"]["lr0"] == {"individual": 1, "origin": "mutated"}
    assert good["genome"] == [0.25, 1.0]
    bad = api.get(f"/searches/{search_id}/individuals/3").json()
    assert [each["failure"] for each in bad["evaluations"]] == ["infrastructure", "diverged"]
    assert bad["evaluations"][1]["failure_details"] == "losses: nan"
    assert bad["epochs"] == [{"attempt": 2, "epoch": 1, "seconds": 1.0, "metrics": {METRIC: None}}]
    running = api.get(f"/searches/{search_id}/individuals/4").json()
    assert [each["metrics"][METRIC] for each in running["epochs"]] == [0.1, 0.2]
    for number, status in (("6", 404), ("2147483647", 404), ("2147483648", 422), ("-1", 422), ("one", 422)):
        line_of(api.get(f"/searches/{search_id}/individuals/{number}"), status)


def test_a_long_lineage_is_followed_without_reading_the_search_whole(quick: tuple[Api, Ledger]) -> None:
    api, ledger = quick
    search_id = str(submit(api)["id"])
    lease = ledger.acquire(search_id)
    with lease.transaction() as writing:
        for number in range(200):
            parents = (number - 1,) if number else ()
            born = IndividualRecord(
                search_id, number, 0, (0.5,), {"x": 1.0}, f"{number}", parents, origins={"x": "?"}
            )
            writing.propose(born)
    lineage = api.get(f"/searches/{search_id}/individuals/199").json()["lineage"]
    assert [each["number"] for each in lineage] == list(range(199, 139, -1))


def test_the_best_as_json_and_as_yaml(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    search_id = str(submit(api)["id"])
    assert "an individual must have been evaluated" in line_of(api.get(f"/searches/{search_id}/best"), 404)
    record = finished(ledger, search_id)
    best = api.get(f"/searches/{search_id}/best")
    assert answers.BestConfiguration.model_validate(best.json())
    assert best.json()["individual"] == record.best_individual
    assert best.json()["fitness"] == record.best_fitness
    for options in (
        {"params": {"format": "yaml"}}, {"headers": {"Accept": "application/yaml"}},
        {"headers": {"Accept": "text/yaml, application/json"}},
    ):  # fmt: skip
        text = api.get(f"/searches/{search_id}/best", **options)
        assert text.headers["Content-Type"].startswith("application/yaml")
        assert parse_yaml(text.text, "best") == best.json()["arguments"]
    preferred = api.get(f"/searches/{search_id}/best?format=json", headers={"Accept": "application/yaml"})
    assert preferred.json() == best.json()
    assert "format: must be one of 'json' or 'yaml'" in line_of(
        api.get(f"/searches/{search_id}/best?format=x"), 422
    )


def test_the_best_of_a_detector_has_what_training_needs(quick: tuple[Api, Ledger]) -> None:
    api, ledger = quick
    search_id = str(submit(api, space="yolo12n", data="demo", objective="yolo12")["id"])
    lease = ledger.acquire(search_id)
    with lease.transaction() as writing:
        live(writing, search_id, 0)
    arguments = api.get(f"/searches/{search_id}/best").json()["arguments"]
    assert (arguments["model"], arguments["data"], arguments["task"]) == ("yolo12n.pt", "demo", "detect")
    text = api.get(f"/searches/{search_id}/best?format=yaml")
    assert parse_yaml(text.text, "best") == arguments
    stock = api.get(f"/searches/{search_id}/best?format=yaml&stock=true")
    assert "Train with stock Ultralytics" in stock.text


def test_weights_are_handed_out_of_the_search_alone(quick: tuple[Api, Ledger], tmp_path: Path) -> None:
    api, ledger = quick
    search_id = str(submit(api)["id"])
    directory = Path(ledger.search(search_id).directory)
    directory.mkdir(parents=True)
    (tmp_path / "secret.pt").write_bytes(b"secret")
    (directory / "link.pt").symlink_to(tmp_path / "secret.pt")
    (directory / "best.pt").write_bytes(b"weights")
    lease = ledger.acquire(search_id)
    for number, place in enumerate(("best.pt", "link.pt", "../../../secret.pt", "gone.pt", "../" + search_id)):
        with lease.transaction() as writing:
            begin(writing, search_id, number)
            writing.completed(number, 1, replace(result(), weights=str(directory / place)))
            writing.evaluated(number, state=TrialState.COMPLETED, fitness=0.1 * (number + 1))
        response = api.get(f"/searches/{search_id}/best/weights")
        if number:
            assert "weights: must still be in the folder of the search" in line_of(response, 404)
        else:
            assert response.content == b"weights"
            assert response.headers["Content-Disposition"] == f'attachment; filename="best-{search_id}.pt"'


def test_a_report_is_a_page_of_its_own(quick: tuple[Api, Ledger]) -> None:
    api, ledger = quick
    search_id = str(submit(api, name="<script>alert(1)</script>")["id"])
    finished(ledger, search_id)
    page = api.get(f"/searches/{search_id}/report")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<script>alert(1)</script>" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "sandbox" in policy
    assert "allow-same-origin" not in policy


def test_searches_are_compared(served: tuple[Api, Ledger]) -> None:
    api, ledger = served
    one, other, empty = (str(submit(api, overrides={"search.seed": seed})["id"]) for seed in range(3))
    for search_id in (one, other):
        finished(ledger, search_id)
    found = api.get(f"/compare?ids={one},{other},,{empty},{one}").json()
    assert answers.Comparison.model_validate(found)
    assert [each["search"]["id"] for each in found["data"]] == [one, other, empty]
    assert [each["best"] is None for each in found["data"]] == [False, False, True]
    assert len(found["data"][0]["generations"]) == 3
    assert "lr0" in found["genes"]
    line_of(api.get(f"/compare?ids={one},nothing"), 404)
    assert "ids: must be 1 to 20" in line_of(api.get(f"/compare?ids={','.join(map(str, range(21)))}"), 422)
    assert "ids: must be 1 to 20" in line_of(api.get("/compare?ids=,"), 422)
    assert "ids: the key is required" in line_of(api.get("/compare"), 422)


def test_data_sets_are_registered_by_admins_and_named_by_submissions(
    served: tuple[Api, Ledger], tmp_path: Path
) -> None:
    api, ledger = served
    root = write_dataset(tmp_path / "helmets").parent
    made = api.post("/datasets", json={"id": "helmets", "path": str(root)})
    assert made.status_code == 201, made.text
    assert answers.DatasetSummary.model_validate(made.json())
    assert made.json()["path"] == str(root)
    reader = add_key(ledger, "read")
    seen = api.get("/datasets", key=reader).json()
    assert [(each["id"], each["path"]) for each in seen["data"]] == [("demo", None), ("helmets", None)]
    search = ledger.search(str(submit(api, space="yolo12n", data="helmets", objective="yolo12")["id"]))
    assert search.document["data"] == str(root)
    assert search.data_hash == made.json()["content_hash"]
    assert api.get(f"/searches/{search.id}").json()["data"] == "helmets"
    assert api.delete("/datasets/helmets").status_code == 204
    line_of(api.delete("/datasets/helmets"), 404)
    refused = api.post("/searches", json={"space": "yolo12n", "data": "helmets"})
    assert "data: must be the id of a registered data set, but got 'helmets'" in line_of(refused, 422)


def test_data_sets_that_cannot_be_registered(quick: tuple[Api, Ledger], tmp_path: Path) -> None:
    api, _ = quick
    (tmp_path / "empty").mkdir()
    for body, problem in (
        ({"id": "demo", "path": str(tmp_path)}, "id: "),
        ({"id": "../x", "path": str(tmp_path)}, "body: id: must be letters"),
        ({"id": "x", "path": "relative"}, "path: must be the absolute path"),
        ({"id": "x", "path": "https://example.com/data.zip"}, "path: must be the absolute path"),
        ({"id": "x", "path": "/a\x00b"}, "text must be valid Unicode without NUL"),
        ({"id": "x", "path": str(tmp_path / "gone")}, "path: must be the absolute path"),
        ({"id": "x", "path": str(tmp_path / "empty")}, "data.yaml"),
        ({"id": "x"}, "body: path: the key is required"),
    ):
        assert problem in line_of(api.post("/datasets", json=body), 422)


def test_spaces_are_shown_as_json_and_yaml(quick: tuple[Api, Ledger]) -> None:
    api, _ = quick
    listed = api.get("/spaces").json()
    assert answers.Page[answers.SpaceSummary].model_validate(listed)
    assert "yolo12n" in [each["name"] for each in listed["data"]]
    shown = api.get("/spaces/demo").json()
    assert parse_yaml(api.get("/spaces/demo?format=yaml").text, "demo") == shown
    assert "must be one of demo" in line_of(api.get("/spaces/nothing"), 404)
    line_of(api.get("/spaces/..%2f..%2fetc%2fpasswd"), 404)


def test_a_ledger_that_is_away_is_a_503_that_names_nothing(quick: tuple[Api, Ledger], tmp_path: Path) -> None:
    api, ledger = quick
    assert api.get("/readyz").status_code == 200
    ledger.close()
    (tmp_path / "ledger.db").rename(tmp_path / "away.db")
    (tmp_path / "ledger.db").mkdir()
    line = line_of(api.get("/searches"), 503)
    assert str(tmp_path) not in line
    assert api.get("/healthz").status_code == 200
    assert api.get("/readyz").status_code == 503
