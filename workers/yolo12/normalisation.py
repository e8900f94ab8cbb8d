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
    mini-batches came through normalisations that had seen less. Unlike CBN the variance is that of the pooled
    values, not the mean of the variances.

    Args:
        window: Mini-batches that share statistics, the current one included; 1 is `nn.BatchNorm2d`.
        like: The normalisation to take the place of, with its parameters, buffers and modes.
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
        _hand_over(like, self)
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
            current = _statistics(input, means.dtype)
            pooled = _pooled([*self._seen, current])
            normalised: Tensor = _PooledNorm.apply(input, self.weight, self.bias, *pooled, self.eps)
        else:  # torch's own way, which is faster and makes a step of one mini-batch stock
            normalised, current = _alone(input, self.weight, self.bias, means.dtype, self.eps)
            pooled = current
        self._follow(pooled, means, variances)
        self._seen = [*self._seen, current][1 - self.window :]
        return normalised

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
    gradient at the input is weight / sigma * (g - sum(g) / N - x^ sum(g x^) / N). That of torch has n for N where
    the statistics are the input's own, and no sums where they are fixed, so ours lies between them at n / N.
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
        backward = torch.ops.aten.native_batch_norm_backward
        deviation = torch.rsqrt(variance + ctx.eps)
        own, for_weight, for_bias = backward(
            gradient, input, weight, None, None, mean, deviation, True, ctx.eps, ctx.needs_input_grad[:3]
        )
        if own is not None and ctx.share < 1:
            fixed = backward(
                gradient, input, weight, mean, variance, None, None, False, ctx.eps, (True, False, False)
            )[0]
            own = torch.lerp(fixed, own, ctx.share)
        return own, for_weight, for_bias, None, None, None, None


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


def _hand_over(source: nn.BatchNorm2d, target: nn.BatchNorm2d) -> None:
    """Give the target the very tensors and the mode of the source, so that optimizers and copies live on."""
    for store in ("_parameters", "_buffers"):
        getattr(target, store).update(getattr(source, store))
    target.training = source.training


def _values(input: Tensor) -> int:
    """Values per channel."""
    return input.numel() // input.shape[1]


def _statistics(input: Tensor, kind: torch.dtype) -> Seen:
    exact = input.detach().to(torch.promote_types(input.dtype, torch.float32))
    variance, mean = torch.var_mean(exact, dim=(0, 2, 3), correction=0)
    return _values(input), mean.to(kind), variance.to(kind)


def _alone(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, kind: torch.dtype, eps: float
) -> tuple[Tensor, Seen]:
    """Normalise by the input's own statistics and return these as well, as numbers of `kind`."""
    count, mean = _values(input), input.new_zeros(input.shape[1], dtype=kind)
    unbiased = torch.ones_like(mean)
    # Running statistics that forget everything at once are those of this input.
    output = functional.batch_norm(input, mean, unbiased, weight, bias, training=True, momentum=1.0, eps=eps)
    return output, (count, mean, unbiased * ((count - 1) / count))


def _pooled(window: list[Seen]) -> Seen:
    """Statistics of all values of several mini-batches together, without the cancellation of E[x^2] - E[x]^2."""
    total = sum(count for count, _, _ in window)
    mean, variance = torch.zeros_like(window[-1][1]), torch.zeros_like(window[-1][2])
    for count, own_mean, _ in window:
        mean.add_(own_mean, alpha=count / total)
    for count, own_mean, own_variance in window:
        variance.add_(own_variance + (own_mean - mean).square(), alpha=count / total)
    return total, mean, variance
