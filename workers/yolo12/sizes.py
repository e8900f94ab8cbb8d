"""Random training shapes with dynamic batching: each batch has a size of its own, and as many images as fit.

A batch of size s holds round(batch * (imgsz / s)^2) images, so that every size fills the memory alike. Images are
loaded and augmented at imgsz and resized as whole batches on the device, as Ultralytics' `multi_scale` does; boxes
are shares of the picture and stay as they are. A size above imgsz enlarges, which shows no more detail than imgsz
has, so imgsz is best the largest or close to it.

The optimizer's accumulation and the scaling of the weight decay keep counting `batch` images a batch.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import Sampler
from ultralytics.data.build import InfiniteDataLoader, seed_worker

from workers.yolo12.recipe import GRID

SIZE = "size"
"""Key under which a batch of `SizedLoader` holds its size in pixels."""
_ORDERS = 300
_PREFETCH = 4  # batches that each worker keeps ready, as Ultralytics' own loader for training does


def images_per_batch(batch: int, imgsz: int, size: int) -> int:
    """Images of a batch of one size, at least 1: as many as take the memory of `batch` images of `imgsz` pixels."""
    return max(round(batch * (imgsz / size) ** 2), 1)


@dataclass(frozen=True)
class Batch:
    """One planned batch.

    Attributes:
        size: Side of its images in pixels.
        indices: Which images of the data set it holds.
    """

    size: int
    indices: tuple[int, ...]


class SizedBatchSampler(Sampler[list[int]]):
    """Deals the images of each epoch into batches of random sizes.

    Every epoch shows every image once, in the same number of batches, as Ultralytics' loop counts them only once:
    rounds in which each size comes once, all full, and a last round cut where the images run out. Epochs differ in
    the order of all batches, in the images, and in the sizes that the cut leaves out. A single image that the cut
    leaves over gets company from the fullest batch.

    The plan of an epoch is a function of the seed and the epoch's number alone.

    Attributes:
        counts: Images of a full batch by its size.
        epoch: Number of the epoch that the next iteration deals, from 0; each iteration adds 1.

    Args:
        images: Images in the data set, 1 or more.
        batch: Images of a batch at `imgsz`.
        imgsz: Size in pixels that the images are loaded at.
        sizes: Sizes to draw from, multiples of 32.
        seed: The training's.

    Raises:
        ValueError: if a size is no multiple of 32, or a batch of 32 pixels could only hold a single image, of
            which batch normalisation has no statistics.
    """

    def __init__(self, images: int, *, batch: int, imgsz: int, sizes: Sequence[int], seed: int) -> None:
        if not sizes or any(size <= 0 or size % GRID for size in sizes):
            raise ValueError(f"sizes must be multiples of {GRID}, but got {list(sizes)}")
        self.counts = {size: images_per_batch(batch, imgsz, size) for size in sizes}
        self.epoch = 0
        self._images = images
        self._seed = seed
        a_round = sum(self.counts.values())
        # The last whole round is dealt with what is left over, which may need one of its images.
        self._rounds = max(images // a_round - 1, 0)
        self._endings = self._choose_endings(images - self._rounds * a_round)

    def _choose_endings(self, images: int) -> list[tuple[tuple[int, int], ...]]:
        """Ways to deal the last images, all in the same number of batches.

        That number is the one with which most sizes come up at all, which matters for few images, and then the one
        that most orders of the sizes lead to.
        """
        random = np.random.default_rng(0)  # not the seed: trainings of one search take equally many batches
        by_length = defaultdict(list)
        for _ in range(_ORDERS):
            order = [int(size) for _ in range(2) for size in random.permutation(list(self.counts))]
            ending = _with_company(_cut(order, self.counts, images), self.counts)
            if all(size > GRID or count > 1 for size, count in ending):
                by_length[len(ending)].append(ending)
        if not by_length:
            raise ValueError(f"a batch of {GRID} pixels needs more than one image; use larger sizes or batches")
        return max(
            by_length.values(), key=lambda endings: (len({size for e in endings for size, _ in e}), len(endings))
        )

    def batches(self, epoch: int) -> list[Batch]:
        """The batches of an epoch, in their order."""
        random = np.random.default_rng((self._seed, epoch))
        # By way of a size, or sizes that few endings have would hardly come up where there are few images.
        known = sorted({size for ending in self._endings for size, _ in ending})
        wanted = known[random.integers(len(known))]
        endings = [ending for ending in self._endings if any(size == wanted for size, _ in ending)]
        ending = endings[random.integers(len(endings))]
        dealt = [*self._rounds * tuple(self.counts.items()), *ending]
        images = iter(random.permutation(self._images).tolist())
        shuffled = (dealt[index] for index in random.permutation(len(dealt)))
        return [Batch(size, tuple(next(images) for _ in range(count))) for size, count in shuffled]

    def __iter__(self) -> Iterator[list[int]]:
        batches = self.batches(self.epoch)
        self.epoch += 1
        yield from (list(batch.indices) for batch in batches)

    def __len__(self) -> int:
        return self._rounds * len(self.counts) + len(self._endings[0])


def _cut(order: Sequence[int], counts: dict[int, int], images: int) -> list[tuple[int, int]]:
    """Sizes in `order` with their full batches, until `images` are dealt; the last one holds the rest."""
    dealt = []
    for size in order:
        dealt.append((size, min(counts[size], images)))
        images -= dealt[-1][1]
        if not images:
            break
    return dealt


def _with_company(dealt: list[tuple[int, int]], counts: dict[int, int]) -> tuple[tuple[int, int], ...]:
    """The same batches, but a single image left over gets a second from the fullest, where that has three."""
    (size, count), fullest = dealt[-1], max(range(len(dealt)), key=lambda index: dealt[index][1])
    if count == 1 < counts[size] and dealt[fullest][1] - 1 > 1:
        dealt[fullest] = (dealt[fullest][0], dealt[fullest][1] - 1)
        dealt[-1] = (size, 2)
    return tuple(dealt)


class SizedLoader(InfiniteDataLoader):  # type: ignore[misc]  # Ultralytics has no types
    """Ultralytics' training loader over a `SizedBatchSampler`; each batch holds its size under `SIZE`.

    The size is put in after the workers, which keep the order of the batches, so any number of them and any
    prefetching gives the same epochs.

    Attributes:
        plan: The sampler; its `counts` are the sizes in use.
        batch_size: Images of a batch at imgsz, or of the data set if it has fewer.
        epoch: Number of the epoch that the next iteration shows, from 0.

    Args:
        dataset: A YOLO data set with its `collate_fn`.
        plan: Deals its images.
        batch: Images of a batch at imgsz.
        **options: Those of a data loader.
    """

    def __init__(self, dataset: Any, plan: SizedBatchSampler, *, batch: int, **options: Any) -> None:
        super().__init__(dataset, batch_sampler=plan, **options)
        # Ultralytics' loop asks for it, and a loader with a batch sampler has none.
        object.__setattr__(self, "batch_size", min(batch, len(dataset)))
        self.plan = plan
        self.epoch = 0
        self._unfinished = False

    def set_epoch(self, epoch: int) -> None:
        """Show this epoch next; needed where a training does not begin with its first one."""
        if epoch != self.epoch:
            self.reset()
            self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """One epoch of batches."""
        if self._unfinished:
            self.reset()  # what is left of that epoch would come first
        if self.iterator is None:
            self.plan.epoch = self.epoch  # prefetching may have dealt further epochs before a reset
        self._unfinished = True
        for planned, batch in zip(self.plan.batches(self.epoch), super().__iter__(), strict=True):
            batch[SIZE] = planned.size
            yield batch
        self._unfinished = False
        self.epoch += 1


def sized_loader(
    dataset: Any, *, batch: int, imgsz: int, sizes: Sequence[int], workers: int, seed: int, pin_memory: bool = False
) -> SizedLoader:
    """A training loader whose batches have random sizes; see `SizedBatchSampler` for arguments and errors.

    Args:
        dataset: A YOLO data set for `imgsz`.
        batch: Images of a batch at `imgsz`.
        imgsz: Size in pixels that the images are loaded at.
        sizes: Sizes to draw from, multiples of 32.
        workers: Processes that load; never more than CPUs or batches of an epoch, and none for a single batch.
        seed: The training's.
        pin_memory: Whether batches are put where a GPU can fetch them from.
    """
    plan = SizedBatchSampler(len(dataset), batch=batch, imgsz=imgsz, sizes=sizes, seed=seed)
    processes = min(workers, os.cpu_count() or 1, len(plan)) if len(plan) > 1 else 0
    return SizedLoader(
        dataset,
        plan,
        batch=batch,
        num_workers=processes,
        prefetch_factor=_PREFETCH if processes else None,
        pin_memory=pin_memory,
        collate_fn=dataset.collate_fn,
        worker_init_fn=seed_worker,
        generator=torch.Generator().manual_seed(seed),
    )


def resize_batch(batch: dict[str, Any], size: int, stride: int) -> dict[str, Any]:
    """A batch whose images have `size` pixels on their longer side.

    Args:
        batch: Has the images under `img`, (n, c, h, w), floating point; everything else is passed on.
        size: Pixels, a multiple of `stride`.
        stride: Pixels that both sides are a multiple of; the shorter side is rounded up to it.

    Raises:
        ValueError: if `size` is no multiple of `stride`.
    """
    if size % stride:
        raise ValueError(f"size must be a multiple of {stride}, but got {size}")
    height, width = batch["img"].shape[2:]
    longer = max(height, width)
    if longer == size:
        return batch
    # Whole numbers: in floating point a side that fits exactly may come out a stride too long.
    shape = [-(-side * size // (longer * stride)) * stride for side in (height, width)]
    return {**batch, "img": functional.interpolate(batch["img"], shape, mode="bilinear", align_corners=False)}
