"""A search as a table: one row for an individual, for pandas, spreadsheets and Parquet readers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd

from evolve.exceptions import InputError
from evolve.files import replacing
from evolve.ledger.records import EvaluationRecord, IndividualRecord
from evolve.trial import Json

if TYPE_CHECKING:
    from evolve.ledger import Ledger

Column: TypeAlias = "pd.Series[Any]"
_FORMULA_STARTS = ("=", "+", "-", "@")


def search_frame(ledger: Ledger, search_id: str) -> pd.DataFrame:
    """The individuals of a search by number; see `individuals_frame`.

    Raises:
        SearchNotFound: if there is no such search.
    """
    search = ledger.search(search_id)
    return individuals_frame(ledger.individuals(search.id), ledger.evaluations(search.id))


def individuals_frame(
    individuals: Sequence[IndividualRecord], evaluations: Iterable[EvaluationRecord] = ()
) -> pd.DataFrame:
    """A row for each individual.

    Columns: `number`, `generation`, `state`, `fitness`, `gene.<name>` for every gene (missing where the gene
    is inactive), `metrics.<name>`, `role`, `original` (whose genes it has, if not its own), `parents` and
    `operators` (separated by spaces), `failure`, `seconds` and `gpu_seconds` (all attempts together), `attempts`,
    `reused_from`, `inherited_from` (whose weights it started from; missing for those of the search), `told`.
    Whole numbers that may be missing are `Int64`, truth values `boolean`, text `string`, the rest float.
    """
    seconds: defaultdict[int, float] = defaultdict(float)
    gpu_seconds: defaultdict[int, float] = defaultdict(float)
    for evaluation in evaluations:
        seconds[evaluation.individual] += evaluation.seconds
        gpu_seconds[evaluation.individual] += evaluation.gpu_seconds
    columns = {
        "number": pd.Series([each.number for each in individuals], dtype="int64"),
        "generation": pd.Series([each.generation for each in individuals], dtype="int64"),
        "state": _text(each.state.value for each in individuals),
        "fitness": pd.Series([each.fitness for each in individuals], dtype="float64"),
        **_spread("gene", [each.params for each in individuals]),
        **_spread("metrics", [each.metrics for each in individuals]),
        "role": _text(each.role.value for each in individuals),
        "original": pd.Series([each.original for each in individuals], dtype="Int64"),
        "parents": _text(" ".join(map(str, each.parents)) for each in individuals),
        "operators": _text(" ".join(each.operators) for each in individuals),
        "failure": _text(each.failure.value if each.failure else None for each in individuals),
        "seconds": pd.Series([seconds[each.number] for each in individuals], dtype="float64"),
        "gpu_seconds": pd.Series([gpu_seconds[each.number] for each in individuals], dtype="float64"),
        "attempts": pd.Series([each.attempts for each in individuals], dtype="int64"),
        "reused_from": pd.Series([each.reused_from for each in individuals], dtype="Int64"),
        "inherited_from": pd.Series([each.inherited_from for each in individuals], dtype="Int64"),
        "told": pd.Series([each.told for each in individuals], dtype="Int64"),
    }
    return pd.DataFrame(columns)


def write_frame(frame: pd.DataFrame, path: Path) -> Path:
    """Write a table as `.csv` or `.parquet`, whole or not at all.

    In a CSV, text that a spreadsheet would run as a formula gets an apostrophe in front.

    Raises:
        InputError: for any other suffix, or a place that cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise InputError(f"{path}: the suffix must be .csv or .parquet, but got {path.suffix!r}; rename the file")
    with replacing(path, "table") as temporary:
        if suffix == ".csv":
            disarmed(frame).to_csv(temporary, index=False)
        else:
            frame.to_parquet(temporary, index=False)
    return path


def disarmed(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy in which no text cell or column name begins like a formula."""
    safe = frame.copy()
    for name in safe.select_dtypes(include=["string", "object"]).columns:
        safe[name] = safe[name].map(_disarm, na_action="ignore")
    return safe.rename(columns=_disarm)


def _disarm(value: object) -> object:
    if not isinstance(value, str):
        return value
    # A bare carriage return would end the line for some readers, and let the next cell begin like a formula.
    text = value.replace("\r", " ")
    return f"'{text}" if text.lstrip().startswith(_FORMULA_STARTS) else text


def _spread(prefix: str, mappings: Sequence[Mapping[str, Json]]) -> dict[str, Column]:
    """A column for every key of the mappings, in the order of first sight."""
    names = dict.fromkeys(name for mapping in mappings for name in mapping)
    return {f"{prefix}.{name}": _column([mapping.get(name) for mapping in mappings]) for name in names}


def _column(values: Sequence[Json]) -> Column:
    types = {type(value) for value in values if value is not None}
    if types == {bool}:
        return pd.Series(values, dtype="boolean")
    if types == {int}:
        return pd.Series(values, dtype="Int64")
    if types <= {int, float}:
        return pd.Series(values, dtype="float64")
    return _text(None if value is None else str(value) for value in values)


def _text(values: Iterable[str | None]) -> Column:
    return pd.Series(list(values), dtype="string")
