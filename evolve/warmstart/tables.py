"""A CSV file as a source: what `evolve show --csv` writes, or any table with a column for each gene."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from evolve.exceptions import InputError
from evolve.files import read_text
from evolve.formatting import count
from evolve.space import SearchSpace
from evolve.space.validation import show
from evolve.warmstart.fitting import number
from evolve.warmstart.source import FITNESS, Row, Source, translation

MAX_BYTES = 16 * 1024 * 1024
MAX_ROWS = 10_000
MAX_COLUMNS = 1000
MAX_FIELD = 4096
_OURS = "gene."
"""How the columns of genes begin in a table of ours."""


def table_source(path: Path, space: SearchSpace) -> Source:
    """The rows of a CSV file.

    A row whose fitness is no finite number is left out, and so is one of a table of ours that has none: it failed,
    or was not trained to its end. In other tables a row without a fitness is one that somebody wants trained.

    Raises:
        InputError: with one line for the first rule that is broken.
    """
    lines = _lines(path, _text(path))
    header = next(lines, (1, []))[1]
    if not header:
        raise InputError(f"{path}: the table is empty; its first line must name the columns")
    names = [name.strip() for name in header]
    ours = any(name.startswith(_OURS) for name in names)
    fitness_at = names.index(FITNESS) if FITNESS in names and (ours or FITNESS not in space.genes) else None
    columns = {index: name for index, name in enumerate(names) if index != fitness_at}
    if ours:
        columns = {index: name[len(_OURS) :] for index, name in columns.items() if name.startswith(_OURS)}
    _refuse_doubles(path, list(columns.values()))
    wanted = translation(space, list(columns.values()))
    kept = {index: name for index, name in columns.items() if name in wanted}
    rows, left_out = _rows(lines, kept, fitness_at, ours)
    if not rows:
        raise InputError(f"{path}: must hold a row that can be used, but holds none; {_reason(left_out)}")
    remarks = (f"{count(left_out, 'row')} without a finite fitness dropped",) if left_out else ()
    return Source(str(path), "columns", tuple(columns.values()), tuple(rows), remarks=remarks)


def _rows(
    lines: Iterator[tuple[int, list[str]]], kept: dict[int, str], fitness_at: int | None, ours: bool
) -> tuple[list[Row], int]:
    """The rows, of which only columns that are genes are kept; and how many were left out for their fitness."""
    rows, left_out = [], 0
    for _, cells in lines:
        told = "" if fitness_at is None else cells[fitness_at].strip()
        fitness = number(told)
        if fitness is None and (told or ours):
            left_out += 1
            continue
        values = {name: cells[index].strip() for index, name in kept.items()}
        rows.append(Row({name: text for name, text in values.items() if text}, fitness))
    return rows, left_out


def _reason(left_out: int) -> str:
    return "the fitness of every row must be a finite number" if left_out else "add one below the names"


def _text(path: Path) -> str:
    text = read_text(path, MAX_BYTES)
    if "\0" in text:
        raise InputError(f"{path}: must be text, but holds a NUL; save it as CSV")
    return text


def _lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that are not blank, each with its number; all are as long as the first."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    width = rows = 0
    try:
        for cells in reader:
            if not cells:
                continue
            where = f"{path}:{reader.line_num}"
            width = width or len(cells)
            rows += 1
            _check_size(where, cells, width, rows)
            yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: this is not valid CSV: {error}; correct the line") from None


def _check_size(where: str, cells: list[str], width: int, rows: int) -> None:
    if len(cells) != width:
        raise InputError(f"{where}: a row must have {width} fields, as the first line, but got {len(cells)}")
    if width > MAX_COLUMNS:
        raise InputError(
            f"{where}: a table may have at most {MAX_COLUMNS} columns, but got {width}; leave some out"
        )
    if rows > MAX_ROWS + 1:
        raise InputError(f"{where}: a table may have at most {MAX_ROWS} rows; leave some out")
    if any(len(cell) > MAX_FIELD for cell in cells):
        raise InputError(f"{where}: a field may have at most {MAX_FIELD} characters; shorten it")


def _refuse_doubles(path: Path, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{path}:1: a column must have a name of its own, but got {show(name)} twice")
        seen.add(name)
