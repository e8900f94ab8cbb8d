"""`evolve submit`, `watch`, `logs`, `pause`: searches of a service; `list`, `resume`, `cancel` with `--server`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, TypeAlias

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
from evolve.exceptions import InputError

if TYPE_CHECKING:
    from evolve.client import Client, Search, SearchDetail

INTERRUPTED_CODE = 130
"""The exit code of a command that was told to stop watching."""

Server: TypeAlias = Annotated[
    str, typer.Option(metavar="URL", envvar="EVOLVE_SERVER", help="Where the service is.", show_envvar=True)
]
Key: TypeAlias = Annotated[
    str | None,
    typer.Option(
        envvar="EVOLVE_API_KEY",
        show_envvar=True,
        help="API key. Rather set the variable: other users of this machine can see a command line.",
    ),
]
SearchRef: TypeAlias = Annotated[str, typer.Argument(metavar="SEARCH", help="Id, beginning of an id, or name.")]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print a JSON object for every event, for programs.")
]
OnServer: TypeAlias = Annotated[
    str | None,
    typer.Option("--server", metavar="URL", help="Of the service that has the search, if it is not recorded here."),
]
"""For commands that are about the ledger of this machine unless they are given this."""
LOCAL = "http://127.0.0.1:8000"


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    for command in (submit, watch, logs, pause):
        app.command()(command)


def submit(
    space: Annotated[str, typer.Option(help="Search space: a YAML file, or the name of a shipped one.")],
    data: Annotated[str | None, typer.Option(help="Id of a registered data set, or `demo`.")] = None,
    server: Server = LOCAL,
    key: Key = None,
    name: Annotated[str | None, typer.Option(help="Name of the search and its MLflow experiment.")] = None,
    priority: Annotated[int, typer.Option(help="Higher ones go first.", min=-100, max=100)] = 0,
    warm_start: WarmStart = None,
    generations: Generations = None,
    population: Population = None,
    epochs: Epochs = None,
    imgsz: Imgsz = None,
    model: Model = None,
    weights: Annotated[str | None, typer.Option(help="`none` or `auto`.")] = None,
    seed: Seed = None,
    generational: Generational = None,
    algorithm: Algorithm = None,
    no_finals: NoFinals = False,
    hours: Annotated[float | None, typer.Option(help="Stop after so many hours.")] = None,
    gpu_hours: Annotated[float | None, typer.Option(help="Stop after so many GPU-hours of all trials.")] = None,
    evaluations: Annotated[
        int | None,
        typer.Option(help="Stop after so many whole trainings; one that is cut short counts by its share."),
    ] = None,
    objective: Annotated[str, typer.Option(help="`yolo12`, or `synthetic` to try things.")] = "yolo12",
    idempotency_key: Annotated[
        str | None, typer.Option(help="Name of this submission: repeated, it enters no second search.")
    ] = None,
    follow: Annotated[bool, typer.Option("--watch", help="Stay, and show how it goes.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: the search, or with --watch an object for every event.")
    ] = False,
) -> None:
    """Submit a search to a service, which runs it when there is room."""
    changes = overrides(
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
    with _client(server, key) as client:
        search = client.submit(
            space,
            data=data,
            name=name,
            overrides=changes,
            priority=priority,
            hours=hours,
            gpu_hours=gpu_hours,
            evaluations=evaluations,
            objective=objective,
            idempotency_key=idempotency_key,
            warm_start=warm_start or (),
            told=partial(typer.echo, err=True),
        )
        if warm_start:
            for note in client.search(search.id).notes:
                typer.echo(note, err=True)
        if follow:
            _say(client, search, as_json)
            _watch(client, client.search(search.id), as_json, whole=True)
        elif as_json:
            typer.echo(json.dumps(asdict(search)))
        else:
            typer.echo(f"search {search.id}: submitted; look at it with: evolve watch {search.id}{_on(client)}")
            typer.echo(f"or in a browser: {client.page(search.id)}")


def watch(search: SearchRef, server: Server = LOCAL, key: Key = None, as_json: AsJson = False) -> None:
    """Show how a search of a service goes, until it ends; Ctrl-C stops watching only."""
    with _client(server, key) as client:
        found = client.search(search)
        _say(client, found, as_json)
        _watch(client, found, as_json)


def logs(
    search: SearchRef,
    server: Server = LOCAL,
    key: Key = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until it ends.")] = False,
    after: Annotated[int, typer.Option(help="Begin after the event of this number.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Print what happened to a search of a service, a line for every event."""
    from evolve.client.watching import event_line

    with _client(server, key) as client, _leaving():
        for event in client.events(search, after, follow=follow):
            typer.echo(json.dumps(asdict(event)) if as_json else event_line(event))


