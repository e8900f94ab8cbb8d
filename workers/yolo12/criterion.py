"""The training loss of the improved detector: Ultralytics', with other box losses, positives and class targets."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from ultralytics.utils.loss import BboxLoss, v8DetectionLoss

from evolve.trial import Json
from workers.yolo12.assigner import RecipeAssigner
from workers.yolo12.losses import weighted_box_loss
from workers.yolo12.recipe import BOX_LOSSES, Recipe

STOCK_BOX_LOSS = "ciou"
_ELASTIC = {"elastic_beta": "beta", "elastic_tau": "tau", "elastic_size": "size"}
_FOCAL = {"focal_gamma": "gamma", "focal_l1_beta": "l1_beta"}
_OPTIONS = {**_ELASTIC, **_FOCAL}
"""The options of the box losses, and what `weighted_box_loss` calls them."""

_USED = {
    "elastic": tuple(_ELASTIC),
    "elastic_weighted": tuple(_ELASTIC),
    "focal_eiou": ("focal_gamma",),
    "focal_l1": ("focal_l1_beta",),
}


class RecipeBboxLoss(BboxLoss):  # type: ignore[misc]  # Ultralytics has no types
    """Box and distribution loss with a box loss of choice; the distribution loss is always Ultralytics'.

    Attributes:
        kind: One of `BOX_LOSSES`. `ciou` is Ultralytics' own.
        options: Those options of the recipe that this kind uses.

    Args:
        reg_max: Bins of the distribution of a side.
        recipe: Says which box loss, and its options.

    Raises:
        ValueError: if there is no such box loss.
    """

    def __init__(self, reg_max: int, recipe: Recipe) -> None:
        super().__init__(reg_max)
        if recipe.box_loss not in BOX_LOSSES:
            raise ValueError(f"a box loss is one of {', '.join(BOX_LOSSES)}, but got {recipe.box_loss!r}")
        self.kind = recipe.box_loss
        self.options: dict[str, Any] = {name: getattr(recipe, name) for name in _USED.get(self.kind, ())}

    def forward(
        self,
        pred_dist: Tensor,
        pred_bboxes: Tensor,
        anchor_points: Tensor,
        target_bboxes: Tensor,
        target_scores: Tensor,
        target_scores_sum: Tensor,
        fg_mask: Tensor,
        imgsz: Tensor,
        stride: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Both losses of the positives, each weighted by the sum of a positive's class targets.

        Args:
            pred_dist: Predicted distributions of the sides, (b, anchors, 4 * reg_max).
            pred_bboxes: Predicted boxes, (b, anchors, 4), as x1, y1, x2, y2 in units of the stride.
            anchor_points: Centres of the anchors, (anchors, 2), in units of the stride.
            target_bboxes: Boxes to be predicted, (b, anchors, 4), like those predicted.
            target_scores: Class targets, (b, anchors, classes).
            target_scores_sum: What the sums are divided by, a scalar of at least 1.
            fg_mask: Which anchors are positives, (b, anchors).
            imgsz: Height and width of the pictures in pixels.
            stride: Pixels between two anchors, (anchors, 1).

        Returns:
            Two scalars, both 0 where nothing is positive.
        """
        stock, distribution = super().forward(
            pred_dist,
            pred_bboxes,
            anchor_points,
            target_bboxes,
            target_scores,
            target_scores_sum,
            fg_mask,
            imgsz,
            stride,
        )
        if self.kind == STOCK_BOX_LOSS:
            return stock, distribution
        image, anchor = fg_mask.nonzero(as_tuple=True)
        pixels = stride[anchor]  # the elastic losses compare the size of a box with a length in pixels
        box = weighted_box_loss(
            pred_bboxes[image, anchor] * pixels,
            target_bboxes[image, anchor] * pixels,
            target_scores[image, anchor].sum(-1, keepdim=True),
            target_scores_sum,
            self.kind,
            **{_OPTIONS[name]: value for name, value in self.options.items()},
        )
        return box, distribution


class RecipeLoss(v8DetectionLoss):  # type: ignore[misc]  # Ultralytics has no types
    """The detection loss of a recipe; with the default recipe it is Ultralytics', bit for bit.

    It is no module and has no state, so copies of the model can carry copies of it. Like Ultralytics' own it takes
    device, strides and class weights from the model when it is made: make it when these are set.

    Args:
        model: The detection model, with its training arguments in `model.args`.
        recipe: Says which box loss, which positives and which class targets.

    Raises:
        ValueError: if the recipe has a value out of its range.
    """

    assigner: Any

    def __init__(self, model: Any, recipe: Recipe) -> None:
        super().__init__(model)
        self.bbox_loss = RecipeBboxLoss(self.reg_max, recipe).to(self.device)
        if recipe.assign_iou is not None or recipe.label_smoothing:
            stock = ("topk", "topk2", "num_classes", "alpha", "beta", "stride", "eps")
            self.assigner = RecipeAssigner(
                assign_iou=recipe.assign_iou,
                label_smoothing=recipe.label_smoothing,
                **{name: getattr(self.assigner, name) for name in stock},
            )

    def effective(self) -> dict[str, Json]:
        """The arguments of the loss by their names in the recipe, as its parts use them; None where none does.

        Label smoothing is 0 for a single class, whatever the recipe says.
        """
        return {
            "box_loss": self.bbox_loss.kind,
            **{name: self.bbox_loss.options.get(name) for name in _OPTIONS},
            "label_smoothing": getattr(self.assigner, "label_smoothing", 0.0),
            "assign_iou": getattr(self.assigner, "assign_iou", None),
        }
