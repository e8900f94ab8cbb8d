"""`evolve run`, `resume`, `cancel`."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from evolve.cli.overrides import (
    Algorithm,
    Epochs,
    Generational,
    Generations,
    Imgsz,
    Model,
    NoFinals,
    Population,
    Seed,
    WarmStart,
    overrides,
)
from evolve.cli.remote import Key, OnServer, cancel_on, resume_on
from evolve.exceptions import InputError

if TYPE_CHECKING:
    from evolve.compose import Prepared
    from evolve.ledger import Ledger, SearchRecord
    from evolve.progress import Progress, ProgressMode
    from evolve.settings import Settings
    from evolve.trial import Json

INTERRUPTED_CODE = 130
"""The exit code of a search that was interrupted and can be resumed."""

Workers = Annotated[int | None, typer.Option(help="Trials at once.", min=1)]
GpusPerTrial = Annotated[float | None, typer.Option(help="GPUs of a trial; 0.5 shares one.", min=0.0)]
RayAddress = Annotated[str | None, typer.Option(help="Ray cluster to use, e.g. `auto`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object for every event, for programs.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command()(run)
    app.command()(resume)
    app.command()(cancel)


def run(
    space: Annotated[str, typer.Option(help="Search space: a YAML file, or the name of a shipped one.")],
    data: Annotated[str | None, typer.Option(help="Data YAML or folder, or `demo`.")] = None,
    generations: Generations = None,
    population: Population = None,
    epochs: Epochs = None,
    imgsz: Imgsz = None,
    model: Model = None,
    weights: Annotated[str | None, typer.Option(help="`none`, `auto`, or a .pt file.")] = None,
    seed: Seed = None,
    name: Annotated[str | None, typer.Option(help="Name of the search and its MLflow experiment.")] = None,
    warm_start: WarmStart = None,
    fresh: Annotated[bool, typer.Option(help="Start anew although one of this name is unfinished.")] = False,
    generational: Generational = None,
    algorithm: Algorithm = None,
    no_finals: NoFinals = False,
    workers: Workers = None,
    gpus_per_trial: GpusPerTrial = None,
    ray_address: RayAddress = None,
    inline: Annotated[bool, typer.Option(help="Train in this process, one by one, without Ray.")] = False,
    objective: Annotated[str, typer.Option(help="`yolo12`, or your own package.module:function.")] = "yolo12",
    hang_timeout: Annotated[
        float | None, typer.Option(help="Seconds of silence that mean a hang.", min=1.0)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evolve hyperparameters: breed, train, select, until a stopping rule holds."""
    from evolve.compose import RunOptions
    from evolve.ledger import Ledger
    from evolve.searches import start
    from evolve.settings import Settings
    from evolve.space import load_space

    changes = overrides(
        data=data,
        model=model,
        weights=weights,
        epochs=epochs,
        imgsz=imgsz,
        generations=generations,
        population=population,
        seed=seed,
        generational=generational,
        algorithm=algorithm,
        no_finals=no_finals,
    )
    if inline and (workers or ray_address):
        raise InputError("--inline: trains one by one here, but got --workers or --ray-address too; drop one")
    loaded = load_space(space, changes)
    settings = Settings()
    options = RunOptions(objective, inline, workers, gpus_per_trial, ray_address, hang_timeout)
    with Ledger(settings.ledger_url) as ledger:
        former = None if fresh else _former(ledger, name or loaded.name)
        if former is not None:
            _resume(ledger, former, settings, as_json)
            return
        _say_what_takes_time()
        search, prepared = start(ledger, loaded, options, settings, name, warm_start or ())
        _drive(ledger, search, prepared, settings, as_json)


