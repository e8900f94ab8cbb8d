"""A Ray to run on: one of our own on this machine, private to this process, or an existing cluster."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import ray
from ray._private import ray_constants

from evolve.exceptions import EvolveError, InputError, PoolUnavailable
from workers import guardian
from workers.ray_watch import ClusterWatch
from workers.shares import Share, equal_share

OBJECT_STORE_BYTES = 128 * 2**20  # epoch reports are all that travels
LOG_BYTES = 16 * 2**20
KNOCK_SECONDS = 10.0
LONGEST_TEMPORARY_PATH = 30  # Ray puts Unix sockets below it, whose paths must stay under 108 bytes


class RayCluster:
    """A connection to Ray, one in a process, made in the main thread.

    A local Ray listens on the loopback interface only, demands a token that only this process tree knows, and
    ends with this process however that dies. SIGTERM and Ctrl-C stay with the handlers that were there before.

    Args:
        address: `host:port` of a running cluster, or `auto`; None starts a local one.
        gpus: GPUs that a local Ray hands out; None finds them. More than there are is possible, for tests.
        cpus: Cores that a local Ray hands out; None finds them.

    Raises:
        InputError: if there is no cluster at `address`.
        EvolveError: if the local Ray does not start.
        RuntimeError: outside the main thread: the kernel would end Ray together with that thread.
    """

    def __init__(self, address: str | None = None, *, gpus: int | None = None, cpus: int | None = None) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("Ray must be started in the main thread, or it would end with this one")
        self.is_local = address is None
        self._directory = ""
        self._guardian: subprocess.Popen[bytes] | None = None
        self._watch: ClusterWatch | None = None
        if address is None:
            self._start(gpus, cpus)
        else:
            _connect(address)
            self._watch = ClusterWatch()

    def _start(self, gpus: int | None, cpus: int | None) -> None:
        self._directory = tempfile.mkdtemp(prefix="evolve-ray-", dir=_short_temporary_directory())
        self._guardian = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, guardian.__file__, str(os.getpid()), self._directory],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # The token stays set: Ray reads it again whenever it opens a channel.
        if "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        try:
            with _environment(self._settings()), _loopback(), _own_signal_handlers():
                ray.init(
                    address="local",
                    num_gpus=gpus,
                    num_cpus=cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                    object_store_memory=OBJECT_STORE_BYTES,
                    _temp_dir=self._directory,
                )
        except Exception as error:  # Ray raises anything from OSError to RuntimeError here
            self.close()
            raise EvolveError(f"ray: the local Ray did not start: {_first_line(error)}") from error

    def _settings(self) -> dict[str, str]:
        """What Ray's processes inherit."""
        return {
            guardian.MARKER: self._directory,
            ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",
            "RAY_process_group_cleanup_enabled": "true",  # children of a trial die with its worker
            "RAY_ROTATION_MAX_BYTES": str(LOG_BYTES),
            "RAY_ROTATION_BACKUP_COUNT": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "TMPDIR": self._directory,  # a worker that is killed cannot remove its temporary files
        }

    def require(self, share: Share, workers: int) -> None:
        """Check that `workers` trials fit at once. On an existing cluster one is enough: nodes may still join.

        Raises:
            InputError: in one line that says what was asked, what there is, and which flags change that.
        """
        nodes = self.nodes()
        room = sum(share.fits(node) for node in nodes)
        if room >= (workers if self.is_local else 1):
            return
        there = "; ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise InputError(
            f"--workers {workers}: each trial must find {share}, but got room for {room} in {len(nodes)} node(s) "
            f"with {there}; lower --workers or --gpus-per-trial, or name a larger cluster by --ray-address"
        )

    def check(self) -> None:
        """Check that the cluster is still there, as far as that is known; takes no time.

        Raises:
            PoolUnavailable: it is gone, or was started anew, and with it all that this process had on it.
        """
        if self._watch is not None and self._watch.verdict:
            raise PoolUnavailable(f"{self._watch.verdict}; `evolve resume` goes on when it is there")

    def nodes(self) -> Sequence[Mapping[str, float]]:
        """Total resources of every living node, e.g. `{"CPU": 8.0, "GPU": 1.0}`."""
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]

    def cpus_of_an_equal_share(self, workers: int) -> float:
        """Cores for each of `workers` trials, an eighth at least; 1 on a cluster, which others may use too."""
        if not self.is_local:
            return 1.0
        return equal_share(sum(node.get("CPU", 0.0) for node in self.nodes()), workers)

    def close(self) -> None:
        """Disconnect; a local Ray ends with all that was started below it. A second call does nothing."""
        if self._watch is not None:
            self._watch.close()
        with _own_signal_handlers():
            ray.shutdown()
        if self._guardian is not None:
            self._guardian.kill()
            self._guardian.wait()
            self._guardian = None
            guardian.clean(self._directory)


def _connect(address: str) -> None:
    what_to_do = (
        "start one with `ray start --head`, make this machine a node of it with `ray start --address`, give its "
        "token in RAY_AUTH_TOKEN if it asks for one, or leave --ray-address out for a local Ray"
    )
    if "://" in address:
        raise InputError(f"--ray-address: must be host:port or auto, but got {address!r}; {what_to_do}")
    try:
        _knock(address)
        with _silent_core(), _own_signal_handlers():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (
        Exception
    ) as error:  # Ray raises ConnectionError, RuntimeError, ValueError or its own AuthenticationError
        raise InputError(
            f"--ray-address: must be a running Ray cluster that lets us in, but got {address!r} "
            f"({_first_line(error)}); {what_to_do}"
        ) from error


def _knock(address: str) -> None:
    """Raise OSError where nobody listens: Ray itself may go on trying for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_SECONDS).close()


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Put back the handlers that Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def _silent_core() -> Iterator[None]:
    """Drop what Ray's core says of every attempt to connect: it goes past Python, straight to the terminal."""
    standard_error = os.dup(2)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _loopback() -> Iterator[None]:
    """Keep a local Ray off the network.

    Ray has no argument for it: it binds to the loopback interface where clusters are disabled, and reads that
    from the environment when it is imported, long before us.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _short_temporary_directory() -> str:
    usual = tempfile.gettempdir()
    return usual if len(usual) <= LONGEST_TEMPORARY_PATH else "/tmp"  # noqa: S108 - mkdtemp makes it private


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().split("\n", 1)[0]
