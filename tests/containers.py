"""Enough of a container engine to run the commands of a compose file as one would, without images.

Every service gets what Docker would give it: network interfaces and an address on each of its networks, a host
name, process ids of its own, a read-only file system with the volumes and memory disks that the file lists, its
user, no capabilities, and no environment but its own. What is missing is the image: this machine's system and
this Python's packages stand in for it, and the PostgreSQL server of `pgserver` for that of its image.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SECONDS = 30
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/opt")
_WITH_US = ("setpriv", "--pdeathsig=KILL")  # what it starts ends when we are killed
_CLEAN = "rw,noexec,nosuid,nodev"  # what Docker mounts memory disks with


class Unavailable(Exception):
    """Why this machine cannot do it."""


def check_this_machine() -> None:
    """Raise `Unavailable` where there can be no namespaces."""
    missing = [each for each in ("unshare", "nsenter", "ip", "setpriv", "chroot") if shutil.which(each) is None]
    if missing:
        raise Unavailable(f"needs {', '.join(missing)}")
    if os.geteuid() != 0:
        raise Unavailable("needs root, as a container engine does")
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "sh", "-c",
         "mount -t tmpfs none /tmp && ip link add one type bridge && ip link add two type veth peer name three"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tried.returncode:
        raise Unavailable(f"needs namespaces: {tried.stderr.strip()}")
    for path in (ROOT, Path(sys.prefix), Path(sys.executable).resolve(), Path(sys.base_prefix)):
        if path.stat().st_mode & 0o005 != 0o005:
            raise Unavailable(f"{path} must be readable by every user, since services run as nobody")
        if path.is_relative_to("/tmp"):
            raise Unavailable(f"{path} must lie outside /tmp, of which every container has its own")


@dataclass(frozen=True)
class Spec:
    """What runs in a container.

    Attributes:
        name: Its host name.
        command: Its command line.
        environment: All that it knows of ours.
        user: Number of its user and group.
        networks: Where it is.
        read_only: Whether its file system is.
        memory_disks: Path -> mount options.
        volumes: Path inside -> path outside, and whether it may write there.
        shared_memory: Size of /dev/shm.
        shown: Paths of this machine that are visible there, for reading.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    user: int
    networks: Sequence[str]
    read_only: bool = True
    memory_disks: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, tuple[Path, bool]] = field(default_factory=dict)
    shared_memory: str = "64m"
    shown: Mapping[str, Path] = field(default_factory=dict)


