"""`evolve best --pareto`: the front of a search with several objectives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from evolve.front import Front
    from evolve.ledger import Ledger, SearchRecord


def show_front(ledger: Ledger, record: SearchRecord, output: Path | None, *, stock: bool, as_json: bool) -> None:
    """Print the front, or write a file for each of its members.

    Args:
        ledger: Where the search is recorded.
        record: The search.
        output: Folder to write to.
        stock: Whether to write only what stock Ultralytics knows.
        as_json: Print JSON instead of a table.

    Raises:
        InputError: if the search has no objectives, or nothing was evaluated yet.
    """
    from rich.console import Console

    from evolve.formatting import finite
    from evolve.tables_front import front_view

    found = _find(ledger, record)
    if output is not None:
        for path in _write(ledger, found, output, stock=stock):
            typer.echo(path)
    elif as_json:
        typer.echo(json.dumps(finite(found.document())))
    else:
        Console().print(front_view(found))


def _find(ledger: Ledger, record: SearchRecord) -> Front:
    from evolve.exceptions import InputError
    from evolve.front import Front

    found = Front.of(record, ledger.individuals(record.id))
    if not found.objectives:
        raise InputError(
            f"--pareto: search {record.id} must have objectives, but has one fitness alone; "
            "drop it, or add `objectives` to the space of the next search"
        )
    if not found.members:
        raise InputError(
            f"--pareto: an individual of search {record.id} must have been evaluated, but none has; "
            f"look at `evolve show {record.id}`"
        )
    return found


def _write(ledger: Ledger, found: Front, folder: Path, *, stock: bool) -> list[Path]:
    """A YAML for each member, `individual-00012.yaml`; others in the folder stay."""
    from evolve.best import best_yaml, deciding_evaluation
    from evolve.descent import inheritance_notes
    from evolve.exceptions import InputError
    from evolve.files import replacing
    from evolve.space import SearchSpace

    space = SearchSpace.from_document(found.search.document, f"search {found.search.id}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {folder}: must be a folder, but: {error.strerror or error}") from error
    written = []
    for each in found.members:
        evaluation = deciding_evaluation(each, ledger.evaluations(found.search.id, each.number))
        if evaluation is None:  # of an individual with a verdict there is one
            continue
        path = folder / f"individual-{each.number:05d}.yaml"
        notes = inheritance_notes(ledger, each)
        text = best_yaml(found.search, each, evaluation, space, stock=stock, name=path.name, notes=notes)
        with replacing(path, "configuration") as file:
            file.write_text(text, encoding="utf-8")
        written.append(path)
    return written
