"""A YAML file as a source: one configuration, a list of them, or a mapping with the key `known`."""

from __future__ import annotations

from pathlib import Path

from evolve.exceptions import InputError
from evolve.models import MODEL
from evolve.space import SearchSpace
from evolve.space.validation import show
from evolve.trial import Json
from evolve.warmstart.source import FITNESS, Row, Source
from evolve.yaml_io import read_yaml_value

_KNOWN, _GENES, _SOURCE = "known", "genes", "source"
_RECIPE = frozenset({"task", "mode", "model", "data", "pretrained", "seed", "epochs"})
"""Keys of a `best.yaml` that are genes of hardly any space."""


def document_source(path: Path, space: SearchSpace) -> Source:
    """The configurations of a YAML file.

    Raises:
        InputError: with one line for the first rule that is broken.
    """
    value = read_yaml_value(path)
    rows = tuple(_row(path, place, entry, space) for place, entry in _entries(path, value, space))
    if not rows:
        raise InputError(f"{path}: must hold a configuration, but holds none; add one")
    names = dict.fromkeys(name for row in rows for name in row.values)
    return Source(str(path), "keys", tuple(names), rows, _RECIPE | space.train.keys())


def _entries(path: Path, value: Json, space: SearchSpace) -> list[tuple[str, Json]]:
    """The configurations of a file with their places."""
    if isinstance(value, list):
        return [(f"[{index}]", entry) for index, entry in enumerate(value)]
    if not isinstance(value, dict):
        return []
    if _KNOWN in value and _KNOWN not in space.genes:
        known = value[_KNOWN]
        if not isinstance(known, list):
            raise InputError(f"{path}: {_KNOWN}: must be a list of configurations, but got {show(known)}")
        return [(f"{_KNOWN}[{index}]", entry) for index, entry in enumerate(known)]
    genes = value.get(_GENES)
    if isinstance(genes, dict) and genes and all(isinstance(gene, dict) for gene in genes.values()):
        raise InputError(
            f"{path}: must hold configurations, but is a search space without the key {_KNOWN!r}; "
            "give a file of `evolve best -o`, or a search"
        )
    return [("", value)]


def _row(path: Path, place: str, entry: Json, space: SearchSpace) -> Row:
    where = f"{path}: {place}" if place else str(path)
    if not isinstance(entry, dict):
        raise InputError(f"{where}: must map genes to values, but got {show(entry)}")
    inner = entry.get(_GENES)
    nested = isinstance(inner, dict) and _GENES not in space.genes
    values = dict(inner) if isinstance(inner, dict) and nested else dict(entry)
    model = values.get(MODEL)
    if MODEL in space.genes and isinstance(model, str):
        values[MODEL] = model.removesuffix(".pt").removesuffix(
            ".yaml"
        )  # a `best.yaml` says with it what to start from
    fitness: Json = None
    if nested:
        fitness = entry.get(FITNESS)
    elif FITNESS not in space.genes:
        fitness = values.pop(FITNESS, None)
    if fitness is not None and (isinstance(fitness, bool) or not isinstance(fitness, int | float)):
        raise InputError(f"{where}: {FITNESS}: must be a number, but got {show(fitness)}; correct or remove it")
    source = entry.get(_SOURCE) if nested else None
    return Row(values, None if fitness is None else float(fitness), source if isinstance(source, str) else "")
