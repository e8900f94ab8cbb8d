"""Drives the searches that were submitted: queue, shares, driver processes, and the pool that they train on."""

from api.supervisor.status import DriverStatus, PoolStatus

__all__ = ["DriverStatus", "PoolStatus"]
