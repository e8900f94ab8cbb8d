"""What the search learns from trials that ran out of memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evolve.codec import Codec
from evolve.models import MODEL
from evolve.search.base import Genome
from evolve.space import IntGene, SearchSpace
from evolve.trial import Json

BATCH = "batch"
IMAGE_SIZE = "imgsz"
USUAL_IMAGE_SIZE = 640


class MemoryLimit:
    """Keeps children below the smallest batch that did not fit.

    Activations dominate the memory of a training, and they grow with batch * imgsz^2; so a batch that did not
    fit at one image size forbids, at another, all batches of as many pixels. Where the model is a gene, each model
    has a limit of its own.

    Args:
        space: Where `batch` is an integer gene of it, there is something to repair.
        codec: The codec of that space.
    """

    def __init__(self, space: SearchSpace, codec: Codec) -> None:
        self._codec = codec
        self._batch = space.genes.get(BATCH)
        self._image_size = space.train.get(IMAGE_SIZE, USUAL_IMAGE_SIZE)
        self._pixels: dict[Json, float] = {}  # by model

    def learn(self, params: Mapping[str, Json]) -> None:
        """Take in the values of an individual that ran out of memory."""
        if BATCH in params:
            self._pixels[params.get(MODEL)] = min(self._limit(params), self._pixels_of(params))

    def repair(self, genome: Genome) -> Genome:
        """The genome, with a batch that has a chance to fit if its own has none.

        A batch at the gene's lower bound stays, and so does one whose repair would break a constraint.
        """
        params = self._codec.decode(genome)
        if BATCH not in params or not isinstance(self._batch, IntGene):
            return genome
        limit = self._limit(params)
        if self._pixels_of(params) < limit:
            return genome
        per_image = self._pixels_of({**params, BATCH: 1})
        params[BATCH] = max(self._batch.low, int((limit - 1) // per_image))
        smaller = self._codec.encode(params)
        return smaller if self._codec.feasible(smaller) else genome

    def _limit(self, params: Mapping[str, Json]) -> float:
        return self._pixels.get(params.get(MODEL), float("inf"))

    def _pixels_of(self, params: Mapping[str, Json]) -> float:
        batch: Any = params[BATCH]
        size: Any = params.get(IMAGE_SIZE, self._image_size)
        return float(batch) * float(size) ** 2
