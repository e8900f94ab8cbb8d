"""Ends a service, the drivers that it left, and the pool that they train on, in this order."""

from __future__ import annotations

from api.supervisor.choice import POOL_FILE
from api.supervisor.drivers import Launcher
from api.supervisor.ending import end
from api.supervisor.pool import end_pool
from evolve.compose.notes import read_note
from evolve.ledger import Ledger
from evolve.settings import Settings

SERVICE_SECONDS = 20.0
DRIVER_SECONDS = 30.0


def stop(settings: Settings) -> list[str]:
    """End all that runs for the service of a home; nothing that is finished is lost.

    Returns:
        What was done, in lines for a person; empty if there was nothing to do.
    """
    done: list[str] = []
    note = read_note(settings)
    if note is not None:
        end([note.pid], SERVICE_SECONDS)
        done.append(f"the service at {note.url} ended")
    drivers = _drivers(settings)
    if drivers:
        killed = end(drivers, DRIVER_SECONDS)
        how = f", {killed} of them killed after {DRIVER_SECONDS:g} s" if killed else ""
        done.append(f"drivers ended: {len(drivers)}{how}; the next `evolve serve` goes on with their searches")
    if end_pool(settings.home.absolute() / POOL_FILE):
        done.append("the pool of workers ended")
    return done


def _drivers(settings: Settings) -> list[int]:
    launcher = Launcher(settings)
    with Ledger(settings.ledger_url) as ledger:
        searches = [search for search in ledger.queue() if search.leased or search.allotment is not None]
    found = [launcher.find(search) for search in searches]
    return [driver.pid for driver in found if driver is not None and driver.pid is not None]
