"""Draws what `bench.py run` wrote.

    python benchmarks/search_efficiency/figure.py --set sets/public.json --figure search.png results.jsonl ...

Mean regret against whole trainings, a line for each optimiser.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLOURS = {"evolve": "#c0392b", "evolve_full": "#e59866", "evolve_rungs": "#c0392b"}
OTHERS = ("#2471a3", "#1e8449", "#7d3c98", "#7f8c8d", "#b7950b", "#34495e")
FIRST = 5
"""Before so many trainings, too few of the runs have any result."""


def curves(described: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[np.float64]]:
    """Mean regret of each optimiser after 1, 2, ... trainings; 1, a random configuration's, while there is none."""
    best: dict[str, float] = {}
    for row in rows:
        known = described[row["inst"]]["best"]
        found = max((value for value in row["strict"] if value is not None), default=known)
        best[row["inst"]] = max(best.get(row["inst"], known), found)
    runs: defaultdict[str, list[list[float]]] = defaultdict(list)
    for row in rows:
        top, median = best[row["inst"]], described[row["inst"]]["median"]
        runs[row["opt"]].append([1.0 if each is None else (top - each) / (top - median) for each in row["strict"]])
    return {name: np.mean(found, axis=0) for name, found in runs.items()}


def draw(found: Mapping[str, NDArray[np.float64]], target: Path) -> None:
    """Both axes are logarithmic: half the regret is as far everywhere."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.4), dpi=150)
    others = iter(OTHERS * 3)
    for name, line in sorted(found.items(), key=lambda entry: entry[1][-1]):
        ours = name in COLOURS
        trainings = np.arange(FIRST, len(line) + 1)
        axes.plot(
            trainings,
            line[FIRST - 1 :],
            color=COLOURS[name] if ours else next(others),
            linewidth=2.4 if ours else 1.4,
            label=name,
        )
    axes.set(xscale="log", yscale="log", xlabel="whole trainings spent", ylabel="mean regret")
    ticks = {"x": (5, 10, 25, 50, 100), "y": (0.02, 0.05, 0.1, 0.2, 0.5)}
    axes.set_xticks(ticks["x"], [f"{tick:g}" for tick in ticks["x"]])
    axes.set_yticks(ticks["y"], [f"{tick:g}" for tick in ticks["y"]])
    axes.minorticks_off()
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(target)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--set", type=Path, required=True)
    parser.add_argument("--figure", type=Path, default=Path("search.png"))
    parser.add_argument("results", type=Path, nargs="+")
    options = parser.parse_args()
    rows = [json.loads(line) for path in options.results for line in path.read_text().splitlines()]
    draw(curves(json.loads(options.set.read_text())["instances"], rows), options.figure)


if __name__ == "__main__":
    main()
