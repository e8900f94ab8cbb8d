"""The rest of YOLOv4's bag as surgery on a model that Ultralytics has built.

Mish, DropBlock, spatial pyramid pooling (SPP), the spatial attention module (SAM) and cross mini-batch
normalisation (CmBN), as "YOLOv4: Optimal Speed and Accuracy of Object Detection" (arXiv:2004.10934) uses them.

New blocks follow a layer instead of taking a place among the layers: they are its children under the name
`appended`, and a forward hook runs them on its output. So no index and no key of a stock layer moves, and stock
weights load before the surgery as well as after it. A subclass of the layer would lose them: Ultralytics' exporter
gives some layers another `forward`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from torchvision.ops import DropBlock2d, drop_block2d
from ultralytics.nn.modules import SPPF, Conv
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import initialize_weights

from evolve.trial import Json
from workers.yolo12.normalisation import CrossBatchNorm2d, begin_step, frozen_statistics
from workers.yolo12.recipe import Recipe

__all__ = ["MODULES", "add_blocks", "anatomy", "begin_step", "frozen_statistics"]

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "mish": nn.Mish}
End = tuple[Any, int]
"""A layer and the channels of its output."""
OPEN_GATE = 4.0
"""Where the gates of a new SAM stand before the sigmoid: it lets 98.2 % through and has a gradient left."""


class PointwiseAttention(nn.Module):
    """YOLOv4's SAM: `x * sigmoid(BN(Conv1x1(x)))`, a gate for each value of a map.

    The original, of CBAM (arXiv:1807.06521), pools the channels and gates each position; YOLOv4 "modified SAM from
    spatial-wise attention to point-wise attention" (section 3.3, figure 5).

    It begins as near the identity as a sigmoid allows: the normalisation's weight is 0 and its bias `OPEN_GATE`, so
    every gate is 0.982. It adds C^2 + 2 C parameters.

    Args:
        channels: Channels C of the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = Conv(channels, channels, 1, act=nn.Sigmoid())
        nn.init.zeros_(self.gate.bn.weight)
        nn.init.constant_(self.gate.bn.bias, OPEN_GATE)

    def forward(self, x: Tensor) -> Tensor:
        """Gate a map of shape (N, C, H, W)."""
        gated: Tensor = x * self.gate(x)
        return gated


class DropBlock(DropBlock2d):  # type: ignore[misc]
    """DropBlock (arXiv:1810.12890) as torchvision has it, for maps of every size and numbers of every kind.

    Each value is dropped with a probability of about `p`, in square blocks, each channel for itself; the others are
    scaled so that the map keeps its sum. Only in training; it has no state.

    Torchvision's refuses a block of even side, also where a small map cuts an odd one down to that; here the next
    smaller odd side is taken. Its count of kept values overflows in half precision, and then it drops everything;
    here it is made in single precision.

    Args:
        p: Probability, 0 to 1.
        block_size: Side of a block in cells, at least 1.
    """

    def __init__(self, p: float, block_size: int) -> None:
        super().__init__(p, _odd(block_size))

    def forward(self, x: Tensor) -> Tensor:
        """Drop blocks of a map of shape (N, C, H, W)."""
        if not self.training or self.p == 0:
            return x
        side = _odd(min(self.block_size, *x.shape[-2:]))
        kept: Tensor = drop_block2d(torch.ones_like(x, dtype=torch.float32, requires_grad=False), self.p, side)
        return x * kept.to(x.dtype)


def follow(layer: Any, inputs: Any, output: Tensor) -> Tensor:
    """The forward hook that runs what is appended to a layer on its output."""
    for block in layer.appended.values():
        output = block(output)
    return output


MODULES: tuple[Callable[..., Any], ...] = (CrossBatchNorm2d, DropBlock, PointwiseAttention, follow, RemovableHandle)
"""What a checkpoint of such a model refers to beside torch and Ultralytics, to be allowed when one is read."""


