"""Non-maximum suppression by distance IoU, for validation and prediction.

DIoU-NMS (Zheng et al., "Distance-IoU loss", AAAI 2020) takes IoU - rho^2/c^2 for the overlap of two boxes, where
rho is the distance of their centres and c the diagonal of the smallest box around both. So of two objects of which
one hides the other, with their centres apart, both are found more often.

The paper prints that a box goes where its overlap is >= the threshold; its authors' code and torchvision's `nms`
compare by >, and so does this: a threshold of 1 keeps everything, and concentric boxes fare as in plain NMS.

All else is as in Ultralytics, but for its limit of time, after which it finds nothing in the rest of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import distance_box_iou, nms
from ultralytics.models.yolo.detect import DetectionPredictor, DetectionValidator
from ultralytics.utils import ops

MAX_CANDIDATES = 30_000
"""How many boxes of a picture, the best ones, are looked at; as in Ultralytics."""
CLASS_OFFSET = 7680
"""Pixels by which boxes of different classes are moved apart, so that they never overlap; as in Ultralytics."""
CPU_CHUNK, GPU_CHUNK = 192, 1024
"""Boxes that are compared with as many others at once: what fits into a core's cache; what keeps a GPU busy."""

Nms = Callable[[Tensor, Tensor, float], Tensor]
"""From boxes (M, 4) as corners, scores (M,) and threshold to the indices of those that stay, by falling score."""


def diou_nms(boxes: Tensor, scores: Tensor, iou_threshold: float, limit: int | None = None) -> Tensor:
    """Greedy non-maximum suppression by distance IoU.

    The boxes are taken in chunks, from the best on, each compared with the boxes that stay so far and then with
    itself. So memory does not grow with the number of boxes, and all ends once `limit` boxes are found.

    Args:
        boxes: (N, 4), left, top, right and bottom, in any unit.
        scores: (N,).
        iou_threshold: Highest overlap of two boxes that both stay, -1 to 1.
        limit: How many boxes to return at most, the best ones; None for all.

    Returns:
        Indices of the boxes that stay, by falling score; those of equal score in the order given.
    """
    order = scores.argsort(descending=True, stable=True)
    limit = len(order) if limit is None else limit
    size = CPU_CHUNK if boxes.device.type == "cpu" else GPU_CHUNK
    kept = order[:0]
    for chunk in torch.split(order, size):
        left = chunk
        for better in torch.split(kept, size):
            left = left[~_suppresses(boxes[better], boxes[left], iou_threshold).any(0)]
        left = left[_survivors(_suppresses(boxes[left], boxes[left], iou_threshold).triu(1))]
        kept = torch.cat([kept, left])
        if len(kept) >= limit:
            break
    return kept[:limit]


def _suppresses(better: Tensor, worse: Tensor, threshold: float) -> Tensor:
    # A box without area has no IoU with itself; NaN compares as False, so it stays, as in torchvision's `nms`.
    overlap: Tensor = distance_box_iou(better, worse)
    return overlap > threshold


def _survivors(suppresses: Tensor) -> Tensor:
    """The greedy search itself, on the CPU: step by step a GPU would be slower than the transfer.

    Args:
        suppresses: (N, N), whether the box of the row would suppress that of the column; only above the diagonal.

    Returns:
        (N,), whether the box stays.
    """
    alive = np.ones(len(suppresses), bool)
    for index, worse in enumerate(suppresses.cpu().numpy()):
        if alive[index]:
            alive[worse] = False
    return torch.from_numpy(alive).to(suppresses.device)


def suppress(
    predictions: Tensor,
    confidence: float,
    iou_threshold: float,
    nms: Nms,
    *,
    classes: Sequence[int] | None = None,
    agnostic: bool = False,
    multi_label: bool = False,
    max_det: int = 300,
) -> tuple[list[Tensor], list[Tensor]]:
    """Detections in the output of a model; with torchvision's `nms` those of Ultralytics' `non_max_suppression`.

    Args:
        predictions: (B, 4 + C, N): for each picture N boxes as centre and size in pixels, and their scores in C
            classes.
        confidence: Score above which a box is looked at.
        iou_threshold: Overlap above which a box suppresses another.
        nms: What suppresses them.
        classes: The classes to look at; None for all.
        agnostic: Whether boxes of different classes may suppress each other.
        multi_label: Whether a box counts for each class above the confidence, not for its best class alone.
        max_det: How many detections to keep in a picture.

    Returns:
        For each picture its detections (D, 6), as corners, score and class, by falling score; and for each picture
        the indices (D,) of their boxes among the N.
    """
    found, indices = [], []
    for picture in predictions.float():
        index, label, score = _candidates(picture[4:], confidence, multi_label)
        if classes is not None:
            wanted = torch.isin(label, torch.tensor(classes, device=label.device))
            index, label, score = index[wanted], label[wanted], score[wanted]
        if len(index) > MAX_CANDIDATES:
            best = score.argsort(descending=True)[:MAX_CANDIDATES]
            index, label, score = index[best], label[best], score[best]
        boxes = ops.xywh2xyxy(picture[:4, index].T)
        offset = label[:, None] * (0 if agnostic else CLASS_OFFSET)
        kept = nms(boxes + offset, score, iou_threshold)[:max_det]
        found.append(torch.cat([boxes[kept], score[kept, None], label[kept, None]], 1))
        indices.append(index[kept])
    return found, indices


