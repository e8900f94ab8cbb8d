"""Where the trials of a search run, and how many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolve.compose.capacity import room
from evolve.compose.options import BUILT_IN_OBJECTIVE, RunOptions
from evolve.dispatch import Dispatcher, InlineDispatcher
from evolve.environment import gpu_names

if TYPE_CHECKING:
    from workers.ray_cluster import RayCluster


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
            cpus_per_trial=options.cpus_per_trial,
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
    """More than a generation at once would breed nothing where trials share cores, and not GPUs."""
    found = room(cluster.nodes(), gpus_per_trial)
    return max(1, found if gpus_per_trial > 0 else min(found, population))
