from __future__ import annotations

import sys

import pytest

from evolve.exceptions import InputError
from evolve.trial import EpochReport, FailureKind, TrialFailed, TrialResult, TrialSpec
from workers.objectives import resolve_objective
from workers.synthetic import SyntheticObjective

USER_MODULE = """
import pathlib

from evolve.trial import EpochReport, TrialResult

closed = []
number = 3

def plain(spec):
    return spec.params["x"] * 2

def several(spec):
    return {"accuracy": 0.5, "loss": 1}

def text(spec):
    return "good"

def nothing(spec):
    pass

def stream(spec):
    try:
        for value in (0.1, 0.3):
            yield {"accuracy": value}
    finally:
        closed.append(True)

def own_reports(spec):
    yield EpochReport(4, 9, {"accuracy": 0.4}, 1.0)
    return {"accuracy": 0.9}

def full(spec):
    yield {"accuracy": 0.1}
    return TrialResult({"accuracy": 0.2}, notes=("mine",))

def path_as_weights(spec):
    return TrialResult({"accuracy": 1}, weights=pathlib.Path("best.pt"))

def set_as_setting(spec):
    return TrialResult({"accuracy": 1}, effective={"x": {1, 2}})

def half_a_difference(spec):
    return TrialResult({"accuracy": 1}, differences={"x": [1]})

def text_as_metric(spec):
    return TrialResult({"accuracy": "high"})

def report_without_time(spec):
    yield EpochReport(1, 1, {"accuracy": 1}, None)

def report_without_metrics(spec):
    yield EpochReport(1, 1, {"accuracy": None}, 0.1)

class Odd:
    def run(self, spec):
        yield EpochReport(1, 1, {}, 0.0)
        return "done"

class Whole:
    def run(self, spec):
        yield EpochReport(1, 1, {}, 0.0)
        return TrialResult({"accuracy": 1.0})
"""


@pytest.fixture
def module(tmp_path, monkeypatch, request):
    name = f"user_objective_{request.node.name.translate(str.maketrans('[]-', '___'))}"
    (tmp_path / f"{name}.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    yield name
    sys.modules.pop(name, None)


def spec_of(**params) -> TrialSpec:
    return TrialSpec("s", 0, 1, params, {"epochs": 3}, 0, "")


def drain(stream) -> tuple[list[EpochReport], TrialResult]:
    reports = []
    while True:
        try:
            reports.append(next(stream))
        except StopIteration as end:
            return reports, end.value


def train(name: str) -> tuple[list[EpochReport], TrialResult]:
    return drain(resolve_objective(name).run(spec_of(x=0.25)))


def test_a_number_becomes_the_metric_fitness(module):
    reports, result = train(f"{module}:plain")
    assert reports == []
    assert result.metrics == {"fitness": 0.5}
    assert result.effective == {"x": 0.25}


def test_a_mapping_is_kept(module):
    assert train(f"{module}:several")[1].metrics == {"accuracy": 0.5, "loss": 1.0}


def test_a_generator_reports_epochs_and_its_last_metrics_count(module):
    reports, result = train(f"{module}:stream")
    assert [(report.epoch, report.epochs, report.metrics["accuracy"]) for report in reports] == [
        (1, 3, 0.1),
        (2, 3, 0.3),
    ]
    assert result.metrics == {"accuracy": 0.3}
    assert result.epochs == 2


def test_own_reports_and_a_returned_mapping_win(module):
    reports, result = train(f"{module}:own_reports")
    assert reports == [EpochReport(4, 9, {"accuracy": 0.4}, 1.0)]
    assert (result.metrics, result.epochs) == ({"accuracy": 0.9}, 4)


def test_a_returned_result_is_kept(module):
    result = train(f"{module}:full")[1]
    assert (result.metrics, result.notes, result.epochs) == ({"accuracy": 0.2}, ("mine",), 1)


def test_closing_reaches_the_users_generator(module):
    stream = resolve_objective(f"{module}:stream").run(spec_of())
    next(stream)
    stream.close()
    assert sys.modules[module].closed == [True]


def test_a_class_with_run_is_an_objective(module):
    assert train(f"{module}:Whole")[1].metrics == {"accuracy": 1.0}


def test_a_path_is_taken_for_the_weights(module):
    assert train(f"{module}:path_as_weights")[1].weights == "best.pt"


@pytest.mark.parametrize("function", ["set_as_setting", "half_a_difference", "report_without_time"])
def test_what_the_ledger_cannot_hold_fails_as_code(module, function):
    with pytest.raises(TrialFailed, match="must hold plain values, but: ") as caught:
        train(f"{module}:{function}")
    assert caught.value.failure.kind is FailureKind.CODE


@pytest.mark.parametrize("function", ["text", "nothing", "text_as_metric", "report_without_metrics", "Odd"])
def test_what_is_no_number_fails_as_code(module, function):
    with pytest.raises(TrialFailed, match="must return or yield a number") as caught:
        train(f"{module}:{function}")
    assert caught.value.failure.kind is FailureKind.CODE


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("yolo99", "must be yolo12, synthetic or package.module:function, but got 'yolo99'"),
        ("no_such_package_here:train", "no module named 'no_such_package_here'"),
        ("workers.synthetic:nothing", "has no 'nothing'"),
        ("workers.synthetic:OPTIMUM", "must be a function, but got float"),
        (":train", "package.module:function"),
    ],
)
def test_bad_names_are_one_line(name, rule):
    with pytest.raises(InputError) as caught:
        resolve_objective(name)
    assert rule in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_that_breaks_while_imported_says_why(tmp_path, monkeypatch):
    (tmp_path / "broken_user_module.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "raising_user_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"not_installed_anywhere.*install what is missing"):
        resolve_objective("broken_user_module:train")
    with pytest.raises(InputError, match="ZeroDivisionError: division by zero"):
        resolve_objective("raising_user_module:train")
    (tmp_path / "exiting_user_module.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(InputError, match="importing it failed: SystemExit: 3"):
        resolve_objective("exiting_user_module:train")
    (tmp_path / "picky_user_module.py").write_text("class Picky:\n    def __init__(self, x): ...\n")
    with pytest.raises(InputError, match="making it without arguments failed: TypeError"):
        resolve_objective("picky_user_module:Picky")


def test_built_in():
    assert isinstance(resolve_objective("synthetic"), SyntheticObjective)
