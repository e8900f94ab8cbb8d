"""Many genomes at once: the same as the codec does for one, and columns in which equal configurations are equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from evolve.codec import Codec
from evolve.exceptions import SpaceError
from evolve.search.geometry import CHOICE_DISTANCE, PLACEHOLDER, Geometry
from evolve.space import SearchSpace
from spaces import space
from test_space_properties import documents

CLOSE = 1e-5
ROWS = 40
few = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 2**32)

KINDS: dict[str, Any] = {
    "rate": {"type": "float", "low": 1e-6, "high": 0.1, "log": True, "default": 0.01},
    "share": {"type": "float", "low": -1, "high": 1, "default": 0.25},
    "batch": {"type": "int", "low": 1, "high": 64, "log": True, "default": 16},
    "depth": {"type": "int", "low": 2, "high": 5, "default": 3},
    "kind": {"type": "categorical", "choices": ["a", "b", "c"], "default": "a"},
    "on": {"type": "boolean", "default": False},
    "outer": {"type": "int", "low": 1, "high": 3, "default": 1, "when": {"kind": ["b", "c"]}},
    "inner": {"type": "float", "low": 0, "high": 1, "default": 0.5, "when": {"outer": [2, 3], "on": True}},
    "innermost": {"type": "categorical", "choices": [1, 2, 3, 4], "default": 1, "when": {"outer": 3}},
}


def geometry_of(searched: SearchSpace) -> tuple[Geometry, Codec]:
    codec = Codec(searched)
    return Geometry(searched, codec), codec


def drawn_space(document: dict[str, Any]) -> SearchSpace:
    for gene in document["genes"].values():  # where a log scale spans less, all drowns in rounding
        assume(gene["type"] != "int" or not gene["log"] or gene["high"] > gene["low"] * (1 + 1e-7))
    try:
        return SearchSpace.from_document(document, "drawn")
    except SpaceError:  # constraints that hold nowhere
        assume(False)
        raise


def assert_agrees(searched: SearchSpace, genomes: np.ndarray) -> None:
    geometry, codec = geometry_of(searched)
    snapped = geometry.snap(genomes)
    canonical = np.array([codec.canonical(genome) for genome in genomes.tolist()])
    np.testing.assert_allclose(snapped, canonical, rtol=0, atol=CLOSE)
    active = geometry.active(snapped)
    for genome, exists in zip(genomes.tolist(), active, strict=True):
        assert {name for name, it in zip(codec.names, exists, strict=True) if it} == codec.decode(genome).keys()
    np.testing.assert_allclose(geometry.snap(snapped), snapped, rtol=0, atol=1e-12)
    assert len({len(row) for row in geometry.columns(snapped)}) == 1


@few
@given(documents(), seeds)
def test_snapping_is_what_the_codec_does(document: dict[str, Any], seed: int) -> None:
    searched = drawn_space(document)
    assert_agrees(searched, np.random.default_rng(seed).random((ROWS, len(searched.genes))))


@few
@given(seeds)
def test_conditions_on_conditions_and_whole_numbers_on_a_log_scale(seed: int) -> None:
    assert_agrees(space(genes=KINDS), np.random.default_rng(seed).uniform(-0.1, 1.1, (ROWS, len(KINDS))))


@pytest.mark.parametrize(("low", "high", "log"), [(6810569, 6810572, True), (0, 10**12, False)])
def test_conditions_on_large_whole_numbers(low: int, high: int, log: bool) -> None:
    size = {"type": "int", "low": low, "high": high, "log": log, "default": low}
    inner = {"type": "float", "low": 0, "high": 1, "default": 0.5, "when": {"size": low + 2}}
    searched = space(genes={"size": size, "inner": inner})
    sizes = [searched.genes["size"].encode(low + place) for place in range(4)]  # type: ignore[arg-type]
    assert_agrees(searched, np.array([[size, 0.9] for size in sizes]))


def test_the_ends_of_every_gene() -> None:
    corners = np.random.default_rng(0).integers(0, 2, (ROWS, len(KINDS))).astype(float)
    assert_agrees(space(genes=KINDS), corners)


@few
@given(documents(), seeds)
def test_genomes_of_one_configuration_have_equal_columns(document: dict[str, Any], seed: int) -> None:
    searched, rng = drawn_space(document), np.random.default_rng(seed)
    geometry, codec = geometry_of(searched)
    genomes = rng.random((ROWS, codec.dimensions))
    snapped = geometry.snap(genomes)
    twins = np.where(geometry.active(snapped), genomes, rng.random(genomes.shape))
    chosen = geometry.choices > 0
    counts = geometry.choices[chosen]
    inside = (np.floor(genomes[:, chosen] * counts) + rng.uniform(0.01, 0.99, (ROWS, len(counts)))) / counts
    twins[:, chosen] = np.where(geometry.active(snapped)[:, chosen], inside, twins[:, chosen])
    assert [codec.canonical(genome) for genome in twins.tolist()] == [*map(codec.canonical, genomes.tolist())]
    np.testing.assert_array_equal(geometry.columns(geometry.snap(twins)), geometry.columns(snapped))


@few
@given(documents(), seeds)
def test_there_are_as_many_columns_however_many_genomes(document: dict[str, Any], seed: int) -> None:
    searched = drawn_space(document)
    geometry, codec = geometry_of(searched)
    snapped = geometry.snap(np.random.default_rng(seed).random((ROWS, codec.dimensions)))
    columns = geometry.columns(snapped)
    width = sum(count if count > 2 else 1 for count in geometry.choices)
    assert columns.shape == (ROWS, width)
    assert geometry.columns(snapped[:0]).shape == (0, width)
    assert geometry.columns(snapped[:1]).shape == (1, width)
    assert ((columns >= 0) & (columns <= 1)).all()


def test_what_a_model_sees_of_choices_and_of_what_is_not_there() -> None:
    genes = {name: KINDS[name] for name in ("kind", "on", "outer", "inner", "innermost")}
    searched = space(genes=genes)
    geometry, codec = geometry_of(searched)
    genomes = [
        codec.encode({"kind": "a", "on": False}),
        codec.encode({"kind": "b", "on": True, "outer": 3, "inner": 1.0, "innermost": 4}),
    ]
    without, complete = geometry.columns(geometry.snap(np.array(genomes)))
    far = CHOICE_DISTANCE
    assert without == pytest.approx([far, 0, 0, 0, *[PLACEHOLDER] * 2, *[PLACEHOLDER * far] * 4])
    assert complete == pytest.approx([0, far, 0, 1, 5 / 6, 1, 0, 0, 0, far])
