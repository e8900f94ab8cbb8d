from __future__ import annotations

import copy

import pytest

from tiny_training import squares, trainer_of
from workers.yolo12.attempts import Interrupted
from workers.yolo12.process import prepare_process

prepare_process()

import torch  # noqa: E402

from workers.yolo12.adversarial import Adversary, perturb  # noqa: E402
from workers.yolo12.trainer import TrialTrainer  # noqa: E402

EPSILON = 0.01


class Linear(torch.nn.Module):
    """Its loss is a known linear function of the images, in two components as Ultralytics returns them."""

    def __init__(self, weights: torch.Tensor):
        super().__init__()
        self.weights = torch.nn.Parameter(weights)

    def forward(self, batch):
        loss = (self.weights * batch["img"]).sum()
        return torch.stack([0.25 * loss, 0.75 * loss]), {}


class TestFormula:
    def test_every_value_moves_by_epsilon_to_where_the_loss_grows(self):
        weights = torch.tensor([[[[3.0, -1e-6], [0.0, -200.0]]]])
        images = torch.tensor([[[[0.5, 0.5], [0.5, 0.003]]], [[[0.999, 1.0], [0.0, 0.0]]]])
        perturbed = perturb(Linear(weights), {"img": images, "cls": "kept"}, 0.01)
        expected = [[[[0.51, 0.49], [0.5, 0.0]]], [[[1.0, 0.99], [0.0, 0.0]]]]
        torch.testing.assert_close(perturbed["img"], torch.tensor(expected))
        assert perturbed["cls"] == "kept"
        assert not perturbed["img"].requires_grad

    def test_the_batch_and_the_parameters_stay_as_they_are(self):
        model, images = Linear(torch.ones(1, 1, 2, 2)), torch.full((1, 1, 2, 2), 0.5)
        batch = {"img": images}
        perturb(model, batch, 0.1)
        assert batch["img"] is images
        assert torch.equal(images, torch.full((1, 1, 2, 2), 0.5))
        assert not images.requires_grad
        assert model.weights.grad is None
        assert model.weights.requires_grad

    @pytest.mark.parametrize(("weight", "scale"), [(float("nan"), 1.0), (1e30, 1e30)])
    def test_a_gradient_that_is_not_finite_perturbs_nothing(self, weight, scale):
        batch = {"img": torch.full((1, 1, 2, 2), 0.5)}
        assert perturb(Linear(torch.full((1, 1, 2, 2), weight)), batch, 0.1, scale=scale) is batch


class TestAdversary:
    def batch(self):
        return {"img": torch.full((1, 1, 2, 2), 0.5)}

    def decisions(self, adversary, count=50):
        model = Linear(torch.ones(1, 1, 2, 2))
        batches = [self.batch() for _ in range(count)]
        return [adversary(model, batch) is not batch for batch in batches]

    def test_the_probability_is_the_share_of_perturbed_batches(self):
        for probability, low, high in ((0.0, 0, 0), (0.3, 240, 360), (1.0, 1000, 1000)):
            adversary = Adversary(probability, 0.1, 0)
            assert low <= sum(self.decisions(adversary, 1000)) == adversary.perturbed <= high
            assert adversary.seen == 1000

    def test_without_a_step_nothing_is_done(self):
        adversary = Adversary(1.0, 0.0, 0)
        assert not any(self.decisions(adversary))
        assert adversary.perturbed == 0

    def test_seed_and_epoch_decide(self):
        whole, resumed, other = Adversary(0.5, 0.1, 7), Adversary(0.5, 0.1, 7), Adversary(0.5, 0.1, 8)
        first = self.decisions(whole)
        whole.set_epoch(1)
        second = self.decisions(whole)
        resumed.set_epoch(1)
        assert second == self.decisions(resumed)
        assert first != second
        assert first != self.decisions(other)

    def test_it_uses_nobody_elses_random_numbers(self):
        torch.manual_seed(3)
        expected = torch.rand(3)
        torch.manual_seed(3)
        self.decisions(Adversary(0.5, 0.1, 0))
        assert torch.equal(torch.rand(3), expected)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return squares(tmp_path_factory.mktemp("squares"), train=32)


