"""Options that replace values of a search space: the same for every command that takes one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from evolve.trial import Json

Generations: TypeAlias = Annotated[int | None, typer.Option(help="Generations to breed.")]
Population: TypeAlias = Annotated[int | None, typer.Option(help="Individuals in a generation.")]
Epochs: TypeAlias = Annotated[int | None, typer.Option(help="Epochs of every training.")]
Imgsz: TypeAlias = Annotated[int | None, typer.Option(help="Image size in pixels.")]
Model: TypeAlias = Annotated[str | None, typer.Option(help="yolo12n, s, m, l or x.")]
Seed: TypeAlias = Annotated[int | None, typer.Option(help="Seed of the search and of every training.")]
Generational: TypeAlias = Annotated[
    bool | None, typer.Option("--generational/--steady-state", help="Wait for whole generations, or never.")
]
Algorithm: TypeAlias = Annotated[
    str | None, typer.Option(help="genetic, or tpe, gp, cmaes, random to compare it with.")
]
NoFinals: TypeAlias = Annotated[
    bool, typer.Option("--no-finals", help="End without training the best few again with other seeds.")
]

WarmStart: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="REF",
        help="What to begin with: a search (id or name), a best.yaml, a YAML list of configurations, or a .csv; "
        "may be given several times.",
    ),
]

_KEYS = {
    "epochs": "train.epochs",
    "imgsz": "train.imgsz",
    "generations": "search.generations",
    "population": "search.population",
    "seed": "search.seed",
    "generational": "search.generational",
    "algorithm": "search.algorithm",
}


def overrides(*, no_finals: bool = False, **options: Json) -> dict[str, Json]:
    """Dotted keys of the space, and their values, for the options that were given."""
    changes: dict[str, Json] = {
        _KEYS.get(name, name): value for name, value in options.items() if value is not None
    }
    if no_finals:
        changes["finals"] = None
    return changes
