from __future__ import annotations

import copy
import io

import pytest

pytest.importorskip("torch")
import torch
from torch import nn

from workers.yolo12.normalisation import CrossBatchNorm2d, begin_step, frozen_statistics

EPS = 1e-3
MOMENTUM = 0.03
SIZES = ((2, 3), (3, 2), (1, 5), (4, 4))
"""Pictures and their side, for each mini-batch of a step."""


def stock(channels: int = 5, **settings) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, **{"eps": EPS, "momentum": MOMENTUM, **settings})
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm.double()


def batches(channels: int = 5) -> list[torch.Tensor]:
    """Each with a mean and a spread of its own."""
    return [
        torch.randn(count, channels, side, side, dtype=torch.float64) * (index + 1) + index
        for index, (count, side) in enumerate(SIZES)
    ]


def columns(maps: list[torch.Tensor]) -> torch.Tensor:
    """All values of several maps, shape (values, channels)."""
    return torch.cat([each.movedim(1, -1).reshape(-1, each.shape[1]) for each in maps])


def by_all(norm: nn.BatchNorm2d, maps: list[torch.Tensor]) -> torch.Tensor:
    """The last of the maps, normalised by the statistics of all of them, as the formula says."""
    values = columns(maps)
    mean, variance = values.mean(0), values.var(0, correction=0)
    scaled = (maps[-1] - mean[:, None, None]) / (variance + norm.eps).sqrt()[:, None, None]
    return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("window", [2, 3, 4, 16])
def test_a_mini_batch_is_normalised_as_in_one_batch_with_those_before_it(window):
    norm = CrossBatchNorm2d(stock(), window)
    maps = batches()
    for index, each in enumerate(maps):
        pooled = maps[max(0, index - window + 1) : index + 1]
        torch.testing.assert_close(norm(each), by_all(norm, pooled), rtol=0, atol=1e-12)


def test_torch_agrees_that_this_is_the_normalisation_of_the_concatenated_batch():
    plain, maps = stock(), [torch.randn(4, 5, 6, 6, dtype=torch.float64) * scale for scale in (1, 2, 3)]
    norm = CrossBatchNorm2d(copy.deepcopy(plain), 3)
    together = plain(torch.cat(maps))
    outputs = [norm(each) for each in maps]
    torch.testing.assert_close(outputs[-1], together[-4:], rtol=0, atol=1e-12)
    assert (outputs[0] - together[:4]).abs().max() > 0.1  # the first has seen nothing but itself


def test_a_new_step_forgets():
    norm, maps = CrossBatchNorm2d(stock(), 4), batches()
    model = nn.Sequential(nn.Identity(), norm)
    model(maps[0])
    begin_step(model)
    torch.testing.assert_close(model(maps[1]), by_all(norm, maps[1:2]), rtol=0, atol=1e-12)
    torch.testing.assert_close(model(maps[2]), by_all(norm, maps[1:3]), rtol=0, atol=1e-12)


def test_running_statistics_follow_the_pooled_ones():
    plain = stock()
    norm, maps = CrossBatchNorm2d(copy.deepcopy(plain), 3), batches()
    mean, variance = plain.running_mean.clone(), plain.running_var.clone()
    for index, each in enumerate(maps):
        norm(each)
        values = columns(maps[max(0, index - 2) : index + 1])
        mean = (1 - MOMENTUM) * mean + MOMENTUM * values.mean(0)
        variance = (1 - MOMENTUM) * variance + MOMENTUM * values.var(0, correction=1)
    torch.testing.assert_close(norm.running_mean, mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(norm.running_var, variance, rtol=0, atol=1e-12)
    assert norm.num_batches_tracked == len(maps)


def test_without_a_momentum_running_statistics_are_the_mean_over_all_mini_batches():
    plain = stock(momentum=None)
    norm = CrossBatchNorm2d(copy.deepcopy(plain), 2)
    for each in batches():
        norm.begin_step()
        norm(each)
        plain(each)
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.running_var, plain.running_var)


