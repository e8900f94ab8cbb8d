"""The genetic algorithm as a search algorithm of Ray Tune; the slow tests run it in a real Ray."""

from __future__ import annotations

import json
import math
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.search import ConcurrencyLimiter

from evolve.exceptions import InputError, SpaceError
from evolve.integrations import EvolveSearch
from spaces import document, space
from workers.ray_cluster import RayCluster
from workers.synthetic import quality

EXAMPLE = Path(__file__).parents[1] / "examples" / "ray_tune_search.py"
LANDSCAPE = {"optimum": {"n": 5, "kind": "b"}, "width": {"n": 8.0}}
DOMAINS = {
    "rate": tune.loguniform(1e-5, 1e-1),
    "model": {"layers": tune.randint(1, 5), "width": tune.qrandint(8, 32, 8), "name": "constant"},
    "drop": tune.quniform(0.2, 0.6, 0.2),
    "units": tune.lograndint(1, 100),
    "shape": tune.choice([[64, 64], None, True, 1]),
    "only": tune.choice(["one"]),
    "x": tune.uniform(-1, 1),
}


def judge(config: dict[str, Any]) -> float:
    return quality(config, LANDSCAPE)


def drive(search: EvolveSearch, trials: int, start: int = 0) -> list[dict[str, Any]]:
    """Suggest and complete, as Ray does with one trial at a time."""
    configs = []
    for number in range(start, start + trials):
        config = search.suggest(f"t{number}")
        assert config is not None
        configs.append(config)
        search.on_trial_result(f"t{number}", {"score": 0.0, "training_iteration": 1})
        search.on_trial_complete(f"t{number}", {"score": judge(config), "training_iteration": 2})
    return configs


def ours(**options: Any) -> EvolveSearch:
    """Without a model to choose among children, which takes its time."""
    return EvolveSearch(space(), metric="score", mode="max", **{"screening": 1, **options})


def test_our_space_comes_as_itself_a_document_a_path_or_a_shipped_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(document()))
    expected = drive(ours(seed=5), 20)
    for given in (space(), document(), path, str(path)):
        assert drive(EvolveSearch(given, metric="score", mode="max", seed=5, screening=1), 20) == expected
    shipped = EvolveSearch("demo", metric="score", mode="max").suggest("t0")
    assert shipped is not None
    assert "lr0" in shipped


def test_a_configuration_has_the_settings_and_the_genes_that_exist() -> None:
    first, *others = drive(ours(), 40)
    assert first == {"epochs": 1, **space().default()}
    assert {"extra" in config for config in others} == {True, False}
    assert all(("extra" in config) == (config["kind"] != "a") for config in others)


def test_it_finds_the_optimum_for_either_mode() -> None:
    up = ours(seed=1)
    best = max(judge(config) for config in drive(up, 150))
    assert best > 0.8
    down = EvolveSearch(space(), metric="loss", mode="min", seed=1, screening=1)
    for number in range(150):
        config = down.suggest(f"t{number}")
        assert config is not None
        down.on_trial_complete(f"t{number}", {"loss": -judge(config)})
    assert max(each.fitness or 0 for each in down._outcomes) == best


def test_domains_of_ray_are_kept_to() -> None:
    search = EvolveSearch(seed=0, screening=1)
    assert search.set_search_properties("score", "max", DOMAINS)
    seen: dict[str, set[Any]] = {name: set() for name in ("layers", "width", "drop", "units", "shape")}
    for number in range(200):
        config = search.suggest(str(number))
        assert config is not None
        assert 1e-5 <= config["rate"] <= 1e-1
        assert -1 <= config["x"] <= 1
        assert config["only"] == "one"
        seen["layers"].add(config["model"]["layers"])
        seen["width"].add(config["model"]["width"])
        seen["drop"].add(config["drop"])
        seen["units"].add(config["units"])
        seen["shape"].add(repr(config["shape"]))
        search.on_trial_complete(str(number), {"score": random.Random(number).random()})
    assert seen["layers"] == {1, 2, 3, 4}
    assert seen["width"] == {8, 16, 24, 32}
    assert seen["drop"] <= {0.2, 0.4, 0.6}
    assert seen["shape"] == {"[64, 64]", "None", "True", "1"}
    assert max(seen["units"]) <= 99
    assert min(seen["units"]) >= 1


