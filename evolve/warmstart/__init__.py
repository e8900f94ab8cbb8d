"""Warm start: what is known from earlier searches, or from files, becomes the `known` of a space.

All of it is read and made to fit before the search is entered, so that the search's own document says everything:
a resume needs neither the other search nor the file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evolve.exceptions import InputError, NotFound
from evolve.formatting import clean
from evolve.space import Known, SearchSpace
from evolve.space.known import MAX_KNOWN
from evolve.trial import Json
from evolve.warmstart.choosing import allot
from evolve.warmstart.documents import document_source
from evolve.warmstart.fitting import fit
from evolve.warmstart.source import Source
from evolve.warmstart.tables import table_source

if TYPE_CHECKING:
    from evolve.ledger import Ledger

__all__ = [
    "ENDINGS",
    "MAX_SOURCES",
    "Source",
    "beginning_with",
    "documents",
    "from_file",
    "from_search",
    "is_file",
    "refuse_many",
    "taken",
    "warm_started",
]

MAX_SOURCES = 10
_TABLES = (".csv",)
ENDINGS = (".yaml", ".yml", *_TABLES)
"""How files that can be read end."""
_SHOWN = 80


def warm_started(
    space: SearchSpace, refs: Sequence[str | Path], ledger: Ledger
) -> tuple[SearchSpace, tuple[str, ...]]:
    """A space that begins with what is known.

    Args:
        space: A space, with or without `known` of its own.
        refs: Searches of the ledger (id, beginning of one, or name) and files (YAML or CSV).
        ledger: Where the searches are.

    Returns:
        The space, and a line for each source that says what came of it.

    Raises:
        InputError: with one line for the first that cannot be used.
    """
    if not refs:
        return space, ()
    refuse_many(refs)
    return beginning_with(space, [_source(space, str(ref), ledger) for ref in refs])


def refuse_many(refs: Sequence[str | Path]) -> None:
    """Refuse more sources than are read.

    Raises:
        InputError: if there are too many.
    """
    if len(refs) > MAX_SOURCES:
        raise InputError(f"warm start: at most {MAX_SOURCES} sources can be given, but got {len(refs)}; drop some")


def beginning_with(space: SearchSpace, sources: Sequence[Source]) -> tuple[SearchSpace, tuple[str, ...]]:
    """A space that begins with as much of some sources as it has room for, and a line for each of them.

    Raises:
        InputError: if there is no room, or nothing of a source can be used.
    """
    known, notes = taken(space, sources, MAX_KNOWN - len(space.known))
    document = {**space.document(), "known": documents((*space.known, *known))}
    return SearchSpace.from_document(document, space.name), notes


def documents(known: Sequence[Known]) -> list[Json]:
    """Known configurations as the document of a space has them."""
    return [each.model_dump(mode="json") for each in known]


def taken(space: SearchSpace, sources: Sequence[Source], most: int) -> tuple[list[Known], tuple[str, ...]]:
    """What is taken of several sources where there is room for so many, and a line for each source.

    Raises:
        InputError: if there is no room for one of each, or nothing of one can be used.
    """
    # a search may be meant by its id and by its name
    sources = list({each.title: each for each in sources}.values())
    if most < len(sources):
        raise InputError(
            f"warm start: a space holds at most {MAX_KNOWN} known configurations, and has no room for more; "
            "remove some of `known`"
        )
    shares = allot([len(each.rows) for each in sources], most)
    fitted = [fit(space, each, share) for each, share in zip(sources, shares, strict=True)]
    return [known for each in fitted for known in each.known], tuple(each.note for each in fitted)


def is_file(ref: str) -> bool:
    """Whether a source is a file, rather than a search; one that does not exist is none."""
    return os.path.isfile(ref)  # unlike Path.is_file, it lives with a name of any length


def _source(space: SearchSpace, ref: str, ledger: Ledger) -> Source:
    if is_file(ref):
        return from_file(space, Path(ref))
    try:
        return from_search(ref, ledger)
    except NotFound as error:
        problem = str(error).removeprefix(f"search {ref}: ")
        raise InputError(
            f"warm start: {clean(ref)[:_SHOWN]}: there is no such file, and {clean(problem)}"
        ) from None


def from_search(ref: str, ledger: Ledger) -> Source:
    """What a search has found.

    Raises:
        NotFound: if there is no such search.
        InputError: if it has found nothing.
    """
    from evolve.warmstart.searches import search_source

    return search_source(ledger, ledger.search(ref))


def from_file(space: SearchSpace, path: Path, title: str | None = None) -> Source:
    """What a file holds.

    Args:
        space: Whose genes are looked for.
        path: The file.
        title: What it is called in the space; its path unless given.

    Raises:
        InputError: if it cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix not in ENDINGS:
        raise InputError(
            f"{path}: the suffix must be one of {', '.join(ENDINGS)}, but got {suffix!r}; rename the file"
        )
    source = table_source(path, space) if suffix in _TABLES else document_source(path, space)
    return source if title is None else replace(source, title=title)
