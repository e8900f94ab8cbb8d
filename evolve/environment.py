"""The machine that a search is driven from: what it is, and whether it has room."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from itertools import takewhile
from pathlib import Path

import psutil

from evolve.exceptions import EvolveError
from evolve.trial import Json

RECORDED = ("evolve-yolo", "torch", "torchvision", "ultralytics", "deap", "ray", "numpy", "mlflow")
DISK_CHECK_SECONDS = 5.0
NVIDIA_SECONDS = 30


def describe_environment() -> dict[str, Json]:
    """Versions and hardware, for the record of a search."""
    gpus: list[Json] = list(gpu_names())
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "cpus": os.cpu_count() or 1,
        "gpus": gpus,
        "packages": {name: found for name in RECORDED if (found := _version(name))},
    }


def cpu_count() -> int:
    """Cores that this process may use: a container may have fewer than its machine."""
    cores = len(os.sched_getaffinity(0))
    quota, _, period = _control_group("cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def memory_bytes() -> int:
    """Memory that this process may use, likewise."""
    total = int(psutil.virtual_memory().total)
    limit = _control_group("memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def _control_group(name: str) -> str:
    """A limit of the container that this process runs in; empty where there is none."""
    try:
        return Path("/sys/fs/cgroup", name).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def gpu_names() -> list[str]:
    """Names of the NVIDIA GPUs that this process may use; asked without loading torch.

    Raises:
        EvolveError: if the driver of the GPUs does not answer.
    """
    command = shutil.which("nvidia-smi")
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    # CUDA sees none from the first that it does not know: -1 is the usual way to hide them all
    visible = None if devices is None else list(takewhile(_may_exist, devices.split(",")))
    if command is None or visible == []:
        return []
    query = [command, "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=NVIDIA_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise EvolveError(
            f"nvidia-smi: must answer within {NVIDIA_SECONDS} s, but did not; "
            "restart the GPU's driver, or set CUDA_VISIBLE_DEVICES= to train without"
        ) from None
    names = answer.stdout.split("\n")[:-1] if answer.returncode == 0 else []
    return names if visible is None else names[: len(visible)]


def _may_exist(device: str) -> bool:
    return bool(device.strip()) and not device.strip().startswith("-")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class DiskWatch:
    """Says when the disk is nearly full; looks at most every few seconds.

    Args:
        folder: Any folder on the disk.
        min_free_gb: The least room, in 10^9 bytes.
    """

    def __init__(self, folder: Path, min_free_gb: float) -> None:
        self._folder = folder
        self._min_free = min_free_gb * 1e9
        self._looked = float("-inf")
        self._shortage: str | None = None

    def __call__(self) -> str | None:
        """What is short, in words for a person, or None."""
        if time.monotonic() - self._looked > DISK_CHECK_SECONDS:
            self._looked = time.monotonic()
            free = shutil.disk_usage(self._folder).free
            self._shortage = None if free >= self._min_free else self._words(free)
        return self._shortage

    def _words(self, free: float) -> str:
        return (
            f"disk nearly full: {free / 1e9:.2f} GB free at {self._folder}, {self._min_free / 1e9:g} GB wanted "
            "(EVOLVE_MIN_FREE_GB); make room and the search goes on by itself"
        )