class Recorder(TrialTrainer):
    """Keeps its batches as they reach the model."""

    def __init__(self, *args, **kwargs):
        self.batches = []
        super().__init__(*args, **kwargs)

    def preprocess_batch(self, batch):
        batch = super().preprocess_batch(batch)
        self.batches.append(batch)
        return batch


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A slightly trained model and batches of its last epoch."""
    trainer = trainer_of(Recorder, data, tmp_path_factory.mktemp("trained"), epochs=6, warmup_epochs=1.0)
    trainer.train()
    return trainer.model.train(), trainer.batches[-4:]


@pytest.fixture
def model(trained):
    model = copy.deepcopy(trained[0])
    model.zero_grad()
    return model


@pytest.mark.slow
class TestModel:
    def loss(self, model, batch):
        with torch.no_grad():
            return float(model(batch)[0].sum())

    def test_the_loss_grows_and_more_than_by_noise_of_that_size(self, model, trained):
        generator = torch.manual_seed(0)
        for batch in trained[1]:
            clean, harder = self.loss(model, batch), self.loss(model, perturb(model, batch, EPSILON))
            assert harder > clean
            changes = []
            for _ in range(8):  # one draw can be unlucky, and models differ in the last digits between processors
                noise = torch.empty_like(batch["img"]).bernoulli_(0.5, generator=generator) * 2 - 1
                noisy = {**batch, "img": (batch["img"] + EPSILON * noise).clamp(0, 1)}
                changes.append(abs(self.loss(model, noisy) - clean))
            assert harder - clean > 3 * sum(changes) / len(changes)

    def test_the_images_stay_near_and_valid(self, model, trained):
        batch = trained[1][0]
        images = perturb(model, batch, EPSILON)["img"]
        assert 0.0 <= float(images.min()) <= float(images.max()) <= 1.0
        assert float((images - batch["img"]).abs().max()) == pytest.approx(EPSILON, rel=1e-4)
        assert float((images != batch["img"]).float().mean()) > 0.9

    def test_it_leaves_no_trace_in_the_model(self, model, trained):
        before = copy.deepcopy(model.state_dict())
        perturb(model, trained[1][0], EPSILON)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())
        assert model.training
        model(trained[1][0])
        after = model.state_dict()
        moved = [name for name in before if not torch.equal(before[name], after[name])]
        assert any("running_mean" in name for name in moved), "training moves the statistics again"

    @pytest.mark.parametrize("precision", [None, torch.bfloat16])
    def test_step_two_has_the_gradients_of_a_training_on_these_images(self, model, trained, precision):
        """Autocast keeps the weights that step 1 has converted for step 2."""

        def gradients(model, batch, attack):
            with torch.autocast("cpu", dtype=precision or torch.bfloat16, enabled=precision is not None):
                batch = perturb(model, batch, EPSILON) if attack else batch
                loss = model(batch)[0].sum()
            loss.backward()
            return batch, [parameter.grad for parameter in model.parameters() if parameter.requires_grad]

        plain = copy.deepcopy(model)
        perturbed, after_attack = gradients(model, trained[1][0], attack=True)
        _, expected = gradients(plain, perturbed, attack=False)
        assert all(gradient is not None for gradient in after_attack)
        for ours, theirs in zip(after_attack, expected, strict=True):
            assert torch.equal(ours, theirs)

    def test_half_precision_needs_the_scale(self, model, trained):
        """With a loss as small as many pixels make it, gradients vanish in half precision."""

        class Faint(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, batch):
                loss, items = self.model(batch)
                return loss * 2.0**-20, items

        batch, moved = trained[1][0], []
        for scale in (1.0, 2.0**20):
            with torch.autocast("cpu", dtype=torch.float16):
                images = perturb(Faint(), batch, EPSILON, scale=scale)["img"]
            moved.append(float((images != batch["img"]).float().mean()))
        assert moved[0] < 0.5
        assert moved[1] > 0.9

    def test_a_scale_that_overflows_leaves_the_batch_clean(self, model, trained):
        batch = trained[1][0]
        with torch.autocast("cpu", dtype=torch.float16):
            assert perturb(model, batch, EPSILON, scale=2.0**24) is batch


class AdversarialTrainer(TrialTrainer):
    """Plugs an adversary in as a recipe does."""

    probability = 1.0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.adversary = Adversary(self.probability, EPSILON, self.args.seed)
        self.decided = []
        self.callbacks["on_train_epoch_start"].append(lambda trainer: self.adversary.set_epoch(trainer.epoch))

    def preprocess_batch(self, batch):
        before = self.adversary.perturbed
        batch = super().preprocess_batch(batch)
        batch = self.adversary(self.model, batch, scale=self.scaler.get_scale())
        self.decided.append((self.epoch, self.adversary.perturbed - before))
        return batch


class NeverTrainer(AdversarialTrainer):
    probability = 0.0


class SometimesTrainer(AdversarialTrainer):
    probability = 0.5


@pytest.mark.slow
class TestTraining:
    def losses(self, base, data, directory, **settings):
        losses = []

        def report(trainer):
            losses.append({**trainer.label_loss_items(trainer.tloss), **trainer.metrics})
            trainer.kept = trainer.last.read_bytes() if trainer.last.exists() else b""
            trainer.stop = trainer.stop or trainer.epoch == settings.get("stop_after")

        arguments = {name: value for name, value in settings.items() if name != "stop_after"}
        trainer = trainer_of(base, data, directory, report=report, **arguments)
        trainer.train()
        return losses, trainer

    def test_a_training_with_frozen_layers(self, data, tmp_path):
        losses, trainer = self.losses(AdversarialTrainer, data, tmp_path, freeze=3)
        assert (trainer.adversary.seen, trainer.adversary.perturbed) == (8, 8)
        assert len(losses) == 2
        first = trainer.model.model[0].bn
        assert int(first.num_batches_tracked) == 0, "frozen layers keep their statistics"
        assert int(trainer.model.model[5].bn.num_batches_tracked) == 8, "others count each batch once"

    def test_equal_seeds_train_equally_and_harder_than_without(self, data, tmp_path):
        stock = self.losses(TrialTrainer, data, tmp_path / "stock")[0]
        never = self.losses(NeverTrainer, data, tmp_path / "never")[0]
        first = self.losses(AdversarialTrainer, data, tmp_path / "first")[0]
        second = self.losses(AdversarialTrainer, data, tmp_path / "second")[0]
        assert never == stock
        assert first == second != stock

    def test_an_interrupted_training_goes_on_with_the_same_decisions(self, data, tmp_path, monkeypatch):
        monkeypatch.setattr("workers.yolo12.trainer.CHECKPOINT_SECONDS", 0.0)
        whole = self.losses(SometimesTrainer, data, tmp_path / "whole", epochs=3)[1].decided
        assert 0 < sum(number for _, number in whole) < len(whole)
        stopped = self.losses(SometimesTrainer, data, tmp_path / "stopped", epochs=3, stop_after=0)[1]
        checkpoint = tmp_path / "last.pt"
        checkpoint.write_bytes(stopped.kept)
        interrupted = Interrupted(1, checkpoint, {})
        rest = self.losses(SometimesTrainer, data, tmp_path / "rest", epochs=3, interrupted=interrupted)[1].decided
        assert stopped.decided + rest == whole
