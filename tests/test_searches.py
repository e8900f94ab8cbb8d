"""Searches from Python."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from evolve import EvolveError, InputError, Search, load_space, resume_search, run_search
from evolve.compose import Prepared, RunOptions, create_search, drive, prepare_again
from evolve.delivery import deliver_missed
from evolve.exceptions import DataError
from evolve.ledger import Ledger, SearchState
from evolve.searches import cancel_idle, is_driven, unfinished
from evolve.settings import Settings
from evolve.space import SearchSpace
from evolve.specs import trial_directory
from evolve.yaml_io import dump_yaml
from ledger_fixtures import begin, live
from search_helpers import create
from spaces import OBJECTIVE, document, space

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

MODULE = """
def train(spec):
    for epoch in range(3):
        yield {"accuracy": (epoch + 1) * spec.params["x"] / 3}
"""


def test_a_users_function_is_evolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_training.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "mine.yaml"
    path.write_text(dump_yaml(document(fitness="accuracy", search={"generations": 2})))
    search = run_search(path, objective="my_training:train", inline=True, home=tmp_path / "home", name="mine")
    assert search.state is SearchState.COMPLETED
    assert search.best is not None
    assert search.best.fitness == pytest.approx(search.best.params["x"])
    frame = search.frame()
    assert len(frame) == 16
    assert frame["fitness"].max() == search.best.fitness
    assert search.report(tmp_path / "report.html").exists()
    assert "completed" in repr(search)


def test_mlflow_is_told_of_searches_whose_driver_is_gone(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    settings = Settings(home=tmp_path)
    with Ledger(settings.ledger_url) as ledger:
        search = create(ledger, space(), tmp_path)
        with ledger.acquire(search.id).transaction() as tx:
            tx.start(resumed=False)
        assert is_driven(ledger.search(search.id))
        assert deliver_missed(ledger, settings) == 0
        ledger.acquire(create(ledger, space(), tmp_path, "other").id).release(SearchState.CANCELLED, "enough")
        assert deliver_missed(ledger, settings) == 1
    client = MlflowClient(settings.tracking_uri)
    experiment = client.get_experiment_by_name("other")
    assert experiment is not None
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["KILLED"]


def test_an_unreachable_mlflow_is_said_and_not_waited_for(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    with Ledger(settings.ledger_url) as ledger:
        ledger.acquire(create(ledger, space(), tmp_path).id).release(SearchState.CANCELLED, "enough")
        with pytest.raises(EvolveError, match=r"MLflow must answer at http://127.0.0.1:9"):
            deliver_missed(ledger, settings, seconds=1.0)


@pytest.mark.parametrize("now", [0.0, 1e12])
def test_a_clock_that_is_wrong_here_does_not_tell_who_drives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: float
) -> None:
    with Ledger(Settings(home=tmp_path).ledger_url) as ledger:
        monkeypatch.setattr("time.time", lambda: now)
        search = create(ledger, space(), tmp_path)
        lease = ledger.acquire(search.id, ttl=0.2)
        assert is_driven(ledger.search(search.id))
        time.sleep(0.3)
        assert not is_driven(ledger.search(search.id))
        lease.release(SearchState.CANCELLED)
        assert not is_driven(ledger.search(search.id))


def test_a_search_that_is_over_is_not_resumed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with Ledger(settings.ledger_url) as ledger:
        search = create(ledger, space(), tmp_path)
        ledger.acquire(search.id).release(SearchState.CANCELLED, "enough")
        assert unfinished(ledger) == []
        assert Search(ledger, search.id).best is None
    with pytest.raises(InputError, match="must be unfinished to go on, but it is cancelled"):
        resume_search(search.id, home=tmp_path)


def test_data_that_changed_is_not_trained_on(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with Ledger(settings.ledger_url) as ledger:
        search = ledger.create_search(
            name="changed",
            document=space().document(),
            objective=OBJECTIVE,
            options=RunOptions(objective=OBJECTIVE).document(),
            environment={},
            directory=str(tmp_path),
            data_hash="0123456789abcdef",
        )
        with pytest.raises(DataError, match="the data changed since search"):
            prepare_again(search, settings)


@pytest.mark.parametrize("began", ["none", "/somewhere/yolo12n.pt"])
def test_a_resumed_search_keeps_the_weights_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, began: str
) -> None:
    def weights_found_today(space: SearchSpace, *rest: object) -> Prepared:
        return Prepared(weights="/downloaded/yolo12n.pt" if space.weights == "auto" else space.weights)

    monkeypatch.setattr("evolve.compose.preparation.prepare", weights_found_today)
    settings = Settings(home=tmp_path)
    with Ledger(settings.ledger_url) as ledger:
        search = create_search(ledger, space(weights="auto"), RunOptions(), Prepared(weights=began), settings)
        assert prepare_again(search, settings).weights == began


def test_what_a_person_should_know_is_said_and_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings, prepared = Settings(home=tmp_path), Prepared(notes=("random weights",))
    with Ledger(settings.ledger_url) as ledger:
        options = RunOptions(objective=OBJECTIVE, inline=True)
        search = create_search(ledger, space(search={"generations": 1}), options, prepared, settings)
        drive(ledger, search, prepared, settings, ())
        assert ledger.search(search.id).options["notes"] == ["random weights"]
    assert "note: random weights" in caplog.messages


@pytest.mark.parametrize("name", ["../elsewhere", "a\nb", "x" * 101, ""])
def test_a_search_is_not_called_just_anything(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="--name: name: must be letters, digits"):
        run_search(space(), name=name, objective=OBJECTIVE, inline=True, home=tmp_path)


def test_shipped_spaces_load_by_name() -> None:
    for size in "nsmlx":
        assert load_space(f"yolo12{size}.yaml").model == f"yolo12{size}"


def test_a_search_that_is_cancelled_without_a_driver_keeps_what_is_worth_it(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        search = create(ledger, space(), tmp_path)
        lease = ledger.acquire(search.id)
        with lease.transaction() as writing:
            for number in range(8):
                live(writing, search.id, number, fitness=number / 10)
            begin(writing, search.id, 8)
        lease.release(SearchState.INTERRUPTED)
        folders = [trial_directory(Path(search.directory), number) for number in range(9)]
        for folder in folders:
            Path(folder).mkdir(parents=True)
        cancel_idle(ledger, ledger.search(search.id))
        assert [number for number, folder in enumerate(folders) if Path(folder).exists()] == [0, 3, 4, 5, 6, 7]
        assert ledger.search(search.id).state is SearchState.CANCELLED
