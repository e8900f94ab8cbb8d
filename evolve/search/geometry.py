"""Many genomes at once: what `Codec` does for one, on arrays, and how a model sees genomes.

A screened search looks at a thousand offspring for every individual that it has trained; one by one that would
take longer than some trainings. What comes out of here is for the model: a genome that is proposed goes through
the codec, whose last digits may differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evolve.codec import Codec
from evolve.space import Gene, IntGene, SearchSpace
from evolve.space.validation import Scalar

Array: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

PLACEHOLDER = 0.5
"""What a model sees of a gene that does not exist."""
CHOICE_DISTANCE = 0.7
"""What a model sees in the column of the choice that was taken, with 0 in those of all others."""
_BINARY = 2
_SAME = 1e-9


class Geometry:
    """Arrays of genomes of one space, shape (n, genes), and the columns in which a model sees them.

    Attributes:
        choices: For each gene the number of its choices; 0 for a number.
        controlling: Dimensions of the categorical and boolean genes that decide whether others exist.

    Args:
        space: The space.
        codec: Its codec.
    """

    def __init__(self, space: SearchSpace, codec: Codec) -> None:
        self._default = np.array(codec.encode(space.default()))
        self.choices = np.array([gene.choice_count or 0 for gene in space.genes.values()])
        place = {name: dimension for dimension, name in enumerate(space.genes)}
        self._whole = [(place[name], gene) for name, gene in space.genes.items() if isinstance(gene, IntGene)]
        self._conditions = [
            (
                place[name],
                [
                    (place[parent], *_intervals(space.genes[parent], values))
                    for parent, values in space.genes[name].when.items()
                ],
            )
            for name in space.parents_first
            if space.genes[name].when
        ]
        parents = {parent for _, conditions in self._conditions for parent, *_ in conditions}
        self.controlling = sorted(parent for parent in parents if self.choices[parent])

    def snap(self, genomes: Array) -> Array:
        """Move coordinates to those of the values that they stand for; to the default's where there is no gene."""
        snapped = np.clip(genomes, 0.0, 1.0)
        chosen = self.choices > 0
        counts = self.choices[chosen]
        snapped[:, chosen] = (np.minimum(np.floor(snapped[:, chosen] * counts), counts - 1) + 0.5) / counts
        for dimension, gene in self._whole:
            snapped[:, dimension] = _snap_whole(gene, snapped[:, dimension])
        return np.where(self.active(snapped), snapped, self._default)

    def active(self, snapped: Array) -> Mask:
        """Which genes exist, of genomes whose categories and whole numbers are snapped."""
        active = np.ones(snapped.shape, dtype=bool)
        for dimension, parents in self._conditions:
            for parent, coordinates, near in parents:
                fits = (np.abs(snapped[:, parent, None] - coordinates) < near).any(axis=1)
                active[:, dimension] &= active[:, parent] & fits
        return active

    def columns(self, snapped: Array) -> Array:
        """What a model sees: a column for a number or a pair of choices, and one for each of more choices."""
        active = self.active(snapped)
        seen = np.where(active, snapped, PLACEHOLDER)
        parts = []
        for dimension, count in enumerate(self.choices):
            column = seen[:, dimension]
            if count <= _BINARY:  # 0.25 and 0.75 are half as far apart as the ends of a number
                parts.append((column if count == 0 else 2 * column - 0.5)[:, None])
                continue
            taken = np.minimum(snapped[:, dimension] * count, count - 1).astype(int)
            one_hot = CHOICE_DISTANCE * (taken[:, None] == np.arange(count))
            parts.append(np.where(active[:, dimension, None], one_hot, PLACEHOLDER * CHOICE_DISTANCE))
        return np.hstack(parts)


def _intervals(gene: Gene, values: Sequence[Scalar]) -> tuple[Array, Array]:
    """Where some values of a gene lie, and how near to that a coordinate means the same value."""
    encode: Callable[[Any], float] = gene.encode
    if not isinstance(gene, IntGene):
        return np.array([encode(value) for value in values]), np.full(len(values), _SAME)
    wholes = [int(value) for value in values]
    gaps = [
        min(
            abs(encode(value) - encode(other)) for other in (value - 1, value + 1) if gene.low <= other <= gene.high
        )
        for value in wholes
    ]  # of a large whole number, the next one can be nearer than rounding is exact
    return np.array([encode(value) for value in wholes]), np.array(gaps) / 2


def _snap_whole(gene: IntGene, coordinates: Array) -> Array:
    low, high = gene.low - 0.5, gene.high + 0.5
    values = low * (high / low) ** coordinates if gene.log else low + (high - low) * coordinates
    values = np.clip(np.floor(values + 0.5), gene.low, gene.high)
    if gene.log:
        return np.asarray(np.log(values / low) / math.log(high / low))
    return np.asarray((values - low) / (high - low))
