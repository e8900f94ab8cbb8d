"""Ray nodes in processes of their own, as `ray start` makes them, on the loopback interface.

`ray stop` ends every Ray on a machine, so a node is ended by the ids of the processes below its command.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

RAY = str(Path(sys.executable).parent / "ray")
START_SECONDS = 60


class RayNode:
    """A node with two slots, or as many as given, and a folder of its own.

    Args:
        token: What it asks for, or shows.
        port: Of the head: where it listens, or whom it joins.
        joins: Whether another node is the head.
        cpus: Its slots.
        settings: More of its environment.
    """

    def __init__(
        self,
        token: str | None,
        port: int,
        *,
        joins: bool = False,
        cpus: int = 2,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.port, self.token = port, token
        self.folder = tempfile.mkdtemp(prefix="evolve-node-", dir="/tmp")  # a short path, for Ray's sockets
        head = ["--head", f"--port={port}", "--include-dashboard=false", "--node-ip-address=127.0.0.1"]
        command = [RAY, "start", "--block", *([f"--address=127.0.0.1:{port}"] if joins else head)]
        command += [f"--num-cpus={cpus}", f"--temp-dir={self.folder}", "--object-store-memory=80000000"]
        command += [f"--dashboard-agent-listen-port={free_port()}", "--disable-usage-stats"]
        self._log = Path(self.folder, "start.log")
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                command,
                env={**environment(token), **(settings or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._command = process
        self.process = psutil.Process(process.pid)
        self._seen: dict[int, psutil.Process] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def wait(self) -> RayNode:
        """Until it has started."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._command.poll() is None:
            if "Ray runtime started" in self.said():
                return self
            time.sleep(0.2)
        raise AssertionError(f"the node did not start: {self.said()}")

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def exit_code(self, seconds: float) -> int:
        return self._command.wait(seconds)

    def runs(self, worker: str) -> bool:
        """Whether this worker (`host:pid`) is, or was when last asked, a process of this node."""
        if self.process.is_running():
            self._seen |= {each.pid: each for each in self.process.children(recursive=True)}
        return int(worker.rpartition(":")[2]) in self._seen

    def kill(self) -> None:
        """As a power cut: nothing of it is left to say anything."""
        family = [self.process, *self.process.children(recursive=True)]
        for each in family:
            each.suspend()  # nobody notices the death of another
        family += [each for each in self.process.children(recursive=True) if each not in family]
        for each in family:
            if each.is_running():
                each.kill()
        self._command.wait(20)
        psutil.wait_procs(family, timeout=20)

    def stop(self) -> None:
        """In order, and what does not end in time is killed."""
        if self._command.poll() is None:
            below = self.process.children(recursive=True)
            self._command.send_signal(signal.SIGTERM)
            _, alive = psutil.wait_procs(below, timeout=20)
            for each in alive:
                each.kill()
            self._command.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


def new_token() -> str:
    return secrets.token_hex(32)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(token: str | None, home: Path | None = None) -> dict[str, str]:
    """This process's environment without what it says about Ray, MLflow and us."""
    foreign = ("RAY_", "EVOLVE_", "MLFLOW_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    kept |= {"RAY_AUTH_MODE": "token"} | ({} if token is None else {"RAY_AUTH_TOKEN": token})
    return kept if home is None else {**kept, "EVOLVE_HOME": str(home / "home"), "HOME": str(home)}
