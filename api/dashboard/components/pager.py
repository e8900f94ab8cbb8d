"""From page to page of a long table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from api.dashboard.components.controls import button
from api.dashboard.components.text import block, text


class Pager:
    """Which part of a table is shown, and buttons to the parts before and after.

    Args:
        what: Of what the table is, in the plural.
        size: Rows of a page.
        on_page: Called with the number of the page to show, from 0.
    """

    def __init__(self, what: str, size: int, on_page: Callable[[int], Any]) -> None:
        self._what = what
        self._size = size
        self._page = 0
        with block("nav", "ev-pager", aria_label=f"Pages of {what}"):
            self._previous = button("Previous", lambda: on_page(max(0, self._page - 1)))
            self._text = text("span", "", "ev-muted", aria_live="polite")
            self._next = button("Next", lambda: on_page(self._page + 1))

    def show(self, page: int, amount: int) -> None:
        """Say where the reader is.

        Args:
            page: The page that is shown.
            amount: Rows on all pages.
        """
        self._page = page
        first, last = page * self._size + 1, min(amount, (page + 1) * self._size)
        shown = (
            f"{first:,} to {last:,} of {amount:,} {self._what}" if first <= amount else f"{amount:,} {self._what}"
        )
        if self._text.text != shown:
            self._text.text = shown
        for control, enabled in ((self._previous, page > 0), (self._next, last < amount)):
            if control.enabled != enabled:
                control.set_enabled(enabled)
