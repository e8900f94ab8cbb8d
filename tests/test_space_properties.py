"""Random documents, sound and broken: a space that keeps its promises, or one clear line.

`EVOLVE_HYPOTHESIS_EXAMPLES` sets how many documents each test draws.
"""

from __future__ import annotations

import copy
import json
import math
import os
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evolve.codec import Codec
from evolve.exceptions import InputError, SpaceError
from evolve.space import FloatGene, IntGene, SearchSpace
from evolve.yaml_io import dump_yaml, parse_yaml

SOURCE = "random.yaml"
SAMPLES = 8
drawn = settings(
    max_examples=int(os.environ.get("EVOLVE_HYPOTHESIS_EXAMPLES", "300")),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)

names = st.sampled_from(["lr0", "momentum", "batch", "optimizer", "mosaic", "cos_lr", "box", "_x1"])
scalars = st.one_of(
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
)
hostile = st.one_of(
    st.none(),
    scalars,
    st.sampled_from([math.nan, math.inf, -math.inf, 10**400, -(2**70), 2**62, 1e308, 5e-324, -0.0, "", "\u2028\n"]),
    st.sampled_from([[], {}, [[]], {"a": None}, ["SGD", "SGD"], [None], {"": 1}, {"optimizer": "SGD"}, {"lr0": 1}]),
    st.sampled_from(["lr0 < 1", "1/0 > 1", "lr0 ** 1e9 > 0", "not " * 90 + "cos_lr", "((((", "__import__('os')"]),
).map(copy.deepcopy)  # fmt: skip


@st.composite
def numeric_genes(draw, kind: str) -> dict[str, Any]:
    log = draw(st.booleans())
    if kind == "int":
        low = draw(st.integers(1 if log else -(10**12), 10**12 - 1))
        high = draw(st.integers(low + 1, min(10**12, low + draw(st.sampled_from([1, 3, 100, 2 * 10**12])))))
        default = draw(st.integers(low, high))
    else:
        low = draw(st.floats(1e-100 if log else -1e90, 1e90))
        high = low + max(abs(low), 1e-90) * draw(st.floats(2e-6, 1e6))
        default = min(low + draw(st.floats(0, 1)) * (high - low), high)
    return {"type": kind, "low": low, "high": high, "default": default, "log": log}


@st.composite
def choice_genes(draw) -> dict[str, Any]:
    if draw(st.booleans()):
        return {"type": "boolean", "default": draw(st.booleans())}
    choices = draw(st.lists(scalars, min_size=2, max_size=6, unique=True))
    return {"type": "categorical", "choices": choices, "default": draw(st.sampled_from(choices))}


@st.composite
def documents(draw) -> dict[str, Any]:
    """A document that keeps all rules, but for constraints that may hold almost nowhere."""
    genes: dict[str, dict[str, Any]] = {}
    for name in draw(st.lists(names, min_size=1, max_size=6, unique=True)):
        gene = draw(st.one_of(numeric_genes("float"), numeric_genes("int"), choice_genes()))
        controllers = [each for each in genes if genes[each]["type"] != "float"]
        if controllers and draw(st.booleans()):
            parent = draw(st.sampled_from(controllers))
            gene["when"] = {parent: draw(possible_values(genes[parent]))}
        genes[name] = gene
    return {
        "train": {"imgsz": 640},
        "genes": genes,
        "constraints": [rule for name in genes for rule in draw(rules(name, genes[name]))],
        "search": {"population": draw(st.integers(2, 20))},
    }


def possible_values(gene: dict[str, Any]) -> st.SearchStrategy[Any]:
    match gene["type"]:
        case "int":
            value = st.integers(gene["low"], gene["high"])
        case "boolean":
            value = st.booleans()
        case _:
            value = st.sampled_from(gene["choices"])
    return st.one_of(value, st.lists(value, min_size=1, max_size=3))


def rules(name: str, gene: dict[str, Any]) -> st.SearchStrategy[list[str]]:
    """Constraints that the default satisfies."""
    if gene["type"] in {"boolean", "categorical"}:
        return st.just([])
    default, middle = gene["default"], (gene["low"] + gene["high"]) / 2
    side = "<=" if default <= middle else ">="
    candidates = [
        f"{name} {side} {middle!r}",
        f"{name} <= {default!r} or imgsz > 320",
        f"not {name} < {default!r}",
        f"{name} - {name} == 0 and abs({name}) == max({name}, -{name})",
    ]
    return st.lists(st.sampled_from(candidates), max_size=1)


