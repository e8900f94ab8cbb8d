from __future__ import annotations

import copy
import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evolve.exceptions import InputError
from evolve.trial import TrialFailed
from workers.yolo12.process import prepare_process

prepare_process()

import torch  # noqa: E402
from torch import nn  # noqa: E402
from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.nn.modules import Conv, RepConv  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402
from ultralytics.utils.torch_utils import ModelEMA  # noqa: E402

from workers.yolo12.architectures import architecture  # noqa: E402
from workers.yolo12.attention import AttentiveDetect  # noqa: E402
from workers.yolo12.model import (  # noqa: E402
    HeteroConv,
    anatomy,
    attention_parameters,
    improve,
    plain_convolutions,
    transfer,
)
from workers.yolo12.weights import load_weights, read_checkpoint, resolve_weights  # noqa: E402

EVERYTHING = {"hetero": True, "attention": True}
KINDS = {
    "stock": {"hetero": False, "attention": False},
    "hetero": {"hetero": True, "attention": False},
    "attention": {"hetero": False, "attention": True},
    "both": EVERYTHING,
}


def stock(name="yolo12p", nc=3, seed=0) -> DetectionModel:
    torch.manual_seed(seed)
    model = DetectionModel(architecture(name), nc=nc, verbose=False)
    model.args = get_cfg()
    return model


def some_pictures() -> torch.Tensor:
    return torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))


def shaken(model: nn.Module, seed=1) -> nn.Module:
    """With weights and statistics in every normalisation as training leaves them; pictures reach the head."""
    generator = torch.Generator().manual_seed(seed)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.data.uniform_(0.6, 1.4, generator=generator)
        norm.bias.data.normal_(0, 0.3, generator=generator)
        norm.momentum = 1.0
    if isinstance(model, DetectionModel):
        with torch.no_grad():
            model.train()(some_pictures())
    for norm in norms:
        norm.momentum = 0.03
    return model


@functools.cache
def template(kind: str, seed: int, nc: int, **options) -> DetectionModel:
    return shaken(improve(stock(nc=nc, seed=seed), **KINDS[kind], **options), seed + 1)


def made(kind: str, *, seed=0, nc=3, **options) -> DetectionModel:
    """A model as training leaves it."""
    return copy.deepcopy(template(kind, seed, nc, **options))


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return some_pictures()


