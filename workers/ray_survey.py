"""Says every few seconds, in a line of JSON, what the living nodes of a Ray cluster have.

Run as `python -m workers.ray_survey ADDRESS`; it ends with its input. A process of its own because Ray ends the
process that is connected to a cluster when that cluster dies.
"""

from __future__ import annotations

import json
import select
import sys

from workers.ray_cluster import RayCluster

LOOK_SECONDS = 5.0


def main(address: str) -> None:
    """Look and tell until the input ends."""
    cluster = RayCluster(address)
    try:
        while True:
            print(json.dumps([dict(node) for node in cluster.nodes()]), flush=True)
            if select.select([sys.stdin], [], [], LOOK_SECONDS)[0]:
                return
    finally:
        cluster.close()


if __name__ == "__main__":
    main(sys.argv[1])
