"""Where the trials of a search run, and how many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolve.compose.options import BUILT_IN_OBJECTIVE, RunOptions
from evolve.dispatch import Dispatcher, InlineDispatcher
from evolve.environment import gpu_names

if TYPE_CHECKING:
    from workers.ray_cluster import RayCluster

WORKER_BYTES = 2e9
"""Memory that a worker is expected to need where there are no GPUs."""


def make_dispatcher(options: RunOptions, population: int) -> tuple[Dispatcher, float]:
    """The dispatcher that the options ask for, and the GPUs, or the share of one, that each trial gets.

    What the options leave open is decided by what there is, on a cluster as well as on this machine: a GPU for
    each trial of the built-in objective if there are any, and as many trials at once as that allows.

    Raises:
        InputError: if the cluster cannot be reached, or has no room for what is asked.
    """
    from workers.objectives import resolve_objective

    if options.inline:
        gpus = _gpus_per_trial(options, len(gpu_names()))
        return InlineDispatcher(resolve_objective(options.objective)), gpus
    from workers.ray_cluster import RayCluster
    from workers.ray_dispatcher import RayDispatcher

    cluster = RayCluster(options.ray_address)
    try:
        gpus = _gpus_per_trial(options, sum(node.get("GPU", 0.0) for node in cluster.nodes()))
        dispatcher = RayDispatcher(
            options.objective,
            workers=options.workers or _workers(cluster, gpus, population),
            gpus_per_trial=gpus,
            cluster=cluster,
            closes_cluster=True,
            hang_timeout=options.hang_timeout,
        )
    except BaseException:
        cluster.close()
        raise
    return dispatcher, gpus


def _gpus_per_trial(options: RunOptions, gpus: float) -> float:
    if options.gpus_per_trial is not None:
        return options.gpus_per_trial
    return 1.0 if gpus and options.objective == BUILT_IN_OBJECTIVE else 0.0


def _workers(cluster: RayCluster, gpus_per_trial: float, population: int) -> int:
    """One trial for each GPU share; without GPUs, one for each core as far as memory reaches.

    Two small trainings on a core each are faster than one after the other on both. More than a generation at
    once would breed nothing.
    """
    from workers.ray_cluster import Share

    if gpus_per_trial > 0:
        room = sum(Share(0.0, gpus_per_trial).fits(node) for node in cluster.nodes())
    else:
        room = sum(
            int(min(node.get("CPU", 0.0), node.get("memory", 0.0) / WORKER_BYTES)) for node in cluster.nodes()
        )
        room = min(room, population)
    return max(1, room)
