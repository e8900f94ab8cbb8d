"""Whether a space holds anything to search in."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from evolve.codec import Codec
from evolve.space.validation import show

if TYPE_CHECKING:
    from evolve.space.document import SearchSpace

_DRAWS = 1000


def require_feasible(space: SearchSpace) -> None:
    """Refuse a space of which next to nothing satisfies the constraints.

    The draws depend on the space alone, so that a space is refused always or never.

    Raises:
        ValueError: naming the constraint that fails most.
    """
    codec = Codec(space)
    chance = random.Random(0)  # noqa: S311 - not for secrets
    failures: Counter[str] = Counter()
    for _ in range(_DRAWS):
        violated = space.violated(codec.decode([chance.random() for _ in codec.names]))
        if not violated:
            return
        failures.update({str(constraint) for constraint in violated})
    worst, count = failures.most_common(1)[0]
    raise ValueError(
        f"constraints: some configurations must satisfy all of them, but none of {_DRAWS} drawn ones did; "
        f"{show(worst)} failed most ({count} times): loosen it or widen the genes' ranges"
    )
