"""What follows a failed trial.

==============  =====================  =========================================================
kind            tried again            meaning for the search
==============  =====================  =========================================================
out_of_memory   no                     the individual is bad; its batch bounds all later ones
diverged        no                     the individual is bad
hang            once, elsewhere        after that the individual is bad
infrastructure  `search.retries`       never the individual's fault; it teaches nothing
code            no                     the individual failed; `search.same_error_limit` in a row
                                       end the search
data            no                     ends the search: every other trial reads the same data
==============  =====================  =========================================================

Equal failures of the other kinds in a row end the search, too, once two populations of individuals could not be
evaluated for them: a cluster that never works again must not be tried for ever.
"""

from __future__ import annotations

import re

from evolve.space import SearchSettings
from evolve.trial import Failure, FailureKind


class FailurePolicy:
    """Decides on retries, and notices when the same error comes again and again.

    Args:
        settings: `retries`, `same_error_limit` and `population` are read.
    """

    def __init__(self, settings: SearchSettings) -> None:
        self._retries = {FailureKind.HANG: 1, FailureKind.INFRASTRUCTURE: settings.retries}
        self._limit = settings.same_error_limit
        self._long = max(settings.same_error_limit, 2 * settings.population)
        self._signature = ""
        self._repeats = 0

    def retries(self, kind: FailureKind, failures: int) -> bool:
        """Whether an individual that has failed `failures` times, the last time with `kind`, is tried again."""
        return failures <= self._retries.get(kind, 0)

    def succeeded(self) -> None:
        """A trial ended well: whatever went wrong before is no series."""
        self._signature, self._repeats = "", 0

    def fatal(self, failure: Failure) -> str | None:
        """Why the search must end after this failure; None if it goes on."""
        if failure.kind is FailureKind.DATA:
            return f"the data cannot be trained on: {failure.message}"
        signature = f"{failure.kind} {re.sub(r'[0-9.]+', '#', failure.message)}"
        self._repeats = self._repeats + 1 if signature == self._signature else 1
        self._signature = signature
        if self._repeats < self._patience(failure.kind):
            return None
        return f"the same error {self._repeats} times in a row ({failure.kind}): {failure.message}"

    def _patience(self, kind: FailureKind) -> int:
        """Equal failures in a row that end the search.

        Only an error in the code is sure to come again. When a machine goes down, all trials on it fail in the same
        words at once, and each may do so again when it is retried.
        """
        if kind is FailureKind.CODE:
            return self._limit
        return self._long * (1 + self._retries.get(kind, 0))
