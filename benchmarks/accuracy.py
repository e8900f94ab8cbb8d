"""Is the improved YOLO12 more accurate than the stock one, on your data and from the same settings?

Every contender is trained with every seed, by the same trainer that a search uses. Contenders differ in nothing but
the arguments named here:

    stock       YOLO12 as Ultralytics has it
    improved    heterogeneous convolution, collaborative attention and the elastic loss

and with --ablation, which takes the parts one by one:

    hetero, attention, giou, eiou, focal_eiou, elastic, elastic_weighted

What is printed: mean and standard deviation over the seeds, and the difference to stock with a 95 % confidence
interval of Student's t over the seeds' differences; the trainings of one seed see the same pictures in the same
order, so they are compared in pairs. A difference whose interval holds 0 is called no difference.

    python benchmarks/accuracy.py --data bccd/data.yaml
    python benchmarks/accuracy.py --data bccd/data.yaml --imgsz 416 --epochs 150 --ablation --weights yolo12n.pt
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from scipy.stats import t as student

from evolve.trial import Json, TrialResult, TrialSpec
from workers.datasets import check_dataset, prepare_view
from workers.yolo12 import YoloObjective, prepare_labels

METRICS = ("metrics/mAP50-95(B)", "metrics/mAP50(B)")
CONTENDERS: Mapping[str, Mapping[str, Json]] = {
    "stock": {},
    "improved": {"hetero": True, "attention": True, "box_loss": "elastic"},
}
ABLATION: Mapping[str, Mapping[str, Json]] = {
    "hetero": {"hetero": True},
    "attention": {"attention": True},
    **{loss: {"box_loss": loss} for loss in ("giou", "eiou", "focal_eiou", "elastic", "elastic_weighted")},
}


def main() -> None:
    """Train all, then print the table; every finished training is also a line of --log."""
    options = parse_options()
    contenders = {**CONTENDERS, **(ABLATION if options.ablation else {})}
    with tempfile.TemporaryDirectory() as scratch:
        report = check_dataset(options.data)
        report.raise_for_errors()
        view = prepare_view(report, Path(scratch))
        prepare_labels(view)
        # seed by seed, so that a run which is cut short still compares like with like
        specs = [
            (name, seed, spec_of(options, arguments, seed, view, Path(scratch) / f"{name}-{seed}"))
            for seed in range(options.seeds)
            for name, arguments in contenders.items()
        ]
        results = collect(options, specs)
    for metric in METRICS:
        print(table({name: [result[metric] for result in runs] for name, runs in results.items()}, metric))


def parse_options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data YAML")
    parser.add_argument("--model", default="yolo12n")
    parser.add_argument("--weights", default="none", help="`none` or a .pt file that all start from")
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr0", type=float, default=0.002)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--jobs", type=int, default=1, help="trainings at once; each needs its own share of the cores"
    )
    parser.add_argument("--ablation", action="store_true", help="also train each part alone")
    parser.add_argument("--log", type=Path, help="write a JSON line for every finished training")
    return parser.parse_args()


def spec_of(
    options: argparse.Namespace, arguments: Mapping[str, Json], seed: int, view: Path, folder: Path
) -> TrialSpec:
    """One training."""
    settings: dict[str, Json] = {
        "epochs": options.epochs,
        "imgsz": options.imgsz,
        "batch": options.batch,
        "nbs": options.batch,
        "optimizer": "AdamW",
        "lr0": options.lr0,
        "warmup_epochs": 1.0,
        **arguments,
    }
    return TrialSpec(
        search_id="accuracy",
        individual=0,
        attempt=1,
        params={},
        settings=settings,
        seed=seed,
        directory=str(folder),
        model=options.model,
        weights=str(Path(options.weights).absolute()) if options.weights != "none" else "none",
        data=str(view),
    )


def collect(
    options: argparse.Namespace, specs: Sequence[tuple[str, int, TrialSpec]]
) -> dict[str, list[Mapping[str, float]]]:
    """Train everything, in processes of their own; metrics of each contender in the order of the seeds."""
    results: dict[str, list[Mapping[str, float]]] = {}
    log = options.log.open("a") if options.log else None
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        for (name, seed, _), (metrics, seconds) in zip(
            specs, pool.map(train, [s for _, _, s in specs]), strict=True
        ):
            results.setdefault(name, []).append(metrics)
            line = {"contender": name, "seed": seed, "seconds": round(seconds, 1)} | dict(metrics)
            print(
                ", ".join(f"{key} {value}" for key, value in line.items() if not str(key).startswith("val")),
                flush=True,
            )
            if log:
                log.write(json.dumps(line) + "\n")
                log.flush()
    return results


def train(spec: TrialSpec) -> tuple[dict[str, float], float]:
    """Train one; its best epoch's metrics, and the seconds that it took."""
    started = time.monotonic()
    running = YoloObjective().run(spec)
    result = exhaust(running)
    asked = {name: pair for name, pair in result.differences.items() if name not in ("mosaic", "mixup")}
    if asked:
        raise SystemExit(f"not trained as asked: {asked}")
    return dict(result.metrics), time.monotonic() - started


def exhaust(running: Iterator[object]) -> TrialResult:
    """Let a training run to its end."""
    while True:
        try:
            next(running)
        except StopIteration as end:
            result: TrialResult = end.value
            return result


def table(values: Mapping[str, Sequence[float]], metric: str) -> str:
    """Mean, spread and paired difference to stock, as text."""
    lines = [f"\n{metric}, {len(values['stock'])} seeds", f"{'':18}{'mean':>8}{'sd':>8}{'difference':>12}   95 %"]
    for name, scores in values.items():
        spread = statistics.stdev(scores) if len(scores) > 1 else math.nan
        line = f"{name:18}{statistics.mean(scores):8.4f}{spread:8.4f}"
        if name != "stock":
            mean, low, high = difference(scores, values["stock"])
            verdict = "better" if low > 0 else "worse" if high < 0 else "no difference shown"
            line += f"{mean:+12.4f}   {low:+.4f} to {high:+.4f}: {verdict}"
        lines.append(line)
    return "\n".join(lines)


def difference(scores: Sequence[float], stock: Sequence[float]) -> tuple[float, float, float]:
    """Mean of the seeds' differences, and its 95 % confidence interval (Student's t, n - 1 degrees of freedom)."""
    pairs = [one - other for one, other in zip(scores, stock, strict=True)]
    mean = statistics.mean(pairs)
    if len(pairs) < 2:
        return mean, -math.inf, math.inf
    half = float(student.ppf(0.975, len(pairs) - 1)) * statistics.stdev(pairs) / math.sqrt(len(pairs))
    return mean, mean - half, mean + half


if __name__ == "__main__":
    main()
