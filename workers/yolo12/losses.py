"""Box regression losses: the IoU family, elastic IoU and FocalL1.

Sources: GIoU (Rezatofighi et al., 2019), DIoU and CIoU (Zheng et al., 2020), EIOU, Focal-EIOU and FocalL1 (Zhang et
al., 2022, "Focal and efficient IOU loss for accurate bounding box regression", cited below as the paper).

With w, h the sides of the predicted box and W, H those of its target, rho the distance of their centres, Wc and
Hc the sides of the smallest box around both, c its diagonal, v = 4/pi^2 (atan(W/H) - atan(w/h))^2 and s their size:

    iou               1 - IoU
    giou              1 - IoU + (Wc Hc - union) / (Wc Hc)
    diou              1 - IoU + rho^2/c^2
    ciou              1 - IoU + rho^2/c^2 + v * v / (1 - IoU + v)
    eiou              1 - IoU + rho^2/c^2 + (w - W)^2/Wc^2 + (h - H)^2/Hc^2
    focal_eiou        IoU^gamma * eiou
    focal_l1          sum of FocalL1 over the differences of centre and sides, in sides of the target
    elastic           1 - IoU + rho^2/c^2 + beta * tanh(s/tau) * v
    elastic_weighted  1 - IoU + omega * (rho^2/c^2 + 0.3 v),
                      omega = (1 - IoU)^beta * (1 + a) clamped to [0.5, 3], a = 1 - tanh(s/tau)

The factors IoU^gamma, v / (1 - IoU + v), tanh(s/tau) and omega carry no gradient.

`torchvision.ops` has giou, diou and ciou, and ours equal them on boxes with an area. They are not used: for flat
boxes the gradient of its ciou is not a number and that of its giou overflows float16, and all three index by a
mask, for which a GPU must wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

EPS = 1e-3
"""Least side of a box in pixels. Gradients grow like 1/side: at this one they still fit into float16."""

OMEGA = (0.5, 3.0)
"""Bounds of the weight omega of `elastic_weighted`."""


class _Pair(NamedTuple):
    """What the losses measure on N pairs of boxes; shapes (N,), and (2, N) for what has an x and a y."""

    iou: Tensor
    union: Tensor
    areas: tuple[Tensor, Tensor]
    offset: Tensor  # of the centres
    side: Tensor  # as it is: 0 or less for a box without an area
    target_side: Tensor
    hull: Tensor  # sides of the smallest box around both


class _Options(NamedTuple):
    beta: float
    tau: float
    gamma: float
    size: str
    l1_beta: float


def box_loss(
    pred: Tensor,
    target: Tensor,
    kind: str,
    *,
    beta: float = 1.5,
    tau: float = 75.0,
    gamma: float = 0.5,
    size: str = "side",
    l1_beta: float = 0.8,
    reduction: str = "none",
) -> Tensor:
    """How far predicted boxes are from their targets.

    It is evaluated in float64 if one of the two is, and else in float32, under autocast too. Areas, ratios and what
    divides have sides of at least `EPS`, so loss and gradient are finite for every box up to a million pixels and
    more. An inverted box has no area, but differences of sides count as they are and lead it back.

    Args:
        pred: Predicted boxes, (N, 4), as x1, y1, x2, y2 in pixels of the input image. Only `elastic` and
            `elastic_weighted` depend on the unit.
        target: Their targets, likewise.
        kind: `iou`, `giou`, `diou`, `ciou`, `eiou`, `focal_eiou`, `focal_l1`, `elastic` or `elastic_weighted`.
        beta: Strength of the penalty (`elastic`), exponent of 1 - IoU (`elastic_weighted`); at least 0.
        tau: Size in pixels from which the elastic losses take a pair of boxes as large; above 0.
        gamma: Exponent of IoU in `focal_eiou`, at least 0; 0 makes it `eiou`.
        size: What the elastic losses compare with `tau`: the geometric mean `side` of both boxes, (A1 A2)^(1/4), or
            their geometric mean `area`, (A1 A2)^(1/2).
        l1_beta: Shape of `focal_l1`, 1/e to 1.
        reduction: `none`, `sum` or `mean`. The mean of `focal_eiou` is that of the paper's Eq. 11, weighted by
            IoU^gamma; if no box overlaps its target, all count alike.

    Returns:
        Losses of shape (N,), or a scalar; 0 for no boxes. All are at least 0.

    Raises:
        ValueError: if an argument is not one of the above, or the boxes do not match.
    """
    options = _Options(beta, tau, gamma, size, l1_beta)
    with torch.autocast(pred.device.type, enabled=False):
        loss, share = _evaluate(pred, target, kind, options)
        if reduction == "mean":
            return _weighted(loss, share, torch.ones_like(loss)) / max(loss.numel(), 1)
        loss = loss if share is None else share * loss
    if reduction == "sum":
        return loss.sum()
    if reduction != "none":
        raise ValueError(f"reduction must be none, mean or sum, but got {reduction!r}")
    return loss


def weighted_box_loss(
    pred: Tensor,
    target: Tensor,
    weight: Tensor,
    normaliser: Tensor | float,
    kind: str,
    *,
    beta: float = 1.5,
    tau: float = 75.0,
    gamma: float = 0.5,
    size: str = "side",
    l1_beta: float = 0.8,
) -> Tensor:
    """The box loss of a batch whose boxes count differently, as those of a task-aligned assignment do.

    It is sum(weight * loss) / normaliser. In `focal_eiou` the weights multiply both sums of the paper's Eq. 11, and
    a factor keeps its scale that of the others, whatever the normaliser:
    sum(weight * W * eiou) / sum(weight * W) * sum(weight) / normaliser with W = IoU^gamma.

    Args:
        pred: Predicted boxes as in `box_loss`.
        target: Their targets.
        weight: Weights of at least 0, of shape (N,) or (N, 1).
        normaliser: What the weighted sum is divided by, a scalar above 0.
        kind: As in `box_loss`, like all that follows.
        beta: See there.
        tau: See there.
        gamma: See there.
        size: See there.
        l1_beta: See there.

    Returns:
        A scalar.

    Raises:
        ValueError: as in `box_loss`.
    """
    options = _Options(beta, tau, gamma, size, l1_beta)
    with torch.autocast(pred.device.type, enabled=False):
        loss, share = _evaluate(pred, target, kind, options)
        return _weighted(loss, share, weight.reshape(loss.shape).to(loss)) / normaliser


def focal_l1(x: Tensor, *, beta: float = 0.8) -> Tensor:
    """FocalL1, which is steepest for small errors and lets go of large ones (the paper's Eq. 8 and 9).

    With a = e * beta its slope is -a x ln(beta x) up to x = 1 and -a ln(beta) from there; the largest slope is 1.

    Args:
        x: Absolute differences, at least 0, of any shape.
        beta: Which errors count as large, 1/e to 1: the slope is largest at x = 1 / (e * beta).

    Returns:
        Losses of the shape of x, at least 0.

    Raises:
        ValueError: if beta is out of its range.
    """
    if not 1 / math.e <= beta <= 1:
        raise ValueError(f"beta of FocalL1 must lie between 1/e and 1, but got {beta}")
    alpha, slope = math.e * beta, -math.e * beta * math.log(beta)
    # Each branch sees only arguments of its own: the other one's infinities would turn its gradient into NaN.
    small = x.clamp(torch.finfo(x.dtype).tiny, 1)
    near = -alpha * small.square() * (2 * torch.log(beta * small) - 1) / 4
    far = slope * (x - 1) + (alpha + 2 * slope) / 4
    return torch.where(x < 1, near, far)  # at 1 they agree, but there the clamp has no gradient


def _evaluate(pred: Tensor, target: Tensor, kind: str, options: _Options) -> tuple[Tensor, Tensor | None]:
    """The loss of every pair, and of `focal_eiou` the weights that are still to multiply it."""
    if kind not in _LOSSES:
        raise ValueError(f"a box loss is one of {', '.join(_LOSSES)}, but got {kind!r}")
    if options.size not in ("side", "area"):
        raise ValueError(f"size must be side or area, but got {options.size!r}")
    if pred.shape != target.shape or pred.shape[-1:] != (4,):
        raise ValueError(
            f"boxes must be of one shape (N, 4), but got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    pair = _measure(pred, target)
    share = pair.iou.detach() ** options.gamma if kind == "focal_eiou" else None
    return _LOSSES[kind](pair, options), share


def _weighted(loss: Tensor, share: Tensor | None, weight: Tensor) -> Tensor:
    if share is None:
        return (weight * loss).sum()
    # Boxes that overlap ever less, but all alike, count alike: so do those that do not overlap at all.
    share = torch.where((weight * share).sum() > 0, share, torch.ones_like(share))
    total = (weight * share).sum().clamp(min=torch.finfo(loss.dtype).tiny)
    return (weight * share * loss).sum() / total * weight.sum()


def _measure(pred: Tensor, target: Tensor) -> _Pair:
    double = torch.float64 in (pred.dtype, target.dtype)
    low, high = _corners(pred, torch.float64 if double else torch.float32)
    target_low, target_high = _corners(target, torch.float64 if double else torch.float32)
    side, target_side = high - low, target_high - target_low
    areas = _product(_positive(side)), _product(_positive(target_side))
    shared = torch.minimum(high, target_high) - torch.maximum(low, target_low)
    overlap = _product(torch.where(shared < 0, 0, shared))  # a clamp has no gradient at 0
    union = areas[0] + areas[1] - overlap
    # Of all four corners, so that it holds inverted boxes too, and what is divided by it stays bounded.
    first = torch.minimum(torch.minimum(low, high), torch.minimum(target_low, target_high))
    last = torch.maximum(torch.maximum(low, high), torch.maximum(target_low, target_high))
    return _Pair(
        iou=overlap / union,
        union=union,
        areas=areas,
        offset=(low + high - target_low - target_high) / 2,
        side=side,
        target_side=target_side,
        hull=_positive(last - first),
    )


def _corners(boxes: Tensor, dtype: torch.dtype) -> Tensor:
    """Boxes (N, 4) as (2, 2, N): first and last corner, x and y, each of all boxes one after the other.

    In this order a CPU takes many boxes at once, which halves the time of a loss.
    """
    return boxes.to(dtype).t().contiguous().view(2, 2, -1)


def _positive(sides: Tensor) -> Tensor:
    """At least `EPS`, yet with the gradient of what is not clamped: else a flat box would stay flat."""
    if not sides.requires_grad:
        return sides.clamp(min=EPS)
    return sides.detach().clamp(min=EPS) + (sides - sides.detach())


def _product(sides: Tensor) -> Tensor:
    return sides[0] * sides[1]


def _giou(pair: _Pair, _: _Options) -> Tensor:
    hull = _product(pair.hull)
    return 1 - pair.iou + (hull - pair.union) / hull


def _diou(pair: _Pair, _: _Options) -> Tensor:
    return 1 - pair.iou + _distance(pair)


def _ciou(pair: _Pair, _: _Options) -> Tensor:
    v = _aspect(pair)
    # Two equal boxes make it 0/0, and their v is 0 then.
    weight = v.detach() / (_miss(pair) + v.detach()).clamp(min=torch.finfo(v.dtype).tiny)
    return 1 - pair.iou + _distance(pair) + weight * v


def _eiou(pair: _Pair, _: _Options) -> Tensor:
    return 1 - pair.iou + _distance(pair) + ((pair.side - pair.target_side) / pair.hull).square().sum(0)


def _focal_l1(pair: _Pair, options: _Options) -> Tensor:
    # The paper regresses offsets relative to a box, of about 1. Pixels would all lie beyond the peak of the slope.
    differences = torch.cat([pair.offset, pair.side - pair.target_side]).abs()
    scale = _positive(pair.target_side)
    return focal_l1(differences / torch.cat([scale, scale]), beta=options.l1_beta).sum(0)


def _elastic(pair: _Pair, options: _Options) -> Tensor:
    return 1 - pair.iou + _distance(pair) + options.beta * _largeness(pair, options) * _aspect(pair)


def _elastic_weighted(pair: _Pair, options: _Options) -> Tensor:
    a = 1 - _largeness(pair, options)
    omega = (_miss(pair) ** options.beta * (1 + a)).clamp(*OMEGA)
    return 1 - pair.iou + omega * (_distance(pair) + 0.3 * _aspect(pair))


def _miss(pair: _Pair) -> Tensor:
    """1 - IoU without its gradient; at least 0, however a compiler rounds."""
    return (1 - pair.iou.detach()).clamp(min=0)


def _distance(pair: _Pair) -> Tensor:
    """rho^2/c^2, at most 1."""
    return pair.offset.square().sum(0) / pair.hull.square().sum(0)


def _aspect(pair: _Pair) -> Tensor:
    """v, 0 to 1: how much the ratios of width and height differ."""
    angles = [torch.atan2(*_positive(side)) for side in (pair.side, pair.target_side)]
    return 4 / math.pi**2 * (angles[1] - angles[0]).square()


def _largeness(pair: _Pair, options: _Options) -> Tensor:
    """tanh(s/tau), 0 to 1."""
    size = (pair.areas[0].detach().sqrt() * pair.areas[1].detach().sqrt()).sqrt()
    return torch.tanh((size if options.size == "side" else size.square()) / options.tau)


_LOSSES: dict[str, Callable[[_Pair, _Options], Tensor]] = {
    "iou": lambda pair, _: 1 - pair.iou,
    "giou": _giou,
    "diou": _diou,
    "ciou": _ciou,
    "eiou": _eiou,
    "focal_eiou": _eiou,
    "focal_l1": _focal_l1,
    "elastic": _elastic,
    "elastic_weighted": _elastic_weighted,
}
