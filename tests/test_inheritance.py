"""Children that start from their fitter parent's weights: whose, what stays on the disk, what a restart changes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, inspect, text

from evolve import SearchSpace, run_search
from evolve.descent import descent
from evolve.dispatch import Completed, Failed, Reported, Started, Stopped, TrialEvent
from evolve.inheritance import Inheritance
from evolve.keeper import LeaseKeeper
from evolve.ledger import EventKind, IndividualRecord, Ledger, SearchRecord, SearchState
from evolve.runner import Runner
from evolve.search.base import Decision, Outcome, Proposal
from evolve.settings import Settings
from evolve.space import SearchSettings
from evolve.specs import trial_directory
from evolve.trial import (
    EpochReport,
    Failure,
    FailureKind,
    TrialFailed,
    TrialResult,
    TrialSpec,
    TrialState,
    TrialStream,
)
from ledger_fixtures import attempt_of, newborn
from ledger_fixtures import create as create_plain
from objectives_for_tests import Inheriting
from search_helpers import create, fingerprint, make_runner, run
from spaces import METRIC, document, space
from tiny_training import squares

INHERIT = {"inherit_weights": True}
FEW_GENES: dict[str, Any] = {
    "kind": {"type": "categorical", "choices": ["a", "b", "c"], "default": "a"},
    "n": {"type": "int", "low": 1, "high": 3, "default": 1},
}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as opened:
        yield opened


def searched(ledger: Ledger, folder: Path, name: str = "test", **sections: Any) -> SearchRecord:
    sections["search"] = {**INHERIT, **sections.get("search", {})}
    return create(ledger, space(**sections), folder, name)


def heirs(ledger: Ledger, search: SearchRecord) -> list[int | None]:
    return [each.inherited_from for each in ledger.individuals(search.id)]


def trained_as(each: IndividualRecord) -> int:
    return each.number if each.reused_from is None else each.reused_from


def fitter_parent(each: IndividualRecord, individuals: Sequence[IndividualRecord]) -> int | None:
    """By the definition, where the weights of all parents can be had."""
    if not each.parents:
        return None
    best = max(individuals[number].fitness or 0.0 for number in each.parents)
    return trained_as(next(individuals[number] for number in each.parents if individuals[number].fitness == best))


def weights_file(search: SearchRecord, number: int) -> Path:
    return trial_directory(Path(search.directory), number) / "weights" / "best.pt"


def kept(search: SearchRecord) -> set[int]:
    return {int(path.name) for path in Path(search.directory).glob("trials/*")}


# whose weights


def test_it_is_off_by_default(ledger: Ledger, tmp_path: Path) -> None:
    assert SearchSettings().inherit_weights is False
    search = create(ledger, space(), tmp_path)
    objective = Inheriting()
    run(ledger, search, objective)
    assert heirs(ledger, search) == [None] * 40
    assert {weights for _, _, weights in objective.starts} == {"none"}
    assert any(each.parents for each in ledger.individuals(search.id))


@pytest.mark.parametrize("generational", [False, True])
def test_a_child_starts_from_its_fitter_parent_and_all_others_from_the_search(
    ledger: Ledger, tmp_path: Path, generational: bool
) -> None:
    search = searched(
        ledger, tmp_path, search={"generational": generational, "min_diversity": 1.0, "generations": 8}
    )
    objective = Inheriting()
    assert run(ledger, search, objective).state is SearchState.COMPLETED
    individuals = ledger.individuals(search.id)
    assert heirs(ledger, search) == [fitter_parent(each, individuals) for each in individuals]
    children = [each for each in individuals if each.parents]
    assert len(children) > 30
    assert any("immigrant" in each.operators and each.inherited_from is None for each in individuals)
    expected = {each.number: "none" for each in individuals}
    expected |= {each.number: str(weights_file(search, each.inherited_from)) for each in children}  # type: ignore[arg-type]
    assert objective.starts == [(number, 1, expected[number]) for number, _, _ in objective.starts]
    for number in kept(search):
        line = descent(individuals, ledger.evaluations(search.id), number).trained
        assert json.loads(weights_file(search, number).read_text()) == list(line)
    longest = max(descent(individuals, (), each.number).handed_down for each in individuals)
    assert longest >= 3


_MEMBER = st.tuples(
    st.sampled_from([0.1, 0.2, 0.3, None]),  # fitness
    st.sampled_from(["file", "file", "gone", "none"]),  # weights
    st.booleans(),  # whether it reused the verdict of an earlier one
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(members=st.lists(_MEMBER, min_size=1, max_size=6), data=st.data())
def test_the_start_is_that_of_the_fitter_parent_whose_weights_are_there(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[float | None, str, bool]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("history")
    with Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        lease = ledger.acquire(create_plain(ledger).id)
        fitness: dict[int, float | None] = {}
        trained: dict[int, int] = {}
        files: set[int] = set()
        with lease.transaction() as tx:
            for number, (value, weights, is_twin) in enumerate(members):
                tx.propose(newborn(lease.search_id, number))
                twins = [each for each in fitness if trained[each] == each]
                if is_twin and twins:
                    of = data.draw(st.sampled_from(twins))
                    fitness[number], trained[number] = fitness[of], of
                    state = TrialState.FAILED if fitness[of] is None else TrialState.COMPLETED
                    tx.evaluated(number, state=state, fitness=fitness[of], reused_from=of)
                    continue
                fitness[number], trained[number] = value, number
                tx.submit(attempt_of(lease.search_id, number))
                if value is None:
                    tx.failed(number, 1, Failure(FailureKind.DIVERGED, "nan"), retry=False)
                    tx.evaluated(number, state=TrialState.FAILED, fitness=None)
                    continue
                path = folder / f"{number}.pt"
                if weights == "file":
                    path.touch()
                    files.add(number)
                tx.completed(number, 1, TrialResult({}, weights=None if weights == "none" else str(path)))
                tx.evaluated(number, state=TrialState.COMPLETED, fitness=value)
        parents = tuple(data.draw(st.lists(st.sampled_from(range(len(members))), unique=True, max_size=2)))
        child = Proposal(len(members), 1, (0.5,), {}, "child", parents=parents)
        with lease.transaction() as tx:
            chosen = Inheritance(ledger, lease.search_id, enabled=True).endow(tx, child).inherited_from
            assert Inheritance(ledger, lease.search_id, enabled=False).endow(tx, child) == child

    able = [each for each in parents if fitness[each] is not None and trained[each] in files]
    if not able:
        assert chosen is None
    elif len(able) == 1 or fitness[able[0]] >= fitness[able[1]]:  # type: ignore[operator]
        assert chosen == trained[able[0]]
    else:
        assert chosen == trained[able[1]]


def test_a_search_whose_trainings_leave_no_weights_says_so_once(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path)
    assert run(ledger, search).state is SearchState.COMPLETED
    assert heirs(ledger, search) == [None] * 40
    notices = [
        event.data["message"] for event in ledger.events(search.id, limit=9999) if event.kind is EventKind.NOTICE
    ]
    assert len(notices) == 1
    assert "left no weights" in str(notices[0])


# equal individuals


class Interrupting(Inheriting):
    """Sends the runner a signal in the middle of a trial."""

    runner: Runner

    def __init__(self, after: int) -> None:
        super().__init__()
        self._left = after

    def run(self, spec: TrialSpec) -> TrialStream:
        self._left -= 1
        if self._left == 0:
            self.starts.append((spec.individual, spec.attempt, spec.weights))
            self.runner.interrupt()
        return (yield from super().run(spec))


class Listed:
    """An algorithm that proposes what the test lists, one by one: a value of the gene `x`, and parents.

    Args:
        births: The list.
        parents: Those who may still become parents; everyone if not given.
    """

    def __init__(self, births: Sequence[tuple[float, tuple[int, ...]]], parents: set[int] | None = None) -> None:
        self._births = births
        self._parents = parents
        self._asked = 0
        self._told: set[int] = set()

    def ask(self, n: int) -> list[Proposal]:
        if n < 1 or len(self._told) < self._asked or self._asked == len(self._births):
            return []
        x, parents = self._births[self._asked]
        self._asked += 1
        return [Proposal(self._asked - 1, 0, (x,), {"x": x}, str(x), parents=parents, operators=("listed",))]

    def report(self, number: int, epoch: int, fitness: float) -> Decision:
        return Decision.CONTINUE

    def tell(self, outcome: Outcome) -> None:
        self._told.add(outcome.proposal.number)

    def replay(self, proposals: Iterable[Proposal], outcomes: Iterable[Outcome]) -> None:
        self._asked = len(list(proposals))
        for outcome in outcomes:
            self.tell(outcome)

    def continuable(self) -> set[int]:
        return set()

    def possible_parents(self) -> set[int]:
        return self._told if self._parents is None else self._parents & self._told


ONE_GENE: dict[str, Any] = {"x": {"type": "float", "low": 0, "high": 1, "default": 0.1}}


def run_listed(
    ledger: Ledger, search: SearchRecord, algorithm: Listed, objective: Inheriting | None = None
) -> Inheriting:
    objective = objective or Inheriting()
    with LeaseKeeper(ledger.acquire(search.id), interval=0.05) as keeper:
        runner = make_runner(ledger, search, keeper, objective=objective, algorithm=algorithm)
        if isinstance(objective, Interrupting):
            objective.runner = runner
        runner.run()
    return objective


def test_equal_genes_with_another_start_are_another_training(ledger: Ledger, tmp_path: Path) -> None:
    births = [(0.1, ()), (0.2, ()), (0.3, (0,)), (0.3, (1,)), (0.3, (0,)), (0.1, (3,)), (0.1, ())]
    limits = {"population": len(births), "generations": 1}
    search = searched(ledger, tmp_path, genes=ONE_GENE, search=limits)
    objective = run_listed(ledger, search, Listed(births))
    assert [number for number, _, _ in objective.starts] == [0, 1, 2, 3, 5]
    assert heirs(ledger, search) == [None, None, 0, 1, 0, 3, None]
    assert [each.reused_from for each in ledger.individuals(search.id)] == [None, None, None, None, 2, None, 0]

    plain = create(ledger, space(genes=ONE_GENE, search=limits), tmp_path, "off")
    assert [number for number, _, _ in run_listed(ledger, plain, Listed(births)).starts] == [0, 1, 2]


@pytest.mark.parametrize("interrupted_at", [0, 2, 5, 9])
def test_a_parent_without_a_training_of_its_own_hands_down_its_twins_weights(
    ledger: Ledger, tmp_path: Path, interrupted_at: int
) -> None:
    """They stay on the disk for it, although they are long out of the best five."""
    fitter = [(x, ()) for x in (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)]
    births = [(0.1, ()), (0.2, ()), (0.2, ()), *fitter, (0.65, (2, 0))]
    search = searched(ledger, tmp_path, genes=ONE_GENE, search={"population": len(births), "generations": 1})
    if interrupted_at:
        run_listed(ledger, search, Listed(births, {2}), Interrupting(interrupted_at))
    run_listed(ledger, search, Listed(births, {2}))
    assert ledger.individuals(search.id)[2].reused_from == 1
    assert heirs(ledger, search)[-1] == 1
    assert json.loads(weights_file(search, len(births) - 1).read_text()) == [1, len(births) - 1]
    assert kept(search) == {0, 6, 7, 8, 9, 10}  # nothing is handed down any more


# what stays on the disk


class Crash(Exception):
    """The driver dies here."""


class Shuffled:
    """Several slots whose trials begin and end in any order, fail in any way; now and then the driver dies.

    A trial begins (and reads its start) when it ends, long after its submission, as in a full queue.
    """

    def __init__(self, chance: random.Random, slots: int, search: SearchRecord, bound: int) -> None:
        self.slots = slots
        self._chance = chance
        self._search = search
        self._bound = bound
        self._waiting: list[TrialSpec] = []

    def submit(self, spec: TrialSpec) -> None:
        assert spec.weights == "none" or Path(spec.weights).is_file(), spec
        self._waiting.append(spec)

    def events(self, timeout: float) -> list[TrialEvent]:
        assert len(kept(self._search)) <= self._bound
        if self._chance.random() < 0.04:
            raise Crash
        batch = self._chance.randint(0, min(3, len(self._waiting)))
        return [event for _ in range(batch) for event in self._train()]

    def _train(self) -> list[TrialEvent]:
        spec = self._waiting.pop(self._chance.randrange(len(self._waiting)))
        assert spec.weights == "none" or Path(spec.weights).is_file(), spec
        started = Started(spec.trial_id, "shuffled")
        luck = self._chance.random()
        if luck < 0.2:
            kind = FailureKind.INFRASTRUCTURE if luck < 0.15 else FailureKind.DIVERGED
            return [started, Failed(spec.trial_id, Failure(kind, f"bad luck {'x' * self._chance.randrange(99)}"))]
        weights = Path(spec.directory, "best.pt")
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.touch()
        metrics = {METRIC: (self._chance.randrange(30) + spec.individual) // 3 / 50}  # rising, with equals
        return [
            started,
            Reported(spec.trial_id, EpochReport(1, 1, metrics, 0.1)),
            Completed(spec.trial_id, TrialResult(metrics, weights=str(weights), epochs=1)),
        ]

    def stop(self, trial_id: str) -> None:
        self._waiting = [each for each in self._waiting if each.trial_id != trial_id]

    def close(self) -> None:
        self._waiting.clear()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10_000),
    slots=st.integers(1, 6),
    generational=st.booleans(),
    population=st.integers(2, 9),
    elites=st.integers(0, 1),
    few_genes=st.booleans(),
)
def test_no_child_ever_starts_from_a_missing_file_and_the_disk_does_not_fill(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    slots: int,
    generational: bool,
    population: int,
    elites: int,
    few_genes: bool,
) -> None:
    folder = tmp_path_factory.mktemp("shuffled")
    how = {"generational": generational, "population": population, "elites": elites, "seed": seed, "generations": 7}
    # the best five, the default, the population and its nursery, and what the unfinished start from
    bound = 5 + 1 + population * (2 if generational else 1) + 2 * slots
    chance = random.Random(seed)
    with Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        limits = {"same_error_limit": 1000, "stagnation": 2, "tournament_size": 1, **how}
        search = searched(ledger, folder, genes=FEW_GENES if few_genes else None, search=limits)
        for _ in range(1000):
            try:
                with LeaseKeeper(ledger.acquire(search.id), interval=60) as keeper:
                    dispatcher = Shuffled(chance, slots, search, bound)
                    ending = make_runner(ledger, search, keeper, dispatcher=dispatcher).run()
                break
            except Crash:
                continue
        assert ending.state is SearchState.COMPLETED
        individuals = ledger.individuals(search.id)
        assert heirs(ledger, search) == [fitter_parent(each, individuals) for each in individuals]
        assert len(kept(search)) <= 5 + 1
        attempts = Counter(each.individual for each in ledger.evaluations(search.id))
        assert attempts == {each.number: each.attempts for each in individuals if each.attempts}


class Leaving:
    """Eight slots. After 16 trainings comes a signal: one child is stopped at once, the other seven still complete.

    Every individual is fitter than all before it, so those seven push everyone else off the shelf.
    """

    slots = 8
    runner: Runner

    def __init__(self) -> None:
        self._specs: list[TrialSpec] = []
        self._stopped: list[str] = []
        self._done = 0

    def submit(self, spec: TrialSpec) -> None:
        self._specs.append(spec)

    def events(self, timeout: float) -> list[TrialEvent]:
        if self._done < 16:
            return [self._complete(self._specs.pop(0))]
        if not self._stopped:
            self.runner.interrupt()
            return []
        if len(self._stopped) == self.slots:
            self._specs.pop(0)
            return [Stopped(self._stopped.pop(0))]
        return [self._complete(spec) for spec in self._specs]

    def _complete(self, spec: TrialSpec) -> Completed:
        self._done += 1
        path = Path(spec.directory, "best.pt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return Completed(spec.trial_id, TrialResult({METRIC: spec.individual / 100}, weights=str(path)))

    def stop(self, trial_id: str) -> None:
        self._stopped.append(trial_id)

    def close(self) -> None: ...


def test_what_an_abandoned_child_starts_from_outlives_the_leaving(ledger: Ledger, tmp_path: Path) -> None:
    search = searched(ledger, tmp_path, search={"population": 2, "generations": 20})
    with LeaseKeeper(ledger.acquire(search.id), interval=60) as keeper:
        dispatcher = Leaving()
        dispatcher.runner = make_runner(ledger, search, keeper, dispatcher=dispatcher)
        assert dispatcher.runner.run().state is SearchState.INTERRUPTED
    (abandoned,) = [each for each in ledger.individuals(search.id) if each.told is None]
    assert abandoned.inherited_from is not None
    assert kept(search) == {0, abandoned.inherited_from, *range(19, 24)}


def test_weights_that_somebody_removed_are_replaced_by_others(ledger: Ledger, tmp_path: Path) -> None:
    """A child whose machine is lost finds its start gone: it starts from what there is, and the ledger says so."""
    search = searched(ledger, tmp_path, search={"population": 4, "generations": 3})
    removed: list[int] = []

    class Vandal(Inheriting):
        def run(self, spec: TrialSpec) -> TrialStream:
            if spec.weights != "none" and not removed:
                removed.append(int(Path(spec.weights).parents[1].name))
                Path(spec.weights).unlink()
                raise TrialFailed(FailureKind.INFRASTRUCTURE, "the node is gone")
            return (yield from super().run(spec))

    objective = Vandal()
    assert run(ledger, search, objective).state is SearchState.COMPLETED
    individuals = ledger.individuals(search.id)
    child = next(each for each in individuals if each.attempts == 2)
    others = [trained_as(individuals[number]) for number in child.parents if number != removed[0]]
    assert child.inherited_from == (others[0] if others else None)
    assert child.fitness is not None
    assert [weights for number, attempt, weights in objective.starts if number == child.number] == [
        str(weights_file(search, child.inherited_from)) if others else "none"
    ]
    messages = [str(event.data.get("message")) for event in ledger.events(search.id, limit=9999)]
    assert sum(message.startswith(f"the weights of individual {removed[0]} are gone") for message in messages) == 1
    assert removed[0] not in {each.inherited_from for each in individuals}


# interruptions


def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(ledger_url: str, tmp_path: Path) -> None:
    with Ledger(ledger_url) as ledger:
        whole = searched(ledger, tmp_path, "whole", search={"generational": True})
        run(ledger, whole, Inheriting())
        broken = searched(ledger, tmp_path, "broken", search={"generational": True})
        starts: dict[int, set[str]] = {}
        for after in (3, 11, 9, 5):
            with LeaseKeeper(ledger.acquire(broken.id)) as keeper:
                objective = Interrupting(after)
                objective.runner = make_runner(ledger, broken, keeper, objective=objective)
                assert objective.runner.run().state is SearchState.INTERRUPTED
            for number, _, weights in objective.starts:
                starts.setdefault(number, set()).add(weights)
        last = Inheriting()
        assert run(ledger, broken, last).state is SearchState.COMPLETED
        for number, _, weights in last.starts:
            starts.setdefault(number, set()).add(weights)
        assert fingerprint(ledger, broken.id) == fingerprint(ledger, whole.id)
        assert heirs(ledger, broken) == heirs(ledger, whole)
        again = [each.number for each in ledger.individuals(broken.id) if each.attempts > 1]
        assert any(ledger.individuals(broken.id)[number].inherited_from is not None for number in again)
        assert all(len(starts[number]) == 1 for number in again)


DRIVER = """
import sys
from evolve.ledger import Ledger
from search_helpers import run
from objectives_for_tests import Inheriting
with Ledger(sys.argv[1]) as ledger:
    run(ledger, ledger.search(sys.argv[2]), Inheriting())
