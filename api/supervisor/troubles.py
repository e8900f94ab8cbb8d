"""What is borne of drivers that die: how soon the next one starts, and when there will be no other."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from api.supervisor.drivers import Driver
from evolve.ledger import SearchRecord, SearchState

LONGEST_PAUSE_SECONDS = 60.0
IN_ORDER = (0, 130, 75)
"""Exit codes of drivers that ended well, that were interrupted, and that found another one at work."""
POOL_UNAVAILABLE = 69
"""The exit code of a driver that could not reach the pool, which is no fault of its search."""
DRIVER_FAILED = "the driver failed: "
"""How the reason of a search begins whose driver let go of it because of an error."""


@dataclass(frozen=True)
class Patience:
    """What is borne of drivers that die.

    Attributes:
        quick_seconds: A driver that lived for less died quickly.
        deaths: So many quick deaths in a row end the search.
        pause_seconds: The pause after the first of them; it doubles with every further one.
    """

    quick_seconds: float = 60.0
    deaths: int = 5
    pause_seconds: float = 1.0


@dataclass
class _Trouble:
    deaths: int = 0
    in_vain: int = 0
    retry_at: float = 0.0


class Troubles:
    """Remembers how the last drivers of each search ended.

    Args:
        patience: What is borne of them.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._book: dict[str, _Trouble] = {}

    def may_start(self, search_id: str) -> bool:
        """Whether the pause after the last death is over."""
        return search_id not in self._book or time.monotonic() >= self._book[search_id].retry_at

    def postpone(self, search_id: str) -> None:
        """A driver could not be started; pause as after a death, without counting one."""
        trouble = self._book.setdefault(search_id, _Trouble())
        trouble.in_vain += 1
        self._pause(trouble)

    def enter(self, search: SearchRecord, driver: Driver, code: int | None) -> str | None:
        """A driver is gone, and its search is not over.

        Args:
            search: As the driver left it.
            driver: The driver.
            code: Its exit code, if that is known.

        Returns:
            Why there will be no other; None if there will.
        """
        trouble = self._book.setdefault(search.id, _Trouble())
        if ended_in_order(search, code):
            trouble.deaths = trouble.in_vain = 0
        elif code == POOL_UNAVAILABLE:
            trouble.in_vain += 1
        else:
            quick = time.monotonic() - driver.started < self._patience.quick_seconds
            trouble.deaths = trouble.deaths + 1 if quick else 1
            trouble.in_vain = 0
        self._pause(trouble)
        if trouble.deaths < self._patience.deaths:
            return None
        words = last_words(search, driver, code)
        return f"its driver died {trouble.deaths} times in a row, the last time with: {words}"

    def forget(self, kept: Collection[str]) -> None:
        """Forget all searches but some."""
        self._book = {search_id: trouble for search_id, trouble in self._book.items() if search_id in kept}

    def _pause(self, trouble: _Trouble) -> None:
        doublings = min(max(trouble.deaths + trouble.in_vain - 1, 0), 10)
        pause = min(self._patience.pause_seconds * 2.0**doublings, LONGEST_PAUSE_SECONDS)
        trouble.retry_at = time.monotonic() + pause


def ended_in_order(search: SearchRecord, code: int | None) -> bool:
    """Whether a driver left its search as it should, to be gone on with."""
    if code is not None:
        return code in IN_ORDER
    released = search.state is SearchState.INTERRUPTED and search.owner is None
    return released and not search.reason.startswith(DRIVER_FAILED)


def last_words(search: SearchRecord, driver: Driver, code: int | None) -> str:
    """Why a driver ended, in words for a person."""
    if search.reason.startswith(DRIVER_FAILED):
        return search.reason.removeprefix(DRIVER_FAILED)
    if code is not None and code < 0:
        return f"killed by signal {-code}"
    return driver.last_words() or ("no word" if code is None else f"exit code {code}")
