from __future__ import annotations

import functools
import itertools
from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tiny_training import squares, trainer_of
from workers.yolo12.process import prepare_process

prepare_process()

import torch  # noqa: E402
import torchvision  # noqa: E402
from ultralytics import YOLO  # noqa: E402
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionValidator  # noqa: E402
from ultralytics.utils.nms import non_max_suppression  # noqa: E402

from workers.yolo12 import suppression  # noqa: E402
from workers.yolo12.suppression import (  # noqa: E402
    RecipePredictor,
    RecipeValidator,
    diou_nms,
    effective,
    suppress,
)
from workers.yolo12.trainer import TrialTrainer  # noqa: E402

NEAR = [[10.0, 10.0, 50.0, 30.0], [70 / 3, 10.0, 190 / 3, 30.0]]
"""Two boxes of 40x20, a third of their width apart: IoU 1/2, DIoU 1/2 - (40/3)^2 / ((160/3)^2 + 20^2) = 0.4452."""

corner = st.integers(0, 24)
side = st.integers(1, 12)
box_lists = st.lists(st.tuples(corner, corner, side, side), max_size=30)


def corners(boxes) -> torch.Tensor:
    return torch.tensor([[x, y, x + w, y + h] for x, y, w, h in boxes], dtype=torch.float32).reshape(-1, 4)


def overlap(one, other):
    """Distance IoU, exact for fractions: the definition, one pair at a time."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    centres = [(box[0] + box[2], box[1] + box[3]) for box in (one, other)]
    rho = ((centres[0][0] - centres[1][0]) ** 2 + (centres[0][1] - centres[1][1]) ** 2) / 4
    wide, high = (max(one[i + 2], other[i + 2]) - min(one[i], other[i]) for i in (0, 1))
    return shared / (areas - shared) - rho / (wide**2 + high**2)


def greedy(overlaps, scores, threshold) -> list[int]:
    """The search as it is usually told."""
    waiting = sorted(range(len(scores)), key=lambda index: -scores[index])
    kept = []
    while waiting:
        best = waiting.pop(0)
        kept.append(best)
        waiting = [index for index in waiting if not overlaps[best][index] > threshold]
    return kept


def random_boxes(count: int, seed: int, objects: int = 12) -> torch.Tensor:
    """Many boxes around a few objects, as a model predicts them."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(60, 580, (objects, 2))[rng.integers(0, objects, count)] + rng.normal(0, 8, (count, 2))
    sides = rng.uniform(40, 110, (count, 2))
    return torch.tensor(np.hstack([centres - sides / 2, centres + sides / 2]), dtype=torch.float32)


@functools.cache
def all_overlaps(count: int, seed: int) -> list[list[float]]:
    precise = random_boxes(count, seed).double().tolist()
    return [[overlap(one, other) for other in precise] for one in precise]


