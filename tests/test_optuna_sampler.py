"""The genetic algorithm as a sampler of real Optuna studies."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna import Trial
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from evolve.exceptions import SpaceError
from evolve.integrations import EvolveSampler

EXAMPLE = Path(__file__).parents[1] / "examples" / "optuna_sampler.py"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def quadratic(trial: Trial) -> float:
    return sum((trial.suggest_float(name, -5, 5) - 1) ** 2 for name in "abcd")


def conditional(trial: Trial) -> float:
    kind = trial.suggest_categorical("kind", ["flat", "steep", None])
    rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
    if kind == "flat":
        return 1.0
    width = trial.suggest_int("width", 8, 64, step=8) if kind is None else 64
    slope = trial.suggest_float("slope", 0, 1, step=0.1) if kind == "steep" else 0.5
    return abs(slope - 0.3) + rate + width / 100


def run(sampler: BaseSampler, objective: object = quadratic, trials: int = 60, **options: object) -> optuna.Study:
    study = optuna.create_study(sampler=sampler, **options)  # type: ignore[arg-type]
    study.optimize(objective, n_trials=trials)  # type: ignore[arg-type]
    return study


def params(study: optuna.Study) -> list[dict[str, object]]:
    return [trial.params for trial in study.trials]


def test_it_beats_random_on_a_quadratic() -> None:
    bred = [run(EvolveSampler(seed=seed)).best_value for seed in range(5)]
    rolled = [run(RandomSampler(seed=seed)).best_value for seed in range(5)]
    assert statistics.mean(bred) < statistics.mean(rolled) / 3


def test_it_minimises_and_maximises() -> None:
    down = run(EvolveSampler(seed=1))
    up = run(EvolveSampler(seed=1), lambda trial: -quadratic(trial), direction="maximize")
    assert params(down) == params(up)


def test_a_seed_gives_the_same_study_and_another_one_another() -> None:
    assert params(run(EvolveSampler(seed=4))) == params(run(EvolveSampler(seed=4)))
    assert params(run(EvolveSampler(seed=4))) != params(run(EvolveSampler(seed=5)))
    assert params(run(EvolveSampler(), trials=3)) != params(run(EvolveSampler(), trials=3))


@pytest.mark.parametrize("objective", [quadratic, conditional])
def test_a_study_that_is_loaded_anew_goes_on_as_one_in_one_piece(objective: object, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    whole = run(EvolveSampler(seed=2), objective, 30)
    run(EvolveSampler(seed=2), objective, 13, storage=storage, study_name="s")
    revived = optuna.load_study(storage=storage, study_name="s", sampler=EvolveSampler(seed=2))
    revived.optimize(objective, n_trials=17)  # type: ignore[arg-type]
    assert params(revived) == params(whole)


def test_conditional_parameters_and_every_kind_of_distribution() -> None:
    study = run(EvolveSampler(seed=0), conditional, 80)
    assert study.best_value < 0.4
    for trial in study.trials:
        assert ("width" in trial.params) == (trial.params["kind"] is None)
        assert trial.params.get("width", 8) % 8 == 0
        assert trial.params.get("slope", 0) == round(trial.params.get("slope", 0), 1)
    good = [trial.value is not None and trial.value < 0.4 for trial in study.trials]
    assert sum(good[40:]) > 2 * sum(good[:40])


def test_the_first_generation_fills_the_space_and_nothing_is_tried_twice() -> None:
    study = run(EvolveSampler(seed=3, population=16), trials=60)
    first = [trial.params["a"] for trial in study.trials[1:16]]
    assert {int((value + 5) / 2.5) for value in first} >= {0, 1, 2, 3}
    assert len({tuple(each.values()) for each in params(study)}) == 60


def test_of_few_values_the_good_ones_come_again() -> None:
    study = run(EvolveSampler(seed=0), lambda trial: trial.suggest_categorical("x", [3, 1, 2]), 40)
    late = [trial.params["x"] for trial in study.trials[20:]]
    assert late.count(1) > len(late) / 3


def test_parallel_jobs() -> None:
    study = optuna.create_study(sampler=EvolveSampler(seed=0))
    study.optimize(quadratic, n_trials=40, n_jobs=2)
    assert len({tuple(each.values()) for each in params(study)}) == 40
    assert study.best_value < 10


def test_failures_and_infinite_values_teach_nothing() -> None:
    def objective(trial: Trial) -> float:
        value = quadratic(trial)
        return {0: float("nan"), 1: float("inf")}.get(trial.number % 4, value)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = run(EvolveSampler(seed=0), objective, 60)
    assert study.best_value < 5


def test_stagnation_brings_fresh_samples() -> None:
    def novelty(**search: int) -> float:
        study = run(EvolveSampler(seed=0, mutation_sigma=0.01, **search), lambda trial: 0 * quadratic(trial), 60)
        values = [trial.params["a"] for trial in study.trials]
        return statistics.mean(min(abs(value - old) for old in values[:8]) for value in values[8:])

    assert novelty(stagnation=1, immigrants=1) > 3 * novelty(stagnation=1000)


def test_distributions_that_are_no_genes_are_sampled_all_the_same() -> None:
    def objective(trial: Trial) -> float:
        trial.suggest_int("fixed", 3, 3)
        trial.suggest_categorical("one", ["only"])
        return trial.suggest_int("huge", 0, 10**15) / 1e15 + trial.suggest_float("tiny", 1.0, 1.0 + 1e-9)

    study = run(EvolveSampler(seed=0), objective, 20)
    assert len({trial.params["huge"] for trial in study.trials}) == 20


def test_another_sampler_may_stand_in_where_a_parameter_is_rare() -> None:
    sampler = EvolveSampler(seed=0, independent_sampler=TPESampler(seed=0))
    assert len(run(sampler, conditional, 30).trials) == 30


def test_a_setting_that_is_wrong_or_means_nothing_is_refused() -> None:
    with pytest.raises(SpaceError, match="population"):
        EvolveSampler(population=1)
    with pytest.raises(SpaceError, match="unknown setting 'generations'"):
        EvolveSampler(generations=3)


def test_several_objectives_are_refused() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=EvolveSampler(seed=0))
    with pytest.raises(ValueError, match="multi-objective"):
        study.optimize(lambda trial: (quadratic(trial), 0.0), n_trials=2)


def test_importing_the_package_imports_neither_tool() -> None:
    program = "import sys, evolve.integrations; print([name for name in ('ray', 'optuna') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main()
    assert capsys.readouterr().out.startswith("best 0.00")
