"""What every part of a search's page is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from api.auth import Principal
from api.dashboard.live import Snapshot
from api.dashboard.site import Site


@dataclass(frozen=True)
class View:
    """Who looks at which search.

    Attributes:
        site: The service.
        principal: Who looks.
        search_id: At which search.
    """

    site: Site
    principal: Principal
    search_id: str

    @property
    def individuals(self) -> str:
        """Where the pages of individuals are; a number is to be added."""
        return f"/searches/{self.search_id}/individuals/"


class Section(ABC):
    """A part of the page: built once, in the place where it stands, then refreshed whenever something changed.

    Args:
        view: Who looks at which search.
    """

    title = ""

    def __init__(self, view: View) -> None:
        self.view = view

    @abstractmethod
    def build(self, snapshot: Snapshot) -> None:
        """Lay out the elements."""

    @abstractmethod
    async def refresh(self, snapshot: Snapshot) -> bool:
        """Show a newer state of the search.

        Returns:
            Whether it is shown now; if not, as that would cost too much so soon, it is to be asked for again.
        """
