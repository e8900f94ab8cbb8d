"""Warm start over the network: files are read here, as the service opens none; searches are looked up there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evolve.exceptions import InputError
from evolve.formatting import clean
from evolve.space import SearchSpace, override
from evolve.space.known import MAX_KNOWN
from evolve.trial import Json
from evolve.warmstart import ENDINGS, documents, from_file, is_file, refuse_many, taken
from evolve.yaml_io import MAX_BYTES, parse_yaml

_SOURCE = "space"


def warmed(
    body: Mapping[str, Any], refs: Sequence[str | Path], shipped: Callable[[str], Mapping[str, Json]]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A submission that begins with what is known.

    Args:
        body: The submission.
        refs: Files of this machine, and searches of the service.
        shipped: The document of a space that the service ships.

    Returns:
        The submission, and a line for each file that says what came of it.

    Raises:
        InputError: if a file cannot be used.
    """
    refuse_many(refs)
    names = [str(ref) for ref in refs]
    searches = [name for name in names if not is_file(name)]
    for name in searches:
        if os.sep in name or name.lower().endswith(ENDINGS):
            raise InputError(f"warm start: {clean(name)}: there is no such file; correct the path")
    with_searches = {**body, **({"warm_start": searches} if searches else {})}
    files = [Path(name) for name in names if name not in searches]
    return _with_files(with_searches, files, shipped) if files else (with_searches, ())


def _with_files(
    body: dict[str, Any], files: Sequence[Path], shipped: Callable[[str], Mapping[str, Json]]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    changes = body.get("overrides", {})
    space = SearchSpace.from_document(override(_document(body, shipped), changes, _SOURCE), _SOURCE)
    names = [file.name for file in files]  # where it lies on this machine is nobody's business
    titles = names if len(set(names)) == len(set(files)) else [str(file) for file in files]
    sources = [from_file(space, file, title) for file, title in zip(files, titles, strict=True)]
    most = min(sum(len(each.rows) for each in sources), MAX_KNOWN - len(space.known))
    while True:
        known, notes = taken(space, sources, most)
        whole = {**body, "overrides": {**changes, "known": documents((*space.known, *known))}}
        size = len(json.dumps(whole).encode())
        if size <= MAX_BYTES:
            return whole, notes
        most = min(most - 1, most * MAX_BYTES // size)
        if most < len(sources):
            raise InputError(
                f"warm start: a submission may hold {MAX_BYTES // 1024} KiB, and the space leaves no room for "
                "known configurations; give a search of the service instead"
            )


def _document(body: Mapping[str, Any], shipped: Callable[[str], Mapping[str, Json]]) -> Mapping[str, Json]:
    if "yaml" in body:
        return parse_yaml(body["yaml"], _SOURCE)
    space = body["space"]
    return shipped(space) if isinstance(space, str) else space
