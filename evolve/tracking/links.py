"""Where MLflow's pages show searches: their best runs, selected for comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
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

_FEWEST = 2


def comparison(uri: str, *searches: SearchRecord) -> str:
    """The part of an address, from its `#`, at which MLflow compares the best individuals of searches.

    The default configuration of each is always among them, with at least one more.

    Args:
        uri: The MLflow store.
        searches: The searches, which share the runs that can be compared at once.

    Raises:
        NotFound: MLflow has no runs of any of these searches yet.
        EvolveError: MLflow does not answer.
    """
    try:
        return _comparison(open_store(uri), searches)
    except EvolveError:
        raise
    except Exception as error:  # of MLflow, of the database's driver, or of the web client
        reason = f"{type(error).__name__}: {error}".strip().split("\n", 1)[0]
        raise EvolveError(f"MLflow: it must answer to find the runs of a search, but got {reason:.200}") from error


def _comparison(client: MlflowClient, searches: Sequence[SearchRecord]) -> str:
    most = max(_FEWEST, COMPARED // max(1, len(searches)))
    runs = [run for search in searches for run in _runs(client, search, most)]
    if not runs:
        names = ", ".join(search.id for search in searches)
        raise NotFound(
            f"search {names}: MLflow must have runs of it to compare, but has none yet; it gets them while the "
            "search runs, and what it missed by `evolve sync`"
        )
    ids = json.dumps([run.info.run_id for run in runs])
    experiments = json.dumps(sorted({run.info.experiment_id for run in runs}))
    return f"#/compare-runs?runs={quote(ids)}&experiments={quote(experiments)}"


def _runs(client: MlflowClient, search: SearchRecord, most: int) -> list[Run]:
    experiments = _experiments(client, search.name)
    return [run for experiment in experiments for run in _best(client, experiment, search.id, most)]


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


def _best(client: MlflowClient, experiment: str, search_id: str, most: int) -> list[Run]:
    mine = f"tags.{SEARCH_TAG} = '{search_id}' and tags.{KIND_TAG} = 'individual'"
    default = client.search_runs([experiment], f"{mine} and tags.{NUMBER_TAG} = '0'", max_results=1)
    best = client.search_runs([experiment], mine, max_results=most, order_by=["metrics.fitness DESC"])
    known = {run.info.run_id for run in default}
    fittest = [run for run in best if run.info.run_id not in known and "fitness" in run.data.metrics]
    return [*default, *fittest][:most]
