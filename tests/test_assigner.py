"""Which anchors become positives, and what they learn."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.yolo12.process import prepare_process

prepare_process()

from ultralytics.utils.tal import TaskAlignedAssigner  # noqa: E402

from workers.yolo12.assigner import RecipeAssigner  # noqa: E402

STOCK = {"topk": 10, "alpha": 0.5, "beta": 6.0, "stride": [8, 16, 32]}

# One picture of 64x64 px, an anchor every 8 px, one object of 32x32 px: 16 candidates.
OBJECT = (8.0, 8.0, 40.0, 40.0)
GRID = torch.cartesian_prod(torch.arange(4.0, 64, 8), torch.arange(4.0, 64, 8))
BEST, TALL, MIDDLE, HALF, LOW, SHIFTED, FLAT, SMALL = range(8)
PREDICTED = {  # centre of the anchor, box that it predicts
    BEST: ((12, 12), OBJECT),  # IoU 1
    TALL: ((20, 12), (8, 8, 40, 34)),  # 26/32 = 0.8125
    MIDDLE: ((28, 12), (8, 8, 40, 28)),  # 20/32 = 0.625
    HALF: ((36, 12), (8, 8, 40, 24)),  # 16/32, exactly a half
    LOW: ((12, 20), (8, 8, 40, 20)),  # 12/32 = 0.375
    SHIFTED: ((28, 20), (24, 8, 56, 40)),  # 16/48 = 0.333
    FLAT: ((36, 20), (8, 8, 40, 18)),  # 10/32 = 0.3125, and its CIoU is below 0.26
    SMALL: ((20, 20), (8, 8, 40, 16)),  # 8/32 = 0.25
}
OUTSIDE = (60, 60)
"""An anchor that predicts the object exactly, but does not lie in it."""


def anchor(centre) -> int:
    return int((torch.tensor(centre) == GRID).all(-1).nonzero())


def one_object(dtype=torch.float32):
    """Arguments of an assignment, where all anchors give the object's class a score of a half."""
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5]]).repeat(len(GRID), 1)
    for centre, box in PREDICTED.values():
        boxes[anchor(centre)] = torch.tensor(box)
    boxes[anchor(OUTSIDE)] = torch.tensor(OBJECT)
    scores = torch.full((1, len(GRID), 3), 0.5)
    objects = torch.tensor([[OBJECT]])
    return (
        scores.to(dtype),
        boxes[None].to(dtype),
        GRID.to(dtype),
        torch.tensor([[[2.0]]]).to(dtype),
        objects.to(dtype),
        torch.ones(1, 1, 1).to(dtype),
    )


def positives(foreground) -> set[tuple[int, ...]]:
    return {tuple(int(value) for value in centre) for centre in GRID[foreground]}


def centres(*names) -> set[tuple[int, ...]]:
    return {PREDICTED[name][0] for name in names}


EXPECTED = [
    (None, (BEST,)),
    (0.8, (BEST, TALL)),
    (0.5, (BEST, TALL, MIDDLE)),
    (0.3, (BEST, TALL, MIDDLE, HALF, LOW, SHIFTED, FLAT)),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("threshold", "expected"), EXPECTED)
def test_candidates_above_the_threshold_are_positives_beside_the_best(threshold, expected, dtype) -> None:
    assigner = RecipeAssigner(assign_iou=threshold, num_classes=3, **STOCK | {"topk": 1})
    labels, boxes, scores, foreground, item = assigner(*one_object(dtype))
    assert positives(foreground[0]) == centres(*expected)
    assert (labels[foreground] == 2).all()
    assert (boxes[foreground] == torch.tensor(OBJECT).to(dtype)).all()
    assert (item[foreground] == 0).all()
    assert (scores[~foreground] == 0).all()


def test_areas_beyond_float16_do_not_matter() -> None:
    """Boxes of 512 px, whose areas are infinite there; all coordinates are exact."""
    scores, boxes, points, labels, objects, real = one_object(torch.float16)
    assigner = RecipeAssigner(assign_iou=0.5, num_classes=3, **STOCK | {"topk": 1})
    foreground = assigner(scores, boxes * 16, points * 16, labels, objects * 16, real)[3]
    assert positives(foreground[0]) >= centres(BEST, TALL, MIDDLE)
    assert not positives(foreground[0]) & centres(HALF, LOW, SHIFTED, SMALL)


