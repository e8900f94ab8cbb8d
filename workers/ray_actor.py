"""The process that trains: resolves its objective once and stays warm for one trial after another."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import socket
import sys
from collections.abc import Iterator, Sequence

from evolve.dispatch import failure_of
from evolve.trial import EpochReport, Failure, Objective, TrialResult, TrialSpec
from workers.objectives import resolve_objective


class TrialActor:
    """Runs trials; plain Python, made remote by `workers.ray_dispatcher`.

    Failures travel as values, never as exceptions: a user's exception may not survive pickling, and the driver
    may lack the module that defines it.

    Args:
        objective: Name for `workers.objectives.resolve_objective`.
        path: The driver's `sys.path`, so that a module beside the user's shell is found here as well.
        directory: The driver's working directory, entered where it exists on this machine.
    """

    def __init__(self, objective: str, path: Sequence[str], directory: str) -> None:
        sys.path.extend(entry for entry in path if entry not in sys.path)
        if os.path.isdir(directory):
            os.chdir(directory)
        self._name = objective
        self._objective: Objective

    def prepare(self) -> str | Failure:
        """Import the objective; `host:pid` of this worker, or why it cannot train."""
        try:
            self._objective = resolve_objective(self._name)
        except (Exception, SystemExit) as error:  # a user's module may raise anything while it is imported
            return failure_of(error)
        return f"{socket.gethostname()}:{os.getpid()}"

    def run(self, spec: TrialSpec) -> Iterator[EpochReport | TrialResult | Failure]:
        """Yield the reports of a trial, then its result or failure; `prepare` comes first.

        Cancelling closes this generator between two reports, and the objective's with it.
        """
        try:
            yield (yield from self._objective.run(spec))
        except (
            Exception,
            SystemExit,
        ) as error:  # an objective may raise anything; all of it is a failed trial
            yield failure_of(error)
        else:
            _spare_imports()


@functools.cache
def _spare_imports() -> None:
    """After the first trial, take all that is imported by now out of garbage collections.

    Every trial ends with one, and walking through torch and its friends takes longer than all else in it.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # extension modules report leaks otherwise
