"""The training loss of a recipe, on hand-made boxes and on a real model."""

from __future__ import annotations

import copy
import math
import zipfile

import pytest

from tiny_training import squares, trainer_of
from workers.yolo12.process import prepare_process
from workers.yolo12.recipe import BOX_LOSSES, Recipe

prepare_process()

import torch  # noqa: E402
from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402
from ultralytics.utils.loss import BboxLoss, v8DetectionLoss  # noqa: E402
from ultralytics.utils.metrics import bbox_iou  # noqa: E402
from ultralytics.utils.tal import TaskAlignedAssigner  # noqa: E402
from ultralytics.utils.torch_utils import unwrap_model  # noqa: E402

from workers.yolo12.architectures import architecture  # noqa: E402
from workers.yolo12.criterion import RecipeBboxLoss, RecipeLoss  # noqa: E402
from workers.yolo12.losses import box_loss  # noqa: E402
from workers.yolo12.trainer import TrialTrainer  # noqa: E402

CLASSES = 5
SIDE = 96


def detector(classes: int = CLASSES) -> DetectionModel:
    torch.manual_seed(0)
    model = DetectionModel(architecture("yolo12p"), nc=classes, verbose=False)
    model.args = get_cfg()
    return model.train()


@pytest.fixture(scope="module")
def model() -> DetectionModel:
    return detector()


def objects(*rows: tuple[float, ...], pictures: int = 2, side: int = SIDE):
    """A batch of noise with objects of picture, class, and centre and sides as shares of the picture."""
    table = torch.tensor(rows).reshape(-1, 6)
    generator = torch.Generator().manual_seed(1)
    return {
        "img": torch.rand(pictures, 3, side, side, generator=generator),
        "batch_idx": table[:, 0],
        "cls": table[:, 1:2],
        "bboxes": table[:, 2:],
    }


BATCHES = {
    "full": objects((0, 1, 0.4, 0.4, 0.5, 0.3), (0, 4, 0.6, 0.7, 0.2, 0.4), (1, 0, 0.5, 0.5, 0.9, 0.8)),
    "one picture is empty": objects((1, 2, 0.3, 0.6, 0.1, 0.7)),
    "nothing": objects(),
    "small pictures": objects((0, 3, 0.5, 0.5, 0.4, 0.4), side=64),
}


def leaves(model: DetectionModel, batch, dtype=torch.float32):
    """Predictions on a batch as a criterion gets them, but as leaves of the graph."""
    with torch.no_grad():
        predictions = model(batch["img"])
    for name in ("boxes", "scores"):
        predictions[name] = predictions[name].to(dtype).requires_grad_()
    predictions["feats"] = [feature.to(dtype) for feature in predictions["feats"]]
    return predictions


def evaluated(criterion, predictions, batch):
    """Losses (box, class, distribution) and the gradients of their sum."""
    losses, items = criterion(predictions, batch)
    assert all(
        torch.equal(item, loss) for item, loss in zip(items.values(), losses / len(batch["img"]), strict=True)
    )
    return losses, *torch.autograd.grad(losses.sum(), [predictions["boxes"], predictions["scores"]])


class TestStock:
    """With the default recipe."""

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    @pytest.mark.parametrize("name", BATCHES)
    def test_losses_and_gradients_are_bit_for_bit_those_of_ultralytics(self, model, name, dtype):
        batch = BATCHES[name]
        predictions = leaves(model, batch, dtype)
        expected = evaluated(v8DetectionLoss(model), predictions, batch)
        for ours, theirs in zip(evaluated(RecipeLoss(model, Recipe()), predictions, batch), expected, strict=True):
            assert torch.equal(ours, theirs)

    def test_the_gradients_of_the_model_too(self, model):
        batch = BATCHES["full"]
        found = []
        for criterion in (v8DetectionLoss(model), RecipeLoss(model, Recipe())):
            copied = copy.deepcopy(model)
            criterion(copied(batch["img"]), batch)[0].sum().backward()
            found.append([weight.grad for weight in copied.parameters() if weight.requires_grad])
        assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
        assert all(torch.isfinite(gradient).all() for gradient in found[0])

    def test_weights_of_classes_still_count(self, model):
        weighted = copy.copy(model)
        weighted.class_weights = torch.tensor([0.5, 2.0, 1.0, 1.0, 0.5])
        predictions = leaves(model, BATCHES["full"])
        expected, ours = (
            evaluated(criterion, predictions, BATCHES["full"])
            for criterion in (v8DetectionLoss(weighted), RecipeLoss(weighted, Recipe()))
        )
        assert all(torch.equal(*pair) for pair in zip(ours, expected, strict=True))
        assert not torch.equal(expected[0], evaluated(v8DetectionLoss(model), predictions, BATCHES["full"])[0])

    def test_the_assigner_is_ultralytics_own(self, model):
        assert type(RecipeLoss(model, Recipe()).assigner) is TaskAlignedAssigner


