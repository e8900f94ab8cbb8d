"""Collaborative attention: a map is weighted by channel and by place at once, right before the head.

`X * (1 + alpha * SE(X)) * (1 + alpha * SA(X))`, where SE gives every channel a weight (squeeze and excitation: Hu
et al., arXiv:1709.01507) and SA every place. Both see the same X, and both only ever raise what they look at.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.modules.head import Detect
from ultralytics.utils.torch_utils import initialize_weights

REDUCTION = 8
KERNELS = (1, 3)
CLOSED = -5.0
"""Before the sigmoid: a weight of 0.0067, whose slope is still as large."""


class OneMapConv2d(nn.Conv2d):
    """A convolution to a single map, of which a CPU computes little more than what is asked for.

    Convolution kernels of CPUs make at least 16 maps at a time. So a 3x3 one is taken as nine 1x1 ones, which are
    one multiplication of matrices, whose results are then added up, each moved by its place in the kernel.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve.

        Args:
            x: Maps, (batch, channels, height, width).

        Returns:
            One map of the same size, (batch, 1, height, width).
        """
        side = self.kernel_size[0]
        if side == 1 or x.device.type != "cpu" or _exporting():
            return super().forward(x)
        taps = self.weight.reshape(-1, side * side).flip(1).t()
        parts = torch.matmul(taps, x.flatten(2))
        z = functional.fold(parts, (x.shape[2], x.shape[3]), side, padding=side // 2)
        return z if self.bias is None else z.add_(self.bias)


def _exporting() -> bool:
    """Whether somebody writes down what is computed, who had better see the convolution itself."""
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # torch
    return bool(tracing) or torch.compiler.is_compiling()


class CollaborativeAttention(nn.Module):
    """`X * (1 + alpha * SE(X)) * (1 + alpha * SA(X))`.

    SE is: global average pool, 1x1 convolution to `max(8, channels / 8)`, SiLU, 1x1 convolution, sigmoid. SA is:
    one convolution to a single map, batch normalisation, sigmoid; it is a `Conv` of Ultralytics, so that `fuse()`
    merges it.

    Args:
        channels: Channels of the map.
        alpha: Strength, 0 to 1; 0 is the identity.
        kernel: Side of the convolution of SA, 1 or 3.

    Raises:
        ValueError: if `alpha` or `kernel` is anything else.
    """

    def __init__(self, channels: int, alpha: float = 0.5, kernel: int = 3) -> None:
        super().__init__()
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"alpha: must be from 0 to 1, but got {alpha}")
        if kernel not in KERNELS:
            raise ValueError(f"kernel: must be one of {KERNELS}, but got {kernel}")
        self.alpha = float(alpha)
        hidden = max(8, channels // REDUCTION)
        # Of a single place, a 1x1 convolution is a linear layer.
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        self.sa = Conv(channels, 1, kernel, act=nn.Sigmoid())
        self.sa.conv = OneMapConv2d(channels, 1, kernel, padding=kernel // 2, bias=False)
        initialize_weights(self)  # Ultralytics' settings of batch normalisation

    @property
    def kernel(self) -> int:
        """Side of the spatial convolution."""
        return int(self.sa.conv.kernel_size[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weight a map.

        Args:
            x: Map, (batch, channels, height, width).

        Returns:
            The weighted map, of the same shape; `x` itself if `alpha` is 0.
        """
        if self.alpha == 0.0:
            return x
        channel, place = self._by_channel(x), self._by_place(x)
        if channel.requires_grad or place.requires_grad:
            weighted: torch.Tensor = _Weight.apply(x, 1.0 + self.alpha * channel, 1.0 + self.alpha * place)
            return weighted
        return (x * channel.mul_(self.alpha).add_(1.0)).mul_(place.mul_(self.alpha).add_(1.0))

    # By functions where a layer is no more than that: three calls of layers cost as much as what they compute.

    def _by_channel(self, x: torch.Tensor) -> torch.Tensor:
        """SE of a map, (batch, channels, 1, 1)."""
        hidden = functional.silu(functional.linear(x.mean((2, 3)), self.squeeze.weight, self.squeeze.bias))
        return functional.linear(hidden, self.excite.weight, self.excite.bias).sigmoid()[..., None, None]

    def _by_place(self, x: torch.Tensor) -> torch.Tensor:
        """SA of a map, (batch, 1, height, width)."""
        z = self.sa.conv(x)
        is_merged = self.sa.conv.bias is not None
        weight: torch.Tensor = (z if is_merged else self.sa.bn(z)).sigmoid()
        return weight

    def close(self) -> None:
        """Begin close to the identity, whatever the map, and yet with a slope to learn from.

        For a detector that is trained already: SE and SA start at about 0.0067 instead of 0.5.
        """
        nn.init.normal_(self.excite.weight, std=0.01)
        nn.init.constant_(self.excite.bias, CLOSED)
        nn.init.constant_(self.sa.bn.weight, 0.1)
        nn.init.constant_(self.sa.bn.bias, CLOSED)


class AttentiveDetect(Detect):  # type: ignore[misc]  # Ultralytics has no types
    """Ultralytics' head, behind collaborative attention on each of its maps.

    Other layers that read the same maps see them as they are. Layers and parameters keep their names; `attention`
    is the only new one.

    Args:
        head: The head to take over; it is not to be used any more.
        alpha: Strength of the attention, 0 to 1.
        kernel: Side of its spatial convolution, 1 or 3.
    """

    def __init__(self, head: Detect, alpha: float = 0.5, kernel: int = 3) -> None:
        nn.Module.__init__(self)  # Detect's own would build another head
        self.__dict__.update(vars(head))
        self._modules = dict(head._modules)
        self.attention = nn.ModuleList(
            CollaborativeAttention(box[0].conv.in_channels, alpha, kernel) for box in head.cv2
        )

    def forward(self, x: list[torch.Tensor]) -> Any:
        """Detect; as in `Detect`, of the maps after attention.

        Args:
            x: Maps of the levels, each (batch, channels, height, width); the list is left as it is.
        """
        return super().forward([attend(level) for attend, level in zip(self.attention, x, strict=True)])


class _Weight(torch.autograd.Function):
    """`x * channel * place`, which keeps no more than these three for the way back."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, channel: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        """Multiply a map (b, c, h, w) by weights (b, c, 1, 1) and (b, 1, h, w)."""
        ctx.save_for_backward(x, channel, place)
        return (x * channel).mul_(place)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The product rule; sums over places and channels are products of matrices."""
        (gradient,) = gradients
        x, channel, place = ctx.saved_tensors
        product = (gradient * x).flatten(2)
        to_channel = torch.bmm(product, place.flatten(2).transpose(1, 2))
        to_place = torch.bmm(channel.flatten(2).transpose(1, 2), product)
        return (gradient * channel).mul_(place), to_channel.view_as(channel), to_place.view_as(place)
