"""Evolve's genetic algorithm inside an Optuna study: one line changes, the objective stays as it is.

python examples/optuna_sampler.py
"""

from __future__ import annotations

import optuna

from evolve.integrations import EvolveSampler


def objective(trial: optuna.Trial) -> float:
    """Stands in for a training: `momentum` exists under one optimizer only."""
    rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
    layers = trial.suggest_int("layers", 1, 8)
    optimizer = trial.suggest_categorical("optimizer", ["sgd", "adam"])
    momentum = trial.suggest_float("momentum", 0.5, 0.99) if optimizer == "sgd" else 0.5
    return (rate - 0.01) ** 2 + (layers - 3) ** 2 / 100 + (momentum - 0.9) ** 2


def main() -> None:
    """Search, and print the best trial."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize", sampler=EvolveSampler(seed=0, population=10))
    study.optimize(objective, n_trials=100)
    print(f"best {study.best_value:.5f} with {study.best_params}")


if __name__ == "__main__":
    main()
