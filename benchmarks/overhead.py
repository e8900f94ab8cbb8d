"""What does a trial cost beyond its epochs?

Every contender tunes `lr0` of one and the same training, one trial after another: two epochs of a small YOLO12 on
32 pictures of 64 px, the demo set. Each runs in a process of its own, offline and quiet, in a scratch folder:

    inline        evolve, training in the driver's process
    ray           evolve, on one warm Ray worker
    ultralytics   `model.tune(...)`, which starts a process for every iteration
    ray_tune      Ray Tune, random search; the function trains a fresh `YOLO(...)`; actors are reused
    tune_use_ray  `model.tune(use_ray=True)` as it comes: Optuna's TPE, ASHA, an actor for every trial

Ours are whole searches, with the ledger and MLflow. All are timed alike, by the `results.csv` of Ultralytics'
trainer: its last `time` is what the epochs took, training and validation together, and it is written when the last
epoch is over. A trial takes from one such moment to the next; so the first trial, with its imports, counts for
nobody. Figures are medians, in seconds; `ratio` is the overhead over that of `model.tune(...)`.

    python benchmarks/overhead.py
    python benchmarks/overhead.py --contender inline --contender ultralytics --trials 4
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evolve.compose import RunOptions, create_search, drive, prepare
from evolve.ledger import Ledger
from evolve.settings import Settings
from evolve.space import SearchSpace
from evolve.trial import Json, TrialSpec, TrialStream
from workers.datasets import make_demo
from workers.yolo12 import YoloObjective
from workers.yolo12.architectures import PICO, architecture
from workers.yolo12.process import prepare_process

TRAINING: dict[str, Json] = {
    "epochs": 2,
    "imgsz": 64,
    "batch": 8,
    "optimizer": "AdamW",
    "amp": False,
    "workers": 0,
    "nbs": 8,
}
STOCK: dict[str, Json] = {
    **TRAINING,
    "device": "cpu",
    "seed": 0,
    "plots": False,
    "pretrained": False,
    "verbose": False,
}
LOW, HIGH = 1e-4, 1e-2
TIMES = "times"


class TimedYolo(YoloObjective):
    """Our objective, leaving the `results.csv` that the trainer of a search does not write."""

    def __init__(self) -> None:
        prepare_process()
        from workers.yolo12.trainer import TrialTrainer

        del TrialTrainer.save_metrics  # what is inherited writes it

    def run(self, spec: TrialSpec) -> TrialStream:
        """Train; the file is copied to where nobody tidies up."""
        result = yield from super().run(spec)
        shutil.copy2(Path(spec.directory, "results.csv"), Settings().home / TIMES / f"{spec.trial_id}.csv")
        return result


def evolve(folder: Path, trials: int, *, inline: bool) -> None:
    document: dict[str, Json] = {
        "name": "overhead",
        "model": PICO,
        "data": str(_data(folder)),
        "weights": "none",
        "train": TRAINING,
        "genes": {"lr0": {"type": "float", "low": LOW, "high": HIGH, "log": True, "default": 0.002}},
        "search": {"population": trials, "generations": 1},
    }
    (folder / TIMES).mkdir()
    os.environ["EVOLVE_HOME"] = str(folder)
    space, settings = SearchSpace.from_document(document, "overhead"), Settings()
    prepared = prepare(space, "yolo12", settings)
    options = RunOptions(objective="overhead:TimedYolo", inline=inline, workers=1)
    with Ledger(settings.ledger_url) as ledger:
        drive(ledger, create_search(ledger, space, options, prepared, settings), prepared, settings, ())


def ultralytics(folder: Path, trials: int) -> None:
    arguments = _stock(folder)
    from ultralytics import YOLO
    from ultralytics.engine.tuner import Tuner

    model = YOLO(arguments["model"])
    # All that `model.tune(...)` does, but of the lesser trainings the files stay.
    arguments |= {**model.overrides, "mode": "train", "space": {"lr0": (LOW, HIGH)}}
    Tuner(arguments, model=model.model)(iterations=trials, cleanup=False)


def ray_tune(folder: Path, trials: int) -> None:
    arguments = _stock(folder)
    from ray import tune

    def train(genes: dict[str, Any]) -> dict[str, float]:
        from ultralytics import YOLO

        name = tune.get_context().get_trial_id()
        model = YOLO(arguments["model"])
        metrics: dict[str, float] = model.train(**arguments, **genes, name=name).results_dict
        return metrics

    tune.Tuner(
        tune.with_resources(train, {"cpu": os.cpu_count() or 1}),
        param_space={"lr0": tune.loguniform(LOW, HIGH)},
        tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(folder), name="ray_tune", verbose=0),
    ).fit()


def tune_use_ray(folder: Path, trials: int) -> None:
    arguments = _stock(folder)
    from ray import tune
    from ultralytics import YOLO
    from ultralytics.utils import SETTINGS

    SETTINGS.update(raytune=True)  # it reports the epochs
    model = YOLO(arguments.pop("model"))
    model.tune(use_ray=True, iterations=trials, space={"lr0": tune.loguniform(LOW, HIGH)}, **arguments)


CONTENDERS: dict[str, Callable[[Path, int], None]] = {
    "inline": lambda folder, trials: evolve(folder, trials, inline=True),
    "ray": lambda folder, trials: evolve(folder, trials, inline=False),
    "ultralytics": ultralytics,
    "ray_tune": ray_tune,
    "tune_use_ray": tune_use_ray,
}


def _data(folder: Path) -> Path:
    return make_demo(folder, train=32, val=8, size=64)


def _stock(folder: Path) -> dict[str, Any]:
    """Arguments for stock Ultralytics, in a process made as quiet as ours."""
    prepare_process()
    model = folder / f"{PICO}.yaml"
    model.write_text(json.dumps(architecture(PICO)))
    return {**STOCK, "model": str(model), "data": str(_data(folder)), "project": str(folder / "runs")}


def measure(name: str, trials: int) -> dict[str, float]:
    """Let a contender train one trial more than `trials`, and time all but the first."""
    with tempfile.TemporaryDirectory(prefix="overhead-") as scratch:
        log = Path(scratch, "log.txt")
        command = [sys.executable, __file__, "--run", name, "--folder", scratch, "--trials", str(trials + 1)]
        with log.open("w") as sink:
            ended = subprocess.run(command, stdout=sink, stderr=subprocess.STDOUT, check=False)
        moments = sorted(_moments(Path(scratch)))
        if ended.returncode or len(moments) != trials + 1:
            raise SystemExit(f"{name}: {len(moments)} trials ended; its last words: {log.read_text()[-2000:]}")
    wholes = [after[0] - before[0] for before, after in itertools.pairwise(moments)]
    epochs = [seconds for _, seconds in moments[1:]]
    return {
        "trials": trials,
        "seconds": statistics.median(wholes),
        "epochs": statistics.median(epochs),
        "overhead": statistics.median(whole - part for whole, part in zip(wholes, epochs, strict=True)),
    }


def _moments(folder: Path) -> list[tuple[float, float]]:
    """Of every trial: when its last epoch was over, and how long its epochs took."""
    # A trial of ours has its file twice as long as its weights are kept.
    files = list((folder / TIMES).glob("*.csv")) or list(folder.rglob("results.csv"))
    found = []
    for file in files:
        with file.open() as text:
            rows = list(csv.DictReader(text))
        found.append((file.stat().st_mtime, float(rows[-1]["time"])))
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contender", choices=CONTENDERS, action="append")
    parser.add_argument("--trials", type=int, default=5, help="trials that count, for each contender")
    parser.add_argument("--run", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        CONTENDERS[options.run](options.folder, options.trials)
        return 0
    figures = {name: measure(name, options.trials) for name in options.contender or CONTENDERS}
    stock = figures.get("ultralytics")
    for name, figure in figures.items():
        ratio = {"ratio": figure["overhead"] / stock["overhead"]} if stock else {}
        print(json.dumps({"contender": name, **{key: round(x, 3) for key, x in {**figure, **ratio}.items()}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