def test_a_positive_counts_by_its_alignment() -> None:
    """With equal class scores the alignment is CIoU^6, and the best one's score is its CIoU, here 1."""
    assigner = RecipeAssigner(assign_iou=0.5, num_classes=3, **STOCK | {"topk": 1})
    scores = assigner(*one_object())[2][0]
    # Equal widths, heights 26 and 32: the centres are 3 px apart, in a hull of 32x32 px.
    v = 4 / torch.pi**2 * (torch.pi / 4 - torch.atan(torch.tensor(32 / 26))) ** 2
    ciou = 26 / 32 - 9 / 2048 - v * v / (1 - 26 / 32 + v)
    expected = torch.stack([torch.tensor(0.0), torch.tensor(0.0), ciou**6])
    torch.testing.assert_close(scores[anchor(PREDICTED[TALL][0])], expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(scores[anchor(PREDICTED[BEST][0])], torch.tensor([0.0, 0.0, 1.0]), rtol=1e-5, atol=0)


def test_an_anchor_that_two_objects_want_goes_to_the_one_it_overlaps_most() -> None:
    """A second object, 24 px wide, lies in the first: whose lower 24x32 px predict it better are its own."""
    scores, boxes, points, labels, objects, _ = one_object()
    narrow = torch.tensor([8.0, 8.0, 32.0, 40.0])
    objects = torch.stack([objects[0, 0], narrow])[None]
    labels = torch.tensor([[[2.0], [1.0]]])
    boxes[0, anchor((12, 28))] = torch.tensor([8.0, 8.0, 30.0, 40.0])  # IoU 22/32 and 22/24
    boxes[0, anchor((20, 28))] = torch.tensor([8.0, 8.0, 38.0, 40.0])  # IoU 30/32 and 24/30
    assigner = RecipeAssigner(assign_iou=0.6, num_classes=3, **STOCK | {"topk": 1})
    found, _, _, foreground, item = assigner(scores, boxes, points, labels, objects, torch.ones(1, 2, 1))
    assert foreground[0, anchor((12, 28))]
    assert foreground[0, anchor((20, 28))]
    assert (item[0, anchor((12, 28))], found[0, anchor((12, 28))]) == (1, 1)
    assert (item[0, anchor((20, 28))], found[0, anchor((20, 28))]) == (0, 2)


def test_padding_has_no_positives() -> None:
    scores, boxes, points, labels, objects, _ = one_object()
    padded = torch.cat([objects, objects], 1), torch.tensor([[[0.0], [1.0]]])
    found = RecipeAssigner(assign_iou=0.3, num_classes=3, **STOCK)(
        scores, boxes, points, labels.repeat(1, 2, 1), *padded
    )
    assert (found[4][found[3]] == 1).all()
    nothing = RecipeAssigner(assign_iou=0.3, num_classes=3, **STOCK)(
        scores, boxes, points, labels, objects, torch.zeros(1, 1, 1)
    )
    assert not nothing[3].any()


def test_no_objects_at_all() -> None:
    scores, boxes, points, *_ = one_object()
    assigner = RecipeAssigner(assign_iou=0.3, label_smoothing=0.1, num_classes=3, **STOCK)
    _, _, targets, foreground, _ = assigner(
        scores, boxes, points, torch.zeros(1, 0, 1), torch.zeros(1, 0, 4), torch.zeros(1, 0, 1)
    )
    assert not foreground.any()
    assert not targets.any()


@st.composite
def scenes(draw):
    """Random predictions near random objects, on the anchors of a picture of 64 px: arguments of an assignment."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    pictures, items, classes = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    low = torch.rand(pictures, items, 2, generator=generator) * 40
    objects = torch.cat([low, low + 2 + torch.rand(pictures, items, 2, generator=generator) * 40], -1)
    copied = torch.randint(items, (pictures, len(GRID)), generator=generator)
    boxes = objects.gather(1, copied.unsqueeze(-1).expand(-1, -1, 4))
    boxes = boxes + torch.randn(boxes.shape, generator=generator) * draw(st.sampled_from([0.5, 4.0]))
    boxes[..., 2:] = boxes[..., :2] + (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    count = torch.randint(0, items + 1, (pictures, 1, 1), generator=generator)
    real = (torch.arange(items).view(1, -1, 1) < count).float()
    return (
        torch.rand(pictures, len(GRID), classes, generator=generator),
        boxes,
        GRID,
        torch.randint(classes, (pictures, items, 1), generator=generator).float() * real,
        objects * real,
        real,
    )


def of(scene, **options) -> RecipeAssigner:
    return RecipeAssigner(num_classes=scene[0].shape[-1], **STOCK, **options)


@settings(deadline=None, max_examples=40)
@given(scenes())
def test_without_options_it_is_stock(scene) -> None:
    stock = TaskAlignedAssigner(num_classes=scene[0].shape[-1], **STOCK)(*scene)
    for expected, ours in zip(stock, of(scene)(*scene), strict=True):
        assert ours.dtype == expected.dtype
        assert torch.equal(ours, expected)


@settings(deadline=None, max_examples=40)
@given(scenes(), st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_a_lower_threshold_only_adds_positives(scene, thresholds) -> None:
    fewer = of(scene)(*scene)[3]
    for threshold in sorted(thresholds, reverse=True):
        more = of(scene, assign_iou=threshold)(*scene)[3]
        assert more[fewer].all()
        fewer = more


@settings(deadline=None, max_examples=40)
@given(scenes(), st.floats(0.05, 0.95))
def test_the_positives_by_definition(scene, threshold) -> None:
    """Stock's, and every anchor in an object that overlaps it enough; sides below 16 px count as 16 px there."""
    _, boxes, points, _, objects, real = scene
    low, high = objects[..., :2], objects[..., 2:]
    middle, reach = (low + high) / 2, (high - low).clamp(min=16) / 2
    inside = ((points - middle.unsqueeze(2)).abs() < reach.unsqueeze(2)).all(-1)
    shared = torch.minimum(high.unsqueeze(2), boxes[:, None, :, 2:]) - torch.maximum(
        low.unsqueeze(2), boxes[:, None, :, :2]
    )
    shared = shared.clamp(min=0).prod(-1)
    total = (high - low).prod(-1, keepdim=True) + (boxes[..., 2:] - boxes[..., :2]).prod(-1).unsqueeze(1) - shared
    overlapping = ((shared / total > threshold) & inside & real.bool()).any(1)
    expected = of(scene)(*scene)[3] | overlapping
    assert torch.equal(of(scene, assign_iou=threshold)(*scene)[3], expected)


@pytest.mark.parametrize("options", [{}, {"assign_iou": 0.3, "label_smoothing": 0.1}])
def test_one_picture_at_a_time_gives_the_same(options, monkeypatch) -> None:
    """Ultralytics goes through the pictures one by one when a batch does not fit into the memory of the GPU."""
    generator = torch.Generator().manual_seed(0)
    objects = torch.tensor([[OBJECT, (4.0, 4.0, 30.0, 30.0)], [(20.0, 20.0, 60.0, 60.0), (0.0,) * 4]])
    real = torch.tensor([[[1.0], [1.0]], [[1.0], [0.0]]])
    boxes = objects[:, :1].repeat(1, len(GRID), 1) + torch.randn(2, len(GRID), 4, generator=generator)
    scores = torch.rand(2, len(GRID), 3, generator=generator)
    scene = scores, boxes, GRID, torch.tensor([[[1.0], [2.0]], [[0.0], [0.0]]]), objects, real
    expected = of(scene, **options)(*scene)
    whole = RecipeAssigner._forward

    def only_one(self, scores, *rest):
        if len(scores) > 1:
            raise RuntimeError("CUDA out of memory")
        return whole(self, scores, *rest)

    monkeypatch.setattr(RecipeAssigner, "_forward", only_one)
    for one, both in zip(of(scene, **options)(*scene), expected, strict=True):
        torch.testing.assert_close(one, both)
    assert expected[3].sum() > 10


@settings(deadline=None, max_examples=40)
@given(scenes(), st.floats(0, 1))
def test_smoothed_targets_by_definition(scene, share) -> None:
    labels, boxes, hard, foreground, item = of(scene)(*scene)
    found = of(scene, label_smoothing=share)(*scene)
    for expected, ours in zip((labels, boxes, foreground, item), (*found[:2], *found[3:]), strict=True):
        assert torch.equal(ours, expected)
    classes = hard.shape[-1]
    score = hard.sum(-1, keepdim=True)
    true = torch.nn.functional.one_hot(labels, classes).bool()
    expected = torch.where(true, (1 - share) + share / classes, torch.tensor(share / classes)) * score
    torch.testing.assert_close(found[2], expected)
    torch.testing.assert_close(found[2].sum(-1, keepdim=True), score)
    assert not found[2][~foreground].any()


def test_the_slides_example_of_smoothing() -> None:
    """Five classes and a = 0.1: the fourth class gets 0.92 and the others 0.02, here of a score of 1."""
    scene = torch.full((1, len(GRID), 5), 0.5), *one_object()[1:3], torch.tensor([[[3.0]]]), *one_object()[4:]
    scores = of(scene, label_smoothing=0.1)(*scene)[2]
    expected = torch.tensor([0.02, 0.02, 0.02, 0.92, 0.02])
    torch.testing.assert_close(scores[0, anchor(PREDICTED[BEST][0])], expected, rtol=1e-5, atol=0)


def test_a_single_class_cannot_be_smoothed() -> None:
    scene = torch.full((1, len(GRID), 1), 0.5), *one_object()[1:3], torch.zeros(1, 1, 1), *one_object()[4:]
    assigner = of(scene, label_smoothing=0.3)
    assert assigner.label_smoothing == 0
    assert torch.equal(assigner(*scene)[2], of(scene)(*scene)[2])


@pytest.mark.parametrize("name", ["assign_iou", "label_smoothing"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_values_out_of_range_are_refused(name, value) -> None:
    with pytest.raises(ValueError, match=f"{name} must lie between 0 and 1"):
        RecipeAssigner(num_classes=2, **{name: value})