class TestGreedy:
    @given(box_lists, st.floats(0.01, 0.95), st.sampled_from([2, 5, 192]), st.data())
    def test_is_the_greedy_search_exactly(self, boxes, threshold, chunk, data):
        count = len(boxes)
        scores = data.draw(st.lists(st.sampled_from([0.1, 0.25, 0.5, 0.75]), min_size=count, max_size=count))
        exact = [[Fraction(x), Fraction(y), Fraction(x + w), Fraction(y + h)] for x, y, w, h in boxes]
        overlaps = [[overlap(one, other) for other in exact] for one in exact]
        assume(all(abs(value - Fraction(threshold)) > 1e-5 for row in overlaps for value in row))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(suppression, "CPU_CHUNK", chunk)
            kept = diou_nms(corners(boxes), torch.tensor(scores), threshold)
        assert kept.tolist() == greedy(overlaps, scores, Fraction(threshold))

    @pytest.mark.parametrize("threshold", [0.15, 0.45, 0.7, 0.9])
    def test_is_the_greedy_search_on_many_boxes(self, threshold):
        boxes = random_boxes(600, seed=3)
        scores = torch.rand(600, generator=torch.Generator().manual_seed(4))
        overlaps = all_overlaps(600, 3)
        assert np.abs(np.array(overlaps) - threshold).min() > 1e-8
        expected = greedy(overlaps, scores.tolist(), threshold)
        assert 12 <= len(expected) < 600
        assert diou_nms(boxes, scores, threshold).tolist() == expected

    @given(box_lists, st.floats(0.05, 0.95), st.integers(0, 2**31))
    def test_who_stays_overlaps_little_and_who_goes_overlaps_a_better_one_that_stays(self, boxes, threshold, seed):
        scores = torch.rand(len(boxes), generator=torch.Generator().manual_seed(seed))
        kept = diou_nms(corners(boxes), scores, threshold).tolist()
        exact = [[Fraction(each) for each in box] for box in corners(boxes).tolist()]
        assert kept == sorted(set(kept), key=lambda index: -scores[index])
        for place, one in enumerate(kept):
            assert all(overlap(exact[one], exact[other]) <= threshold + 1e-6 for other in kept[:place])
        for gone in set(range(len(boxes))) - set(kept):
            better = [index for index in kept if scores[index] >= scores[gone]]
            assert max(overlap(exact[index], exact[gone]) for index in better) > threshold - 1e-6

    @given(box_lists)
    def test_a_threshold_of_one_keeps_all(self, boxes):
        twice = corners(boxes + boxes)
        assert sorted(diou_nms(twice, torch.rand(len(twice)), 1.0).tolist()) == list(range(len(twice)))

    def test_of_identical_boxes_the_best_stays(self):
        boxes = corners([(3, 4, 5, 6)] * 7)
        assert diou_nms(boxes, torch.tensor([0.1, 0.2, 0.9, 0.3, 0.9, 0.4, 0.5]), 0.99).tolist() == [2]

    def test_two_objects_side_by_side_are_both_kept_where_plain_suppression_keeps_one(self):
        boxes, scores = torch.tensor(NEAR), torch.tensor([0.8, 0.9])
        assert torchvision.ops.nms(boxes, scores, 0.47).tolist() == [1]
        assert diou_nms(boxes, scores, 0.47).tolist() == [1, 0]
        assert diou_nms(boxes, scores, 0.446).tolist() == [1, 0]
        assert diou_nms(boxes, scores, 0.445).tolist() == [1]

    def test_boxes_of_one_centre_fare_as_in_plain_suppression(self):
        sides = torch.linspace(10, 60, 40)
        boxes = torch.stack([100 - sides, 100 - sides, 100 + sides, 100 + sides], 1)
        scores = torch.rand(40, generator=torch.Generator().manual_seed(0))
        assert diou_nms(boxes, scores, 0.4).equal(torchvision.ops.nms(boxes, scores, 0.4))

    @pytest.mark.parametrize("limit", [1, 30, 192, 193, 5000])
    def test_a_limit_takes_the_best(self, limit):
        boxes = random_boxes(2000, seed=1, objects=400)
        scores = torch.rand(2000, generator=torch.Generator().manual_seed(2))
        everything = diou_nms(boxes, scores, 0.5)
        assert len(everything) > 193
        assert diou_nms(boxes, scores, 0.5, limit).equal(everything[:limit])

    def test_nothing_in_nothing_out(self):
        kept = diou_nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
        assert kept.shape == (0,)
        assert kept.dtype == torch.int64

    def test_boxes_without_area_stay_as_in_plain_suppression(self):
        boxes, scores = torch.full((3, 4), 5.0), torch.tensor([0.3, 0.2, 0.1])
        assert (
            diou_nms(boxes, scores, 0.5).tolist() == torchvision.ops.nms(boxes, scores, 0.5).tolist() == [0, 1, 2]
        )

    def test_work_and_memory_are_bounded(self, monkeypatch):
        """The most that Ultralytics hands over, of which none suppresses another."""
        pairs = []
        measure = suppression.distance_box_iou

        def counting(one, other):
            pairs.append(len(one) * len(other))
            return measure(one, other)

        monkeypatch.setattr(suppression, "distance_box_iou", counting)
        start = torch.arange(30_000.0)[:, None] * 10
        boxes = torch.cat([start, start, start + 5, start + 5], 1)
        assert len(diou_nms(boxes, torch.rand(30_000), 0.5, limit=300)) == 300
        assert max(pairs) <= 192**2
        assert sum(pairs) <= 3 * 192**2


