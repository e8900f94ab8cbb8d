"""A search of the ledger as a source of configurations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from evolve.exceptions import InputError
from evolve.formatting import clean
from evolve.ledger.records import IndividualRecord, SearchRecord
from evolve.trial import Json, Role
from evolve.warmstart.source import Row, Source

if TYPE_CHECKING:
    from evolve.ledger import Ledger

_WHOLE = (Role.SEARCH, Role.REPEAT, Role.CONTINUATION, Role.FINAL)
_PAGE = 1000
_PAGES = 5
"""No more is read: a service judges nobody else's submission meanwhile, and these are the best 5000.

A submission that begins with one such search took 1.1 s, with ten of them 3.1 s (yolo12n, a busy core).
"""


def search_source(ledger: Ledger, search: SearchRecord) -> Source:
    """What a search has trained whole, each configuration with its mean fitness.

    Raises:
        InputError: if it has trained nothing.
    """
    title = f'search {search.id} "{clean(search.name)}"'
    trained = list(_trained(ledger, search.id))
    if not trained:
        raise InputError(
            f"{title}: must have an individual with a fitness, but has none; look at `evolve show {search.id}`"
        )
    fixed, genes = _section(search, "train"), _section(search, "genes")
    remarks: tuple[str, ...] = ()
    if any(each.inherited_from is not None for each in trained):
        remarks = ("weights were inherited, so that fitness says less of the genes",)
    rows = (Row({**fixed, **params}, fitness) for params, fitness in _merged(trained))
    return Source(title, "genes", tuple(genes), tuple(rows), remarks=remarks)


def _trained(ledger: Ledger, search_id: str) -> Iterator[IndividualRecord]:
    """Those with a fitness of their own, best first."""
    for number in range(_PAGES):
        page, _ = ledger.individual_page(search_id, sort="-fitness", light=True, limit=_PAGE, offset=number * _PAGE)
        for each in page:
            if each.fitness is None:  # so have all that follow
                return
            if each.role in _WHOLE and each.reused_from is None:
                yield each
        if len(page) < _PAGE:
            return


def _merged(trained: list[IndividualRecord]) -> Iterator[tuple[Mapping[str, Json], float]]:
    """Every configuration once, in the order of first sight.

    Its fitness is the mean over its seeds, as the best of several would favour those that were repeated. A final of
    another length than the trials' counts only where there is nothing else.
    """
    together: defaultdict[str, list[IndividualRecord]] = defaultdict(list)
    for each in trained:
        together[each.key].append(each)
    for same in together.values():
        alike = [each for each in same if each.role is not Role.FINAL or not each.settings] or same
        yield same[0].params, sum((each.fitness or 0.0) / len(alike) for each in alike)


def _section(search: SearchRecord, name: str) -> Mapping[str, Json]:
    section = search.document.get(name)
    return section if isinstance(section, dict) else {}
