"""Whether short trainings tell anything: counted by hand, and as a search counts it itself."""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.dashboard.sections.overview import rungs_said
from api.dashboard.sections.population import state_cell
from evolve.formatting import algorithm_label, algorithm_of, role_text
from evolve.leaders import leader_columns
from evolve.ledger import Ledger
from evolve.ledger.records import IndividualRecord
from evolve.overview import costs
from evolve.report import write_report
from evolve.report.lineage import lineage, story
from evolve.report.rungs import MOST_DOTS, judged
from evolve.rung_agreement import Agreement, Pair, Why, agreement, agreement_in, correlation, firsts
from evolve.rung_table import caveat, rung_note, rung_table, saved_text
from evolve.search.genetic import GeneticSearch
from evolve.search.rungs import CONTROL, PROBATION, Rungs, is_exempt, misleads
from evolve.space import SearchSpace
from evolve.tables import search_view, searches_table
from evolve.trial import FailureKind, Role, TrialState
from rung_searches import Halving, drive, rungs_space
from sample_searches import METRIC, SampleLedger, individual, search_record
from search_helpers import create
from simulated_trials import Trials
from spaces import space
from test_report import HOSTILE, figures_of, screen

EPOCHS = 18
few = settings(max_examples=40, deadline=None, derandomize=True)


def stopped(number: int, *rungs: float, **changes: Any) -> IndividualRecord:
    return individual(number, **_told(number, rungs, state=TrialState.STOPPED, **changes))


def whole(number: int, fitness: float, *rungs: float, **changes: Any) -> IndividualRecord:
    return individual(number, **_told(number, rungs, state=TrialState.COMPLETED, fitness=fitness, **changes))


def _told(number: int, rungs: Iterable[float], **changes: Any) -> dict[str, Any]:
    return {"told": number, "rungs": dict(zip((2.0, 6.0), rungs, strict=False)), "seconds": 60.0, **changes}


BY_HAND = [
    whole(0, 0.2, 0.1, 0.15),
    stopped(1, 0.05),
    whole(2, 0.5, 0.3, 0.4),
    stopped(3, 0.2),
    stopped(4, 0.2, 0.3, role=Role.CONTINUATION, original=3),
    whole(5, 0.4, 0.2, 0.3, role=Role.CONTINUATION, original=4),
    individual(6, told=6, rungs={2.0: 0.02}, failure=FailureKind.DIVERGED, state=TrialState.FAILED),
    whole(7, 0.19, 0.1, 0.1, role=Role.REPEAT, original=0, seed=1),
    whole(8, 0.3, 0.12, 0.2),
    individual(12),
    whole(CONTROL - 1, 0.1, 0.01, 0.05),
    whole(CONTROL, 0.6, 0.3, 0.4, role=Role.FINAL, original=2),
]
"""1 was stopped for good, 3 was continued twice, 6 failed, 12 is in training, the last but one is a control."""


def by_hand() -> Agreement:
    found = agreement(rungs_space(), BY_HAND)
    assert found is not None
    return found


def test_what_became_of_each_at_each_rung() -> None:
    low, high = by_hand().rungs
    assert (low.level, low.reached, low.stopped, low.continued, low.went_on) == (2, 7, 2, 1, 5)
    assert (high.level, high.reached, high.stopped, high.continued, high.went_on) == (6, 5, 1, 1, 4)
    assert low.pairs == (
        Pair(0, 0.1, 0.2, Why.DEFAULT),
        Pair(2, 0.3, 0.5, Why.PASSED),
        Pair(3, 0.2, 0.4, Why.PASSED),
        Pair(8, 0.12, 0.3, Why.PASSED),
        Pair(CONTROL - 1, 0.01, 0.1, Why.CONTROL),
    )
    assert low.waiting == ((1, 0.05), (6, 0.02))
    assert (low.regardless, high.waiting) == (2, ())


def test_what_was_saved() -> None:
    found = by_hand()
    assert found.individuals == 6, "the one that failed and the one in training are not counted"
    assert found.spent == pytest.approx(5 + 2 / EPOCHS)
    assert found.saved == pytest.approx(16 / EPOCHS)
    assert saved_text(found) == "6 individuals cost as much as 5.1 whole trainings: 0.9 saved (16 epochs), 15%."