def predictions(seed: int, classes: int = 3, boxes: int = 500, batch: int = 3) -> torch.Tensor:
    """Output of a model, (batch, 4 + classes, boxes): many boxes around few objects, mostly of low scores."""
    where = torch.stack([random_boxes(boxes, seed + index) for index in range(batch)])
    centre, size = (where[..., :2] + where[..., 2:]) / 2, where[..., 2:] - where[..., :2]
    scores = torch.rand(batch, boxes, classes, generator=torch.Generator().manual_seed(seed)) ** 3
    return torch.cat([centre, size, scores], 2).mT.contiguous()


class TestSteps:
    """With torchvision's suppression, all around it must give what Ultralytics gives."""

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"multi_label": True},
            {"multi_label": True, "agnostic": True},
            {"classes": [0, 2]},
            {"classes": [1], "multi_label": True},
            {"max_det": 5},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("confidence", [0.001, 0.25, 0.9])
    @pytest.mark.parametrize("classes", [1, 3])
    def test_equal_those_of_ultralytics(self, settings, confidence, classes):
        output = predictions(7, classes)
        theirs = non_max_suppression(output.clone(), confidence, 0.6, return_idxs=True, **settings)
        ours = suppress(output, confidence, 0.6, torchvision.ops.nms, **settings)
        for found, expected, index, expected_index in zip(ours[0], theirs[0], ours[1], theirs[1], strict=True):
            assert found.equal(expected)
            assert index.tolist() == expected_index.long().flatten().tolist()

    def test_equal_those_of_ultralytics_with_too_many_candidates(self):
        output = predictions(8, classes=8, boxes=4000, batch=1)
        output[:, 4:] = 0.2 + 0.7 * output[:, 4:]
        assert output[:, 4:].numel() > suppression.MAX_CANDIDATES
        theirs = non_max_suppression(output.clone(), 0.1, 0.3, multi_label=True, max_det=1000)
        ours, _ = suppress(output, 0.1, 0.3, torchvision.ops.nms, multi_label=True, max_det=1000)
        assert ours[0].equal(theirs[0])

    def test_none_found(self):
        found, indices = suppress(predictions(1), 1.0, 0.6, diou_nms, multi_label=True)
        assert [tuple(each.shape) for each in found] == [(0, 6)] * 3
        assert [len(each) for each in indices] == [0] * 3

    def test_classes_do_not_suppress_each_other(self):
        output = torch.tensor([[30.0, 20.0, 40.0, 20.0], [30.0, 20.0, 40.0, 20.0]]).T
        output = torch.cat([output, torch.tensor([[0.9, 0.0], [0.0, 0.8]])])[None]
        assert len(suppress(output, 0.1, 0.5, diou_nms)[0][0]) == 2
        assert len(suppress(output, 0.1, 0.5, diou_nms, agnostic=True)[0][0]) == 1

    def test_half_precision_is_computed_in_full(self):
        found, _ = suppress(predictions(2).half(), 0.1, 0.6, diou_nms)
        expected, _ = suppress(predictions(2).half().float(), 0.1, 0.6, diou_nms)
        assert found[0].dtype == torch.float32
        assert found[0].equal(expected[0])


def near_pair() -> torch.Tensor:
    """`NEAR` as the output of a model that knows one class."""
    boxes = torch.tensor([[30.0, 20.0, 40.0, 20.0], [130 / 3, 20.0, 40.0, 20.0]]).T
    return torch.cat([boxes, torch.tensor([[0.9, 0.8]])])[None]


@pytest.fixture
def validator(tmp_path):
    def make(kind, **arguments):
        made = kind(save_dir=tmp_path, args={"iou": 0.47, "task": "detect"}, **arguments)
        made.end2end = False
        return made

    return make


