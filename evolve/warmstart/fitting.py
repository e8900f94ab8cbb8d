"""From the values of a source to configurations of this space."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evolve.codec import Codec
from evolve.exceptions import InputError
from evolve.formatting import clean, count
from evolve.space import BooleanGene, CategoricalGene, FloatGene, Gene, IntGene, Known, SearchSpace
from evolve.space.genes import same
from evolve.space.validation import Scalar
from evolve.trial import Json
from evolve.warmstart.choosing import choose
from evolve.warmstart.source import LONGEST_LABEL, Row, Source, listed, translation

_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_CLIPPED, _ROUNDED, _REFUSED = "clipped", "rounded", "not allowed"
_MENDED, _INFEASIBLE, _EMPTY = "mended", "infeasible", "empty"
_WORDS = {
    _CLIPPED: ("value", "clipped"),
    _ROUNDED: ("value", "rounded"),
    _REFUSED: ("value", "not allowed and left at the default"),
    _MENDED: ("configuration", "moved to keep to the constraints"),
    _INFEASIBLE: ("configuration", "dropped for breaking a constraint"),
    _EMPTY: ("configuration", "dropped for having none of the genes"),
}


@dataclass(frozen=True)
class Fitted:
    """What of a source is used.

    Attributes:
        known: Configurations of this space, all different where their sources are the same.
        note: A line for a person who wants to know what came of the source.
    """

    known: tuple[Known, ...]
    note: str


class _Changes(Counter[str]):
    """How often something had to be done for a source.

    Attributes:
        example: The first value that had no counterpart.
    """

    example = ""


def fit(space: SearchSpace, source: Source, most: int) -> Fitted:
    """Put configurations of a source into a space.

    Args:
        space: The space.
        source: The source.
        most: How many are taken; they are chosen before they are fitted, as fitting takes the time.

    Raises:
        InputError: if nothing of the source is of use here.
    """
    names = translation(space, source.names)
    title = clean(source.title)
    if not names:
        raise InputError(
            f"{title}: must have a gene in common with the space, but has none: "
            f"its {source.noun} are {listed(source.names) or 'none'}, the genes of the space "
            f"{listed(list(space.genes))}; give a source of the same genes"
        )
    changes = _Changes()
    rows = choose(source.rows, most)
    known = _merged(source.title, _fitted(space, rows, changes))
    if not known:
        raise InputError(
            f"{title}: must hold a configuration that this space allows, but holds none: "
            f"{', '.join(_told(changes))}{changes.example and f' ({changes.example})'}; "
            "give another source, or widen the space"
        )
    amount = count(len(known), "configuration")
    if len(rows) < len(source.rows):
        amount = f"{len(known)} of {len(source.rows)} configurations, the best and an even spread of the rest"
    remarks = [amount, f"{len(names)} of {len(space.genes)} genes in common", *_told(changes), *source.remarks]
    dropped = [name for name in source.names if name not in names and name not in source.silent]
    if dropped:
        remarks.append(f"{source.noun} {listed(dropped)} dropped")
    return Fitted(known, f"{title}: {', '.join(remarks)}")


def _fitted(space: SearchSpace, rows: Sequence[Row], changes: _Changes) -> Iterable[tuple[str, str, Known]]:
    """The rows that can be used, each with where it is from and a key of its training."""
    codec = Codec(space)
    every = translation(space, list(dict.fromkeys(name for row in rows for name in row.values)))
    for row in rows:
        values = _values(space, row, every, changes)
        if not values:
            changes[_EMPTY] += 1
            continue
        genome = codec.canonical(codec.encode(values))
        mended = codec.mend(genome)
        if mended is None:
            changes[_INFEASIBLE] += 1
            continue
        changes[_MENDED] += mended != genome
        params = codec.decode(mended)
        genes = {name: params[name] for name in values if name in params}
        yield row.source, codec.key(params), Known.model_validate({"genes": genes, "fitness": row.fitness})


def _values(space: SearchSpace, row: Row, names: dict[str, str], changes: _Changes) -> dict[str, Scalar]:
    values: dict[str, Scalar] = {}
    for name, value in row.values.items():
        if name not in names or value is None:
            continue
        fitted, change = fit_value(space.genes[names[name]], value)
        if change:
            changes[change] += 1
        if fitted is None:
            changes.example = changes.example or f"{names[name]} {space.genes[names[name]].problem(value)}"
        else:
            values[names[name]] = fitted
    return values


def _merged(title: str, rows: Iterable[tuple[str, str, Known]]) -> tuple[Known, ...]:
    """Equal trainings of one source become one, with the mean of their fitness; the best come first."""
    together: dict[tuple[str, str], list[Known]] = {}
    for inner, key, each in rows:
        together.setdefault((inner, key), []).append(each)
    merged = []
    for (inner, _), alike in together.items():
        scores = [each.fitness for each in alike if each.fitness is not None]
        fitness = sum(score / len(scores) for score in scores) if scores else None
        label = clean(f"{title}: {inner}" if inner else title)[:LONGEST_LABEL]
        merged.append(alike[0].model_copy(update={"fitness": fitness, "source": label}))
    return tuple(choose(merged, len(merged)))


def _told(changes: Counter[str]) -> list[str]:
    return [f"{count(changes[kind], noun)} {what}" for kind, (noun, what) in _WORDS.items() if changes[kind]]


def fit_value(gene: Gene, value: Json) -> tuple[Scalar | None, str]:
    """The value of a gene that is nearest to one of a source, and what had to be done for it.

    Text counts as the number, or the choice, that it stands for: tables know nothing else.

    Returns:
        None for a value that has no counterpart.
    """
    if isinstance(gene, FloatGene | IntGene):
        return _fit_number(gene, value)
    found = next((option for option in gene.options if _is(gene, option, value)), None)
    return found, "" if found is not None else _REFUSED


def _fit_number(gene: FloatGene | IntGene, value: Json) -> tuple[Scalar | None, str]:
    found = number(value) if isinstance(value, str) else value
    if found is None or isinstance(found, bool) or not isinstance(found, int | float):
        return None, _REFUSED
    inside = min(max(found, gene.low), gene.high)
    change = _CLIPPED if inside != found else ""
    if isinstance(gene, FloatGene):
        return float(inside), change
    return round(inside), change or (_ROUNDED if inside != round(inside) else "")


def _is(gene: CategoricalGene | BooleanGene, option: Scalar, value: Json) -> bool:
    """Whether a value of a source stands for one of a gene's."""
    if gene.problem(value) is None:
        return same(value, option)
    if isinstance(option, bool):
        return str(value).lower() in (("true", "1", "1.0") if option else ("false", "0", "0.0"))
    if not isinstance(value, str):
        return False
    if isinstance(option, str):
        return value == f"'{option}"  # as `evolve show --csv` disarms what looks like a formula
    return number(value) == option


def number(text: str) -> float | None:
    """The finite number that a text stands for."""
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None
