"""The improved YOLO12: heterogeneous convolution and collaborative attention in a model that Ultralytics has built.

Nothing moves: indices, names and tensors of what was there stay. So Ultralytics trains, merges (`fuse`), saves,
loads and exports an improved model as any other, and its heterogeneous convolutions cost nothing once merged.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from ultralytics.nn.modules.conv import Conv, RepConv
from ultralytics.nn.tasks import DetectionModel

from evolve.trial import Json
from workers.yolo12 import blocks
from workers.yolo12.attention import AttentiveDetect, CollaborativeAttention, OneMapConv2d
from workers.yolo12.transfer import Transferred, taking, transfer

__all__ = [
    "MODULES",
    "HeteroConv",
    "Transferred",
    "anatomy",
    "attention_parameters",
    "improve",
    "is_improved",
    "plain_convolutions",
    "transfer",
]

MODULES: tuple[Any, ...] = (AttentiveDetect, CollaborativeAttention, OneMapConv2d, *blocks.MODULES)
"""What a checkpoint may refer to beside torch and Ultralytics."""

# So that torch rebuilds them where it runs no code of a file (`weights_only`).
torch.serialization.add_safe_globals(list(MODULES))


class HeteroConv(RepConv):  # type: ignore[misc]  # Ultralytics has no types
    """Ultralytics' `RepConv` without its third branch, computed with less traffic: `act(BN(3x3(x)) + BN(1x1(x)))`.

    Only training is faster. Copies and checkpoints hold the `RepConv` that it is, which stock Ultralytics can load.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve a map (batch, c1, height, width) to (batch, c2, height / stride, width / stride)."""
        point = self.conv2.conv
        step = point.stride[0]
        # A 1x1 convolution with a stride reads what it then passes over, which takes a CPU twice the time.
        z = functional.conv2d(x[:, :, ::step, ::step], point.weight) if step > 1 else point(x)
        # A normalisation needs its input for the way back, not its output, which may become the sum.
        output: torch.Tensor = self.act(self.conv1(x).add_(self.conv2.bn(z)))
        return output

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Only what a call returns may stand for an object of another class; so it is called for the smallest one.
        _, _, *state = super().__reduce_ex__(protocol)
        return RepConv, (1, 1), *state


def improve(
    model: DetectionModel,
    *,
    hetero: bool = True,
    attention: bool = True,
    alpha: float = 0.5,
    pretrained: bool = False,
    kernel: int = 3,
) -> DetectionModel:
    """Build heterogeneous convolutions and attention into a stock model, in place.

    Args:
        model: A stock detector, not merged.
        hetero: Whether every plain 3x3 `Conv` of backbone and neck gets a 1x1 convolution beside it: 27 in every
            size but the two largest. The 3x3 one is taken over as it is.
        attention: Whether collaborative attention is put before the head.
        alpha: Its strength, 0 to 1.
        pretrained: Whether the model is trained already. Then 1x1 branches begin with nothing, so that outputs stay
            the same, and attention begins close to the identity; otherwise both begin at random, as in a new model.
        kernel: Side of the spatial convolution of the attention, 1 or 3.

    Returns:
        The same model.

    Raises:
        ValueError: if it is improved or merged already, or `alpha` or `kernel` is out of range.
    """
    if is_improved(model):
        raise ValueError("model: must be stock, but is improved already")
    if model.is_fused():
        raise ValueError("model: must be one to train, but is merged for inference")
    if attention:
        model.model[-1] = _attentive(model.model[-1], alpha, kernel, closed=pretrained)
    if hetero:
        for place in plain_convolutions(model):
            model.set_submodule(place, _with_branch(model.get_submodule(place), empty=pretrained))
    for layer in model.model:
        layer.np = sum(parameter.numel() for parameter in layer.parameters())
    return model


def plain_convolutions(model: nn.Module) -> list[str]:
    """Where in backbone and neck a 3x3 `Conv` without groups or dilation is."""
    last = len(model.model) - 1  # type: ignore[arg-type]  # a Sequential
    return [
        place
        for place, module in model.named_modules()
        if not place.startswith(f"model.{last}.") and _is_plain(module)
    ]


def is_improved(model: nn.Module) -> bool:
    """Whether a model has heterogeneous convolutions or attention."""
    found = anatomy(model)
    return bool(found["hetero"] or found["attention"])


def anatomy(model: nn.Module) -> dict[str, Json]:
    """What a model is really made of, by the names in a recipe.

    Returns:
        Values of `hetero`, `attention`, `attention_alpha` and `attention_kernel`; the last two are None without
        attention.
    """
    attends = [module for module in model.modules() if isinstance(module, CollaborativeAttention)]
    return {
        "hetero": any(isinstance(module, RepConv) for module in model.modules()),
        "attention": bool(attends),
        "attention_alpha": attends[0].alpha if attends else None,
        "attention_kernel": attends[0].kernel if attends else None,
    }


def attention_parameters(model: nn.Module) -> int:
    """How many of a model's parameters are those of its attention."""
    attends = [module for module in model.modules() if isinstance(module, CollaborativeAttention)]
    return sum(parameter.numel() for attend in attends for parameter in attend.parameters())


def _is_plain(module: nn.Module) -> bool:
    if type(module) is not Conv:
        return False
    conv: Any = module.conv
    return (conv.kernel_size, conv.padding, conv.dilation, conv.groups) == ((3, 3), (1, 1), (1, 1), 1)


def _with_branch(conv: Any, *, empty: bool) -> HeteroConv:
    """The same 3x3 convolution with a 1x1 one beside it, which contributes nothing yet if it is `empty`."""
    plain = conv.conv
    hetero = HeteroConv(plain.in_channels, plain.out_channels, s=plain.stride[0], act=conv.act)
    hetero.to(plain.weight.device, plain.weight.dtype).train(conv.training)
    hetero.conv1.conv, hetero.conv1.bn = plain, conv.bn
    hetero.conv2.bn.eps, hetero.conv2.bn.momentum = conv.bn.eps, conv.bn.momentum
    if empty:
        nn.init.zeros_(hetero.conv2.bn.weight)
    taking(hetero, conv)
    return hetero


def _attentive(head: Any, alpha: float, kernel: int, *, closed: bool) -> AttentiveDetect:
    like = next(head.parameters())
    attentive = AttentiveDetect(head, alpha, kernel)
    attentive.attention.to(like.device, like.dtype).train(head.training)
    for attend in attentive.attention.children():
        if closed and isinstance(attend, CollaborativeAttention):
            attend.close()
    return attentive
