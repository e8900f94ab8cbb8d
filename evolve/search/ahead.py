"""Proposing ahead: while trials run, the next proposal is thought out, so that a free GPU gets it at once.

A thread owns the search. It hears of verdicts through a queue, and keeps one draft ready; a verdict makes a draft
stale, and a better one takes its place as soon as it is thought out, but whoever asks before that gets the stale
one. So what is proposed depends on when it was asked for, and only searches without generations may use this.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self, TypeAlias

from evolve.search.base import Decision, Outcome, Proposal
from evolve.search.genetic import GeneticSearch

PATIENCE_SECONDS = 0.3
"""How long `ask` waits for what is being thought out; the driver asks again soon."""

_News: TypeAlias = Proposal | Outcome


class Ahead:
    """A genetic search that thinks while trials run; see `SearchAlgorithm`.

    Args:
        search: Fresh, and used by nobody else.
    """

    def __init__(self, search: GeneticSearch) -> None:
        self._search = search
        self._changed = threading.Condition()
        self._news: deque[_News] = deque()
        self._draft: Proposal | None = None
        self._stale = True
        self._closed = False
        self._error: BaseException | None = None
        self._parents: set[int] = set()
        self._continuable: set[int] = set()
        self._unheard: set[int] = set()  # told, but the search has not heard of them yet
        self._thread = threading.Thread(target=self._think, name="search", daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Think no further; a second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.ident:
            self._thread.join()  # the interpreter must not end while a library is at work in a thread

    def ask(self, n: int) -> list[Proposal]:
        """Up to `n` proposals, as many as are thought out within `PATIENCE_SECONDS`."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        proposals: list[Proposal] = []
        with self._changed:
            self._start()
            while len(proposals) < n:
                if not self._changed.wait_for(self._is_ready, max(0.0, deadline - time.monotonic())):
                    break
                if self._error is not None:
                    raise self._error
                if self._draft is not None:
                    proposals.append(self._draft)
                    self._hear(self._draft)
        return proposals

    def report(self, number: int, epoch: int, fitness: float) -> Decision:
        """Hear of an epoch of a running individual."""
        return self._search.report(number, epoch, fitness)

    def tell(self, outcome: Outcome) -> None:
        """Learn the verdict on an individual; takes no time."""
        with self._changed:
            self._unheard.add(outcome.proposal.number)
            self._news.append(outcome)
            self._stale = True
            self._changed.notify_all()

    def possible_parents(self) -> set[int]:
        """As the search said last, with those that it has not heard of yet."""
        with self._changed:
            return self._parents | self._unheard

    def continuable(self) -> set[int]:
        """As the search said last, with those that it has not heard of yet."""
        with self._changed:
            return self._continuable | self._unheard

    def replay(self, proposals: Iterable[Proposal], outcomes: Iterable[Outcome]) -> None:
        """Take over a former driver's proposals and verdicts, before anything is asked for."""
        self._search.replay(proposals, outcomes)

    def _start(self) -> None:
        if not self._thread.ident and not self._closed:
            self._parents, self._continuable = self._search.possible_parents(), self._search.continuable()
            self._thread.start()

    def _is_ready(self) -> bool:
        return self._draft is not None or self._error is not None

    def _hear(self, proposal: Proposal) -> None:
        """A draft was taken: the search must know before it thinks of the next one."""
        self._news.append(proposal)
        self._draft = None
        self._stale = True
        self._changed.notify_all()

    def _think(self) -> None:
        try:
            while self._listen():
                draft = self._search.draft()
                with self._changed:
                    if not any(isinstance(each, Proposal) for each in self._news):  # else its number is taken
                        self._draft = draft
                        self._stale = bool(self._news)
                        self._changed.notify_all()
        except BaseException as error:  # whoever asks next gets to see it
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _listen(self) -> bool:
        """Wait until there is something to think about, and pass it on; False when it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._stale or self._closed)
            if self._closed:
                return False
            news, unheard = list(self._news), set(self._unheard)
            self._news.clear()
            self._stale = False
        for each in news:
            if isinstance(each, Proposal):
                self._search.enter(each)
            else:
                self._search.tell(each)
        with self._changed:
            self._unheard -= unheard
            self._parents, self._continuable = self._search.possible_parents(), self._search.continuable()
        return True
