"""From the name of an objective to the thing that trains: built-in ones and a user's own function.

A user's function takes the `TrialSpec` and either returns a number or a mapping of metrics, or is a generator
that yields such a mapping (or an `EpochReport`) after every epoch. A single number is reported as the metric
`fitness`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Any, SupportsFloat, cast

from evolve.exceptions import InputError
from evolve.trial import EpochReport, FailureKind, Objective, TrialFailed, TrialResult, TrialSpec, TrialStream

BUILT_IN: Mapping[str, str] = {
    "yolo12": "workers.yolo12:YoloObjective",
    "synthetic": "workers.synthetic:SyntheticObjective",
}


def resolve_objective(name: str) -> Objective:
    """The objective of this name.

    Args:
        name: A built-in objective (`yolo12`, `synthetic`) or `package.module:function`. The module is
            imported, so the name must come from a person who may run code here. It is looked for in the current
            directory as well. The attribute may also be an `Objective`, or a class of one without arguments.

    Raises:
        InputError: if there is no such module or attribute, its import fails, or it cannot be called.
    """
    module_name, colon, attribute = BUILT_IN.get(name, name).partition(":")
    if not (colon and module_name and attribute):
        known = ", ".join(BUILT_IN)
        raise InputError(f"objective: must be {known} or package.module:function, but got {name!r}")
    found = getattr(_import(name, module_name), attribute, None)
    if found is None:
        raise InputError(f"objective: {name}: module {module_name} has no {attribute!r}; check the name")
    if inspect.isclass(found):
        found = _build(name, found)
    if name in BUILT_IN:
        return cast("Objective", found)
    function = getattr(found, "run", found)
    if not callable(function):
        raise InputError(f"objective: {name}: must be a function, but got {type(found).__name__}")
    return FunctionObjective(function, name)


def _import(name: str, module_name: str) -> Any:
    # A console script has its own folder on the path, not the user's.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(
                f"objective: {name}: no module named {error.name!r} here; run from its folder or install it"
            ) from error
        raise InputError(f"objective: {name}: importing it failed: {error}; install what is missing") from error
    except (Exception, SystemExit) as error:  # a user's module may raise anything while it is imported
        raise InputError(f"objective: {name}: importing it failed: {_summary(error)}") from error


def _build(name: str, objective: type) -> Any:
    try:
        return objective()
    except (Exception, SystemExit) as error:  # and so may a user's class while it is made
        raise InputError(f"objective: {name}: making it without arguments failed: {_summary(error)}") from error


def _summary(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".split("\n", 1)[0]


class FunctionObjective:
    """Makes an `Objective` of a user's function; what it hands over is plain data, whatever the function gave."""

    def __init__(self, function: Callable[[TrialSpec], Any], name: str) -> None:
        self._function = function
        self._name = name

    def run(self, spec: TrialSpec) -> TrialStream:
        """Call the function; see `evolve.trial.Objective.run`."""
        started = time.monotonic()
        outcome: Any = self._function(spec)
        epochs = 0
        if isinstance(outcome, Generator):
            last, epochs, outcome = yield from self._follow(outcome, spec, started)
            outcome = last if outcome is None else outcome
        seconds = time.monotonic() - started
        if isinstance(outcome, TrialResult):
            return self._result(
                replace(outcome, seconds=outcome.seconds or seconds, epochs=outcome.epochs or epochs)
            )
        return TrialResult(self._metrics(outcome), dict(spec.params), epochs=epochs, seconds=seconds)

    def _follow(
        self, stream: Generator[Any, None, Any], spec: TrialSpec, started: float
    ) -> Generator[EpochReport, None, tuple[Mapping[str, float] | None, int, Any]]:
        """Pass the reports on; return the last metrics, the number of epochs, what the stream returned."""
        asked = spec.settings.get("epochs")
        metrics: Mapping[str, float] | None = None
        epoch = 0
        try:
            while True:
                try:
                    item = next(stream)
                except StopIteration as end:
                    return metrics, epoch, end.value
                epoch += 1
                if isinstance(item, EpochReport):
                    report = self._report(item)
                else:
                    epochs = max(epoch, asked) if isinstance(asked, int) else epoch
                    report = EpochReport(epoch, epochs, self._metrics(item), time.monotonic() - started)
                metrics, epoch = report.metrics, report.epoch
                yield report
        finally:
            stream.close()

    def _report(self, report: EpochReport) -> EpochReport:
        metrics = self._metrics(report.metrics)
        try:
            return EpochReport(int(report.epoch), int(report.epochs), metrics, float(report.seconds))
        except (TypeError, ValueError) as error:
            raise self._refusal("EpochReport", error) from error

    def _result(self, result: TrialResult) -> TrialResult:
        metrics = self._metrics(result.metrics)
        try:
            return replace(
                result,
                metrics=metrics,
                effective=_plain(dict(result.effective)),
                differences={
                    str(key): _plain([asked, effective]) for key, (asked, effective) in result.differences.items()
                },
                weights=None if result.weights is None else os.fspath(result.weights),
                epochs=int(result.epochs),
                seconds=float(result.seconds),
                notes=tuple(map(str, result.notes)),
            )
        except (TypeError, ValueError) as error:
            raise self._refusal("TrialResult", error) from error

    def _refusal(self, what: str, error: Exception) -> TrialFailed:
        return TrialFailed(FailureKind.CODE, f"{self._name}: {what} must hold plain values, but: {error}")

    def _metrics(self, value: Any) -> dict[str, float]:
        items = value if isinstance(value, Mapping) else {"fitness": value}
        try:
            return {str(key): _number(item) for key, item in items.items()}
        except TypeError as error:
            raise TrialFailed(
                FailureKind.CODE,
                f"{self._name}: must return or yield a number or a mapping of metric to number, "
                f"but got {value!r:.80}",
            ) from error


def _plain(value: Any) -> Any:
    """The value as JSON gives it back."""
    return json.loads(json.dumps(value))


def _number(value: object) -> float:
    if isinstance(value, SupportsFloat):
        return float(value)
    raise TypeError(value)
