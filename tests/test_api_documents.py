"""What a submitted document can reach, and what it cannot: paths, addresses, code, and more than its share."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.documents import parse_json, public, to_json, wants_yaml
from api_helpers import GENEROUS, Api, add_key, assert_one_line, line_of, make_app
from evolve.exceptions import InputError
from evolve.ledger import Ledger
from evolve.space import load_space
from evolve.yaml_io import MAX_BYTES, dump_yaml
from spaces import document as synthetic_space

YAML = {"Content-Type": "application/yaml"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def api(ledger: Ledger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    made = Api(make_app(ledger, tmp_path_factory.mktemp("home")), add_key(ledger, "submit"))
    yield made
    made.close()


def demo(**changes: object) -> dict[str, object]:
    """A document that trains, with some parts replaced."""
    return {**load_space("demo").document(), **changes}


def refused(api: Api, ledger: Ledger, body: object, **options: object) -> str:
    """The one line with which a submission is refused; nothing was entered, and checking it says the same."""
    before = ledger.search_page()[1]
    sent = {"json": body} if not isinstance(body, bytes) else {"content": body, "headers": JSON}
    line = line_of(api.post("/searches", **{**sent, **options}), 422)
    assert line_of(api.post("/check", **{**sent, **options}), 422) == line
    assert ledger.search_page()[1] == before
    assert len(line) < 1000
    return line


@pytest.mark.parametrize(
    "data",
    [
        "/etc/passwd", "../../etc", "coco128.yaml", "./demo", "~/data.yaml", "file:///etc/passwd", "\\\\host\\x",
        "https://example.com/data.zip", "http://169.254.169.254/latest", "demo/../..", "nothing", "", None, 3,
        ["demo"], {"path": "/etc"}, "demo\n", " demo", "DEMO",
    ],
)  # fmt: skip
def test_data_are_registered_ones(api: Api, ledger: Ledger, data: object) -> None:
    for body in (
        {"space": demo(data=data)},
        {"space": "demo", "overrides": {"data": data}},
        {"yaml": json.dumps(demo(data=data))},
    ):
        assert refused(api, ledger, body).startswith("data: must be the id of a registered data set")
    if isinstance(data, str):
        assert "data" in refused(api, ledger, {"space": "demo", "data": data})


@pytest.mark.parametrize(
    "weights",
    [
        "/etc/passwd", "best.pt", "yolo12n.pt", "../yolo12p.pt", "https://example.com/evil.pt", "yolo12p.yaml",
        "hub://x", "", None, 3, True, ["auto"], {"a": 1}, "auto ", "yolo12p.pt\n", "yolov8n.pt",
    ],
)  # fmt: skip
def test_weights_are_none_or_those_of_the_model(api: Api, ledger: Ledger, weights: object) -> None:
    for body in ({"space": demo(weights=weights)}, {"space": "demo", "overrides": {"weights": weights}}):
        assert refused(api, ledger, body).startswith("weights: must be none, auto or the name of the model")


@pytest.mark.parametrize(
    ("weights", "kept"), [("none", "none"), ("auto", "auto"), ("yolo12p", "auto"), ("yolo12p.pt", "auto")]
)
def test_weights_that_are_published_are_looked_for_by_the_driver(
    api: Api, ledger: Ledger, weights: str, kept: str
) -> None:
    made = api.post("/searches", json={"space": "demo", "overrides": {"weights": weights}})
    assert made.status_code == 201
    assert ledger.search(made.json()["id"]).document["weights"] == kept


@pytest.mark.parametrize(
    "model",
    [
        "/tmp/evil.yaml", "evil.yaml", "yolo12n.yaml", "../yolo12n", "https://example.com/m.yaml", "yolo11n",
        "yolo12n.pt", "", "os.system", "yolo12n\n",
    ],
)  # fmt: skip
def test_models_are_of_a_closed_list(api: Api, ledger: Ledger, model: str) -> None:
    line = refused(api, ledger, {"space": demo(model=model, weights="none")})
    assert "model: must " in line


@pytest.mark.parametrize(
    "objective",
    ["os:system", "workers.synthetic:SyntheticObjective", "evolve.cli:main", "YOLO12", "", None, 3, ["yolo12"]],
)
def test_objectives_are_of_a_closed_list(api: Api, ledger: Ledger, objective: object) -> None:
    line = refused(api, ledger, {"space": "demo", "objective": objective})
    assert line.startswith("body: objective: must be one of 'yolo12' or 'synthetic'")


@pytest.mark.parametrize(
    "name",
    [
        "project", "name", "save_dir", "resume", "cfg", "tracker", "model", "data", "exist_ok", "source",
        "pretrained", "device_map", "activation_fn", "__class__", "download", "plots", "cache", "compile",
    ],
)  # fmt: skip
def test_training_arguments_are_of_a_closed_list(api: Api, ledger: Ledger, name: str) -> None:
    assert "must be a known training argument" in refused(
        api, ledger, {"space": "demo", "overrides": {f"train.{name}": "/tmp/x"}}
    )
    genes = {name: {"type": "categorical", "choices": ["/tmp/a", "/tmp/b"], "default": "/tmp/a"}}
    if name == "model":  # the model may be a gene, in the place of the one model
        assert "must choose among yolo12n" in refused(api, ledger, {"space": demo(genes=genes, model="")})
    else:
        assert "must be a known training argument" in refused(api, ledger, {"space": demo(genes=genes)})


def test_values_cannot_be_code(api: Api, ledger: Ledger) -> None:
    evil = "__import__('os').system('touch /tmp/evil')"
    for overrides in ({"train.activation": evil}, {"train.optimizer": evil}, {"train.device": evil}):
        assert "must be one of" in refused(api, ledger, {"space": "demo", "overrides": overrides})
    for constraint in (
        evil,
        "open('/etc/passwd')",
        "().__class__",
        "lr0.__class__ == 1",
        "[].append(1)",
        "9**9**9 > 1",
    ):
        line = refused(api, ledger, {"space": demo(constraints=[constraint])})
        assert line.startswith("space: constraint")


@pytest.mark.parametrize(
    "space", ["/etc/passwd", "../demo", "./demo.yaml", "search_spaces/demo", "demo\x00", "", "x" * 9999]
)
def test_spaces_are_shipped_ones(api: Api, ledger: Ledger, space: str, tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text(dump_yaml(demo()))
    here = os.getcwd()
    os.chdir(tmp_path)  # a file of this name is nothing to a submission
    try:
        refused(api, ledger, {"space": space})
    finally:
        os.chdir(here)


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "../../etc/passwd", "'; drop table searches; --", "=cmd|x"]
)
def test_a_name_is_any_text_and_only_text(api: Api, ledger: Ledger, name: str) -> None:
    made = api.post("/searches", json={"space": "demo", "name": name}).json()
    assert made["name"] == name
    record = ledger.search(made["id"])
    assert record.name == name
    assert record.document["name"] == "demo"
    assert Path(record.directory).name == record.id


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x1b[31m", "\u202eevil", "x" * 101, "a\u2028b", 3, ["a"]])
def test_names_that_are_none(api: Api, ledger: Ledger, name: object) -> None:
    assert refused(api, ledger, {"space": "demo", "name": name}).startswith("body: name: must ")


def test_yaml_that_grows_is_refused(api: Api, ledger: Ledger) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(9)
    )
    for text in (bomb, "a: &x 1", "<<: {a: 1}", "a: !!python/object/apply:os.system [id]", "%YAML 1.1\n---\na: 1"):
        assert " are not allowed" in refused(api, ledger, {"yaml": text})
        assert " are not allowed" in refused(api, ledger, text.encode(), headers=YAML)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b'{"space": "demo", "priority": NaN}', "finite"),
        (b'{"space": "demo", "budget": {"hours": Infinity}}', "finite"),
        (b'{"space": "demo", "budget": {"hours": 1e999}}', "finite"),
        (b'{"space": "demo", "priority": 99999999999999999999}', "64 bits"),
        (b'{"space": "demo", "priority": ' + b"9" * 5000 + b"}", "64 bits"),
        (b'{"space": "demo", "priority": -' + b"9" * 60000 + b"}", "64 bits"),
        (b'{"space": "demo", "space": "demo"}', "'space' is given twice"),
        (b'{"space": {"genes": {"a": 1, "a": 2}}}', "'a' is given twice"),
        (b'{"space": "demo"', "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[]", "must be a mapping"),
        (b"3", "must be a mapping"),
        (b"null", "must be a mapping"),
        (b'"demo"', "must be a mapping"),
        (b'{"space": "\\ud800"}', "valid Unicode"),
        (b'{"space": "a\\u0000b"}', "valid Unicode"),
        (b'{"\\udfff": 1}', "valid Unicode"),
        (b'\xff\xfe{"space": 1}', "must be UTF-8"),
        (b"[" * 30000, "nesting goes at most 16 levels"),
        (b'{"a":' * 10000 + b"1" + b"}" * 10000, "nesting goes at most 16 levels"),
        (b'{"space": ' + b"[" * 17 + b"]" * 17 + b"}", "nesting goes at most 16 levels"),
    ],
)  # fmt: skip
def test_json_is_read_as_strictly_as_yaml(api: Api, ledger: Ledger, text: bytes, problem: str) -> None:
    started = time.monotonic()
    assert problem in refused(api, ledger, text)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "text",
    [
        b"space: demo\npriority: .nan", b"space: demo\npriority: .inf", b"a: " + b"[" * 5000, b"", b"- a",
        b"a: b: c",
        b"space: demo\nspace: demo", b"\xff", b"? {a: 1}\n: b", b"space: demo\n---\nspace: demo", b"1: 2",
        b"space: demo\npriority: 99999999999999999999999", b'space: "\\uD800"', b"{" * 60000,
    ],
)  # fmt: skip
def test_odd_yaml_is_one_line(api: Api, ledger: Ledger, text: bytes) -> None:
    assert refused(api, ledger, text, headers=YAML)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "exactly one of space and yaml must be given, but got neither"),
        ({"space": "demo", "yaml": "a: 1"}, "exactly one of space and yaml must be given, but got both"),
        ({"space": "demo", "workers": 4}, "body: unknown key 'workers'; known are space, yaml, data"),
        ({"space": 3}, "space: must be the name of a shipped space or a document, but got 3"),
        ({"space": "demo", "priority": "7"}, "priority: must be a whole number, but got '7'"),
        ({"space": "demo", "priority": 1.5}, "priority: must be a whole number, but got 1.5"),
        ({"space": "demo", "priority": True}, "priority: must be a whole number, but got True"),
        ({"space": "demo", "priority": 101}, "priority: must be <= 100, but got 101"),
        ({"space": "demo", "budget": {"hours": 0}}, "budget.hours: must be > 0, but got 0"),
        ({"space": "demo", "budget": {"weeks": 1}}, "body: budget: unknown key 'weeks'"),
        ({"space": "demo", "budget": 3}, "budget: must be a mapping, but got 3"),
        ({"space": "demo", "overrides": {"": 1}}, "overrides"),
        ({"space": "demo", "overrides": {"a..b": 1}}, "must be names with dots between"),
        ({"space": "demo", "overrides": {"a" + ".a" * 8: 1}}, "must be names with dots between"),
        ({"space": "demo", "overrides": {"name.first": 1}}, "'name' must be a mapping"),
        (
            {"space": "demo", "overrides": {f"train.a{i}": i for i in range(101)}},
            "overrides: must have at most 100",
        ),
        ({"space": "demo", "overrides": {"stop": 3}, "budget": {"hours": 1}}, "'stop' must be a mapping"),
        ({"space": "demo", "overrides": {"genes.lr0.low": 1}}, "gene 'lr0': low < high must hold"),
        ({"space": {}}, "data: must be the id of a registered data set, but got null"),
        ({"space": {"genes": {}, "data": "demo", "weights": "none"}}, "space: genes: 1 to 200 genes are needed"),
        ({"space": "yolo12n"}, "got 'coco128.yaml'; registered are demo"),
    ],
)
def test_a_submission_that_breaks_a_rule_says_which(
    api: Api, ledger: Ledger, body: dict[str, object], problem: str
) -> None:
    assert problem in refused(api, ledger, body)


def test_a_long_body_is_not_read(api: Api) -> None:
    for headers in (JSON, YAML):
        long = b'{"space": "' + b"x" * MAX_BYTES + b'"}'
        response = api.post("/searches", content=long, headers=headers)
        assert "at most 64 KiB" in line_of(response, 413)

        async def pieces():
            for _ in range(100):
                yield b" " * 1024

        response = api.post("/searches", content=pieces(), headers=headers)  # without a length
        assert "at most 64 KiB" in line_of(response, 413)
    lie = api.post("/searches", content=b"{}", headers={**JSON, "Content-Length": "9" * 30})
    assert_one_line(lie)
    assert lie.status_code == 413


def test_a_body_that_takes_too_long_is_not_waited_for(ledger: Ledger, tmp_path: Path) -> None:
    limits = GENEROUS.model_copy(update={"body_seconds": 0.2})
    with closing(Api(make_app(ledger, tmp_path, limits=limits), add_key(ledger, "submit"))) as impatient:

        async def drops():
            for _ in range(100):
                yield b" "
                await asyncio.sleep(0.05)

        response = impatient.post("/searches", content=drops(), headers=JSON)
        assert "must arrive within 0.2 s" in line_of(response, 408)


@pytest.mark.parametrize(
    "kind", ["text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "nothing"]
)
def test_other_kinds_of_bodies_are_not_taken(api: Api, kind: str) -> None:
    response = api.post("/searches", content=b"{}", headers={"Content-Type": kind})
    assert "application/json or application/yaml" in line_of(response, 415)


def test_a_document_in_every_form_is_the_same_search(api: Api, ledger: Ledger) -> None:
    document = demo(data="demo")
    forms = (
        {"json": {"space": "demo"}},
        {"json": {"space": document}},
        {"json": {"yaml": dump_yaml(document)}},
        {"content": dump_yaml({"space": document}), "headers": YAML},
        {"content": b"space: demo.yaml", "headers": {"Content-Type": "text/yaml; charset=utf-8"}},
        {"content": b'\xef\xbb\xbf{"space": "demo"}', "headers": JSON},
    )
    made = [api.post("/searches", **form) for form in forms]
    assert [each.status_code for each in made] == [201] * len(forms)
    documents = [ledger.search(each.json()["id"]).document for each in made]
    assert all(each == documents[0] for each in documents)
    assert "1e-4" not in made[0].text


def test_checking_shows_what_would_be_run(api: Api) -> None:
    checked = api.post(
        "/check", json={"space": "demo", "overrides": {"search.generations": 7}, "name": "try"}
    ).json()
    assert (checked["name"], checked["individuals"], checked["genes"]) == ("try", 28, 13)
    assert checked["document"]["search"]["generations"] == 7
    assert checked["notes"] == ["it has no budget, so it ends with its last generation"]
    bounded = api.post("/check", json={"space": "demo", "budget": {"gpu_hours": 1}}).json()
    assert bounded["notes"] == []
    guessed = api.post("/check", json={"space": "yolo12n", "data": "demo"}).json()
    assert any("random" in note for note in guessed["notes"])


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"epochs": 1001}, "train.epochs: must be a number from 1 to 1000"),
        ({"epochs": 1.5}, "train.epochs: must be a whole number"),
        ({"delay": 11}, "train.delay: must be a number from 0 to 10"),
        ({"delay": -1}, "train.delay: must be a number from 0 to 10"),
        ({"delay": "1"}, "train.delay: must be a number from 0 to 10"),
        ({"noise": True}, "train.noise: must be a number"),
        ({"width": {"x": 0}}, "train.width: must map genes"),
        ({"optimum": 3}, "train.optimum: must map genes"),
        ({"failures": {"0": "exit"}}, "train.failures: must map numbers"),
        ({"failures": {"0": "hang:2"}}, "train.failures: must map numbers"),
        ({"failures": {"0": ["oom"]}}, "train.failures: must map numbers"),
    ],
)
def test_the_synthetic_objective_keeps_within_bounds(
    api: Api, ledger: Ledger, settings: dict[str, object], problem: str
) -> None:
    body = {"space": synthetic_space(train=settings), "objective": "synthetic"}
    assert refused(api, ledger, body).startswith(problem)


def test_the_synthetic_objective_reaches_nothing(api: Api, ledger: Ledger) -> None:
    given = synthetic_space(train={"failures": {"1": "oom:2"}, "optimum": {"kind": "b"}})
    body = {
        "space": {**given, "data": "/etc/passwd", "weights": "/x.pt", "model": "/m.yaml"},
        "objective": "synthetic",
    }
    made = api.post("/searches", json=body)
    assert made.status_code == 201, made.text
    document = ledger.search(made.json()["id"]).document
    assert (document["data"], document["weights"], document["model"]) == ("", "none", "")
    line = refused(api, ledger, {"space": synthetic_space(fitness="other"), "objective": "synthetic"})
    assert line.startswith("fitness: the objective synthetic reports metrics/mAP50-95(B) only")


def test_a_document_as_large_as_it_may_be_is_judged_in_time(api: Api, ledger: Ledger) -> None:
    genes = {f"g{i}": {"type": "float", "low": 0, "high": 1, "default": 0.5} for i in range(200)}
    rule = " + ".join(f"g{i}" for i in range(80)) + " > 79"
    constraints = [f"g{i} <= 0.5 and g{i} >= 0.5 or {rule[:420].rsplit(' + ', 1)[0]} > 60" for i in range(50)]
    space = {**synthetic_space(), "genes": genes, "constraints": constraints}
    body = {"space": space, "objective": "synthetic"}
    assert len(json.dumps(body)) < MAX_BYTES
    started = time.monotonic()
    response = api.post("/check", json=body)
    seconds = time.monotonic() - started
    assert response.status_code in (200, 422)
    assert seconds < 20


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
            st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")), inner, max_size=3
        ),
        max_leaves=10,
    )
)  # fmt: skip
def test_json_goes_in_as_it_came_out(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value
    assert orjson.loads(to_json(value)) == value


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(content: bytes) -> None:
    with suppress(InputError):
        json.dumps(parse_json(content), allow_nan=False)


def test_what_goes_out_is_json_whatever_it_is() -> None:
    odd = {"text": "half \ud800", "nan": float("nan"), "mapping": {"a": (1, float("inf"))}}
    assert json.loads(to_json(odd)) == {"text": "half \ud800", "nan": None, "mapping": {"a": [1, None]}}
    assert to_json({"a": float("nan"), 1: (2,)}) == b'{"a":null,"1":[2]}'
    assert public({"real": ..., "imag": ...}, 3 + 4j) == {"real": 3.0, "imag": 4.0}


@pytest.mark.parametrize(
    ("accept", "form", "yaml"),
    [
        ("", None, False), ("*/*", None, False), ("application/yaml", None, True),
        ("text/yaml;q=0.9", None, True), ("text/html, application/x-yaml, application/json", None, True),
        ("application/json, text/yaml", None, False), ("application/yaml", "json", False),
        ("application/json", "yaml", True), ("garbage;;;,,", None, False),
    ],
)  # fmt: skip
def test_which_form_an_answer_has(accept: str, form: str | None, yaml: bool) -> None:
    assert wants_yaml(accept, form) is yaml