def resume(
    search: Annotated[str | None, typer.Argument(help="Id or name; the newest unfinished one if none.")] = None,
    workers: Workers = None,
    gpus_per_trial: GpusPerTrial = None,
    ray_address: RayAddress = None,
    server: OnServer = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a search that was interrupted; nothing that was finished is trained again.

    It runs as it was started, but for the options given here. With `--server`, the service goes on with it.
    """
    if server is not None:
        if workers or gpus_per_trial is not None or ray_address:
            raise InputError(
                "--server: the service decides on workers and GPUs, but got options for them; drop them"
            )
        resume_on(server, key, search)
        return
    from evolve.ledger import Ledger
    from evolve.searches import unfinished
    from evolve.settings import Settings

    settings = Settings()
    with Ledger(settings.ledger_url) as ledger:
        if search is not None:
            record = ledger.search(search)
        else:
            waiting = unfinished(ledger)
            if not waiting:
                raise InputError("resume: no search is unfinished; `evolve list` shows them all")
            record = waiting[0]
        given = {"workers": workers, "gpus_per_trial": gpus_per_trial, "ray_address": ray_address}
        changes: dict[str, Json] = {name: value for name, value in given.items() if value is not None}
        if changes:  # all of them are about Ray
            changes["inline"] = False
        _resume(ledger, replace(record, options={**record.options, **changes}), settings, as_json)


def cancel(
    search: Annotated[str, typer.Argument(help="Id or name.")], server: OnServer = None, key: Key = None
) -> None:
    """End a search for good; its driver stops within seconds, what is finished stays."""
    if server is not None:
        cancel_on(server, key, search)
        return
    from evolve.ledger import Ledger, Request
    from evolve.searches import cancel_idle, is_driven
    from evolve.settings import Settings

    with Ledger(Settings().ledger_url) as ledger:
        record = ledger.search(search)
        if record.state.is_over:
            raise InputError(f"search {record.id}: must be unfinished to be cancelled, but it is {record.state}")
        ledger.ask_driver(record.id, Request.CANCEL)
        if is_driven(record):
            typer.echo(
                f"search {record.id}: its driver was asked to stop; `evolve show {record.id}` tells when it has"
            )
            return
        cancel_idle(ledger, record)
        typer.echo(f"search {record.id}: cancelled")


def _former(ledger: Ledger, name: str) -> SearchRecord | None:
    """An interrupted search of this name that the user wants to go on with."""
    from evolve.searches import unfinished

    waiting = unfinished(ledger, name)
    if not waiting:
        return None
    former = waiting[0]
    story = f"search {name!r} ({former.id}) is unfinished: {former.evaluated} individuals are evaluated"
    if not sys.stdin.isatty():
        raise InputError(f"{story}; go on with `evolve resume {former.id}`, or start anew with --fresh")
    return former if typer.confirm(f"{story}. Go on with it?", default=True) else None


def _resume(ledger: Ledger, search: SearchRecord, settings: Settings, as_json: bool) -> None:
    from evolve.compose import prepare_again
    from evolve.searches import check_resumable

    check_resumable(search)
    _say_what_takes_time()
    _drive(ledger, search, prepare_again(search, settings), settings, as_json)


def _say_what_takes_time() -> None:
    if sys.stderr.isatty():
        typer.echo("checking objective, data and weights", err=True)


def _drive(ledger: Ledger, search: SearchRecord, prepared: Prepared, settings: Settings, as_json: bool) -> None:
    from evolve.compose import drive
    from evolve.ledger import SearchState

    ending = drive(ledger, search, prepared, settings, [_progress(search, settings, as_json)])
    if ending.state is SearchState.INTERRUPTED:
        typer.echo(f"interrupted; nothing finished is lost. Go on with: evolve resume {search.id}", err=True)
        raise typer.Exit(INTERRUPTED_CODE)
    if ending.state is SearchState.FAILED:
        raise typer.Exit(1)


def _progress(search: SearchRecord, settings: Settings, as_json: bool) -> Progress:
    from evolve.progress import make_progress
    from evolve.space import SearchSpace

    space = SearchSpace.from_document(search.document, f"search {search.id}")
    total = space.search.population * space.search.generations
    since = 0.0 if search.started_at is None else time.time()
    uri = settings.tracking_uri
    tracking = uri if uri.startswith(("http://", "https://")) else "evolve ui"
    mode: ProgressMode = "json" if as_json else "live"
    return make_progress(mode, total, str(space.fitness), tracking=tracking, since=since)
