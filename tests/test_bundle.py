from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from evolve.best import TRAIN_ARGUMENTS, best_arguments, best_of, best_yaml, deciding_evaluation, foreign_arguments
from evolve.bundle import export_bundle
from evolve.exceptions import EvolveError, InputError
from evolve.ledger import Ledger
from evolve.space import SearchSpace, load_space
from evolve.trial import EpochReport, TrialResult, TrialSpec, TrialState
from sample_searches import (
    DEFAULTS,
    DOCUMENT,
    METRIC,
    SampleLedger,
    evaluation,
    individual,
    sample_ledger,
    search_record,
)

FILES = [
    "MANIFEST", "best.pt", "best.yaml", "data.json", "environment.json", "individuals.csv", "report.html",
    "seeds.json", "space.yaml",
]  # fmt: skip


@pytest.fixture
def space() -> SearchSpace:
    return SearchSpace.from_document(DOCUMENT, "test")


@pytest.fixture
def ledger(tmp_path) -> SampleLedger:
    ledger = sample_ledger(24)
    weights = tmp_path / "trials" / "best.pt"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    ledger.attempts = [
        replace(each, weights=str(weights)) if each.individual == ledger.record.best_individual else each
        for each in ledger.attempts
    ]
    return ledger


def test_the_arguments_name_everything_that_the_training_used(space):
    params = {**DEFAULTS, "lr0": 1e-5, "nms_iou": 0.55}
    arguments = best_arguments(search_record(), individual(3, params), evaluation(3, seed=7, epochs=12), space)
    assert arguments == {
        "task": "detect", "mode": "train", "model": "yolo12n.yaml", "data": "bottles.yaml", "pretrained": False,
        "seed": 7, "epochs": 12, "imgsz": 640, "lr0": 1e-5, "weight_decay": 5e-4, "batch": 16, "optimizer": "SGD",
        "momentum": 0.937, "iou": 0.55, "mosaic": 1.0, "cos_lr": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "resolved", "model", "pretrained"),
    [
        ("none", None, "yolo12n.yaml", False),
        ("auto", None, "yolo12n.pt", True),
        ("auto", "none", "yolo12n.yaml", False),
        ("auto", "/home/me/yolo12n.pt", "yolo12n.pt", True),
        ("/home/me/mine.pt", None, "yolo12n.yaml", "/home/me/mine.pt"),
    ],
)
def test_the_weights_that_the_training_started_from(asked, resolved, model, pretrained):
    space = SearchSpace.from_document({**DOCUMENT, "weights": asked}, "test")
    search = search_record(options={"weights": resolved} if resolved else {})
    arguments = best_arguments(search, individual(0), evaluation(0), space)
    assert (arguments["model"], arguments["pretrained"]) == (model, pretrained)


def test_the_file_is_complete_and_only_the_stock_one_leaves_out_what_stock_ultralytics_does_not_know(space):
    chosen = individual(3, {**DEFAULTS, "focal_gamma": 1.5, "box_loss": "focal_eiou"})
    assert foreign_arguments(chosen, space) == {"focal_gamma": 1.5, "box_loss": "focal_eiou"}
    text = best_yaml(search_record(), chosen, evaluation(3), space, name="mine.yaml")
    values = yaml.safe_load(text)
    assert (values["focal_gamma"], values["box_loss"], values["iou"]) == (1.5, "focal_eiou", 0.7)
    assert "# Train again with: evolve train --params mine.yaml\n" in text
    assert "does not know focal_gamma=1.5, box_loss=focal_eiou: `evolve best 3f2a9c1b --stock` is for it" in text
    assert "yolo train" not in text

    stock = best_yaml(search_record(), chosen, evaluation(3), space, stock=True, name="stock.yaml")
    assert yaml.safe_load(stock) == {key: values[key] for key in values if key not in ("focal_gamma", "box_loss")}
    assert "# Train with stock Ultralytics: yolo train cfg=stock.yaml\n" in stock
    assert "left out, as stock Ultralytics does not know it: focal_gamma=1.5, box_loss=focal_eiou" in stock


