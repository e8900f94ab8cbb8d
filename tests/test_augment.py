from __future__ import annotations

import copy
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_training import squares, trainer_of
from workers.yolo12.process import prepare_process

prepare_process()

import torch  # noqa: E402
from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.data.augment import Format, RandomFlip  # noqa: E402
from ultralytics.data.build import build_dataloader  # noqa: E402
from ultralytics.data.dataset import YOLODataset  # noqa: E402
from ultralytics.data.utils import check_det_dataset  # noqa: E402
from ultralytics.utils.instance import Instances  # noqa: E402

from workers.yolo12 import augment  # noqa: E402
from workers.yolo12.augment import (  # noqa: E402
    Blur,
    Noise,
    Occlusion,
    add_augmentations,
    augmentations,
    effective,
    hide,
    visible_shares,
)
from workers.yolo12.images import TrialDataset  # noqa: E402
from workers.yolo12.recipe import Recipe  # noqa: E402
from workers.yolo12.trainer import TrialTrainer  # noqa: E402

ALL = Recipe(blur=1.0, noise=1.0, cutout=1.0, grid_mask=1.0)
STILL = {
    "mosaic": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "translate": 0.0, "scale": 0.0, "fliplr": 0.0,
}  # fmt: skip
"""Arguments that leave pictures as they are."""

EACH = {
    "blur": Blur(1.0),
    "noise": Noise(1.0),
    "cutout": Occlusion(1.0, 0.0),
    "grid_mask": Occlusion(0.0, 1.0),
}


def seed(value: int = 0) -> None:
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def sample(image, boxes=(), box_format="xyxy", normalized=False):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    classes = np.arange(len(boxes), dtype=np.float32)[:, None]
    return {"img": image, "cls": classes, "instances": Instances(boxes, None, None, box_format, normalized)}


def picture(height=48, width=64, channels=3, number=0):
    return np.random.default_rng(number).integers(0, 256, (height, width, channels), dtype=np.uint8)


def removed(transform, height, width):
    """Which pixels of a white picture a transform makes grey."""
    return (transform(sample(np.full((height, width, 3), 255, np.uint8)))["img"] == 114).all(2)


class TestVisibleShares:
    @given(
        st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31),
        st.lists(st.tuples(*[st.floats(-3, 12)] * 2, *[st.floats(0, 9)] * 2), max_size=6),
    )  # fmt: skip
    def test_are_exact(self, height, width, number, boxes):
        """Against the area that each box shares with each pixel."""
        visible = np.random.default_rng(number).integers(0, 2, (height, width)).astype(np.uint8)
        boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in boxes], np.float32).reshape(-1, 4)
        shares = visible_shares(visible, boxes)
        assert shares.shape == (len(boxes),)
        for share, box in zip(shares, boxes.astype(float), strict=True):
            across = np.clip(np.minimum(box[2], np.arange(width) + 1) - np.maximum(box[0], np.arange(width)), 0, 1)
            down = np.clip(np.minimum(box[3], np.arange(height) + 1) - np.maximum(box[1], np.arange(height)), 0, 1)
            if (area := across.sum() * down.sum()) > 1e-3:
                assert share == pytest.approx(down @ visible @ across / area, abs=1e-6)

    def test_by_hand(self):
        visible = np.ones((10, 10), np.uint8)
        visible[:, 5:] = 0
        boxes = [[0, 0, 5, 5], [5, 0, 10, 10], [0, 0, 10, 10], [4.5, 2, 5.5, 3], [4.75, 2, 5.75, 3], [8, 8, 8, 9]]
        assert visible_shares(visible, np.array(boxes)).tolist() == pytest.approx([1, 0, 0.5, 0.5, 0.25, 1])

    def test_of_a_large_picture(self):
        visible = np.ones((3000, 4000), np.uint8)
        assert visible_shares(visible, np.array([[0.0, 0.0, 4000.0, 3000.0]])).tolist() == [1.0]