# Boxes in units of the stride: predicted, to be predicted. The first pair overlaps, the second less, the third not.
PREDICTED = torch.tensor([[0.5, 0.5, 4.0, 3.0], [2.0, 1.0, 3.0, 6.0], [0.0, 0.0, 1.0, 1.0], [9.0, 9.0, 9.5, 9.5]])
WANTED = torch.tensor([[1.0, 0.0, 4.0, 4.0], [1.0, 2.0, 5.0, 5.0], [2.0, 2.0, 4.0, 3.0], [0.0, 0.0, 1.0, 1.0]])
SCORES = torch.tensor([[0.2, 0.1], [0.0, 0.9], [0.4, 0.0], [0.0, 0.0]])
"""The fourth anchor is background."""


def regress(kind: str, strides: list[float], normaliser: float = 1.6, **options):
    """The box loss of the three positives, as if in a batch of two pictures, and the loss of the distribution."""
    loss = RecipeBboxLoss(16, Recipe(box_loss=kind, **options))
    foreground = torch.tensor([[True, False, True, False], [False, True, False, False]])
    generator = torch.Generator().manual_seed(0)
    predicted = PREDICTED.repeat(2, 1, 1).requires_grad_()
    box, distribution = loss(
        torch.randn(2, 4, 64, generator=generator),
        predicted,
        torch.full((4, 2), 2.5),
        WANTED.repeat(2, 1, 1),
        SCORES.repeat(2, 1, 1) * foreground.unsqueeze(-1),
        torch.tensor(normaliser),
        foreground,
        torch.tensor([96.0, 96.0]),
        torch.tensor(strides).unsqueeze(-1),
    )
    (gradient,) = torch.autograd.grad(box, predicted)
    assert not gradient[~foreground].any()
    return box.item(), distribution.item()


WEIGHTS = (0.3, 0.9, 0.4)


def measure(box, wanted):
    """Plain IoU, rho^2/c^2, v and the geometric mean side, in the units of the boxes."""
    w, h, width, height = box[2] - box[0], box[3] - box[1], wanted[2] - wanted[0], wanted[3] - wanted[1]
    shared = [max(min(box[i + 2], wanted[i + 2]) - max(box[i], wanted[i]), 0) for i in (0, 1)]
    hull = [max(box[i + 2], wanted[i + 2]) - min(box[i], wanted[i]) for i in (0, 1)]
    offset = [(box[i] + box[i + 2] - wanted[i] - wanted[i + 2]) / 2 for i in (0, 1)]
    iou = math.prod(shared) / (w * h + width * height - math.prod(shared))
    distance = (offset[0] ** 2 + offset[1] ** 2) / (hull[0] ** 2 + hull[1] ** 2)
    v = 4 / math.pi**2 * (math.atan(width / height) - math.atan(w / h)) ** 2
    shape = (w - width) ** 2 / hull[0] ** 2 + (h - height) ** 2 / hull[1] ** 2
    return iou, distance, v, shape, (w * h * width * height) ** 0.25


def pairs():
    return [measure(*pair) for pair in zip(PREDICTED[:3].tolist(), WANTED[:3].tolist(), strict=True)]


