from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from dataclasses import fields
from pathlib import Path

import pytest

from evolve.exceptions import DataError, InputError, SpaceError
from evolve.space import SearchSpace, load_space
from evolve.trial import FailureKind, TrialFailed
from workers.yolo12 import download_dataset, downloads, fetch, resolve_weights
from workers.yolo12 import weights as weights_module
from workers.yolo12.architectures import MODELS
from workers.yolo12.arguments import CATALOGUE, OPTIMIZERS, advice, to_ultralytics
from workers.yolo12.checks import check_arguments
from workers.yolo12.recipe import Recipe

LR = {"type": "float", "low": 1e-4, "high": 0.1, "log": True, "default": 0.01}


def space_of(genes=None, train=None, **rest) -> SearchSpace:
    document = {
        "model": "yolo12n",
        "data": "data.yaml",
        "train": {"epochs": 3, "optimizer": "AdamW"} | (train or {}),
        "genes": genes or {"lr0": LR},
    }
    return SearchSpace.from_document({**document, **rest}, "mine.yaml")


THEIRS = {name: argument for name, argument in CATALOGUE.items() if not argument.own}
OURS = {name: argument for name, argument in CATALOGUE.items() if argument.own}
BOX_LOSS = {"type": "categorical", "choices": ["ciou", "elastic", "focal_eiou"], "default": "elastic"}
BETA = {"type": "float", "low": 0.5, "high": 3.0, "default": 1.5}


