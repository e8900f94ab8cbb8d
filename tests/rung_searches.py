"""Searches with rungs: an algorithm that stops and continues as told, and trainings that can be continued."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evolve.dispatch import Dispatcher, InlineDispatcher
from evolve.keeper import LeaseKeeper
from evolve.ledger import Ledger, SearchRecord, Transaction
from evolve.runner import Ending
from evolve.search.base import Decision, Outcome, Proposal
from evolve.space import SearchSpace
from evolve.trial import EpochReport, Objective, Role, TrialResult, TrialSpec, TrialStream
from search_helpers import make_runner
from spaces import METRIC, space

EPOCHS = 18
LEVELS = (2.0, 6.0)


def rungs_space(**sections: Any) -> SearchSpace:
    """Rungs after 2 and 6 of 18 epochs, and twelve individuals."""
    genes = {"x": {"type": "float", "low": 0, "high": 1, "default": 0.1}}
    search = {
        "population": 4,
        "generations": 3,
        "rungs": {"over": "epochs", "levels": 2, "factor": 3},
        **sections.pop("search", {}),
    }
    return space(genes=genes, train={"epochs": EPOCHS, **sections.pop("train", {})}, search=search, **sections)


class Halving:
    """Stops whom the test says at its rung, and continues everyone in the order in which they were stopped.

    Args:
        stops: Individuals and the rungs at which they are stopped, in the order of the rungs.
        continues: Whether anybody is continued.
        patience: Individuals before the first continuation.
        x: The gene of an individual.
        partial: Settings of a cheap training, with which all of them begin then.
    """

    def __init__(
        self,
        stops: Mapping[int, tuple[float, ...]],
        *,
        continues: bool = True,
        patience: int = 0,
        x: Callable[[int], float] = lambda number: number / 20,
        partial: Mapping[str, Any] | None = None,
    ) -> None:
        self._stops = stops
        self._continues = continues
        self._patience = patience
        self._x = x
        self._partial = partial or {}
        self._asked = 0
        self._born = 0
        self._first: dict[int, int] = {}
        self._stopped: list[Proposal] = []
        self.heard: list[tuple[int, int, float]] = []
        self.told: list[Outcome] = []

    def ask(self, n: int) -> list[Proposal]:
        return [self._propose() for _ in range(n)]

    def _propose(self) -> Proposal:
        if self._stopped and self._continues and self._asked >= self._patience:
            original = self._stopped[0]
            proposal = self._proposal(original.genome[0], role=Role.CONTINUATION, original=original.number)
        elif self._partial:
            proposal = self._proposal(self._x(self._born), role=Role.PARTIAL, settings=self._partial)
        else:
            proposal = self._proposal(self._x(self._born))
        self._enter(proposal)
        return proposal

    def _proposal(self, x: float, **more: Any) -> Proposal:
        return Proposal(self._asked, self._asked // 4, (x,), {"x": x}, str(x), **more)

    def _enter(self, proposal: Proposal) -> None:
        self._asked += 1
        self._born += proposal.role is not Role.CONTINUATION
        original = proposal.original
        self._first[proposal.number] = proposal.number if original is None else self._first[original]
        self._stopped = [each for each in self._stopped if each.number != original]

    def report(self, number: int, epoch: int, fitness: float) -> Decision:
        self.heard.append((number, epoch, fitness))
        stop = epoch in self._stops.get(self._first[number], ())
        return Decision.STOP if stop else Decision.CONTINUE

    def tell(self, outcome: Outcome) -> None:
        self.told.append(outcome)
        if outcome.is_partial:
            self._stopped.append(outcome.proposal)

    def possible_parents(self) -> set[int]:
        return set()

    def continuable(self) -> set[int]:
        return {each.number for each in self._stopped} if self._continues else set()

    def replay(self, proposals: Iterable[Proposal], outcomes: Iterable[Outcome]) -> None:
        partial: list[Outcome] = []
        for outcome in outcomes:
            self.told.append(outcome)
            partial += [outcome] if outcome.is_partial else []
        self._stopped = [each.proposal for each in partial]
        for proposal in proposals:
            self._enter(proposal)


class Checkpointing:
    """A training that goes on from the checkpoint in its folder; each epoch takes a second, as it says.

    Attributes:
        trained: Individual and epoch of all that was trained.
    """

    def __init__(self) -> None:
        self.trained: list[tuple[int, int]] = []

    def run(self, spec: TrialSpec) -> TrialStream:
        folder = Path(spec.directory)
        folder.mkdir(parents=True, exist_ok=True)
        last = folder / "last"
        begun = int(last.read_text()) if last.exists() else 0
        x, epochs = spec.params["x"], spec.settings["epochs"]
        assert isinstance(x, float)
        assert isinstance(epochs, int)
        for epoch in range(begun + 1, epochs + 1):
            self.trained.append((spec.individual, epoch))
            last.write_text(str(epoch))
            yield EpochReport(epoch, epochs, {METRIC: value(x, epoch)}, float(epoch - begun))
        last.unlink()
        return TrialResult({METRIC: value(x, epochs)}, epochs=epochs, seconds=float(epochs - begun))


def value(x: float, epoch: int) -> float:
    """Better with every second epoch only, so that the best so far and the last differ."""
    return x + epoch / 100 - (0.05 if epoch % 2 else 0.0)


def best_by(x: float, level: float) -> float:
    return max(value(x, epoch) for epoch in range(1, int(level) + 1))


class Killed(BaseException):
    """The driver is gone."""


class Mortal(LeaseKeeper):
    """Its driver dies right after so many commits, before it can act on the last."""

    def __init__(self, lease: Any, lives: int) -> None:
        super().__init__(lease, interval=60)
        self._lives = lives

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with super().transaction() as tx:
            yield tx
        self._lives -= 1
        if self._lives == 0:
            raise Killed


def drive(
    ledger: Ledger,
    search: SearchRecord,
    algorithm: Halving,
    *,
    objective: Objective | None = None,
    dispatcher: Dispatcher | None = None,
    lives: int = 0,
) -> Ending | None:
    """Drive a search to its end, or until the driver has made so many commits and is killed (None)."""
    dispatcher = dispatcher or InlineDispatcher(objective or Checkpointing())
    try:
        with Mortal(ledger.acquire(search.id), lives) as keeper:
            return make_runner(ledger, search, keeper, dispatcher=dispatcher, algorithm=algorithm).run()
    except Killed:
        return None
