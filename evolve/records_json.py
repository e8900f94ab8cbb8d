"""Ledger records as JSON for programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def record_json(record: DataclassInstance) -> dict[str, Any]:
    """A record with JSON values only; NaN and infinities, which JSON lacks, become None."""
    finite = _finite(asdict(record))
    assert isinstance(finite, dict)  # noqa: S101  # for the type checker: asdict gives a dict
    return finite


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
