"""Notices that the cluster which this process is connected to is gone.

Ray itself says nothing: a head that was started anew knows neither this process nor its actors, and whatever is
asked of it then is never answered, or ends this process on the spot.
"""

from __future__ import annotations

import threading
import time

import ray
from ray import exceptions as ray_errors

LOOK_SECONDS = 5.0
ANSWER_SECONDS = 5.0
PATIENCE_SECONDS = 45.0
"""How long a head may be silent; after a minute Ray ends this process by itself."""


class ClusterWatch:
    """Looks every few seconds whether the cluster is still the one that was connected to; begins at once.

    Attributes:
        verdict: Why it is gone, in words for a person; empty as long as it is there.

    Args:
        look: Seconds between looks.
        patience: Seconds of silence that are borne.
    """

    def __init__(self, look: float = LOOK_SECONDS, patience: float = PATIENCE_SECONDS) -> None:
        self.verdict = ""
        self._look_seconds = look
        self._patience = patience
        # of all that asks the head this alone raises an exception, instead of ending the process
        self._client = ray._private.worker.global_worker.gcs_client
        self._node = ray._raylet.NodeID.from_hex(ray.get_runtime_context().get_node_id())
        self._heard = time.monotonic()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="ray-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no longer; before the connection is closed."""
        self._done.set()
        self._thread.join(2 * ANSWER_SECONDS)

    def _watch(self) -> None:
        while not self.verdict and not self._done.wait(self._look_seconds):
            self.verdict = self._look()

    def _look(self) -> str:
        try:
            (alive,) = self._client.check_alive([self._node], timeout=ANSWER_SECONDS)
        except ray_errors.AuthenticationError:  # so it says that it does not know us
            return "the Ray cluster was started anew"
        except ray_errors.RayError:
            silence = time.monotonic() - self._heard
            return f"the head of the Ray cluster was silent for {silence:.0f} s" if silence > self._patience else ""
        self._heard = time.monotonic()
        return "" if alive else "the Ray cluster has given up the node that this driver stands on"
