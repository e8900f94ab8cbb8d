"""The built-in objective: one fresh Ultralytics trainer and model for every trial."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolve.trial import EpochReport, Failure, FailureKind, Json, TrialFailed, TrialResult, TrialSpec, TrialStream
from workers.yolo12.architectures import MODEL, MODELS, architecture
from workers.yolo12.arguments import CATALOGUE, advice, to_ultralytics
from workers.yolo12.process import cpu_share, prepare_process
from workers.yolo12.recipe import Recipe
from workers.yolo12.streaming import Cancelled, Channel, stream
from workers.yolo12.weights import local_weights

if TYPE_CHECKING:
    from workers.yolo12.trainer import Start, TrialTrainer

FIXED: Mapping[str, Json] = {
    "mode": "train",
    "task": "detect",
    "val": True,
    "plots": False,
    "save": True,
    "save_period": -1,
    "verbose": False,
    "exist_ok": True,
    "resume": False,
    "pretrained": False,
    "cache": False,
}
"""What no search space decides."""


class YoloObjective:
    """Trains YOLO12, stock or improved, on a prepared data set; see `evolve.trial.Objective`."""

    def run(self, spec: TrialSpec) -> TrialStream:
        """Train `spec`, going on from an interrupted attempt at the same training where there is one.

        Raises:
            TrialFailed: with `OUT_OF_MEMORY`, `DIVERGED`, `DATA` or `CODE`.
        """
        return (yield from stream(lambda channel: _Trial(spec, channel).train()))


@dataclass
class _Trial:
    """One run of one spec; lives in the training thread."""

    spec: TrialSpec
    channel: Channel[EpochReport]
    trainer: TrialTrainer | None = None
    started: float = 0.0
    notes: list[str] = field(default_factory=list)
    measured: dict[str, float] | None = None

    def train(self) -> TrialResult:
        self.started = time.monotonic()
        outcome: TrialResult | Failure | None = None
        try:
            outcome = self._train()
        except TrialFailed as error:
            outcome = error.failure
        except Exception as error:  # anything else is classified: the kind decides about another attempt
            outcome = self._classify(error)
        except Cancelled:
            pass
        # Not before here: until an exception is gone, its frames keep the model.
        self._free()
        if outcome is None:
            raise Cancelled
        if isinstance(outcome, Failure):
            raise TrialFailed(outcome.kind, outcome.message, epoch=outcome.epoch, details=outcome.details)
        return outcome

    def _train(self) -> TrialResult:
        requested = requested_arguments(self.spec)
        prepare_process()
        from workers.yolo12.effective import differences, effective_arguments
        from workers.yolo12.recipe_trainer import RecipeTrainer

        self.channel.check()
        overrides, start = self._overrides(requested), self._start()
        check, report = self.channel.check, self._report
        self.trainer = trainer = RecipeTrainer(overrides, start, Recipe.of(requested), check=check, report=report)
        self.channel.check()
        trainer.train()
        effective = effective_arguments(trainer)
        fitted = trainer.transferred
        if fitted is not None and fitted.loaded < fitted.total:
            self.notes.append(f"{fitted.loaded} of {fitted.total} tensors of the weights fit; the rest began anew")
        scored = self._score_test(trainer) if self.spec.score_test else {}
        seconds = time.monotonic() - self.started
        return TrialResult(
            metrics={**trainer.best_metrics, **self._measured(trainer), **scored},
            effective=effective,
            differences=differences(requested, effective),
            weights=str(trainer.best),
            epochs=trainer.epoch + 1,
            seconds=seconds,
            notes=tuple(self.notes),
        )

    def _overrides(self, requested: Mapping[str, Json]) -> dict[str, Any]:
        import torch

        device = requested.get("device", "cuda" if torch.cuda.is_available() else "cpu")
        on_gpu = device != "cpu"
        defaults: dict[str, Json] = {"amp": on_gpu, "workers": cpu_share() if on_gpu else 0}
        return {
            **to_ultralytics({**defaults, **requested}),
            **FIXED,
            "device": "0" if on_gpu else "cpu",  # the worker decides which one is visible
            "model": f"{self.spec.model}.yaml",
            "data": self.spec.data,
            "seed": self.spec.seed,
            "save_dir": self.spec.directory,
        }

    def _start(self) -> Start:
        from workers.yolo12.attempts import take_up
        from workers.yolo12.trainer import Start

        weights: Path | None = None
        if self.spec.weights == "auto":
            weights = local_weights(self.spec.model)
            if weights is None:
                self.notes.append(f"{self.spec.model}.pt was not found: training started from random weights")
        elif self.spec.weights != "none":
            weights = Path(self.spec.weights)
        interrupted = take_up(self.spec)
        if interrupted is not None:
            self.notes.append(f"went on after epoch {interrupted.epochs} of an interrupted attempt")
        return Start(architecture(self.spec.model), weights, interrupted)

    def _report(self, trainer: TrialTrainer) -> None:
        losses = trainer.label_loss_items(trainer.tloss)
        report = EpochReport(
            epoch=trainer.epoch + 1,
            epochs=trainer.epochs,
            metrics={**losses, **trainer.metrics, **self._measured(trainer)},
            seconds=time.monotonic() - self.started,
        )
        self.channel.send(report)

    def _measured(self, trainer: TrialTrainer) -> dict[str, float]:
        """What the spec wants to know of the model beside its accuracy; found out after the first epoch."""
        if self.measured is None:
            from workers.yolo12.measuring import measure

            self.measured = measure(
                trainer.ema.ema,
                self.spec.measure,
                imgsz=trainer.args.imgsz,
                half=bool(trainer.amp) and trainer.device.type == "cuda",
                check=self.channel.check,
            )
        return self.measured

    def _score_test(self, trainer: TrialTrainer) -> Mapping[str, float]:
        """Metrics on the test split; a training that cost hours is not lost to pictures that it does not need."""
        from workers.yolo12.scoring import score_test

        try:
            device = "cpu" if trainer.device.type == "cpu" else "cuda"
            return score_test(trainer.best, Path(self.spec.data), device=device, check=self.channel.check)
        except Exception as error:
            self.notes.append(f"the test split was not scored: {type(error).__name__}: {error}"[:500])
            return {}

    def _classify(self, error: Exception) -> Failure:
        from workers.yolo12.trainer import is_out_of_memory, out_of_memory

        details = "".join(traceback.format_exception(error))[-8000:]
        if is_out_of_memory(error):
            return replace(out_of_memory(self.trainer).failure, details=details)
        lines = str(error).strip().splitlines() or [""]
        # What a data loader's process raised arrives as a wrapper with the original in its last line.
        line = lines[-1] if lines[0].startswith("Caught ") else f"{type(error).__name__}: {lines[0]}"
        kind = FailureKind.DATA if isinstance(error, FileNotFoundError) else FailureKind.CODE
        return Failure(kind, line[:500], getattr(self.trainer, "epoch", -1) + 1 or None, details)

    def _free(self) -> None:
        self.trainer = None
        gc.collect()  # trainer, validator and callbacks refer to each other
        import torch

        torch.cuda.empty_cache()  # does nothing where CUDA was never used


def requested_arguments(spec: TrialSpec) -> dict[str, Json]:
    """Settings and genes of a spec, genes first where both name one.

    Raises:
        TrialFailed: if one is not in the catalogue or its value breaks a rule, or the model is unknown.
    """
    if spec.model not in MODELS:
        raise TrialFailed(FailureKind.CODE, f"model: must be one of {', '.join(MODELS)}, but got {spec.model!r}")
    requested = {**spec.settings, **spec.params}
    requested.pop(MODEL, None)  # the spec has it already
    for name, value in requested.items():
        argument = CATALOGUE.get(name)
        if argument is None:
            raise TrialFailed(FailureKind.CODE, f"{name}: is no training argument; {advice(name)}")
        if problem := argument.problem(value):
            raise TrialFailed(FailureKind.CODE, f"{name}: {problem}, but got {value!r}")
    return requested
