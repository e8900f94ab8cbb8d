from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tiny_training import squares, trainer_of
from workers.yolo12.process import prepare_process

prepare_process()

import torch  # noqa: E402
from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.data.utils import check_det_dataset  # noqa: E402
from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402

from workers.yolo12.images import TrialDataset  # noqa: E402
from workers.yolo12.sizes import (  # noqa: E402
    SIZE,
    SizedBatchSampler,
    images_per_batch,
    resize_batch,
    sized_loader,
)
from workers.yolo12.trainer import TrialTrainer  # noqa: E402

SLIDES = (320, 416, 512, 608)
IMAGES = 21
"""Of the tiny data set."""
SMALL = {"batch": 4, "imgsz": 64, "sizes": (32, 64, 96), "seed": 5}
"""Full batches of 16, 4 and 2 images, 22 in a round."""


@st.composite
def samplers(draw):
    sizes = draw(st.lists(st.sampled_from(range(64, 1312, 32)), min_size=1, max_size=6, unique=True))
    return SizedBatchSampler(
        draw(st.integers(1, 400)),
        batch=draw(st.integers(1, 64)),
        imgsz=draw(st.sampled_from(range(64, 1312, 32))),
        sizes=sizes,
        seed=draw(st.integers(0, 2**32)),
    )


class TestPlan:
    def test_a_batch_holds_as_many_images_as_take_the_memory_of_the_nominal_one(self):
        assert [images_per_batch(16, 608, size) for size in SLIDES] == [58, 34, 23, 16]
        assert images_per_batch(15, 608, 416) == 32  # the slides' example
        assert images_per_batch(1, 320, 1280) == 1

    @settings(deadline=None)
    @given(samplers(), st.integers(0, 1000))
    def test_every_epoch_shows_every_image_once_in_equally_many_batches(self, sampler, epoch):
        sampler.epoch = epoch
        for _ in range(3):
            batches = list(sampler)
            assert len(batches) == len(sampler)
            indices = [index for batch in batches for index in batch]
            assert sorted(indices) == list(range(len(indices)))
            assert len(indices) == sampler._images

    @settings(deadline=None)
    @given(samplers(), st.integers(0, 1000))
    def test_batches_are_full_but_for_the_cut(self, sampler, epoch):
        batches = sampler.batches(epoch)
        missing = [sampler.counts[batch.size] - len(batch.indices) for batch in batches]
        assert min(missing) >= 0
        short = sorted(number for number in missing if number)
        assert len(short) <= 1 or (len(short) == 2 and short[0] == 1), "one was cut; one may have lent an image"

    @settings(deadline=None)
    @given(samplers(), st.integers(0, 1000))
    def test_sizes_come_equally_often_within_an_epoch(self, sampler, epoch):
        times = Counter(dict.fromkeys(sampler.counts, 0))
        times.update(batch.size for batch in sampler.batches(epoch))
        assert max(times.values()) - min(times.values()) <= 1

    @settings(deadline=None)
    @given(samplers(), st.integers(0, 1000))
    def test_no_image_is_alone_that_could_have_company(self, sampler, epoch):
        batches = sampler.batches(epoch)
        assume(max(len(batch.indices) for batch in batches) > 2)
        assert all(len(batch.indices) > 1 for batch in batches if sampler.counts[batch.size] > 1)

    @pytest.mark.parametrize(("images", "batch"), [(205, 16), (205, 64), (100, 64), (20, 64), (1, 16), (2000, 8)])
    def test_every_size_comes_up_sooner_or_later(self, images, batch):
        sampler = SizedBatchSampler(images, batch=batch, imgsz=608, sizes=SLIDES, seed=0)
        times = Counter(planned.size for epoch in range(100) for planned in sampler.batches(epoch))
        assert set(times) == set(SLIDES)
        assert min(times.values()) > 0.3 * max(times.values())

    def test_many_images_see_all_sizes_equally_often(self):
        sampler = SizedBatchSampler(5000, batch=16, imgsz=608, sizes=SLIDES, seed=0)
        times = Counter(planned.size for epoch in range(20) for planned in sampler.batches(epoch))
        assert min(times.values()) > 0.97 * max(times.values())

    def test_the_order_of_sizes_and_images_is_random(self):
        sampler = SizedBatchSampler(5000, batch=16, imgsz=608, sizes=SLIDES, seed=0)
        first, second = sampler.batches(0), sampler.batches(1)
        assert [batch.size for batch in first] != [batch.size for batch in second]
        assert {batch.size for batch in first[:20]} == set(SLIDES)
        pairs = Counter(zip((b.size for b in first), (b.size for b in first[1:]), strict=False))
        assert len(pairs) == 16, "any size may follow any other"
        assert all(not set(a.indices) & set(b.indices) for a in first for b in first if a is not b)
        assert (
            Counter(map(frozenset, (b.indices for b in first)))
            & Counter(map(frozenset, (b.indices for b in second)))
            == Counter()
        )

    def test_the_seed_decides(self):
        def plans(seed):
            sampler = SizedBatchSampler(205, batch=16, imgsz=608, sizes=SLIDES, seed=seed)
            return [sampler.batches(epoch) for epoch in range(3)]

        assert plans(3) == plans(3)
        assert plans(3) != plans(4)

    @pytest.mark.parametrize("sizes", [(300,), (320, 0), (-32,), ()])
    def test_what_is_no_size_is_refused(self, sizes):
        with pytest.raises(ValueError, match="sizes must be multiples of 32"):
            SizedBatchSampler(10, batch=4, imgsz=64, sizes=sizes, seed=0)

    def test_a_single_image_of_one_cell_cannot_be_normalised(self):
        with pytest.raises(ValueError, match="a batch of 32 pixels needs more than one image"):
            SizedBatchSampler(3, batch=2, imgsz=32, sizes=(32,), seed=0)
        sampler = SizedBatchSampler(5, batch=1, imgsz=64, sizes=(32,), seed=0)
        assert sorted(len(indices) for indices in sampler) == [2, 3]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return squares(tmp_path_factory.mktemp("squares"), train=IMAGES)


