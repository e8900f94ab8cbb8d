"""The arithmetic of the simulation in `benchmarks/box_regression.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import box_regression as simulation

LARGE, SMALL = simulation.SETUPS


def test_setups_are_those_of_the_paper():
    assert LARGE.points * len(LARGE.areas) * len(LARGE.ratios) ** 2 == 1000 * 7 * 7 * 7
    assert SMALL.points * len(SMALL.areas) * len(SMALL.ratios) ** 2 == 100 * 3 * 3 * 3
    for setup in (LARGE, SMALL):
        anchors, targets = simulation.pairs(setup, 40)
        sides, target_sides = anchors[:, 2:] - anchors[:, :2], targets[:, 2:] - targets[:, :2]
        assert {round(area) for area in sides.prod(-1).tolist()} == set(setup.areas)
        assert target_sides.prod(-1).numpy() == pytest.approx(100, rel=1e-5)
        ratios = {round(float(ratio), 3) for ratio in target_sides[:, 0] / target_sides[:, 1]}
        assert ratios == {round(ratio, 3) for ratio in setup.ratios}
        assert ((targets[:, :2] + targets[:, 2:]) / 2).numpy() == pytest.approx(10, rel=1e-5)
        distances = ((anchors[:, :2] + anchors[:, 2:]) / 2 - 10).abs()
        assert 0.4 * setup.square < distances.max() <= setup.square / 2 + 1e-4


def test_every_anchor_goes_to_every_target():
    anchors, targets = simulation.pairs(SMALL, 2)
    rows = torch.cat([anchors, targets], -1)
    assert len(rows) == len({tuple(row) for row in rows.tolist()}) == 2 * 9 * 3
    assert len({tuple(row) for row in anchors.tolist()}) == 2 * 9
    assert len({tuple(row) for row in targets.tolist()}) == 3


def test_steps_shrink_at_80_and_90_percent():
    sizes = [simulation.step_size(step) for step in range(1, 201)]
    assert sizes == [1.0] * 160 + [0.1] * 20 + [0.01] * 20


def test_error_is_the_difference_in_centre_and_sides():
    boxes = torch.tensor([[0.0, 0, 4, 2], [1, 1, 2, 2]])
    targets = torch.tensor([[1.0, 0, 3, 6], [1, 1, 2, 2]])  # centre (2, 3) instead of (2, 1), sides 2 x 6 not 4 x 2
    assert simulation.error(boxes, targets) == 2 + 2 + 4


def test_a_step_is_the_gradient_times_two_minus_iou():
    anchor, target = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[2.0, -5, 12, 15]])
    outcome = simulation.regress(anchor, target, "iou", unit=3.0, steps=2)
    # They share 8 x 10 of a union of 220. Moving the left edge changes the union by 10 per unit, the right one the
    # overlap by 10, the upper and the lower one the overlap by 8 and the union by 2.
    left, right, lower = -(80 * 10) / 220**2, -10 / 220, -(8 * 220 - 80 * 2) / 220**2
    step = 2 - 80 / 220
    box = torch.tensor([[-step * left, step * lower, 10 - step * right, 10 - step * lower]])
    assert outcome.errors[:2].tolist() == pytest.approx([12.0, simulation.error(box, target)], rel=1e-6)


def test_a_longer_run_ends_nearer_and_the_order_is_the_papers():
    anchors, targets = simulation.pairs(SMALL, 4)
    outcomes = {
        kind: simulation.regress(anchors, targets, kind, unit=7.5) for kind in ("eiou", "giou", "ciou", "iou")
    }
    assert simulation.broken_order(outcomes) == []
    for outcome in outcomes.values():
        assert outcome.errors[-1] < outcome.errors[50] < outcome.errors[0]
    swapped = outcomes | {"eiou": outcomes["iou"], "iou": outcomes["eiou"]}
    assert simulation.broken_order(swapped) == [
        "eiou is not better than giou",
        "eiou is not better than ciou",
        "giou is not better than iou",
        "ciou is not better than iou",
    ]


def test_figures_are_written(tmp_path: Path):
    anchors, targets = simulation.pairs(SMALL, 1)
    outcomes = {
        kind: simulation.regress(anchors, targets, kind, unit=7.5, steps=3) for kind in simulation.BOX_LOSSES
    }
    file = tmp_path / "new" / "figure.png"
    simulation.draw(SMALL, outcomes, file)
    assert file.read_bytes().startswith(b"\x89PNG")
    assert set(simulation.COLOURS) == set(outcomes)