def test_a_file_without_anything_of_ours_says_that_stock_ultralytics_trains_it_too(space):
    text = best_yaml(search_record(), individual(3), evaluation(3), space)
    assert "evolve train --params best.yaml" in text
    assert "yolo train cfg=best.yaml" in text
    pico = SearchSpace.from_document({**DOCUMENT, "model": "yolo12p"}, "test")
    assert "yolo train" not in best_yaml(search_record(), individual(3), evaluation(3), pico)
    stock = best_yaml(search_record(), individual(3), evaluation(3), pico, stock=True)
    assert "stock Ultralytics has no model yolo12p" in stock


def test_the_yaml_says_where_it_comes_from_and_cannot_be_broken_by_a_name(space):
    search = search_record(name="x\nlr0: 5\r\nbox: 9", best_individual=3, best_fitness=0.5, default_fitness=0.4)
    text = best_yaml(search, individual(3, {**DEFAULTS, "lr0": 1e-5}, fitness=0.5), evaluation(3), space)
    values = yaml.safe_load(text)
    assert values["lr0"] == 1e-5
    assert "box" not in values
    assert "individual 3" in text
    assert "0.50000" in text
    assert "+0.1000 (+25.0%) over the default configuration" in text


def test_another_objective_gets_its_parameters_without_ultralytics_arguments():
    document = {**DOCUMENT, "model": "", "data": "", "train": {"steps": 3}}
    space = SearchSpace.from_document(document, "test")
    text = best_yaml(search_record(objective="my.module:run"), individual(1), evaluation(1), space)
    values = yaml.safe_load(text)
    assert values == {"steps": 3, **DEFAULTS, "seed": 0}
    assert "my.module:run" in text


def test_stock_ultralytics_accepts_the_file(tmp_path, space):
    cfg = pytest.importorskip("ultralytics.cfg")
    chosen = individual(3, {**DEFAULTS, "lr0": 1e-5, "hetero": True})
    text = best_yaml(search_record(), chosen, evaluation(3), space, stock=True)
    (tmp_path / "best.yaml").write_text(text)
    read = cfg.get_cfg(cfg.DEFAULT_CFG_DICT, yaml.safe_load((tmp_path / "best.yaml").read_text()))
    assert (read.lr0, read.iou, read.mode, read.seed) == (1e-5, 0.7, "train", 0)
    assert set(cfg.DEFAULT_CFG_DICT) >= TRAIN_ARGUMENTS


def test_stock_ultralytics_gets_every_argument_of_the_catalogue_that_is_not_ours():
    arguments = pytest.importorskip("workers.yolo12.arguments")
    catalogue = arguments.CATALOGUE.items()
    assert {argument.ultralytics(name) for name, argument in catalogue if not argument.own} <= TRAIN_ARGUMENTS
    assert not {name for name, argument in catalogue if argument.own} & TRAIN_ARGUMENTS


@pytest.mark.parametrize("name", ["yolo12n", "reference"])
def test_shipped_spaces_give_arguments(name):
    cfg = pytest.importorskip("ultralytics.cfg")
    space = load_space(name)
    text = best_yaml(search_record(), individual(0, space.default()), evaluation(0), space, stock=True)
    cfg.get_cfg(cfg.DEFAULT_CFG_DICT, yaml.safe_load(text))


def test_the_deciding_evaluation_is_the_finished_one_of_whoever_trained():
    attempts = [
        evaluation(1, attempt=1, state=TrialState.FAILED),
        evaluation(1, attempt=2),
        evaluation(1, attempt=3, state=TrialState.INTERRUPTED),
        evaluation(2),
    ]
    assert deciding_evaluation(individual(1), attempts) == attempts[1]
    assert deciding_evaluation(individual(5, reused_from=1), attempts) == attempts[1]
    assert deciding_evaluation(individual(6), attempts) is None


def test_nothing_evaluated_yet(tmp_path):
    ledger = SampleLedger(search_record(), [individual(0)], [])
    with pytest.raises(EvolveError, match="an individual must have been evaluated"):
        best_of(ledger, ledger.record)
    with pytest.raises(EvolveError, match="3f2a9c1b"):
        export_bundle(ledger, "3f2a9c1b", tmp_path / "b")