class TestBoxLoss:
    @pytest.mark.parametrize("strides", [[8.0] * 4, [32.0] * 4, [8.0, 16.0, 32.0, 8.0]])
    @pytest.mark.parametrize("size", ["side", "area"])
    def test_elastic_takes_the_size_in_pixels(self, strides, size):
        expected = 0.0
        for (iou, distance, v, _, side), weight, stride in zip(pairs(), WEIGHTS, strides[:3], strict=True):
            pixels = side * stride if size == "side" else (side * stride) ** 2
            expected += weight * (1 - iou + distance + 1.2 * math.tanh(pixels / 90) * v) / 1.6
        found = regress("elastic", strides, elastic_beta=1.2, elastic_tau=90.0, elastic_size=size)[0]
        assert found == pytest.approx(expected, rel=1e-5)

    def test_the_same_shapes_at_another_stride_differ_by_the_penalty_alone(self):
        change = sum(
            weight * 1.5 * v * (math.tanh(32 * side / 75) - math.tanh(8 * side / 75))
            for (_, _, v, _, side), weight in zip(pairs(), WEIGHTS, strict=True)
        )
        found = regress("elastic", [32.0] * 4)[0] - regress("elastic", [8.0] * 4)[0]
        assert found == pytest.approx(change / 1.6, rel=1e-4)
        assert found > 0.01

    @pytest.mark.parametrize("kind", BOX_LOSSES)
    def test_every_kind_is_its_loss_on_boxes_in_pixels(self, kind):
        strides = torch.tensor([8.0, 16.0, 32.0]).unsqueeze(-1)
        values = box_loss(PREDICTED[:3] * strides, WANTED[:3] * strides, kind, gamma=0.0)
        expected = (values * torch.tensor(WEIGHTS)).sum().item() / 1.6
        assert regress(kind, [8.0, 16.0, 32.0, 8.0], focal_gamma=0.0)[0] == pytest.approx(expected, rel=1e-4)

    def test_in_focal_eiou_the_scores_multiply_both_sums(self):
        """The paper's Eq. 11 with scores as weights, on the scale of the others: times sum(score) / normaliser."""
        above = below = 0.0
        for (iou, distance, _, shape, _), weight in zip(pairs(), WEIGHTS, strict=True):
            above += weight * iou**0.7 * (1 - iou + distance + shape)
            below += weight * iou**0.7
        found = regress("focal_eiou", [8.0] * 4, focal_gamma=0.7)[0]
        assert found == pytest.approx(above / below, rel=1e-5)
        found = regress("focal_eiou", [8.0] * 4, normaliser=3.2, focal_gamma=0.7)[0]
        assert found == pytest.approx(above / below / 2, rel=1e-5)

    @pytest.mark.parametrize(
        ("kind", "options"),
        [
            ("elastic", {"elastic_beta": 3.0}),
            ("elastic", {"elastic_tau": 10.0}),
            ("elastic", {"elastic_size": "area"}),
            ("elastic_weighted", {"elastic_beta": 3.0}),
            ("elastic_weighted", {"elastic_tau": 10.0}),
            ("focal_eiou", {"focal_gamma": 2.0}),
            ("focal_l1", {"focal_l1_beta": 0.5}),
        ],
    )
    def test_an_option_changes_its_loss(self, kind, options):
        strides = [8.0, 8.0, 8.0, 8.0]
        assert regress(kind, strides, **options)[0] != pytest.approx(regress(kind, strides)[0], rel=1e-3)

    def test_ciou_is_ultralytics_own(self):
        """Bit for bit; the other loss differs by rounding, for it clamps elsewhere."""
        foreground = torch.tensor([[True, True, True, False]])
        arguments = (
            torch.randn(1, 4, 64, generator=torch.Generator().manual_seed(0)),
            PREDICTED[None],
            torch.full((4, 2), 2.5),
            WANTED[None],
            SCORES[None],
            torch.tensor(1.6),
            foreground,
            torch.tensor([96.0, 96.0]),
            torch.full((4, 1), 8.0),
        )
        expected = BboxLoss(16)(*arguments)
        assert all(
            torch.equal(*pair) for pair in zip(RecipeBboxLoss(16, Recipe())(*arguments), expected, strict=True)
        )

    def test_the_loss_of_the_distribution_is_the_same_for_all(self):
        found = {regress(kind, [8.0, 16.0, 32.0, 8.0])[1] for kind in BOX_LOSSES}
        assert len(found) == 1
        assert found.pop() > 0

    def test_an_unknown_kind_is_refused(self):
        with pytest.raises(ValueError, match=r"a box loss is one of iou, .*, but got 'siou'"):
            RecipeBboxLoss(16, Recipe(box_loss="siou"))


