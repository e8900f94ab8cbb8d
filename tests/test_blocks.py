from __future__ import annotations

import copy
import math
import warnings

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from tiny_training import SETTINGS, squares
from workers.yolo12.architectures import architecture
from workers.yolo12.process import prepare_process
from workers.yolo12.recipe import Recipe

prepare_process()

from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.nn.modules import SPP, C2f, Conv  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402

from workers.yolo12.blocks import DropBlock, PointwiseAttention, add_blocks, anatomy  # noqa: E402
from workers.yolo12.model import improve  # noqa: E402
from workers.yolo12.normalisation import CrossBatchNorm2d, begin_step  # noqa: E402
from workers.yolo12.recipe_trainer import RecipeTrainer  # noqa: E402
from workers.yolo12.trainer import Start  # noqa: E402
from workers.yolo12.weights import read_checkpoint  # noqa: E402

PARTS = {
    "mish": Recipe(activation="mish"),
    "spp": Recipe(spp=True),
    "sam": Recipe(sam=True),
    "dropblock": Recipe(dropblock=0.2),
    "cmbn": Recipe(cmbn=3),
}
ALL = Recipe(activation="mish", spp=True, sam=True, dropblock=0.2, dropblock_size=5, cmbn=3)
STOCK = {
    "activation": "silu",
    "spp": False,
    "sam": False,
    "dropblock": 0.0,
    "dropblock_size": None,
    "cmbn": 1,
}
BACKBONE_END = 8
NECK = (14, 17, 20)
DEEP = (6, 8, 17, 20)
"""Layers of YOLO12 by their index in its document."""


def detector(classes: int = 3, model: str = "yolo12p") -> DetectionModel:
    return DetectionModel(architecture(model), nc=classes, verbose=False)


