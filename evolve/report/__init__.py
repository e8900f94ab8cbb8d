"""A search as one HTML file that needs nothing else: no network, no server, no other file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from evolve.files import replacing
from evolve.formatting import finite
from evolve.report.content import Content, content_of

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
    """The page: template, style, script and plotly.js in one text."""
    from plotly.offline import get_plotlyjs

    loader = PackageLoader("evolve", "report")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)

    def source(name: str) -> Markup:
        return Markup(loader.get_source(environment, name)[0])  # noqa: S704 - a file of this package

    return environment.get_template("page.html").render(
        content=content,
        figures=finite(content.figures),
        style=source("style.css"),
        script=source("page.js"),
        plotly=Markup(get_plotlyjs()) if content.figures else "",  # noqa: S704 - the library's own file
    )
