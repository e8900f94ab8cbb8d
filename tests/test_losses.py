"""The box losses against their formulas, evaluated one pair at a time in plain Python."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from workers.yolo12.losses import box_loss, focal_l1, weighted_box_loss
from workers.yolo12.process import prepare_process
from workers.yolo12.recipe import BOX_LOSSES

ELASTIC = ("elastic", "elastic_weighted")
PLAIN = ("iou", "giou", "diou", "eiou", "focal_l1")
"""The losses all of whose terms have a gradient."""
PARAMETERS: list[dict[str, Any]] = [
    {},
    {"beta": 0.7, "tau": 20.0, "gamma": 2.0, "size": "area", "l1_beta": 1.0},
    {"beta": 3.0, "tau": 300.0, "gamma": 0.0, "size": "side", "l1_beta": 0.4},
]
SPECIAL = [
    ("identical", (10, 20, 40, 80), (10, 20, 40, 80)),
    ("nested", (20, 30, 30, 40), (10, 20, 40, 80)),
    ("around", (0, 0, 100, 90), (10, 20, 40, 80)),
    ("apart", (200, 300, 230, 310), (10, 20, 40, 80)),
    ("apart in x only", (50, 20, 90, 80), (10, 20, 40, 80)),
    ("touching", (40, 20, 70, 80), (10, 20, 40, 80)),
    ("same centre", (15, 20, 35, 80), (10, 20, 40, 80)),
    ("same ratio", (10, 20, 20, 40), (10, 20, 70, 140)),
    ("crossing", (0, 45, 100, 50), (10, 20, 40, 80)),
    ("thin", (10, 20, 10.01, 80), (10, 20, 40, 80.5)),
    ("off the picture", (-300, -20, -10, 40), (-290, -25, 4, 41)),
    ("huge", (-1e6, -1e6, 1e6, 1e6), (0, 0, 1e6, 2e6)),
]


def held(pred: Any, target: Any, kind: str, parameters: dict[str, Any]) -> float:
    """The factor of a loss that has no gradient."""
    options = {"beta": 1.5, "tau": 75.0, "gamma": 0.5, "size": "side"} | parameters
    iou, v = intersection_over_union(pred, target), aspect(pred, target)
    area = math.sqrt(box_area(pred) * box_area(target))
    largeness = math.tanh((area if options["size"] == "area" else math.sqrt(area)) / options["tau"])
    match kind:
        case "ciou":
            return v / (1 - iou + v) if v else 0.0
        case "focal_eiou":
            return float(iou ** options["gamma"])
        case "elastic":
            return float(options["beta"] * largeness)
        case "elastic_weighted":
            return float(min(max((1 - iou) ** options["beta"] * (2 - largeness), 0.5), 3.0))
    return 1.0


def formula(pred: Any, target: Any, kind: str, factor: float, parameters: dict[str, Any]) -> float:
    """The loss of one pair, given that factor."""
    (x1, y1, x2, y2), (X1, Y1, X2, Y2) = pred, target
    w, h, W, H = x2 - x1, y2 - y1, X2 - X1, Y2 - Y1
    dx, dy = (x1 + x2 - X1 - X2) / 2, (y1 + y2 - Y1 - Y2) / 2
    wc, hc = max(x2, X2) - min(x1, X1), max(y2, Y2) - min(y1, Y1)
    iou, v = intersection_over_union(pred, target), aspect(pred, target)
    distance = (dx**2 + dy**2) / (wc**2 + hc**2)
    eiou = 1 - iou + distance + (w - W) ** 2 / wc**2 + (h - H) ** 2 / hc**2
    union = (w * h + W * H) / (1 + iou)
    beta = parameters.get("l1_beta", 0.8)
    return {
        "iou": 1 - iou,
        "giou": 1 - iou + (wc * hc - union) / (wc * hc),
        "diou": 1 - iou + distance,
        "ciou": 1 - iou + distance + factor * v,
        "eiou": eiou,
        "focal_eiou": factor * eiou,
        "focal_l1": sum(scalar_focal_l1(abs(x), beta) for x in (dx / W, dy / H, (w - W) / W, (h - H) / H)),
        "elastic": 1 - iou + distance + factor * v,
        "elastic_weighted": 1 - iou + factor * (distance + 0.3 * v),
    }[kind]


def box_area(box: Any) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def intersection_over_union(a: Any, b: Any) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    return float(overlap / (box_area(a) + box_area(b) - overlap))


def aspect(a: Any, b: Any) -> float:
    return 4 / math.pi**2 * (ratio_angle(b) - ratio_angle(a)) ** 2


def ratio_angle(box: Any) -> float:
    return math.atan((box[2] - box[0]) / (box[3] - box[1]))


def scalar_focal_l1(x: float, beta: float) -> float:
    alpha = math.e * beta
    if x == 0:
        return 0.0
    if x <= 1:
        return -alpha * x**2 * (2 * math.log(beta * x) - 1) / 4
    return -alpha * math.log(beta) * x + (2 * alpha * math.log(beta) + alpha) / 4


def random_pairs(count: int, seed: int = 0, side: float = 640.0) -> tuple[Tensor, Tensor]:
    """Boxes of 1 px and more in float64; half of the pairs overlap well."""
    random = np.random.default_rng(seed)
    corners = random.uniform(0, side, (2, 2, count, 2))
    pred, target = np.concatenate([corners.min(0), corners.max(0) + 1], -1)
    near = random.random((count, 1)) < 0.5
    sides = np.tile(pred[:, 2:] - pred[:, :2], 2)
    target = np.where(near, pred + sides * random.uniform(-0.3, 0.3, (count, 4)), target)
    return torch.from_numpy(pred), torch.from_numpy(target)


@functools.cache
def hostile_pairs(count: int, largest: float, seed: int) -> tuple[Tensor, Tensor]:
    """Flat, empty, inverted, apart, nested, identical and huge boxes, and such that share coordinates; float32."""
    random = np.random.default_rng(seed)

    def boxes() -> Any:
        scale = random.choice([1e-4, 1.0, 30.0, 640.0, largest], (count, 1))
        corner = random.uniform(-1, 1, (count, 2)) * scale
        sides = random.uniform(0, 1, (count, 2)) * scale * random.choice([0, 1e-6, 1, 1, 1, -1], (count, 2))
        whole = np.concatenate([corner, corner + sides], -1)
        return np.where(random.random((count, 1)) < 0.2, np.round(whole), whole).clip(-largest, largest)

    pred, target = boxes(), boxes()
    target = np.where(random.random((count, 4)) < 0.2, pred, target)
    target = np.where(random.random((count, 1)) < 0.1, pred, target)
    return torch.from_numpy(pred).float(), torch.from_numpy(target).float()


def gradient(loss: Callable[[Tensor], Tensor], pred: Tensor) -> Tensor:
    moving = pred.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(moving).sum(), moving)[0]


def one(*box: float) -> Tensor:
    return torch.tensor([box], dtype=torch.float64)


def test_every_loss_of_the_recipe_is_there():
    pred, target = random_pairs(5)
    for kind in BOX_LOSSES:
        assert box_loss(pred, target, kind).shape == (5,)


@pytest.mark.parametrize("parameters", PARAMETERS, ids=["default", "area", "side"])
@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_values_follow_the_formulas(kind: str, parameters: dict[str, Any]):
    pred, target = random_pairs(300)
    pred = torch.cat([pred, torch.tensor([pair[1] for pair in SPECIAL], dtype=torch.float64)])
    target = torch.cat([target, torch.tensor([pair[2] for pair in SPECIAL], dtype=torch.float64)])
    expected = [
        formula(p, t, kind, held(p, t, kind, parameters), parameters)
        for p, t in zip(pred.tolist(), target.tolist(), strict=True)
    ]
    found = box_loss(pred, target, kind, **parameters)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("parameters", PARAMETERS, ids=["default", "area", "side"])
@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_gradients_are_those_of_the_formulas_with_the_factor_held(kind: str, parameters: dict[str, Any]):
    pred, target = random_pairs(60, seed=1)
    found = gradient(lambda boxes: box_loss(boxes, target, kind, **parameters), pred)
    step = 1e-5
    for row, (p, t) in enumerate(zip(pred.tolist(), target.tolist(), strict=True)):
        factor = held(p, t, kind, parameters)
        for column in range(4):
            up, down = [*p], [*p]
            up[column] += step
            down[column] -= step
            difference = formula(up, t, kind, factor, parameters) - formula(down, t, kind, factor, parameters)
            assert found[row, column].item() == pytest.approx(difference / (2 * step), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("kind", PLAIN)
def test_gradcheck(kind: str):
    pred, target = random_pairs(20, seed=2)
    assert torch.autograd.gradcheck(lambda boxes: box_loss(boxes, target, kind), pred.requires_grad_())


@pytest.mark.parametrize(
    ("kind", "library"),
    [("giou", generalized_box_iou_loss), ("diou", distance_box_iou_loss), ("ciou", complete_box_iou_loss)],
)
def test_torchvision_has_the_same_values_and_gradients(kind: str, library: Any):
    pred, target = random_pairs(2000, seed=3)
    np.testing.assert_allclose(box_loss(pred, target, kind).numpy(), library(pred, target).numpy(), atol=1e-6)
    ours = gradient(lambda boxes: box_loss(boxes, target, kind), pred)
    np.testing.assert_allclose(
        ours.numpy(), gradient(lambda boxes: library(boxes, target), pred).numpy(), atol=1e-6
    )


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_ciou_is_what_stock_trains_with(stride: int):
    prepare_process()
    from ultralytics.utils.metrics import bbox_iou

    def stock(boxes: Tensor) -> Tensor:
        return 1 - bbox_iou(boxes / stride, target / stride, xywh=False, CIoU=True).squeeze(-1)

    pred, target = (boxes.float() for boxes in random_pairs(2000, seed=4))
    np.testing.assert_allclose(box_loss(pred, target, "ciou").numpy(), stock(pred).numpy(), atol=1e-5)
    ours = gradient(lambda boxes: box_loss(boxes, target, "ciou"), pred)
    np.testing.assert_allclose(ours.numpy(), gradient(stock, pred).numpy(), atol=2e-5)


@pytest.mark.parametrize("kind", BOX_LOSSES)
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "autocast"])
def test_a_million_hostile_pairs_have_finite_losses_and_gradients(kind: str, autocast: bool):
    for seed in range(2, 4) if autocast else range(4):
        pred, target = hostile_pairs(250_000, 1e6, seed)
        pred = pred.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = box_loss(pred, target, kind)
            batch = weighted_box_loss(pred, target, torch.ones(len(pred), 1), 1.0, kind)
        (slope,) = torch.autograd.grad(loss.sum() + batch, pred)
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss).all()
        assert (loss >= -1e-6).all()
        assert torch.isfinite(batch)
        assert torch.isfinite(slope).all()


@pytest.mark.parametrize("kind", BOX_LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_boxes_have_finite_losses_and_gradients(kind: str, dtype: torch.dtype):
    pred, target = (boxes.to(dtype) for boxes in hostile_pairs(100_000, 3e4, 0))
    pred.requires_grad_()
    with torch.autocast("cpu", dtype):
        loss = box_loss(pred, target, kind)
    (slope,) = torch.autograd.grad(loss.sum(), pred)
    assert (loss.dtype, slope.dtype) == (torch.float32, dtype)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(slope).all()


def test_autocast_changes_nothing():
    pred, target = (boxes.float() for boxes in random_pairs(200))
    for kind in BOX_LOSSES:
        with torch.autocast("cpu", torch.bfloat16):
            inside = box_loss(pred, target, kind)
            batch = weighted_box_loss(pred, target, torch.ones(200).bfloat16(), torch.tensor(3.0), kind)
        assert torch.equal(inside, box_loss(pred, target, kind))
        assert batch == weighted_box_loss(pred, target, torch.ones(200), 3.0, kind)


@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_equal_boxes_cost_nothing(kind: str):
    for _, box, _ in SPECIAL:
        boxes = torch.tensor([box], dtype=torch.float32)
        assert box_loss(boxes, boxes, kind).item() == 0


@pytest.mark.parametrize(
    ("kind", "most"), [("iou", 1), ("giou", 2), ("diou", 2), ("ciou", 3), ("eiou", 4), ("focal_eiou", 3)]
)
def test_ranges(kind: str, most: float):
    pred, target = random_pairs(5000, seed=5)
    loss = box_loss(pred, target, kind)
    assert loss.min() >= 0
    assert loss.max() <= most


def test_boxes_apart_are_told_apart_by_all_but_the_overlap():
    near, far, target = one(50, 0, 60, 10), one(500, 0, 510, 10), one(0, 0, 10, 10)
    for kind in BOX_LOSSES:
        closer, farther = box_loss(near, target, kind), box_loss(far, target, kind)
        assert (closer < farther).item() == (kind not in ("iou", "focal_eiou")), kind


coordinate = st.floats(-500, 500)
length = st.floats(1, 500)
boxes_drawn = st.tuples(coordinate, coordinate, length, length).map(
    lambda box: one(box[0], box[1], box[0] + box[2], box[1] + box[3])
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(pred=boxes_drawn, target=boxes_drawn, dx=coordinate, dy=coordinate)
def test_losses_do_not_depend_on_the_place(pred: Tensor, target: Tensor, dx: float, dy: float):
    shift = one(dx, dy, dx, dy)
    for kind in BOX_LOSSES:
        moved = box_loss(pred + shift, target + shift, kind)
        assert moved.item() == pytest.approx(box_loss(pred, target, kind).item(), rel=1e-6, abs=1e-9)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(pred=boxes_drawn, target=boxes_drawn, scale=st.floats(0.01, 100))
def test_all_but_the_elastic_losses_do_not_depend_on_the_scale(pred: Tensor, target: Tensor, scale: float):
    for kind in set(BOX_LOSSES) - set(ELASTIC):
        scaled = box_loss(scale * pred, scale * target, kind)
        assert scaled.item() == pytest.approx(box_loss(pred, target, kind).item(), rel=1e-6, abs=1e-9)


def test_elastic_forgives_a_wrong_shape_to_small_boxes():
    pred, target = one(0, 0, 1, 4), one(0, 0, 2, 2)
    v = aspect(pred[0].tolist(), target[0].tolist())

    def largeness(side: float) -> float:
        """tanh(s/tau) from the penalty of two boxes of this side."""
        pair = side / 2 * pred, side / 2 * target
        return (box_loss(*pair, "elastic") - box_loss(*pair, "diou")).item() / (1.5 * v)

    assert largeness(5) == pytest.approx(math.tanh(5 / 75))
    assert largeness(75) == pytest.approx(math.tanh(1))
    assert largeness(5) < 0.1
    assert largeness(500) > 0.999
    smaller, larger = (box_loss(scale * pred, scale * target, "elastic") for scale in (2, 200))
    assert smaller < larger


def test_elastic_weighted_pulls_small_boxes_harder():
    pred, target = one(0, 0, 1, 4), one(3, 0, 5, 2)
    penalty = box_loss(pred, target, "diou") - 1 + 0.3 * aspect(pred[0].tolist(), target[0].tolist())
    smaller, larger = (box_loss(scale * pred, scale * target, "elastic_weighted") - 1 for scale in (0.5, 500))
    assert (smaller / penalty).item() == pytest.approx(2 - math.tanh(1 / 75))
    assert (larger / penalty).item() == pytest.approx(1)


def test_size_area_is_the_printed_form():
    pred, target = one(0, 0, 4, 9), one(0, 0, 8, 2)  # areas 36 and 16: the root of their product is 24
    extra = box_loss(pred, target, "elastic", beta=1.0, tau=50.0, size="area") - box_loss(pred, target, "diou")
    expected = math.tanh(24 / 50) * aspect(pred[0].tolist(), target[0].tolist())
    assert extra.item() == pytest.approx(expected)


def test_a_flat_prediction_is_worth_no_overlap_and_finds_its_width():
    flat, target = one(20, 20, 20, 80), one(10, 20, 40, 80)
    assert box_loss(flat, target, "iou").item() == 1
    for kind in ("iou", "giou", "ciou", "eiou", "focal_l1", *ELASTIC):
        slope = gradient(lambda boxes, kind=kind: box_loss(boxes, target, kind), flat)[0]
        assert slope[0] > 0 > slope[2], kind


@pytest.mark.parametrize("kind", ["eiou", "focal_l1"])
def test_an_inverted_prediction_is_led_back(kind: str):
    inverted, target = one(60, 20, 50, 80), one(10, 20, 40, 80)
    slope = gradient(lambda boxes: box_loss(boxes, target, kind), inverted)[0]
    assert slope[0] - slope[2] > 0
    assert box_loss(one(51, 20, 50, 80), target, kind) < box_loss(inverted, target, kind)


def test_focal_eiou_has_no_gradient_through_its_weight():
    apart, target = one(100, 100, 120, 120), one(0, 0, 10, 10)
    slope = gradient(lambda boxes: box_loss(boxes, target, "focal_eiou"), apart)
    assert torch.equal(slope, torch.zeros(1, 4, dtype=torch.float64))


def test_focal_eiou_averages_by_overlap():
    pred, target = random_pairs(50, seed=6)
    shares = np.array([intersection_over_union(p, t) ** 0.5 for p, t in zip(pred, target, strict=True)])
    eiou = box_loss(pred, target, "eiou").numpy()
    assert box_loss(pred, target, "focal_eiou", reduction="sum").item() == pytest.approx((shares * eiou).sum())
    expected = (shares * eiou).sum() / shares.sum()
    assert box_loss(pred, target, "focal_eiou", reduction="mean").item() == pytest.approx(expected)


def test_focal_eiou_without_any_overlap_still_teaches():
    pred, target = one(100, 100, 120, 120).repeat(2, 1), torch.cat([one(0, 0, 10, 10), one(0, 0, 30, 10)])
    for loss in (box_loss, lambda p, t, kind, reduction: weighted_box_loss(p, t, torch.ones(2), 2.0, kind)):
        mean = loss(pred, target, "focal_eiou", reduction="mean")
        assert mean.item() == pytest.approx(box_loss(pred, target, "eiou").mean().item())
        assert gradient(lambda boxes, loss=loss: loss(boxes, target, "focal_eiou", reduction="mean"), pred).any()


@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_reductions(kind: str):
    pred, target = random_pairs(40, seed=7)
    losses = box_loss(pred, target, kind)
    assert box_loss(pred, target, kind, reduction="sum").item() == pytest.approx(losses.sum().item())
    if kind != "focal_eiou":
        assert box_loss(pred, target, kind, reduction="mean").item() == pytest.approx(losses.mean().item())
    none = torch.empty(0, 4, requires_grad=True)
    for reduction in ("mean", "sum"):
        empty = box_loss(none, torch.empty(0, 4), kind, reduction=reduction)
        assert empty.item() == 0
        assert torch.autograd.grad(empty, none)[0].shape == (0, 4)
    assert weighted_box_loss(none, torch.empty(0, 4), torch.empty(0, 1), 1.0, kind).item() == 0


@pytest.mark.parametrize("kind", BOX_LOSSES)
@pytest.mark.parametrize("parameters", PARAMETERS, ids=["default", "area", "side"])
def test_weights_multiply_the_losses_of_a_batch(kind: str, parameters: dict[str, Any]):
    pred, target = random_pairs(40, seed=8)
    weight = torch.linspace(0, 2, 40, dtype=torch.float64)
    found = weighted_box_loss(pred, target, weight[:, None], torch.tensor(5.0), kind, **parameters)
    assert torch.equal(found, weighted_box_loss(pred, target, weight, 5.0, kind, **parameters))
    if kind == "focal_eiou":
        exponent = parameters.get("gamma", 0.5)
        shares = (1 - box_loss(pred, target, "iou")) ** exponent
        eiou = box_loss(pred, target, "eiou")
        expected = (weight * shares * eiou).sum() / (weight * shares).sum() * weight.sum() / 5
    else:
        expected = (weight * box_loss(pred, target, kind, **parameters)).sum() / 5
    assert found.item() == pytest.approx(expected.item())


@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_equal_weights_and_their_sum_as_the_normaliser_give_the_mean(kind: str):
    pred, target = random_pairs(40, seed=9)
    found = weighted_box_loss(pred, target, torch.full((40,), 0.25), 10.0, kind)
    assert found.item() == pytest.approx(box_loss(pred, target, kind, reduction="mean").item())


@pytest.mark.parametrize("beta", [1 / math.e, 0.5, 0.8, 1.0])
def test_focal_l1_is_continuous_and_its_slope_is_equation_8(beta: float):
    x = torch.tensor(
        [1e-9, 0.01, 0.2, 1 / (math.e * beta), 0.7, 0.999999, 1.000001, 1.5, 40.0], dtype=torch.float64
    )
    alpha = math.e * beta
    expected = [-alpha * v * math.log(beta * v) if v <= 1 else -alpha * math.log(beta) for v in x.tolist()]
    found = gradient(lambda values: focal_l1(values, beta=beta), x)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-15)
    assert found.max() == pytest.approx(1)
    values = [scalar_focal_l1(v, beta) for v in x.tolist()]
    np.testing.assert_allclose(focal_l1(x, beta=beta).numpy(), values, rtol=1e-12)
    below, above = focal_l1(torch.tensor([1 - 1e-12, 1 + 1e-12], dtype=torch.float64), beta=beta)
    assert below.item() == pytest.approx(above.item(), abs=1e-11)


def test_focal_l1_is_nothing_at_nothing():
    zero = torch.zeros(3)
    assert torch.equal(focal_l1(zero), zero)
    assert torch.equal(gradient(focal_l1, zero), zero)


@pytest.mark.parametrize("beta", [0.36, 1.01, -1.0, math.nan])
def test_focal_l1_refuses_a_beta_out_of_range(beta: float):
    with pytest.raises(ValueError, match="between 1/e and 1"):
        focal_l1(torch.ones(1), beta=beta)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"kind": "siou"}, "a box loss is one of iou, giou, .* but got 'siou'"),
        ({"kind": "elastic", "size": "volume"}, "size must be side or area, but got 'volume'"),
        ({"kind": "iou", "reduction": "max"}, "reduction must be none, mean or sum, but got 'max'"),
        ({"kind": "iou", "target": torch.zeros(3, 4)}, r"one shape \(N, 4\), but got \(2, 4\) and \(3, 4\)"),
        ({"kind": "iou", "pred": torch.zeros(2, 5), "target": torch.zeros(2, 5)}, r"one shape \(N, 4\)"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], problem: str):
    with pytest.raises(ValueError, match=problem):
        box_loss(**{"pred": torch.zeros(2, 4), "target": torch.zeros(2, 4)} | arguments)