def settle(model: nn.Module) -> nn.Module:
    """Random normalisations with statistics that fit, as after training; new models pass on no signal."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.rand(8, 3, 64, 64))
    begin_step(model)
    for norm in norms:
        norm.momentum = 0.03
    return model.eval()


@pytest.fixture(scope="module")
def settled() -> DetectionModel:
    torch.manual_seed(0)
    return settle(detector())


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def model(settled) -> DetectionModel:
    return copy.deepcopy(settled)


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64)


def outputs(model: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    """Boxes in pixels and scores, for evaluation."""
    with torch.no_grad():
        return model.eval()(pictures)[0]


def difference(first: torch.Tensor, second: torch.Tensor) -> float:
    """Largest relative difference, over boxes and scores each."""
    parts = ((first[:, :4], second[:, :4]), (first[:, 4:], second[:, 4:]))
    return max(float((one - other).norm() / other.norm()) for one, other in parts)


def added(model: nn.Module, stock: nn.Module) -> int:
    return sum(each.numel() for each in model.parameters()) - sum(each.numel() for each in stock.parameters())


class TestMish:
    def test_every_activation_is_mish(self, model):
        improve(model)
        add_blocks(model, PARTS["mish"])
        kinds = {type(module) for module in model.modules()}
        assert nn.Mish in kinds
        assert nn.SiLU not in kinds

    def test_a_layer_computes_the_formula(self, model, pictures):
        add_blocks(model, PARTS["mish"])
        first = model.model[0]
        with torch.no_grad():
            z = first.bn(first.conv(pictures)).double().numpy()
            ours = first(pictures).double().numpy()
        np.testing.assert_allclose(ours, z * np.tanh(np.log1p(np.exp(z))), rtol=1e-5, atol=1e-6)

    def test_other_models_of_the_process_keep_theirs(self, model):
        add_blocks(model, PARTS["mish"])
        assert type(Conv.default_act) is nn.SiLU
        assert anatomy(detector()) == STOCK


class TestDropBlock:
    def test_it_follows_the_deep_maps_of_backbone_and_neck(self, model):
        add_blocks(model, PARTS["dropblock"])
        holders = [index for index, layer in enumerate(model.model) if hasattr(layer, "appended")]
        assert holders == list(DEEP)

    def test_it_has_no_state_and_changes_no_evaluation(self, model, settled, pictures):
        wanted = outputs(settled, pictures)
        add_blocks(model, PARTS["dropblock"])
        assert list(model.state_dict()) == list(settled.state_dict())
        assert torch.equal(outputs(model, pictures), wanted)

    def test_it_drops_in_training(self, model):
        add_blocks(model, Recipe(dropblock=0.5))
        maps = {}
        for index in DEEP:
            model.model[index].register_forward_hook(lambda *call, index=index: maps.update({index: call[2]}))
        model.train()(torch.rand(4, 3, 96, 96))
        shares = {index: float((each == 0).float().mean()) for index, each in maps.items()}
        assert all(share > 0.1 for share in shares.values()), shares

    @pytest.mark.parametrize(("side", "size", "p"), [(20, 3, 0.1), (20, 7, 0.3), (5, 5, 0.2), (12, 1, 0.25)])
    def test_share_and_scale_are_those_of_the_paper(self, side, size, p):
        x = torch.rand(32, 64, side, side) + 1
        output = DropBlock(p, size)(x)
        # Seeds lie where a whole block fits, each with probability gamma (Eq. 1); count those that cover a cell.
        places = side - size + 1
        gamma = p / size**2 * side**2 / places**2
        reach = np.array([min(cell, places - 1) - max(cell - size + 1, 0) + 1 for cell in range(side)])
        wanted = 1 - np.mean((1 - gamma) ** np.outer(reach, reach))
        dropped = float((output == 0).double().mean())
        assert dropped == pytest.approx(wanted, rel=0.05)
        kept = output != 0
        torch.testing.assert_close(output[kept], (x / (1 - dropped))[kept], rtol=1e-4, atol=0)

    def test_what_is_dropped_is_whole_blocks(self):
        size = 3
        dropped = (DropBlock(0.1, size)(torch.ones(4, 8, 15, 15)) == 0).numpy()
        assert dropped.any()
        windows = np.lib.stride_tricks.sliding_window_view(dropped, (size, size), axis=(2, 3)).all(axis=(-1, -2))
        covered = np.zeros_like(dropped)
        for down in range(size):
            for right in range(size):
                covered[:, :, down : down + windows.shape[2], right : right + windows.shape[3]] |= windows
        np.testing.assert_array_equal(covered, dropped)

    @pytest.mark.parametrize("shape", [(1, 1), (2, 2), (2, 20), (4, 4), (6, 3)])
    @pytest.mark.parametrize("size", [1, 4, 7, 15])
    def test_maps_smaller_than_a_block_and_blocks_of_even_side(self, shape, size):
        output = DropBlock(0.3, size)(torch.ones(64, 32, *shape))
        dropped = float((output == 0).float().mean())
        assert 0.2 < dropped < 0.32
        assert float(output.mean()) == pytest.approx(1, rel=1e-4)

    @pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
    def test_large_maps_of_half_precision(self, kind):
        x = torch.ones(16, 64, 40, 40, dtype=kind)  # so many that half precision cannot count them
        output = DropBlock(0.1, 3)(x)
        assert output.dtype == kind
        assert float((output == 0).float().mean()) == pytest.approx(0.1, abs=0.02)
        assert float(output.float().mean()) == pytest.approx(1, abs=0.01)

    def test_gradients_pass_where_values_do(self):
        x = torch.ones(2, 4, 9, 9, requires_grad=True)
        output = DropBlock(0.3, 3)(x)
        output.sum().backward()
        assert torch.equal(x.grad, output.detach())

    def test_nothing_is_dropped_in_evaluation_or_with_probability_0(self):
        x = torch.rand(2, 4, 9, 9)
        assert DropBlock(0.5, 3).eval()(x) is x
        assert DropBlock(0.0, 3)(x) is x


class TestSpatialPyramidPooling:
    def test_it_begins_as_the_identity(self, model, settled, pictures):
        wanted = outputs(settled, pictures)
        add_blocks(model, PARTS["spp"])
        assert torch.equal(outputs(model, pictures), wanted)

    def test_it_adds_pools_of_5_9_and_13(self, model):
        add_blocks(model, PARTS["spp"])
        ours = model.model[BACKBONE_END].appended["spp"]
        reference = SPP(128, 128, k=(5, 9, 13))
        reference.cv1, reference.cv2 = ours.cv1, ours.cv2
        nn.init.normal_(ours.cv2.bn.weight)
        x = torch.randn(2, 128, 17, 20)
        with torch.no_grad():
            torch.testing.assert_close(ours.eval()(x), x + reference.eval()(x), rtol=0, atol=1e-6)

    @pytest.mark.parametrize(("name", "channels"), [("yolo12p", 128), ("yolo12n", 256)])
    def test_its_cost(self, name, channels):
        stock = detector(model=name)
        built = copy.deepcopy(stock)
        add_blocks(built, PARTS["spp"])
        assert added(built, stock) == 5 * channels**2 // 2 + 3 * channels

    def test_its_normalisations_have_the_models_settings(self, model):
        add_blocks(model, PARTS["spp"])
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.03)}


class TestSpatialAttention:
    def test_it_is_a_gate_for_each_value(self):
        block = PointwiseAttention(4).eval()
        nn.init.normal_(block.gate.bn.weight)
        nn.init.normal_(block.gate.bn.bias)
        x = torch.randn(2, 4, 3, 5)
        kernel, bn = block.gate.conv.weight.detach().numpy()[:, :, 0, 0], block.gate.bn
        z = np.einsum("oc,nchw->nohw", kernel, x.numpy()) / math.sqrt(1 + bn.eps)
        scale, shift = (each.detach().numpy()[:, None, None] for each in (bn.weight, bn.bias))
        wanted = x.numpy() / (1 + np.exp(-(z * scale + shift)))
        np.testing.assert_allclose(block(x).detach().numpy(), wanted, rtol=1e-4, atol=1e-6)

    def test_it_follows_the_layers_that_feed_the_head_and_begins_open(self, model):
        add_blocks(model, PARTS["sam"])
        holders = [index for index, layer in enumerate(model.model) if hasattr(layer, "appended")]
        assert holders == list(NECK)
        for index in NECK:
            block = model.model[index].appended["sam"]
            x = torch.randn(2, block.gate.conv.in_channels, 4, 4)
            torch.testing.assert_close(block(x), x / (1 + math.exp(-4)))

    def test_outputs_hardly_change_at_first(self, model, settled, pictures):
        wanted = outputs(settled, pictures)
        add_blocks(model, PARTS["sam"])
        given = outputs(model, pictures)
        assert 0 < float((given[:, :4] - wanted[:, :4]).norm() / wanted[:, :4].norm()) < 0.05
        assert 0 < float((given[:, 4:] - wanted[:, 4:]).abs().mean()) < 0.02

    @pytest.mark.parametrize(("name", "widths"), [("yolo12p", (64, 128, 128)), ("yolo12n", (64, 128, 256))])
    def test_its_cost(self, name, widths):
        stock = detector(model=name)
        built = copy.deepcopy(stock)
        add_blocks(built, PARTS["sam"])
        assert added(built, stock) == sum(width**2 + 2 * width for width in widths)


class TestSharedStatistics:
    def test_every_normalisation_shares_and_keeps_its_tensors(self, model, settled, pictures):
        wanted = outputs(settled, pictures)
        trained = list(model.parameters())
        add_blocks(model, PARTS["cmbn"])
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        assert {(type(norm), norm.window) for norm in norms} == {(CrossBatchNorm2d, 3)}
        assert all(ours is theirs for ours, theirs in zip(model.parameters(), trained, strict=True))
        assert list(model.state_dict()) == list(settled.state_dict())
        assert torch.equal(outputs(model, pictures), wanted)

    def test_a_step_of_a_single_mini_batch_is_stock(self, model, settled, pictures):
        add_blocks(model, PARTS["cmbn"])
        plain = copy.deepcopy(settled).train()
        for _ in range(2):
            ours, theirs = model.train()(pictures), plain(pictures)
            assert torch.equal(ours["scores"], theirs["scores"])
            begin_step(model)

    def test_the_second_mini_batch_of_a_step_is_not(self, model, settled, pictures):
        add_blocks(model, PARTS["cmbn"])
        plain = copy.deepcopy(settled).train()
        other = torch.rand(2, 3, 64, 64)
        for each in (model.train(), plain):
            each(other)
        assert not torch.allclose(model(pictures)["scores"], plain(pictures)["scores"], atol=1e-3)


class TestSurgery:
    def test_stock_recipes_leave_a_model_alone(self, model):
        modules = list(model.modules())
        add_blocks(model, Recipe())
        assert all(after is before for after, before in zip(model.modules(), modules, strict=True))
        assert anatomy(model) == STOCK

    @pytest.mark.parametrize("part", PARTS)
    def test_a_model_tells_what_it_is_made_of(self, model, part):
        add_blocks(model, PARTS[part])
        asked = {name: getattr(PARTS[part], name) for name in STOCK}
        if part != "dropblock":
            asked["dropblock_size"] = None
        assert anatomy(model) == asked

    def test_what_differs_within_a_model_is_listed(self, model):
        add_blocks(model, ALL)
        model.model[0] = detector().model[0]
        assert anatomy(model)["activation"] == ["mish", "silu"]
        assert anatomy(model)["cmbn"] == [1, 3]

    @pytest.mark.parametrize("recipe", [*PARTS.values(), ALL], ids=[*PARTS, "all"])
    def test_stock_weights_fit_before_and_after(self, settled, pictures, recipe):
        early, late = detector(), detector()
        early.load(settled, verbose=False)
        add_blocks(early, recipe)
        add_blocks(late, recipe)
        missing, unexpected = late.load_state_dict(settled.state_dict(), strict=False)
        assert unexpected == []
        assert all(".appended." in name for name in missing)
        own = {name: value for name, value in early.state_dict().items() if ".appended." in name}
        late.load_state_dict(own, strict=False)
        assert torch.equal(outputs(early, pictures), outputs(late, pictures))

    def test_a_head_that_came_with_other_classes_is_changed_too(self, model):
        """Ultralytics puts parts of the other head in place of the model's own where classes widen it."""
        built = detector(classes=80)
        add_blocks(built, ALL)
        built.load(model, verbose=False)
        add_blocks(built, ALL)
        assert anatomy(built) == {name: getattr(ALL, name) for name in STOCK}
        plain = detector(classes=80)
        improved = copy.deepcopy(model)
        add_blocks(improved, ALL)
        plain.load(improved, verbose=False)
        assert anatomy(plain) != STOCK
        add_blocks(plain, Recipe())
        assert anatomy(plain) == STOCK

    @pytest.mark.parametrize("recipe", [ALL, Recipe()], ids=["all", "stock"])
    def test_a_training_has_it_everywhere_also_with_weights_for_other_classes(self, tmp_path, recipe):
        weights = detector(classes=80)
        add_blocks(weights, Recipe() if recipe is ALL else ALL)
        overrides = {**SETTINGS, "data": str(squares(tmp_path)), "save_dir": str(tmp_path / "run")}
        start = Start(architecture("yolo12p"))
        trainer = RecipeTrainer(overrides, start, recipe, check=lambda: None, report=lambda _: None)
        asked = {name: getattr(recipe, name) for name in STOCK} if recipe is ALL else STOCK
        assert anatomy(trainer.get_model(architecture("yolo12p"), weights)) == asked

    def test_twice_is_once(self, model, pictures):
        add_blocks(model, ALL)
        wanted, modules = outputs(model, pictures), list(model.modules())
        add_blocks(model, ALL)
        assert all(after is before for after, before in zip(model.modules(), modules, strict=True))
        assert torch.equal(outputs(model, pictures), wanted)

    def test_it_goes_with_heterogeneous_convolution_and_attention(self, model, pictures):
        improve(model, pretrained=True)
        add_blocks(model, ALL)
        settle(model)
        merged = copy.deepcopy(model).fuse(verbose=False)
        assert merged.is_fused()
        assert difference(outputs(merged, pictures), outputs(model, pictures)) < 1e-4

    @pytest.mark.parametrize("recipe", [*PARTS.values(), ALL], ids=[*PARTS, "all"])
    def test_a_merged_model_gives_the_same(self, model, pictures, recipe):
        add_blocks(model, recipe)
        settle(model)
        wanted = outputs(model, pictures)
        merged = model.fuse(verbose=False)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in merged.modules())
        assert difference(outputs(merged, pictures), wanted) < 1e-4

    def test_a_copy_gives_the_same_and_is_its_own(self, model, pictures):
        add_blocks(model, ALL)
        model.train()(pictures)
        twin = copy.deepcopy(model)
        wanted = outputs(model, pictures)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert torch.equal(outputs(twin, pictures), wanted)

    @pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
    def test_half_precision_costs_little_more_accuracy_than_in_stock(self, model, settled, pictures, kind):
        add_blocks(model, ALL)
        settle(model)
        ours, theirs = (
            difference(outputs(copy.deepcopy(each).to(kind), pictures.to(kind)).float(), outputs(each, pictures))
            for each in (model, copy.deepcopy(settled))
        )
        assert ours < 2 * theirs + 0.02

    def test_a_checkpoint_is_read_without_running_code(self, model, pictures, tmp_path, monkeypatch):
        monkeypatch.setattr(RemovableHandle, "next_id", 0)
        add_blocks(model, ALL)
        wanted = outputs(model, pictures)
        torch.save({"model": model}, tmp_path / "best.pt")
        monkeypatch.setattr(RemovableHandle, "next_id", 0)  # as in another process
        loaded = read_checkpoint(tmp_path / "best.pt")["model"]
        for _ in range(20):  # whose hooks are numbered from the start again
            loaded.model[NECK[0]].register_forward_hook(lambda *_: None)
        assert anatomy(loaded) == anatomy(model)
        assert torch.equal(outputs(loaded, pictures), wanted)

    def test_onnx_gives_the_same(self, model, pictures, tmp_path):
        runtime = pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")
        from ultralytics.utils.export.engine import torch2onnx

        add_blocks(model, ALL)
        nn.init.normal_(model.model[BACKBONE_END].appended["spp"].cv2.bn.weight)
        settle(model)
        wanted = outputs(model, pictures)
        merged = model.fuse(verbose=False)
        for module in merged.modules():  # what Ultralytics' exporter does
            if isinstance(module, C2f):
                module.forward = module.forward_split
        merged.model[-1].export, merged.model[-1].format = True, "onnx"
        with warnings.catch_warnings(action="ignore"):
            torch2onnx(merged, pictures, tmp_path / "model.onnx")
        session = runtime.InferenceSession(tmp_path / "model.onnx")
        (given,) = session.run(None, {"images": pictures.numpy()})
        assert difference(torch.from_numpy(given), wanted) < 1e-3