@pytest.mark.parametrize("window", [1, 4])
def test_a_step_of_one_mini_batch_is_stock_to_the_last_bit(window):
    plain = stock().float()
    norm = CrossBatchNorm2d(copy.deepcopy(plain), window)
    x = torch.randn(3, 5, 7, 7)
    results = []
    for each in (plain, norm):
        each.zero_grad()
        begin_step(each)
        given = x.clone().requires_grad_()
        output = each(given)
        output.pow(3).sum().backward()
        results.append((output, given.grad, each.weight.grad, each.bias.grad))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*results, strict=True))
    torch.testing.assert_close(norm.running_var, plain.running_var)


def test_a_window_of_one_is_stock_for_every_mini_batch():
    plain = stock()
    norm = CrossBatchNorm2d(copy.deepcopy(plain), 1)
    for each in batches():
        assert torch.equal(norm(each), plain(each))
    for name, value in plain.state_dict().items():
        assert torch.equal(norm.state_dict()[name], value)


def test_in_evaluation_it_is_stock_and_remembers_nothing():
    plain = stock()
    plain.running_mean.normal_()
    norm, maps = CrossBatchNorm2d(copy.deepcopy(plain), 4).eval(), batches()
    for each in maps:
        assert torch.equal(norm(each), plain.eval()(each))
    norm.train()
    torch.testing.assert_close(norm(maps[0]), by_all(norm, maps[:1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("affine", [True, False])
def test_gradients_are_those_of_the_formula_with_the_earlier_mini_batches_held_constant(affine):
    norm, (first, second, third, _) = CrossBatchNorm2d(stock(affine=affine), 3), batches()
    ours, formula = third.clone().requires_grad_(), third.clone().requires_grad_()
    values = columns([first, second, formula])
    mean, variance = values.mean(0), values.var(0, correction=0)
    wanted = (formula - mean[:, None, None]) / (variance + EPS).sqrt()[:, None, None]
    if affine:
        weight, bias = (each.detach().clone().requires_grad_() for each in (norm.weight, norm.bias))
        wanted = wanted * weight[:, None, None] + bias[:, None, None]
    wanted.pow(3).sum().backward()

    norm(first)
    norm(second)
    norm(ours).pow(3).sum().backward()
    torch.testing.assert_close(ours.grad, formula.grad, rtol=1e-9, atol=1e-9)
    if affine:
        torch.testing.assert_close(norm.weight.grad, weight.grad, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(norm.bias.grad, bias.grad, rtol=1e-9, atol=1e-9)


def test_gradients_agree_with_differences():
    norm, maps = CrossBatchNorm2d(stock(3), 3), batches(3)

    def last(x, weight, bias):
        norm.begin_step()
        norm(maps[0])
        return torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x,))

    weight, bias = (each.detach().clone().requires_grad_() for each in (norm.weight, norm.bias))
    assert torch.autograd.gradcheck(last, (maps[1].requires_grad_(), weight, bias))


def test_parameters_that_need_no_gradient_get_none():
    norm, maps = CrossBatchNorm2d(stock(), 2).requires_grad_(False), batches()
    norm(maps[0])
    x = maps[1].requires_grad_()
    norm(x).pow(2).sum().backward()
    assert x.grad is not None
    assert norm.weight.grad is None


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_maps_are_normalised_by_single_precision_statistics(kind):
    norm = CrossBatchNorm2d(stock().float(), 3)
    maps = [(each.float() + 100).to(kind) for each in batches()[:3]]
    wanted = by_all(norm, [each.float() for each in maps])
    for each in maps:
        output = norm(each.requires_grad_())
    assert output.dtype == kind
    assert norm.running_mean.dtype == torch.float32
    torch.testing.assert_close(output.float(), wanted, rtol=torch.finfo(kind).eps, atol=2 * torch.finfo(kind).eps)
    output.float().pow(2).sum().backward()
    assert maps[-1].grad.dtype == kind
    assert maps[-1].grad.isfinite().all()


def test_a_large_mean_does_not_drown_the_variance():
    norm = CrossBatchNorm2d(nn.BatchNorm2d(2, eps=1e-5), 2)
    maps = [torch.randn(8, 2, 16, 16) + 3000 for _ in range(2)]
    norm(maps[0])
    assert norm(maps[1]).std().item() == pytest.approx(1, abs=0.05)


def test_a_single_value_per_channel_is_refused_as_in_torch():
    norm = CrossBatchNorm2d(nn.BatchNorm2d(2), 2)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm(torch.zeros(1, 2, 1, 1))


def test_it_takes_the_place_of_a_normalisation_with_all_that_belongs_to_it():
    plain = stock().eval()
    norm = CrossBatchNorm2d(plain, 4)
    assert isinstance(norm, nn.BatchNorm2d)
    assert list(norm.state_dict()) == list(plain.state_dict())
    assert norm.weight is plain.weight  # an optimizer that has it goes on training it
    assert norm.running_var is plain.running_var
    assert (norm.eps, norm.momentum, norm.training) == (EPS, MOMENTUM, False)


def test_a_remembered_mini_batch_goes_into_no_copy_and_no_checkpoint():
    norm, maps = CrossBatchNorm2d(stock(), 3), batches()
    norm(maps[0])
    buffer = io.BytesIO()
    torch.save(norm, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    for other in (copy.deepcopy(norm), loaded):
        assert other.window == 3
        torch.testing.assert_close(other(maps[1]), by_all(norm, maps[1:2]), rtol=0, atol=1e-12)
    torch.testing.assert_close(norm(maps[1]), by_all(norm, maps[:2]), rtol=0, atol=1e-12)


class TestFrozenStatistics:
    @pytest.fixture
    def model(self) -> nn.Module:
        return nn.Sequential(stock(), CrossBatchNorm2d(stock(), 3), nn.BatchNorm2d(5, dtype=torch.float64))

    def test_a_forward_pass_leaves_no_trace(self, model):
        maps = batches()
        model(maps[0])
        twin = nn.Sequential(stock(), CrossBatchNorm2d(stock(), 3), nn.BatchNorm2d(5, dtype=torch.float64))
        twin.load_state_dict(model.state_dict())
        twin[1]._seen = list(model[1]._seen)
        with frozen_statistics(model):
            model(maps[1]).sum().backward()
        for name, value in twin.state_dict().items():
            assert torch.equal(model.state_dict()[name], value), name
        assert torch.equal(model(maps[2]), twin(maps[2]))  # nor is anything in the window
        assert model[0].num_batches_tracked == 2

    def test_it_normalises_by_the_mini_batch_alone(self, model):
        maps = batches()
        model(maps[0])
        with frozen_statistics(model):
            output = model[1](maps[1])
        torch.testing.assert_close(output, by_all(model[1], maps[1:2]), rtol=0, atol=1e-12)

    def test_a_normalisation_in_evaluation_keeps_using_its_running_statistics(self, model):
        x = batches()[0]
        model[0].running_mean.normal_()
        wanted = model[0].eval()(x)
        with frozen_statistics(model):
            assert torch.equal(model[0](x), wanted)

    def test_it_ends_with_an_error_too(self, model):
        with pytest.raises(RuntimeError, match="in between"), frozen_statistics(model):
            raise RuntimeError("in between")
        before = model[0].running_mean.clone()
        model(batches()[0])
        assert not torch.equal(model[0].running_mean, before)

    def test_a_normalisation_without_running_statistics_stays_without(self):
        norm = nn.BatchNorm2d(5, track_running_stats=False)
        with frozen_statistics(norm):
            norm(torch.randn(2, 5, 3, 3))
        assert norm.track_running_stats is False
