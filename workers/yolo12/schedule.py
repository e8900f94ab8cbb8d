"""Learning rate schedules: the factor on lr0 in each epoch.

A schedule is a function of the epoch alone, so a training that goes on after an interruption, or whose data loader
is rebuilt, needs no state. Ultralytics' trainer keeps it as `lf`, steps it once an epoch, and warms up towards
`lr0 * lf(epoch)`, so the warm-up fits every schedule here, even one that outlasts a cycle.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ultralytics.utils.torch_utils import one_cycle

from workers.yolo12.recipe import Recipe

Schedule = Callable[[float], float]
"""Factor on lr0 by epoch, counted from 0."""


def make_schedule(recipe: Recipe, epochs: int, lrf: float) -> Schedule:
    """The schedule that a recipe names.

    Args:
        recipe: Its `lr_schedule`; for `cosine_restarts` also `lr_cycle`, `lr_cycle_mult` and `lr_gamma`.
        epochs: Epochs of the training; `linear` and `cosine` reach `lrf` when they are over.
        lrf: Last factor of `linear` and `cosine`, and the smallest of `cosine_restarts`; 0 to 1.

    Raises:
        ValueError: if no schedule has this name.
    """
    match recipe.lr_schedule:
        case "linear":
            return lambda epoch: max(1 - epoch / epochs, 0) * (1.0 - lrf) + lrf
        case "cosine":
            cosine: Schedule = one_cycle(1, lrf, epochs)
            return cosine
        case "cosine_restarts":
            return CosineRestarts(recipe.lr_cycle, recipe.lr_cycle_mult, recipe.lr_gamma, lrf)
    raise ValueError(f"lr_schedule: must be linear, cosine or cosine_restarts, but got {recipe.lr_schedule!r}")


@dataclass(frozen=True)
class CosineRestarts:
    """Cosine annealing with warm restarts and a decaying maximum (Loshchilov and Hutter, arXiv:1608.03983, eq. 5).

    Cycle k begins in epoch T(k) = round(cycle * (mult^k - 1) / (mult - 1)), which is cycle * k for mult 1, and the
    factor in epoch t of cycle k is

        floor + (top - floor) * (1 + cos(pi * (t - T(k)) / (T(k+1) - T(k)))) / 2,   top = max(gamma^k, floor)

    Every cycle begins in a whole epoch and at its full maximum: the sums are rounded, not the lengths, so nothing
    adds up over many cycles. The factor would reach the floor where the next cycle begins, so the last epoch of a
    cycle is one step above it, and a cycle of one epoch stays at its maximum.

    Attributes:
        cycle: Epochs of the first cycle, 1 or more.
        mult: How much longer each cycle is than the one before, 1 or more.
        gamma: Factor on the maximum from one cycle to the next, above 0, at most 1.
        floor: Smallest factor, 0 to 1. Once gamma^k has fallen below it, the factor stays there.

    Raises:
        ValueError: if one of the first three is out of its range.
    """

    cycle: int
    mult: float = 1.0
    gamma: float = 1.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.cycle < 1 or self.mult < 1.0 or not 0.0 < self.gamma <= 1.0:
            raise ValueError(f"`cycle >= 1`, `mult >= 1` and `0 < gamma <= 1` must hold, but got {self}")

    def __call__(self, epoch: float) -> float:
        """The factor on lr0 in an epoch, counted from 0; takes the same time for every epoch."""
        number = self.number(epoch)
        start, end = self.start(number), self.start(number + 1)
        top = max(self.gamma**number, self.floor)
        return self.floor + (top - self.floor) * (1.0 + math.cos(math.pi * (epoch - start) / (end - start))) / 2.0

    def start(self, number: int) -> int:
        """The epoch in which a cycle begins; both are counted from 0."""
        growth = self.mult - 1.0
        # expm1 and log1p keep every digit where mult is hardly above 1
        cycles = math.expm1(number * math.log1p(growth)) / growth if growth else number
        return math.floor(self.cycle * cycles + 0.5)

    def number(self, epoch: float) -> int:
        """The cycle, counted from 0, that an epoch belongs to."""
        growth = self.mult - 1.0
        cycles = epoch / self.cycle
        guess = math.floor(math.log1p(cycles * growth) / math.log1p(growth) if growth else cycles)
        # The starts are rounded, so the inverse may be off by one.
        while self.start(guess) > epoch:
            guess -= 1
        while self.start(guess + 1) <= epoch:
            guess += 1
        return guess
