"""Figures that matter most, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui.elements.mixins.text_element import TextElement

from api.dashboard.components.text import block, text
from evolve.formatting import clean


class Tiles:
    """A row of tiles, each with a label, a value and a detail below it.

    Args:
        label: What the row is, for those who do not see it.
    """

    def __init__(self, label: str) -> None:
        self._place = block("dl", "ev-tiles", aria_label=label)
        self._tiles: list[tuple[TextElement, TextElement, TextElement]] = []

    def show(self, tiles: Sequence[tuple[str, str, str]], good: Sequence[int] = ()) -> None:
        """Show these; `good` are the places of those that are good news."""
        while len(self._tiles) < len(tiles):
            with self._place, block(classes="ev-tile"):
                self._tiles.append((text("dt"), text("dd", "", "ev-value"), text("dd", "", "ev-detail")))
        for place, (tile, shown) in enumerate(zip(tiles, self._tiles, strict=False)):
            for content, element in zip(tile, shown, strict=True):
                if element.text != clean(content):
                    element.text = clean(content)
            value = shown[1]
            if (place in good) != ("ev-good" in value.classes):
                value.classes(toggle="ev-good")
