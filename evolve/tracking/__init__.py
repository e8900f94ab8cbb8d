"""Searches in MLflow.

A run for the search, nested in it one for every generation and one for the finals, nested in those one for every
individual. MLflow itself is imported only when an observer first has something to say, for that takes seconds.
"""

from evolve.tracking.observer import MlflowObserver
from evolve.tracking.store import check_store, prepare_store, serve, ui_command

__all__ = ["MlflowObserver", "check_store", "prepare_store", "serve", "ui_command"]
