"""Which searches are runs of the same contender, what to call them, and whether their figures can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from evolve.fitness import DEFAULT_METRIC, Fitness
from evolve.formatting import MISSING, clean, compact, fitness_label
from evolve.ledger.records import SearchRecord
from evolve.trial import Json

_LENGTH = {"name", "stop", "finals", "search.seed", "search.generations", "search.algorithm"}
"""What makes no other contender: names, luck, and how long it goes on; the algorithm is looked at by itself."""
_MEASURES = {
    "objective": "objective",
    "model": "model",
    "weights": "weights to start from",
    "data": "data",
    "fitness": "fitness",
    "train.epochs": "epochs of a training",
    "train.imgsz": "size of pictures",
    "train.fraction": "share of the pictures",
    "search.inherit_weights": "inheritance of weights",
}
"""What must be equal for one fitness to mean the same as another."""
_DIGITS = 8
_WIDTH = 24
_NAMED = 2


def algorithm(search: SearchRecord) -> str:
    """What proposes its individuals."""
    return str(_settings(search).get("algorithm", "genetic"))


def seed(search: SearchRecord) -> int:
    """Its seed."""
    value = _settings(search).get("seed", 0)
    return value if isinstance(value, int) else 0


def has_rungs(search: SearchRecord) -> bool:
    """Whether it may stop trainings before their end, so that they cost less than others."""
    return bool(_settings(search).get("rungs"))


def entry_labels(searches: Sequence[SearchRecord]) -> list[str]:
    """Names, with the id where several have the same."""
    names = Counter(search.name for search in searches)
    return [
        clean(search.name) if names[search.name] == 1 else f"{clean(search.name)} {search.id}"
        for search in searches
    ]


def contender_labels(searches: Sequence[SearchRecord]) -> list[str]:
    """For each search the name of its contender: its algorithm, and what else tells it from the others.

    Searches that differ in nothing but their names, seeds and lengths are runs of one contender.
    """
    traits = [_traits(search) for search in searches]
    names = dict.fromkeys(name for each in traits for name in each)
    telling = [name for name in names if len({repr(each.get(name)) for each in traits}) > 1]
    labels: dict[tuple[str, ...], str] = {}
    found = []
    for search, each in zip(searches, traits, strict=True):
        key = (algorithm(search), *(repr(each.get(name)) for name in telling))
        if key not in labels:
            label = _label(algorithm(search), {name: each.get(name) for name in telling})
            labels[key] = label if label not in labels.values() else f"{label} ({search.id})"
        found.append(labels[key])
    return found


def measure(search: SearchRecord) -> tuple[str, ...]:
    """What the meaning of its fitness depends on; figures of searches with equal measures can be compared."""
    flat = _flat(search)
    return tuple(_text(name, flat.get(name)) for name in _MEASURES)


def incomparable(searches: Sequence[SearchRecord]) -> str:
    """Why the figures of these searches cannot be compared, in one line; empty if they can."""
    measures = [measure(search) for search in searches]
    differences = [
        f"{said} ({' / '.join(dict.fromkeys(each[index] for each in measures))})"
        for index, said in enumerate(_MEASURES.values())
        if len({each[index] for each in measures}) > 1
    ]
    if not differences:
        return ""
    return f"figures cannot be compared, as the searches differ in {', '.join(differences)}"


def metric(search: SearchRecord) -> str:
    """What its fitness is called."""
    return fitness_label(_fitness(search).weights)


def _fitness(search: SearchRecord) -> Fitness:
    return Fitness.parse(search.document.get("fitness", DEFAULT_METRIC))


def _settings(search: SearchRecord) -> Mapping[str, Json]:
    settings = search.document.get("search")
    return cast("Mapping[str, Json]", settings) if isinstance(settings, Mapping) else {}


def _flat(search: SearchRecord) -> dict[str, Json]:
    document = {**search.document, "objective": search.objective, "fitness": str(_fitness(search))}
    if search.data_hash:
        document["data"] = search.data_hash
    return dict(_leaves(document))


def _traits(search: SearchRecord) -> dict[str, Json]:
    """What its contender is known by, but for the algorithm."""
    return {
        name: value
        for name, value in _flat(search).items()
        if name not in _LENGTH and name.partition(".")[0] not in _LENGTH
    }


def _leaves(value: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, Json]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _leaves(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner


def _label(name: str, telling: Mapping[str, Json]) -> str:
    said = [f"{key.removeprefix('search.')} {_clip(_text(key, value))}" for key, value in telling.items()]
    more = [f"and {len(said) - _NAMED} more"] if len(said) > _NAMED else []
    return ", ".join([clean(name), *said[:_NAMED], *more])


def _clip(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _text(name: str, value: Json) -> str:
    if value is None:
        return MISSING
    if name == "data" and isinstance(value, str):
        # A hash is told from another by its beginning, a path by its end.
        return value.removeprefix("sha256:")[:_DIGITS] if "/" not in value and "." not in value else clean(value)
    return compact(value)
