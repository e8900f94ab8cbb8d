"""Data sets: judged before training, seen by trainers through a private view, and one that is built in."""

from workers.datasets.check import check_dataset
from workers.datasets.demo import make_demo
from workers.datasets.problems import Problem, Severity
from workers.datasets.report import DatasetReport, ImageRecord
from workers.datasets.resolve import resolve_data
from workers.datasets.view import prepare_view

__all__ = [
    "DatasetReport",
    "ImageRecord",
    "Problem",
    "Severity",
    "check_dataset",
    "make_demo",
    "prepare_view",
    "resolve_data",
]
