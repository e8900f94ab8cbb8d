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
        ValueError: naming the constraint that was found to fail most.
    """
    codec = Codec(space)
    chance = random.Random(0)  # noqa: S311 - not for secrets
    failures: Counter[str] = Counter()
    constraints = list(space.constraints)
    for _ in range(_DRAWS):
        params = codec.decode([chance.random() for _ in codec.names])
        broken = next((each for each in constraints if not space.satisfies(params, each)), None)
        if broken is None:
            return
        failures[str(broken)] += 1
        # what fails often comes first, so that a draw seldom costs more than one constraint
        constraints.remove(broken)
        constraints.insert(0, broken)
    worst, count = failures.most_common(1)[0]
    raise ValueError(
        f"constraints: some configurations must satisfy all of them, but none of {_DRAWS} drawn ones did; "
        f"{show(worst)} failed most ({count} times): loosen it or widen the genes' ranges"
    )
