"""Plain HTML elements with text in them."""

from __future__ import annotations

from typing import Any

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from evolve.formatting import clean


def attribute(element: ui.element, **attributes: Any) -> ui.element:
    """Set HTML attributes, `_` for `-`, by value: what users write must not be read as syntax."""
    for name, value in attributes.items():
        element.props[name.rstrip("_").replace("_", "-")] = value
    return element


def text(tag: str, content: str = "", classes: str = "", **attributes: Any) -> TextElement:
    """An element that shows a text on one line, and nothing else."""
    element = TextElement(tag=tag, text=clean(content))
    if classes:
        element.classes(classes)
    attribute(element, **attributes)
    return element


def block(tag: str = "div", classes: str = "", **attributes: Any) -> ui.element:
    """An element to put others into."""
    element = ui.element(tag)
    if classes:
        element.classes(classes)
    attribute(element, **attributes)
    return element


def link(content: str, target: str, classes: str = "", *, new_tab: bool = False, **attributes: Any) -> TextElement:
    """A link to a page of this dashboard, or to an address that is ours to give."""
    element = ui.link(clean(content), target, new_tab=new_tab)
    if classes:
        element.classes(classes)
    if new_tab:
        attributes["rel"] = "noopener"
    attribute(element, **attributes)
    return element


def preformatted(content: str) -> TextElement:
    """A text of several lines as it is, but for control characters."""
    lines = "\n".join(map(_printable, content.splitlines()))
    element = TextElement(tag="pre", text=lines)
    element.classes("ev-pre")
    attribute(element, tabindex=0)
    return element


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in line)
