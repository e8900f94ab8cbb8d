from __future__ import annotations

import subprocess
import sys

import pytest

from evolve.dispatch import failure_of
from evolve.trial import EpochReport, FailureKind, TrialFailed, TrialResult, TrialSpec
from workers.synthetic import METRIC, OPTIMUM, SyntheticObjective, quality


def spec_of(params, settings=None, *, individual=0, attempt=1, seed=0) -> TrialSpec:
    return TrialSpec("s", individual, attempt, params, settings or {}, seed, "")


def drain(spec: TrialSpec) -> tuple[list[EpochReport], TrialResult]:
    reports = []
    stream = SyntheticObjective().run(spec)
    while True:
        try:
            reports.append(next(stream))
        except StopIteration as end:
            return reports, end.value


def test_the_optimum_is_one_and_nothing_else_is():
    settings = {"optimum": {"kind": "b", "n": 5, "flag": True}, "width": {"n": 10}}
    best = {"x0": OPTIMUM, "x1": OPTIMUM, "kind": "b", "n": 5, "flag": True}
    assert quality(best, settings) == 1.0
    for change in ({"x0": 0.6}, {"x1": 1.0}, {"kind": "a"}, {"n": 6}, {"flag": False}):
        assert 0.0 <= quality(best | change, settings) < 1.0


def test_closer_is_better():
    values = [quality({"x0": x, "x1": 0.5}, {}) for x in (0.0, 0.2, 0.4, 0.6, 0.7)]
    assert values == sorted(values)


def test_ruggedness_makes_local_optima():
    values = [quality({"x0": step / 100}, {"ruggedness": 1.0}) for step in range(101)]
    peaks = [1 for left, here, right in zip(values, values[1:], values[2:], strict=False) if left < here > right]
    assert len(peaks) > 2
    assert max(values) == values[70]


def test_reports_rise_to_the_result():
    reports, result = drain(spec_of({"x0": 0.5}, {"epochs": 4}))
    curve = [report.metrics[METRIC] for report in reports]
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    assert curve == sorted(curve)
    assert curve[-1] == result.metrics[METRIC] == quality({"x0": 0.5}, {})


def test_deterministic_in_params_and_seed():
    noisy = {"noise": 0.05}
    first, second = (drain(spec_of({"x0": 0.5}, noisy, seed=1))[1].metrics for _ in range(2))
    assert first == second
    assert first != drain(spec_of({"x0": 0.5}, noisy, seed=2))[1].metrics


@pytest.mark.parametrize(
    ("name", "kind"),
    [("diverge", FailureKind.DIVERGED), ("oom", FailureKind.OUT_OF_MEMORY), ("data", FailureKind.DATA)],
)
def test_typed_failures_come_at_the_given_individual(name, kind):
    settings = {"failures": {"3": name}}
    drain(spec_of({"x0": 0.5}, settings, individual=2))
    with pytest.raises(TrialFailed) as caught:
        drain(spec_of({"x0": 0.5}, settings, individual=3))
    assert caught.value.failure.kind is kind


def test_a_crash_counts_as_code():
    with pytest.raises(RuntimeError, match="injected") as caught:
        drain(spec_of({}, {"failures": {"0": "crash"}}))
    assert failure_of(caught.value).kind is FailureKind.CODE


def test_only_the_first_attempts_fail():
    settings = {"failures": {"0": "oom:2"}}
    for attempt in (1, 2):
        with pytest.raises(TrialFailed):
            drain(spec_of({"x0": 0.5}, settings, attempt=attempt))
    assert drain(spec_of({"x0": 0.5}, settings, attempt=3))[1].metrics


def test_exit_ends_the_process():
    code = (
        "from workers.synthetic import SyntheticObjective as S\n"
        "from evolve.trial import TrialSpec\n"
        "list(S().run(TrialSpec('s', 0, 1, {}, {'failures': {'0': 'exit'}}, 0, '')))\n"
        "print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
