from __future__ import annotations

import itertools
import math
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny_training import squares, trainer_of
from workers.yolo12.attempts import Interrupted
from workers.yolo12.process import prepare_process
from workers.yolo12.recipe import Recipe

prepare_process()

import torch  # noqa: E402
from ultralytics.engine.trainer import BaseTrainer  # noqa: E402

from workers.yolo12.schedule import CosineRestarts, make_schedule  # noqa: E402
from workers.yolo12.trainer import TrialTrainer  # noqa: E402

SLIDES = Recipe(lr_schedule="cosine_restarts", lr_cycle=10, lr_cycle_mult=1.0, lr_gamma=0.7)

cycles = st.builds(
    CosineRestarts,
    cycle=st.integers(1, 100),
    mult=st.one_of(st.just(1.0), st.floats(1.0, 10.0)),
    gamma=st.floats(0.01, 1.0),
    floor=st.floats(0.0, 1.0),
)
numbers = st.integers(0, 12)


def sgd() -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


class TestStock:
    @pytest.mark.parametrize(("name", "cos_lr"), [("linear", False), ("cosine", True)])
    @pytest.mark.parametrize("lrf", [0.0, 0.01, 0.3, 1.0])
    def test_equals_the_schedule_of_ultralytics(self, name, cos_lr, lrf):
        trainer = SimpleNamespace(args=SimpleNamespace(cos_lr=cos_lr, lrf=lrf), epochs=7, optimizer=sgd())
        BaseTrainer._setup_scheduler(trainer)
        ours = make_schedule(Recipe(lr_schedule=name), 7, lrf)
        assert [ours(epoch) for epoch in range(10)] == [trainer.lf(epoch) for epoch in range(10)]

    def test_another_name_is_refused(self):
        with pytest.raises(
            ValueError, match="lr_schedule: must be linear, cosine or cosine_restarts, but got 'step'"
        ):
            make_schedule(Recipe(lr_schedule="step"), 10, 0.1)


class TestRestarts:
    def test_the_example_of_the_slides(self):
        """first_cycle_steps=10, cycle_mult=1.0, max_lr=0.1, min_lr=0.001, gamma=0.7."""
        factor = make_schedule(SLIDES, 100, 0.001 / 0.1)
        rates = [0.1 * factor(epoch) for epoch in range(100)]
        assert rates[::10] == pytest.approx([0.1 * 0.7**cycle for cycle in range(10)])
        assert rates[5] == pytest.approx((0.1 + 0.001) / 2)
        assert rates[15] == pytest.approx((0.07 + 0.001) / 2)
        assert rates[9] == pytest.approx(0.001 + 0.099 * (1 + math.cos(0.9 * math.pi)) / 2)

    @pytest.mark.parametrize(("cycle", "mult"), [(1, 1), (1, 2), (4, 1), (3, 2), (5, 3)])
    def test_equals_the_restarts_of_torch_where_those_go(self, cycle, mult):
        """Its lengths are whole multiples and its maximum never decays."""
        optimizer = sgd()
        theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, cycle, mult, eta_min=0.1 * 0.02)
        ours = CosineRestarts(cycle, float(mult), 1.0, 0.02)
        for epoch in range(200):
            assert theirs.get_last_lr()[0] == pytest.approx(0.1 * ours(epoch), rel=1e-9), epoch
            optimizer.step()
            theirs.step()

    def test_lengths_that_are_no_whole_numbers_are_rounded_without_drift(self):
        restarts = CosineRestarts(10, 1.25)
        exact = [sum((10 * Fraction(5, 4) ** k for k in range(number)), Fraction()) for number in range(30)]
        assert all(abs(restarts.start(number) - start) <= Fraction(1, 2) for number, start in enumerate(exact))
        assert [restarts.start(number) for number in range(5)] == [0, 10, 23, 38, 58]  # 22.5, 38.125, 57.65625

    @pytest.mark.parametrize("excess", [1e-15, 1e-12, 1e-9])
    def test_hardly_growing_cycles_are_cycles_of_one_length(self, excess):
        assert [CosineRestarts(7, 1.0 + excess).start(number) for number in range(100)] == list(range(0, 700, 7))

    @given(cycles, numbers)
    def test_a_cycle_begins_at_its_maximum(self, restarts, number):
        start = restarts.start(number)
        assert restarts.number(start) == number
        assert restarts(start) == pytest.approx(max(restarts.gamma**number, restarts.floor))
        if start:
            assert restarts.number(start - 1) == number - 1

    @given(cycles, st.integers(0, 10**6))
    def test_the_factor_lies_between_the_floor_and_the_maximum_of_its_cycle(self, restarts, epoch):
        top = max(restarts.gamma ** restarts.number(epoch), restarts.floor)
        assert restarts.floor - 1e-12 <= restarts(epoch) <= top + 1e-12

    @given(cycles, numbers, st.data())
    def test_it_never_rises_within_a_cycle(self, restarts, number, data):
        inside = st.floats(restarts.start(number), restarts.start(number + 1), exclude_max=True)
        early, late = sorted(data.draw(st.tuples(inside, inside)))
        assert restarts(late) <= restarts(early) + 1e-12

    @given(cycles)
    def test_each_cycle_is_as_much_longer_as_asked_for(self, restarts):
        starts = [restarts.start(number) for number in range(8)]
        lengths = [end - start for start, end in itertools.pairwise(starts)]
        exact = [restarts.cycle * restarts.mult**number for number in range(7)]
        assert all(length >= 1 for length in lengths)
        assert lengths == pytest.approx(exact, abs=1.0)  # both ends are rounded

    @given(cycles, st.integers(0, 10**9))
    def test_a_late_epoch_costs_what_an_early_one_does(self, restarts, epoch):
        asked = []

        class Counting(CosineRestarts):
            def start(self, number):
                asked.append(number)
                return super().start(number)

        Counting(restarts.cycle, restarts.mult, restarts.gamma, restarts.floor)(epoch)
        assert len(asked) <= 6

    @pytest.mark.parametrize("bad", [(0, 1.0, 1.0), (1, 0.9, 1.0), (1, 1.0, 0.0), (1, 1.0, 1.1)])
    def test_what_is_no_schedule_is_refused(self, bad):
        with pytest.raises(ValueError, match="must hold, but got CosineRestarts"):
            CosineRestarts(*bad)

    def test_a_floor_above_the_decayed_maximum_holds(self):
        restarts = CosineRestarts(2, 1.0, 0.5, 0.3)
        assert [restarts(epoch) for epoch in (0, 2, 4, 5, 400)] == pytest.approx([1.0, 0.5, 0.3, 0.3, 0.3])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return squares(tmp_path_factory.mktemp("squares"))


