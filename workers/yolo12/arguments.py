"""The closed catalogue of training arguments that a search space may name, and its check before any training.

Everything that is not listed here is refused, so that no document can reach a path, an address or code through
an Ultralytics argument. A light module: it imports neither Ultralytics nor torch.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from evolve.trial import Json

OPTIMIZERS = ("SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop", "auto")
OVERRIDDEN_BY_AUTO = ("lr0", "momentum", "warmup_bias_lr")


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
    "device": Argument("choice", choices=("cpu", "cuda", "cuda:0", 0), gene=False),
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
    near = difflib.get_close_matches(name, CATALOGUE, n=1)
    return f"did you mean {near[0]!r}?" if near else "remove it"
