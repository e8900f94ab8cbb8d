"""How fast one caller may ask: a token bucket for each."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

MOST_CALLERS = 10_000


class RateLimit:
    """A bucket of tokens for each caller: it fills steadily, and every request takes one out.

    Args:
        per_second: Tokens that come in a second.
        burst: Tokens that a bucket holds.
        clock: Seconds that never go back.
    """

    def __init__(self, per_second: float, burst: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, caller: Hashable) -> float:
        """Take a token; returns the seconds to wait until there is one, 0 if there was."""
        with self._lock:
            tokens, now = self._level(caller)
            if tokens >= 1:
                tokens -= 1
                wait = 0.0
            else:
                wait = (1 - tokens) / self._rate
            self._buckets[caller] = (tokens, now)
            self._buckets.move_to_end(caller)
            if len(self._buckets) > MOST_CALLERS:  # whoever has been quiet for longest has a full bucket by now
                self._buckets.popitem(last=False)
            return wait

    def wait(self, caller: Hashable) -> float:
        """The seconds to wait until there is a token; takes none."""
        with self._lock:
            tokens, _ = self._level(caller)
            return max(0.0, (1 - tokens) / self._rate)

    def _level(self, caller: Hashable) -> tuple[float, float]:
        now = self._clock()
        tokens, then = self._buckets.get(caller, (self._burst, now))
        return min(self._burst, tokens + (now - then) * self._rate), now