def test_those_after_the_first_are_no_choice_of_the_rungs() -> None:
    members = [whole(number, number / 100, number / 100) for number in range(CONTROL + 1)]
    found = agreement(rungs_space(), members)
    assert found is not None
    kinds = {pair.number: pair.why for pair in found.rungs[0].pairs}
    assert kinds == {
        number: Why.DEFAULT
        if number == 0
        else Why.CONTROL
        if is_exempt(number)
        else Why.LATER
        if number >= PROBATION
        else Why.PASSED
        for number in kinds
    }
    assert f"the default, 1 control and {CONTROL - PROBATION} later ones" in caveat(found)
    assert "rather too low" not in caveat(found), "nobody was stopped"
    assert "rather too low" in caveat(by_hand())


@pytest.mark.parametrize(("over", "full"), [("imgsz", 640), ("fraction", 1.0)])
def test_cheap_trainings_are_not_gone_on_with(over: str, full: float) -> None:
    searched = rungs_space(train={over: full}, search={"rungs": {"over": over, "levels": 2, "factor": 2}})
    low, high = searched.rung_levels()
    members = [
        whole(0, 0.5),
        individual(1, told=1, role=Role.PARTIAL, rungs={low: 0.1}, settings={over: low}),
        individual(2, told=2, role=Role.PARTIAL, rungs={low: 0.2}, settings={over: low}),
        individual(3, told=3, role=Role.PARTIAL, original=2, rungs={low: 0.2, high: 0.3}, settings={over: high}),
        individual(4, told=4, role=Role.CONTINUATION, original=3, rungs={low: 0.2, high: 0.3}, fitness=0.4),
    ]
    found = agreement(searched, members)
    assert found is not None
    power = 2 if over == "imgsz" else 1
    cheap, dear = (low / full) ** power, (high / full) ** power
    assert found.spent == pytest.approx(1 + cheap + (cheap + dear + 1))
    assert [(each.reached, each.stopped, each.continued) for each in found.rungs] == [(2, 2, 1), (1, 1, 1)]
    assert "pixels" not in saved_text(found)
    assert role_text(members[1]).startswith(f"partial: {over} ")


def test_where_there_is_nothing_to_say() -> None:
    assert agreement(space(), BY_HAND) is None
    assert agreement(rungs_space(), []) is None
    assert agreement(rungs_space(), [whole(0, 0.5), individual(1)]) is None
    assert agreement_in(rungs_space().document(), BY_HAND) == by_hand()
    assert agreement_in({"genes": 3}, BY_HAND) is None
    assert judged(None, "mAP") is None


# correlations


def test_correlations_with_their_intervals() -> None:
    found = correlation([(1, 2), (2, 1), (3, 4), (4, 3), (5, 5), (6, 6), (7, 8), (8, 7)])
    assert found is not None
    assert found.value == pytest.approx(1 - 6 * 6 / (8 * 63))
    margin = 1.959964 * math.sqrt((1 + found.value**2 / 2) / 5)
    assert found.low == pytest.approx(math.tanh(math.atanh(found.value) - margin))
    assert found.high == pytest.approx(math.tanh(math.atanh(found.value) + margin))
    assert correlation([(1, 1), (2, 2), (3, 3)]) is None
    assert correlation([(1, value) for value in range(9)]) is None


@pytest.mark.parametrize(("amount", "low"), [(4, -0.5), (6, 0.5), (20, 0.95)])
def test_few_that_agree_perfectly_prove_little(amount: int, low: float) -> None:
    found = correlation([(value, value) for value in range(amount)])
    assert found is not None
    assert (found.value, found.high) == (1, 1)
    assert low - 0.3 < found.low < low + 0.3


@few
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=4, max_size=40))
def test_an_interval_has_its_value_within(pairs: list[tuple[float, float]]) -> None:
    found = correlation(pairs)
    if found is None:
        assert any(len(set(values)) == 1 for values in zip(*pairs, strict=True))
        return
    assert -1 <= found.low <= found.value <= found.high <= 1
    turned = correlation([(first, -second) for first, second in pairs])
    assert turned is not None
    assert turned.value == pytest.approx(-found.value)
    assert turned.low == pytest.approx(-found.high)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    chance = random.Random(0)
    rho, within = 0.6, 0
    true = 6 / math.pi * math.asin(rho / 2)  # Spearman's, of normal values with this Pearson's
    for _ in range(400):
        pairs = []
        for _ in range(15):
            x = chance.gauss(0, 1)
            pairs.append((x, rho * x + math.sqrt(1 - rho**2) * chance.gauss(0, 1)))
        found = correlation(pairs)
        assert found is not None
        within += found.low <= true <= found.high
    assert 0.91 < within / 400 < 0.99