def add_blocks(model: DetectionModel, recipe: Recipe) -> None:
    """Give a model the blocks, activation and normalisation of a recipe, in place.

    - SPP follows the backbone's last layer: `x + SPP(x)` with max pools of 5, 9 and 13. Its last normalisation
      begins with weight 0, so it begins as the identity. Cost: 2.5 C^2 + 3 C parameters, C the layer's channels;
      164,608 (6 %) for yolo12n.
    - SAM follows each layer that feeds the head, and begins near the identity (see `PointwiseAttention`). Cost for
      yolo12n: 86,912 parameters (3 %).
    - DropBlock follows both in the backbone and in the neck, on the maps of stride 16 and 32. No parameters.
    - Mish takes the place of every SiLU. No parameters, but another function from the start: pretrained weights
      have to adapt.
    - CmBN takes the place of every batch normalisation, and equals it until a step has a second mini-batch.

    Blocks go behind what follows a layer already. A second call with the same recipe changes nothing but modules
    that came in since: Ultralytics' `load` may put a part of another model's head in place of its own.

    Args:
        model: A detector, not fused; on any device, in any mode, before or after its weights were loaded.
        recipe: What to build.
    """
    backbone, neck = _ends(model)
    deep = [*backbone[-2:], *neck[-2:]]
    if recipe.spp:
        _append(backbone[-1:], "spp", _pyramid)
    if recipe.sam:
        _append(neck, "sam", PointwiseAttention)
    if recipe.dropblock > 0:
        _append(deep, "dropblock", lambda _: DropBlock(recipe.dropblock, recipe.dropblock_size))
    _activate(model, ACTIVATIONS[recipe.activation])
    _normalise(model, recipe.cmbn)


def anatomy(model: nn.Module) -> dict[str, Json]:
    """What a model is really made of, by the names in a recipe.

    Returns:
        Values of `activation`, `spp`, `sam`, `dropblock`, `dropblock_size` (None without DropBlock) and `cmbn`; a
        list where parts of the model differ.
    """
    modules = list(model.modules())
    names = {name for name, kind in ACTIVATIONS.items() if any(type(module) is kind for module in modules)}
    windows = {getattr(module, "window", 1) for module in modules if isinstance(module, nn.BatchNorm2d)}
    drops = [module for module in modules if isinstance(module, DropBlock)]
    appended = {name for module in modules for name in getattr(module, "appended", ())}
    return {
        "activation": _one(names),
        "spp": "spp" in appended,
        "sam": "sam" in appended,
        "dropblock": _one({module.p for module in drops} or {0.0}),
        "dropblock_size": _one({module.block_size for module in drops} or {None}),
        "cmbn": _one(windows or {1}),
    }


def _one(values: set[Any]) -> Json:
    return next(iter(values)) if len(values) == 1 else sorted(values)


def _odd(side: int) -> int:
    """The largest odd number that is not above `side`."""
    return side - 1 + side % 2


def _ends(model: DetectionModel) -> tuple[list[End], list[End]]:
    """The layers whose maps leave the backbone, and those that feed the head, finest map first."""
    head, size = model.model[-1], len(model.yaml["backbone"])
    backbone = [model.model[index] for index in sorted(set(model.save)) if index < size]
    widths = [branch[0].conv.in_channels for branch in head.cv2]
    return (
        [(layer, layer.cv2.conv.out_channels) for layer in backbone],
        [(model.model[index], width) for index, width in zip(head.f, widths, strict=True)],
    )


def _append(ends: list[End], name: str, build: Callable[[int], nn.Module]) -> None:
    """Let a block of its own, built for its number of channels, follow each of these layers."""
    for layer, channels in ends:
        if not hasattr(layer, "appended"):
            layer.appended = nn.ModuleDict()
            # Without its handle, another process could give the same number to another hook of a loaded model.
            layer.hook = layer.register_forward_hook(follow)
        if name not in layer.appended:
            block, like = build(channels), next(layer.parameters())
            initialize_weights(block)  # its normalisations get Ultralytics' eps and momentum
            layer.appended[name] = block.to(like.device, like.dtype).train(layer.training)
            layer.np = sum(parameter.numel() for parameter in layer.parameters())


def _pyramid(channels: int) -> nn.Module:
    """`x + SPP(x)`; three pools of 5 one after the other are pools of 5, 9 and 13 at a third of the cost."""
    pyramid: nn.Module = SPPF(channels, channels, k=5, n=3, shortcut=True)
    nn.init.zeros_(pyramid.cv2.bn.weight)  # type: ignore[union-attr, arg-type]
    return pyramid


def _activate(model: nn.Module, kind: type[nn.Module]) -> None:
    """Replace the activations, each where it is used: Ultralytics shares one among all models of a process."""
    for place, module in _places(model):
        if type(module) in ACTIVATIONS.values() and type(module) is not kind:
            model.set_submodule(place, kind())


def _normalise(model: nn.Module, window: int) -> None:
    """Let normalisations share the statistics of `window` mini-batches; of one, as torch does."""
    for place, module in _places(model):
        if isinstance(module, nn.BatchNorm2d) and getattr(module, "window", 1) != window:
            model.set_submodule(place, CrossBatchNorm2d(module, window))


def _places(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every place in a model and what is there, also where that is shared by several."""
    return list(model.named_modules(remove_duplicate=False))