@pytest.fixture
def loader_of(data, tmp_path):
    made = []

    def make(workers=0, **changes):
        description = check_det_dataset(str(data), autodownload=False)
        dataset = TrialDataset(
            img_path=description["train"], data=description, scratch=tmp_path, imgsz=64, augment=True, hyp=get_cfg()
        )
        made.append(sized_loader(dataset, workers=workers, **{**SMALL, **changes}))
        return made[-1]

    yield make
    for loader in made:
        loader.close()


def shown(loader):
    """Size and images of each batch of one epoch."""
    return [(batch[SIZE], batch["im_file"]) for batch in loader]


class TestLoader:
    def test_batches_hold_their_size_and_as_many_images(self, loader_of):
        loader = loader_of()
        for _ in range(3):
            batches = list(loader)
            assert len(batches) == len(loader)
            for batch in batches:
                assert len(batch["img"]) == len(batch["im_file"])
                assert len(batch["img"]) <= {32: 16, 64: 4, 96: 2}[batch[SIZE]]
            names = [name for batch in batches for name in batch["im_file"]]
            assert len(set(names)) == len(names) == IMAGES
        assert loader.plan.counts == {32: 16, 64: 4, 96: 2}

    def test_it_has_what_the_training_loop_asks_for(self, loader_of):
        loader = loader_of()
        assert (loader.batch_size, len(loader.sampler), loader.num_workers, loader.drop_last) == (
            4,
            IMAGES,
            0,
            False,
        )
        assert loader_of(batch=64).batch_size == IMAGES

    @pytest.mark.slow
    def test_workers_change_nothing(self, loader_of):
        """A reset, as at the end of mosaic, finds workers that have fetched batches of the next epoch."""
        epochs = []
        for workers in (0, 1, 2):
            loader = loader_of(workers)
            assert loader.num_workers == workers
            epochs.append([shown(loader), shown(loader)])
            loader.reset()
            epochs[-1] += [shown(loader), shown(loader)]
        assert epochs[0] == epochs[1] == epochs[2]
        assert epochs[0][0] != epochs[0][1] != epochs[0][2]

    def test_an_epoch_that_was_left_half_way_leaves_nothing_behind(self, loader_of):
        loader, other = loader_of(), loader_of()
        next(iter(loader))
        assert [shown(loader), shown(loader)] == [shown(other), shown(other)]

    @pytest.mark.parametrize("before", [0, 1])
    def test_a_training_may_go_on_in_a_later_epoch(self, loader_of, before):
        whole = loader_of()
        epochs = [shown(whole) for _ in range(4)]
        resumed = loader_of()
        assert [shown(resumed) for _ in range(before)] == epochs[:before]
        for epoch in (2, 3):
            resumed.set_epoch(epoch)
            assert shown(resumed) == epochs[epoch]

    def test_other_seeds_show_other_batches(self, loader_of):
        assert shown(loader_of()) == shown(loader_of()) != shown(loader_of(seed=6))