# as a search counts


@pytest.mark.parametrize("over", ["epochs", "imgsz"])
@pytest.mark.parametrize("tells", [True, False])
def test_a_search_and_its_reader_agree(over: str, tells: bool) -> None:
    searched = space(
        train={"epochs": 27}, search={"generations": 8, "rungs": {"over": over, "levels": 2, "factor": 3}}
    )
    chance = random.Random(1)
    luck = {number: chance.random() for number in range(200)}

    def curve(proposal: Any, done: float) -> float:
        early = proposal.genome[0] if tells else luck[proposal.number]
        return early if done < searched.full_training() else proposal.genome[0]

    search = GeneticSearch(searched)
    trials = Trials(searched, search, curve, slots=3).run(60)
    members = _records(trials)
    found = agreement(searched, members)
    assert found is not None
    rungs: Rungs = search._rungs
    for place, each in enumerate(found.rungs):
        assert {(pair.number, (pair.value, pair.fitness)) for pair in each.pairs} == set(rungs._both[place].items())
        assert each.trusted == rungs._trusted[place]
        assert each.trusted is not misleads([(pair.value, pair.fitness) for pair in each.pairs])
        assert each.reached == len(each.pairs) + len(each.waiting)
        assert each.went_on + each.stopped == each.reached
    assert firsts(members) == {each.number: rungs.first(each.number) for each in members}


def _records(trials: Trials) -> list[IndividualRecord]:
    by_number = {outcome.proposal.number: (told, outcome) for told, outcome in enumerate(trials.outcomes)}
    found = []
    for each in trials.proposals:
        told, outcome = by_number[each.number]
        changes = {"role": each.role, "original": each.original, "settings": each.settings, "told": told}
        found.append(individual(each.number, fitness=outcome.fitness, rungs=outcome.rungs, **changes))
    return found


