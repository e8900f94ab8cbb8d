"""Finding and reading a search space."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path

from evolve.exceptions import SpaceError
from evolve.space.document import SearchSpace
from evolve.space.validation import show
from evolve.trial import Json
from evolve.yaml_io import read_yaml

_NO_OVERRIDES: Mapping[str, Json] = {}


def load_space(ref: str | Path, overrides: Mapping[str, Json] = _NO_OVERRIDES) -> SearchSpace:
    """Read and check a search space.

    Args:
        ref: Path of a YAML file, or else the name of a shipped space, with or without `.yaml`.
        overrides: Values that replace those of the file, by dotted key, e.g. `{"search.generations": 2}`.

    Raises:
        SpaceError: with one line, if there is no such space or it breaks a rule.
    """
    if os.path.isfile(ref):  # unlike Path.is_file, it lives with a name of any length
        return _load(Path(ref), str(ref), overrides)
    shipped = shipped_spaces()
    name = str(ref).removesuffix(".yaml")
    if name not in shipped:
        raise SpaceError(
            f"{ref}: there is no such file and no shipped search space of this name; "
            f"shipped are {', '.join(shipped)}"
        )
    with as_file(files("search_spaces") / f"{name}.yaml") as path:
        return _load(path, f"search_spaces/{name}.yaml", overrides)


def shipped_spaces() -> list[str]:
    """Names of the search spaces that come with the product."""
    return sorted(
        file.name.removesuffix(".yaml") for file in files("search_spaces").iterdir() if file.name.endswith(".yaml")
    )


def _load(path: Path, source: str, overrides: Mapping[str, Json]) -> SearchSpace:
    document = read_yaml(path, error=SpaceError)
    return SearchSpace.from_document(override(document, overrides, source), source)


def override(document: Mapping[str, Json], overrides: Mapping[str, Json], source: str) -> dict[str, Json]:
    """A copy of a document with some values replaced by dotted key.

    Raises:
        SpaceError: if a key leads through something that is not a mapping.
    """
    changed: dict[str, Json] = copy.deepcopy(dict(document))
    for key, value in overrides.items():
        *parents, last = key.split(".")
        inner = changed
        for parent in parents:
            child = inner.setdefault(parent, {})
            if not isinstance(child, dict):
                raise SpaceError(f"{source}: {key}: {parent!r} must be a mapping, but got {show(child)}")
            inner = child
        inner[last] = copy.deepcopy(value)
    return changed
