"""`evolve serve`, and the hidden `evolve drive` that it starts for every search."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from evolve.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evolve.compose.serving import Opened
    from evolve.settings import Settings

HELD_CODE = 75
"""The exit code of a driver that found another one at work, before or after it began."""


class PoolKind(StrEnum):
    """Where trials run."""

    LOCAL = "local"
    INLINE = "inline"


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(serve)
    app.command(hidden=True)(drive)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; another than this needs a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for any that is free.", min=0, max=65535)] = 8000,
    pool: Annotated[
        PoolKind, typer.Option(help="`local`: a Ray of this machine; `inline`: in the drivers' own processes.")
    ] = PoolKind.LOCAL,
    workers: Annotated[int | None, typer.Option(help="Trials at once, over all searches.", min=1)] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(help="GPUs of a trial; 0.5 shares one.", min=0.0)] = None,
    ray_address: Annotated[str | None, typer.Option(help="A Ray cluster to train on instead.")] = None,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow UI.", min=1, max=65535)] = 5000,
    mlflow_ui: Annotated[bool, typer.Option(help="Show the MLflow UI beside it.")] = True,
    stop: Annotated[bool, typer.Option("--stop", help="End the service, its drivers and its workers.")] = False,
) -> None:
    """Serve searches to a team: dashboard, REST, and a queue that shares this machine's workers."""
    from evolve.settings import Settings

    settings = Settings()
    if stop:
        _stop(settings)
        return
    if ray_address is not None and pool is PoolKind.INLINE:
        raise InputError("--pool inline: trains in the drivers, but got --ray-address too; drop one")
    from evolve.compose.serving import ServiceOptions, serve

    options = ServiceOptions(
        host=host,
        port=port,
        pool=pool.value,
        workers=workers,
        gpus_per_trial=gpus_per_trial,
        ray_address=ray_address,
        mlflow_port=mlflow_port if mlflow_ui else None,
    )
    left = serve(settings, options, _greet)
    typer.echo(farewell(len(left.drivers)))


def _stop(settings: Settings) -> None:
    from evolve.compose.stopping import stop

    for line in stop(settings) or [f"nothing to end: no service, driver or pool of {settings.home} runs here"]:
        typer.echo(line)


def _greet(opened: Opened) -> None:
    typer.echo("\n".join(greeting(opened)))


def greeting(opened: Opened) -> Iterator[str]:
    """What a person is told when the service answers."""
    yield f"Evolve serves {opened.settings.home}"
    yield f"  dashboard  {opened.url}/"
    yield f"  REST API   {opened.url}/api/v1, documentation at {opened.url}/docs"
    yield f"  MLflow     {_mlflow(opened)}"
    yield f"  workers    {_workers(opened)}"
    if opened.has_keys:
        yield "A key is needed, to log in and for every request (`Authorization: Bearer evk_...`); one more:"
        yield "  evolve key create NAME --scope submit"
    else:
        yield "There is no key yet: this machine may do everything, and no other is let in. The first one:"
        yield "  evolve key create NAME --scope admin"
    yield "Ctrl-C ends the service; its searches go on in processes of their own, see `evolve serve --stop`."


def farewell(drivers: int) -> str:
    """What a person is told when the service has ended."""
    if not drivers:
        return "The service ended; no search is running."
    they = "1 search goes on" if drivers == 1 else f"{drivers} searches go on"
    return (
        f"The service ended; {they} without it. The next `evolve serve` takes over from here; "
        "`evolve serve --stop` ends all in order."
    )


def _mlflow(opened: Opened) -> str:
    uri, port = opened.settings.tracking_uri, opened.options.mlflow_port
    if port is not None:
        return f"http://127.0.0.1:{port}, in some seconds"
    return uri if uri.startswith(("http://", "https://")) else "`evolve ui` shows it"


def _workers(opened: Opened) -> str:
    options, slots = opened.options, opened.pool.slots
    if options.ray_address is not None:
        return f"those of the Ray cluster at {options.ray_address}"
    trials = "1 trial" if slots == 1 else f"{slots} trials"
    if options.pool == "inline":
        return f"{trials} at once, each in the process of its search"
    return f"{trials} at once on this machine, shared by all searches"


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
    from evolve.exceptions import LeaseHeld, LeaseLost, LedgerAway, PoolUnavailable
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
    except (LeaseHeld, LeaseLost) as error:
        typer.echo(f"evolve: {error}", err=True)
        raise typer.Exit(HELD_CODE) from None
    except LedgerAway as error:
        typer.echo(f"evolve: {error}", err=True)
        raise typer.Exit(PoolUnavailable.exit_code) from None
    if ending is not None and ending.state is SearchState.INTERRUPTED:
        raise typer.Exit(INTERRUPTED_CODE)