def pause(search: SearchRef, server: Server = LOCAL, key: Key = None) -> None:
    """Let a search of a service start no further trials; `evolve resume SEARCH --server URL` lets it go on."""
    with _client(server, key) as client:
        paused = client.pause(client.search(search).id)
        again = f"evolve resume {paused.id} --server {client.url}"
        typer.echo(
            f"search {paused.id}: starts nothing new; what trains now is trained to its end. Go on with: {again}"
        )


def list_on(server: str, key: str | None, limit: int, as_json: bool) -> None:
    """List the searches of a service, newest first."""
    from rich.console import Console

    from evolve.client.watching import search_record
    from evolve.tables import searches_table

    with _client(server, key) as client:
        searches = client.searches(limit=limit).data
        now = client.server_time()
    if as_json:
        typer.echo(json.dumps([asdict(search) for search in searches]))
    elif searches:
        Console().print(searches_table([search_record(search) for search in searches], now))
    else:
        typer.echo(f"no searches yet; submit one with: evolve submit --space demo --data demo --server {server}")


def resume_on(server: str, key: str | None, ref: str | None) -> None:
    """Let a search of a service go on."""
    if ref is None:
        raise InputError("resume: which search of the service is to go on must be given, but is not; add its id")
    with _client(server, key) as client:
        search = client.resume(client.search(ref).id)
        look = f"evolve watch {search.id}{_on(client)}"
    typer.echo(f"search {search.id}: goes on as soon as there is room; look at it with: {look}")


def cancel_on(server: str, key: str | None, ref: str) -> None:
    """End a search of a service for good."""
    with _client(server, key) as client:
        search = client.cancel(client.search(ref).id)
        look = f"evolve watch {search.id}{_on(client)}"
    typer.echo(f"search {search.id}: is asked to stop; look at it with: {look}")


@contextmanager
def _client(server: str, key: str | None) -> Iterator[Client]:
    from evolve.client import Client

    with Client(server, key) as client:
        yield client


def _on(client: Client) -> str:
    """How a command says which service it means; nothing where it means this one anyway."""
    given = (os.environ.get("EVOLVE_SERVER") or LOCAL).rstrip("/")
    return "" if client.url == given else f" --server {client.url}"


def _say(client: Client, search: Search, as_json: bool) -> None:
    """What a display cannot show of a search that has not begun."""
    if not as_json and search.state == "created":
        typer.echo(
            f"search {search.id} waits for workers (priority {search.priority}); {client.page(search.id)}", err=True
        )


def _watch(client: Client, search: SearchDetail, as_json: bool, *, whole: bool = False) -> None:
    from evolve.client import watching

    with _leaving(f"search {search.id} goes on; look again with: evolve watch {search.id}{_on(client)}"):
        ended = watching.watch(client, search, "json" if as_json else "live", whole=whole)
    if ended.state == "failed":
        raise typer.Exit(1)


@contextmanager
def _leaving(farewell: str = "") -> Iterator[None]:
    """Ctrl-C ends the command, and nothing else."""
    try:
        yield
    except KeyboardInterrupt:
        if farewell:
            typer.echo(farewell, err=True)
        raise typer.Exit(INTERRUPTED_CODE) from None