class TestValidator:
    def test_what_is_found_does_not_depend_on_how_busy_the_machine_is(self, validator, monkeypatch):
        from ultralytics.utils import nms as theirs

        hours = itertools.count(step=3600)
        monkeypatch.setattr(theirs, "time", SimpleNamespace(time=lambda: next(hours)))
        output = predictions(5)
        stock = validator(DetectionValidator).postprocess((output.clone(), None))
        ours = validator(RecipeValidator).postprocess((output.clone(), None))
        assert len(stock[-1]["conf"]) == 0
        assert all(len(found["conf"]) > 0 for found in ours)

    def test_iou_is_as_ultralytics_has_it(self, validator):
        output = predictions(5)
        stock = validator(DetectionValidator).postprocess((output.clone(), None))
        ours = validator(RecipeValidator).postprocess((output.clone(), None))
        for one, other in zip(stock, ours, strict=True):
            assert one.keys() == other.keys()
            assert all(one[name].equal(other[name]) for name in one)

    def test_diou_keeps_two_objects_side_by_side(self, validator):
        plain, distant = validator(RecipeValidator), validator(RecipeValidator, nms="diou")
        assert [len(plain.postprocess(near_pair())[0]["conf"])] == [1]
        (found,) = distant.postprocess((near_pair(), None))
        assert found["conf"].tolist() == pytest.approx([0.9, 0.8])
        assert found["bboxes"].tolist() == [pytest.approx(box) for box in NEAR]
        assert found["cls"].tolist() == [0, 0]
        assert found["extra"].shape == (2, 0)

    def test_diou_keeps_ultralytics_settings(self, validator):
        """Where nothing is suppressed, the two must agree in everything."""
        output = predictions(6)
        for change in ({}, {"conf": 0.3}, {"max_det": 4}, {"agnostic_nms": True}, {"single_cls": True}):
            stock, ours = validator(DetectionValidator), validator(RecipeValidator, nms="diou")
            for each in (stock, ours):
                vars(each.args).update({"iou": 1.0, **change})
            expected, found = stock.postprocess(output.clone()), ours.postprocess(output.clone())
            assert all(
                one[name].equal(other[name])
                for one, other in zip(expected, found, strict=True)
                for name in ("bboxes", "conf", "cls", "extra")
            ), change

    def test_single_cls_is_agnostic(self, validator):
        boxes = torch.tensor([[30.0, 20.0, 40.0, 20.0], [30.0, 20.0, 40.0, 20.0]]).T
        output = torch.cat([boxes, torch.tensor([[0.9, 0.0], [0.0, 0.8]])])[None]
        ours = validator(RecipeValidator, nms="diou")
        assert len(ours.postprocess(output)[0]["conf"]) == 2
        ours.args.single_cls = True
        assert len(ours.postprocess(output)[0]["conf"]) == 1

    def test_an_end_to_end_model_is_left_alone(self, validator):
        rows = torch.tensor([[[0.0, 0.0, 9.0, 9.0, 0.9, 1.0], [0.0, 0.0, 9.0, 9.0, 0.8, 1.0]]])
        ours = validator(RecipeValidator, nms="diou")
        ours.end2end = True
        assert len(ours.postprocess(rows)[0]["conf"]) == 2

    def test_says_what_it_uses(self, validator):
        assert effective(validator(RecipeValidator)) == {"nms": "iou"}
        assert effective(validator(RecipeValidator, nms="diou")) == {"nms": "diou"}

    @pytest.mark.parametrize("kind", [RecipeValidator, RecipePredictor])
    def test_refuses_another_name(self, kind):
        with pytest.raises(ValueError, match="nms: must be iou or diou, but got 'soft'"):
            kind(nms="soft")


