"""What the search learns from trials that ran out of memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evolve.codec import Codec
from evolve.search.base import Genome
from evolve.trial import Json

BATCH = "batch"
IMAGE_SIZE = "imgsz"


@dataclass
class MemoryLimit:
    """Keeps children below the smallest batch that did not fit.

    Activations dominate the memory of a training, and they grow with batch * imgsz^2; so a batch that did not fit
    at one image size forbids, at another, all batches of as many pixels.

    Attributes:
        image_size: The fixed image size in pixels, where it is no gene.
        pixels: The smallest batch * imgsz^2 that ran out of memory so far.
    """

    image_size: float
    pixels: float = float("inf")

    def learn(self, params: Mapping[str, Json]) -> None:
        """Take in the values of an individual that ran out of memory."""
        self.pixels = min(self.pixels, self._pixels(params))

    def allows(self, params: Mapping[str, Json]) -> bool:
        """Whether nothing as large has failed yet."""
        return BATCH not in params or self._pixels(params) < self.pixels

    def repair(self, codec: Codec, genome: Genome, low: int) -> Genome:
        """The genome with its batch made small enough, as far as `low`, the gene's bound, lets it."""
        params = dict(codec.decode(genome))
        if self.allows(params):
            return genome
        per_image = self._pixels({**params, BATCH: 1})
        params[BATCH] = max(low, int((self.pixels - 1) // per_image))
        return codec.encode(params)

    def _pixels(self, params: Mapping[str, Json]) -> float:
        batch, size = params.get(BATCH, 1), params.get(IMAGE_SIZE, self.image_size)
        return float(batch) * float(size) ** 2  # type: ignore[arg-type]  # both are numbers by the space's rules
