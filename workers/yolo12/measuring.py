"""What a detector costs in use: its parameters, its operations, and how long a picture takes.

All of it is that of the model merged for inference, as `evolve predict` and exports have it, so that branches that
exist in training alone cost nothing. A trained and an untrained model of one kind cost the same; so one look at any
epoch will do.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection
from copy import deepcopy

import torch
from torch import nn
from ultralytics.utils.torch_utils import get_flops

from workers.yolo12.metrics import LATENCY, MEASURED, OPERATIONS, PARAMETERS

WARM_UP_SECONDS = 0.5
BURSTS = 5
BURST_SECONDS = 0.3
FEWEST, MOST = 3, 100
"""Pictures of a burst."""


def measure(
    model: nn.Module, wanted: Collection[str], *, imgsz: int, half: bool, check: Callable[[], None]
) -> dict[str, float]:
    """Those of `MEASURED` that are wanted; the model itself is left alone, and so are all random generators.

    Args:
        model: A detector, not merged, on the device that counts.
        wanted: Names of metrics; others than those of `MEASURED` are somebody else's.
        imgsz: Side in pixels of the picture.
        half: Whether to compute in half precision.
        check: Called between pictures; may raise to leave.
    """
    if not set(wanted) & set(MEASURED):
        return {}
    merged = deepcopy(model).float().fuse(verbose=False).eval()  # type: ignore[operator]  # Ultralytics' own
    found: dict[str, float] = {}
    if PARAMETERS in wanted:
        found[PARAMETERS] = float(sum(parameter.numel() for parameter in merged.parameters()))
    if OPERATIONS in wanted:
        found[OPERATIONS] = float(get_flops(merged, imgsz))
    if LATENCY in wanted:
        found[LATENCY] = latency(merged.half() if half else merged, imgsz, check)
    return found


def latency(model: nn.Module, imgsz: int, check: Callable[[], None]) -> float:
    """Milliseconds of one picture through a merged model, from the pixels to boxes before suppression.

    The median of a burst of pictures ignores single hiccups; of some bursts the quickest counts, as what else the
    machine does can only slow a burst down.
    """
    like = next(model.parameters())
    pixels = torch.rand(1, 3, imgsz, imgsz, generator=torch.Generator().manual_seed(0))
    picture = pixels.to(like.device, like.dtype)
    with torch.inference_mode():
        _burst(model, picture, WARM_UP_SECONDS, check)
        return min(statistics.median(_burst(model, picture, BURST_SECONDS, check)) for _ in range(BURSTS))


def _burst(model: nn.Module, picture: torch.Tensor, seconds: float, check: Callable[[], None]) -> list[float]:
    """Milliseconds of one picture after the other."""
    matrix = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    begun, taken = time.perf_counter(), list[float]()
    while len(taken) < FEWEST or (len(taken) < MOST and time.perf_counter() - begun < seconds):
        check()
        # On some CPUs torch's exp is slow until a product of matrices comes by, as in attention; give it to all.
        torch.mm(matrix, matrix)
        taken.append(_milliseconds(model, picture))
    return taken


def _milliseconds(model: nn.Module, picture: torch.Tensor) -> float:
    _wait_for(picture.device)
    begun, worked = time.perf_counter(), time.process_time()
    model(picture)
    _wait_for(picture.device)
    taken, worked = time.perf_counter() - begun, time.process_time() - worked
    # Where others take a core away meanwhile, this process's own work is nearer to what a picture takes.
    return 1000 * (min(taken, worked) if picture.device.type == "cpu" else taken)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