def outputs(model: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(pictures)[0]


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest, relative to the largest value."""
    return float((one - other).abs().max() / other.abs().max())


def batch(size=64, pictures=2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "img": torch.rand(pictures, 3, size, size, generator=generator),
        "batch_idx": torch.arange(pictures).repeat_interleave(3).float(),
        "cls": torch.randint(0, 3, (3 * pictures, 1), generator=generator).float(),
        "bboxes": torch.rand(3 * pictures, 4, generator=generator) * 0.4 + 0.3,
    }


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def merged(model: DetectionModel) -> DetectionModel:
    return copy.deepcopy(model).fuse(verbose=False)


def saved(model: DetectionModel, path: Path) -> Path:
    """A checkpoint as a training leaves it."""
    arguments = {"imgsz": 64, "task": "detect", "data": "none.yaml"}
    torch.save({"epoch": -1, "model": copy.deepcopy(model).half(), "ema": None, "train_args": arguments}, path)
    return path


class TestHetero:
    @pytest.mark.parametrize("name", ["yolo12p", "yolo12n"])
    def test_a_trained_model_keeps_its_outputs(self, name, pictures):
        model = shaken(stock(name))
        before = outputs(model, pictures)
        assert difference(before, outputs(model, pictures.flip(1))) > 0.01  # they do depend on the picture
        improve(model, attention=False, pretrained=True)
        assert torch.equal(outputs(model, pictures), before)

    def test_the_branch_of_a_new_model_is_not_empty(self, pictures):
        model = shaken(stock())
        before = outputs(model, pictures)
        improve(model, attention=False)
        assert difference(outputs(model, pictures), before) > 1e-3
        assert all((module.conv2.bn.weight == 1).all() for module in model.modules() if isinstance(module, RepConv))

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_is_the_block_of_ultralytics(self, stride, training):
        torch.manual_seed(0)
        ours = shaken(HeteroConv(6, 10, s=stride).double()).train(training)
        theirs = copy.deepcopy(ours)
        assert (type(ours), type(theirs)) == (HeteroConv, RepConv)
        x = torch.randn(2, 6, 9, 12, dtype=torch.double)
        inputs = [x.clone().requires_grad_() for _ in range(2)]
        results = [block(one) for block, one in zip((ours, theirs), inputs, strict=True)]
        torch.testing.assert_close(*results)
        for result in results:
            result.square().sum().backward()
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
        for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, msg=name)
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict())

    @pytest.mark.parametrize("kind", ["hetero", "both"])
    def test_merging_keeps_the_outputs(self, kind, pictures):
        model = made(kind)
        assert difference(outputs(merged(model), pictures), outputs(model, pictures)) < 1e-5
        assert not [module for module in merged(model).modules() if isinstance(module, nn.BatchNorm2d)]
        model, pictures = model.double(), pictures.double()
        assert difference(outputs(merged(model), pictures), outputs(model, pictures)) < 1e-12

    @pytest.mark.parametrize(
        ("name", "before", "branches"), [("yolo12n", 2_602_288, 103_840), ("yolo12s", 9_284_096, 409_920)]
    )
    def test_parameters(self, name, before, branches):
        model = stock(name, nc=80)
        after_merging = count(merged(model))
        assert (count(model), len(plain_convolutions(model))) == (before, 27)
        kernels = [model.get_submodule(place).conv.weight.shape for place in plain_convolutions(model)]
        assert sum(out * inner + 2 * out for out, inner, _, _ in kernels) == branches
        improve(model, attention=False)
        assert count(model) == before + branches
        assert count(merged(model)) == after_merging

    def test_only_backbone_and_neck_change(self):
        model = stock()
        before = {name: type(module) for name, module in model.named_modules()}
        places = plain_convolutions(model)
        improve(model, attention=False)
        after = {name: type(module) for name, module in model.named_modules()}
        assert {name for name in before if after.get(name) is not before[name] and ".conv" not in name} >= set(
            places
        )
        assert all(after[place] is HeteroConv for place in places)
        assert not any(isinstance(module, RepConv) for module in model.model[-1].modules())
        left = [
            module
            for layer in model.model[:-1]
            for module in layer.modules()
            if type(module) is Conv and module.conv.kernel_size == (3, 3) and module.conv.groups == 1
        ]
        inside = [conv for module in model.modules() if isinstance(module, RepConv) for conv in module.children()]
        assert all(any(conv is other for other in inside) for conv in left)

    def test_layers_keep_what_ultralytics_left_on_them(self):
        model, like = stock(), stock()
        improve(model)
        for layer, other in zip(model.model, like.model, strict=True):
            assert (layer.i, layer.f, layer.type) == (other.i, other.f, other.type)
            for part in layer.modules():
                assert part is layer or not {"i", "f", "type", "np"} & vars(part).keys()
            assert layer.np == sum(parameter.numel() for parameter in layer.parameters())
        assert model.model[0].np > like.model[0].np

    def test_normalises_as_the_other_layers(self):
        norms = [module for module in improve(stock()).modules() if isinstance(module, nn.BatchNorm2d)]
        assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}


class TestAttention:
    def test_names_of_the_stock_tensors_stay(self):
        names = stock().state_dict().keys()
        assert list(names) == [n for n in made("attention").state_dict() if ".attention." not in n]

    def test_alpha_0_keeps_the_outputs(self, pictures):
        model = shaken(stock())
        before = outputs(model, pictures)
        assert torch.equal(outputs(improve(model, hetero=False, alpha=0.0), pictures), before)

    def test_other_readers_see_the_plain_maps(self, pictures):
        """P3 and P4 go down the neck as well; the layers there must not notice."""
        model = shaken(stock())
        seen = {}
        for index in (15, 18, 20):
            model.model[index].register_forward_hook(
                lambda layer, _, output: seen.setdefault(layer.i, []).append(output)
            )
        before = outputs(model, pictures)
        after = outputs(improve(model, hetero=False, alpha=1.0), pictures)
        assert not torch.allclose(before, after)
        for once, again in seen.values():
            assert torch.equal(once, again)

    @pytest.mark.parametrize("alpha", [0.5, 1.0])
    @pytest.mark.parametrize("name", ["yolo12p", "yolo12s"])
    def test_a_trained_model_stays_close(self, name, alpha, pictures):
        model = shaken(stock(name))
        # so that the outputs owe all to the maps
        for box, scores in zip(model.model[-1].cv2, model.model[-1].cv3, strict=True):
            scores[-1].bias.data.zero_()
            box[-1].bias.data.zero_()
        with torch.no_grad():
            _, before = model.eval()(pictures)
            _, after = improve(model, alpha=alpha, pretrained=True).eval()(pictures)
        for part in ("boxes", "scores"):
            change = float((after[part] - before[part]).norm() / before[part].norm())
            assert 1e-5 < change < 0.05
            assert difference(after[part], before[part]) < 0.05

    def test_counts_its_parameters(self):
        model = stock()
        before = count(model)
        improve(model, hetero=False)
        assert attention_parameters(model) == count(model) - before > 0
        assert attention_parameters(stock()) == 0

    def test_merging_keeps_the_outputs_and_the_head(self, pictures):
        model = made("attention", kernel=1)
        head = model.model[-1]
        assert isinstance(head, AttentiveDetect)
        assert head.stride.tolist() == [8, 16, 32]
        head.bias_init()
        assert difference(outputs(merged(model), pictures), outputs(model, pictures)) < 1e-5


class TestImprove:
    def test_says_what_is_in_a_model(self):
        none = {"hetero": False, "attention": False, "attention_alpha": None, "attention_kernel": None}
        assert anatomy(stock()) == none
        assert anatomy(made("hetero")) == none | {"hetero": True}
        attentive = made("attention", alpha=0.25, kernel=1)
        expected = {"hetero": False, "attention": True, "attention_alpha": 0.25, "attention_kernel": 1}
        assert anatomy(attentive) == expected
        assert anatomy(merged(made("both"))) == anatomy(made("both"))

    def test_is_in_place(self):
        model = stock()
        assert improve(model) is model

    def test_nothing_asked_changes_nothing(self):
        model = stock()
        names = list(model.state_dict())
        improve(model, hetero=False, attention=False)
        assert list(model.state_dict()) == names

    @pytest.mark.parametrize("kind", ["hetero", "attention"])
    def test_a_second_time_is_refused(self, kind):
        model = made(kind)
        names = list(model.state_dict())
        with pytest.raises(ValueError, match="must be stock, but is improved already"):
            improve(model)
        assert list(model.state_dict()) == names

    def test_a_merged_model_is_refused(self):
        with pytest.raises(ValueError, match="is merged for inference"):
            improve(merged(stock()))

    def test_bad_values_change_nothing(self):
        model = stock()
        for bad in ({"alpha": 1.5}, {"kernel": 2}):
            with pytest.raises(ValueError, match="must be"):
                improve(model, **bad)
        assert anatomy(model) == anatomy(stock())

    @pytest.mark.parametrize("pretrained", [True, False])
    def test_every_parameter_learns(self, pretrained):
        model = improve(stock(), pretrained=pretrained).train()
        for step in range(2):  # what lies behind a weight of 0 learns from the second step on
            loss, _ = model(batch())
            loss.sum().backward()
            if step == 0:
                with torch.no_grad():
                    for parameter in model.parameters():
                        if parameter.grad is not None:
                            parameter.sub_(1e-4 * parameter.grad.clamp(-1, 1))
                model.zero_grad()
        still = {
            name
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().max() > 0)
        }
        like = stock().train()
        like(batch())[0].sum().backward()
        as_stock = {name for name, p in like.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
        assert still <= as_stock

    def test_the_average_of_weights_follows(self):
        model = made("both").train()
        average = ModelEMA(model)
        before = {name: value.clone() for name, value in average.ema.state_dict().items()}
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.01)
        average.update(model)
        kept = average.decay(average.updates)
        assert 0 < kept < 1
        assert list(average.ema.state_dict()) == list(model.state_dict())
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                wanted = kept * before[name] + (1 - kept) * value
                torch.testing.assert_close(average.ema.state_dict()[name], wanted)
        assert anatomy(average.ema) == anatomy(model)

    def test_half_precision(self, pictures):
        model = made("both")
        plain = outputs(model, pictures)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, _ = model.train()(batch())
        loss.sum().backward()
        assert torch.isfinite(loss).all()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
        halved = outputs(made("both").bfloat16(), pictures.bfloat16())
        assert difference(halved.float(), plain) < 0.1


class TestTransfer:
    @pytest.mark.parametrize("into", ["stock", "hetero", "both"])
    @pytest.mark.parametrize("out_of", ["stock", "hetero", "both"])
    def test_outputs_follow_the_weights(self, out_of, into, pictures):
        """Whatever the two structures are, as long as the attention stays or goes with alpha 0."""
        weights = made(out_of, seed=1)
        if (out_of == "both") != (into == "both"):
            weights = made("hetero" if out_of == "both" else out_of, seed=1)
        model = made(into, seed=2, alpha=0.5 if out_of == "both" else 0.0)
        assert difference(outputs(model, pictures), outputs(weights, pictures)) > 1e-3
        names = {name: tensor.clone() for name, tensor in weights.state_dict().items()}
        transferred = transfer(model, weights)
        assert transferred.loaded == transferred.total
        assert difference(outputs(model, pictures), outputs(weights, pictures)) < 1e-5
        assert list(names) == list(weights.state_dict())
        assert all(torch.equal(tensor, weights.state_dict()[name]) for name, tensor in names.items())

    def test_stock_to_hetero_is_exact(self, pictures):
        weights, model = made("stock", seed=1), made("hetero", seed=2)
        transfer(model, weights)
        assert torch.equal(outputs(model, pictures), outputs(weights, pictures))

    def test_new_attention_begins_close(self, pictures):
        weights, model = made("hetero", seed=1), made("both", seed=2, alpha=1.0)
        transferred = transfer(model, weights)
        assert transferred.loaded == transferred.total
        assert 0 < difference(outputs(model, pictures), outputs(weights, pictures)) < 0.05

    def test_attention_that_is_not_wanted_is_dropped(self, pictures):
        weights, model = made("both", seed=1), made("hetero", seed=2)
        like = made("hetero", seed=3)
        like.load_state_dict({k: v for k, v in weights.state_dict().items() if ".attention." not in k})
        transferred = transfer(model, weights)
        assert transferred.loaded == transferred.total
        assert torch.equal(outputs(model, pictures), outputs(like, pictures))

    def test_a_kernel_grows_exactly(self, pictures):
        weights, model = made("attention", seed=1, kernel=1), made("attention", seed=2, kernel=3)
        transferred = transfer(model, weights)
        assert transferred.loaded == transferred.total
        assert difference(outputs(model, pictures), outputs(weights, pictures)) < 1e-5

    def test_a_kernel_shrinks_exactly_where_a_map_is_even(self):
        weights, model = made("attention", seed=1, kernel=3), made("attention", seed=2, kernel=1)
        transfer(model, weights)
        even = torch.ones(1, 64, 5, 5)
        wide, narrow = (one.model[-1].attention[0].eval()(even)[0, :, 2, 2] for one in (weights, model))
        torch.testing.assert_close(wide, narrow)

    def test_merged_branches_train_on_without_a_jump(self):
        """Statistics of the merged normalisation are those of its inputs, for branches that are independent."""
        weights = made("hetero", seed=1)
        model = made("stock", seed=2)
        transfer(model, weights)
        place = plain_convolutions(model)[3]
        block, norm = weights.get_submodule(place), model.get_submodule(place).bn
        torch.testing.assert_close(norm.bias, block.conv1.bn.bias + block.conv2.bn.bias)
        torch.testing.assert_close(
            norm.running_var,
            sum(b.bn.weight**2 * b.bn.running_var / (b.bn.running_var + 1e-3) for b in (block.conv1, block.conv2)),
        )

    @pytest.mark.parametrize("out_of", ["stock", "both"])
    def test_other_classes(self, out_of):
        """A hundred classes widen the head's class branch; all but its last layer is kept."""
        weights, model = made(out_of, seed=1, nc=100), made("both", seed=2, nc=2)
        transferred = transfer(model, weights)
        assert transferred.loaded == transferred.total
        assert model.model[-1].nc == 2
        assert model.train()(batch() | {"cls": torch.zeros(6, 1)})[0].isfinite().all()
        given, taken = weights.model[-1].cv3[0][1][1], model.model[-1].cv3[0][1][1]
        assert torch.equal(given.conv.weight, taken.conv.weight)

    def test_rows_of_the_same_class_are_kept(self):
        weights, model = made("both", seed=1), made("both", seed=2)
        weights.names = {0: "cell", 1: "platelet", 2: "dust"}
        model.names = {0: "dust", 1: "cell", 2: "glove"}
        before = model.model[-1].cv3[0][-1].weight.detach().clone()
        transfer(model, weights)
        given, taken = weights.model[-1].cv3[0][-1].weight, model.model[-1].cv3[0][-1].weight
        assert torch.equal(taken[:2], given[[2, 0]])
        assert torch.equal(taken[2], before[2])

    def test_weights_of_a_relative_are_counted(self):
        transferred = transfer(improve(stock("yolo12p")), stock("yolo12n"))
        assert 0.5 < transferred.loaded / transferred.total < 0.9

    @pytest.mark.parametrize("kind", ["stock", "both"])
    def test_weights_of_another_model_are_refused(self, kind):
        with pytest.raises(TrialFailed, match=r"only \d+ of \d+ tensors fit; they are another model's"):
            transfer(improve(stock("yolo12n"), **KINDS[kind]), stock("yolo12s"))

    def test_merged_weights_are_refused(self):
        with pytest.raises(TrialFailed, match="are merged for inference"):
            transfer(stock(), merged(stock()))

    def test_a_search_refuses_them_before_it_begins(self, tmp_path):
        fitting = saved(made("both"), tmp_path / "fitting.pt")
        assert resolve_weights("yolo12p", str(fitting), tmp_path) == (fitting, "")
        other = saved(stock("yolo12s"), tmp_path / "other.pt")
        with pytest.raises(InputError, match=r"^weights: only \d+ of \d+ tensors fit") as caught:
            resolve_weights("yolo12n", str(other), tmp_path)
        assert "\n" not in str(caught.value)


class TestCheckpoint:
    @pytest.mark.parametrize("kind", list(KINDS))
    def test_comes_back_without_running_code(self, kind, pictures, tmp_path):
        model = made(kind)
        model.half().float()  # what a checkpoint keeps
        found = load_weights(saved(model, tmp_path / "best.pt"))
        assert anatomy(found) == anatomy(model)
        assert torch.equal(outputs(found, pictures), outputs(model, pictures))

    def test_code_among_our_modules_is_not_run(self, tmp_path):
        mark = tmp_path / "ran"

        class Trap:
            def __reduce__(self):
                return (Path.touch, (mark,))

        model = made("both")
        model.model[-1].attention[0].alpha = Trap()
        path = tmp_path / "best.pt"
        torch.save({"model": model}, path)
        with pytest.raises(TypeError, match="outside the supported"):
            read_checkpoint(path)
        assert not mark.exists()
        torch.load(path, weights_only=False)
        assert mark.exists()

    def test_hetero_needs_nothing_of_ours(self, tmp_path):
        text = saved(made("hetero"), tmp_path / "best.pt").read_bytes()
        assert b"ultralytics.nn.modules.conv" in text
        assert b"workers.yolo12" not in text
        assert b"workers.yolo12.attention" in saved(made("both"), tmp_path / "both.pt").read_bytes()


@pytest.fixture(scope="module")
def squares(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("squares")
    noise = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (root / kind).mkdir()
    for index in range(4):
        Image.fromarray(noise.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(root / "images" / f"{index}.png")
        (root / "labels" / f"{index}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    (root / "data.yaml").write_text(f"path: {root}\ntrain: images\nval: images\nnames: {{0: a, 1: b, 2: c}}\n")
    return root


def ultralytics(program: str, folder: Path, *, blocked: bool = False) -> str:
    """Run a program as somebody who uses Ultralytics, in another process; `blocked` keeps this package from it."""
    settings = {"YOLO_CONFIG_DIR": str(folder), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    lines = "import sys; sys.modules['workers'] = None\n" if blocked else ""
    done = subprocess.run(
        [sys.executable, "-c", lines + program],
        cwd=folder,
        env=os.environ | settings | {"MPLBACKEND": "agg", "ULTRALYTICS_SAFE_LOAD": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


USE = """
import numpy as np, torch
from ultralytics import YOLO
model = YOLO("best.pt")
result = model.predict("{root}/images/0.png", imgsz=64, conf=0.0, verbose=False)[0]
assert len(result.boxes) > 0
found = model.val(data="{root}/data.yaml", imgsz=64, batch=2, plots=False, workers=0, verbose=False)
assert "metrics/mAP50-95(B)" in found.results_dict
file = YOLO("best.pt").export(format="onnx", imgsz=64, verbose=False)
import onnxruntime
picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
(theirs,) = session.run(None, {{session.get_inputs()[0].name: picture.numpy()}})
with torch.no_grad():
    ours = YOLO("best.pt").model.float().eval()(picture)[0].numpy()
print("difference", np.abs(ours - theirs).max() / np.abs(ours).max())
"""


@pytest.mark.slow
class TestUltralytics:
    @pytest.mark.parametrize("kind", ["attention", "both"])
    def test_uses_an_improved_model(self, kind, squares, tmp_path):
        saved(made(kind), tmp_path / "best.pt")
        said = ultralytics("import workers.yolo12.model\n" + USE.format(root=squares), tmp_path)
        assert float(said.rpartition("difference")[2]) < 1e-3

    def test_uses_heterogeneous_convolutions_without_us(self, squares, tmp_path):
        saved(made("hetero"), tmp_path / "best.pt")
        said = ultralytics(USE.format(root=squares), tmp_path, blocked=True)
        assert float(said.rpartition("difference")[2]) < 1e-3

    def test_loads_an_improved_model_without_running_code(self, tmp_path):
        saved(made("both"), tmp_path / "best.pt")
        program = (
            "import os; os.environ['ULTRALYTICS_SAFE_LOAD'] = '1'\n"
            "import workers.yolo12.model\n"
            "from ultralytics import YOLO\n"
            "print(type(YOLO('best.pt').model.model[-1]).__name__)\n"
        )
        assert ultralytics(program, tmp_path).strip().endswith("AttentiveDetect")
