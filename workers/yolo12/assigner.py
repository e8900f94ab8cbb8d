"""Which anchors learn which object: Ultralytics' task-aligned assignment, with more positives and softer targets.

Both parts come from the training recipe of YOLOv4 (Bochkovskiy et al., 2020): several anchors for one object, and
label smoothing.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.tal import TaskAlignedAssigner


class RecipeAssigner(TaskAlignedAssigner):  # type: ignore[misc]  # Ultralytics has no types
    """Task-aligned assignment with two options; without them it is the stock one, bit for bit.

    Everything else stays as it is: candidates are the anchors whose centres lie in an object, the best by the
    alignment metric are always taken, an anchor that two objects want goes to the one it overlaps most, and the
    alignment score says how much a positive counts.

    Attributes:
        assign_iou: Every candidate whose predicted box has an IoU above this with the object becomes a positive
            too, 0 to 1. None is stock.
        label_smoothing: Share a of a positive's target that is spread over all C classes: its true class gets
            ((1 - a) + a/C) times its alignment score, each other class a/C times. 0 is stock, and with a single
            class it is always 0, for then nothing can be spread.

    Raises:
        ValueError: if one of them is out of its range.
    """

    def __init__(self, *, assign_iou: float | None = None, label_smoothing: float = 0.0, **stock: Any) -> None:
        super().__init__(**stock)
        if assign_iou is not None and not 0 <= assign_iou <= 1:
            raise ValueError(f"assign_iou must lie between 0 and 1, but got {assign_iou}")
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing must lie between 0 and 1, but got {label_smoothing}")
        self.assign_iou = assign_iou
        self.label_smoothing = label_smoothing if self.num_classes > 1 else 0.0

    def get_pos_mask(
        self,
        pd_scores: Tensor,
        pd_bboxes: Tensor,
        gt_labels: Tensor,
        gt_bboxes: Tensor,
        anc_points: Tensor,
        mask_gt: Tensor,
        **extra: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Which anchors each object wants.

        Args:
            pd_scores: Predicted class scores, (b, anchors, classes), 0 to 1.
            pd_bboxes: Predicted boxes, (b, anchors, 4), as x1, y1, x2, y2 in pixels.
            gt_labels: Classes of the objects, (b, objects, 1).
            gt_bboxes: Boxes of the objects, (b, objects, 4), like those predicted.
            anc_points: Centres of the anchors, (anchors, 2), in pixels.
            mask_gt: Which rows are objects and not padding, (b, objects, 1).
            **extra: Passed through.

        Returns:
            Mask of 0 and 1, alignment metric and overlap, each (b, objects, anchors).
        """
        mask, alignment, overlaps = super().get_pos_mask(
            pd_scores, pd_bboxes, gt_labels, gt_bboxes, anc_points, mask_gt, **extra
        )
        if self.assign_iou is not None:
            candidates = self.select_candidates_in_gts(anc_points, gt_bboxes, mask_gt) & mask_gt.bool()
            image, item, anchor = candidates.nonzero(as_tuple=True)
            # Not `overlaps`, which are CIoU: they would refuse boxes for their shape that do overlap enough. And in
            # float32, because the area of a box of 256 px overflows float16.
            iou = bbox_iou(gt_bboxes[image, item].float(), pd_bboxes[image, anchor].float(), xywh=False)
            mask[image, item, anchor] |= (iou.squeeze(-1) > self.assign_iou).to(mask.dtype)
        return mask, alignment, overlaps

    def get_targets(
        self, gt_labels: Tensor, gt_bboxes: Tensor, target_gt_idx: Tensor, fg_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What each anchor learns, before its class targets are multiplied by its alignment score.

        The targets of a positive still add up to 1, so its weight in the box losses does not change.

        Args:
            gt_labels: Classes of the objects, (b, objects, 1).
            gt_bboxes: Boxes of the objects, (b, objects, 4).
            target_gt_idx: The object of each anchor, (b, anchors).
            fg_mask: Which anchors are positives, (b, anchors).

        Returns:
            Classes (b, anchors), boxes (b, anchors, 4) and class targets (b, anchors, classes); class targets of
            anchors that are no positives are 0.
        """
        labels, boxes, scores = super().get_targets(gt_labels, gt_bboxes, target_gt_idx, fg_mask)
        if self.label_smoothing:
            spread = scores.sum(-1, keepdim=True) / self.num_classes
            scores = scores * (1 - self.label_smoothing) + spread * self.label_smoothing
        return labels, boxes, scores
