"""What does the improved YOLO12 cost beside the stock one?

Heterogeneous convolution, collaborative attention and the elastic loss, each measured against stock YOLO12 in the
same process, in turns: a round runs every contender once, and a figure is the median over the rounds of the ratio
within a round, so that a machine that is busy for a while hurts both alike. `again` is stock's twin against stock,
which shows how far such a figure can be trusted. Goals:

    latency     one picture through the merged model                                        at most 1.03
    step        forward, loss, backward, optimizer                                          at most 1.15
    memory      peak of a training step                                                     at most 1.10
    loss        elastic against ciou, both ours, for 8192 pairs of boxes, with gradient     at most 1.10
    dynamic     peak of a step at each image size, with as many pictures as keep it level   within 15 %

Memory on CUDA is the allocator's peak. On a CPU it is that of the tensors alive: what is there before the step, and
what torch's profiler sees allocated and freed during it.

    python benchmarks/model.py
    python benchmarks/model.py --models n --sizes 320 --quick
    python benchmarks/model.py --dynamic
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from workers.yolo12.architectures import architecture
from workers.yolo12.process import cpu_share, prepare_process

prepare_process()

import torch  # noqa: E402
from torch._C._profiler import _EventType  # noqa: E402
from torch.profiler import profile  # noqa: E402
from ultralytics.cfg import get_cfg  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402
from ultralytics.utils.metrics import bbox_iou  # noqa: E402

from workers.yolo12.losses import box_loss  # noqa: E402
from workers.yolo12.model import attention_parameters, improve  # noqa: E402
from workers.yolo12.sizes import images_per_batch  # noqa: E402

LATENCY, STEP, MEMORY, LOSS, DYNAMIC = 1.03, 1.15, 1.10, 1.10, 0.15
SIZES = (320, 416, 512, 608)
PAIRS = 8192
OBJECTS = 6
KINDS = {"stock": False, "again": False, "improved": True}
CASTS = 6
"""How often the models are built anew: where one happens to lie in memory makes it a tenth faster or slower."""


@dataclass
class Report:
    """Prints figures as they come, and remembers whether every goal is met."""

    missed: list[str] = field(default_factory=list)

    def __call__(self, what: str, goal: float | None = None, /, *, ratio: float, **figures: object) -> None:
        met = {} if goal is None else {"goal": goal, "met": ratio <= goal}
        print(json.dumps({"what": what, **figures, "ratio": round(ratio, 3), **met}), flush=True)
        if goal is not None and ratio > goal:
            self.missed.append(
                " ".join(str(part) for part in (what, figures.get("model"), figures.get("imgsz")) if part)
            )


class Trained:
    """A model in training and the batch that it is trained on."""

    def __init__(self, name: str, size: int, pictures: int, device: torch.device, *, improved: bool) -> None:
        self.model = build(name, improved=improved).to(device).train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-5, momentum=0.9, nesterov=True)
        random = torch.Generator().manual_seed(0)
        count = pictures * OBJECTS
        batch = {
            "img": torch.rand(pictures, 3, size, size, generator=random),
            "batch_idx": torch.arange(pictures).repeat_interleave(OBJECTS).float(),
            "cls": torch.randint(0, 80, (count, 1), generator=random).float(),
            "bboxes": torch.rand(count, 4, generator=random) * 0.4 + 0.3,
        }
        self.batch = {name: tensor.to(device) for name, tensor in batch.items()}

    def step(self) -> None:
        with torch.autocast(self.batch["img"].device.type, enabled=self.batch["img"].is_cuda):
            loss, _ = self.model(self.batch)
        loss.sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def alive(self) -> int:
        """Bytes of what is there before a step."""
        states = [each for state in self.optimizer.state.values() for each in state.values()]
        tensors = [*self.model.parameters(), *self.model.buffers(), *self.batch.values(), *states]
        return sum(each.nbytes for each in tensors if isinstance(each, torch.Tensor))


def build(name: str, *, improved: bool) -> Any:
    torch.manual_seed(0)
    model = DetectionModel(architecture(f"yolo12{name}"), nc=80, verbose=False)
    model.args = get_cfg()
    return improve(model) if improved else model


def time_in_turns(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every contender in every round, each round in another order.

    The first call of a turn is not counted: it finds caches and memory as another contender has left them. And a
    product of matrices goes before each that is: on some CPUs torch's exp takes three times as long until one has
    come by, which may slow down a whole stock model, but never one with attention.
    """
    matrix = torch.rand(64, 64)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for index in range(-1, rounds):
        for name in names[index % len(names) :] + names[: index % len(names)]:
            contenders[name]()
            torch.mm(matrix, matrix)
            synchronize()
            started = time.perf_counter()
            contenders[name]()
            synchronize()
            if index >= 0:  # before, they warm up
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str, to: str) -> float:
    return statistics.median(one / other for one, other in zip(seconds[name], seconds[to], strict=True))


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak(trained: Trained) -> int:
    """Peak of a training step in bytes."""
    trained.step()  # the optimizer has its state from then on
    if trained.batch["img"].is_cuda:
        torch.cuda.reset_peak_memory_stats()
        trained.step()
        return torch.cuda.max_memory_allocated()
    with profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as watch:
        trained.step()
    tree = watch.profiler.kineto_results.experimental_event_tree()
    now = highest = 0
    for change in (size for _, size in sorted(allocations(tree), key=lambda each: each[0])):
        now += change
        highest = max(highest, now)
    return trained.alive() + highest


