"""How a page stays up to date without being loaded again."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial

from nicegui import ui

from api.dashboard.components import banner, spoken
from evolve.exceptions import EvolveError

log = logging.getLogger(__name__)


def follow(seconds: float, refresh: Callable[[], Awaitable[None]], problem: ui.element) -> ui.timer:
    """Refresh a page every few seconds while somebody has it open.

    Args:
        seconds: Between two refreshes.
        refresh: Brings the page up to date.
        problem: Where to say that this does not work at the moment.
    """
    return ui.timer(seconds, partial(_refreshed, refresh, problem, _Trouble()))


class _Trouble:
    said: str = ""


async def _refreshed(refresh: Callable[[], Awaitable[None]], problem: ui.element, trouble: _Trouble) -> None:
    message = ""
    try:
        await refresh()
    except EvolveError as error:
        message = str(error)
    except Exception:
        if problem.is_deleted:
            return
        log.exception("dashboard: a page could not be brought up to date")
        message = "This page cannot be brought up to date at the moment; it goes on trying. The log says why."
    if message != trouble.said and not problem.is_deleted:  # somebody may have left meanwhile
        trouble.said = message
        problem.clear()
        if message:
            with problem:
                banner(message)


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
