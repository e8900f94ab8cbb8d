from __future__ import annotations

import copy
import io

import numpy as np
import pytest

from workers.yolo12.process import prepare_process

prepare_process()

import torch  # noqa: E402
from torch import nn  # noqa: E402

from workers.yolo12.attention import AttentiveDetect, CollaborativeAttention, OneMapConv2d, _Weight  # noqa: E402


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """With statistics and weights as training leaves them, instead of zeros and ones."""
    generator = torch.Generator().manual_seed(seed)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.weight.data.uniform_(0.5, 1.5, generator=generator)
            norm.bias.data.normal_(0, 0.5, generator=generator)
            norm.running_mean.normal_(0, 0.5, generator=generator)
            norm.running_var.uniform_(0.3, 1.3, generator=generator)
    return module


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def by_hand(x, attention: CollaborativeAttention, alpha: float):
    """X * (1 + alpha SE(X)) * (1 + alpha SA(X)) in numpy, place by place."""
    values = {name: tensor.double().numpy() for name, tensor in attention.state_dict().items()}
    batch, _, height, width = x.shape
    pooled = x.mean(axis=(2, 3))
    hidden = pooled @ values["squeeze.weight"].T + values["squeeze.bias"]
    hidden *= sigmoid(hidden)
    se = sigmoid(hidden @ values["excite.weight"].T + values["excite.bias"])
    kernel = values["sa.conv.weight"][0]
    side = kernel.shape[-1]
    framed = np.pad(x, ((0, 0), (0, 0), (side // 2, side // 2), (side // 2, side // 2)))
    sa = np.empty((batch, height, width))
    for row in range(height):
        for column in range(width):
            window = framed[:, :, row : row + side, column : column + side]
            sa[:, row, column] = (window * kernel).sum(axis=(1, 2, 3))
    deviation = np.sqrt(values["sa.bn.running_var"] + 1e-3)
    sa = (sa - values["sa.bn.running_mean"]) / deviation * values["sa.bn.weight"] + values["sa.bn.bias"]
    return x * (1 + alpha * se[:, :, None, None]) * (1 + alpha * sigmoid(sa)[:, None])


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("alpha", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("gradients", [False, True])
def test_is_the_formula(kernel, alpha, gradients):
    torch.manual_seed(kernel)
    attention = shaken(CollaborativeAttention(24, alpha, kernel)).double().eval()
    x = torch.randn(2, 24, 5, 7, dtype=torch.double, requires_grad=gradients)
    np.testing.assert_allclose(
        attention(x).detach().numpy(), by_hand(x.detach().numpy(), attention, alpha), rtol=1e-12
    )


def test_alpha_0_is_the_identity():
    x = torch.randn(1, 16, 4, 4)
    assert CollaborativeAttention(16, 0.0)(x) is x


@pytest.mark.parametrize(("channels", "kernel", "hidden"), [(64, 3, 8), (256, 3, 32), (32, 1, 8)])
def test_parameters(channels, kernel, hidden):
    count = sum(p.numel() for p in CollaborativeAttention(channels, kernel=kernel).parameters())
    assert count == 2 * channels * hidden + hidden + channels + kernel**2 * channels + 2


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_out_of_range(alpha):
    with pytest.raises(ValueError, match="alpha: must be from 0 to 1, but got"):
        CollaborativeAttention(16, alpha)


@pytest.mark.parametrize("kernel", [2, 5, 0])
def test_no_such_kernel(kernel):
    with pytest.raises(ValueError, match=r"kernel: must be one of \(1, 3\), but got"):
        CollaborativeAttention(16, kernel=kernel)


def test_normalises_as_the_other_layers():
    """Ultralytics' eps and momentum, not torch's; the model that it comes into has been set up before."""
    norm = CollaborativeAttention(16).sa.bn
    assert (norm.eps, norm.momentum) == (1e-3, 0.03)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 8, 6, 6), (3, 5, 1, 1), (2, 16, 3, 11)])
def test_the_convolution_to_one_map(shape, bias):
    torch.manual_seed(0)
    ours = OneMapConv2d(shape[1], 1, 3, padding=1, bias=bias).double()
    theirs = nn.Conv2d(shape[1], 1, 3, padding=1, bias=bias).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(shape, dtype=torch.double)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [conv(one) for conv, one in zip((ours, theirs), inputs, strict=True)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        (output * torch.arange(output.numel(), dtype=torch.double).view_as(output)).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_the_gradient_of_the_weighted_map():
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(shape, dtype=torch.double, generator=generator, requires_grad=True)
        for shape in ((2, 3, 4, 5), (2, 3, 1, 1), (2, 1, 4, 5))
    ]
    assert torch.autograd.gradcheck(_Weight.apply, inputs)


def test_of_maps_only_the_input_is_kept_for_the_way_back():
    """It is kept by whoever made it anyway; each product would be another map in memory."""
    kept = set()

    def keep(tensor):
        if tensor.numel() >= x.numel():
            kept.add(tensor.untyped_storage().data_ptr())
        return tensor

    x = torch.randn(1, 16, 64, 64, requires_grad=True)
    attention = CollaborativeAttention(16)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        attention(x)
    assert kept == {x.untyped_storage().data_ptr()}


def test_closed_is_near_the_identity_and_learns():
    torch.manual_seed(0)
    attention = CollaborativeAttention(64, 1.0)
    attention.close()
    x = 3 * torch.randn(2, 64, 10, 10)
    for mode in (True, False):
        change = (attention.train(mode)(x) / x - 1).abs().max()
        assert 0.005 < change < 0.03
    attention.train()(x).square().sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision(kind):
    torch.manual_seed(0)
    attention = shaken(CollaborativeAttention(32)).train()
    x = torch.randn(2, 32, 8, 8, requires_grad=True)
    expected = attention(x)
    with torch.autocast("cpu", dtype=kind):
        weighted = attention(x.to(kind))
    assert weighted.dtype in (kind, torch.float32)
    torch.testing.assert_close(weighted.float(), expected, rtol=0.05, atol=0.05)
    weighted.float().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in attention.parameters())
    halved = copy.deepcopy(attention).to(kind).eval()
    assert halved(x.detach().to(kind)).dtype is kind


def test_copies_and_pickles():
    attention = shaken(CollaborativeAttention(16, 0.25, 1)).eval()
    file = io.BytesIO()
    torch.save(attention, file)
    file.seek(0)
    x = torch.randn(1, 16, 4, 4)
    for other in (copy.deepcopy(attention), torch.load(file, weights_only=False)):
        assert (other.alpha, other.kernel) == (0.25, 1)
        assert torch.equal(other(x), attention(x))


def test_the_head_weights_every_map_and_leaves_the_list():
    from ultralytics.nn.modules.head import Detect

    torch.manual_seed(0)
    head = Detect(nc=2, ch=(16, 24, 32))
    head.stride = torch.tensor([8.0, 16.0, 32.0])
    plain = copy.deepcopy(head).eval()
    attentive = shaken(AttentiveDetect(head, 0.5)).eval()
    plain.load_state_dict({k: v for k, v in attentive.state_dict().items() if not k.startswith("attention")})
    maps = [torch.randn(1, channels, side, side) for channels, side in ((16, 8), (24, 4), (32, 2))]
    given = list(maps)
    seen = attentive(given)[0]
    assert all(one is other for one, other in zip(given, maps, strict=True))
    weighted = [attend(level) for attend, level in zip(attentive.attention, maps, strict=True)]
    assert torch.equal(seen, plain(weighted)[0])
    assert not torch.allclose(seen, plain(maps)[0])
