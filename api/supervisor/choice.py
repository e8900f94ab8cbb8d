"""Which pool a service has, from what its machine has and what was asked for."""

from __future__ import annotations

from api.options import ServiceOptions
from api.supervisor.cluster import ClusterPool
from api.supervisor.pool import InlinePool, LocalPool, Pool
from evolve.compose.capacity import room, this_machine
from evolve.exceptions import InputError
from evolve.settings import Settings
from workers.shares import Share, equal_share

POOL_FILE = "pool.json"


def make_pool(settings: Settings, options: ServiceOptions) -> Pool:
    """The pool that the options ask for. Nothing is started yet, but what watches a cluster.

    Raises:
        InputError: if this machine has no room for what is asked.
    """
    home = settings.home.absolute()
    if options.ray_address is not None:
        return ClusterPool(options.ray_address, options.workers, options.gpus_per_trial, home / "cluster.log")
    machine = this_machine()
    gpus = options.gpus_per_trial if options.gpus_per_trial is not None else float(machine["GPU"] > 0)
    if options.pool == "inline":
        return InlinePool(options.workers or 1, machine["GPU"], options.gpus_per_trial)
    slots = options.workers or max(1, room([machine], gpus))
    share = Share(equal_share(machine["CPU"], slots), gpus)
    if share.fits(machine) < slots:
        raise InputError(
            f"--workers {slots}: each trial must find {share}, but this machine has {machine['CPU']:g} CPUs and "
            f"{machine['GPU']:g} GPUs; lower --workers or --gpus-per-trial, or name a cluster by --ray-address"
        )
    return LocalPool(
        home / POOL_FILE,
        slots=slots,
        cpus=int(machine["CPU"]),
        gpus=int(machine["GPU"]),
        cpus_per_trial=share.cpus,
        gpus_per_trial=share.gpus,
    )
