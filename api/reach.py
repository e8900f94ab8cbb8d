"""What a submitted document can reach: a closed list, and nothing else.

A search space that somebody sends over the network must not become a path that is opened, an address that is
fetched, or a name that is imported. So `data` is the id of a data set that an admin has registered, `weights` is
none or what is published for the model, the objective is one of two, and each of these knows its own settings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from api.schemas.submissions import Submission, is_identifier
from evolve.exceptions import InputError, NotFound, SpaceError
from evolve.fitness import DEFAULT_METRIC
from evolve.formatting import clean
from evolve.space import SearchSpace, load_space, override, shipped_spaces
from evolve.space.validation import show
from evolve.trial import Json
from evolve.warmstart import beginning_with, from_search
from evolve.yaml_io import parse_yaml

if TYPE_CHECKING:
    from evolve.ledger import Ledger

DEMO = "demo"
"""The data set that is built in."""
SYNTHETIC = "synthetic"

_MOST_LISTED = 20


@dataclass(frozen=True)
class Reached:
    """A document of which everything that it names exists and is allowed.

    Attributes:
        space: The search space; its `data` is what the driver opens.
        data_id: What the submission calls its data set; empty for none.
        data_hash: Content of the data set when it was registered; empty where that is not known yet.
        notes: What came of the searches that it begins with.
    """

    space: SearchSpace
    data_id: str
    data_hash: str
    notes: tuple[str, ...] = ()


def reach(ledger: Ledger, body: Submission) -> Reached:
    """Check a submission whole.

    Raises:
        InputError: with one line for the first rule that is broken.
    """
    document, source = _document(body)
    document = override(document, {**body.overrides, **_budget(body)}, source)
    if body.objective == SYNTHETIC:
        document.update(data="", model="", weights="none")
        space = SearchSpace.from_document(document, source)
        _check_synthetic(space)
        return _warmed(ledger, body, Reached(space, "", ""))
    data_id, path, data_hash = _data(ledger, body.data or document.get("data"))
    document.update(data=path, weights=_weights(document.get("model"), document.get("weights", "auto")))
    space = SearchSpace.from_document(document, source)
    from evolve.compose import check_objective

    check_objective(space, body.objective)
    return _warmed(ledger, body, Reached(space, data_id, data_hash))


def _warmed(ledger: Ledger, body: Submission, reached: Reached) -> Reached:
    """With what the searches of `warm_start` found; any key may read every search, so whoever submits may, too."""
    if not body.warm_start:
        return reached
    try:
        sources = [from_search(ref, ledger) for ref in body.warm_start]
    except NotFound as error:
        raise InputError(f"warm_start: {clean(str(error))}") from None
    space, notes = beginning_with(reached.space, sources)
    return replace(reached, space=space, notes=notes)


def shipped(name: str) -> Mapping[str, Json]:
    """The document of a space that is shipped; not to be changed.

    Raises:
        NotFound: if none has this name.
    """
    known = shipped_spaces()
    if name not in known:
        raise NotFound(f"space {show(name)}: must be one of {', '.join(known)}; or send a document of your own")
    return _shipped(name)


@cache
def _shipped(name: str) -> Mapping[str, Json]:
    # checked once, as reading YAML takes longer than all the rest of a submission
    return load_space(name).document()


def _document(body: Submission) -> tuple[Mapping[str, Json], str]:
    if body.yaml is not None:
        return parse_yaml(body.yaml, "yaml", error=SpaceError), "yaml"
    if isinstance(body.space, str):
        name = body.space.removesuffix(".yaml")
        try:
            return shipped(name), name
        except NotFound as error:
            raise SpaceError(str(error)) from None
    return body.space or {}, "space"


def _budget(body: Submission) -> dict[str, Json]:
    if body.budget is None:
        return {}
    return {f"stop.{key}": value for key, value in body.budget.model_dump().items() if value is not None}


def _data(ledger: Ledger, ref: Json) -> tuple[str, str, str]:
    """Id, place and content of the data set that is meant."""
    if ref == DEMO:
        return DEMO, DEMO, ""
    if isinstance(ref, str) and is_identifier(ref):
        try:
            found = ledger.registry.dataset(ref)
        except NotFound:
            pass
        else:
            return found.id, found.path, found.content_hash
    known = [DEMO, *(each.id for each in ledger.registry.datasets())]
    listed = ", ".join(known[:_MOST_LISTED]) + (", ..." if len(known) > _MOST_LISTED else "")
    raise InputError(
        f"data: must be the id of a registered data set, but got {show(ref)}; registered are {listed}, "
        "and an admin registers more"
    )


def _weights(model: Json, weights: Json) -> Json:
    """`none` or `auto`, which stands for the weights that are published for the model."""
    if weights in ("none", "auto"):
        return weights
    if isinstance(model, str) and model and weights in (model, f"{model}.pt"):
        return "auto"
    raise InputError(
        f"weights: must be none, auto or the name of the model, but got {show(weights)}; "
        "paths and addresses are not taken from a submission"
    )


_INJECTED = ("diverge", "oom", "data", "crash")
"""Failures that harm nothing but the trial."""


def _check_synthetic(space: SearchSpace) -> None:
    for key, value in space.train.items():  # settings of other objectives mean nothing to it
        if key in _SYNTHETIC and (problem := _synthetic_problem(key, value)):
            raise InputError(f"train.{key}: {problem}, but got {show(value)}")
    for key, metrics in (("fitness", space.fitness.weights), ("objectives", space.objectives)):
        for metric in metrics:
            if metric != DEFAULT_METRIC:
                raise InputError(
                    f"{key}: the objective {SYNTHETIC} reports {DEFAULT_METRIC} only, but got {show(metric)}"
                )


_SYNTHETIC: Mapping[str, tuple[float, float]] = {
    "epochs": (1, 1000),
    "delay": (0, 10),
    "noise": (0, 1),
    "ruggedness": (0, 10),
    "optimum": (-math.inf, math.inf),
    "width": (1e-9, 1e9),
    "failures": (0, 0),
}
"""Settings of the synthetic objective, and between which numbers each lies."""


def _synthetic_problem(key: str, value: Any) -> str | None:
    low, high = _SYNTHETIC[key]
    if key == "failures":
        fits = isinstance(value, dict) and all(_is_injected(each) for each in value.values())
        return None if fits else f"must map numbers of individuals to {', '.join(_INJECTED)} (as in oom:2)"
    if key == "optimum":
        return None if isinstance(value, dict) else "must map genes to their best values"
    if key == "width":
        fits = isinstance(value, dict) and all(_is_number(each, low, high) for each in value.values())
        return None if fits else f"must map genes to numbers from {low:g} to {high:g}"
    if key == "epochs" and not isinstance(value, int):
        return "must be a whole number"
    return None if _is_number(value, low, high) else f"must be a number from {low:g} to {high:g}"


def _is_injected(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(rf"({'|'.join(_INJECTED)})(:\d{{1,3}})?", value) is not None


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
