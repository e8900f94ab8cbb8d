from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import time
from dataclasses import replace

import pytest
from rich.cells import cell_len

from evolve.exceptions import InputError
from evolve.overview import ancestors, births, failure_counts, generations, top
from evolve.report import write_report
from evolve.report.history import fitness_range
from evolve.report.plot import sample
from evolve.tables import search_view, searches_table
from evolve.trial import FailureKind
from sample_searches import DOCUMENT, METRIC, SampleLedger, evaluation, individual, sample_ledger, search_record

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def figures_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert found is not None

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(found.group(1), parse_constant=refuse)


@pytest.fixture
def page(tmp_path):
    return write_report(sample_ledger(120), "3f2a9c1b", tmp_path / "deep" / "report.html").read_text("utf-8")


def test_the_page_needs_nothing_else(page):
    outside = page.replace("http://www.w3.org/", "")
    body = re.sub(r"<script>.*?</script>", "", outside, flags=re.DOTALL)
    assert not re.search(r"https?:|//cdn", body)
    assert not re.search(r"<(link|img|iframe|script)[^>]*\s(src|href)=", page[:20000])
    assert "default-src 'none'" in page
    assert page.count("<!doctype html>") == 1


def test_the_figures_tell_the_search(page):
    ledger = sample_ledger(120)
    figures = figures_of(page)
    scored = [each for each in ledger.members if each.fitness is not None]
    dots, best = figures["history"]["data"][:2]
    assert dots["customdata"] == [each.number for each in scored]
    assert best["y"][-1] == pytest.approx(ledger.record.best_fitness, rel=1e-5)
    assert best["y"] == sorted(best["y"])
    failed = next(trace for trace in figures["history"]["data"] if trace["name"] == "failed")
    assert len(failed["x"]) == ledger.record.failed
    gene = figures["gene-0"]
    assert gene["layout"]["xaxis"]["type"] == "log"
    assert figures["gene-3"]["layout"]["xaxis"]["categoryarray"] == ["SGD", "AdamW"]
    assert len(figures["gene-0"]["data"][0]["x"]) == len(scored)
    momentum = figures["parallel"]["data"][0]["dimensions"][4]
    assert momentum["ticktext"][0] == "off"
    assert all(edge["x"][0] < edge["x"][-1] for edge in figures["lineage"]["data"][:-1])


def test_the_headline_is_honest(tmp_path, page):
    ledger = sample_ledger(120)
    record = ledger.record
    gain = record.best_fitness - record.default_fitness
    assert f"Individual {record.best_individual} reached mAP50-95 {record.best_fitness:.4f}" in page
    assert f"{gain:+.4f}" in page
    assert "one training with one seed" in page
    ledger.record = replace(record, best_individual=0, best_fitness=record.default_fitness)
    poor = write_report(ledger, "3f2a9c1b", tmp_path / "poor.html").read_text("utf-8")
    assert "no individual beat the default configuration" in poor


@pytest.mark.parametrize("size", [0, 1, 2])
def test_small_searches_render(tmp_path, size):
    page = write_report(sample_ledger(size), "3f2a9c1b", tmp_path / "r.html").read_text("utf-8")
    assert ("Nothing to draw yet" in page) == (size == 0)


def test_a_search_of_failures_only_renders(tmp_path):
    failed = individual(0, failure=FailureKind.DIVERGED, told=0)
    attempt = evaluation(0, failure=FailureKind.DIVERGED, failure_message="loss is NaN in epoch 2")
    ledger = SampleLedger(search_record(evaluated=1, failed=1), [failed], [attempt])
    page = write_report(ledger, "3f2a9c1b", tmp_path / "r.html").read_text("utf-8")
    assert "loss is NaN in epoch 2" in page
    assert "no individual has been evaluated successfully" in page


def test_an_objective_of_ones_own_is_named_instead_of_a_model(tmp_path):
    ledger = sample_ledger(3)
    ledger.record = replace(
        ledger.record, objective="my.module:run", document={**DOCUMENT, "model": "", "data": ""}
    )
    page = write_report(ledger, "3f2a9c1b", tmp_path / "r.html").read_text("utf-8")
    assert "<li>my.module:run, epochs 30" in page


def test_values_that_json_does_not_know_and_negative_scores(tmp_path):
    members = [individual(n, fitness=-1.0 - n, told=n, metrics={METRIC: math.nan}) for n in range(12)]
    record = search_record(evaluated=12, best_individual=0, best_fitness=-1.0, default_fitness=-1.0)
    page = write_report(SampleLedger(record, members, []), "x", tmp_path / "r.html").read_text("utf-8")
    assert figures_of(page)["history"]["data"][0]["y"][0] == -1.0


def test_hostile_text_stays_text(tmp_path):
    ledger = sample_ledger(20, name=HOSTILE)
    genes = dict(ledger.record.document["genes"])
    genes["optimizer"] = {"type": "categorical", "choices": ["SGD", HOSTILE], "default": "SGD"}
    document = {**ledger.record.document, "genes": genes, "data": HOSTILE, "fitness": HOSTILE}
    ledger.record = replace(ledger.record, document=document, reason=HOSTILE, environment={HOSTILE: HOSTILE})
    ledger.members[3] = replace(ledger.members[3], params={**ledger.members[3].params, "optimizer": HOSTILE})
    ledger.attempts.append(evaluation(3, differences={HOSTILE: [HOSTILE, 1]}, notes=(HOSTILE,)))
    page = write_report(ledger, "3f2a9c1b", tmp_path / "r.html").read_text("utf-8")
    assert '<script>alert("x")' not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page
    assert "<" not in json.dumps(figures_of(page)).replace("<br>", "").replace("<extra></extra>", "")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/r\.html: the report cannot be written"):
        write_report(sample_ledger(1), "x", tmp_path / "file" / "r.html")


