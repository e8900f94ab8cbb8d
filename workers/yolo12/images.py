"""The data set of a trial: labels scanned once, pictures decoded once for all workers of a machine.

Both caches lie in the prepared view of the data, which is this product's own folder; a cache found elsewhere is
never read, as Ultralytics' label cache is a pickle and runs code.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from functools import cached_property
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from filelock import FileLock
from numpy.typing import NDArray
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import NUM_THREADS

VIEW_MARK = "manifest.json"
MEMORY_SHARE = 0.25
"""Share of the machine's memory that decoded pictures of one data set and size may take."""
DISK_SHARE = 0.2
"""Share of the free disk space that the decoded pictures of one data set, in all sizes together, may take."""


class TrialDataset(YOLODataset):  # type: ignore[misc]  # Ultralytics has no types
    """A YOLO data set that shares its caches with the other workers and writes nothing into a user's folder.

    Args:
        data: Ultralytics' reading of the data YAML.
        scratch: Folder for the label cache where the data are no prepared view.
        decoded: Whether to share decoded pictures, where there is room for them.
    """

    def __init__(
        self, *args: Any, data: dict[str, Any], scratch: Path, decoded: bool = True, **kwargs: Any
    ) -> None:
        root = Path(data["yaml_file"]).parent
        self._home = root if (root / VIEW_MARK).is_file() else None
        self._scratch = scratch
        self._added: list[Callable[[dict[str, Any]], dict[str, Any]]] = []
        super().__init__(*args, data=data, cache="ram" if decoded else None, **kwargs)

    def _load_or_scan_cache(self, cache_path: Path, cache_hash: str) -> tuple[dict[str, Any], bool]:
        if self._home is None:
            return self.cache_labels(self._scratch / cache_path.name), False
        with FileLock(cache_path.with_suffix(".lock")):
            found: tuple[dict[str, Any], bool] = super()._load_or_scan_cache(cache_path, cache_hash)
            return found

    def get_labels(self) -> list[dict[str, Any]]:
        """Read the labels, and keep the pictures' sizes, which rectangular batches take out of them."""
        labels: list[dict[str, Any]] = super().get_labels()
        self._shapes = {label["im_file"]: self._resized(label["shape"]) for label in labels}
        self._originals = {label["im_file"]: tuple(label["shape"]) for label in labels}
        return labels

    def check_cache_ram(self, safety_margin: float = 1.0) -> bool:
        """Whether to share decoded pictures: in a view, and where memory and disk have room for them."""
        if self._home is None or not (self._decoded.exists() or self._has_room(self._home)):
            self.cache = None
        return bool(self.cache)

    def cache_images(self) -> None:
        """Map the decoded pictures of this split and size into memory; whoever comes first decodes them."""
        file = self._decoded
        file.parent.mkdir(exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            if not file.exists():
                self._decode_into(file)
        for index, pixels in enumerate(self._pieces(np.load(file, mmap_mode="r"))):
            self.ims[index] = pixels
            self.im_hw0[index] = self._originals[self.im_files[index]]
            self.im_hw[index] = pixels.shape[:2]

    def build_transforms(self, hyp: Any) -> Any:
        """Build Ultralytics' transforms, as it does anew to close the mosaics, with the added ones in place."""
        transforms = super().build_transforms(hyp)
        transforms.transforms[-1:-1] = self._added
        return transforms

    def add_transforms(self, transforms: Sequence[Callable[[dict[str, Any]], dict[str, Any]]]) -> None:
        """Augment with these as well, if this data set augments: last, but before `Format` makes tensors."""
        if self.augment:
            self._added.extend(transforms)
            self.transforms.transforms[-1:-1] = transforms

    def load_image(
        self, i: int, rect_mode: bool = True, resize_short: bool = False
    ) -> tuple[NDArray[np.uint8], tuple[int, int], tuple[int, int]]:
        """Load one picture, resized to the training size; always one that may be written to."""
        image, original, resized = super().load_image(i, rect_mode, resize_short)
        return (image if image.flags.writeable else image.copy()), original, resized

    @cached_property
    def _decoded(self) -> Path:
        """The shared file of this split and size, in a view."""
        return Path(self.data["yaml_file"]).parent / "decoded" / f"{self.get_cache_hash()[:32]}-{self.imgsz}.npy"

    def _has_room(self, folder: Path) -> bool:
        size = sum(math.prod(shape) for shape in self._shapes.values()) * self.channels
        memory = psutil.virtual_memory().total * MEMORY_SHARE
        taken = sum(file.stat().st_size for file in self._decoded.parent.glob("*.npy"))  # by other sizes
        disk = (shutil.disk_usage(folder).free + taken) * DISK_SHARE - taken
        return bool(size < min(memory, disk))

    def _resized(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Height and width after `load_image`, whose rounding this repeats."""
        ratio = self.imgsz / max(shape)
        if ratio == 1:
            return shape
        return min(math.ceil(shape[0] * ratio), self.imgsz), min(math.ceil(shape[1] * ratio), self.imgsz)

    def _pieces(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Views of the single pictures, in the order of `im_files`; the file keeps the order of the labels."""
        pieces, start = {}, 0
        for name, (height, width) in self._shapes.items():
            end = start + height * width * self.channels
            pieces[name] = pixels[start:end].reshape(height, width, self.channels)
            start = end
        return [pieces[name] for name in self.im_files]

    def _decode_into(self, file: Path) -> None:
        draft = file.with_suffix(".tmp")
        size = sum(math.prod(shape) for shape in self._shapes.values()) * self.channels
        pixels = np.lib.format.open_memmap(draft, mode="w+", dtype=np.uint8, shape=(size,))
        pieces = self._pieces(pixels)

        def decode(index: int) -> None:
            pieces[index][:] = self.load_image(index)[0]

        with ThreadPool(NUM_THREADS) as pool:
            pool.map(decode, range(len(pieces)))
        pixels.flush()
        os.replace(draft, file)


def scan_labels(view: Path) -> None:
    """Build the label caches of a prepared view; see `workers.yolo12.prepare_labels`."""
    data = check_det_dataset(str(view), autodownload=False)
    for split in ("train", "val"):
        TrialDataset(img_path=data[split], data=data, scratch=view.parent, decoded=False, augment=split == "train")
