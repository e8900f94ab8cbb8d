"""What the supervisor shows of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DriverStatus:
    """A process that drives a search.

    Attributes:
        search_id: The search.
        pid: Its process id; None while that is on another machine.
        workers: Workers that it may use now; 0 while it is paused, or has to wait for searches of higher priority.
        since: When it was started, or taken over from a former supervisor; seconds since the epoch.
    """

    search_id: str
    pid: int | None
    workers: int
    since: float


@dataclass(frozen=True)
class PoolStatus:
    """The workers that all searches share.

    Attributes:
        slots: Trials that can run at once; 0 while a cluster cannot be reached.
        used: How many of them are granted to searches that are driven now.
        gpus: GPUs of the pool.
        drivers: The searches that are driven now.
        queued: Searches that wait for workers.
    """

    slots: int
    used: int
    gpus: float
    drivers: tuple[DriverStatus, ...] = ()
    queued: int = 0
