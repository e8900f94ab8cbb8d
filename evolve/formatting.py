"""Words and figures as a person reads them: the same in the terminal and in the report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from evolve.trial import FailureKind, Json, Role

if TYPE_CHECKING:
    from evolve.ledger.records import IndividualRecord, SearchRecord

MISSING = "–"  # noqa: RUF001 - an en dash stands where there is no value

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_MOST_SHARE = 10
_GENETIC = "genetic"
_OPTUNA = {"tpe": "TPE", "gp": "Gaussian process", "cmaes": "CMA-ES", "random": "random sampler"}


def clean(text: str) -> str:
    """`text` on one line and without control characters, so that a name cannot drive the terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in " ".join(text.split()))


def file_stem(text: str) -> str:
    """`text` as part of a file's name: a search may be called `../../x`, and its files must not be."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "search"


def number(value: float | None, digits: int = 4) -> str:
    """A score with a fixed count of decimals, or a dash."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def compact(value: object) -> str:
    """A parameter's value: floats to four significant digits, truth values as YAML has them."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else clean(str(value))


def duration(seconds: float | None) -> str:
    """The two largest units of a time span, e.g. `1 h 04 min`."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR:02d} h"


def metric_label(metric: str) -> str:
    """`metrics/mAP50-95(B)` as people say it: `mAP50-95`."""
    return clean(metric.replace("metrics/", "").replace("(B)", ""))


def fitness_label(weights: Mapping[str, float]) -> str:
    """A weighted sum of metrics in words: `mAP50-95`, or `0.9 mAP50-95 + 0.1 mAP50`."""
    if list(weights.values()) == [1.0]:
        return metric_label(next(iter(weights)))
    return " + ".join(f"{weight:g} {metric_label(metric)}" for metric, weight in weights.items())


def failure_label(kind: FailureKind | str) -> str:
    """A failure kind in words, e.g. `out of memory`."""
    return "code error" if kind == FailureKind.CODE else clean(str(kind)).replace("_", " ")


def role_text(individual: IndividualRecord) -> str:
    """What an individual is there for, e.g. `continues #3`; nothing for the search itself."""
    match individual.role:
        case Role.CONTINUATION:
            return f"continues #{individual.original}"
        case Role.REPEAT:
            return f"repeats #{individual.original}"
        case Role.FINAL:
            return f"final of #{individual.original}"
        case Role.PARTIAL:
            less = ", ".join(f"{key} {compact(value)}" for key, value in individual.settings.items())
            return f"partial: {less}" if less else "partial"
        case _:
            return ""


def algorithm_of(document: Mapping[str, Json]) -> str:
    """Name of the algorithm that searched, as a space has it: `genetic`, `tpe`."""
    settings = document.get("search")
    return clean(str(settings.get("algorithm", _GENETIC))) if isinstance(settings, Mapping) else _GENETIC


def algorithm_label(document: Mapping[str, Json]) -> str:
    """The same in words, e.g. `Optuna's TPE`; nothing for the genetic one."""
    name = algorithm_of(document)
    if name == _GENETIC:
        return ""
    return f"Optuna's {_OPTUNA[name]}" if name in _OPTUNA else name


def finite(value: object) -> object:
    """`value` as JSON can hold it: NaN and infinities become null, keys text, tuples lists."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def count(amount: int, noun: str) -> str:
    """`1 training`, `2 trainings`."""
    return f"{amount} {noun}" if amount == 1 else f"{amount} {noun}s"


def gain(best: float | None, default: float | None) -> float | None:
    """How far the best lies above the default configuration; None where either is unknown."""
    return None if best is None or default is None else best - default


def best_label(search: SearchRecord, metric: str) -> str:
    """What the search's best fitness is: one training's `mAP50-95`, or a mean over several."""
    answer = search.answer or {}
    several = answer.get("source") not in (None, "search") and answer.get("fresh")
    return f"mean {metric_label(metric)}" if several else metric_label(metric)


def gain_text(best: float | None, default: float | None) -> str:
    """The gain with its sign and, where it means something, in percent of the default's fitness."""
    difference = gain(best, default)
    if difference is None or default is None:
        return MISSING
    return with_share(f"{difference:+.4f}", difference, default)


def with_share(text: str, difference: float, default: float) -> str:
    """A gain as `text` has it and, where it means something, in percent of the default's fitness."""
    share = gain_share(difference, default)
    return f"{text} ({share})" if share else text


def gain_share(difference: float, default: float) -> str:
    """A gain in percent of the default's fitness; empty where the default has learnt next to nothing."""
    if default <= 0 or difference > _MOST_SHARE * default:
        return ""
    return f"{difference / default:+.1%}"


def verdict(search: SearchRecord) -> str:
    """What the search has to show for itself, in one honest sentence: its answer, if it has one."""
    if search.answer is not None and "text" in search.answer:
        return clean(str(search.answer["text"]))
    if search.best_fitness is None:
        return "no individual has been evaluated successfully"
    if search.default_fitness is None:
        return "the default configuration has no result, so there is no gain to state"
    if search.best_fitness <= search.default_fitness:
        return "no individual beat the default configuration"
    return f"{gain_text(search.best_fitness, search.default_fitness)} over the default configuration"
