"""Buttons, questions, and what stands where there is nothing to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from nicegui import ui

from api.dashboard.components.text import attribute, block, text
from evolve.formatting import clean


def button(
    label: str,
    on_click: Callable[..., Any] | None = None,
    kind: Literal["plain", "strong", "danger", "quiet"] = "plain",
    **attributes: Any,
) -> ui.button:
    """A button of one of four kinds."""
    made = ui.button(label, on_click=on_click, color=None).props("no-caps unelevated")
    made.classes(f"ev-button ev-{kind}")
    attribute(made, **attributes)
    return made


def empty(title: str, advice: str = "") -> ui.element:
    """What stands where there is nothing yet, and what to do about it."""
    with block(classes="ev-empty") as made:
        text("p", title, "ev-empty-title")
        if advice:
            text("p", advice)
    return made


def busy(what: str) -> ui.element:
    """What stands while something is fetched."""
    with block(classes="ev-empty ev-busy", role="status", aria_busy="true") as made:
        block(classes="ev-pulse", aria_hidden="true")
        text("p", what)
    return made


def banner(message: str, kind: Literal["error", "warning", "note"] = "error") -> ui.element:
    """A message that stays; errors are read out at once."""
    role = "alert" if kind == "error" else "status"
    with block(classes=f"ev-banner ev-banner-{kind}", role=role) as made:
        text("p", message)
    return made


def spoken(message: str, kind: Literal["positive", "negative", "info"] = "info") -> None:
    """A short message that goes away by itself."""
    ui.notify(
        clean(message), type=kind, position="bottom", multi_line=True, timeout=6000 if kind == "negative" else 3000
    )


async def confirmed(question: str, consequence: str, action: str, *, danger: bool = False) -> bool:
    """Ask before something is done that cannot be undone, or that somebody else may mind."""
    with _asking(question) as dialog:
        text("p", consequence)
        with block(classes="ev-actions"):
            button("Keep as it is", lambda: dialog.submit(False), autofocus=True)
            button(action, lambda: dialog.submit(True), "danger" if danger else "strong")
    answer = await dialog
    if not dialog.is_deleted:  # with the whole page, whose reader was shut out meanwhile
        dialog.delete()
    return answer is True


@contextmanager
def _asking(question: str) -> Iterator[ui.dialog]:
    with ui.dialog() as dialog, block(classes="ev-dialog", role="document"):
        text("h2", question)
        yield dialog
    attribute(dialog, aria_label=clean(question))
