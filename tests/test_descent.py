"""What a person is told of weights that were inherited."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from evolve.best import best_of, best_yaml
from evolve.descent import Descent, descent, descent_notes, inheritance_notes
from evolve.frame import individuals_frame
from evolve.ledger import IndividualRecord, Ledger, SearchRecord
from evolve.report.content import content_of
from evolve.tables import search_view
from evolve.tracking.names import individuals_table, outcome_tags
from evolve.trial import TrialState
from objectives_for_tests import Inheriting
from sample_searches import SampleLedger, evaluation, individual, search_record
from search_helpers import create, run
from spaces import METRIC, space


def family() -> list[IndividualRecord]:
    """0 and 1 are roots; 2 starts from 1, 3 is its twin, 4 starts from 2, and 5 from the weights of the search."""
    done = {"state": TrialState.COMPLETED}
    return [
        individual(0, fitness=0.1, told=0, **done),
        individual(1, fitness=0.2, told=1, **done),
        individual(2, fitness=0.3, told=2, parents=(0, 1), inherited_from=1, **done),
        individual(3, fitness=0.3, told=3, parents=(1, 0), inherited_from=1, reused_from=2, **done),
        individual(4, fitness=0.4, told=4, parents=(3, 0), inherited_from=2, **done),
        individual(5, fitness=0.2, told=5, parents=(), **done),
    ]


def family_attempts() -> list[Any]:
    lost = evaluation(2, state=TrialState.INTERRUPTED, epochs_trained=7)
    return [
        *(evaluation(number, epochs_trained=10 + number) for number in (0, 1, 4, 5)),
        lost,
        evaluation(2, attempt=2, epochs_trained=12),
    ]


class Watched(SampleLedger):
    """A ledger that notes whom it was asked for."""

    def __init__(self, individuals: list[IndividualRecord], attempts: list[Any]) -> None:
        super().__init__(search_record(), individuals, attempts)
        self.asked: list[object] = []

    def individuals(self, search_id: str, *, numbers: Any = None) -> list[IndividualRecord]:
        self.asked.append(numbers)
        return super().individuals(search_id, numbers=numbers)

    def evaluations(self, search_id: str, individual: int | None = None) -> list[Any]:
        self.asked.append(individual)
        return super().evaluations(search_id, individual)


@pytest.mark.parametrize("number", range(6))
def test_only_the_line_is_read(number: int) -> None:
    ledger = Watched(family(), family_attempts())
    child = family()[number]
    notes = inheritance_notes(ledger, child)
    assert notes == descent_notes(descent(family(), family_attempts(), number))
    assert None not in ledger.asked
    assert (5 in ledger.asked, bool(notes)) == (False, child.inherited_from is not None)


def test_a_line_that_is_broken_or_bites_its_tail_ends() -> None:
    turning = [individual(number, inherited_from=(number + 1) % 3) for number in range(3)]
    for members in (turning, turning[:2]):
        ledger = Watched(members, [])
        assert inheritance_notes(ledger, members[0]) == descent_notes(descent(members, [], 0))


@pytest.mark.parametrize(
    ("number", "line", "epochs"),
    [(0, (0,), 10), (2, (1, 2), 23), (3, (1, 2), 23), (4, (1, 2, 4), 37), (5, (5,), 15)],
)
def test_descent_names_the_line_and_its_epochs(number: int, line: tuple[int, ...], epochs: int) -> None:
    assert descent(family(), family_attempts(), number) == Descent(line, epochs)


def test_only_inherited_weights_need_a_note() -> None:
    assert descent_notes(Descent((5,), 15)) == []
    where, why = descent_notes(Descent((1, 2, 4), 37))
    assert "through 2 generations of training" in where
    assert "individuals 1 -> 2 -> 4, 37 epochs in all" in where
    assert "do not reproduce it" in why
    long = descent_notes(Descent(tuple(range(300)), 0))[0]
    assert "0 -> 1 -> 2 -> ... -> 291 " in long
    assert "epochs" not in long
    assert len(long) < 300


def test_everyone_who_looks_is_told() -> None:
    individuals, attempts = family(), family_attempts()
    frame = individuals_frame(individuals, attempts)
    assert str(frame["inherited_from"].dtype) == "Int64"
    assert frame["inherited_from"].tolist()[1:5:3] == [frame["inherited_from"].tolist()[1], 2]
    assert frame["inherited_from"].isna().tolist() == [True, True, False, False, False, True]

    rows = individuals_table(individuals).splitlines()
    assert rows[0].startswith(
        "individual,generation,role,seed,state,fitness,failure,parents,inherited_from,operators"
    )
    assert rows[5].startswith("4,0,search,,completed,0.4,,3 0,2,")
    assert outcome_tags(individuals[4], None)["evolve.inherited_from"] == "2"
    assert "evolve.inherited_from" not in outcome_tags(individuals[0], None)

    search = search_record(best_individual=4, best_fitness=0.4, default_fitness=0.1, evaluated=6, trained=5)
    content = content_of(search, individuals, attempts)
    assert any("individuals 1 -> 2 -> 4, 37 epochs in all" in line for line in content.within)
    stories = [trace["hovertext"] for trace in content.figures["lineage"]["data"] if "hovertext" in trace]
    assert "started from the weights of #2" in stories[0][0]

    shown = text_of(search, individuals)
    assert "individuals 1 -> 2 -> 4" in shown
    assert "WEIGHTS OF" in shown
    assert "#2" in shown

    plain = [replace(each, inherited_from=None) for each in individuals]
    assert content_of(search, plain, attempts).within == content.within[:-2]
    assert "WEIGHTS OF" not in text_of(search, plain)


def text_of(search: SearchRecord, individuals: list[IndividualRecord]) -> str:
    console = Console(width=120, file=StringIO())
    console.print(search_view(search, individuals, metric=METRIC))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_best_configuration_says_that_it_is_not_all(tmp_path: Path) -> None:
    inherits = space(train={"epochs": 3}, search={"inherit_weights": True})
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        search = create(ledger, inherits, tmp_path)
        run(ledger, search, Inheriting())
        record = ledger.search(search.id)
        best, decided = best_of(ledger, record)
        notes = inheritance_notes(ledger, best)
        assert inheritance_notes(ledger, ledger.individuals(search.id)[0]) == []
    line = json.loads(Path(decided.weights or "").read_text())
    assert len(line) > 1
    written = best_yaml(record, best, decided, inherits, notes=notes)
    assert f"# Attention: its weights were inherited through {len(line) - 1} generation" in written
    assert f"{' -> '.join(map(str, line))}, {3 * len(line)} epochs in all" in written