def test_what_is_spent_is_what_the_books_say(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        search = create(ledger, rungs_space(), tmp_path)
        drive(ledger, search, Halving({1: (2,), 3: (6,), 5: (2, 6), 7: (2,)}, patience=10))
        found = agreement(rungs_space(), ledger.individuals(search.id))
        epochs = sum(len(ledger.epochs(search.id, each.number)) for each in ledger.individuals(search.id))
    assert found is not None
    assert found.spent * EPOCHS == pytest.approx(epochs)


# what a person sees


def _ledger(members: list[IndividualRecord], searched: SearchSpace, **changes: Any) -> SampleLedger:
    record = search_record(
        document=searched.document(), evaluated=len(members), best_individual=2, best_fitness=0.5,
        default_fitness=0.2, **changes,
    )  # fmt: skip
    return SampleLedger(record, members, [])


def test_the_report_has_a_section_with_a_figure_for_each_rung(tmp_path: Path) -> None:
    page = write_report(_ledger(BY_HAND, rungs_space()), "x", tmp_path / "r.html").read_text("utf-8")
    assert "<h2>Rungs</h2>" in page
    assert "0.9 saved (16 epochs)" in page
    low, high = (figures_of(page)[f"rung-{index}"] for index in (0, 1))
    assert {trace["name"] for trace in low["data"]} == {"let pass", "controls", "default", "no whole training"}
    assert next(trace for trace in low["data"] if trace["name"] == "controls")["customdata"] == [CONTROL - 1]
    assert "yaxis2" in low["layout"]
    assert "yaxis2" not in high["layout"]
    assert page.count('class="figure rung"') == 2
    stays = next(trace for trace in figures_of(page)["history"]["data"] if trace["name"] == "stopped")
    assert stays["text"] == ["individual 1: stopped", "individual 3: stopped", "individual 4: continues #3"]


def test_the_report_has_none_without_rungs(tmp_path: Path) -> None:
    members = [whole(0, 0.2), whole(1, 0.3)]
    page = write_report(_ledger(members, space()), "x", tmp_path / "r.html").read_text("utf-8")
    assert "<h2>Rungs</h2>" not in page
    assert "rung-0" not in figures_of(page)
    assert "triangle" not in page.partition("<script>")[0]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_show_has_a_small_table(width: int) -> None:
    ledger = _ledger(BY_HAND, rungs_space())
    text = screen(search_view(ledger.record, ledger.members, metric=METRIC, now=1500.0), width)
    assert max(map(len, text.splitlines())) <= width
    assert "epoch 2" in text
    assert ("1.00 (0.13 to 1.00)" in text) == (width > 60)
    assert ("PER HOUR" in text) == (width > 60)
    assert re.search(r"\n +2 +0.5000 ", text)
    assert "Rungs" not in screen(search_view(search_record(), [whole(0, 0.1)], metric=METRIC))


def test_a_rung_that_misleads_is_called_so() -> None:
    members = [whole(number, number / 100, 0.5 - number / 100, number / 100) for number in range(14)]
    found = agreement(rungs_space(), members)
    assert found is not None
    assert [each.trusted for each in found.rungs] == [False, True]
    note = rung_note(found)
    assert "epoch 2: -1.00" in note
    assert note.endswith("trusted.")
    assert "left out" in screen(rung_table(found))
    assert rungs_said(_ledger(members, rungs_space()).record, members) == note
    assert rungs_said(search_record(), members[:0]) == ""


def test_the_findings_survive_json() -> None:
    document = json.loads(json.dumps(by_hand().document(), allow_nan=False))
    assert document["rungs"][0]["whole_trainings"] == 5
    assert document["rungs"][0]["correlation"]["value"] == pytest.approx(1)
    assert document["saved"] == pytest.approx(16 / EPOCHS)


def test_a_column_says_who_is_no_individual_of_the_search() -> None:
    columns = leader_columns(BY_HAND[:6:5], 0.2, costs(BY_HAND), "fitness")
    assert columns["role"] == ["", "continues #4"]
    assert columns["took"] == ["1 min 00 s", "3 min 00 s"], "with the trainings that were gone on with"
    assert columns["per hour"] == ["12", "8"]
    assert "role" not in leader_columns(BY_HAND[:1], 0.2, {}, "fitness")
    assert "took" not in leader_columns(BY_HAND[:1], 0.2, {}, "fitness")
    assert [role_text(each) for each in BY_HAND[7:9]] == ["repeats #0", ""]
    assert role_text(BY_HAND[-1]) == "final of #2"
    assert state_cell(BY_HAND[4]) == {"text": "stopped", "mark": "stopped", "under": "continues #3"}
    assert state_cell(BY_HAND[6]) == {"text": "diverged", "mark": "failed"}
    assert story(BY_HAND[4], "mAP")[2] == "continues #3"
    squares = lineage([BY_HAND[5], *BY_HAND[3:5]], "mAP")["data"][-1]["marker"]["symbol"]
    assert squares == ["square", "circle", "square"]
    assert leader_columns([whole(0, -0.5)], None, {0: 60.0}, "fitness")["per hour"] == ["–"]  # noqa: RUF001


def test_the_algorithm_is_named_where_it_is_another_one(tmp_path: Path) -> None:
    searched = _other("cmaes")
    other = search_record(id="deadbeef", document=searched.document())
    assert (algorithm_of(other.document), algorithm_label(other.document)) == ("cmaes", "Optuna's CMA-ES")
    assert algorithm_label(search_record().document) == algorithm_label({"search": HOSTILE}) == ""
    assert algorithm_label({"search": {"algorithm": "x\x1b[31m"}}) == "x\N{REPLACEMENT CHARACTER}[31m"
    lines = screen(searches_table([search_record(), other], now=1500.0), 80).splitlines()
    assert [line.split()[-1] for line in lines] == ["BY", "genetic", "cmaes"]
    assert "BY" not in screen(searches_table([search_record()], now=1500.0))
    assert "Optuna's CMA-ES" in screen(search_view(other, [], metric=METRIC))
    ledger = SampleLedger(other, [whole(0, 0.2)], [])
    page = write_report(ledger, "x", tmp_path / "r.html").read_text("utf-8")
    assert "searched by Optuna&#39;s CMA-ES" in page


def _other(algorithm: str) -> SearchSpace:
    document = space().document()
    return SearchSpace.from_document({**document, "search": {"algorithm": algorithm}}, "test")


def test_ten_thousand_take_no_time() -> None:
    chance = random.Random(0)
    members = []
    for number in range(10_000):
        value = chance.random()
        kind = stopped(number, value) if number % 3 else whole(number, value + chance.random() / 5, value, value)
        members.append(replace(kind, generation=number // 8))
    begun = time.perf_counter()
    found = agreement(rungs_space(), members)
    section = judged(found, HOSTILE)
    assert time.perf_counter() - begun < 2
    assert section is not None
    assert all(len(trace["x"]) <= MOST_DOTS for each in section.figures.values() for trace in each["data"])
    text = json.dumps(section.figures).replace("<br>", "").replace("<extra>", "").replace("</extra>", "")
    assert "<" not in text