class TestHide:
    BOXES = ((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 60, 1), (40, 1, 60, 2), (15, 0, 25, 10))
    """Hidden, untouched, 3 of 20 pixels visible, 2 of 20 pixels visible, half hidden."""

    @staticmethod
    def visible():
        visible = np.ones((48, 64), np.uint8)
        visible[:, :20] = 0
        visible[0, 43:] = 0
        visible[1, 42:] = 0
        return visible

    @pytest.mark.parametrize("normalized", [False, True])
    @pytest.mark.parametrize("box_format", ["xyxy", "xywh"])
    def test_drops_the_boxes_that_are_hidden(self, box_format, normalized):
        labels = sample(picture(), self.BOXES)
        labels["instances"].convert_bbox(box_format)
        if normalized:
            labels["instances"].normalize(64, 48)
        before = labels["instances"].bboxes.copy()
        labels = hide(labels, self.visible())
        assert labels["cls"].tolist() == [[1], [2], [4]]
        assert (labels["instances"].bboxes == before[[1, 2, 4]]).all()
        assert labels["instances"].normalized == normalized
        assert labels["instances"]._bboxes.format == box_format

    def test_fills_with_grey_and_nothing_else_changes(self):
        original = picture()
        untouched = original.copy()
        visible = self.visible()
        image = hide(sample(original), visible)["img"]
        assert (image[visible == 0] == 114).all()
        assert (image[visible == 1] == original[visible == 1]).all()
        assert (original == untouched).all()

    def test_a_picture_without_objects(self):
        labels = hide(sample(picture()), self.visible())
        assert len(labels["instances"]) == len(labels["cls"]) == 0

    def test_all_may_be_hidden(self):
        labels = hide(sample(picture(), self.BOXES), np.zeros((48, 64), np.uint8))
        assert labels["instances"].bboxes.shape == (0, 4)
        assert labels["cls"].shape == (0, 1)


@pytest.mark.parametrize("name", EACH)
class TestEach:
    @pytest.mark.parametrize("shape", [(48, 64, 3), (33, 31, 3), (64, 48, 1), (40, 40, 4)])
    def test_keeps_shape_and_type_and_writes_into_no_cache(self, name, shape):
        for number in range(20):
            seed(number)
            original = picture(*shape)
            flipped = original[:, ::-1]  # no longer in one piece, as a flip leaves it
            before = original.copy()
            changed = EACH[name](sample(flipped))["img"]
            assert changed.shape == shape
            assert changed.dtype == np.uint8
            assert (original == before).all()
            assert (changed != flipped).any()

    def test_the_same_seed_gives_the_same_picture_and_another_another(self, name):
        def draw(number):
            seed(number)
            return EACH[name](sample(picture()))["img"]

        assert (draw(1) == draw(1)).all()
        assert len({draw(number).tobytes() for number in range(10)}) > 1

    def test_happens_as_often_as_it_should(self, name):
        seed()
        image = picture(32, 32)
        transforms = {p: augmentations(Recipe(**{name: p})) for p in (0.0, 0.3)}
        assert transforms[0.0] == []
        (transform,) = transforms[0.3]
        changed = [bool((transform(sample(image))["img"] != image).any()) for _ in range(1000)]
        assert 250 < sum(changed) < 350

    def test_boxes_keep_their_classes(self, name):
        seed()
        boxes = [(x, y, x + 6, y + 6) for x in range(0, 60, 6) for y in range(0, 42, 6)]
        classes = {box: index for index, box in enumerate(boxes)}
        for _ in range(30):
            labels = EACH[name](sample(picture(), boxes))
            assert len(labels["cls"]) == len(labels["instances"]) <= len(boxes)
            rows = zip(labels["instances"].bboxes, labels["cls"].ravel(), strict=True)
            assert all(classes[tuple(map(int, box))] == label for box, label in rows)
            if name in ("blur", "noise"):
                assert len(labels["cls"]) == len(boxes)


