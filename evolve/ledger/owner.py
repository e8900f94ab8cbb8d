"""Who drives a search: `host:pid:started@boot`, and whether that process is still alive."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path

import psutil

_FIRST_PID_NAMESPACE = "pid:[4026531836]"
_START_TOLERANCE = 2.0  # seconds; the time of boot, from which starts are counted, follows clock corrections


def this_process() -> str:
    """The identity of the calling process."""
    return identity_of(os.getpid())


def identity_of(pid: int) -> str:
    """The identity of a process of this host.

    Raises:
        psutil.NoSuchProcess: It is gone.
    """
    return f"{_host()}:{pid}:{psutil.Process(pid).create_time():.2f}@{_boot()}"


def local_pid(owner: str) -> int | None:
    """The process id of `owner`, which may be gone; None if it is, or was, of another host or boot."""
    host, _, process = owner.partition(":")
    pid, _, birth = process.partition(":")
    boot = birth.partition("@")[2]
    return int(pid) if host == _host() and boot == _boot() and pid.isdigit() else None


def is_dead(owner: str) -> bool:
    """Whether `owner` is a process of this host that is gone; False where that cannot be known."""
    pid = local_pid(owner)
    if pid is None:
        return False
    started = owner.rpartition(":")[2].partition("@")[0]
    try:
        candidate = psutil.Process(pid)
        if candidate.status() == psutil.STATUS_ZOMBIE:
            return True
        return bool(abs(candidate.create_time() - float(started)) > _START_TOLERANCE)
    except psutil.NoSuchProcess:
        return True
    except (psutil.AccessDenied, ValueError):
        return False


@cache
def _boot() -> str:
    # two machines may have one name, as copies of a virtual machine do, but never one boot
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    except OSError:
        return ""


@cache
def _host() -> str:
    # containers that share the host's name have process ids of their own, which say nothing about each other
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = _FIRST_PID_NAMESPACE
    host = socket.gethostname().replace(":", "-")
    return host if namespace == _FIRST_PID_NAMESPACE else f"{host}/{namespace[5:-1]}"