class TestPredictor:
    @staticmethod
    def results(kind, output, *, tensor=False, features=None, **settings):
        predictor = kind(overrides={"iou": 0.47, "task": "detect", **settings})
        predictor.model = SimpleNamespace(names={0: "a", 1: "b", 2: "c"})
        predictor.batch = [[f"{index}.jpg" for index in range(len(output))]]
        if features is not None:
            predictor._feats = features
        images = torch.zeros(len(output), 3, 640, 640)
        originals = images if tensor else [np.zeros((320, 640, 3), np.uint8)] * len(output)
        return predictor.postprocess((output.clone(), None), images, originals)

    def make_diou(self, *args, **kwargs):
        return RecipePredictor(*args, nms="diou", **kwargs)

    def test_iou_is_ultralytics_own_path(self):
        output = predictions(5)
        stock, ours = self.results(DetectionPredictor, output), self.results(RecipePredictor, output)
        assert all(one.boxes.data.equal(other.boxes.data) for one, other in zip(stock, ours, strict=True))

    def test_diou_keeps_two_objects_side_by_side(self):
        assert len(self.results(RecipePredictor, near_pair())[0].boxes) == 1
        assert len(self.results(self.make_diou, near_pair())[0].boxes) == 2

    @pytest.mark.parametrize(
        "settings",
        [{}, {"conf": 0.6}, {"classes": [1]}, {"max_det": 3}, {"agnostic_nms": True}, {"tensor": True}],
        ids=str,
    )
    def test_diou_keeps_ultralytics_settings(self, settings):
        """Where nothing is suppressed, the two must agree in everything."""
        output = predictions(6)
        features = [torch.rand(3, 8, 20, 20), torch.rand(3, 8, 10, 10)]
        kinds = (DetectionPredictor, self.make_diou)
        stock, ours = (self.results(kind, output, iou=1.0, features=features, **settings) for kind in kinds)
        for one, other in zip(stock, ours, strict=True):
            assert len(one.boxes) > 0
            assert one.boxes.data.equal(other.boxes.data)
            assert (one.path, one.orig_shape, one.names) == (other.path, other.orig_shape, other.names)
            assert one.feats.equal(other.feats)


@pytest.mark.slow
def test_ultralytics_takes_them_for_real_weights(tmp_path):
    """A tiny training whose validator uses distance IoU; its weights are then validated and used alike."""

    class Trainer(TrialTrainer):
        def get_validator(self):
            return RecipeValidator(
                self.test_loader, save_dir=self.save_dir, args=self.args, _callbacks=self.callbacks, nms="diou"
            )

    data = squares(tmp_path / "data")
    epochs = []
    trainer = trainer_of(
        Trainer, data, tmp_path / "run", report=lambda each: epochs.append(dict(each.metrics)), epochs=3
    )
    trainer.train()
    assert effective(trainer.validator) == {"nms": "diou"}
    assert len(epochs) == 3
    assert all(np.isfinite(list(metrics.values())).all() for metrics in epochs)
    model = YOLO(tmp_path / "run/weights/best.pt")
    seen = []

    class Validator(RecipeValidator):
        def postprocess(self, preds):
            seen.append(self.nms)
            return super().postprocess(preds)

    settings = {"imgsz": 64, "device": "cpu", "plots": False, "save_dir": str(tmp_path / "val"), "verbose": False}
    metrics = model.val(
        validator=partial(Validator, nms="diou"), data=str(data), batch=8, workers=0, rect=True, **settings
    )
    assert set(seen) == {"diou"}
    assert metrics.results_dict["metrics/mAP50(B)"] == pytest.approx(trainer.best_metrics["metrics/mAP50(B)"])
    picture = sorted((tmp_path / "data/images/val").iterdir())[0]
    found = []

    def watching(*args, **kwargs):
        detections, indices = suppress(*args, **kwargs)
        found.append([each.clone() for each in detections])  # before they are clipped to the picture
        return detections, indices

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suppression, "suppress", watching)
        results = model.predict(picture, predictor=partial(RecipePredictor, nms="diou"), conf=0.001, **settings)
    assert [len(each.boxes) for each in results] == [len(each) for each in found[-1]]
    boxes = found[-1][0][:, :4]
    assert len(boxes) > 1
    assert (torchvision.ops.distance_box_iou(boxes, boxes).triu(1) <= 0.7).all()
