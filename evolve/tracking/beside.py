"""The MLflow UI as the child of a service: it starts without delaying anybody, and ends with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

from evolve.tracking.store import prepare_store, ui_command

END_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


class UiBeside:
    """Runs the MLflow UI until it is stopped, or this process is gone, however that dies.

    To be started in the main thread: the kernel tells the child of the death of the thread that started it.

    Args:
        log: Where it writes.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, uri: str, port: int) -> None:
        """Start it.

        Args:
            uri: The MLflow store.
            port: Where its pages are, on the loopback interface.
        """
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - this module
                [sys.executable, "-P", "-m", "evolve.tracking.beside", str(os.getpid()), uri, str(port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C reaches us alone, and it would count twice
            )

    def terminate(self) -> None:
        """Tell it to end."""
        if self._process is not None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait until it has ended, not for long."""
        if self._process is None:
            return
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def main(parent: int, uri: str, port: int) -> None:
    """Become the UI."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before it was to be heard of
        return
    prepare_store(uri)
    command = ui_command(uri, port)
    os.execv(command[0], command)  # noqa: S606 - our own command


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
