"""Configurations that are known before the search begins: the `known` part of a document."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from evolve.space.validation import Part, Scalar

MAX_KNOWN = 1000


class Known(Part):
    """A configuration that somebody has trained, or wants to have trained first.

    Attributes:
        genes: Values by name. Genes that are left out have their defaults; other names, and values that the space
            does not allow, were sorted out before (see `evolve.warmstart`).
        fitness: What came of it, in the units of its source; None if it was not trained.
        source: Where it is from. Fitness is compared within a source only.
    """

    genes: Mapping[str, Scalar] = Field(default_factory=dict)
    fitness: float | None = None
    source: str = Field(default="", max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
