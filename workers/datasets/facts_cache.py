"""Remembers what was seen of each picture, so that a second check of a large data set reads no picture again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from workers.datasets.images import Flaw, ImageFacts, inspect_image

_VERSION = 1
"""Counts up whenever `inspect_image` judges otherwise."""


class FactsCache:
    """Facts by path, size and modification time, kept in one file for each data set folder.

    Two processes may write it at the same time: each replaces the whole file, and either content is right.
    """

    def __init__(self, home: Path | None, root: Path) -> None:
        place = hashlib.blake2b(os.fsencode(root), digest_size=8).hexdigest()
        self._file = home / "datasets" / f"facts-{place}.json" if home else None
        self._old = self._load()
        self._new: dict[str, list[Any]] = {}

    def _load(self) -> dict[str, list[Any]]:
        if self._file is None:
            return {}
        with contextlib.suppress(OSError, ValueError):
            document = json.loads(self._file.read_bytes())
            if isinstance(document, dict) and document.get("version") == _VERSION:
                return dict(document["facts"])
        return {}

    def inspect(self, path: str) -> ImageFacts:
        """`inspect_image`, or what it said the last time if the file has not been touched since."""
        try:
            status = os.stat(path)
        except OSError:
            return inspect_image(path)
        stamp = [status.st_size, status.st_mtime_ns]
        known = self._old.get(path)
        if known and known[:2] == stamp:
            self._new[path] = known
            digest, width, height, mode, flaw, is_flat = known[2:]
            return ImageFacts(digest, width, height, mode, Flaw(flaw) if flaw else None, is_flat)
        facts = inspect_image(path)
        self._new[path] = [
            *stamp,
            facts.digest,
            facts.width,
            facts.height,
            facts.mode,
            facts.flaw,
            facts.is_flat,
        ]
        return facts

    def save(self) -> None:
        """Keep what was seen since this cache was opened, and forget files that are gone."""
        if self._file is None or self._new == self._old:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._file.parent) as draft:
            written = Path(draft, self._file.name)
            written.write_text(json.dumps({"version": _VERSION, "facts": self._new}))
            os.replace(written, self._file)
