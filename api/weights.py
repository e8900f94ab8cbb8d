"""The weights of the best individual as a download, which a search may replace and remove at any moment."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from api import views
from evolve.exceptions import NotFound
from evolve.ledger import Ledger


def open_best_weights(ledger: Ledger, ref: str) -> tuple[str, BinaryIO]:
    """Id of a search, and the weights of its best individual, opened: as long as that is so, they are whole.

    Raises:
        NotFound: as for `views.best_weights`.
    """
    with suppress(NotFound, FileNotFoundError):  # there are none, or others have become the best meanwhile
        return _opened(ledger, ref)
    try:
        return _opened(ledger, ref)
    except FileNotFoundError:
        raise NotFound(
            f"search {ref}: weights: must stay for a moment, but were removed twice; ask again"
        ) from None


def _opened(ledger: Ledger, ref: str) -> tuple[str, BinaryIO]:
    search_id, path = views.best_weights(ledger, ref)
    return search_id, path.open("rb")


class WeightsResponse(FileResponse):
    """Sends weights that are open, whatever becomes of their name, and closes them.

    Args:
        search_id: Whose they are.
        opened: The weights.
    """

    def __init__(self, search_id: str, opened: BinaryIO) -> None:
        number = opened.fileno()
        super().__init__(
            f"/dev/fd/{number}",
            media_type="application/octet-stream",
            filename=f"best-{search_id}{Path(opened.name).suffix}",
            stat_result=os.fstat(number),
        )
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        with self._opened:
            await super().__call__(scope, receive, send)
