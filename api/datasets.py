"""Data sets that searches may name: registered by an admin, so that a submission never holds a path."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from api.auth import Principal
from api.reach import DEMO
from api.schemas.submissions import is_identifier
from evolve.exceptions import DataError, InputError
from evolve.ledger import Ledger
from evolve.space.validation import show
from evolve.trial import Json

if TYPE_CHECKING:
    from evolve.ledger.service_records import DatasetRecord
    from evolve.settings import Settings
    from workers.datasets import DatasetReport

_MOST_WARNINGS = 20


def register_dataset(
    ledger: Ledger, settings: Settings, dataset_id: str, path: str, principal: Principal
) -> DatasetRecord:
    """Judge a data set of this machine, get it ready, and let searches name it by its id. This may take long.

    Args:
        ledger: Where it is recorded.
        settings: Where prepared data are kept.
        dataset_id: What searches call it; one of the same id is replaced.
        path: Absolute path of its YAML, or of the folder that holds it.
        principal: Who registers it.

    Raises:
        InputError: if the id or the path cannot be used.
        DataError: if it cannot be trained on.
    """
    from workers.datasets import check_dataset, prepare_view

    if not is_identifier(dataset_id) or dataset_id == DEMO:
        raise InputError(
            f"id: must be letters, digits, '.', '_' or '-', at most 64, and not {DEMO}, but got {show(dataset_id)}"
        )
    if "\0" in path or not os.path.isabs(path) or not os.path.exists(path):
        raise DataError(
            "path: must be the absolute path of a data YAML, or of its folder, on the service's machine, "
            f"but got {show(path)}"
        )
    report = check_dataset(path, settings.home)
    report.raise_for_errors()
    prepare_view(report, settings.home)
    return ledger.registry.add_dataset(
        dataset_id, path, report.content_hash, dataset_summary(report), registered_by=principal.key_id
    )


def dataset_summary(report: DatasetReport) -> dict[str, Json]:
    """What a list of data sets shows of one."""
    return {
        "names": list(report.names),
        "images": dict(report.image_counts),
        "boxes": {split: sum(counts) for split, counts in report.box_counts.items()},
        "warnings": list(report.warnings()[:_MOST_WARNINGS]),
    }
