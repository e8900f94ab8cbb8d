"""Drives the searches that were submitted: queue, shares, driver processes, and the pool that they train on."""

from api.supervisor.status import DriverStatus, PoolStatus
from api.supervisor.supervisor import Supervisor
from api.supervisor.troubles import Patience

__all__ = ["DriverStatus", "Patience", "PoolStatus", "Supervisor"]