RECIPES = [Recipe(box_loss=kind) for kind in BOX_LOSSES] + [
    Recipe(box_loss="elastic", assign_iou=0.05, label_smoothing=0.1)
]


class TestRobustness:
    @pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.box_loss)
    def test_a_batch_without_objects_has_no_box_loss_but_a_graph(self, model, recipe):
        batch = BATCHES["nothing"]
        losses, boxes, scores = evaluated(RecipeLoss(model, recipe), leaves(model, batch), batch)
        assert losses[0] == 0
        assert losses[2] == 0
        assert losses[1] > 0
        assert not boxes.any()
        assert scores.any()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.box_loss)
    def test_losses_and_gradients_are_finite_in_every_precision(self, model, recipe, dtype):
        batch = BATCHES["full"]
        losses, boxes, scores = evaluated(RecipeLoss(model, recipe), leaves(model, batch, dtype), batch)
        assert torch.isfinite(losses).all()
        assert losses[0] > 0
        assert torch.isfinite(boxes).all()
        assert torch.isfinite(scores).all()
        assert boxes.any()

    @pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.box_loss)
    def test_the_model_gets_finite_gradients_under_autocast(self, model, recipe):
        copied = copy.deepcopy(model)
        with torch.autocast("cpu", torch.bfloat16):
            losses, _ = RecipeLoss(copied, recipe)(copied(BATCHES["full"]["img"]), BATCHES["full"])
        losses.sum().backward()
        gradients = [weight.grad for weight in copied.parameters() if weight.requires_grad]
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        assert any(gradient.any() for gradient in gradients)

    def test_copies_are_equal_and_independent(self, model):
        criterion = RecipeLoss(model, RECIPES[-1])
        copied = copy.deepcopy(criterion)
        predictions = leaves(model, BATCHES["full"])
        for pair in zip(
            *(evaluated(one, predictions, BATCHES["full"]) for one in (criterion, copied)), strict=True
        ):
            assert torch.equal(*pair)
        assert copied.effective() == criterion.effective()
        copied.assigner.assign_iou = 0.7
        assert criterion.effective()["assign_iou"] == 0.05


class TestTargets:
    def test_smoothing_changes_the_class_loss_alone_and_by_its_formula(self, model):
        batch, predictions = BATCHES["full"], leaves(model, BATCHES["full"])
        stock = v8DetectionLoss(model)
        entropy, seen = stock.bce, []
        stock.bce = lambda scores, targets: seen.append((scores, targets)) or entropy(scores, targets)
        expected = evaluated(stock, predictions, batch)[0]
        ((scores, hard),) = seen
        smooth = 0.9 * hard + 0.1 / CLASSES * hard.sum(-1, keepdim=True)
        classes = entropy(scores, smooth).sum() / hard.sum().clamp(min=1) * stock.hyp.cls * len(batch["img"])
        found = evaluated(RecipeLoss(model, Recipe(label_smoothing=0.1)), predictions, batch)[0]
        torch.testing.assert_close(found[[0, 2]], expected[[0, 2]], rtol=1e-5, atol=0)
        torch.testing.assert_close(found[1], classes, rtol=1e-5, atol=0)
        assert not torch.isclose(found[1], expected[1], rtol=1e-5)

    def test_more_positives_come_from_the_threshold(self, model):
        batch, predictions = BATCHES["full"], leaves(model, BATCHES["full"])
        counts = [
            int(RecipeLoss(model, recipe).get_assigned_targets_and_loss(predictions, batch)[0][0].sum())
            for recipe in (Recipe(), Recipe(assign_iou=0.5), Recipe(assign_iou=0.3), Recipe(assign_iou=0.05))
        ]
        assert counts == sorted(counts)
        assert counts[0] < counts[-1]