@st.composite
def broken_documents(draw) -> dict[str, Any]:
    """A sound document after one to three blows."""
    document = copy.deepcopy(draw(documents()))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = document
        while inner := [key for key in keys_of(place) if isinstance(place[key], dict | list)]:
            if place is not document and draw(st.booleans()):
                break
            place = place[draw(st.sampled_from(inner))]
        strike(draw, place)
    return document


def keys_of(place: Any) -> list[Any]:
    return list(place) if isinstance(place, dict) else list(range(len(place)))


def strike(draw: Any, place: Any) -> None:
    keys = keys_of(place)
    blow = draw(st.sampled_from(["replace", "remove", "add"]))
    if blow == "add" or not keys:
        if isinstance(place, dict):
            place[draw(st.one_of(names, st.sampled_from(["", "lwo", "type", "when", "a b", "\n", "low"])))] = draw(
                hostile
            )
        else:
            place.append(draw(hostile))
    elif blow == "remove":
        del place[draw(st.sampled_from(keys))]
    else:
        place[draw(st.sampled_from(keys))] = draw(hostile)


def assert_one_line(error: Exception) -> None:
    message = str(error)
    assert message.startswith((f"{SOURCE}: ", f"{SOURCE}:"))
    assert len(message.splitlines()) == 1
    assert message.isprintable()
    assert len(message) < 1000
    assert "Traceback" not in message


def assert_inside(space: SearchSpace, params: dict[str, Any]) -> None:
    """Judge a sample by the document, with code of its own."""
    for name, value in params.items():
        gene = space.genes[name]
        if isinstance(gene, FloatGene | IntGene):
            assert gene.low <= value <= gene.high
            assert type(value) is (float if isinstance(gene, FloatGene) else int)
        else:
            assert value in gene.options
    for name, gene in space.genes.items():
        exists = all(parent in params and params[parent] in values for parent, values in gene.when.items())
        assert (name in params) is exists
    assert space.check(params) == []


def assert_keeps_its_promises(space: SearchSpace, seed: int) -> None:
    codec, rng = Codec(space), np.random.default_rng(seed)
    home = codec.encode(space.default())
    assert codec.decode(home) == space.default()
    assert codec.canonical(home) == home
    for _ in range(SAMPLES):
        genome = codec.sample(rng)
        params = codec.decode(genome)
        assert_inside(space, params)
        assert codec.canonical(genome) == genome == codec.encode(params)
        free = rng.random(codec.dimensions).round(rng.integers(1, 17))
        canonical = codec.canonical(free)
        assert codec.canonical(canonical) == canonical
        assert all(0 <= coordinate <= 1 for coordinate in canonical)
        assert codec.decode(canonical) == codec.decode(free)
        assert codec.key(codec.decode(canonical)) == codec.key(codec.decode(free))
        assert_inside(space, codec.decode(codec.repair(free)))


def assert_round_trips(space: SearchSpace) -> None:
    document = json.loads(json.dumps(space.document()))
    assert SearchSpace.from_document(document, "other.yaml") == space
    assert parse_yaml(dump_yaml(document), SOURCE) == document


@drawn
@given(documents(), st.integers(0, 2**32))
def test_sound_documents_are_spaces_that_keep_their_promises(document, seed):
    try:
        space = SearchSpace.from_document(document, SOURCE)
    except SpaceError as error:
        assert_one_line(error)
        assert "constraints: some configurations must satisfy all of them" in str(error)  # noqa: PT017
        return
    assert_round_trips(space)
    assert_keeps_its_promises(space, seed)


@drawn
@given(broken_documents(), st.integers(0, 2**32))
def test_broken_documents_give_one_line_or_a_space(document, seed):
    try:
        space = SearchSpace.from_document(document, SOURCE)
    except SpaceError as error:
        assert_one_line(error)
        return
    assert_round_trips(space)
    assert_keeps_its_promises(space, seed)


fragments = st.sampled_from(
    ["a", ": ", ":", "\n", "  ", "- ", "[", "]", "{", "}", ",", "&x", "*x", "!!str", "<<", "|", ">", "'", '"', "#",
     "?", "---",
     "...", "%YAML 1.1", "1e5", ".inf", "~", "\t", "\\", "\\x", "\0", "\u2028", "0x", "\ufeff", "🙂"]
)  # fmt: skip


@drawn
@given(st.lists(fragments, max_size=40).map("".join))
def test_any_text_gives_one_line_or_plain_values(text):
    try:
        mapping = parse_yaml(text, SOURCE)
    except InputError as error:
        assert_one_line(error)
        return
    assert parse_yaml(dump_yaml(mapping), SOURCE) == mapping
    assert json.loads(json.dumps(mapping, allow_nan=False)) == mapping
