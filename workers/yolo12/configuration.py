"""One configuration to train: from the keys of a `best.yaml` to a model, its first weights and its arguments.

Keys have Ultralytics' names or those of a search space, so that a file that `yolo train cfg=` takes is taken here,
and one that `evolve best` writes. Importing this module imports neither Ultralytics nor torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

from evolve.exceptions import InputError
from evolve.trial import Json
from workers.yolo12.architectures import MODELS
from workers.yolo12.arguments import CATALOGUE, advice
from workers.yolo12.checks import CONFLICTS, OVERRIDDEN_BY_AUTO, helps, need
from workers.yolo12.objective import FIXED

LARGEST_SEED = 2**31 - 1
OWN_NAMES: Mapping[str, str] = {argument.alias: name for name, argument in CATALOGUE.items() if argument.alias}
"""Our names of the arguments that Ultralytics calls differently."""

ADVICE: Mapping[str, str] = {
    "weights": "its name here is `pretrained`",
    "name": "use --name",
    "project": "use --output",
    "save_dir": "use --output",
    "resume": "the same command goes on with an interrupted training",
    "time": "set `epochs` instead",
    **dict.fromkeys(
        set(FIXED) - {"task", "mode", "pretrained", "resume"}, "remove it, it is the same for every training"
    ),
}
"""What to write instead of what no configuration decides."""


class Given(NamedTuple):
    """A value with the place where the user gave it.

    Attributes:
        value: The value.
        place: File and key, or the option, for messages.
    """

    value: Json
    place: str


@dataclass(frozen=True)
class Configuration:
    """What to train.

    Attributes:
        model: A name in `MODELS`.
        weights: `none`, `auto` or the path of a `.pt` file.
        data: What the user calls the data set; empty if nobody said.
        seed: Seed of the training.
        arguments: Training arguments by their names in the catalogue, all of them sound, but for the device.
        device: `cpu`, `cuda`, the number of a GPU, or empty if nobody said.
        notes: What a person should know of them.
    """

    model: str
    weights: str
    data: str
    seed: int
    arguments: Mapping[str, Json]
    device: str = ""
    notes: tuple[str, ...] = ()


def canonical(name: str) -> str:
    """Our name of an argument that may be called by Ultralytics' name."""
    return OWN_NAMES.get(name, name)


def ultralytics_names(arguments: Mapping[str, Json]) -> dict[str, Json]:
    """Arguments by Ultralytics' names, and by ours where it does not know them."""
    return {CATALOGUE[name].ultralytics(name): value for name, value in arguments.items()}


def read_configuration(given: Mapping[str, Given]) -> Configuration:
    """Check a configuration.

    Args:
        given: Values by canonical name; those that are null stand for the default.

    Raises:
        InputError: with one line for the first rule that is broken: place, rule, value, what to do.
    """
    left = {name: each for name, each in given.items() if each.value is not None}
    for key, wanted in (("task", "detect"), ("mode", "train")):
        value, place = left.pop(key, Given(wanted, key))
        if value != wanted:
            raise InputError(f"{place}: must be {wanted}, but got {value!r}; remove it")
    model, has_weights = _model(left.pop("model", None))
    weights = _weights(left.pop("pretrained", None), has_weights)
    seed, data = _seed(left.pop("seed", None)), _data(left.pop("data", None))
    device = _device(left.pop("device", None))
    for problem in _problems(left):
        raise InputError(problem)
    arguments = {name: each.value for name, each in left.items()}
    return Configuration(model, weights, data, seed, arguments, device, tuple(_idle(arguments)))


def _model(given: Given | None) -> tuple[str, bool]:
    """The model's name, and whether the way it is written asks for its published weights, as with Ultralytics."""
    if given is None:
        raise InputError(f"model: is required, but is missing; add one of {', '.join(MODELS)}")
    name, dot, suffix = str(given.value).rpartition(".")
    if not dot:
        name, suffix = suffix, "pt"
    if name not in MODELS or suffix not in ("pt", "yaml"):
        raise InputError(
            f"{given.place}: must be one of {', '.join(MODELS)}, but got {given.value!r}; "
            "own weights to start from are given by `pretrained` or --weights"
        )
    return name, suffix == "pt"


def _weights(given: Given | None, has_weights: bool) -> str:
    value = True if given is None else given.value
    if isinstance(value, bool):
        return "auto" if value and has_weights else "none"
    if isinstance(value, str) and (value in ("auto", "none") or PurePath(value).suffix == ".pt"):
        return value
    place = "pretrained" if given is None else given.place
    raise InputError(f"{place}: must be true, false, auto, none or the path of a .pt file, but got {value!r}")


def _seed(given: Given | None) -> int:
    if given is None:
        return 0
    value = given.value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_SEED:
        return value
    raise InputError(f"{given.place}: must be a whole number from 0 to {LARGEST_SEED}, but got {value!r}")


def _data(given: Given | None) -> str:
    if given is None:
        return ""
    if isinstance(given.value, str):
        return given.value
    raise InputError(f"{given.place}: must be a path or a name, but got {given.value!r}")


def _device(given: Given | None) -> str:
    if given is None:
        return ""
    value = str(given.value)
    if value in ("cpu", "cuda") or (value.isascii() and value.isdigit() and not isinstance(given.value, bool)):
        return value
    raise InputError(f"{given.place}: must be cpu, cuda or the number of one GPU, but got {given.value!r}")


def _problems(given: Mapping[str, Given]) -> Iterator[str]:
    for name, (value, place) in given.items():
        argument = CATALOGUE.get(name)
        if argument is None:
            remedy = ADVICE.get(name) or advice(name)
            yield f"{place}: must be a training argument, but {name!r} is none; {remedy}"
        elif problem := argument.problem(value):
            yield f"{place}: {problem}, but got {value!r}"
    for one, other, reason in CONFLICTS:
        if one in given and other in given:
            yield f"{given[one].place}: must not stand beside {other}, {reason}; remove one of them"
    if "optimizer" not in given or given["optimizer"].value == "auto":
        for name in OVERRIDDEN_BY_AUTO:
            if name in given:
                yield (
                    f"{given[name].place}: optimizer must not be auto, which overwrites {name}, but it is; "
                    "set optimizer, e.g. to AdamW"
                )


def _idle(arguments: Mapping[str, Json]) -> Iterator[str]:
    """Arguments that change nothing; no error, as a search's fixed settings may be idle in one individual."""
    for name, value in arguments.items():
        if value is False:
            continue  # what is switched off needs nothing
        for other, allowed in CATALOGUE[name].needs.items():
            if not helps(arguments.get(other, CATALOGUE[other].default), allowed):
                yield f"{name} {need(other, allowed)}"