class TestEffective:
    @pytest.mark.parametrize(
        ("recipe", "used"),
        [
            (Recipe(), {"box_loss": "ciou"}),
            (Recipe(box_loss="eiou", elastic_beta=2.0), {"box_loss": "eiou"}),
            (
                Recipe(box_loss="elastic", elastic_beta=2.0, focal_gamma=1.0),
                {"box_loss": "elastic", "elastic_beta": 2.0, "elastic_tau": 75.0, "elastic_size": "side"},
            ),
            (
                Recipe(box_loss="elastic_weighted", elastic_tau=9.0, elastic_size="area"),
                {"box_loss": "elastic_weighted", "elastic_beta": 1.5, "elastic_tau": 9.0, "elastic_size": "area"},
            ),
            (Recipe(box_loss="focal_eiou", focal_gamma=1.0), {"box_loss": "focal_eiou", "focal_gamma": 1.0}),
            (Recipe(box_loss="focal_l1"), {"box_loss": "focal_l1", "focal_l1_beta": 0.8}),
            (Recipe(assign_iou=0.6, label_smoothing=0.2), {"assign_iou": 0.6, "label_smoothing": 0.2}),
        ],
    )
    def test_what_a_part_does_not_use_is_none(self, model, recipe, used):
        nothing = dict.fromkeys(
            ["elastic_beta", "elastic_tau", "elastic_size", "focal_gamma", "focal_l1_beta", "assign_iou"]
        )
        expected = nothing | {"box_loss": "ciou", "label_smoothing": 0.0} | used
        assert RecipeLoss(model, recipe).effective() == expected

    def test_a_single_class_is_not_smoothed(self):
        single = detector(classes=1)
        assert RecipeLoss(single, Recipe(label_smoothing=0.2)).effective()["label_smoothing"] == 0.0

    def test_a_value_out_of_range_is_refused(self, model):
        with pytest.raises(ValueError, match=r"assign_iou must lie between 0 and 1, but got 1\.5"):
            RecipeLoss(model, Recipe(assign_iou=1.5))


ROWS = [
    (0, 0, 0.4, 0.4, 0.6, 0.5),
    (1, 1, 0.5, 0.6, 0.5, 0.7),
    (2, 2, 0.6, 0.4, 0.7, 0.4),
    (3, 3, 0.5, 0.5, 0.8, 0.8),
]


def mean_overlap(criterion, model, batch) -> float:
    """Mean plain IoU of the predicted boxes with the objects that Ultralytics assigns to them."""
    predictions = model(batch["img"])
    (foreground, _, wanted, points, strides), *_ = criterion.get_assigned_targets_and_loss(predictions, batch)
    boxes = criterion.bbox_decode(points, predictions["boxes"].permute(0, 2, 1)) * strides
    return bbox_iou(boxes[foreground], wanted[foreground], xywh=False).mean().item()


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOX_LOSSES)
def test_a_box_loss_alone_teaches_a_model_to_find_boxes(kind):
    """Without the distribution loss, which would do so by itself."""
    model, batch = detector(), objects(*ROWS, pictures=4, side=64)
    model.args.dfl = model.args.cls = 0.0
    stock, criterion = v8DetectionLoss(model), RecipeLoss(model, Recipe(box_loss=kind))
    with torch.no_grad():
        before = mean_overlap(stock, model, batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(15):
        optimizer.zero_grad()
        losses, _ = criterion(model(batch["img"]), batch)
        losses.sum().backward()
        optimizer.step()
    with torch.no_grad():
        after = mean_overlap(stock, model, batch)
    assert after > before + 0.05


class _Trainer(TrialTrainer):
    def set_class_weights(self) -> None:
        super().set_class_weights()
        model = unwrap_model(self.model)
        model.criterion = RecipeLoss(model, RECIPES[-1])


@pytest.mark.slow
def test_a_training_uses_it_for_validation_too_and_no_checkpoint_holds_it(tmp_path):
    seen = []

    def report(trainer):
        seen.append([type(one.criterion) for one in (trainer.model, trainer.ema.ema)])

    trainer = trainer_of(_Trainer, squares(tmp_path / "data"), tmp_path / "run", report=report, epochs=2)
    trainer.train()
    assert seen == [[RecipeLoss, RecipeLoss]] * 2
    assert all(math.isfinite(value) for value in trainer.metrics.values())
    with zipfile.ZipFile(trainer.best) as archive:
        (pickled,) = (archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    assert b"DetectionModel" in pickled
    assert b"workers.yolo12" not in pickled  # so it can be read where this package is not
