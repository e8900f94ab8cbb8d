"""Which box loss brings a box to its target, how near, and how fast?

The simulation of "Focal and efficient IOU loss for accurate bounding box regression" (Zhang et al., 2022, section
5.3, Algorithm 1): anchors of many places, areas and shapes descend the gradient of a loss, each towards each
target, in 200 steps. No network and no data: only the loss differs. All targets lie at (10, 10), of area 100.

    setup 1   1000 points in a square of side 20, 7 x 7 anchors at each, 7 targets: 343,000 pairs, most of them poor
    setup 2   100 points in a square of side 2.5, 3 x 3 anchors at each, 3 targets: 2,700 pairs, all overlapping

The paper leaves the step open. Here a box, as x1, y1, x2, y2, moves by 10 mu (2 - IoU) times the gradient of its
loss, where mu is 0.1, from step 161 on 0.01, from 181 on 0.001: the rule of the DIoU authors' simulation. Error is
the sum of the absolute differences in centre and sides. The elastic losses depend on the size in pixels: a unit has
so many that a square target measures 75 px, their own limit between small and large (`--pixels`). `focal_eiou`
is the paper's Eq. 10, without the sum of weights by which Eq. 11 divides, so its steps are shorter than `eiou`'s.

The exit code is 1 unless in both setups the mean IoU is higher with `eiou` than with `giou` and with `ciou`, and
with these higher than with `iou`. Figures are written as `box_regression_setup1.png` and `..._setup2.png`. All of
it takes a core about four minutes.

    python benchmarks/box_regression.py
    python benchmarks/box_regression.py --quick --loss eiou --loss ciou --loss giou --loss iou
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor

from workers.yolo12.losses import box_loss
from workers.yolo12.recipe import BOX_LOSSES

CENTRE, AREA = 10.0, 100.0
STEPS, EARLY = 200, 50
CHUNK = 32768
"""Pairs that are regressed at a time: few enough to stay in a processor's cache."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
COLOURS = {
    "iou": "#7f7f7f",
    "giou": "#8c564b",
    "diou": "#bcbd22",
    "ciou": "#ff7f0e",
    "eiou": "#1f77b4",
    "focal_eiou": "#d62728",
    "focal_l1": "#9467bd",
    "elastic": "#2ca02c",
    "elastic_weighted": "#17becf",
}
DASHED = ("diou", "focal_eiou", "elastic_weighted")


@dataclass(frozen=True)
class Setup:
    """Where the anchors are, and which shapes they have; targets have the same shapes."""

    name: str
    title: str
    points: int
    square: float
    areas: tuple[float, ...]
    ratios: tuple[float, ...]


SETUPS = (
    Setup(
        "setup1",
        "Setup 1: anchors anywhere in a square of twice the target's side",
        1000,
        20.0,
        (50, 67, 75, 100, 133, 150, 200),
        (1 / 4, 1 / 3, 1 / 2, 1, 2, 3, 4),
    ),
    Setup("setup2", "Setup 2: anchors near the target", 100, 2.5, (50, 100, 150), (1 / 3, 1, 3)),
)


@dataclass(frozen=True)
class Outcome:
    """How a loss did: the error of all pairs after 0, 1, ... steps, and every pair's IoU after the last."""

    errors: Tensor
    ious: Tensor


