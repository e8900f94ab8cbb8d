"""How much each gene decides, in the report and in `evolve show`."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from comparison_searches import enter
from evolve.cli import app
from evolve.importance import Importance, importance
from evolve.ledger import Ledger
from evolve.report import write_report
from evolve.report.importance import MOST, deciding, importance_figure
from evolve.settings import Settings
from evolve.tables import search_view
from evolve.trial import Role
from sample_searches import GENES, METRIC, individual, sample_ledger
from test_report import HOSTILE, figures_of, screen


def test_the_report_ranks_the_genes_and_says_what_they_explain(tmp_path):
    page = write_report(sample_ledger(120), "3f2a9c1b", tmp_path / "r.html").read_text("utf-8")
    bars = figures_of(page)["importance"]["data"][0]
    found = importance(GENES, sample_ledger(120).members)
    assert bars["y"][-1] == "lr0"
    assert bars["x"] == sorted(bars["x"])
    assert len(bars["x"]) == len(GENES)
    assert f"The genes predict {found.explained:.0%}" in page
    assert page.count('data-figure="importance"') == 1


@pytest.mark.parametrize("size", [1, 10])
def test_the_report_says_when_nothing_can_be_said(tmp_path, size):
    page = write_report(sample_ledger(size), "3f2a9c1b", tmp_path / "r.html").read_text("utf-8")
    assert "Nothing can be said of how much each gene decides: 20 individuals with a fitness are needed" in page
    assert 'data-figure="importance"' not in page
    assert "importance" not in figures_of(page)


def test_finals_say_nothing_of_the_genes():
    members = sample_ledger(120).members
    finals = [replace(individual(200 + n), fitness=5.0 + n, role=Role.FINAL, told=200 + n) for n in range(9)]
    assert importance(GENES, [*members, *finals]) == importance(GENES, members)


def test_many_genes_leave_room_and_names_stay_text():
    found = Importance({f"{HOSTILE}{n}": 1 / (n + 2) for n in range(30)}, 0.5, 100)
    section, figure = deciding(found), importance_figure(found)
    assert len(figure["data"][0]["y"]) == MOST
    assert "10 genes with smaller shares are not shown" in section.said
    assert "<" not in json.dumps(figure).replace("<extra></extra>", "")
    assert deciding(Importance({}, 0.0, 3, "too few")).height == 0


def test_show_offers_importance_and_takes_no_time_for_it_unasked(monkeypatch):
    monkeypatch.setattr("evolve.importance.importance", None)
    ledger = sample_ledger(60)
    text = screen(search_view(ledger.record, ledger.members, metric=METRIC))
    assert "which genes decide: evolve show 3f2a9c1b --importance" in text
    few = sample_ledger(10)
    assert "--importance" not in screen(search_view(few.record, few.members, metric=METRIC))


@pytest.mark.parametrize("width", [60, 120])
def test_show_lists_the_genes_that_decide(width):
    ledger = sample_ledger(120)
    found = importance(GENES, ledger.members)
    text = screen(search_view(ledger.record, ledger.members, metric=METRIC, found=found), width)
    assert "What mAP50-95 depends on" in text
    lines = text.splitlines()
    first = lines[next(n for n, line in enumerate(lines) if line.startswith("GENE")) + 1]
    assert first.split()[:2] == ["lr0", f"{found.shares['lr0']:.1%}"]
    assert "--importance" not in text
    assert max(map(len, lines)) <= width


def test_show_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv("EVOLVE_HOME", str(tmp_path))
    with Ledger(Settings().ledger_url) as ledger:
        search = enter(ledger, "few", size=12)
    run = CliRunner().invoke
    assert "Nothing can be said" in run(app, ["show", search, "--importance"]).stdout
    answer = json.loads(run(app, ["show", search, "--importance", "--json"]).stdout)
    assert answer["importance"]["shares"] == {}
    assert answer["importance"]["individuals"] == 12
    assert "importance" not in json.loads(run(app, ["show", search, "--json"]).stdout)
