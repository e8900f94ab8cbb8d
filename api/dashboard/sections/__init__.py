"""The parts of a search's page, each brought up to date on its own."""

from api.dashboard.sections.base import Section, View

__all__ = ["Section", "View"]
