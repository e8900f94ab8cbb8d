"""Evolve's genetic algorithm inside a Ray Tune run: one argument changes, the trainable stays as it is.

python examples/ray_tune_search.py
"""

from __future__ import annotations

import logging
from typing import Any

import ray
from ray import tune

from evolve.integrations import EvolveSearch


def train(config: dict[str, Any]) -> None:
    """Stands in for a training: the lower the loss, the better."""
    loss = (config["rate"] - 0.01) ** 2 + (config["model"]["layers"] - 3) ** 2 / 100
    tune.report({"loss": loss + (0.1 if config["optimizer"] == "adam" else 0.0)})


def main(samples: int = 20) -> tune.ResultGrid:
    """Search, and print the best configuration."""
    tuner = tune.Tuner(
        train,
        param_space={
            "rate": tune.loguniform(1e-5, 1e-1),
            "model": {"layers": tune.randint(1, 9)},
            "optimizer": tune.choice(["adam", "sgd"]),
        },
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=samples,
            max_concurrent_trials=2,
            reuse_actors=True,
            search_alg=EvolveSearch(seed=0, population=8),
        ),
        run_config=tune.RunConfig(verbose=0),
    )
    results = tuner.fit()
    best = results.get_best_result()
    print(f"best {best.metrics['loss']:.5f} with {best.config}")
    return results


if __name__ == "__main__":
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level=logging.WARNING)
    main()