def pairs(setup: Setup, points: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Every anchor with every target, twice (N, 4): x1, y1, x2, y2 in float32."""
    random = torch.Generator().manual_seed(seed)
    centres = CENTRE + setup.square * (torch.rand(points, 2, generator=random) - 0.5)
    anchors = torch.tensor([_sides(area, ratio) for area in setup.areas for ratio in setup.ratios])
    targets = torch.tensor([_sides(AREA, ratio) for ratio in setup.ratios])
    shape = (points, len(anchors), len(targets), 2)
    places, sides = centres[:, None, None].expand(shape), anchors[:, None].expand(shape)
    return (
        torch.cat([places - sides / 2, places + sides / 2], -1).reshape(-1, 4),
        torch.cat([CENTRE - targets / 2, CENTRE + targets / 2], -1).expand(*shape[:2], -1, -1).reshape(-1, 4),
    )


def _sides(area: float, ratio: float) -> tuple[float, float]:
    return (area * ratio) ** 0.5, (area / ratio) ** 0.5


def step_size(step: int, steps: int = STEPS) -> float:
    """Algorithm 1, lines 6 to 9, for steps counted from 1; times 10."""
    if step <= 0.8 * steps:
        return 1.0
    return 0.1 if step <= 0.9 * steps else 0.01


def error(boxes: Tensor, targets: Tensor) -> float:
    """Sum of the absolute differences in centre and sides."""
    low, high = (boxes - targets).detach().double().chunk(2, -1)
    return float(((low + high) / 2).abs().sum() + (high - low).abs().sum())


def regress(anchors: Tensor, targets: Tensor, kind: str, *, unit: float, steps: int = STEPS) -> Outcome:
    """Algorithm 1 for one loss; a length of 1 is `unit` pixels."""
    errors, ious = torch.zeros(steps + 1, dtype=torch.float64), []
    for start, goal in zip(anchors.split(CHUNK), targets.split(CHUNK), strict=True):
        boxes, target = _by_columns(start).requires_grad_(), _by_columns(goal)
        errors[0] += error(boxes, target)
        for step in range(1, steps + 1):
            loss = box_loss(boxes * unit, target * unit, kind, reduction="sum")
            slope = torch.autograd.grad(loss, boxes)[0]
            with torch.no_grad():
                boxes -= step_size(step, steps) * (2 - _iou(boxes, target, unit))[:, None] * slope
            errors[step] += error(boxes, target)
        ious.append(_iou(boxes.detach(), target, unit))
    return Outcome(errors, torch.cat(ious))


def _by_columns(boxes: Tensor) -> Tensor:
    """A copy in which a coordinate of all boxes lies together: a third faster."""
    return boxes.T.clone(memory_format=torch.contiguous_format).T


def _iou(boxes: Tensor, target: Tensor, unit: float) -> Tensor:
    return 1 - box_loss(boxes * unit, target * unit, "iou")


def heading() -> str:
    """What the figures of a line are."""
    figures = ("mean IoU", "final error", f"error at {EARLY}")
    return _line("loss", figures, [f"q{round(100 * q):02}" for q in QUANTILES])


def line(kind: str, outcome: Outcome) -> str:
    """How a loss did; errors are those of all pairs together."""
    figures = (f"{outcome.ious.mean():.3f}", f"{outcome.errors[-1]:.1f}", f"{outcome.errors[EARLY]:.1f}")
    return _line(kind, figures, [f"{q:.3f}" for q in _quantiles(outcome)])


def _line(name: str, figures: Sequence[str], quantiles: Sequence[str]) -> str:
    return f"{name:<17}" + "".join(f"{x:>14}" for x in figures) + "".join(f"{x:>8}" for x in quantiles)


def _quantiles(outcome: Outcome) -> list[float]:
    ordered = outcome.ious.sort().values  # torch.quantile refuses this many
    return [float(ordered[round(q * (len(ordered) - 1))]) for q in QUANTILES]


def broken_order(outcomes: dict[str, Outcome]) -> list[str]:
    """What contradicts eiou > giou, ciou > iou in the mean IoU, of the losses that were run."""
    expected = [("eiou", "giou"), ("eiou", "ciou"), ("giou", "iou"), ("ciou", "iou")]
    return [
        f"{better} is not better than {worse}"
        for better, worse in expected
        if better in outcomes and worse in outcomes
        if not outcomes[better].ious.mean() > outcomes[worse].ious.mean()
    ]


def draw(setup: Setup, outcomes: dict[str, Outcome], file: Path) -> None:
    """Error against steps, and the quantiles of the final IoU."""
    figure = Figure(figsize=(12, 4.8), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    for kind, outcome in outcomes.items():
        mean = outcome.errors / len(outcome.ious)
        left.plot(mean, color=COLOURS[kind], linestyle="--" if kind in DASHED else "-", label=kind)
    left.set(yscale="log", xlim=(0, STEPS), xlabel="step", ylabel="mean error of a pair")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter(NullFormatter())
    left.grid(alpha=0.4, linewidth=0.5)
    figure.legend(loc="outside lower center", ncols=len(outcomes), fontsize=9)
    _draw_quantiles(right, outcomes)
    figure.suptitle(f"{setup.title}, {len(next(iter(outcomes.values())).ious):,} pairs")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)


def _draw_quantiles(axes: Axes, outcomes: dict[str, Outcome]) -> None:
    for place, (kind, outcome) in enumerate(outcomes.items()):
        low, quarter, median, three_quarters, high = _quantiles(outcome)
        axes.plot([low, high], [place, place], color=COLOURS[kind], linewidth=1.5)
        axes.barh(place, three_quarters - quarter, left=quarter, height=0.5, color=COLOURS[kind], alpha=0.5)
        axes.plot([median, median], [place - 0.25, place + 0.25], color=COLOURS[kind], linewidth=3)
        axes.plot(float(outcome.ious.mean()), place, "D", color="black", markersize=5)
        axes.text(1.04, place, f"{outcome.ious.mean():.3f}", va="center", fontsize=9)
    axes.set_yticks(range(len(outcomes)), list(outcomes))
    axes.invert_yaxis()
    axes.set(xlim=(-0.02, 1.15), xticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.set_xlabel(
        f"IoU after {STEPS} steps\nline 5 to 95 %, box 25 to 75 %, bar median, diamond and number mean", fontsize=9
    )
    axes.grid(alpha=0.4, axis="x", linewidth=0.5)


def main() -> int:
    """Regress, print, draw and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", choices=BOX_LOSSES, action="append", help="all by default")
    parser.add_argument("--quick", action="store_true", help="50 points in each setup")
    parser.add_argument("--pixels", type=float, default=75.0, help="side of a square target in pixels")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "figures", help="folder of the figures")
    options = parser.parse_args()
    failures = []
    for setup in SETUPS:
        anchors, targets = pairs(setup, 50 if options.quick else setup.points)
        print(f"{setup.name}, {len(anchors)} pairs\n{heading()}", flush=True)
        outcomes = {}
        for kind in options.loss or BOX_LOSSES:
            outcomes[kind] = regress(anchors, targets, kind, unit=options.pixels / AREA**0.5)
            print(line(kind, outcomes[kind]), flush=True)
        print()
        draw(setup, outcomes, options.out / f"box_regression_{setup.name}.png")
        failures += [f"{setup.name}: {problem}" for problem in broken_order(outcomes)]
    print("\n".join(failures) or "Nothing contradicts the paper's order of mean IoU: eiou > giou, ciou > iou.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