class TestResize:
    @pytest.mark.parametrize("shape", [(64, 64), (96, 64), (64, 160)])
    def test_equals_the_scaling_of_ultralytics(self, shape):
        pixels = torch.randint(0, 256, (2, 3, *shape), dtype=torch.uint8, generator=torch.manual_seed(0))
        trainer = SimpleNamespace(
            device=torch.device("cpu"), stride=32, args=SimpleNamespace(multi_scale=0.5, imgsz=max(shape))
        )
        sizes = set()
        for _ in range(20):
            theirs = DetectionTrainer.preprocess_batch(trainer, {"img": pixels.clone()})["img"]
            size = max(theirs.shape[2:])
            ours = resize_batch({"img": pixels.float() / 255}, size, 32)["img"]
            assert torch.equal(ours, theirs)
            sizes.add(size)
        assert len(sizes) > 1

    def test_objects_stay_where_their_boxes_are(self):
        image = torch.zeros(1, 3, 96, 96)
        image[..., 24:72, 12:60] = 1.0
        batch = {"img": image, "bboxes": torch.tensor([[0.375, 0.5, 0.5, 0.5]]), "im_file": ("a",)}
        for size in (32, 64, 160):
            resized = resize_batch(batch, size, 32)
            assert resized["img"].shape == (1, 3, size, size)
            rows, columns = (resized["img"][0, 0] > 0.5).nonzero(as_tuple=True)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert [value / size for value in box] == pytest.approx([0.125, 0.25, 0.625, 0.75], abs=1 / size)
            assert {key: resized[key] for key in ("bboxes", "im_file")} == {
                key: batch[key] for key in ("bboxes", "im_file")
            }
        assert resize_batch(batch, 96, 32)["img"] is image

    def test_a_side_that_fits_exactly_is_not_rounded_up(self):
        """In floating point 96 * (160 / 480) / 32 is a little above 1 for some such numbers."""
        for longer in range(32, 1312, 32):
            for size in range(32, 1312, 32):
                batch = {"img": torch.zeros(1, 1, longer, 32)}
                assert resize_batch(batch, size, 32)["img"].shape == (1, 1, size, math.ceil(size / longer) * 32)

    def test_sizes_off_the_stride_are_refused(self):
        with pytest.raises(ValueError, match="size must be a multiple of 32, but got 100"):
            resize_batch({"img": torch.zeros(1, 3, 64, 64)}, 100, 32)


class SizedTrainer(TrialTrainer):
    """Trains with `SMALL` and keeps what every batch was."""

    def __init__(self, *args, **kwargs):
        self.seen = []
        super().__init__(*args, **kwargs)

    def get_dataloader(self, dataset_path, batch_size=16, rank=0, mode="train"):
        if mode != "train":
            return super().get_dataloader(dataset_path, batch_size, rank, mode)
        dataset = self.build_dataset(dataset_path, mode, batch_size)
        return sized_loader(
            dataset,
            batch=batch_size,
            imgsz=self.args.imgsz,
            sizes=SMALL["sizes"],
            workers=self.args.workers,
            seed=self.args.seed,
        )

    def preprocess_batch(self, batch):
        batch = resize_batch(super().preprocess_batch(batch), batch[SIZE], self.stride)
        self.seen.append((self.epoch, tuple(batch["img"].shape), batch["im_file"]))
        return batch


@pytest.mark.slow
class TestTraining:
    def test_two_epochs(self, data, tmp_path):
        reports = []
        trainer = trainer_of(
            SizedTrainer,
            data,
            tmp_path,
            report=lambda trainer: reports.append(dict(trainer.metrics)),
            batch=SMALL["batch"],
            close_mosaic=1,
        )
        trainer.train()
        assert len(reports) == 2
        counts = {32: 16, 64: 4, 96: 2}
        sizes = []
        for epoch in range(2):
            batches = [(shape, files) for number, shape, files in trainer.seen if number == epoch]
            assert len(batches) == len(trainer.train_loader)
            for (number, channels, height, width), files in batches:
                assert (channels, height) == (3, width)
                assert number == len(files) <= counts[width]
            names = [name for _, files in batches for name in files]
            assert len(set(names)) == len(names) == IMAGES
            sizes += [shape[3] for shape, _ in batches]
        assert set(sizes) == set(counts)
        assert all(math.isfinite(value) for value in reports[1].values())