class TestTraining:
    @pytest.fixture
    def batch(self) -> dict[str, torch.Tensor]:
        return {
            "img": torch.rand(4, 3, 64, 64),
            "batch_idx": torch.arange(4.0),
            "cls": torch.tensor([[0.0], [1.0], [2.0], [0.0]]),
            "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.6]]).repeat(4, 1),
        }

    @pytest.mark.parametrize(
        ("recipe", "autocast"),
        [*((recipe, False) for recipe in PARTS.values()), (ALL, False), (ALL, True)],
        ids=[*PARTS, "all", "all-bf16"],
    )
    def test_two_steps_of_three_mini_batches(self, batch, recipe, autocast):
        model = detector().train()
        model.args = get_cfg()
        add_blocks(model, recipe)
        parts = {name: each for name, each in model.named_parameters() if ".appended." in name}
        before = {name: each.detach().clone() for name, each in parts.items()}
        optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=0.01)
        for _ in range(2):
            for _ in range(3):
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                    loss = model.loss(batch)[0].sum()
                assert loss.isfinite()
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            begin_step(model)
        assert all(each.isfinite().all() for each in model.parameters())
        still = [name for name, each in parts.items() if torch.equal(each, before[name])]
        assert still == []  # convolutions behind a weight of 0 learn from the second step on

    def test_gradients_reach_every_new_parameter(self, batch):
        model = detector().train()
        model.args = get_cfg()
        add_blocks(model, ALL)
        for layer in model.model:
            for norm in getattr(layer, "appended", nn.Module()).modules():
                if isinstance(norm, nn.BatchNorm2d):
                    nn.init.constant_(norm.weight, 0.5)
        model.loss(batch)[0].sum().backward()
        parts = {name: each.grad for name, each in model.named_parameters() if ".appended." in name}
        assert len(parts) == 6 + 3 * 3
        assert [name for name, grad in parts.items() if not grad.isfinite().all() or not grad.any()] == []
