"""`evolve key create|list|revoke`: who may use the service, and for what."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from evolve.ledger.service_records import KeyRecord


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    keys = typer.Typer(help="API keys of the service.", no_args_is_help=True)
    keys.command("create")(create)
    keys.command("list")(list_keys)
    keys.command("revoke")(revoke)
    app.add_typer(keys, name="key")


def create(
    name: Annotated[str, typer.Argument(help="Who or what it is for.")],
    scope: Annotated[str, typer.Option(help="What it may do: read, submit (and read), or admin.")] = "read",
) -> None:
    """Make a key and print it; it is shown only now."""
    from evolve.keys import make_key
    from evolve.ledger import Ledger
    from evolve.settings import Settings

    new, token = make_key(name, [scope])
    with Ledger(Settings().ledger_url) as ledger:
        ledger.registry.add_key(**new)
    typer.echo(token)
    typer.echo("Keep it: only its digest is stored. Send it as `Authorization: Bearer KEY`.", err=True)


def list_keys(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False) -> None:
    """List keys; nobody can see the keys themselves any more."""
    from rich.console import Console

    from evolve.ledger import Ledger
    from evolve.settings import Settings

    with Ledger(Settings().ledger_url) as ledger:
        keys = ledger.registry.keys()
    if as_json:
        shown = [{name: value for name, value in asdict(key).items() if name != "digest"} for key in keys]
        typer.echo(json.dumps(shown))
    elif keys:
        Console().print(_table(keys))
    else:
        typer.echo("no keys yet; make one with: evolve key create NAME --scope submit")


def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `evolve key list` shows it.")],
) -> None:
    """Let a key open nothing from now on."""
    from evolve.ledger import Ledger
    from evolve.settings import Settings

    with Ledger(Settings().ledger_url) as ledger:
        registry = ledger.registry
        registry.revoke_key(key)
        living = [each for each in registry.keys() if each.revoked_at is None]  # noqa: SIM118 - no mapping
    typer.echo(f"key {key} opens nothing any more")
    if not any("admin" in each.scopes for each in living):
        what = "no admin's key" if living else "no key at all"
        typer.echo(f"{what} is left; make one with: evolve key create NAME --scope admin", err=True)


def _table(keys: list[KeyRecord]) -> object:
    from datetime import datetime

    from rich.table import Table
    from rich.text import Text

    from evolve.formatting import MISSING, clean

    def day(at: float | None) -> str:
        return MISSING if at is None else datetime.fromtimestamp(at).astimezone().isoformat(" ", "minutes")[:16]

    table = Table(box=None, pad_edge=False)
    for heading in ("ID", "NAME", "SCOPES", "CREATED", "LAST USED", "REVOKED"):
        table.add_column(heading, header_style="dim")
    for key in keys:
        style = "dim" if key.revoked_at else ""
        days = (day(key.created_at), day(key.last_used_at), day(key.revoked_at))
        table.add_row(key.id, Text(clean(key.name)), ", ".join(key.scopes), *days, style=style)
    return table
