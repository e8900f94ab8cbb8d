"""The model as a gene, and what is measured of it: parameters, operations, latency."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evolve.best import best_arguments, best_yaml, foreign_arguments
from evolve.compose.training import params_of_file
from evolve.exceptions import InputError, SpaceError
from evolve.models import model_label, model_of, models_of
from evolve.search.base import Proposal
from evolve.search.memory import MemoryLimit
from evolve.space import SearchSpace, load_space
from evolve.specs import SpecTemplate, measured
from evolve.trial import TrialFailed, TrialResult, TrialSpec
from sample_searches import evaluation, individual, search_record
from spaces import space
from tiny_training import squares
from workers.yolo12 import YoloObjective
from workers.yolo12.attempts import is_attempt_at, take_up
from workers.yolo12.checks import check_arguments
from workers.yolo12.configuration import read_configuration
from workers.yolo12.metrics import LATENCY, MEASURED, OPERATIONS, PARAMETERS
from workers.yolo12.objective import requested_arguments

MAP = "metrics/mAP50-95(B)"
GENES = {
    "model": {"type": "categorical", "choices": ["yolo12n", "yolo12p"], "default": "yolo12n"},
    "lr0": {"type": "float", "low": 1e-4, "high": 0.1, "log": True, "default": 0.01},
}
TRADED = {MAP: "maximise", LATENCY: "minimise"}


def yolo_space(**sections) -> SearchSpace:
    document = {
        "name": "traded", "data": "d.yaml", "weights": "none", "objectives": TRADED, "genes": GENES,
        "train": {"epochs": 1, "imgsz": 64, "batch": 8, "optimizer": "AdamW"},
    }  # fmt: skip
    return SearchSpace.from_document(document | sections, "traded")


def train(spec: TrialSpec) -> tuple[list, TrialResult]:
    reports, running = [], YoloObjective().run(spec)
    while True:
        try:
            reports.append(next(running))
        except StopIteration as end:
            return reports, end.value


class TestChecks:
    def test_a_gene_decides_alone(self):
        check_arguments(yolo_space())
        assert models_of(yolo_space()) == ("yolo12n", "yolo12p")
        assert models_of(yolo_space(genes={"lr0": GENES["lr0"]}, model="yolo12s")) == ("yolo12s",)

    @pytest.mark.parametrize(
        ("sections", "message"),
        [
            (
                {"model": "yolo12n"},
                r"^traded: model: must be left out where a gene decides it, but got 'yolo12n'; ",
            ),
            ({"genes": {"lr0": GENES["lr0"]}}, r"model: must be one of .* but got ''$"),
            (
                {"genes": {"model": {**GENES["model"], "choices": ["yolo12n", "yolo11n"]}}},
                r"genes\.model: must choose among yolo12n, .* but got 'yolo11n'$",
            ),
            (
                {"genes": {"model": {"type": "int", "low": 1, "high": 3, "default": 1}}},
                r"genes\.model: must choose among .* but got 1$",
            ),
            ({"weights": "best.pt"}, r"weights: must be auto or none where the model is a gene, .* 'best\.pt'"),
            ({"train": {"model": "yolo12n"}}, r"train\.model: must be a known training argument"),
            (
                {"objectives": {MAP: "maximise", "speed": "maximise"}},
                r"objectives: must use metrics.*but got 'speed'",
            ),
        ],
    )
    def test_what_cannot_be_trained_is_refused(self, sections, message):
        with pytest.raises(SpaceError, match=message):
            check_arguments(yolo_space(**sections))

    def test_a_conditional_gene_needs_a_model_beside_it(self):
        genes = {
            "big": {"type": "boolean", "default": False},
            "model": {**GENES["model"], "when": {"big": True}},
        }
        with pytest.raises(SpaceError, match=r"model: must be one of"):
            check_arguments(yolo_space(genes=genes))
        assert models_of(yolo_space(genes=genes, model="yolo12s")) == ("yolo12n", "yolo12p", "yolo12s")

    def test_the_shipped_space_trades_accuracy_for_latency(self):
        shipped = load_space("yolo12_tradeoff")
        check_arguments(shipped)
        assert dict(shipped.objectives) == TRADED
        assert models_of(shipped) == ("yolo12n", "yolo12s", "yolo12m")
        assert model_label(shipped.document()) == "yolo12n or yolo12s or yolo12m"
        assert model_label({"model": "yolo12n", "genes": {}}) == "yolo12n"


class TestSpecs:
    template = SpecTemplate(
        "s", Path("/s"), {}, "", "auto", "d.yaml", 0, {"yolo12n": "/n.pt", "yolo12p": "none"}, (MAP, LATENCY)
    )

    def spec(self, params, inherited=None) -> TrialSpec:
        return self.template.spec(Proposal(1, 0, (0.5,), params, "k"), 1, inherited)

    def test_model_and_weights_are_those_of_the_individual(self):
        spec = self.spec({"model": "yolo12n"})
        assert (spec.model, spec.weights, spec.params) == ("yolo12n", "/n.pt", {"model": "yolo12n"})
        assert spec.measure == (MAP, LATENCY)
        assert self.spec({"model": "yolo12p"}).weights == "none"
        assert self.spec({"model": "yolo12p"}, "/parent.pt").weights == "/parent.pt"
        assert replace(self.template, model="yolo12s", weights_of={}).spec(
            Proposal(1, 0, (0.5,), {"model": 3}, "k"), 1
        ).model == model_of("yolo12s", {})

    def test_what_a_verdict_needs_is_measured(self):
        assert measured(yolo_space()) == (MAP, LATENCY)
        assert measured(yolo_space(objectives={}, fitness={MAP: 1, PARAMETERS: -1e-9})) == (MAP, PARAMETERS)

    def test_the_gene_is_no_training_argument(self):
        assert requested_arguments(self.spec({"model": "yolo12n", "lr0": 0.1})) == {"lr0": 0.1}
        with pytest.raises(TrialFailed, match="model: must be one of"):
            requested_arguments(self.spec({"model": "x"}))

    def test_what_is_measured_does_not_make_another_training(self, tmp_path):
        spec = replace(self.spec({"model": "yolo12n"}), directory=str(tmp_path))
        take_up(spec)
        assert is_attempt_at(replace(spec, measure=(), attempt=2))
        assert not is_attempt_at(replace(spec, model="yolo12s"))


def test_each_model_has_a_memory_limit_of_its_own():
    from evolve.codec import Codec

    genes = {**GENES, "batch": {"type": "int", "low": 2, "high": 64, "default": 16}}
    limited = space(genes=genes)
    codec = Codec(limited)
    limit = MemoryLimit(limited, codec)
    big = {"model": "yolo12n", "lr0": 0.01, "batch": 32}
    limit.learn(big)
    assert codec.decode(limit.repair(codec.encode(big)))["batch"] == 31
    small = codec.encode({**big, "model": "yolo12p"})
    assert limit.repair(small) == small


class TestBest:
    options = {"weights": "auto", "weights_of": {"yolo12n": "/w/yolo12n.pt", "yolo12p": "none"}}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("model", "key", "pretrained", "weights"),
        [("yolo12n", "yolo12n.pt", True, "auto"), ("yolo12p", "yolo12p.yaml", False, "none")],
    )
    def test_the_yaml_trains_the_model_of_the_individual(self, tmp_path, model, key, pretrained, weights):
        found, chosen = search_record(options=self.options), individual(3, {"model": model, "lr0": 0.02})
        arguments = best_arguments(found, chosen, evaluation(3), yolo_space(weights="auto"))
        assert (arguments["model"], arguments["pretrained"]) == (key, pretrained)
        assert foreign_arguments(chosen, yolo_space()) == {}
        path = tmp_path / "best.yaml"
        path.write_text(best_yaml(found, chosen, evaluation(3), yolo_space()))
        configuration = read_configuration(params_of_file(path))
        assert (configuration.model, configuration.weights) == (model, weights)
        assert configuration.arguments["lr0"] == 0.02
        assert "model" not in configuration.arguments

    def test_the_advice_is_about_the_model_of_the_individual(self):
        text = best_yaml(
            search_record(), individual(3, {"model": "yolo12p"}), evaluation(3), yolo_space(), stock=True
        )
        assert "stock Ultralytics has no model yolo12p" in text


def test_a_best_yaml_begins_another_search_with_its_model(tmp_path):
    from evolve.warmstart.documents import document_source

    path = tmp_path / "best.yaml"
    chosen = individual(3, {"model": "yolo12p", "lr0": 0.02})
    path.write_text(best_yaml(search_record(options={"weights": "none"}), chosen, evaluation(3), yolo_space()))
    (row,) = document_source(path, yolo_space()).rows
    assert row.values["model"] == "yolo12p"
    plain = yolo_space(genes={"lr0": GENES["lr0"]}, model="yolo12n")
    (row,) = document_source(path, plain).rows
    assert row.values["model"] == "yolo12p.yaml"


def test_preparation_finds_the_weights_of_each_model_and_goes_on_with_them(tmp_path, monkeypatch):
    import workers.yolo12
    from evolve.compose import preparation
    from evolve.settings import Settings

    asked = []

    def resolve(model, weights, home):
        asked.append((model, weights))
        return (Path("/w") / f"{model}.pt" if weights != "none" else None), f"note of {model}"

    monkeypatch.setattr(workers.yolo12, "resolve_weights", resolve)
    monkeypatch.setattr(preparation, "prepare_data", lambda ref, settings: preparation.Prepared("v", "s", "h"))
    prepared = preparation.prepare(yolo_space(weights="auto"), "yolo12", Settings(home=tmp_path))
    assert prepared.weights == "auto"
    assert prepared.weights_of == {"yolo12n": "/w/yolo12n.pt", "yolo12p": "/w/yolo12p.pt"}
    assert prepared.notes == ("note of yolo12n", "note of yolo12p")
    begun = search_record(
        document=yolo_space(weights="auto").document(), data_hash="h",
        options={**prepared.document(), "weights_of": {"yolo12n": "/old.pt", "yolo12p": "none"}},
    )  # fmt: skip
    preparation.prepare_again(begun, Settings(home=tmp_path))
    assert asked[2:] == [("yolo12n", "/old.pt"), ("yolo12p", "none")]
    plain = preparation.prepare(
        yolo_space(weights="auto", model="yolo12n", genes={"lr0": GENES["lr0"]}), "yolo12", Settings(home=tmp_path)
    )
    assert plain.document() == {"weights": "/w/yolo12n.pt", "notes": ["note of yolo12n"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return squares(tmp_path_factory.mktemp("squares"), train=8)


@pytest.mark.slow
class TestMeasuring:
    def spec(self, data, directory, **changes) -> TrialSpec:
        settings = {"epochs": 2, "imgsz": 64, "batch": 8, "optimizer": "AdamW", "lr0": 0.002}
        spec = TrialSpec("s", 0, 1, {}, settings, 0, str(directory), "yolo12p", "none", str(data))
        return replace(spec, **changes)

    def test_only_what_is_asked_for_is_measured_and_nothing_else_changes(self, data, tmp_path):
        reports, plain = train(self.spec(data, tmp_path / "a"))
        assert not set(plain.metrics) & set(MEASURED)
        asked = self.spec(data, tmp_path / "b", measure=(MAP, *MEASURED))
        seen, result = train(asked)
        assert {name: value for name, value in result.metrics.items() if name not in MEASURED} == plain.metrics
        assert set(result.metrics) - set(plain.metrics) == set(MEASURED)
        assert all(result.metrics.items() >= {(name, each.metrics[name]) for name in MEASURED} for each in seen)
        assert len(reports) == len(seen) == 2
        assert 0.1 < result.metrics[LATENCY] < 5000

    def test_a_merged_model_has_stock_parameters(self, data, tmp_path):
        settings = {"epochs": 1, "imgsz": 64, "batch": 8, "optimizer": "AdamW", "lr0": 0.002}
        measure = (PARAMETERS, OPERATIONS)
        stock = train(self.spec(data, tmp_path / "a", settings=settings, measure=measure))[1].metrics
        branched = {**settings, "hetero": True}
        hetero = train(self.spec(data, tmp_path / "b", settings=branched, measure=measure))[1].metrics
        assert stock[PARAMETERS] == hetero[PARAMETERS]
        assert stock[OPERATIONS] == pytest.approx(hetero[OPERATIONS])
        assert LATENCY not in stock
        assert 1e6 < stock[PARAMETERS] < 1.5e6

    def test_a_larger_model_costs_more(self):
        from workers.yolo12.process import prepare_process

        prepare_process()
        import torch
        from ultralytics.nn.tasks import DetectionModel

        from workers.yolo12.architectures import architecture
        from workers.yolo12.measuring import measure

        state = torch.get_rng_state()
        found = {}
        for name in ("yolo12p", "yolo12n"):
            model = DetectionModel(architecture(name), nc=3, verbose=False).train()
            state = torch.get_rng_state()
            found[name] = measure(model, MEASURED, imgsz=160, half=False, check=lambda: None)
            assert model.training
            assert not model.is_fused()
            assert torch.equal(torch.get_rng_state(), state)
        assert all(found["yolo12p"][name] < found["yolo12n"][name] for name in MEASURED)
        assert measure(model, (MAP,), imgsz=160, half=False, check=lambda: None) == {}

    def test_what_others_take_of_a_core_counts_little(self, monkeypatch):
        import time

        import torch

        from workers.yolo12 import measuring

        class Interrupted(torch.nn.Conv2d):
            def forward(self, picture):
                time.sleep(0.02)  # as a process that gets no core
                return super().forward(picture)

        monkeypatch.setattr(measuring, "FEWEST", 3)
        monkeypatch.setattr(measuring, "MOST", 3)
        assert measuring.latency(Interrupted(3, 3, 3), 32, lambda: None) < 15

    def test_leaving_is_possible_between_pictures(self):
        import torch

        from workers.yolo12.measuring import latency

        class Left(Exception):
            pass

        def check():
            raise Left

        with pytest.raises(Left):
            latency(torch.nn.Conv2d(3, 3, 3), 32, check)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_a_search_over_models_from_end_to_end(data, tmp_path, monkeypatch):
    """Two models, real trainings, inline: each individual trains its own, and the best can be trained again."""
    from evolve import run_search

    monkeypatch.setenv("EVOLVE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    genes = {"model": {**GENES["model"], "default": "yolo12p"}, "lr0": {**GENES["lr0"], "default": 0.002}}
    searched = yolo_space(
        data=str(data), genes=genes,
        objectives={MAP: "maximise", PARAMETERS: "minimise"},
        search={"population": 4, "generations": 1, "inherit_weights": True},
    )  # fmt: skip
    search = run_search(searched, inline=True, home=tmp_path / "home")
    members = search.individuals()
    assert {each.params["model"] for each in members} == {"yolo12n", "yolo12p"}
    sizes = {each.params["model"]: each.metrics[PARAMETERS] for each in members}
    assert sizes["yolo12p"] < 2e6 < sizes["yolo12n"]
    assert search.record.options["weights_of"] == {"yolo12n": "none", "yolo12p": "none"}


def test_a_path_of_weights_is_refused_before_anything_is_prepared():
    from evolve.compose import check_objective

    with pytest.raises(InputError, match="weights: must be auto or none"):
        check_objective(yolo_space(weights="/w/yolo12n.pt"), "yolo12")