def read_bundle(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {each.name: each.read_bytes() for each in path.iterdir()}
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name.removeprefix(f"{path.stem}/"): archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_a_bundle_holds_all_and_its_manifest_is_true(tmp_path, ledger, name):
    target = export_bundle(ledger, "3f2a9c1b", tmp_path / "deep" / name)
    files = read_bundle(target)
    assert sorted(files) == FILES
    listed = dict(reversed(line.split("  ")) for line in files["MANIFEST"].decode().splitlines())
    assert listed == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != "MANIFEST"
    }
    assert files["best.pt"] == b"weights"
    assert json.loads(files["data.json"])["content_hash"] == ledger.record.data_hash
    assert json.loads(files["environment.json"]) == ledger.record.environment
    assert json.loads(files["seeds.json"])["best"] == 0
    assert [each.name for each in target.parent.iterdir()] == [name]
    (tmp_path / "space.yaml").write_bytes(files["space.yaml"])
    assert load_space(tmp_path / "space.yaml") == SearchSpace.from_document(DOCUMENT, "test")


def test_a_bundle_holds_a_stock_file_where_something_is_ours(tmp_path, ledger):
    ledger.members = [replace(each, params={**each.params, "hetero": True}) for each in ledger.members]
    files = read_bundle(export_bundle(ledger, "3f2a9c1b", tmp_path / "b"))
    best, stock = (yaml.safe_load(files[name]) for name in ("best.yaml", "stock.yaml"))
    assert best == stock | {"hetero": True}
    assert b"yolo train cfg=stock.yaml" in files["stock.yaml"]


def test_weights_that_are_gone_are_named(tmp_path, ledger):
    (tmp_path / "trials" / "best.pt").unlink()
    with pytest.raises(EvolveError, match=r"best\.pt is gone"):
        export_bundle(ledger, "3f2a9c1b", tmp_path / "b")
    assert not (tmp_path / "b").exists()
    assert "best.pt" not in read_bundle(export_bundle(ledger, "3f2a9c1b", tmp_path / "b", weights=False))


@pytest.mark.parametrize("name", ["bundle", "bundle.zip"])
def test_only_an_older_bundle_is_replaced_and_only_by_force(tmp_path, ledger, name):
    target = export_bundle(ledger, "3f2a9c1b", tmp_path / name)
    if target.is_dir():
        (target / "stale").touch()
    with pytest.raises(InputError, match="must not exist yet"):
        export_bundle(ledger, "3f2a9c1b", target)
    export_bundle(ledger, "3f2a9c1b", target, force=True)
    assert sorted(read_bundle(target)) == FILES


@pytest.mark.parametrize("name", ["home", "notes.txt"])
def test_force_spares_what_is_no_bundle(tmp_path, ledger, name):
    target = tmp_path / name
    if target.suffix:
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "mine").touch()
    with pytest.raises(InputError, match="only an older bundle may be replaced"):
        export_bundle(ledger, "3f2a9c1b", target, force=True)
    assert target.is_file() or (target / "mine").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path, ledger):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="the bundle cannot be written"):
        export_bundle(ledger, "3f2a9c1b", tmp_path / "file" / "b")


def test_a_bundle_from_a_real_ledger(tmp_path, space):
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        search = ledger.create_search(
            name="bottles", document=space.document(), objective="yolo12", options={}, environment={"gpu": None},
            directory=str(tmp_path), data_hash="ab" * 32,
        )  # fmt: skip
        lease = ledger.acquire(search.id)
        with lease.transaction() as tx:
            tx.start(resumed=False)
            for number, fitness in enumerate((0.4, 0.5)):
                tx.propose(individual(number, search_id=search.id, told=None, attempts=0))
                tx.submit(TrialSpec(search.id, number, 1, DEFAULTS, space.train, 3, str(tmp_path)))
                tx.started(number, 1, "gpu-0")
                tx.reported(number, 1, EpochReport(1, 30, {METRIC: fitness}, 1.0))
                tx.completed(number, 1, TrialResult({METRIC: fitness}, epochs=30, seconds=2.0))
                tx.evaluated(number, state=TrialState.COMPLETED, fitness=fitness, metrics={METRIC: fitness})
        files = read_bundle(export_bundle(ledger, search.id[:6], tmp_path / "b"))
    assert "best.pt" not in files
    assert yaml.safe_load(files["best.yaml"])["seed"] == 3
    assert b"Individual 1 reached mAP50-95 0.5000" in files["report.html"]
