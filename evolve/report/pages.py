"""From a template to a page that needs nothing else: style, script and plotly.js are in its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader
from markupsafe import Markup

from evolve.formatting import finite
from evolve.report.plot import Figure

_SHARED = "report"


def render_page(
    template: str,
    figures: Mapping[str, Figure],
    *,
    folder: str = _SHARED,
    styles: tuple[str, ...] = (),
    **content: Any,
) -> str:
    """A page that extends `base.html`.

    Args:
        template: File of the template.
        figures: What its places for figures show, by id.
        folder: Part of `evolve` that has the template.
        styles: Style sheets of that part that come after the common one.
        content: What the template refers to.
    """
    loader = ChoiceLoader([PackageLoader("evolve", part) for part in dict.fromkeys((folder, _SHARED))])
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)

    def source(name: str) -> Markup:
        return Markup(loader.get_source(environment, name)[0])  # noqa: S704 - a file of this package

    return environment.get_template(template).render(
        content,
        figures=finite(figures),
        style=Markup("\n").join(source(name) for name in ("style.css", *styles)),
        script=source("page.js"),
        plotly=_plotly() if figures else "",
    )


def _plotly() -> Markup:
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())  # noqa: S704 - the library's own file
