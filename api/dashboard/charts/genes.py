"""Figures of genes: side by side, over the generations, and how much each matters."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, TypeAlias

from api.dashboard.charts.base import NORMAL, SMALL, Options, axis, figure, line, short, upright
from evolve.formatting import compact
from evolve.ledger.records import IndividualRecord
from evolve.report.plot import sample
from evolve.trial import Json

Gene: TypeAlias = Mapping[str, Json]

LINES = 400
DOTS = 400
_MANY_DECADES = 2
_LABEL: Options = {
    "color": "@muted",
    "fontSize": 10,
    "backgroundColor": "@veil",
    "padding": [1, 3],
    "borderRadius": 3,
}


def parallel_figure(genes: Mapping[str, Gene], individuals: Sequence[IndividualRecord], metric: str) -> Options:
    """A line for each individual over one axis for each gene, coloured by fitness.

    A line passes a gene that does not exist in an individual.
    """
    shown = sorted(sample(individuals, LINES), key=lambda each: each.fitness or 0.0)
    scores = [each.fitness or 0.0 for each in shown]
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    axes = [_parallel_axis(index, name, gene) for index, (name, gene) in enumerate(genes.items())]
    axes.append(
        {
            "dim": len(genes),
            "name": metric,
            "min": short(low),
            "max": short(high if high > low else low + 1),
            "axisLabel": _LABEL | {"formatter": "short"},
        }
    )
    rows = [[*(_placed(gene, each.params.get(name)) for name, gene in genes.items()), short(score)]
            for each, score in zip(shown, scores, strict=True)]  # fmt: skip
    return {
        "parallel": {
            "left": 34, "right": 56, "top": 42, "bottom": 22,
            "parallelAxisDefault": {
                "nameLocation": "end",
                "nameGap": 16,
                "nameTextStyle": {"color": "@ink", "fontSize": SMALL},
                "axisLine": {"lineStyle": {"color": "@faint"}},
                "axisTick": {"show": False},
                "axisLabel": _LABEL,
                "areaSelectStyle": {"borderColor": "@mean", "color": "@mean", "opacity": 0.12},
                "splitNumber": 4,
            },
        },
        "parallelAxis": axes,
        "visualMap": {
            "show": False,
            "dimension": len(genes),
            "min": short(_middle(scores)),
            "max": short(high if high > low else low + 1),
            "inRange": {"color": ["@scale-low", "@scale-high"]},
        },
        "series": [
            {
                "id": "individuals",
                "type": "parallel",
                "data": rows,
                "lineStyle": {"width": 1.2, "opacity": 0.5 if len(rows) > 60 else 0.8},  # noqa: PLR2004
                "inactiveOpacity": 0.03,
                "smooth": False,
            }
        ],
    }  # fmt: skip


def distribution_figure(
    name: str, gene: Gene, individuals: Sequence[IndividualRecord], *, best: int | None
) -> Options:
    """The values of one gene over the generations: dots and their median, or the share of each choice."""
    if gene.get("type") in ("categorical", "boolean"):
        return _shares(name, gene, individuals)
    log = bool(gene.get("log"))
    having = [each for each in sample(individuals, DOTS) if isinstance(each.params.get(name), int | float)]
    made = figure(top=10, bottom=2, left=4, right=8, name_room=False)
    made["tooltip"] = {"show": False}
    made["xAxis"] = axis(small=True, minInterval=1, splitNumber=3, min=0)
    low, high = _position(log, gene["low"]), _position(log, gene["high"])
    labels = {"formatter": "power" if log else "short", "color": "@muted", "fontSize": 10}
    steps: Options = {"interval": 1} if log and high - low > _MANY_DECADES else {"splitNumber": 3}
    made["yAxis"] = upright(small=True, min=short(low), max=short(high), axisLabel=labels) | steps
    groups: defaultdict[int, list[float]] = defaultdict(list)
    for each in having:
        groups[each.generation].append(_position(log, each.params[name]))
    middle = [(generation + 0.5, short(median(groups[generation]))) for generation in sorted(groups)]
    made["series"] = [_gene_dots(name, log, having, best), line("median", middle, "@mean", width=1.8, z=4)]
    return made


def importance_figure(shares: Mapping[str, float]) -> Options:
    """Bars, the most important gene at the top."""
    ranked = list(shares.items())[::-1]
    made = figure(top=4, bottom=2, right=48, name_room=False)
    made["tooltip"] = {"show": False}
    made["xAxis"] = axis(show=False, min=0)
    made["yAxis"] = axis(kind="category", data=[name for name, _ in ranked]) | {
        "axisLine": {"show": False},
        "axisLabel": {"color": "@ink", "fontSize": NORMAL, "width": 150, "overflow": "truncate"},
    }
    made["series"] = [
        {
            "id": "importance",
            "type": "bar",
            "data": [
                {
                    "value": short(share),
                    "label": {"show": True, "position": "right", "formatter": f"{share:.1%}", "color": "@muted"},
                }
                for _, share in ranked
            ],
            "barWidth": "62%",
            "itemStyle": {"color": "@mean", "borderRadius": 2},
            "emphasis": {"disabled": True},
        }
    ]
    return made


def _gene_dots(name: str, log: bool, having: Sequence[IndividualRecord], best: int | None) -> Options:
    ranked = sorted(having, key=lambda each: each.fitness or 0.0)
    place = {each.number: index / max(1, len(ranked) - 1) for index, each in enumerate(ranked)}
    data: list[Any] = []
    for each in ranked:
        value = [
            each.generation + 0.5 + 0.6 * ((each.number * 0.618) % 1 - 0.5),
            short(_position(log, each.params[name])),
            each.number,
        ]
        style: Options = {"color": "@dot", "opacity": short(0.12 + 0.6 * place[each.number] ** 2)}
        if each.number == best:
            data.append({"value": value, "symbol": "diamond", "symbolSize": 11, "itemStyle": {"color": "@best"}})
        else:
            data.append({"value": value, "itemStyle": style})
    return {
        "id": "values",
        "type": "scatter",
        "data": data,
        "symbolSize": 4.5,
        "emphasis": {"disabled": True},
        "z": 3,
    }


def _shares(name: str, gene: Gene, individuals: Sequence[IndividualRecord]) -> Options:
    """The share of each choice among the individuals of a generation in which the gene exists."""
    choices = _choices(gene)
    counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for each in individuals:
        if name in each.params:
            counts[each.generation][repr(each.params[name])] += 1
    made = figure(top=10, bottom=2, left=4, right=8, name_room=False)
    made["tooltip"] = {"show": False}
    generations = sorted(counts)
    made["xAxis"] = axis(kind="category", small=True, data=[str(each) for each in generations])
    made["yAxis"] = upright(small=True, min=0, max=1, splitNumber=2) | {
        "axisLabel": {"formatter": "percent", "color": "@muted", "fontSize": 10}
    }
    for index, choice in enumerate(choices):
        points = [counts[each][repr(choice)] / counts[each].total() for each in generations]
        made["series"].append(
            {
                "id": f"choice {index}",
                "name": compact(choice),
                "type": "bar",
                "stack": "choices",
                "barCategoryGap": "12%",
                "data": [short(point) for point in points],
                "itemStyle": {"color": f"@series{index % 8 + 1}"},
                "emphasis": {"disabled": True},
            }
        )
    return made


def choice_names(gene: Gene) -> list[str]:
    """The choices in the order in which `distribution_figure` colours them; none for numbers."""
    return [compact(choice) for choice in _choices(gene)] if gene.get("type") in ("categorical", "boolean") else []


def _parallel_axis(index: int, name: str, gene: Gene) -> Options:
    made: Options = {"dim": index, "name": name}
    if gene.get("type") in ("categorical", "boolean"):
        return made | {
            "type": "category",
            "data": [compact(choice) for choice in _choices(gene)],
            "axisLabel": _LABEL,
        }
    log = bool(gene.get("log"))
    made |= {"min": short(_position(log, gene["low"])), "max": short(_position(log, gene["high"]))}
    made["axisLabel"] = _LABEL | {"formatter": "power" if log else "short"}
    return made


def _placed(gene: Gene, value: Json) -> float | str | None:
    if value is None:
        return None
    if gene.get("type") in ("categorical", "boolean"):
        return compact(value)
    return short(_position(bool(gene.get("log")), value))


def _position(log: bool, value: Json) -> float:
    plain = float(value) if isinstance(value, int | float) else 0.0
    return math.log10(plain) if log and plain > 0 else plain


def _middle(scores: Sequence[float]) -> float:
    """Where the colours begin: the worst third would leave no difference among the good."""
    return sorted(scores)[len(scores) // 3] if scores else 0.0


def _choices(gene: Gene) -> list[Json]:
    choices = gene.get("choices")
    return choices if isinstance(choices, list) else [False, True]
