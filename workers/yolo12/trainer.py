"""Ultralytics' detection trainer, bent to what a trial needs: no downloads, no plots, no silent repairs.

Everything here overrides a method; Ultralytics' own files and its training loop stay as they are.
"""

from __future__ import annotations

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ultralytics.data.utils import check_det_dataset
from ultralytics.engine import trainer as engine
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import strip_optimizer

from evolve.trial import FailureKind, TrialFailed
from workers.yolo12.attempts import Interrupted
from workers.yolo12.images import TrialDataset
from workers.yolo12.process import cpu_share
from workers.yolo12.weights import load_weights, read_checkpoint

CHECKPOINT_SECONDS = 5.0


@dataclass(frozen=True)
class Start:
    """Where a training starts from.

    Attributes:
        architecture: Ultralytics model document.
        weights: Pretrained checkpoint, or None for random weights.
        interrupted: An interrupted attempt at the same training to go on from, or None.
    """

    architecture: Mapping[str, Any]
    weights: Path | None = None
    interrupted: Interrupted | None = None


class TrialTrainer(DetectionTrainer):  # type: ignore[misc]  # Ultralytics has no types
    """Trains one individual.

    Attributes:
        best_metrics: Metrics of the epoch that `best.pt` holds; empty before the first epoch.

    Args:
        overrides: Ultralytics arguments.
        start: Where to start from.
        check: Called before every batch; may raise to leave.
        report: Called after every epoch, when its checkpoint is on disk, with the trainer.
    """

    def __init__(
        self,
        overrides: Mapping[str, Any],
        start: Start,
        *,
        check: Callable[[], None],
        report: Callable[[TrialTrainer], None],
    ) -> None:
        self._start = start
        self.best_metrics: dict[str, float] = {}
        self._saved_at = -math.inf
        hooks: defaultdict[str, list[Callable[[Any], None]]] = defaultdict(list)
        for event in ("on_train_batch_start", "on_val_batch_start"):
            hooks[event].append(lambda _: check())
        hooks["on_train_batch_end"].append(lambda _: self._refuse_divergence())
        hooks["on_fit_epoch_end"].append(lambda _: report(self))
        super().__init__(overrides=dict(overrides), _callbacks=hooks)
        torch.set_num_threads(cpu_share())  # Ultralytics has just set its own idea of it

    def get_dataset(self) -> dict[str, Any]:
        """Read the data YAML; unlike the original it downloads nothing and so runs no `download:` script."""
        try:
            data = dict(check_det_dataset(self.args.data, autodownload=False))
        except Exception as error:  # Ultralytics raises a dozen kinds here, and all of them are about the data
            raise TrialFailed(FailureKind.DATA, f"{self.args.data}: {_first_line(error)}") from error
        return data | {"names": {0: "object"}, "nc": 1} if self.args.single_cls else data

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> TrialDataset:
        """Build a split's data set, as Ultralytics does but of our class; every error on the way is the data's."""
        try:
            return TrialDataset(
                img_path=img_path,
                data=self.data,
                scratch=self.save_dir,
                imgsz=self.args.imgsz,
                batch_size=batch,
                augment=mode == "train",
                hyp=self.args,
                rect=self.args.rect or mode == "val",
                pad=0.0 if mode == "train" else 0.5,
                stride=max(int(self.model.stride.max()), 32),
                single_cls=self.args.single_cls,
                fraction=self.args.fraction if mode == "train" else 1.0,
            )
        except TrialFailed:
            raise
        except Exception as error:  # as above
            raise TrialFailed(FailureKind.DATA, f"{img_path}: {_first_line(error)}") from error

    def setup_model(self) -> dict[str, Any] | None:
        """Build the model from its document; returns the checkpoint to go on from, if there is one."""
        weights, checkpoint = None, None
        if self._start.interrupted is not None:
            checkpoint = read_checkpoint(self._start.interrupted.checkpoint)
            weights = checkpoint["ema"].float()
            self.best_metrics = self._start.interrupted.best_metrics
        elif self._start.weights is not None:
            weights = load_weights(self._start.weights)
        self.resume = checkpoint is not None
        self.model = self.get_model(dict(self._start.architecture), weights, verbose=False)
        return checkpoint

    def get_model(
        self, cfg: dict[str, Any] | None = None, weights: Any | None = None, verbose: bool = False
    ) -> DetectionModel:
        """Build the model without its summary, which counts operations on a copy for a log nobody reads."""
        return super().get_model(cfg, weights, verbose=False)

    def _setup_train(self) -> None:
        # The original check downloads a model of another family and compares predictions, in every training.
        with _replaced(engine, "check_amp", lambda model: next(model.parameters()).is_cuda):
            super()._setup_train()

    def _build_train_pipeline(self) -> None:
        if getattr(self, "_oom_retries", 0):  # the loop has just halved the batch to try again
            raise out_of_memory(self)
        super()._build_train_pipeline()

    def _handle_nan_recovery(self, epoch: int) -> bool:
        self._refuse_divergence()
        return False

    def _refuse_divergence(self) -> None:
        odd = {name: value for name, value in (self.metrics or {}).items() if not math.isfinite(value)}
        if not odd and (self.loss is None or bool(torch.isfinite(self.loss))):
            return
        losses = {name: float(value) for name, value in self.loss_items.items()}
        odd |= {name: value for name, value in losses.items() if not math.isfinite(value)}
        what = ", ".join(f"{name} is {value}" for name, value in odd.items()) or f"the loss is {float(self.loss)}"
        raise TrialFailed(
            FailureKind.DIVERGED,
            f"training diverged in epoch {self.epoch + 1}: {what}; a lower lr0 or a longer warm-up may help",
            epoch=self.epoch + 1,
            details=", ".join(f"{name} {value:.6g}" for name, value in losses.items()),
        )

    def save_model(self) -> bool:
        """Write `last.pt`, and `best.pt` if this epoch is the best, each in one step.

        Returns:
            False if nothing was worth writing: an epoch that is not the best, and is the last or follows the
            previous checkpoint within seconds.
        """
        improved = self.best_fitness == self.fitness
        recent = time.monotonic() - self._saved_at < CHECKPOINT_SECONDS
        if not improved and (self.stop or recent):
            return False
        with _in_one_step(self, "last"), _in_one_step(self, "best"):
            super().save_model()
        self._saved_at = time.monotonic()
        if improved:
            self.best_metrics = dict(self.metrics)
        return True

    def final_eval(self) -> None:
        """Leave a `best.pt` without optimizer; its metrics are known, so nothing is validated again."""
        strip_optimizer(self.best)
        self.last.unlink(missing_ok=True)

    def _clear_memory(self, threshold: float | None = None) -> None:
        if self.device.type != "cpu":  # there it only collects garbage, which the trial does when it is over
            super()._clear_memory(threshold)

    def save_metrics(self, metrics: Mapping[str, float]) -> None:
        """The reports carry them; no file."""

    def read_results_csv(self) -> dict[str, Any]:
        """No such file."""
        return {}


