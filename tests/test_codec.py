"""Genomes and configurations: every value can be reached, nothing drifts, equal trainings have equal genomes."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from evolve.codec import Codec
from evolve.space import SearchSpace, load_space


def codec_for(genes: dict, **document) -> Codec:
    return Codec(SearchSpace.from_document({"genes": genes, **document}, "test.yaml"))


def floating(low, high, default=None, **more):
    return {"type": "float", "low": low, "high": high, "default": low if default is None else default, **more}


def integer(low, high, default=None, **more):
    return {"type": "int", "low": low, "high": high, "default": low if default is None else default, **more}


OPTIMIZER = {"type": "categorical", "choices": ["SGD", "AdamW"], "default": "SGD"}
CONDITIONAL = {
    "optimizer": OPTIMIZER,
    "momentum": floating(0.6, 0.98, 0.937, when={"optimizer": "SGD"}),
    "nesterov": {"type": "boolean", "default": True, "when": {"optimizer": "SGD"}},
    "warmup_momentum": floating(0.0, 0.9, 0.8, when={"nesterov": True}),
}


@pytest.mark.parametrize("log", [False, True])
def test_an_integer_gene_reaches_every_value(log):
    codec = codec_for({"batch": integer(1, 64, log=log)})
    reached = {codec.decode([c])["batch"] for c in np.linspace(0, 1, 5000)}
    assert reached == set(range(1, 65))
    assert codec.decode([0.0]) == {"batch": 1}
    assert codec.decode([1.0]) == {"batch": 64}


def test_linear_integers_are_equally_likely():
    codec = codec_for({"layers": integer(-3, 3)})
    counts = np.bincount([codec.decode([(i + 0.5) / 7000])["layers"] + 3 for i in range(7000)])
    assert counts.tolist() == [1000] * 7


def test_decades_of_a_log_scale_are_equally_likely():
    codec = codec_for({"lr0": floating(1e-5, 0.1, log=True)})
    decades = [math.floor(math.log10(codec.decode([(i + 0.5) / 4000])["lr0"])) for i in range(4000)]
    assert [decades.count(decade) for decade in (-5, -4, -3, -2)] == [1000] * 4


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("low", "high"), [(1, 10**12), (10**12 - 5, 10**12), (1, 2), (999_999, 10**9)])
def test_huge_integers_are_exact(low, high, log):
    codec = codec_for({"n": integer(low, high, log=log)})
    for value in {low, low + 1, (low + high) // 2, high - 1, high}:
        assert codec.decode(codec.encode({"n": value})) == {"n": value}


@pytest.mark.parametrize(
    "gene",
    [
        floating(1e-5, 0.1, 0.0123456789, log=True),
        floating(0.1234567, 0.7654321, 0.5000000001),
        floating(1 / 3, 2 / 3, 0.1 + 0.4),
        floating(-1e100, 1e100, 0.0),
        floating(1e-100, 1e100, 1.0, log=True),
        floating(1.0, 1.00001, 1.00000512345678),
        floating(1.0, 1.00001, 1.00000512345678, log=True),
        floating(-1.0, 1.0, 0.30000000000000004),
        floating(-1.0, 1.0, -0.0),
        floating(5e-324 + 1e-90, 1e-3, 1e-5),
    ],
)
def test_floats_do_not_drift(gene):
    codec = codec_for({"x": gene})
    for value in (gene["low"], gene["high"], gene["default"]):
        assert codec.decode(codec.encode({"x": value})) == {"x": value}
    for coordinate in [*np.linspace(0, 1, 997), np.nextafter(0, 1), np.nextafter(1, 0)]:
        params = codec.decode([coordinate])
        canonical = codec.canonical([coordinate])
        assert gene["low"] <= params["x"] <= gene["high"]
        assert codec.decode(canonical) == params
        assert codec.canonical(canonical) == canonical


def test_values_are_readable():
    codec = codec_for({"lr0": floating(1e-5, 0.1, 0.01, log=True), "iou": floating(0.3, 0.8)})
    for genome in np.random.default_rng(0).random((100, 2)):
        assert all(len(f"{value:e}".split("e")[0].rstrip("0")) <= 8 for value in codec.decode(genome).values())
        assert all(len(repr(value)) <= 12 for value in codec.decode(genome).values())


def test_choices():
    codec = codec_for({"a": {"type": "categorical", "choices": ["x", 1, 2.5, True][:3], "default": 1}})
    assert [codec.decode([c])["a"] for c in (0.0, 0.34, 0.67, 1.0)] == ["x", 1, 2.5, 2.5]
    assert codec.canonical([0.1]) == codec.canonical([0.3]) == (1 / 6,)


def test_inactive_genes_are_left_out_and_sent_home():
    codec = codec_for(CONDITIONAL)
    assert codec.decode([0.9, 0.1, 0.9, 0.5]) == {"optimizer": "AdamW"}
    assert codec.canonical([0.9, 0.1, 0.1, 0.5]) == codec.canonical([0.6, 0.7, 0.9, 0.2])
    assert set(codec.decode([0.1, 0.1, 0.1, 0.5])) == {"optimizer", "momentum", "nesterov"}
    assert set(codec.decode([0.1, 0.1, 0.9, 0.5])) == set(CONDITIONAL)


def test_missing_values_are_encoded_as_defaults():
    codec = codec_for(CONDITIONAL)
    genome = codec.encode({"momentum": 0.7})
    assert codec.decode(genome) == {
        "optimizer": "SGD",
        "momentum": 0.7,
        "nesterov": True,
        "warmup_momentum": 0.8,
    }


@pytest.mark.parametrize("params", [{"momentum": 2.0}, {"nope": 1}, {"optimizer": "sgd"}, {"nesterov": 1}])
def test_refuses_to_encode_what_is_outside(params):
    with pytest.raises(ValueError, match="gene"):
        codec_for(CONDITIONAL).encode(params)


def test_refuses_what_is_no_genome():
    codec = codec_for({"optimizer": OPTIMIZER})
    with pytest.raises(ValueError, match="1 coordinates, but got 2"):
        codec.decode([0.1, 0.2])
    with pytest.raises(ValueError, match="must be numbers"):
        codec.decode([math.nan])
    assert codec.decode([-3.0]) == {"optimizer": "SGD"}
    assert codec.decode([3.0]) == {"optimizer": "AdamW"}


def test_keys_are_equal_for_equal_trainings_only():
    codec = codec_for(CONDITIONAL)
    first = codec.decode([0.1, 0.1, 0.9, 0.5])
    assert codec.key(first) == codec.key(dict(reversed(first.items())))
    assert codec.key({"momentum": 1}) == codec.key({"momentum": 1.0})
    keys = {codec.key(params) for params in (first, {**first, "nesterov": False}, {**first, "momentum": 0.7})}
    assert len(keys) == 3


def test_keys_stay_the_same_between_versions():
    params = {"optimizer": "SGD", "momentum": 0.937, "nesterov": True, "warmup_momentum": 0.8}
    assert codec_for(CONDITIONAL).key(params) == "13cf70097e291f1223a96762e57ae563"


def test_samples_are_uniform_among_the_feasible():
    genes = {"x": floating(0.0, 1.0, 0.1), "y": floating(0.0, 1.0, 0.1)}
    codec = codec_for(genes, constraints=["x + y < 1"])
    samples = [codec.sample(rng) for rng in [np.random.default_rng(3)] for _ in range(2000)]
    assert all(codec.feasible(genome) for genome in samples)
    assert all(codec.canonical(genome) == genome for genome in samples)
    assert np.mean(samples, axis=0) == pytest.approx([1 / 3, 1 / 3], abs=0.02)


def test_samples_where_feasible_ones_are_rare():
    genes = {name: floating(0.0, 1.0, 0.95) for name in "abc"}
    codec = codec_for(genes, constraints=[f"{name} > 0.9" for name in "abc"])  # one in a thousand
    rng = np.random.default_rng(0)
    samples = [codec.sample(rng) for _ in range(50)]
    assert all(codec.feasible(genome) for genome in samples)
    assert len(set(samples)) == 50


def test_repair_keeps_the_feasible_and_mends_the_rest():
    codec = codec_for({"x": floating(0.0, 1.0, 0.2), "y": floating(0.0, 1.0, 0.2)}, constraints=["x + y < 1"])
    assert codec.repair((0.3, 0.3)) == (0.3, 0.3)
    assert codec.repair((0.8, 0.4)) == (0.5, 0.3)


def test_samples_depend_on_the_seed_alone():
    codec = Codec(load_space("yolo12n"))
    assert codec.sample(np.random.default_rng(5)) == codec.sample(np.random.default_rng(5))


def test_is_fast():
    codec = Codec(load_space("yolo12n"))
    genomes = np.random.default_rng(0).random((200, codec.dimensions))
    best = math.inf
    for _ in range(5):
        started = time.perf_counter()
        for genome in genomes:
            codec.key(codec.decode(genome))
            codec.canonical(genome)
        best = min(best, (time.perf_counter() - started) / len(genomes))
    assert best < 1e-3