def test_ten_thousand_individuals(tmp_path):
    ledger = _many(10_000)
    start = time.perf_counter()
    path = write_report(ledger, "3f2a9c1b", tmp_path / "r.html")
    assert time.perf_counter() - start < 20
    assert path.stat().st_size < 20e6
    page = path.read_text("utf-8")
    assert figures_of(page)["history"]["data"][0]["type"] == "scattergl"
    assert "Gene figures show 600 of 10,000 individuals" in page


def test_ten_thousand_individuals_on_the_terminal():
    ledger = _many(10_000)
    start = time.perf_counter()
    screen(search_view(ledger.record, ledger.members, metric=METRIC))
    assert time.perf_counter() - start < 5


def _many(size: int) -> SampleLedger:
    members = [individual(n, fitness=0.3 + (n * 7919 % size) / size / 10, told=n) for n in range(size)]
    best = max(members, key=lambda each: each.fitness)
    record = search_record(
        evaluated=size, best_individual=best.number, best_fitness=best.fitness, default_fitness=members[0].fitness
    )
    return SampleLedger(record, members, [evaluation(n) for n in range(size)])


def test_sampling_keeps_the_best_and_the_span():
    members = _many(5000).members
    shown = sample(members, 100)
    assert len(shown) == 100
    assert {each.number for each in top(members, 25)} <= {each.number for each in shown}
    assert shown[0].number < 200
    assert shown[-1].number > 4800


def test_the_axis_always_shows_the_default():
    members = [individual(n, fitness=0.4 + n / 1000) for n in range(50)]
    low, high = fitness_range(members, 0.1)
    assert low < 0.1
    assert high > 0.449


def test_generations_count_failures_and_open_ones():
    members = [
        individual(0, fitness=0.4, told=0),
        individual(1, fitness=0.6, told=2),
        individual(2, failure=FailureKind.DIVERGED, told=1),
        individual(3),
        individual(8, fitness=0.5, told=3),
    ]
    first, second = generations(members)
    assert (first.evaluated, first.failed, first.open) == (2, 1, 1)
    assert (first.best, first.mean, first.std) == (0.6, 0.5, pytest.approx(0.1))
    assert (second.best, second.best_so_far) == (0.5, 0.6)
    assert failure_counts(members) == {"diverged": 1}
    assert [each.number for each in top(members, 2)] == [1, 8]


def test_a_gene_is_traced_to_where_it_arose():
    members = [
        individual(0),
        individual(1, origins={"lr0": "sampled", "batch": "sampled"}),
        individual(8, parents=(1, 0), origins={"lr0": "inherited:1", "batch": "mutated"}),
        individual(16, parents=(8,), origins={"lr0": "inherited:8", "batch": "inherited:8"}),
    ]
    assert births(members, 16) == {"lr0": (1, "sampled"), "batch": (8, "mutated")}
    assert [each.number for each in ancestors(members, 16)] == [16, 8, 1, 0]
    assert len(ancestors(members, 16, limit=2)) == 2


def screen(renderable, width: int = 120) -> str:
    from rich.console import Console

    console = Console(width=width, record=True, file=open("/dev/null", "w"), _environ={})  # noqa: SIM115
    with console.file:
        console.print(renderable)
    return console.export_text()


def test_the_list_of_searches():
    alive = replace(sample_ledger(40).record, owner="box:42:1.5", leased=True)
    dead = search_record(id="deadbeef", name="[bold]x\x1b[31m", owner="box:43:1.5")
    lines = screen(searches_table([alive, dead], now=1500.0)).splitlines()
    assert lines[0].split() == ["ID", "NAME", "STATE", "DONE", "BEST", "GAIN", "AGE", "DRIVER"]
    assert "40/240" in lines[1]
    assert lines[1].split()[-1] == "alive"
    assert "[bold]x" in lines[2]
    assert "\x1b" not in lines[2]
    assert lines[2].split()[-3:] == ["8", "min", "dead"]


def test_the_list_fits_eighty_columns():
    text = screen(searches_table([search_record(name="戦略 " * 30, best_fitness=0.5, default_fitness=0.4)]), 80)
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    assert len(text.splitlines()) == 2
    assert "running" in text
    assert "+0.1000" in text


@pytest.mark.parametrize("width", [60, 120])
def test_one_search_at_a_glance(width):
    ledger = sample_ledger(240)
    record = replace(ledger.record, owner="box:42:1.5", leased=True)
    text = screen(search_view(record, ledger.members, metric=METRIC, now=1500.0), width)
    assert f"individual {ledger.record.best_individual}" in text
    assert "10 earlier ones are not shown" in text
    assert "out of memory" in text
    assert "alive (box:42)" in text
    assert ("mosaic" in text) == (width == 120)
    assert "FITNESS" in text
    assert "evolve best 3f2a9c1b" in text
    assert max(map(len, text.splitlines())) <= width


def test_an_empty_search_at_a_glance():
    text = screen(search_view(search_record(), [], metric=METRIC))
    assert "no individual has been evaluated" in text
    assert "evolve resume" in text


@pytest.mark.slow
@pytest.mark.parametrize(("size", "figures"), [(2, 10), (120, 13), (3000, 13)])
def test_a_browser_draws_every_figure(tmp_path, size, figures):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium here")
    page = write_report(sample_ledger(size, name=HOSTILE), "3f2a9c1b", tmp_path / "r.html")
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run([chromium, *options], capture_output=True, text=True, timeout=120, check=True)
    assert 'data-drawn="yes"' in done.stdout
    assert len(re.findall(r'class="figure [^"]*js-plotly-plot', done.stdout)) == figures
    assert "WebGL is not supported" not in re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)
