"""Searches side by side: what each reached for what it spent, and whether the difference is more than luck."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evolve.comparison.records import Budget, By, Comparison, Contender, Entry

if TYPE_CHECKING:
    from evolve.ledger import Ledger

__all__ = ["Budget", "By", "Comparison", "Contender", "Entry", "compare_searches"]


def compare_searches(
    *refs: str, by: By = "trainings", home: str | Path | None = None, ledger: Ledger | None = None
) -> Comparison:
    """Compare two or more searches.

    Searches that differ only by name, seed and length are runs of one contender. Contenders with two runs or more
    are tested against each other; of a single run nobody can say whether it was luck.

    Args:
        refs: Their ids or names.
        by: Compare after equal numbers of `trainings`, or after equal `time` spent on them.
        home: Folder for everything that is kept; `EVOLVE_HOME` or `.evolve` unless given.
        ledger: An open ledger, instead of the one in `home`.

    Raises:
        InputError: if there are fewer than two, one is unknown, or one is given twice.
    """
    from evolve.comparison.gathering import gather
    from evolve.ledger import Ledger
    from evolve.settings import Settings

    if ledger is not None:
        return gather(ledger, refs, by)
    settings = Settings() if home is None else Settings(home=Path(home))
    with Ledger(settings.ledger_url) as opened:
        return gather(opened, refs, by)
