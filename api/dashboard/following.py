"""How a page stays up to date without being loaded again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from nicegui import context, ui

from api.dashboard.components import banner, spoken
from api.dashboard.frame import require
from evolve.exceptions import EvolveError, Forbidden

log = logging.getLogger(__name__)


class Follower:
    """Brings a page up to date, as long as whoever has it open may see it.

    Args:
        refresh: Brings the page up to date.
        problem: Where to say that this does not work at the moment.
    """

    def __init__(self, refresh: Callable[[], Awaitable[None]], problem: ui.element) -> None:
        self._refresh = refresh
        self._problem = problem
        self._said = ""

    async def now(self) -> None:
        """Bring the page up to date, or say why that cannot be done."""
        message = ""
        try:
            if not await still_allowed("read"):
                return
            await self._refresh()
        except EvolveError as error:
            message = str(error)
        except Exception:
            if self._problem.is_deleted:
                return
            log.exception("dashboard: a page could not be brought up to date")
            message = "This page cannot be brought up to date at the moment; it goes on trying. The log says why."
        self._say(message)

    def _say(self, message: str) -> None:
        if message == self._said or self._problem.is_deleted:  # somebody may have left meanwhile
            return
        self._said = message
        self._problem.clear()
        if message:
            with self._problem:
                banner(message)


def follow(seconds: float, refresh: Callable[[], Awaitable[None]], problem: ui.element) -> Follower:
    """Refresh a page every few seconds while somebody has it open.

    Args:
        seconds: Between two refreshes.
        refresh: Brings the page up to date.
        problem: Where to say that this does not work at the moment.

    Returns:
        What does so, for those who cannot wait.
    """
    follower = Follower(refresh, problem)
    ui.timer(seconds, follower.now)
    return follower


async def still_allowed(scope: str) -> bool:
    """Whether whoever has the page open may still see it; if not, it is emptied, and they are led to sign in."""
    try:
        await require(scope)
    except Forbidden:
        page = context.client
        ui.navigate.to("/login")
        page.content.clear()  # and with it the timers
        return False
    return True


async def attempt(action: Callable[[], Awaitable[str]]) -> bool:
    """Do what a button is for; say what came of it, or in one line why nothing did.

    Args:
        action: Does it, and returns what to say.
    """
    try:
        said = await action()
    except EvolveError as error:
        spoken(str(error), "negative")
        return False
    if said:
        spoken(said, "positive")
    return True
