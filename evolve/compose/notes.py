"""What a service that runs has written down, for whoever wants to end it or to know where it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from evolve.ledger.owner import is_dead, local_pid, this_process
from evolve.settings import Settings


@dataclass(frozen=True)
class Note:
    """A service.

    Attributes:
        owner: Its process, as `evolve.ledger.owner` knows it.
        url: Where it answers.
    """

    owner: str
    url: str

    @property
    def pid(self) -> int:
        """Its process id."""
        return local_pid(self.owner) or 0


@contextmanager
def noted(settings: Settings, url: str) -> Iterator[None]:
    """While entered, it is written down that this process serves a home."""
    _file(settings).write_text(json.dumps(asdict(Note(this_process(), url))), encoding="utf-8")
    try:
        yield
    finally:
        _file(settings).unlink(missing_ok=True)


def read_note(settings: Settings) -> Note | None:
    """The service that lives on a home, on this machine."""
    try:
        found = json.loads(_file(settings).read_text(encoding="utf-8"))
        note = Note(str(found["owner"]), str(found["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return note if note.pid and not is_dead(note.owner) else None


def _file(settings: Settings) -> Path:
    return settings.home.absolute() / "serve.json"
