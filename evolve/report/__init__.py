"""A search as one HTML file that needs nothing else: no network, no server, no other file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evolve.files import replacing
from evolve.report.content import Content, content_of
from evolve.report.pages import render_page

if TYPE_CHECKING:
    from evolve.ledger import Ledger

__all__ = ["render", "write_report"]


def write_report(ledger: Ledger, search_id: str, target: Path) -> Path:
    """Write the report of a search, whole or not at all; an older file of that name is replaced.

    Args:
        ledger: Where the search is recorded.
        search_id: The search; it may still be running, and may be empty.
        target: The HTML file.

    Raises:
        SearchNotFound: if there is no such search.
        InputError: if `target` cannot be written.
    """
    search = ledger.search(search_id)
    content = content_of(search, ledger.individuals(search.id), ledger.evaluations(search.id))
    with replacing(target, "report") as temporary:
        temporary.write_text(render(content), encoding="utf-8")
    return target


def render(content: Content) -> str:
    """The page of the report."""
    return render_page("page.html", content.figures, content=content)
