"""Self-adversarial training: batches that the model itself has made harder.

Step 1 changes the images of a batch against the model as it stands, by the fast gradient sign method
x + epsilon * sign(dL/dx) (Goodfellow et al., arXiv:1412.6572, section 4), with the detection loss as L; step 2
trains on them with the labels they had. YOLOv4 (arXiv:2004.10934, section 3.2) names it self-adversarial training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from workers.yolo12.normalisation import frozen_statistics


def perturb(model: nn.Module, batch: dict[str, Any], epsilon: float, *, scale: float = 1.0) -> dict[str, Any]:
    """Step 1: a batch with each value of its images moved by `epsilon` to where the loss grows.

    Nothing else changes: no gradient of a parameter, no running statistics. It takes the time of a forward pass and
    of a backward pass without the weights' share, and holds no memory afterwards. Within autocast it runs in that
    precision.

    Args:
        model: In training mode; maps a batch to the components of its loss and a dictionary of them, as
            Ultralytics' models do.
        batch: Has the images under `img`, (n, c, h, w), values in [0, 1]; is left as it is.
        epsilon: Size of the perturbation in the images' unit.
        scale: Factor on the loss, so that no small gradient vanishes in half precision; that of the training's own
            gradient scaler fits, as its backward pass goes through the same numbers but for the first layer.

    Returns:
        The batch with perturbed images, still in [0, 1]. Where a gradient is not finite it is `batch` itself; with
        the scaler's own scale that is a batch whose step would be skipped anyway.
    """
    images = batch["img"].detach().requires_grad_()
    with frozen_statistics(model):
        loss, _ = model({**batch, "img": images})
        (gradient,) = torch.autograd.grad(loss.sum() * scale, images)
    if not gradient.isfinite().all():
        return batch
    return {**batch, "img": (images.detach() + epsilon * gradient.sign()).clamp_(0.0, 1.0)}


class Adversary:
    """Decides which batches of a training are perturbed.

    The decisions of an epoch are a function of the seed and the epoch's number, and use no other random numbers.

    Attributes:
        probability: Share of the batches that are perturbed; 0 where the perturbation is 0.
        epsilon: Size of the perturbation, for images in [0, 1].
        seen: Batches so far.
        perturbed: Those of them that were perturbed.

    Args:
        probability: Share of the batches to perturb, 0 to 1.
        epsilon: Size of the perturbation, for images in [0, 1].
        seed: The training's.
    """

    def __init__(self, probability: float, epsilon: float, seed: int) -> None:
        self.seen = 0
        self.perturbed = 0
        self.probability = probability if epsilon > 0 else 0.0
        self.epsilon = epsilon
        self._seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, counted from 0."""
        self._random = np.random.default_rng(
            (self._seed, epoch, 1)
        )  # 1: not what the order of images is drawn from

    def __call__(self, model: nn.Module, batch: dict[str, Any], *, scale: float = 1.0) -> dict[str, Any]:
        """The batch, or its perturbed counterpart; see `perturb` for the arguments."""
        chosen = self._random.random() < self.probability
        result = perturb(model, batch, self.epsilon, scale=scale) if chosen else batch
        self.seen += 1
        self.perturbed += result is not batch
        return result
