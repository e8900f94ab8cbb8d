"""Batch normalisation across the mini-batches of one optimizer step, and how to keep statistics still.

Source: CmBN of "YOLOv4: Optimal Speed and Accuracy of Object Detection" (arXiv:2004.10934, section 3.3 and figure
4), which follows "Cross-Iteration Batch Normalization" (CBN, arXiv:2002.05712).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

Seen = tuple[int, Tensor, Tensor]
"""What is kept of a mini-batch: values per channel, their mean and their biased variance, each of shape (C,)."""


class CrossBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose statistics cover the last mini-batches of the same optimizer step.

    In training, a mini-batch is normalised with mean and variance of all values of itself and of up to `window` - 1
    mini-batches before it; gradients flow through its own share of them only. Running statistics follow the pooled
    ones. In evaluation it is `nn.BatchNorm2d`, whose parameters and buffers it has, and no others.

    Simplified against the papers: CBN also corrects what it remembers for the change of the weights since, by a
    Taylor polynomial. As in CmBN, nothing is remembered beyond an optimizer step (see `begin_step`) and within one
    the weights stand still, so that there is nothing to correct: at the first normalisation of a network the pooled
    statistics are exactly those of one large batch. Further in they are close to them, as the inputs of the earlier
    mini-batches came through normalisations that had seen less. A mini-batch counts by its number of values, as
    sizes may differ; in the papers they do not.

    The first mini-batch of a step costs what it costs in torch, each further one half as much again: a fifth more
    for a whole training step of yolo12n on one CPU thread.

    Args:
        like: The normalisation to take the place of, with its parameters, buffers and modes.
        window: Mini-batches that share statistics, the current one included; 1 is `nn.BatchNorm2d`.
    """

    def __init__(self, like: nn.BatchNorm2d, window: int) -> None:
        super().__init__(
            like.num_features,
            eps=like.eps,
            momentum=like.momentum,
            affine=like.affine,
            track_running_stats=like.track_running_stats,
            device="meta",  # the tensors of the other take their place
        )
        for name, tensor in (*like.named_parameters(), *like.named_buffers()):
            setattr(self, name, tensor)
        self.train(like.training)
        self.window = window
        self._seen: list[Seen] = []

    def forward(self, input: Tensor) -> Tensor:
        """Normalise.

        Args:
            input: Shape (N, C, H, W); each mini-batch of a window may have its own N, H and W.

        Returns:
            The same shape and type.
        """
        means, variances = self.running_mean, self.running_var
        pooling = self.window > 1 and self.training and self.track_running_stats
        if not pooling or means is None or variances is None:
            return super().forward(input)
        self._check_input_dim(input)
        if self._seen:
            current = _normalised(input.detach(), None, None, means.dtype, self.eps)[1]
            pooled = _pooled([*self._seen, current])
            output: Tensor = _PooledNorm.apply(input, self.weight, self.bias, *pooled, self.eps)
        else:  # the very computation of the stock normalisation
            output, current = _normalised(input, self.weight, self.bias, means.dtype, self.eps)
            pooled = current
        self._follow(pooled, means, variances)
        self._seen = [*self._seen, current][1 - self.window :]
        return output

    def begin_step(self) -> None:
        """Forget the mini-batches of the last optimizer step."""
        self._seen = []

    def _follow(self, statistics: Seen, means: Tensor, variances: Tensor) -> None:
        """Move the running statistics as `nn.BatchNorm2d` does, which keeps the unbiased variance."""
        rate = 0.0 if self.momentum is None else self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            rate = 1.0 / float(self.num_batches_tracked) if self.momentum is None else rate
        total, mean, variance = statistics
        means.lerp_(mean, rate)
        variances.lerp_(variance * (total / (total - 1)), rate)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a checkpoint gets: everything but the remembered mini-batches."""
        return {**self.__dict__, "_seen": []}


class _PooledNorm(torch.autograd.Function):
    """Normalises by given statistics, which the input is a part of.

    With n of the N pooled values in the input, x^ the normalised input and g the gradient at the output, the
    gradient at the input is weight / sigma * (g - sum(g) / N - x^ sum(g x^) / N). Torch's has n for N where the
    statistics are the input's own, and without the sums where they are fixed: ours is n / N of the one and
    1 - n / N of the other.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        total: int,
        mean: Tensor,
        variance: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(input, weight, mean, variance)
        ctx.share, ctx.eps = _values(input) / total, eps
        return functional.batch_norm(input, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, variance = ctx.saved_tensors
        deviation = torch.rsqrt(variance + ctx.eps)
        scale = torch.ones_like(mean) if weight is None else weight
        for_input, for_weight, for_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, input, scale * ctx.share, None, None, mean, deviation, True, ctx.eps, ctx.needs_input_grad[:3]
        )
        if for_input is not None:
            fixed = scale * deviation * (1 - ctx.share)
            for_input.addcmul_(gradient, fixed.to(gradient.dtype)[:, None, None])
        return for_input, for_weight, for_bias, None, None, None, None


def begin_step(model: nn.Module) -> None:
    """Let a new optimizer step begin, in which mini-batches share statistics; to be called after each one."""
    for module in model.modules():
        if isinstance(module, CrossBatchNorm2d):
            module.begin_step()


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Within it, forward passes in training mode leave no trace in any batch normalisation of the model.

    Each normalises by the statistics of its mini-batch alone, as in training, but running statistics, their count
    and the mini-batches remembered by `CrossBatchNorm2d` stay as they are. A normalisation in evaluation mode, such
    as a frozen layer's, keeps using its running statistics.
    """
    tracking = [
        module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    for module in tracking:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in tracking:
            module.track_running_stats = True


def _values(input: Tensor) -> int:
    """Values per channel."""
    return input.numel() // input.shape[1]


def _normalised(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, kind: torch.dtype, eps: float
) -> tuple[Tensor, Seen]:
    """Normalise by the input's own statistics, and return these as well, as numbers of `kind`."""
    count, mean = _values(input), input.new_zeros(input.shape[1], dtype=kind)
    unbiased = torch.ones_like(mean)
    # Running statistics that forget everything at once are those of this input; it is the fastest way to them too.
    output = functional.batch_norm(input, mean, unbiased, weight, bias, training=True, momentum=1.0, eps=eps)
    return output, (count, mean, unbiased * ((count - 1) / count))


def _pooled(window: list[Seen]) -> Seen:
    """Statistics of all values of several mini-batches together, without the cancellation of E[x^2] - E[x]^2."""
    total = sum(count for count, _, _ in window)
    # A tensor filled on the device, unlike one made of numbers, does not make the host wait for a GPU.
    shares = torch.stack([torch.full_like(mean, count / total) for count, mean, _ in window])
    means = torch.stack([mean for _, mean, _ in window])
    variances = torch.stack([variance for _, _, variance in window])
    mean = (shares * means).sum(0)
    return total, mean, (shares * (variances + (means - mean).square())).sum(0)
