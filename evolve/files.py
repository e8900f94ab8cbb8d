"""Files that appear whole or not at all, and texts that are read within bounds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evolve.exceptions import InputError


@contextmanager
def replacing(target: Path, what: str) -> Iterator[Path]:
    """A path to write to, which becomes `target` when the block ends well and vanishes when it does not.

    Args:
        target: The file to make or replace; missing parent folders are made.
        what: What the file is, for the message.

    Raises:
        InputError: if it cannot be written.
    """
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"{target}: the {what} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # where nothing could be written, there is nothing to remove
            temporary.unlink()


def read_text(path: Path, most: int, error: type[InputError] = InputError) -> str:
    """The text of a file from outside.

    Args:
        path: The file; a byte order mark is no part of its text.
        most: Bytes it may have; no more are read.
        error: The class to raise.

    Raises:
        InputError: (or `error`) if it cannot be read, is too long or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except OSError as problem:
        raise error(f"{path}: the file cannot be read: {problem.strerror or problem}; correct the path") from None
    if len(raw) > most:
        limit = f"{most >> 20} MiB" if most >= 1 << 20 else f"{most >> 10} KiB"
        raise error(f"{path}: the file may hold at most {limit}; make it shorter")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(f"{path}: the file must be UTF-8, but byte {problem.start} is not; save it as UTF-8") from None
