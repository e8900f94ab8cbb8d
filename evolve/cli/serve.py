"""`evolve serve`, and the hidden `evolve drive` that it starts for every search."""

from __future__ import annotations

from typing import Annotated

import typer

HELD_CODE = 75
"""The exit code of a driver that found another one at work."""


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command(hidden=True)(drive)


def drive(
    search_id: Annotated[str, typer.Argument(metavar="SEARCH", help="Its full id.")],
    inline: Annotated[bool, typer.Option(help="Train in this process.")] = False,
    ray_address: Annotated[str | None, typer.Option(help="The Ray to train on.")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="GPUs of a trial.", min=0.0)] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(help="Cores of a trial.", min=0.0)] = None,
) -> None:
    """Drive a search that was submitted to a service; its supervisor starts this."""
    from evolve.cli.run import INTERRUPTED_CODE
    from evolve.compose import RunOptions
    from evolve.compose.managed import drive_managed
    from evolve.exceptions import LeaseHeld
    from evolve.ledger import Ledger, SearchState
    from evolve.logs import limit_log
    from evolve.settings import Settings

    limit_log()
    settings = Settings()
    pool = RunOptions(
        inline=inline, ray_address=ray_address, gpus_per_trial=gpus_per_trial, cpus_per_trial=cpus_per_trial
    )
    try:
        with Ledger(settings.ledger_url) as ledger:
            ending = drive_managed(ledger, search_id, settings, pool)
    except LeaseHeld as error:
        typer.echo(f"evolve: {error}", err=True)
        raise typer.Exit(HELD_CODE) from None
    if ending is not None and ending.state is SearchState.INTERRUPTED:
        raise typer.Exit(INTERRUPTED_CODE)