class TestBlur:
    @pytest.mark.parametrize(("size", "most"), [(32, 1.0), (64, 1.0), (320, 1.12), (640, 2.24), (1280, 4.48)])
    def test_its_width_goes_with_the_picture(self, size, most):
        """A sharp edge becomes a slope; its steps are the weights of the blur."""
        seed()
        image = np.zeros((size, 8, 3), np.uint8)
        image[size // 2 :] = 255
        sigmas = []
        for _ in range(60):
            slope = np.diff(Blur(1.0)(sample(image))["img"][:, 4, 0].astype(float)) / 255
            distance = np.arange(size - 1) - (size // 2 - 1)
            assert slope.sum() == pytest.approx(1)
            sigmas.append(np.sqrt((slope * distance**2).sum()))
        assert 0.45 < min(sigmas) < 0.5 + 0.15 * most
        assert 0.85 * most < max(sigmas) <= most + 0.05

    def test_a_flat_picture_stays(self):
        image = np.full((64, 64, 3), 77, np.uint8)
        assert (Blur(1.0)(sample(image))["img"] == 77).all()


class TestNoise:
    def test_its_strength_lies_in_the_range_and_has_no_bias(self):
        seed()
        image = np.full((128, 128, 3), 128, np.uint8)
        sigmas = []
        for _ in range(30):
            noise = Noise(1.0)(sample(image))["img"].astype(float) - 128
            sigmas.append(noise.std())
            assert abs(noise.mean()) < 1
            assert abs(np.corrcoef(noise.reshape(-1, 3).T)[np.triu_indices(3, 1)]).max() < 0.05
        assert 0.01 * 255 - 1 < min(sigmas) < 6
        assert 20 < max(sigmas) < 0.1 * 255 + 1

    def test_saturates(self):
        """A pixel that wrapped around would turn black into white."""
        seed()
        for level in (0, 255):
            image = np.full((64, 64, 3), level, np.uint8)
            assert abs(Noise(1.0)(sample(image))["img"].astype(int) - level).max() < 0.1 * 255 * 6


class TestOcclusion:
    def test_a_rectangle_has_the_area_and_aspect_of_random_erasing(self, monkeypatch):
        monkeypatch.setattr(augment, "RECTANGLES", (1, 1))
        seed()
        shares = []
        for _ in range(60):
            gone = removed(Occlusion(1.0, 0.0), 200, 300)
            rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
            height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
            assert gone.sum() == height * width
            shares.append(gone.mean())
            assert 0.25 < height / width < 4
        assert 0.019 < min(shares) < 0.05
        assert 0.15 < max(shares) < 0.205

    def test_one_to_three_rectangles(self):
        seed()
        shares = [removed(Occlusion(1.0, 0.0), 200, 300).mean() for _ in range(200)]
        assert min(shares) > 0.019
        assert 0.25 < max(shares) < 0.6

    @pytest.mark.parametrize("size", [(640, 640), (480, 640), (64, 64)])
    def test_the_grid_is_made_of_equal_squares_at_equal_distances(self, size):
        seed()
        shortest = min(size)
        phases = set()
        for _ in range(30):
            gone = removed(Occlusion(0.0, 1.0), *size)
            rows, columns = gone.any(1), gone.any(0)
            assert (gone == np.outer(rows, columns)).all()
            sides, steps = zip(*(runs(line) for line in (rows, columns)), strict=True)
            square, cell = {each for line in sides for each in line}, {each for line in steps for each in line}
            assert max(square) - min(square) <= 1
            assert max(cell) - min(cell) <= 1
            assert 0.1 * shortest - 1 <= min(cell) <= max(cell) <= 0.35 * shortest + 1
            assert 0.3 * min(cell) - 1.3 <= min(square) <= max(square) <= 0.5 * max(cell) + 1.3
            phases.add((int(np.flatnonzero(rows)[0]), int(np.flatnonzero(columns)[0])))
        assert len(phases) > 10

    def test_a_box_that_both_hide_in_part_is_dropped(self, monkeypatch):
        def without(columns):
            def hiding(visible):
                visible[:, columns] = 0
                return visible

            return hiding

        monkeypatch.setattr(augment, "_with_rectangles", without(slice(0, 10)))
        monkeypatch.setattr(augment, "_with_grid", without(slice(10, 20)))
        boxes = [(0, 0, 20, 10)]
        assert len(Occlusion(1.0, 0.0)(sample(picture(), boxes))["cls"]) == 1
        assert len(Occlusion(0.0, 1.0)(sample(picture(), boxes))["cls"]) == 1
        assert len(Occlusion(1.0, 1.0)(sample(picture(), boxes))["cls"]) == 0

    def test_what_stays_a_label_can_be_seen(self):
        """On real draws: the boxes that stay are those of which 15 % are not grey."""
        seed()
        boxes = [(x, y, x + 9, y + 9) for x in range(0, 180, 9) for y in range(0, 90, 9)]
        for _ in range(20):
            labels = Occlusion(1.0, 1.0)(sample(np.full((90, 180, 3), 255, np.uint8), boxes))
            seen = (labels["img"] != 114).all(2)
            shares = {box: seen[box[1] : box[3], box[0] : box[2]].mean() for box in boxes}
            stayed = {tuple(map(int, box)) for box in labels["instances"].bboxes}
            assert stayed == {box for box, share in shares.items() if share >= 0.15}
            assert len(stayed) < len(boxes)


def runs(line) -> tuple[list[int], list[int]]:
    """Lengths of the runs of True that do not touch an end, and distances from start to start."""
    edges = np.flatnonzero(np.diff(line.astype(int)))
    starts = [edge + 1 for edge in edges if line[edge + 1]]
    ends = [edge + 1 for edge in edges if line[edge]]
    return [min(e for e in ends if e > s) - s for s in starts if any(e > s for e in ends)], list(np.diff(starts))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return check_det_dataset(str(squares(tmp_path_factory.mktemp("squares"), train=8)), autodownload=False)


@pytest.fixture
def dataset(data, tmp_path):
    def make(kind=TrialDataset, *, augment=True, **settings):
        own = {"scratch": tmp_path, "decoded": False} if kind is TrialDataset else {}
        return kind(
            img_path=data["train"], data=data, imgsz=64, batch_size=4, augment=augment, stride=32,
            hyp=get_cfg(overrides={"task": "detect", **settings}), **own,
        )  # fmt: skip

    return make


def draw(dataset, index=0, number=0):
    seed(number)
    return dataset[index]


def same(one, other) -> bool:
    return all(one[name].equal(other[name]) for name in ("img", "bboxes", "cls", "batch_idx"))


class TestPipeline:
    def test_none_is_ultralytics_own(self, dataset):
        """The same transforms, the same draws, the same pictures."""
        stock, ours = dataset(YOLODataset), dataset()
        add_augmentations(ours, Recipe())
        kinds = [[type(each) for each in each.transforms.transforms] for each in (stock, ours)]
        assert kinds[0] == kinds[1]
        for index in range(8):
            assert same(draw(stock, index, index), draw(ours, index, index))
        states = []
        for each in (stock, ours):
            draw(each)
            states.append(
                (random.getstate(), torch.random.get_rng_state().tolist(), np.random.get_state()[1].tolist())
            )
        assert states[0] == states[1]

    def test_they_stand_after_all_others_and_before_the_tensors(self, dataset):
        ours = dataset()
        add_augmentations(ours, ALL)
        assert [type(each) for each in ours.transforms.transforms[-5:]] == [
            RandomFlip, Blur, Noise, Occlusion, Format,
        ]  # fmt: skip

    @pytest.mark.parametrize("name", EACH)
    def test_each_changes_the_pictures(self, dataset, name):
        plain, ours = dataset(**STILL), dataset(**STILL)
        add_augmentations(ours, Recipe(**{name: 1.0}))
        assert effective(ours) == {**dict.fromkeys(EACH, 0.0), name: 1.0}
        one, other = draw(plain), draw(ours)
        assert one["img"].shape == other["img"].shape
        assert one["img"].dtype == other["img"].dtype == torch.uint8
        assert not one["img"].equal(other["img"])

    def test_they_stay_when_the_mosaics_end(self, dataset):
        ours = dataset(mosaic=1.0)
        recipe = Recipe(blur=0.1, noise=0.2, cutout=0.3, grid_mask=0.4)
        add_augmentations(ours, recipe)
        before = [type(each) for each in ours.transforms.transforms]
        wanted = {"blur": 0.1, "noise": 0.2, "cutout": 0.3, "grid_mask": 0.4}
        assert effective(ours) == wanted
        ours.close_mosaic(hyp=get_cfg(overrides={"mosaic": 1.0}))
        assert ours.transforms.transforms[0].transforms[0].p == 0  # the mosaic
        assert effective(ours) == wanted
        assert [type(each) for each in ours.transforms.transforms] == before

    def test_validation_is_never_augmented(self, dataset):
        plain, ours = dataset(augment=False), dataset(augment=False)
        add_augmentations(ours, ALL)
        assert effective(ours) == dict.fromkeys(EACH, 0.0)
        assert same(draw(plain), draw(ours))

    def test_batches_hold_the_labels_that_stayed(self, dataset):
        ours = dataset()
        add_augmentations(ours, ALL)
        seed()
        samples = [ours[index] for index in range(8)]
        counts = [len(each["cls"]) for each in samples]
        batch = ours.collate_fn(copy.deepcopy(samples))
        assert len(batch["bboxes"]) == len(batch["cls"]) == len(batch["batch_idx"]) == sum(counts)
        assert [int((batch["batch_idx"] == index).sum()) for index in range(8)] == counts
        assert batch["img"].shape == (8, 3, 64, 64)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", EACH)
    def test_every_loader_worker_draws_for_itself_and_a_seed_gives_the_same_again(self, dataset, name):
        """The same picture eight times: two workers with the same draws would give four pairs."""

        def pictures():
            seed(5)
            ours = dataset(**STILL)
            ours.im_files = [ours.im_files[0]] * 8
            ours.labels = [ours.labels[0]] * 8
            ours.npy_files = [ours.npy_files[0]] * 8
            add_augmentations(ours, Recipe(**{name: 1.0}))
            loader = build_dataloader(ours, batch=1, workers=2, shuffle=False)
            try:
                return [batch["img"].numpy().tobytes() for _, batch in zip(range(8), loader, strict=False)]
            finally:
                loader.iterator._shutdown_workers()

        first = pictures()
        assert len(set(first)) > 4
        assert first == pictures()


@pytest.mark.slow
def test_a_real_training_with_all_of_them(tmp_path):
    class Trainer(TrialTrainer):
        def build_dataset(self, img_path, mode="train", batch=None):
            dataset = super().build_dataset(img_path, mode, batch)
            if mode == "train":
                add_augmentations(dataset, ALL)
            return dataset

    losses, used = [], []

    def report(trainer):
        losses.append({name: float(value) for name, value in trainer.loss_items.items()})
        used.append((effective(trainer.train_loader.dataset), effective(trainer.test_loader.dataset)))

    data = squares(tmp_path / "data")
    trainer_of(Trainer, data, tmp_path / "run", report=report, epochs=3, close_mosaic=1, workers=2).train()
    assert len(losses) == 3
    assert all(np.isfinite(list(each.values())).all() for each in losses)
    assert used == [(dict.fromkeys(EACH, 1.0), dict.fromkeys(EACH, 0.0))] * 3
    assert (tmp_path / "run/weights/best.pt").exists()