@pytest.mark.slow
class TestTraining:
    def rates(self, data, directory, interrupted=None, stop_after=None):
        class RestartsTrainer(TrialTrainer):
            def _setup_scheduler(self):
                self.lf = make_schedule(
                    Recipe(lr_schedule="cosine_restarts", lr_cycle=2, lr_gamma=0.5), self.epochs, self.args.lrf
                )
                self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lr_lambda=self.lf)

        rates = {}

        def report(trainer):
            rates[trainer.epoch] = sorted(trainer.lr.values())
            trainer.stop = trainer.stop or trainer.epoch == stop_after
            trainer.kept = trainer.last.read_bytes() if trainer.last.exists() else b""

        trainer = trainer_of(
            RestartsTrainer, data, directory, report=report, interrupted=interrupted, epochs=5, warmup_epochs=1.0
        )
        trainer.train()
        return rates, trainer

    def test_restarts_after_the_warm_up_and_after_an_interruption(self, data, tmp_path, monkeypatch):
        monkeypatch.setattr("workers.yolo12.trainer.CHECKPOINT_SECONDS", 0.0)
        lr0, floor = 0.002, 0.01
        cycle = [1.0, (1 + floor) / 2]
        expected = [lr0 * factor for factor in (*cycle, 0.5, (0.5 + floor) / 2, 0.25)]
        whole, _ = self.rates(data, tmp_path / "whole")
        # The warm-up of two batches is over when the second epoch begins.
        assert whole[0][0] < whole[0][-1], "the warm-up moves biases and weights apart"
        for epoch in range(1, 5):
            assert whole[epoch] == pytest.approx([expected[epoch]] * 3)

        first, trainer = self.rates(data, tmp_path / "first", stop_after=1)
        assert list(first) == [0, 1]
        checkpoint = tmp_path / "last.pt"
        checkpoint.write_bytes(trainer.kept)
        rest, _ = self.rates(data, tmp_path / "rest", Interrupted(2, checkpoint, {}))
        assert rest == {epoch: whole[epoch] for epoch in (2, 3, 4)}
