"""The last thing that a process wrote before it ended."""

from __future__ import annotations

from pathlib import Path

_BYTES = 4096
_LONGEST = 300


def last_line(path: Path, after: int = 0) -> str:
    """The last line of a log that is not empty, from the byte `after` on; empty if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _BYTES, min(after, size)))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_LONGEST] if lines else ""
