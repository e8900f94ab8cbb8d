"""The warm actors of a dispatcher: who is hired, who is free, and who takes over from whom."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from evolve.trial import Failure

logger = logging.getLogger(__name__)

HANDOVER_SECONDS = 20.0


@dataclass(eq=False)
class Worker:
    """An actor; without a name until it has greeted.

    One that has run its trials gets a `relief` and works on until that has greeted, at most until `relieved_at`:
    where the cluster has no room for both, only its end lets the relief start.
    """

    actor: Any
    name: str = ""
    trials: int = 0
    relief: Worker | None = None
    relieved_at: float = 0.0

    def is_relieved(self) -> bool:
        """Whether its work is done."""
        return self.relief is not None and (bool(self.relief.name) or time.monotonic() >= self.relieved_at)


class Staff:
    """Hires as many workers as are wanted, and replaces those that are lost.

    Attributes:
        size: How many are wanted.
        greetings: What Ray can wait for: the greeting of each worker that is not ready yet.

    Args:
        make: Makes an actor.
        size: How many to hire at once.
        recycle_after: Trials of a worker's life.
    """

    def __init__(self, make: Callable[[], Any], size: int, recycle_after: int) -> None:
        self.size = size
        self.greetings: dict[Any, Worker] = {}
        self._make = make
        self._recycle_after = recycle_after
        self._members: set[Worker] = set()
        self._idle: list[Worker] = []
        self.fill(size)

    @property
    def strength(self) -> int:
        """How many there are; one who takes over counts instead of whom it relieves."""
        return sum(worker.relief is None for worker in self._members)

    def fill(self, wanted: int) -> None:
        """Hire until there are so many, at most `size`."""
        for _ in range(min(self.size, wanted) - self.strength):
            self._hire()

    def resize(self, size: int) -> None:
        """Hire, or dismiss whoever does not train; those who do leave after their trial, see `release`."""
        self.size = size
        self.fill(size)
        reliefs = {worker.relief for worker in self._members}
        spare = [*self.greetings.values(), *self._idle]  # the cold ones first
        for worker in sorted(spare, key=reliefs.__contains__):
            if self.strength > size:
                self._end(worker)

    def take(self) -> Worker | None:
        """A worker that is free; one whose relief is here goes instead."""
        while self._idle:
            worker = self._idle.pop()
            if not worker.is_relieved():
                return worker
            self._end(worker)
        return None

    def begin(self, worker: Worker) -> None:
        """Count a trial; the last of a worker's life calls for its relief."""
        worker.trials += 1
        if worker.trials >= self._recycle_after and worker.relief is None and self.strength <= self.size:
            worker.relief = self._hire()
            worker.relieved_at = time.monotonic() + HANDOVER_SECONDS

    def release(self, worker: Worker, *, harmed: bool) -> None:
        """Take a worker back from its trial."""
        if not harmed and self.strength <= self.size:
            self._idle.append(worker)
            return
        self._end(worker)
        if harmed:
            self.fill(self.strength + 1)

    def welcome(self, greeting: Any, answer: str | Failure) -> bool:
        """Hear what a new worker says; returns whether a slot stays empty because it did not start."""
        worker = self.greetings.pop(greeting)
        if isinstance(answer, str):
            worker.name = answer
            self._idle.append(worker)
            return False
        logger.warning("a worker did not start: %s", answer.message)
        relieves = any(other.relief is worker for other in self._members)
        self._end(worker)
        return not relieves

    def close(self) -> None:
        """Kill all of them."""
        for worker in self._members:
            ray.kill(worker.actor)
        for held in (self._members, self._idle, self.greetings):
            held.clear()

    def _hire(self) -> Worker:
        worker = Worker(self._make())
        self._members.add(worker)
        self.greetings[worker.actor.prepare.remote()] = worker
        return worker

    def _end(self, worker: Worker) -> None:
        ray.kill(worker.actor)
        self._members.discard(worker)
        self._idle = [other for other in self._idle if other is not worker]
        self.greetings = {greeting: other for greeting, other in self.greetings.items() if other is not worker}
        for other in self._members:
            if other.relief is worker:
                other.relief = None
