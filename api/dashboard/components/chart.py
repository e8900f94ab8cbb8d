"""Figures by ECharts in the page's colours."""

from __future__ import annotations

from typing import Any, TypeAlias

import nicegui.elements.echart  # noqa: F401 - registers the library that the component imports
from nicegui import ui

Options: TypeAlias = dict[str, Any]
"""ECharts options as plain data; colours are names such as `@best`, functions those of chart.js."""


class Chart(ui.element, component="chart.js"):
    """A figure; what it draws is replaced with `show`.

    Args:
        label: What it shows, for those who do not see it.
        href: Where a click on a dot leads; its third value, a number, is added.
        classes: Of the stylesheet, for its height.
    """

    def __init__(self, label: str, *, href: str = "", classes: str = "") -> None:
        super().__init__()
        self.classes(f"ev-figure {classes}".strip())
        self.props["label"] = label
        self.props["href"] = href
        self.props["options"] = {}
        self.props["meta"] = {}
        self.props["shape"] = ""

    def show(self, options: Options, meta: dict[str, Any] | None = None, shape: str = "") -> None:
        """Draw something else.

        Args:
            options: Of ECharts.
            meta: What the functions of chart.js need to know.
            shape: While it stays the same, what the reader hid or zoomed stays so too.
        """
        with self.props.suspend_updates():
            self.props["options"] = options
            self.props["meta"] = meta or {}
            self.props["shape"] = shape
        self.update()
