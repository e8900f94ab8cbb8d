"""The training arguments that a search space may set, under the names it uses, with their allowed values.

A closed list: whatever could reach a file, a network or code (`project`, `resume`, `tracker`, ...) is not in it.
Importing this module imports neither Ultralytics nor torch.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from evolve.trial import Json
from workers.yolo12.recipe import BOX_LOSSES, GRID, Recipe, parse_sizes

OPTIMIZERS = ("SGD", "MuSGD", "Adam", "Adamax", "AdamW", "NAdam", "RAdam", "RMSprop", "auto")
LARGEST = 8192
"""Largest image size in pixels."""
MOST_SIZES = 16
"""Image sizes that a training may draw from."""


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
        own: Whether it is ours, a field of `Recipe`, and unknown to Ultralytics.
        default: Its value where nobody says anything; only given where another argument needs it.
        needs: Other arguments with the values of theirs under which this one has an effect; None means any value
            above 0.
    """

    kind: Literal["float", "int", "bool", "choice", "sizes"]
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[Json, ...] = ()
    gene: bool = True
    alias: str = ""
    own: bool = False
    default: Json = None
    needs: Mapping[str, tuple[Json, ...] | None] = field(default_factory=dict)

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
            case "sizes":
                return _sizes_problem(value)
            case "int":
                fits = isinstance(value, int) and not isinstance(value, bool)
            case "float":
                fits = isinstance(value, int | float) and not isinstance(value, bool)
        if fits and isinstance(value, int | float) and self.low <= value <= self.high:
            return None
        article = "a whole number" if self.kind == "int" else "a number"
        return f"must be {article} from {self.low:g} to {self.high:g}"


def _sizes_problem(value: Json) -> str | None:
    try:
        sizes = parse_sizes(value, imgsz=LARGEST // 2)
    except (OverflowError, ValueError):
        sizes = (0,)
    if len(sizes) <= MOST_SIZES and all(GRID <= size <= LARGEST and size % GRID == 0 for size in sizes):
        return None
    return (
        f"must be off, up to {MOST_SIZES} multiples of {GRID} up to {LARGEST} as in 320,416,512, "
        "or shares of imgsz up to 2x as in 0.75x,1x"
    )


def _share(high: float = 1.0) -> Argument:
    return Argument("float", 0.0, high)


def _own(name: str, argument: Argument, **needs: tuple[Json, ...] | None) -> Argument:
    """An argument of ours; its default is the recipe's."""
    default = getattr(Recipe(), name)
    return replace(argument, own=True, default="off" if default == () else default, needs=needs)


HEAVY = ("SGD", "MuSGD", "RMSprop")
"""Optimizers with a momentum that a warm-up can raise."""

_ULTRALYTICS: Mapping[str, Argument] = {
    # how long and how big
    "epochs": Argument("int", 1, 100_000, gene=False),
    "patience": Argument("int", 0, 100_000, gene=False),
    "batch": Argument("int", 1, 65_536),
    "imgsz": Argument("int", 32, 8192),
    "multi_scale": _share(0.9),
    "rect": Argument("bool"),
    "fraction": Argument("float", 1e-6, 1.0, gene=False),
    # optimizer and schedule
    "optimizer": Argument("choice", choices=OPTIMIZERS, default="auto"),
    "lr0": _share(),
    "lrf": _share(),
    "momentum": _share(0.9999),
    "weight_decay": _share(),
    "nbs": Argument("int", 1, 65_536),
    "warmup_epochs": Argument("float", 0.0, 1000.0, default=3.0),
    "warmup_momentum": replace(_share(0.9999), needs={"warmup_epochs": None, "optimizer": HEAVY}),
    "warmup_bias_lr": replace(_share(), needs={"warmup_epochs": None}),
    "cos_lr": Argument("bool"),
    "freeze": Argument("int", 0, 20, default=0),
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

_OURS: Mapping[str, Argument] = {
    # the model
    "hetero": Argument("bool"),
    "attention": Argument("bool"),
    "attention_alpha": _share(),
    "attention_kernel": Argument("choice", choices=(1, 3)),
    "activation": Argument("choice", choices=("silu", "mish")),
    "spp": Argument("bool"),
    "sam": Argument("bool"),
    "dropblock": _share(0.5),
    "dropblock_size": Argument("choice", choices=(1, 3, 5, 7, 9)),
    "cmbn": Argument("int", 1, 16),
    # loss and assignment
    "box_loss": Argument("choice", choices=BOX_LOSSES),
    "elastic_beta": Argument("float", 0.0, 10.0),
    "elastic_tau": Argument("float", 1.0, 1e6),
    "elastic_size": Argument("choice", choices=("side", "area")),
    "focal_gamma": Argument("float", 0.0, 5.0),
    "focal_l1_beta": Argument("float", 0.368, 1.0),
    "label_smoothing": _share(0.9),
    "assign_iou": Argument("float", 0.05, 1.0),
    # schedule
    "lr_schedule": Argument("choice", choices=("linear", "cosine", "cosine_restarts")),
    "lr_cycle": Argument("int", 1, 100_000),
    "lr_cycle_mult": Argument("float", 1.0, 10.0),
    "lr_gamma": Argument("float", 0.01, 1.0),
    # pictures
    "image_sizes": Argument("sizes"),
    "sat_probability": _share(),
    "sat_epsilon": _share(0.25),
    "blur": _share(),
    "noise": _share(),
    "cutout": _share(),
    "grid_mask": _share(),
    # validation
    "nms": Argument("choice", choices=("iou", "diou")),
}
_ELASTIC: Mapping[str, tuple[Json, ...] | None] = {"box_loss": ("elastic", "elastic_weighted")}
_RESTARTS: Mapping[str, tuple[Json, ...] | None] = {"lr_schedule": ("cosine_restarts",)}
_ATTENTION: Mapping[str, tuple[Json, ...] | None] = {"attention": (True,)}
_BACKBONE = 9
"""Layers of the backbone of every YOLO12."""
_NEEDS: Mapping[str, Mapping[str, tuple[Json, ...] | None]] = {
    "attention_alpha": _ATTENTION,
    "attention_kernel": _ATTENTION,
    "dropblock_size": {"dropblock": None},
    "elastic_beta": _ELASTIC,
    "elastic_tau": _ELASTIC,
    "elastic_size": _ELASTIC,
    "focal_gamma": {"box_loss": ("focal_eiou",)},
    "focal_l1_beta": {"box_loss": ("focal_l1",)},
    "lr_cycle": _RESTARTS,
    "lr_cycle_mult": _RESTARTS,
    "lr_gamma": _RESTARTS,
    "sat_probability": {"sat_epsilon": None},
    "spp": {"freeze": tuple(range(_BACKBONE))},  # it begins as the identity, and ends the backbone
    "sat_epsilon": {"sat_probability": None},
}

CATALOGUE: Mapping[str, Argument] = {
    **_ULTRALYTICS,
    **{name: _own(name, argument, **_NEEDS.get(name, {})) for name, argument in _OURS.items()},
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
    """Those of the arguments that Ultralytics knows, by its names; our own are in the `Recipe`.

    Raises:
        KeyError: if one of them is not in the catalogue.
    """
    return {
        CATALOGUE[name].ultralytics(name): value for name, value in arguments.items() if not CATALOGUE[name].own
    }


def advice(name: str) -> str:
    """What to write instead of a name that is not in the catalogue."""
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    near = difflib.get_close_matches(name, CATALOGUE, n=1, cutoff=0.75)
    return f"did you mean {near[0]!r}?" if near else "remove it"