def out_of_memory(trainer: TrialTrainer | None) -> TrialFailed:
    """The failure of a training that does not fit, naming the arguments that decide it."""
    loader = getattr(trainer, "train_loader", None)
    if trainer is None or loader is None:
        return TrialFailed(FailureKind.OUT_OF_MEMORY, "the model does not fit into memory; use a smaller one")
    return TrialFailed(
        FailureKind.OUT_OF_MEMORY,
        f"batch {loader.batch_size} at imgsz {trainer.args.imgsz} does not fit into the memory of {trainer.device};"
        " lower one of them",
        epoch=getattr(trainer, "epoch", 0) + 1,  # it may not even have begun
    )


@contextmanager
def _replaced(module: Any, name: str, stand_in: Any) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, stand_in)
    try:
        yield
    finally:
        setattr(module, name, original)


@contextmanager
def _in_one_step(trainer: TrialTrainer, attribute: str) -> Iterator[None]:
    """Let the trainer write its checkpoint beside the old one, which a crash half-way then leaves whole."""
    target: Path = getattr(trainer, attribute)
    draft = target.with_suffix(".tmp")
    setattr(trainer, attribute, draft)
    try:
        yield
    finally:
        setattr(trainer, attribute, target)
    if draft.exists():
        os.replace(draft, target)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception of torch says that memory ran out, on the accelerator or beside it."""
    text = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        sign in text for sign in ("out of memory", "can't allocate memory", "cublas_status_alloc_failed")
    )