def test_domains_may_be_given_to_the_search_itself() -> None:
    search = EvolveSearch({"x": tune.uniform(0, 1)}, metric="score", mode="max")
    assert search.suggest("0") == {"x": 0.5}
    assert search.set_search_properties(None, None, {"constant": 1})
    assert not search.set_search_properties(None, None, {"y": tune.uniform(0, 1)}), "two spaces are one too many"


def test_points_are_evaluated_first_and_in_the_place_of_the_default() -> None:
    points = [{"x": 0.7, "n": 5, "kind": "b"}, {"x": 0.9}]
    first, second, third = drive(ours(points_to_evaluate=points), 3)
    assert first == {"epochs": 1, "x": 0.7, "y": 0.01, "n": 5, "kind": "b", "extra": 0.5}
    assert second == {"epochs": 1, **space().default(), "x": 0.9}
    assert third != {"epochs": 1, **space().default()}
    nested = EvolveSearch(
        DOMAINS, metric="score", mode="max", points_to_evaluate=[{"model": {"layers": 4}, "x": 1}]
    )
    config = nested.suggest("0")
    assert config is not None
    assert (config["model"]["layers"], config["x"]) == (4, 1.0)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"x": 3.0}, "gene 'x': must lie between"),
        ({"z": 1}, "unknown gene 'z'"),
        ({"extra": 0.1}, "does not exist"),
    ],
)
def test_a_point_outside_the_space_is_refused(point: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ours(points_to_evaluate=[point])


def test_what_cannot_be_searched_is_refused() -> None:
    search = EvolveSearch()
    with pytest.raises(InputError, match="a grid leaves nothing to search"):
        search.set_search_properties("score", "max", {"x": tune.grid_search([1, 2])})
    with pytest.raises(InputError, match="x: must be uniform"):
        search.set_search_properties("score", "max", {"x": tune.randn(0, 1)})
    with pytest.raises(InputError, match="not in a list"):
        search.set_search_properties("score", "max", {"x": [tune.uniform(0, 1)]})
    with pytest.raises(InputError, match="nothing to search in"):
        search.set_search_properties("score", "max", {"x": 1})
    with pytest.raises(SpaceError, match="g0 is a/b"):
        search.set_search_properties("score", "max", {"a": {"b": tune.uniform(1, 1 + 1e-9)}})
    with pytest.raises(InputError, match="a space is needed"):
        search.suggest("0")
    with pytest.raises(InputError, match="needs metric= and mode="):
        EvolveSearch(space()).suggest("0")
    with pytest.raises(InputError, match="repeats"):
        EvolveSearch(space(search={"repeats": {"default": 1}}))
    with pytest.raises(SpaceError, match="unknown setting 'popluation'; did you mean 'population'"):
        EvolveSearch(popluation=3)


def test_failures_teach_nothing_and_shape_no_population() -> None:
    search = ours()
    bad: list[tuple[dict[str, Any] | None, bool]] = [(None, True), ({"score": math.nan}, False), ({}, False)]
    for number, (result, error) in enumerate(bad):
        search.suggest(str(number))
        search.on_trial_complete(str(number), result, error)
    search.on_trial_complete("unheard of", {"score": 1.0})
    assert [each.fitness for each in search._outcomes] == [None] * 3
    assert search._algorithm.possible_parents() == set()
    drive(search, 20, start=3)


@pytest.mark.parametrize("options", [{}, {"algorithm": "tpe"}, {"screening": 20}])
def test_a_saved_search_goes_on_as_if_nothing_had_happened(options: dict[str, Any], tmp_path: Path) -> None:
    whole = ours(seed=3, **options)
    drive(whole, 20)
    whole.suggest("in flight")
    whole.save(str(tmp_path / "state.json"))
    json.loads((tmp_path / "state.json").read_text())
    revived = ours(seed=3, **options)
    revived.restore(str(tmp_path / "state.json"))
    copied = pickle.loads(pickle.dumps(whole))
    for search in (whole, revived, copied):
        search.on_trial_complete("in flight", {"score": 0.3})
    assert drive(revived, 10, 30) == drive(whole, 10, 30) == drive(copied, 10, 30)


def test_a_search_over_rays_domains_is_restored_before_they_are_known(tmp_path: Path) -> None:
    whole = EvolveSearch(
        DOMAINS, metric="x", mode="max", seed=3, screening=1, points_to_evaluate=[{"x": 0.1}, {"x": 0.2}]
    )
    whole.suggest("0")
    whole.save_to_dir(str(tmp_path), "session")
    revived = EvolveSearch(seed=3, screening=1)
    revived.restore_from_dir(str(tmp_path))
    assert revived.set_search_properties("x", "max", DOMAINS)
    for number in range(1, 12):
        config = whole.suggest(str(number))
        assert revived.suggest(str(number)) == config
        for search in (whole, revived):
            search.on_trial_complete(str(number), config)


def test_the_history_of_another_space_is_refused(tmp_path: Path) -> None:
    ours().save(str(tmp_path / "state.json"))
    other = EvolveSearch(DOMAINS, metric="score", mode="max")
    with pytest.raises(InputError, match="another search space"):
        other.restore(str(tmp_path / "state.json"))


def test_a_generational_search_waits() -> None:
    search = ConcurrencyLimiter(ours(generational=True, population=4), max_concurrent=10)
    assert None not in [search.suggest(str(number)) for number in range(4)]
    assert search.suggest("4") is None
    for number in range(4):
        search.on_trial_complete(str(number), {"score": 0.1 * number})
    assert search.suggest("5") is not None


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    cluster = RayCluster(gpus=0, cpus=2)
    yield cluster
    cluster.close()


def tuned(search: EvolveSearch, folder: Path, samples: int, **options: Any) -> tune.ResultGrid:
    def train(config: dict[str, Any]) -> None:  # within a function, so that Ray sends it whole
        tune.report({"loss": (config["x"] - 0.7) ** 2 + config["plus"]})

    tuner = tune.Tuner(
        train,
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=samples,
            max_concurrent_trials=2,
            search_alg=search,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name="run", storage_path=str(folder), verbose=0),
        **options,
    )
    return tuner.fit()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_real_tuner_searches_with_two_trials_at_once(cluster: RayCluster, tmp_path: Path) -> None:
    domains = {"x": tune.uniform(0, 1), "plus": 0.5}
    results = tuned(EvolveSearch(seed=0, population=4), tmp_path, 10, param_space=domains)
    assert len(results) == 10
    assert results.num_errors == 0
    best = results.get_best_result()
    assert best.metrics is not None
    assert 0.5 <= best.metrics["loss"] < 0.51
    saved = json.loads(next((tmp_path / "run").glob("searcher-state-*.json")).read_text())
    assert len(saved["proposals"]) == 10
    assert any(each["parents"] for each in saved["proposals"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_real_tuner_takes_a_space_of_ours(cluster: RayCluster, tmp_path: Path) -> None:
    genes: Any = {"x": {"type": "float", "low": 0, "high": 1, "default": 0.2}}
    search = EvolveSearch(space(genes=genes, train={"plus": 1}), metric="loss", mode="min")
    results = tuned(search, tmp_path, 3)
    configs = [each.config for each in results]
    assert {"epochs": 1, "plus": 1, "x": 0.2} in configs


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    short = tempfile.mkdtemp(prefix="evolve-ray-", dir="/tmp")  # Ray's sockets need short paths
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "RAY_TMPDIR": short, "RAY_USAGE_STATS_ENABLED": "0"}
    environment["PYTHONPATH"] = str(EXAMPLE.parents[1])
    try:
        done = subprocess.run(
            [sys.executable, str(EXAMPLE)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
    finally:
        shutil.rmtree(short, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    assert "best 0.0" in done.stdout
