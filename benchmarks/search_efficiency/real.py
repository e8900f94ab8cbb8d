"""A real search on a real data set: ours, TPE and random search with the same budget of trainings.

    python benchmarks/search_efficiency/real.py --data PATH/data.yaml --model yolo12n --imgsz 416

Each contender searches the same ten genes from random weights, one trial at a time, and may spend as
many whole trainings as the others; one that is stopped counts by its share. Then the best of each and the default
are trained with further seeds, which says what is noise. The curves go to `--figure`; `evolve compare` on the same
`--home` shows more. Called again after an interruption, it goes on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from evolve import Search, resume_search, run_search
from evolve.exceptions import SearchNotFound
from evolve.ledger import IndividualRecord, Ledger
from evolve.settings import Settings
from evolve.space import SearchSpace
from evolve.trial import Json, Role

CONTENDERS = {"genetic": "#c0392b", "tpe": "#2471a3", "random": "#7f8c8d"}
GENES: Mapping[str, Json] = {
    "optimizer": {"type": "categorical", "choices": ["SGD", "AdamW"], "default": "AdamW"},
    "lr0": {"type": "float", "low": 1e-4, "high": 0.1, "log": True, "default": 0.002},
    "momentum": {"type": "float", "low": 0.6, "high": 0.98, "default": 0.937},
    "weight_decay": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True, "default": 5e-4},
    "batch": {"type": "int", "low": 4, "high": 32, "log": True, "default": 16},
    "warmup_epochs": {"type": "float", "low": 0.0, "high": 5.0, "default": 3.0},
    "box": {"type": "float", "low": 1.0, "high": 20.0, "log": True, "default": 7.5},
    "cls": {"type": "float", "low": 0.1, "high": 4.0, "log": True, "default": 0.5},
    "mosaic": {"type": "float", "low": 0.0, "high": 1.0, "default": 1.0},
    "scale": {"type": "float", "low": 0.0, "high": 0.9, "default": 0.5},
}


def space(options: argparse.Namespace, algorithm: str, seed: int) -> SearchSpace:
    """What a contender searches; it differs in the algorithm alone."""
    document: dict[str, Json] = {
        "model": options.model,
        "data": str(options.data),
        "weights": "none",
        # a nominal batch (nbs) of 8 lets so short a training make enough steps
        "train": {"epochs": options.epochs, "imgsz": options.imgsz, "nbs": 8, "attention": True},
        "genes": dict(GENES),
        "search": {"algorithm": algorithm, "seed": seed, "generations": 1000},
        "stop": {"evaluations": options.trainings},
        "finals": {"top": 1, "seeds": 3},
    }
    return SearchSpace.from_document(document, f"{algorithm}-{seed}")


def searched(options: argparse.Namespace, algorithm: str, seed: int) -> Search:
    """A contender's search, run to its end unless it has been."""
    name = f"{algorithm}-{seed}"
    ledger = Ledger(Settings(home=options.home).ledger_url)
    try:
        record = ledger.search(name)
        number = record.id
        if not record.state.is_over:
            resume_search(number, home=options.home)
    except SearchNotFound:
        number = run_search(space(options, algorithm, seed), home=options.home, inline=True).id
    search = Search(ledger, number)
    if not search.state.is_over:
        raise SystemExit(f"{name}: interrupted; the same command goes on")
    return search


def curve(individuals: Sequence[IndividualRecord], epochs: int) -> list[tuple[float, float]]:
    """The best fitness of the search over the whole trainings that were spent: (trainings, fitness)."""
    spent, best, points = 0.0, -np.inf, []
    told = [each for each in individuals if each.told is not None and each.role is not Role.FINAL]
    before: dict[int, float] = {}
    for each in sorted(told, key=lambda one: one.told or 0):
        reached = 1.0 if each.fitness is not None else max(each.rungs, default=0.0) / epochs
        spent += reached - (before.get(each.original, 0.0) if each.original is not None else 0.0)
        before[each.number] = reached
        if each.fitness is not None and each.fitness > best:
            best = each.fitness
            points.append((spent, best))
    return [*points, (spent, best)]


def draw(options: argparse.Namespace, curves: Mapping[str, list[list[tuple[float, float]]]]) -> None:
    """One step line for each search, and a thick one for the mean of a contender's."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), dpi=150)
    grid = np.linspace(1, options.trainings, 200)
    for name, lines in curves.items():
        heights = [
            np.array([max((y for x, y in line if x <= at), default=np.nan) for at in grid]) for line in lines
        ]
        for height in heights:
            axes.step(grid, height, color=CONTENDERS[name], alpha=0.3, linewidth=1, where="post")
        axes.step(grid, np.mean(heights, axis=0), color=CONTENDERS[name], linewidth=2.2, label=name, where="post")
    axes.set(xlabel="whole trainings spent", ylabel="best mAP50-95 so far (validation)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(options.figure)


def main() -> None:
    """Search with every contender and seed, then print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--home", type=Path, default=Path("real-search"))
    parser.add_argument("--figure", type=Path, default=Path("real-search.png"))
    parser.add_argument("--model", default="yolo12p")
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--trainings", type=int, default=14)
    parser.add_argument("--seeds", default="0-0")
    options = parser.parse_args()
    low, _, high = options.seeds.partition("-")
    curves: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in CONTENDERS}
    for seed in range(int(low), int(high or low) + 1):
        for name in CONTENDERS:
            search = searched(options, name, seed)
            curves[name].append(curve(search.individuals(), options.epochs))
            answer = search.record.answer or {}
            print(f"{name}-{seed}: best {curves[name][-1][-1][1]:.4f}; {answer.get('text', answer)}", flush=True)
    draw(options, curves)
    print(f"drawn to {options.figure}")


if __name__ == "__main__":
    main()
