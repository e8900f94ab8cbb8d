"""The part of a training that Ultralytics does not know: the improved detector and its recipe.

Every default is stock YOLO12, so a search can also find out that a part does not help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from evolve.trial import Json

BOX_LOSSES = (
    "iou",
    "giou",
    "diou",
    "ciou",
    "eiou",
    "focal_eiou",
    "focal_l1",
    "elastic",
    "elastic_weighted",
)
"""What `box_loss` may be; `workers.yolo12.losses` has the formulas."""

GRID = 32
"""What every image size is a multiple of: the model halves a picture five times."""


@dataclass(frozen=True)
class Recipe:
    """Which of our parts a training uses. The fields are our training arguments, by their names in a space.

    Attributes:
        hetero: Whether plain 3x3 convolutions of backbone and neck get a parallel 1x1 branch while training.
        attention: Whether collaborative attention is put before the head.
        attention_alpha: Its strength, 0 to 1; 0 is the identity.
        attention_kernel: Side of its spatial convolution, 1 or 3.
        activation: `silu` (stock) or `mish`.
        spp: Whether spatial pyramid pooling is added at the end of the backbone.
        sam: Whether the spatial attention module is added to the neck's outputs.
        dropblock: Probability with which a unit is dropped, 0 to 0.5; 0 means off.
        dropblock_size: Side of a dropped block, an odd number of cells of the feature map.
        cmbn: Mini-batches of one optimizer step whose statistics a normalisation shares; 1 is stock.
        box_loss: One of `BOX_LOSSES`.
        elastic_beta: Strength of the penalty in the elastic losses.
        elastic_tau: Size in pixels at which they take a box as large.
        elastic_size: Whether that size is the geometric mean `side` or the `area` of the two boxes.
        focal_gamma: Exponent of the overlap in `focal_eiou`.
        focal_l1_beta: Shape of `focal_l1`, 1/e to 1.
        label_smoothing: Share of a foreground target that is spread over all classes.
        assign_iou: Overlap above which every candidate in an object becomes a positive; None is stock.
        lr_schedule: `linear` (stock), `cosine` or `cosine_restarts`.
        lr_cycle: Epochs of the first cycle of `cosine_restarts`.
        lr_cycle_mult: How much longer each cycle is than the one before.
        lr_gamma: Factor on the maximum from one cycle to the next.
        image_sizes: Sizes in pixels of which each training batch draws one; empty is stock.
        sat_probability: Share of the batches that self-adversarial training perturbs.
        sat_epsilon: Size of that perturbation, for pictures in [0, 1].
        blur: Probability of a Gaussian blur.
        noise: Probability of Gaussian noise.
        cutout: Probability that rectangles are cut out of a picture.
        grid_mask: Probability of a grid of removed squares.
        nms: `iou` (stock) or `diou`, the overlap by which validation suppresses boxes.
    """

    hetero: bool = False
    attention: bool = False
    attention_alpha: float = 0.5
    attention_kernel: int = 3
    activation: str = "silu"
    spp: bool = False
    sam: bool = False
    dropblock: float = 0.0
    dropblock_size: int = 3
    cmbn: int = 1
    box_loss: str = "ciou"
    elastic_beta: float = 1.5
    elastic_tau: float = 75.0
    elastic_size: str = "side"
    focal_gamma: float = 0.5
    focal_l1_beta: float = 0.8
    label_smoothing: float = 0.0
    assign_iou: float | None = None
    lr_schedule: str = "linear"
    lr_cycle: int = 10
    lr_cycle_mult: float = 1.0
    lr_gamma: float = 1.0
    image_sizes: tuple[int, ...] = ()
    sat_probability: float = 0.0
    sat_epsilon: float = 0.01
    blur: float = 0.0
    noise: float = 0.0
    cutout: float = 0.0
    grid_mask: float = 0.0
    nms: str = "iou"

    @classmethod
    def of(cls, arguments: Mapping[str, Json]) -> Recipe:
        """The recipe in checked training arguments; those of Ultralytics are passed over, but for `imgsz`."""
        names = [field.name for field in fields(cls) if field.name in arguments]
        own: dict[str, Any] = {name: arguments[name] for name in names}
        if "image_sizes" in own:
            imgsz = arguments.get("imgsz", 640)
            own["image_sizes"] = parse_sizes(own["image_sizes"], imgsz if isinstance(imgsz, int) else 640)
        return cls(**own)


def parse_sizes(value: Json, imgsz: int) -> tuple[int, ...]:
    """Image sizes from a list or from text: `320, 416, 512`, `0.5x, 1x` (shares of `imgsz`) or `off` for none.

    A gene's choices are texts, and a shipped space does not know the size that its user will choose.

    Args:
        value: The value to read.
        imgsz: Image size in pixels that shares refer to; they are rounded to the grid of 32.

    Returns:
        Sizes in pixels, in the order given; two shares may round to the same one, which then counts once.

    Raises:
        ValueError: if it is neither.
    """
    if value == "off":
        return ()
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list):
        raise ValueError("must be a list or a text")
    return tuple(dict.fromkeys(_size(part, imgsz) for part in parts))


def spell_sizes(sizes: tuple[int, ...]) -> str:
    """Image sizes as a text that `parse_sizes` understands."""
    return ",".join(map(str, sizes)) or "off"


def _size(part: Json, imgsz: int) -> int:
    if isinstance(part, str):
        text = part.strip()
        if text.endswith("x"):
            return max(round(imgsz * float(text[:-1]) / GRID), 1) * GRID
        return int(text)
    if isinstance(part, int) and not isinstance(part, bool):
        return part
    raise ValueError("must be whole numbers")
