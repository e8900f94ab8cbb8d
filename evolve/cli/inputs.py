"""`evolve space check|show` and `evolve data check`: judge what a search would be given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SpaceRef = Annotated[str, typer.Argument(metavar="SPACE", help="YAML file, or the name of a shipped space.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    space = typer.Typer(help="Look at search spaces.", no_args_is_help=True)
    space.command("check")(check_space)
    space.command("show")(show_space)
    space.command("list")(list_spaces)
    app.add_typer(space, name="space")
    data = typer.Typer(help="Look at data sets.", no_args_is_help=True)
    data.command("check")(check_data)
    app.add_typer(data, name="data")


def check_space(
    space: SpaceRef,
    objective: Annotated[str, typer.Option(help="`yolo12`, or your own package.module:function.")] = "yolo12",
) -> None:
    """Check a search space; exit code 2 and one line if something is wrong."""
    from evolve.compose import check_objective
    from evolve.space import load_space

    loaded = load_space(space)
    check_objective(loaded, objective)
    individuals = loaded.search.population * loaded.search.generations
    typer.echo(f"{loaded.name}: {len(loaded.genes)} genes, {individuals} individuals at most: good")


def show_space(space: SpaceRef) -> None:
    """Print a search space with every default filled in."""
    from evolve.space import load_space
    from evolve.yaml_io import dump_yaml

    typer.echo(dump_yaml(load_space(space).document()), nl=False)


def list_spaces() -> None:
    """List the spaces that are shipped."""
    from evolve.space import shipped_spaces

    for name in sorted(shipped_spaces()):
        typer.echo(name)


def check_data(path: Annotated[Path, typer.Argument(help="Data YAML, or the folder that holds it.")]) -> None:
    """Check a data set as every search does before it trains; exit code 2 if it cannot be used."""
    from evolve.compose import check_data as check

    report = check(path)
    for line in report.lines():
        typer.echo(line)
    report.raise_for_errors()