class Engine:
    """The networks, and the containers on them. Everything ends with `close`, or with this process.

    Args:
        folder: Where it keeps its files.
        networks: Names of the networks, and whether they are internal; the others have a way out, which leads
            nowhere here.
        members: Services, in the order of their addresses, and the networks that they are on.
    """

    def __init__(self, folder: Path, networks: Mapping[str, bool], members: Mapping[str, Sequence[str]]) -> None:
        self.folder = folder
        self.internal = dict(networks)
        self._networks = list(networks)
        self._members = dict(members)
        self._count = 0
        self.containers: dict[str, Container] = {}
        self._switch = subprocess.Popen(
            [*_WITH_US, "unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL
        )
        wait_until(lambda: _namespace(self._switch.pid) != _namespace(os.getpid()), "a network")
        for name in networks:
            self._ip("link", "add", name, "type", "bridge")
            self._ip("link", "set", name, "up")

    def address(self, name: str, network: str) -> str:
        return f"10.77.{self._networks.index(network)}.{list(self._members).index(name) + 2}"

    def gateway(self, network: str) -> str | None:
        return None if self.internal[network] else f"10.77.{self._networks.index(network)}.1"

    def run(self, spec: Spec) -> Container:
        """Start a container, or start it again."""
        started = Container(self, spec)
        self.containers[spec.name] = started
        return started

    def hosts(self, spec: Spec) -> str:
        """The names that it can resolve: those on its own networks."""
        lines = ["127.0.0.1 localhost"]
        for network in spec.networks:
            there = [name for name, networks in self._members.items() if network in networks]
            lines += [f"{self.address(name, network)} {name}" for name in there]
        return "\n".join(lines) + "\n"

    def plug(self, spec: Spec, process: int) -> None:
        """Give a process its network interfaces."""
        for number, network in enumerate(spec.networks):
            self._count += 1
            # an address has one hardware address, as with Docker: neighbours remember it
            numbers = self.address(spec.name, network).split(".")
            hardware = ":".join(["02", "42", *(f"{int(each):02x}" for each in numbers)])
            peer = ["peer", "name", f"eth{number}", "address", hardware, "netns", str(process)]
            self._ip("link", "add", f"v{self._count}", "master", network, "type", "veth", *peer)
            self._ip("link", "set", f"v{self._count}", "up")

    def close(self) -> None:
        for each in reversed(list(self.containers.values())):
            each.kill()
        self._switch.kill()
        self._switch.wait()

    def _ip(self, *arguments: str) -> None:
        call("nsenter", f"--net=/proc/{self._switch.pid}/ns/net", "ip", *arguments)


class Container:
    """A running command in its namespaces."""

    def __init__(self, engine: Engine, spec: Spec) -> None:
        self.spec = spec
        self.folder = engine.folder / spec.name
        self.folder.mkdir(exist_ok=True)
        self._log = self.folder / "log"
        (self.folder / "ready").unlink(missing_ok=True)
        script = self.folder / "start.sh"
        script.write_text(_start_script(spec, engine, self.folder))
        flags = ["--mount", "--propagation=private", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*_WITH_US, "unshare", *flags, "sh", "-eu", str(script)],
                env={"PATH": os.environ["PATH"]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: _namespace(self.process.pid) != _namespace(os.getpid()), "a network of its own")
        engine.plug(spec, self.process.pid)

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def enter(self, command: Sequence[str], seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run another command in it, as `docker exec` does."""
        return subprocess.run(
            self.inside(command),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
        )

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command line that runs another one in it."""
        wait_until((self.folder / "ready").exists, f"{self.spec.name} is built")
        enter = ["nsenter", f"--target={_first_child(self.process.pid)}"]
        enter += ["--mount", "--net", "--uts", "--ipc", "--pid", "chroot", str(self.folder / "root")]
        return [*enter, *_bare(self.spec), *command]

    def stop(self, seconds: float) -> int:
        """Ask it to end, as `docker stop` does; its exit code, 137 where it had to be killed."""
        os.kill(_first_child(self.process.pid), signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return 137

    def kill(self) -> None:
        """End all of its processes at once: they go with the first one of their namespace."""
        self.process.kill()
        self.process.wait()


def _start_script(spec: Spec, engine: Engine, folder: Path) -> str:
    """Builds the file system under a memory disk, enters it, and becomes the command."""
    root = folder / "root"
    root.mkdir(exist_ok=True)
    (folder / "hosts").write_text(engine.hosts(spec))
    (folder / "passwd").write_text(f"root:x:0:0::/:/bin/sh\nnobody:x:{spec.user}:{spec.user}::/tmp:/bin/sh\n")
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")  # which refuses at once, as Docker's does
    (folder / "group").write_text(f"root:x:0:\nnobody:x:{spec.user}:\n")
    lines = [f"mount -t tmpfs -o mode=0755 none {root}", f"cd {root}", "mkdir proc dev tmp run var"]
    for path in (*_SYSTEM, sys.prefix, sys.base_prefix):
        if os.path.islink(path):
            lines.append(f"mkdir -p .{os.path.dirname(path)}; cp -P {path} .{path}")
        elif os.path.exists(path):
            lines += _bind(path, Path(path), writable=False)
    lines += ["mount -t proc none proc", "mount --rbind /dev dev"]
    lines.append(f"mount -t tmpfs -o {_CLEAN},mode=1777,size={spec.shared_memory} none dev/shm")
    for path, options in spec.memory_disks.items():
        lines.append(f"mkdir -p .{path}; mount -t tmpfs -o {_CLEAN},{options or 'mode=1777'} none .{path}")
    for path, (outside, writable) in spec.volumes.items():
        lines += _bind(path, outside, writable=writable)
    for path, outside in spec.shown.items():
        lines += _bind(path, outside, writable=False)
    own = ("hosts", "passwd", "group", "resolv.conf")
    lines += [f"mount --bind {folder / each} etc/{each}" for each in own]
    if spec.read_only:
        lines.append("mount -o remount,ro .")
    lines += [f"hostname {spec.name}", "ip link set lo up"]
    for number, network in enumerate(spec.networks):
        lines.append(f"while ! ip link show eth{number} >/dev/null 2>&1; do sleep 0.05; done")
        lines.append(f"ip address add {engine.address(spec.name, network)}/24 dev eth{number}")
        lines.append(f"ip link set eth{number} up")
        if (gateway := engine.gateway(network)) is not None:
            lines.append(f"ip route replace default via {gateway}")
    command = [*_bare(spec), *spec.command]
    lines.append(f"touch {folder / 'ready'}")
    # the first process hands SIGTERM on and takes in orphans, as Docker's does
    lines.append(f"chroot . {shlex.join(command)} & child=$!")
    lines.append("asked=; trap 'asked=1; kill -TERM $child' TERM; code=0; wait $child || code=$?")
    lines.append('while [ -n "$asked" ]; do asked=; code=0; wait $child || code=$?; done; exit $code')
    return "\n".join(lines) + "\n"


def _bind(path: str, outside: Path, *, writable: bool) -> list[str]:
    place = f"mkdir -p .{path}" if outside.is_dir() else f"mkdir -p .{os.path.dirname(path)}; touch .{path}"
    lines = [place, f"mount --bind {outside} .{path}"]
    return lines if writable else [*lines, f"mount -o remount,bind,ro .{path}"]


def _bare(spec: Spec) -> list[str]:
    """Runs a command as the user, with that environment and no capability."""
    settings = [f"{name}={value}" for name, value in spec.environment.items()]
    nothing = ["--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    return ["env", "-i", *settings, "setpriv", f"--reuid={spec.user}", f"--regid={spec.user}", *nothing]


def _namespace(process: int) -> str:
    return os.readlink(f"/proc/{process}/ns/net")


def _first_child(process: int) -> int:
    return int(Path(f"/proc/{process}/task/{process}/children").read_text().split()[0])


def call(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise AssertionError(f"{shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout


def wait_until(holds: Any, what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)
