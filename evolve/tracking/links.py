"""Where MLflow's pages show a search: its best runs, selected for comparison."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import quote

from evolve.exceptions import EvolveError, NotFound
from evolve.ledger.records import SearchRecord
from evolve.tracking.names import MAX_NAME
from evolve.tracking.runs import KIND_TAG, NUMBER_TAG, SEARCH_TAG
from evolve.tracking.store import open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

COMPARED = 20
"""Runs that are compared: more of them make MLflow's page slow, and its figures unreadable."""


def comparison(uri: str, search: SearchRecord) -> str:
    """The part of an address, from its `#`, at which MLflow compares the best individuals of a search.

    The default configuration is always among them.

    Args:
        uri: The MLflow store.
        search: The search.

    Raises:
        NotFound: MLflow has no runs of this search yet.
        EvolveError: MLflow does not answer.
    """
    try:
        return _comparison(open_store(uri), search)
    except EvolveError:
        raise
    except Exception as error:  # of MLflow, of the database's driver, or of the web client
        reason = f"{type(error).__name__}: {error}".strip().split("\n", 1)[0]
        raise EvolveError(f"MLflow: it must answer to find the runs of a search, but got {reason:.200}") from error


def _comparison(client: MlflowClient, search: SearchRecord) -> str:
    runs = [run for experiment in _experiments(client, search.name) for run in _best(client, experiment, search.id)]
    if not runs:
        raise NotFound(
            f"search {search.id}: MLflow must have runs of it to compare, but has none yet; it gets them while the "
            "search runs, and what it missed by `evolve sync`"
        )
    ids = json.dumps([run.info.run_id for run in runs])
    experiments = json.dumps(sorted({run.info.experiment_id for run in runs}))
    return f"#/compare-runs?runs={quote(ids)}&experiments={quote(experiments)}"


def _experiments(client: MlflowClient, name: str) -> list[str]:
    """Ids of the experiments of this name, which gets a number where an earlier one was deleted."""
    found: list[str] = []
    for attempt in count(1):
        known = client.get_experiment_by_name((name if attempt == 1 else f"{name} ({attempt})")[:MAX_NAME])
        if known is None:
            return found
        if known.lifecycle_stage == "active":
            found.append(str(known.experiment_id))
    raise AssertionError  # counting has no end


def _best(client: MlflowClient, experiment: str, search_id: str) -> list[Run]:
    mine = f"tags.{SEARCH_TAG} = '{search_id}' and tags.{KIND_TAG} = 'individual'"
    default = client.search_runs([experiment], f"{mine} and tags.{NUMBER_TAG} = '0'", max_results=1)
    best = client.search_runs([experiment], mine, max_results=COMPARED, order_by=["metrics.fitness DESC"])
    known = {run.info.run_id for run in default}
    return [*default, *(run for run in best if run.info.run_id not in known and "fitness" in run.data.metrics)]
