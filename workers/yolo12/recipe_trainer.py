"""The trainer of the improved detector: each part of the recipe, plugged in where Ultralytics has room for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import asdict, replace
from typing import Any

from torch import nn, optim
from ultralytics.nn.tasks import DetectionModel

from workers.yolo12.adversarial import Adversary
from workers.yolo12.augment import add_augmentations
from workers.yolo12.blocks import add_blocks
from workers.yolo12.criterion import RecipeLoss
from workers.yolo12.images import TrialDataset
from workers.yolo12.model import improve
from workers.yolo12.normalisation import begin_step
from workers.yolo12.recipe import Recipe
from workers.yolo12.schedule import make_schedule
from workers.yolo12.sizes import SIZE, SizedLoader, resize_batch, sized_loader
from workers.yolo12.suppression import RecipeValidator
from workers.yolo12.trainer import Start, TrialTrainer
from workers.yolo12.transfer import Transferred, transfer


class RecipeTrainer(TrialTrainer):
    """Trains the improved detector; with the default recipe, stock YOLO12 as Ultralytics does.

    Attributes:
        recipe: Which parts are in use.
        transferred: How much of the weights that it started from fitted; None for random weights.

    Args:
        overrides: Ultralytics arguments.
        start: Where to start from.
        recipe: Which of our parts to use.
        check: Called before every batch; may raise to leave.
        report: Called after every epoch, when its checkpoint is on disk, with the trainer.
    """

    def __init__(
        self,
        overrides: Mapping[str, Any],
        start: Start,
        recipe: Recipe,
        *,
        check: Callable[[], None],
        report: Callable[[TrialTrainer], None],
    ) -> None:
        super().__init__(overrides, start, check=check, report=report)
        # Ultralytics' name for one of our schedules
        self.recipe = replace(recipe, lr_schedule="cosine") if self.args.cos_lr else recipe
        self.transferred: Transferred | None = None
        self.adversary = Adversary(recipe.sat_probability, recipe.sat_epsilon, self.args.seed)
        self.add_callback("on_train_epoch_start", lambda _: self.adversary.set_epoch(self.epoch))

    def get_model(
        self, cfg: dict[str, Any] | None = None, weights: nn.Module | None = None, verbose: bool = False
    ) -> DetectionModel:
        """Build the stock model, improve it, and only then load weights, which may be of either kind."""
        recipe = self.recipe
        model = super().get_model(cfg)
        improve(
            model,
            hetero=recipe.hetero,
            attention=recipe.attention,
            alpha=recipe.attention_alpha,
            kernel=recipe.attention_kernel,
        )
        add_blocks(model, recipe)
        if weights is not None:
            self.transferred = transfer(model, weights)
            add_blocks(model, recipe)  # where classes differ, Ultralytics puts in parts of the other head
        model.recipe = asdict(recipe)  # goes into the checkpoint, whose reader may want to validate alike
        return model

    def _setup_train(self) -> None:
        super()._setup_train()
        for model in (self.model, self.ema.ema):  # training and validation count the same loss
            model.criterion = RecipeLoss(model, self.recipe)
        if isinstance(self.train_loader, SizedLoader):
            self.train_loader.set_epoch(self.start_epoch)

    def _setup_scheduler(self) -> None:
        self.lf = make_schedule(self.recipe, self.epochs, self.args.lrf)
        self.scheduler = optim.lr_scheduler.LambdaLR(self.optimizer, lr_lambda=self.lf)

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> TrialDataset:
        """Build a split's data set, with our augmentations where it augments."""
        dataset = super().build_dataset(img_path, mode, batch)
        if mode == "train":
            add_augmentations(dataset, self.recipe)
        return dataset

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        """Build a split's loader; that of training may draw a size for every batch."""
        if mode != "train" or not self.recipe.image_sizes:
            return super().get_dataloader(dataset_path, batch_size, rank, mode)
        return sized_loader(
            self.build_dataset(dataset_path, mode, batch_size),
            batch=batch_size,
            imgsz=self.args.imgsz,
            sizes=self.recipe.image_sizes,
            workers=self.args.workers,
            seed=self.args.seed,
            pin_memory=self.device.type == "cuda",
        )

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Move a batch to the device, give it its size, and perturb it where it is its turn."""
        size = batch.pop(SIZE, None)
        batch = super().preprocess_batch(batch)
        if size is not None:
            batch = resize_batch(batch, size, self.stride)
        return self.adversary(self.model, batch, scale=self.scaler.get_scale())

    def optimizer_step(self) -> None:
        """Make a step; what mini-batches shared for it is over."""
        super().optimizer_step()
        begin_step(self.model)

    def get_validator(self) -> RecipeValidator:
        """Build the validator with the suppression of the recipe."""
        return RecipeValidator(
            self.test_loader,
            save_dir=self.save_dir,
            args=copy(self.args),
            _callbacks=self.callbacks,
            nms=self.recipe.nms,
        )
