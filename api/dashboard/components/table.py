"""Tables of texts, links, bars and curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from nicegui import events, ui

from evolve.formatting import clean

Cell: TypeAlias = str | dict[str, Any]


def column(label: str, sort: str = "", *, end: bool = False, wide: bool = False, note: str = "") -> dict[str, Any]:
    """A column.

    Args:
        label: Its heading.
        sort: What it is sorted by, if it can be.
        end: Whether its texts stand at the end, as numbers do.
        wide: Whether its texts may take several lines.
        note: What to know about it.
    """
    made: dict[str, Any] = {"label": label, "end": end, "wide": wide}
    return made | ({"sort": sort} if sort else {}) | ({"note": note} if note else {})


def cell(content: str, href: str = "", **more: Any) -> dict[str, Any]:
    """A cell.

    Args:
        content: Its text.
        href: Where it leads, within the dashboard.
        more: `tone` (good, bad, muted, strong, best), `mark` (a state), `bar` (a share from 0 to 1), `spark` and
            `reference` (curves), `under` (a second line), `note` (a tooltip), `mono`.
    """
    made: dict[str, Any] = {"text": clean(content), **more}
    return made | ({"href": href} if href else {})


def row(key: str | int, cells: Sequence[Cell], **more: Any) -> dict[str, Any]:
    """A row: a key of its own, cells, and if wanted `tone` and `chosen`."""
    return {"key": str(key), "cells": [clean(each) if isinstance(each, str) else each for each in cells], **more}


class DataTable(ui.element, component="table.js"):
    """A table; its rows are replaced with `show`.

    Args:
        caption: What it holds, for those who do not see it.
        columns: See `column`.
        sort: What it is sorted by at first, with `-` before it from high to low.
        on_sort: Called with what it is to be sorted by.
        on_choose: Called with a row's key and whether it is chosen; rows have a box to tick then.
        stacked: Whether a row becomes a block of lines where the page is narrow.
    """

    def __init__(
        self,
        caption: str,
        columns: Sequence[dict[str, Any]],
        *,
        sort: str = "",
        on_sort: Callable[[str], Any] | None = None,
        on_choose: Callable[[str, bool], Any] | None = None,
        stacked: bool = False,
    ) -> None:
        super().__init__()
        self.props["caption"] = caption
        self.props["columns"] = list(columns)
        self.props["rows"] = []
        self.props["sort"] = sort
        self.props["stacked"] = stacked
        self.props["choosable"] = on_choose is not None
        if on_sort is not None:
            self.on("sort", lambda event: on_sort(self._turned(event)))
        if on_choose is not None:
            self.on("choose", lambda event: on_choose(str(event.args[0]), bool(event.args[1])))

    def show(self, rows: Sequence[dict[str, Any]], columns: Sequence[dict[str, Any]] | None = None) -> None:
        """Show other rows; what has not changed is not sent again."""
        made = list(rows)
        if made == self.props["rows"] and columns is None:
            return
        with self.props.suspend_updates():
            self.props["rows"] = made
            if columns is not None:
                self.props["columns"] = list(columns)
        self.update()

    def _turned(self, event: events.GenericEventArguments) -> str:
        """A column's order, turned round where it is chosen already; numbers are best seen from high to low."""
        wanted = str(event.args)
        known = {each.get("sort") for each in self.props["columns"]}
        if wanted not in known:
            return str(self.props["sort"])
        self.props["sort"] = wanted if self.props["sort"] == f"-{wanted}" else f"-{wanted}"
        return str(self.props["sort"])
