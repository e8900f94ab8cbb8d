"""The closed catalogue of training arguments that a search space may name, and its check before any training.

Everything that is not listed here is refused, so that no document can reach a path, an address or code through
an Ultralytics argument. A light module: it imports neither Ultralytics nor torch.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from evolve.exceptions import SpaceError
from evolve.space import FloatGene, Gene, IntGene, SearchSpace
from evolve.trial import Json
from workers.yolo12.architectures import MODELS

OPTIMIZERS = ("SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop", "auto")
OVERRIDDEN_BY_AUTO = ("lr0", "momentum", "warmup_bias_lr")
METRICS = (
    "metrics/precision(B)",
    "metrics/recall(B)",
    "metrics/mAP50(B)",
    "metrics/mAP50-95(B)",
    "val/box_loss",
    "val/cls_loss",
    "val/dfl_loss",
)
"""What a trial's result holds."""


@dataclass(frozen=True)
class Argument:
    """One argument.

    Attributes:
        kind: What its values are; an `int` also passes where a `float` is wanted.
        low: Smallest allowed number.
        high: Largest allowed number.
        choices: All allowed values of a `choice`.
        gene: Whether individuals of one search may differ in it.
        alias: Ultralytics' own name, where it is another one.
    """

    kind: Literal["float", "int", "bool", "choice"]
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[Json, ...] = ()
    gene: bool = True
    alias: str = ""

    def ultralytics(self, name: str) -> str:
        """What Ultralytics calls the argument that is `name` here."""
        return self.alias or name

    def problem(self, value: Json) -> str | None:
        """The rule that `value` breaks, or None."""
        match self.kind:
            case "bool":
                return None if isinstance(value, bool) else "must be true or false"
            case "choice":
                wanted = ", ".join(str(choice) for choice in self.choices)
                return None if value in self.choices else f"must be one of {wanted}"
            case "int":
                fits = isinstance(value, int) and not isinstance(value, bool)
            case "float":
                fits = isinstance(value, int | float) and not isinstance(value, bool)
        if fits and isinstance(value, int | float) and self.low <= value <= self.high:
            return None
        article = "a whole number" if self.kind == "int" else "a number"
        return f"must be {article} from {self.low:g} to {self.high:g}"


def _share(high: float = 1.0) -> Argument:
    return Argument("float", 0.0, high)


CATALOGUE: Mapping[str, Argument] = {
    # how long and how big
    "epochs": Argument("int", 1, 100_000, gene=False),
    "patience": Argument("int", 0, 100_000, gene=False),
    "batch": Argument("int", 1, 65_536),
    "imgsz": Argument("int", 32, 8192),
    "multi_scale": _share(0.9),
    "rect": Argument("bool"),
    "fraction": Argument("float", 1e-6, 1.0, gene=False),
    # optimizer and schedule
    "optimizer": Argument("choice", choices=OPTIMIZERS),
    "lr0": _share(),
    "lrf": _share(),
    "momentum": _share(0.9999),
    "weight_decay": _share(),
    "nbs": Argument("int", 1, 65_536),
    "warmup_epochs": Argument("float", 0.0, 1000.0),
    "warmup_momentum": _share(0.9999),
    "warmup_bias_lr": _share(),
    "cos_lr": Argument("bool"),
    "freeze": Argument("int", 0, 20),
    # loss
    "box": Argument("float", 0.0, 1000.0),
    "cls": Argument("float", 0.0, 1000.0),
    "dfl": Argument("float", 0.0, 1000.0),
    "cls_pw": _share(),
    # augmentation
    "hsv_h": _share(),
    "hsv_s": _share(),
    "hsv_v": _share(),
    "degrees": _share(180.0),
    "translate": _share(),
    "scale": _share(),
    "shear": _share(89.0),
    "perspective": _share(0.01),
    "flipud": _share(),
    "fliplr": _share(),
    "bgr": _share(),
    "mosaic": _share(),
    "mixup": _share(),
    "cutmix": _share(),
    "close_mosaic": Argument("int", 0, 100_000),
    # validation
    "nms_iou": Argument("float", 0.01, 1.0, alias="iou"),
    "agnostic_nms": Argument("bool", gene=False),
    "max_det": Argument("int", 1, 100_000, gene=False),
    "single_cls": Argument("bool", gene=False),
    # the machine
    "amp": Argument("choice", choices=(True, False, "bf16"), gene=False),
    "deterministic": Argument("bool", gene=False),
    "device": Argument("choice", choices=("cpu", "cuda"), gene=False),
    "workers": Argument("int", 0, 64, gene=False),
}
"""Every argument by its name in a search space."""