def allocations(events: list[Any]) -> Iterator[tuple[int, int]]:
    """When how many bytes were allocated, or freed if negative."""
    for event in events:
        if event.tag == _EventType.Allocation:
            yield event.start_time_ns, event.extra_fields.alloc_size
        yield from allocations(event.children)


def measure_latency(report: Report, name: str, size: int, device: torch.device, rounds: int) -> None:
    picture = torch.rand(1, 3, size, size, device=device)
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(CASTS):
        merged = {
            kind: build(name, improved=improved).eval().fuse(verbose=False) for kind, improved in KINDS.items()
        }
        calls = {kind: infer(model.to(device), picture) for kind, model in merged.items()}
        for kind, new in time_in_turns(calls, rounds // CASTS).items():
            seconds[kind] += new
    of_attention = attention_parameters(merged["improved"])
    figures = {
        **milliseconds(seconds),
        "again": round(ratio(seconds, "again", "stock"), 3),
        "stock_parameters": count(merged["stock"]),
        "improved_parameters": count(merged["improved"]) - of_attention,
        "attention_parameters": of_attention,
    }
    of = {"model": f"yolo12{name}", "imgsz": size}
    report("latency", LATENCY, ratio=ratio(seconds, "improved", "stock"), **of, **figures)


def infer(model: Any, picture: torch.Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.inference_mode():
            return model(picture)

    return call


def count(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def measure_training(report: Report, name: str, size: int, options: argparse.Namespace) -> None:
    which = {"model": f"yolo12{name}", "imgsz": size, "batch": options.batch}

    def trained(*, improved: bool) -> Trained:
        return Trained(name, size, options.batch, options.device, improved=improved)

    kinds = {"stock": trained(improved=False), "again": trained(improved=False), "improved": trained(improved=True)}
    seconds = time_in_turns({kind: each.step for kind, each in kinds.items()}, options.rounds)
    figures = {**milliseconds(seconds), "again": round(ratio(seconds, "again", "stock"), 3)}
    report("step", STEP, ratio=ratio(seconds, "improved", "stock"), **which, **figures)
    del kinds  # what else is there would count on a GPU
    stock, improved = peak(trained(improved=False)), peak(trained(improved=True))
    report("memory", MEMORY, ratio=improved / stock, **which, **megabytes(stock=stock, improved=improved))


def measure_loss(report: Report, device: torch.device, rounds: int) -> None:
    random = torch.Generator().manual_seed(0)
    corners = torch.rand(PAIRS, 2, generator=random) * 500
    target = torch.cat([corners, corners + 8 + torch.rand(PAIRS, 2, generator=random) * 120], 1).to(device)
    pred = (target + torch.randn(PAIRS, 4, generator=random).to(device) * 4).requires_grad_()
    calls: dict[str, Callable[[], object]] = {
        kind: lambda kind=kind: box_loss(pred, target, kind).sum().backward() for kind in ("ciou", "elastic")
    }
    calls["ultralytics"] = lambda: (1 - bbox_iou(pred, target, xywh=False, CIoU=True)).sum().backward()
    calls["again"] = calls["ciou"]
    seconds = time_in_turns(calls, rounds)
    figures = {**milliseconds(seconds), "again": round(ratio(seconds, "again", "ciou"), 3)}
    report("loss", LOSS, ratio=ratio(seconds, "elastic", "ciou"), **figures)
    report("loss, to that of Ultralytics", ratio=ratio(seconds, "elastic", "ultralytics"))


def measure_dynamic(report: Report, name: str, options: argparse.Namespace) -> None:
    imgsz, batch = 416, options.batch if options.device.type == "cuda" else 8
    peaks = {}
    for size in (imgsz, *(each for each in SIZES if each != imgsz)):
        pictures = images_per_batch(batch, imgsz, size)
        peaks[size] = peak(Trained(name, size, pictures, options.device, improved=True))
        which = {"model": f"yolo12{name}", "imgsz": size, "batch": pictures, **megabytes(peak=peaks[size])}
        report("peak of a size", ratio=peaks[size] / peaks[imgsz], **which)
    worst = max(abs(each / peaks[imgsz] - 1) for each in peaks.values())
    report("dynamic", DYNAMIC, ratio=worst, model=f"yolo12{name}", batch=f"{batch} at {imgsz}")


def milliseconds(seconds: dict[str, list[float]]) -> dict[str, float]:
    return {
        f"{name}_ms": round(1e3 * statistics.median(each), 2) for name, each in seconds.items() if name != "again"
    }


def megabytes(**sizes: int) -> dict[str, float]:
    return {f"{name}_mb": round(size / 1e6, 1) for name, size in sizes.items()}


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="n,s", help="sizes of YOLO12, as in n,s")
    parser.add_argument("--sizes", default="320,640", help="image sizes, as in 320,640")
    parser.add_argument("--batch", type=int, help="pictures of a training step; 2 on a CPU, 16 on a GPU")
    parser.add_argument(
        "--rounds", type=int, default=12, help="of training; there are 4 times as many of inference"
    )
    parser.add_argument("--quick", action="store_true", help="3 rounds, for a look")
    parser.add_argument("--dynamic", action="store_true", help="also measure the memory of every image size")
    parser.add_argument("--device", type=torch.device, default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    options.batch = options.batch or (16 if options.device.type == "cuda" else 2)
    options.rounds = 3 if options.quick else options.rounds
    return options


def main() -> int:
    """Measure, print, and say by the exit code whether every goal is met."""
    options, report = parse_options(), Report()
    torch.set_num_threads(cpu_share())
    on_gpu = options.device.type == "cuda"
    device = torch.cuda.get_device_name() if on_gpu else f"{platform.machine()}, {torch.get_num_threads()} threads"
    print(f"device: {options.device}, {device}; torch {torch.__version__}", flush=True)
    measure_loss(report, options.device, 20 * options.rounds)
    for name in options.models.split(","):
        for size in map(int, options.sizes.split(",")):
            measure_latency(report, name, size, options.device, 4 * options.rounds)
            measure_training(report, name, size, options)
        if options.dynamic:
            measure_dynamic(report, name, options)
    print(f"missed: {', '.join(report.missed)}" if report.missed else "every goal is met")
    return bool(report.missed)


if __name__ == "__main__":
    sys.exit(main())
