"""`evolve list`, `show`, `best`, `report`, `ui`, `sync`: look at what the ledger has."""

from __future__ import annotations

import json
import socket
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from evolve.cli.remote import Key, OnServer, list_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from evolve.importance import Genes, Importance
    from evolve.ledger import IndividualRecord, Ledger, SearchRecord
    from evolve.space import SearchSpace
    from evolve.trial import Json

SearchRef = Annotated[str, typer.Argument(metavar="SEARCH", help="Id, beginning of an id, or name.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command("list")(list_searches)
    for command in (show, best, report, ui, sync):
        app.command()(command)


def list_searches(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1)] = 50,
    server: OnServer = None,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """List searches, newest first."""
    if server is not None:
        list_on(server, key, limit, as_json)
        return
    from rich.console import Console

    from evolve.formatting import finite
    from evolve.tables import searches_table

    with _ledger() as ledger:
        searches = ledger.searches(limit=limit)
    if as_json:
        typer.echo(json.dumps(finite([asdict(search) for search in searches])))
    elif searches:
        Console().print(searches_table(searches))
    else:
        typer.echo("no searches yet; start one with: evolve run --space demo.yaml --data demo")


def show(
    search: SearchRef,
    top: Annotated[int, typer.Option(help="How many of the fittest to list.", min=1)] = 10,
    csv: Annotated[Path | None, typer.Option(help="Write all individuals to this .csv instead.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write all individuals to this .parquet instead.")] = None,
    genes: Annotated[
        bool, typer.Option("--importance", help="Also say how much each gene decides; takes some seconds.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print search and individuals as JSON.")] = False,
) -> None:
    """Show a search: its state, its generations, its fittest individuals."""
    from rich.console import Console

    from evolve.formatting import finite
    from evolve.rung_agreement import agreement_in
    from evolve.tables import search_view

    with _ledger() as ledger:
        record = ledger.search(search)
        if csv or parquet:
            _write_tables(ledger, record.id, [path for path in (csv, parquet) if path])
            return
        individuals = ledger.individuals(record.id)
        last_failure = _last_failure(ledger, individuals)
    found = _importance(record, individuals) if genes else None
    if as_json:
        answer: dict[str, Any] = {"search": asdict(record), "individuals": list(map(asdict, individuals))}
        if found is not None:
            answer["importance"] = asdict(found)
        if (rungs := agreement_in(record.document, individuals)) is not None:
            answer["rungs"] = rungs.document()
        typer.echo(json.dumps(finite(answer)))
        return
    metric = str(_space(record.document, record.id).fitness)
    Console().print(
        search_view(record, individuals, metric=metric, best=top, last_failure=last_failure, found=found)
    )


def _importance(record: SearchRecord, individuals: Sequence[IndividualRecord]) -> Importance:
    from evolve.importance import importance

    return importance(cast("Genes", record.document["genes"]), individuals)


def _last_failure(ledger: Ledger, individuals: Sequence[IndividualRecord]) -> str:
    failed = [each for each in individuals if each.failure is not None and each.reused_from is None]
    if not failed:
        return ""
    newest = max(failed, key=lambda each: each.told or 0)
    return ledger.evaluations(newest.search_id, newest.number)[-1].failure_message


def _write_tables(ledger: Ledger, search_id: str, paths: list[Path]) -> None:
    from evolve.frame import search_frame, write_frame

    frame = search_frame(ledger, search_id)
    for path in paths:
        typer.echo(write_frame(frame, path))


def best(
    search: SearchRef,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file; with --pareto, to this folder.")
    ] = None,
    stock: Annotated[bool, typer.Option("--stock", help="Only what `yolo train cfg=` accepts.")] = False,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="All that no other beats in every objective, instead of the fittest.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --pareto: print JSON.")] = False,
) -> None:
    """Print the best configuration as YAML for `evolve train --params`."""
    from evolve.best import BUILT_IN, best_of, best_yaml
    from evolve.cli.front import show_front
    from evolve.descent import inheritance_notes
    from evolve.exceptions import InputError
    from evolve.files import replacing

    with _ledger() as ledger:
        record = ledger.search(search)
        if stock and record.objective != BUILT_IN:
            raise InputError(f"--stock: {record.id} must be a search that trains YOLO12, but is not; drop it")
        if as_json and not pareto:
            raise InputError(
                "--json: must stand beside --pareto, but does not; add it, or use `evolve show --json`"
            )
        if pareto:
            show_front(ledger, record, output, stock=stock, as_json=as_json)
            return
        individual, evaluation = best_of(ledger, record)
        notes = inheritance_notes(ledger, individual)
    space = _space(record.document, record.id)
    name = output.name if output else "best.yaml"
    text = best_yaml(record, individual, evaluation, space, stock=stock, name=name, notes=notes)
    if output is None:
        typer.echo(text, nl=False)
    else:
        with replacing(output, "configuration") as file:
            file.write_text(text, encoding="utf-8")
        typer.echo(output)


def report(
    search: SearchRef,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="HTML file to write.")] = None,
) -> None:
    """Write the report, one HTML file that needs no network."""
    from evolve.formatting import file_stem
    from evolve.report import write_report

    with _ledger() as ledger:
        record = ledger.search(search)
        target = output or Path(f"{file_stem(record.name)}-{record.id}.html")
        typer.echo(write_report(ledger, record.id, target))


def ui(port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65535)] = 5000) -> None:
    """Open the MLflow UI on the store that holds the searches."""
    from evolve.settings import Settings
    from evolve.tracking import prepare_store, serve, ui_command

    settings = Settings()
    command = ui_command(settings.tracking_uri, port)
    _check_free(port)
    _deliver()
    prepare_store(settings.tracking_uri)
    typer.echo(f"MLflow opens in some seconds at http://127.0.0.1:{port} (choose `Model training` at its top left;")
    typer.echo("+ before a search shows its generations, + before a generation its individuals). Ctrl-C ends it.")
    raise typer.Exit(serve(command))


def _check_free(port: int) -> None:
    from evolve.exceptions import InputError

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(f"--port {port}: must be free, but {error.strerror}; choose another one") from error


def sync() -> None:
    """Deliver to MLflow what it missed while it was away."""
    typer.echo(f"MLflow is up to date with {_deliver()} searches")


def _deliver() -> int:
    from evolve.delivery import deliver_missed
    from evolve.settings import Settings

    with _ledger() as ledger:
        return deliver_missed(ledger, Settings())


@contextmanager
def _ledger() -> Iterator[Ledger]:
    from evolve.ledger import Ledger
    from evolve.settings import Settings

    with Ledger(Settings().ledger_url) as ledger:
        yield ledger


def _space(document: Mapping[str, Json], search_id: str) -> SearchSpace:
    from evolve.space import SearchSpace

    return SearchSpace.from_document(document, f"search {search_id}")