def message_of(space: SearchSpace) -> str:
    with pytest.raises(SpaceError) as caught:
        check_arguments(space)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestCatalogue:
    def test_ultralytics_knows_every_argument_and_its_default_fits(self):
        from workers.yolo12.process import prepare_process

        prepare_process()
        from ultralytics.utils import DEFAULT_CFG_DICT

        for name, argument in THEIRS.items():
            default = DEFAULT_CFG_DICT[argument.ultralytics(name)]
            # an empty `freeze` freezes nothing
            assert argument.default in (None, 0 if name == "freeze" else default), name
            if name not in ("device", "freeze"):  # these are empty by default
                assert argument.problem(default) is None, name

    def test_ultralytics_accepts_the_bounds(self):
        from workers.yolo12.process import prepare_process

        prepare_process()
        from ultralytics.cfg import get_cfg

        for name, argument in THEIRS.items():
            values = argument.choices or (
                (True, False) if argument.kind == "bool" else (argument.low, argument.high)
            )
            for value in values:
                get_cfg(overrides=to_ultralytics({name: value}))

    def test_ours_are_the_fields_of_the_recipe_and_their_defaults_fit(self):
        assert list(OURS) == [field.name for field in fields(Recipe)]
        for name, argument in OURS.items():
            if name != "assign_iou":  # None is stock, said by leaving it out
                assert argument.problem(argument.default) is None, name
            assert argument.default == ("off" if name == "image_sizes" else getattr(Recipe(), name))

    def test_ultralytics_knows_none_of_ours(self):
        from workers.yolo12.process import prepare_process

        prepare_process()
        from ultralytics.utils import DEFAULT_CFG_DICT

        # its `nms` is a switch of the export, and means nothing to a training
        assert OURS.keys() & DEFAULT_CFG_DICT.keys() == {"nms"}
        assert to_ultralytics(dict.fromkeys(OURS)) == {}

    def test_what_an_argument_needs_exists(self):
        for argument in CATALOGUE.values():
            for other, allowed in argument.needs.items():
                values = () if allowed is None else allowed
                assert all(CATALOGUE[other].problem(value) is None for value in values)

    @pytest.mark.parametrize("value", ["320,416", "320, 416", [320, 416]])
    def test_sizes_are_a_text_or_a_list(self, value):
        assert CATALOGUE["image_sizes"].problem(value) is None
        assert Recipe.of({"image_sizes": value, "lr0": 0.1}).image_sizes == (320, 416)

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "a",
            "300",
            "x",
            "nanx",
            "infx",
            "3x",
            "-1x, 300",
            "0",
            "-32",
            [320.0],
            [True],
            320,
            None,
            {},
            "320;416",
            [[320]],
            "9999968",
        ],
    )
    def test_other_sizes_are_refused(self, value):
        assert "multiples of 32" in (CATALOGUE["image_sizes"].problem(value) or "")

    def test_sizes_may_be_shares_of_the_image_size(self):
        assert CATALOGUE["image_sizes"].problem("0.5x, 1x,1.5x") is None
        assert Recipe.of({"image_sizes": "0.5x, 1x, 1.5x"}).image_sizes == (320, 640, 960)
        assert Recipe.of({"image_sizes": "0.75x,0.8x,1x", "imgsz": 160}).image_sizes == (128, 160)

    def test_no_sizes(self):
        for value in ("off", []):
            assert CATALOGUE["image_sizes"].problem(value) is None
            assert Recipe.of({"image_sizes": value}).image_sizes == ()

    def test_ultralytics_builds_every_optimizer(self):
        from workers.yolo12.process import prepare_process

        prepare_process()
        from ultralytics.models.yolo.detect import DetectionTrainer
        from ultralytics.nn.tasks import DetectionModel

        from workers.yolo12.architectures import architecture

        model = DetectionModel(architecture("yolo12p"), verbose=False)
        for name in set(OPTIMIZERS) - {"auto"}:
            built = DetectionTrainer.build_optimizer(object.__new__(DetectionTrainer), model, name)
            assert type(built).__name__ == name

    def test_nothing_in_it_reaches_files_or_code(self):
        forbidden = {
            "project", "name", "save_dir", "model", "data", "cfg", "resume", "pretrained", "source", "tracker",
            "distill_model", "cache", "compile", "plots", "time", "seed",
        }  # fmt: skip
        assert not forbidden & {argument.ultralytics(name) for name, argument in CATALOGUE.items()}
        assert all(argument.kind != "choice" or argument.choices for argument in CATALOGUE.values())

    @pytest.mark.parametrize(
        ("name", "value", "rule"),
        [
            ("lr0", 2, "must be a number from 0 to 1"),
            ("lr0", "0.1", "must be a number"),
            ("lr0", True, "must be a number"),
            ("batch", 0.5, "must be a whole number from 1"),
            ("batch", -1, "must be a whole number from 1"),
            ("cos_lr", 1, "must be true or false"),
            ("optimizer", "Lion", "must be one of SGD"),
            ("device", [0, 1], "must be one of cpu"),
            ("freeze", None, "must be a whole number"),
        ],
    )
    def test_rules(self, name, value, rule):
        assert (CATALOGUE[name].problem(value) or "").startswith(rule)

    def test_models_are_the_five_sizes_and_the_small_one(self):
        from workers.yolo12.process import prepare_process

        prepare_process()
        from ultralytics.nn.tasks import DetectionModel

        from workers.yolo12.architectures import architecture

        sizes = {
            model: sum(
                parameter.numel() for parameter in DetectionModel(architecture(model), verbose=False).parameters()
            )
            for model in ("yolo12n", "yolo12p")
        }
        assert sizes["yolo12n"] == 2_602_288
        assert 1.3e6 < sizes["yolo12p"] < 1.5e6
        assert len(MODELS) == 6

    def test_the_module_is_light(self):
        code = (
            "import sys, workers.yolo12, workers.yolo12.arguments\n"
            "assert not {'torch', 'ultralytics', 'cv2'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


class TestCheckArguments:
    def test_good_spaces_pass(self):
        check_arguments(load_space("demo"))
        check_arguments(
            space_of({"lr0": LR, "nms_iou": {"type": "float", "low": 0.3, "high": 0.8, "default": 0.7}})
        )

    @pytest.mark.parametrize(
        ("space", "message"),
        [
            (space_of(train={"epocs": 3}), "mine: train.epocs: must be a known training argument, but got 'epocs'"),
            (space_of(train={"epocs": 3}), "did you mean 'epochs'?"),
            (space_of({"lr": LR}), "mine: genes.lr: must be a known training argument, but got 'lr'"),
            (space_of(train={"project": "/etc"}), "train.project: must be a known training argument"),
            (space_of(train={"seed": 3}), "set `seed` in the `search` section"),
            (space_of(train={"iou": 0.5}), "its name is `nms_iou`"),
            (space_of(train={"batch": -1}), "train.batch: must be a whole number from 1 to 65536, but got -1"),
            (space_of({"lr0": {**LR, "high": 3.0}}), "genes.lr0: must be a number from 0 to 1, but got 3.0"),
            (
                space_of({"batch": {"type": "float", "low": 4, "high": 32, "default": 8}}),
                "genes.batch: must be a whole number",
            ),
            (
                space_of({"epochs": {"type": "int", "low": 1, "high": 9, "default": 3}}),
                "genes.epochs: must be the same for all individuals",
            ),
            (space_of(model="yolo11n"), "model: must be one of yolo12n"),
            (space_of(fitness="metrics/mAP"), "fitness: must use metrics that YOLO12 reports"),
        ],
    )  # fmt: skip
    def test_bad_spaces_are_one_line(self, space, message):
        assert message in message_of(space)

    def test_epochs_are_required(self):
        document = {"model": "yolo12n", "train": {"optimizer": "SGD"}, "genes": {"lr0": LR}}
        assert "train.epochs: is required" in message_of(SearchSpace.from_document(document, "mine.yaml"))

    def test_auto_must_not_overwrite_a_gene(self):
        rule = "optimizer must not be auto, which overwrites lr0"
        unset = {"model": "yolo12n", "train": {"epochs": 3}, "genes": {"lr0": LR}}
        assert rule in message_of(SearchSpace.from_document(unset, "mine.yaml"))
        assert rule in message_of(space_of(train={"optimizer": "auto"}))
        choice = {"type": "categorical", "choices": ["SGD", "auto"], "default": "SGD"}
        assert rule in message_of(space_of({"lr0": LR, "optimizer": choice}))
        check_arguments(space_of({"lr0": {**LR, "when": {"optimizer": "SGD"}}, "optimizer": choice}))

    @pytest.mark.parametrize(
        ("space", "message"),
        [
            (
                space_of({"elastic_beta": BETA}),
                "genes.elastic_beta: changes nothing unless box_loss is elastic or elastic_weighted, but it may be "
                "ciou; add `when: {box_loss: [elastic, elastic_weighted]}`, or set train.box_loss",
            ),
            (space_of({"elastic_beta": BETA, "box_loss": BOX_LOSS}), "but it may be ciou"),
            (
                space_of(
                    {"elastic_beta": {**BETA, "when": {"box_loss": ["elastic", "ciou"]}}, "box_loss": BOX_LOSS}
                ),
                "but it may be ciou",
            ),
            (space_of(train={"elastic_tau": 50}), "train.elastic_tau: changes nothing unless box_loss is elastic"),
            (
                space_of({"attention_alpha": {**BETA, "low": 0.0, "high": 1.0, "default": 0.5}}),
                "genes.attention_alpha: changes nothing unless attention is true, but it may be False",
            ),
            (
                space_of({"sat_epsilon": {**BETA, "low": 0.01, "high": 0.1, "default": 0.02}}),
                "genes.sat_epsilon: changes nothing unless sat_probability is above 0, but it may be 0.0; "
                "set train.sat_probability",
            ),
            (
                space_of({"warmup_momentum": {**BETA, "low": 0.1, "high": 0.9, "default": 0.5}}),
                "genes.warmup_momentum: changes nothing unless optimizer is SGD or MuSGD or RMSprop",
            ),
            (
                space_of(train={"spp": True, "freeze": 10}),
                "train.spp: changes nothing unless freeze is 0 to 8, but it is 10; remove it, or set freeze",
            ),
            (
                space_of({"spp": {"type": "boolean", "default": False}}, train={"freeze": 9}),
                "genes.spp: changes nothing unless freeze is 0 to 8, but it may be 9; set train.freeze",
            ),
            (space_of(train={"cos_lr": True, "lr_schedule": "linear"}), "train.cos_lr: must not stand beside"),
            (space_of(train={"rect": True, "image_sizes": [320]}), "train.rect: must not stand beside"),
            (
                space_of({"image_sizes": {"type": "categorical", "choices": ["off", "300"], "default": "off"}}),
                "genes.image_sizes: must be off, up to 16 multiples of 32",
            ),
        ],
    )  # fmt: skip
    def test_what_would_change_nothing_is_refused(self, space, message):
        assert message in message_of(space)

    def test_what_changes_something_passes(self):
        elastic = {**BETA, "when": {"box_loss": "elastic"}}
        check_arguments(space_of({"elastic_beta": elastic, "box_loss": BOX_LOSS}))
        check_arguments(space_of({"elastic_beta": BETA}, train={"box_loss": "elastic_weighted"}))
        both = {**BOX_LOSS, "choices": ["elastic", "elastic_weighted"]}
        check_arguments(space_of({"elastic_beta": BETA, "box_loss": both}))
        share = {**BETA, "low": 0.0, "high": 0.2, "default": 0.0}
        check_arguments(space_of({"sat_probability": share, "sat_epsilon": share}))
        check_arguments(space_of({"box_loss": BOX_LOSS}, train={"elastic_beta": 2.0}))
        check_arguments(space_of(train={"spp": True, "freeze": 8}))
        check_arguments(space_of(train={"spp": False, "freeze": 9}))

    def test_a_condition_on_a_gene_that_may_be_absent_counts_its_setting(self):
        genes = {
            "attention": {"type": "boolean", "default": True},
            "box_loss": {**BOX_LOSS, "choices": ["elastic", "elastic_weighted"], "when": {"attention": True}},
            "elastic_beta": BETA,
        }
        assert "but it may be ciou" in message_of(space_of(genes))
        check_arguments(space_of(genes, train={"box_loss": "elastic"}))

    def test_advice(self):
        assert advice("momentun") == "did you mean 'momentum'?"
        assert advice("project") == "remove it"


@pytest.fixture
def any_weights(monkeypatch):
    """Takes every file for a checkpoint of the very model."""
    monkeypatch.setattr(weights_module, "_fitting", lambda path, model: path)


class TestWeights:
    @pytest.mark.usefixtures("any_weights")
    def test_none_and_a_given_file(self, tmp_path):
        file = tmp_path / "mine.pt"
        file.touch()
        assert resolve_weights("yolo12n", "none", tmp_path) == (None, "")
        assert resolve_weights("yolo12n", str(file), tmp_path) == (file, "")

    @pytest.mark.parametrize(
        "weights",
        ["https://example.org/a.pt", "missing.pt", "pyproject.toml", "~nobody-here/a.pt", f"{'a' * 999}.pt"],
    )
    def test_other_texts_are_refused(self, weights, tmp_path):
        with pytest.raises(InputError, match=r"^weights: must be none, auto or the path"):
            resolve_weights("yolo12n", weights, tmp_path)

    @pytest.mark.slow
    @pytest.mark.parametrize("weights", ["auto", "yolo12n.pt"])
    def test_a_broken_file_is_refused_before_the_search(self, weights, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("yolo12n.pt").write_bytes(b"half a download")
        with pytest.raises(InputError, match=r"yolo12n\.pt: cannot be read: .*; remove it") as caught:
            resolve_weights("yolo12n", weights, tmp_path)
        assert "\n" not in str(caught.value)

    @pytest.mark.usefixtures("any_weights")
    def test_auto_prefers_what_is_here(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        home = tmp_path / "home"
        (home / "weights").mkdir(parents=True)
        (home / "weights" / "yolo12n.pt").touch()
        assert resolve_weights("yolo12n", "auto", home)[0] == home / "weights" / "yolo12n.pt"
        Path("yolo12n.pt").touch()
        assert resolve_weights("yolo12n", "auto", home)[0] == tmp_path / "yolo12n.pt"

    @pytest.mark.usefixtures("any_weights")
    def test_auto_downloads(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(weights_module, "fetch", lambda kind, name, folder: folder / name)
        found = resolve_weights("yolo12s", "auto", tmp_path)
        assert found == (tmp_path / "weights" / "yolo12s.pt", "")

    def test_auto_without_published_weights(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        path, note = resolve_weights("yolo12p", "auto", tmp_path)
        assert path is None
        assert "no published weights of yolo12p" in note

    @pytest.mark.slow
    def test_half_a_download_is_no_file(self, tmp_path, monkeypatch):
        from ultralytics.utils import downloads as theirs

        def cut_off(path):
            Path(path).write_bytes(b"half")
            raise KeyboardInterrupt

        monkeypatch.setattr(theirs, "attempt_download_asset", cut_off)
        with pytest.raises(KeyboardInterrupt):
            fetch._weights("yolo12n.pt", tmp_path)
        assert list(tmp_path.iterdir()) == []
        monkeypatch.setattr(theirs, "attempt_download_asset", lambda path: Path(path).write_bytes(b"all") and path)
        assert fetch._weights("yolo12n.pt", tmp_path) == tmp_path / "yolo12n.pt"
        assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"all"]

    def test_a_data_set_is_downloaded_once(self, tmp_path, monkeypatch):
        monkeypatch.setattr(downloads, "fetch", lambda *_: pytest.fail("downloaded again"))
        (tmp_path / "datasets").mkdir()
        (tmp_path / "datasets" / "coco8.yaml").touch()
        assert download_dataset("coco8.yaml", tmp_path) == tmp_path / "datasets" / "coco8.yaml"

    @pytest.mark.slow
    def test_without_a_network_training_starts_at_random_and_says_so(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(downloads, "OFFLINE_BEFORE", "true")
        path, note = resolve_weights("yolo12n", "auto", tmp_path / "home")
        assert path is None
        assert (
            note == "yolo12n.pt could not be downloaded (there is no network): training starts from random weights"
        )

    @pytest.mark.slow
    def test_data_sets_without_a_network(self, tmp_path, monkeypatch):
        monkeypatch.setattr(downloads, "OFFLINE_BEFORE", "true")
        with pytest.raises(
            DataError, match="coco8: no such file, and it could not be downloaded: there is no network"
        ):
            download_dataset("coco8", tmp_path)

    def test_data_set_names_are_names(self, tmp_path):
        with pytest.raises(DataError, match="must be a path or the name of a data set"):
            download_dataset("https://example.org/x.yaml", tmp_path)

    @pytest.mark.slow
    def test_a_checkpoint_runs_no_code(self, tmp_path):
        from workers.yolo12.process import prepare_process

        prepare_process()
        from workers.yolo12.weights import load_weights

        mark = tmp_path / "ran"

        class Trap:
            def __reduce__(self):
                return (Path.touch, (mark,))

        with zipfile.ZipFile(tmp_path / "trap.pt", "w") as archive:
            archive.writestr("trap/data.pkl", pickle.dumps({"model": Trap()}, protocol=2))
            archive.writestr("trap/version", "3\n")
            archive.writestr("trap/byteorder", "little")
        with pytest.raises(TrialFailed, match="cannot be read") as caught:
            load_weights(tmp_path / "trap.pt")
        assert caught.value.failure.kind is FailureKind.CODE
        assert not mark.exists()
