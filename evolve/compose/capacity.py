"""How many trials a machine, or a cluster of them, has room for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evolve.environment import cpu_count, gpu_names, memory_bytes

WORKER_BYTES = 2e9
"""Memory that a worker is expected to need where there are no GPUs."""
MEMORY_SHARE = 0.7
"""How much of a machine's memory workers may take."""

Node = Mapping[str, float]
"""What a machine has, as Ray calls it: `CPU`, `GPU`, and `memory` in bytes."""


def this_machine() -> Node:
    """What this process may use of its machine.

    Raises:
        EvolveError: if the driver of the GPUs does not answer.
    """
    return {
        "CPU": float(cpu_count()),
        "GPU": float(len(gpu_names())),
        "memory": MEMORY_SHARE * memory_bytes(),
    }


def room(nodes: Sequence[Node], gpus_per_trial: float) -> int:
    """How many trials run at once: one for each GPU share; without GPUs, one for each core as memory allows.

    Two small trainings on a core each are faster than one after the other on both.
    """
    from workers.shares import Share

    if gpus_per_trial > 0:
        return sum(Share(0.0, gpus_per_trial).fits(node) for node in nodes)
    return sum(int(min(node.get("CPU", 0.0), node.get("memory", 0.0) / WORKER_BYTES)) for node in nodes)