def _candidates(scores: Tensor, confidence: float, multi_label: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Index, class and score of what is above the confidence in the scores (C, N) of a picture."""
    if multi_label:
        index, label = torch.where((scores > confidence).T)
        return index, label.float(), scores[label, index]
    score, label = scores.max(0)
    (index,) = torch.where(score > confidence)
    return index, label[index].float(), score[index]


class RecipeValidator(DetectionValidator):  # type: ignore[misc]  # Ultralytics has no types
    """Ultralytics' validator with a choice of the overlap by which boxes are suppressed.

    `YOLO.val` takes it as `validator=functools.partial(RecipeValidator, nms="diou")`.

    Attributes:
        nms: `iou`, as in Ultralytics but without its limit of time, or `diou`.

    Args:
        args: As for Ultralytics' validator.
        nms: The overlap.
        kwargs: As for Ultralytics' validator.

    Raises:
        ValueError: if there is no such overlap.
    """

    def __init__(self, *args: Any, nms: str = "iou", **kwargs: Any) -> None:
        self.nms = _known(nms)
        super().__init__(*args, **kwargs)

    def postprocess(self, preds: Any) -> list[dict[str, Tensor]]:
        """Detections of a batch, from the model's output."""
        if self.end2end:  # such a model suppresses nothing
            found: list[dict[str, Tensor]] = super().postprocess(preds)
            return found
        # Ultralytics' own gives up after a while, and a fitness must not depend on what else the machine does.
        detections, _ = suppress(
            _output(preds),
            self.args.conf,
            self.args.iou,
            nms if self.nms == "iou" else partial(diou_nms, limit=self.args.max_det),
            agnostic=self.args.single_cls or self.args.agnostic_nms,
            multi_label=True,
            max_det=self.args.max_det,
        )
        return [{"bboxes": x[:, :4], "conf": x[:, 4], "cls": x[:, 5], "extra": x[:, 6:]} for x in detections]


class RecipePredictor(DetectionPredictor):  # type: ignore[misc]  # as above
    """Ultralytics' predictor with a choice of the overlap by which boxes are suppressed.

    `YOLO.predict` takes it as `predictor=functools.partial(RecipePredictor, nms="diou")`.

    Attributes:
        nms: `iou` (Ultralytics' own path) or `diou`.

    Args:
        args: As for Ultralytics' predictor.
        nms: The overlap.
        kwargs: As for Ultralytics' predictor.

    Raises:
        ValueError: if there is no such overlap.
    """

    def __init__(self, *args: Any, nms: str = "iou", **kwargs: Any) -> None:
        self.nms = _known(nms)
        super().__init__(*args, **kwargs)

    def postprocess(self, preds: Any, img: Tensor, orig_imgs: Any, **kwargs: Any) -> Any:
        """Ultralytics' results of a batch, from the model's output."""
        if self.nms == "iou" or getattr(self.model, "end2end", False):
            return super().postprocess(preds, img, orig_imgs, **kwargs)
        detections, indices = suppress(
            _output(preds),
            self.args.conf,
            kwargs.pop("iou", self.args.iou),
            partial(diou_nms, limit=self.args.max_det),
            classes=self.args.classes,
            agnostic=self.args.agnostic_nms,
            max_det=self.args.max_det,
        )
        if not isinstance(orig_imgs, list):
            orig_imgs = ops.convert_torch2numpy_batch(orig_imgs)[..., ::-1]
        results = self.construct_results(detections, img, orig_imgs, **kwargs)
        features = getattr(self, "_feats", None)  # where a tracker asks for them
        if features is not None:
            for result, feature in zip(results, self.get_obj_feats(features, indices), strict=True):
                result.feats = feature
        return results


def effective(validator: RecipeValidator) -> dict[str, str]:
    """The overlap by which a validator really suppresses, by the name of its argument."""
    return {"nms": validator.nms}


def _output(predictions: Any) -> Tensor:
    """The part of a model's output that is not for the loss."""
    output: Tensor = predictions[0] if isinstance(predictions, list | tuple) else predictions
    return output


def _known(nms: str) -> str:
    if nms not in ("iou", "diou"):
        raise ValueError(f"nms: must be iou or diou, but got {nms!r}")
    return nms
