"""What a client sends to have a search run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evolve.exceptions import SpaceError
from evolve.files import read_text
from evolve.formatting import clean
from evolve.space import SearchSpace
from evolve.trial import Json
from evolve.yaml_io import MAX_BYTES

_ENDINGS = (".yaml", ".yml")


def submission(
    space: str | Path | Mapping[str, Json] | SearchSpace,
    *,
    data: str | None = None,
    name: str | None = None,
    overrides: Mapping[str, Json] | None = None,
    priority: int = 0,
    hours: float | None = None,
    gpu_hours: float | None = None,
    evaluations: int | None = None,
    objective: str | None = None,
) -> dict[str, Any]:
    """The body of a submission.

    Args:
        space: Path of a YAML file, name of a space that the service ships, a document, or a checked space.
        data: Id of a data set that is registered with the service, or `demo`.
        name: What the search is called; the space's name unless given.
        overrides: Values for keys of the space, with dots: `{"train.epochs": 3}`.
        priority: Searches of a higher one go first; -100 to 100.
        hours: Stop after so many hours.
        gpu_hours: Stop after so many hours of GPU time, over all trials.
        evaluations: Stop after so many whole trainings; one that is cut short counts by its share.
        objective: What trains; `yolo12` unless given, or `synthetic`.

    Raises:
        SpaceError: if there is no such file, or it is too long.
    """
    budget = _given({"hours": hours, "gpu_hours": gpu_hours, "evaluations": evaluations})
    rest = _given({"data": data, "name": name, "objective": objective})
    return {
        **_space(space),
        **rest,
        **({"overrides": dict(overrides)} if overrides else {}),
        **({"priority": priority} if priority else {}),
        **({"budget": budget} if budget else {}),
    }


def _space(space: str | Path | Mapping[str, Json] | SearchSpace) -> dict[str, Any]:
    if isinstance(space, SearchSpace):
        return {"space": space.document()}
    if isinstance(space, Mapping):
        return {"space": dict(space)}
    if os.path.isfile(space):
        return {"yaml": read_text(Path(space), MAX_BYTES, SpaceError)}
    name = str(space)
    if isinstance(space, Path) or os.sep in name:
        raise SpaceError(
            f"{clean(name)}: there is no such file; correct the path, or give the name of a shipped space"
        )
    stem = next((name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending)), name)
    return {"space": stem}


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