"""


@pytest.mark.slow
def test_kill_9_changes_nothing(ledger: Ledger, tmp_path: Path) -> None:
    how = {"search": {"generational": True}, "train": {"delay": 0.01, "epochs": 2}}
    whole = searched(ledger, tmp_path, "whole", **how)
    run(ledger, whole, Inheriting())
    broken = searched(ledger, tmp_path, "broken", **how)
    command = [sys.executable, "-c", DRIVER, f"sqlite:///{tmp_path}/ledger.db", broken.id]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*sys.path[:1], Path(__file__).parent]))}
    for target in (5, 14, 23, 31):
        driver = subprocess.Popen(command, env=environment)
        deadline = time.monotonic() + 60
        while ledger.search(broken.id).evaluated < target and time.monotonic() < deadline:
            assert driver.poll() is None
            time.sleep(0.01)
        driver.kill()
        driver.wait()
    subprocess.run(command, env=environment, check=True)
    assert fingerprint(ledger, broken.id) == fingerprint(ledger, whole.id)
    assert heirs(ledger, broken) == heirs(ledger, whole)
    assert {each.inherited_from for each in ledger.individuals(broken.id)} != {None}


# the ledger


def test_an_older_ledger_is_brought_up_to_date_with_what_it_holds(ledger_url: str) -> None:
    from alembic import command
    from alembic.config import Config

    from evolve.ledger import migrations

    engine = create_engine(ledger_url.replace("postgresql:", "postgresql+psycopg:"))
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with engine.begin() as connection:
        assert "inherited_from" not in {each["name"] for each in inspect(connection).get_columns("individuals")}
        connection.execute(
            text(
                "INSERT INTO searches (ordinal, id, name, state, reason, lease_token, last_event, created_at,"
                " evaluated, trained, failed, gpu_seconds, trial_seconds, objective, directory, data_hash,"
                " document, options, environment) VALUES (1, 'abcd1234', 'old', 'interrupted', '', 0, 0, 1.0,"
                " 1, 0, 0, 0, 0, 'o', '/', '', '{}', '{}', '{}')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO individuals (search_id, number, generation, told, state, fitness, attempts, key,"
                " metrics, genome, params, parents, operators, origins) VALUES ('abcd1234', 0, 0, 0, 'completed',"
                " 0.5, 1, 'k', '{}', '[0.5]', '{\"x\": 1}', '[]', '[\"default\"]', '{}')"
            )
        )
    engine.dispose()
    with Ledger(ledger_url) as ledger:
        old = ledger.individuals("abcd1234")[0]
        assert (old.fitness, old.params, old.inherited_from) == (0.5, {"x": 1}, None)
        with ledger.acquire("abcd1234").transaction() as tx:
            tx.propose(replace(newborn("abcd1234", 1), inherited_from=0))
            tx.propose(newborn("abcd1234", 2))
        assert [each.inherited_from for each in ledger.individuals("abcd1234")] == [None, 0, None]
        born = [e for e in ledger.events("abcd1234") if e.kind is EventKind.INDIVIDUAL_PROPOSED]
        assert [event.data["inherited_from"] for event in born] == [0, None]


# the whole line


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_through_ray_and_into_mlflow(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    sections = document(search={**INHERIT, "generations": 4, "population": 4}, train={"epochs": 2, "delay": 0.01})
    search = run_search(
        SearchSpace.from_document(sections, "test"),
        objective="objectives_for_tests:inheriting",
        workers=2,
        home=tmp_path,
    )
    assert search.state is SearchState.COMPLETED
    individuals = search.individuals()
    assert [each.inherited_from for each in individuals] == [
        fitter_parent(each, individuals) for each in individuals
    ]
    assert sum(each.inherited_from is not None for each in individuals) >= 8
    for number in kept(search.record):
        line = descent(individuals, (), number).trained
        assert json.loads(weights_file(search.record, number).read_text()) == list(line)
    bundle = search.export(tmp_path / "bundle")
    if search.best is not None and search.best.inherited_from is not None:
        assert "# Attention: its weights were inherited" in (bundle / "best.yaml").read_text()

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("synthetic")
    assert experiment is not None
    tags = [run.data.tags for run in client.search_runs([experiment.experiment_id])]
    told = Counter(each["evolve.inherited_from"] for each in tags if "evolve.inherited_from" in each)
    assert told == Counter(str(each.inherited_from) for each in individuals if each.inherited_from is not None)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_a_detector_that_inherits_weights_is_ahead_from_its_first_epoch(tmp_path: Path) -> None:
    """A real search: the child of a trained parent against its twin that starts from random weights."""
    train = {"epochs": 8, "imgsz": 64, "batch": 8, "nbs": 8, "optimizer": "AdamW", "warmup_epochs": 1}
    sections = {
        "name": "heirs",
        "model": "yolo12p",
        "weights": "none",
        "data": str(squares(tmp_path / "squares")),
        "train": train,
        "fitness": {"val/cls_loss": -1.0},  # tells two short trainings apart that detect nothing yet
        "genes": {"lr0": {"type": "float", "low": 0.001, "high": 0.004, "log": True, "default": 0.002}},
        "search": {**INHERIT, "population": 2, "generations": 2, "crossover_probability": 0.0, "rungs": None},
        "stop": {"evaluations": 3},
    }
    search = run_search(SearchSpace.from_document(sections, "test"), inline=True, home=tmp_path)
    child = search.individuals()[2]
    assert child.inherited_from in (0, 1)
    assert child.inherited_from == child.parents[0]
    with Ledger(Settings(home=tmp_path).ledger_url) as ledger:
        first = ledger.epochs(search.id, 2)[0].metrics
        requested = ledger.evaluations(search.id, 2)[0].requested
    fixed = {name: value for name, value in requested.items() if name != "lr0"}
    scratch = TrialSpec(
        "s", 0, 1, child.params, fixed, 0, str(tmp_path / "alone"), "yolo12p", "none", sections["data"]
    )
    from_scratch = first_epoch(scratch)
    for name in LOSSES:
        assert first[name] < 0.8 * from_scratch[name], name
    assert first["val/cls_loss"] < from_scratch["val/cls_loss"]

    start = weights_file(search.record, child.inherited_from)
    other = replace(scratch, settings={**fixed, "hetero": True, "attention": True, "spp": True})
    from_scratch = first_epoch(other)
    first = first_epoch(replace(other, weights=str(start)))  # mutation has changed the structure
    for name in LOSSES:
        assert first[name] < 0.9 * from_scratch[name], name

    start.unlink()
    with pytest.raises(TrialFailed, match="no such file here") as caught:
        first_epoch(replace(scratch, weights=str(start)))
    assert caught.value.failure.kind is FailureKind.INFRASTRUCTURE


LOSSES = ("train/box_loss", "train/cls_loss", "train/dfl_loss")


def first_epoch(spec: TrialSpec) -> Mapping[str, float]:
    from workers.yolo12 import YoloObjective

    training = YoloObjective().run(spec)
    try:
        return next(training).metrics
    finally:
        training.close()
