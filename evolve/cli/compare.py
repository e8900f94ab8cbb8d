"""`evolve compare`: set searches side by side."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class By(StrEnum):
    """What all searches get as much of."""

    TRAININGS = "trainings"
    TIME = "time"


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command()(compare)


def compare(
    searches: Annotated[
        list[str] | None, typer.Argument(metavar="SEARCH SEARCH ...", help="Ids, beginnings of ids, or names.")
    ] = None,
    by: Annotated[
        By, typer.Option(help="Test after equal numbers of trainings, or after equal time.")
    ] = By.TRAININGS,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write this HTML page.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a row for each search to this .csv instead.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Set searches side by side: what each reached for what it spent, and whether that is more than luck."""
    from evolve.comparison import compare_searches

    comparison = compare_searches(*(searches or ()), by=by.value)
    for line in comparison.warnings:
        typer.echo(f"evolve: warning: {line}", err=True)
    if output is not None:
        comparison.write(output)
    if as_json:
        typer.echo(json.dumps(comparison.document()))
        return
    if csv is not None:
        from evolve.frame import write_frame

        typer.echo(write_frame(comparison.frame(), csv))
    else:
        from rich.console import Console

        from evolve.comparison.tables import comparison_view

        Console().print(comparison_view(comparison))
    if output is not None:
        typer.echo(output)
