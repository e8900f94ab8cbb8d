"""Weights of one detector for another, stock or improved, whichever of the two is which.

Ultralytics' `load` copies tensors that agree in name and shape, and sees to differing classes. So the weights are
first translated into the structure of the model that is to have them, and then loaded.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from ultralytics.nn.modules.conv import Conv, RepConv
from ultralytics.nn.tasks import DetectionModel

from evolve.trial import FailureKind, TrialFailed
from workers.yolo12.attention import CollaborativeAttention

LEAST = 0.1
"""Share of the tensors that has to fit: the smallest YOLO12 has 4 to 8 % of them in common with larger ones."""

OURS = (".attention.", ".appended.")
"""What the names of tensors that stock detectors lack have in them; such tensors may begin anew."""


@dataclass(frozen=True)
class Transferred:
    """How much of a model came from weights.

    Attributes:
        loaded: Tensors that did.
        total: Tensors that could have: all but the counters of batch normalisation, what the model has beyond the
            kind of detector that the weights are of, and what depends on the classes where their number differs.
    """

    loaded: int
    total: int


def transfer(model: DetectionModel, weights: DetectionModel) -> Transferred:
    """Load weights into a model, in place; the weights are left alone.

    - Convolution to heterogeneous convolution: the 3x3 branch takes it over, the 1x1 one begins with nothing. To
      the same kind: branch by branch. Back: the branches are merged. Outputs stay as they were in each case.
    - Attention that the weights lack begins close to the identity; what the model lacks is dropped. A spatial 1x1
      kernel becomes the middle of a 3x3 one; a 3x3 kernel is summed up, which is exact where a map is even.
    - Classes as Ultralytics does it: rows of the same name are kept, where their number or order differs.

    Args:
        model: The model to load into, not merged, before it is trained.
        weights: A detector to take the weights of, not merged.

    Returns:
        How much fitted.

    Raises:
        TrialFailed: with `CODE`, if the weights are merged, or next to nothing fits.
    """
    if weights.is_fused():
        raise TrialFailed(FailureKind.CODE, "weights: must be those of a training, but are merged for inference")
    source = deepcopy(weights).float()
    new: set[str] = set()
    for place, wanted in list(model.named_modules()):
        given = _module(source, place)
        if isinstance(wanted, CollaborativeAttention) and given is None:
            wanted.close()
        elif (translated := _translated(given, wanted)) is not None:
            source.set_submodule(place, translated)
            if isinstance(translated, RepConv):
                new |= {f"{place}.conv2.{name}" for name in translated.conv2.state_dict()}
    model.load(source, verbose=False)
    transferred = _count(model, source, new)
    if transferred.loaded < LEAST * transferred.total:
        raise TrialFailed(
            FailureKind.CODE,
            f"weights: only {transferred.loaded} of {transferred.total} tensors fit; they are another model's",
        )
    return transferred


def _module(model: nn.Module, place: str) -> nn.Module | None:
    try:
        return model.get_submodule(place)
    except AttributeError:
        return None


def _translated(given: nn.Module | None, wanted: nn.Module) -> nn.Module | None:
    """What is given, in the structure that is wanted; None where it has that already, or never can."""
    if type(given) is Conv and isinstance(wanted, RepConv):
        return _with_branch(given, wanted)
    if isinstance(given, RepConv) and type(wanted) is Conv:
        return _merged(given, wanted)
    if isinstance(given, CollaborativeAttention) and isinstance(wanted, CollaborativeAttention):
        return _resized(given, wanted)
    return None


def _with_branch(given: Any, wanted: Any) -> nn.Module | None:
    if given.conv.weight.shape != wanted.conv1.conv.weight.shape:
        return None
    hetero = deepcopy(wanted)
    hetero.conv1.conv.load_state_dict(given.conv.state_dict())
    hetero.conv1.bn.load_state_dict(given.bn.state_dict())
    nn.init.zeros_(hetero.conv2.bn.weight)
    nn.init.zeros_(hetero.conv2.bn.bias)
    return taking(hetero, given)


@torch.no_grad()
def _merged(given: Any, wanted: Any) -> nn.Module | None:
    """One convolution with batch normalisation, which gives the same outputs.

    Of the merged outputs the mean is known, and the variance if the branches are taken as independent; so training
    can go on from here without a jump of the statistics.
    """
    kernel, bias = given.get_equivalent_kernel_bias()
    if kernel.shape != wanted.conv.weight.shape:
        return None
    branches = [branch for branch in (given.conv1.bn, given.conv2.bn, given.bn) if branch is not None]
    mean = sum(bn.bias for bn in branches)
    variance = sum(bn.weight**2 * bn.running_var / (bn.running_var + bn.eps) for bn in branches)
    conv = deepcopy(wanted)
    conv.conv.weight.copy_(kernel)
    conv.bn.running_mean.copy_(mean - bias)
    conv.bn.running_var.copy_(variance)
    conv.bn.weight.copy_((conv.bn.running_var + conv.bn.eps).sqrt())
    conv.bn.bias.copy_(mean)
    return taking(conv, given)


@torch.no_grad()
def _resized(given: Any, wanted: Any) -> nn.Module | None:
    """The same attention with a spatial kernel of another size."""
    weight, size = given.sa.conv.weight, wanted.sa.conv.weight.shape
    if weight.shape == size or weight.shape[:2] != size[:2]:
        return None
    grown = (
        functional.pad(weight, (1, 1, 1, 1)) if given.kernel < wanted.kernel else weight.sum((2, 3), keepdim=True)
    )
    attention: CollaborativeAttention = deepcopy(given)
    attention.sa.conv = deepcopy(wanted.sa.conv)
    attention.sa.conv.weight.copy_(grown)
    return attention


def taking(new: nn.Module, old: nn.Module) -> nn.Module:
    """Let a module have what Ultralytics leaves on a layer when it builds a model; parts of a layer have none."""
    vars(new).update({name: vars(old)[name] for name in ("i", "f", "type", "np") if name in vars(old)})
    return new


def _count(model: DetectionModel, source: DetectionModel, new: set[str]) -> Transferred:
    tensors, given = model.state_dict(), source.state_dict()
    if model.model[-1].nc != source.model[-1].nc:
        new = new | _of_classes(model)
    could = {
        name
        for name in tensors.keys() - new
        if not name.endswith(".num_batches_tracked") and (name in given or not any(part in name for part in OURS))
    }
    fitting = {name for name in could if name in given and given[name].shape == tensors[name].shape}
    return Transferred(len(fitting), len(could))


def _of_classes(model: DetectionModel) -> set[str]:
    """Names of the tensors with a row for each class."""
    head = model.model[-1]
    last = {id(branch[-1]) for branch in head.cv3}
    return {
        f"{place}.{name}"
        for place, module in model.named_modules()
        if id(module) in last
        for name, _ in module.named_parameters()
    }