ELSEWHERE: Mapping[str, str] = {
    "seed": "set `seed` in the `search` section",
    "data": "set `data` at the top of the document",
    "model": "set `model` at the top of the document",
    "pretrained": "set `weights` at the top of the document",
    "time": "set `hours` in the `stop` section, or `epochs`",
    "iou": "its name is `nms_iou`",
}
"""Where something is set that is no training argument here."""


def to_ultralytics(arguments: Mapping[str, Json]) -> dict[str, Json]:
    """The same arguments by Ultralytics' names.

    Raises:
        KeyError: if one of them is not in the catalogue.
    """
    return {CATALOGUE[name].ultralytics(name): value for name, value in arguments.items()}


def advice(name: str) -> str:
    """What to write instead of a name that is not in the catalogue."""
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    near = difflib.get_close_matches(name, CATALOGUE, n=1, cutoff=0.75)
    return f"did you mean {near[0]!r}?" if near else "remove it"


def check_arguments(space: SearchSpace) -> None:
    """Refuse a space whose model, settings or genes Ultralytics could not train with.

    Raises:
        SpaceError: with one line for the first rule that is broken.
    """
    for problem in _problems(space):
        raise SpaceError(f"{space.name}: {problem}")


def _problems(space: SearchSpace) -> Iterator[str]:
    if space.model not in MODELS:
        yield f"model: must be one of {', '.join(MODELS)}, but got {space.model!r}"
    for name, value in space.train.items():
        yield from _name_problem(f"train.{name}", name)
        yield from _value_problem(f"train.{name}", CATALOGUE[name], value)
    if "epochs" not in space.train:
        yield "train.epochs: is required, but is missing; add the number of epochs that each trial trains"
    for name, gene in space.genes.items():
        yield from _name_problem(f"genes.{name}", name)
        if not CATALOGUE[name].gene:
            yield f"genes.{name}: must be the same for all individuals, but is a gene; put it under train"
        for value in _extremes(gene):
            yield from _value_problem(f"genes.{name}", CATALOGUE[name], value)
    yield from _optimizer_problems(space)
    for metric in space.fitness.weights:
        if metric not in METRICS:
            yield f"fitness: must use metrics that YOLO12 reports ({', '.join(METRICS)}), but got {metric!r}"


def _name_problem(key: str, name: str) -> Iterator[str]:
    if name not in CATALOGUE:
        yield f"{key}: must be a known training argument, but got {name!r}; {advice(name)}"


def _value_problem(key: str, argument: Argument, value: Json) -> Iterator[str]:
    if problem := argument.problem(value):
        yield f"{key}: {problem}, but got {value!r}"


def _extremes(gene: Gene) -> Iterator[Json]:
    """Values that stand for all of a gene's: every rule of the catalogue is an interval or a list."""
    if isinstance(gene, FloatGene | IntGene):
        yield from (gene.low, gene.high)
    else:
        yield from gene.options


def _optimizer_problems(space: SearchSpace) -> Iterator[str]:
    """`auto` chooses learning rate and momentum by itself, silently: their genes would be noise."""
    gene = space.genes.get("optimizer")
    possible = set(_extremes(gene)) if gene else {space.train.get("optimizer", "auto")}
    if "auto" not in possible:
        return
    for name in OVERRIDDEN_BY_AUTO:
        if name in space.genes and "auto" in space.genes[name].when.get("optimizer", ("auto",)):
            key = f"genes.{name}"
        elif name in space.train:
            key = f"train.{name}"
        else:
            continue
        yield (
            f"{key}: optimizer must not be auto, which overwrites {name}, but it is; "
            "set train.optimizer, e.g. to AdamW"
        )
