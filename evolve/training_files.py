"""What a training without a search leaves in its folder, beside the weights."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from evolve.exceptions import EvolveError
from evolve.files import replacing
from evolve.formatting import finite
from evolve.trial import EpochReport, Json, TrialResult
from evolve.yaml_io import dump_yaml

PARAMS = "params.yaml"
"""The whole configuration, for `evolve train --params`."""
EPOCHS = "results.csv"
"""A row for each epoch."""
RESULT = "result.json"
"""Metrics of the best epoch, the arguments that took effect, and what differed; only of a finished training."""


def is_finished(folder: Path) -> bool:
    """Whether a training in a folder has come to its end."""
    return (folder / RESULT).is_file()


def read_epochs(folder: Path) -> list[EpochReport]:
    """The epochs that an interrupted training in a folder reported; none that cannot be read."""
    with suppress(OSError, ValueError, KeyError, csv.Error):
        with (folder / EPOCHS).open(newline="", encoding="utf-8") as file:
            rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        return [EpochReport(int(row.pop("epoch")), 0, row, row.pop("seconds")) for row in rows]
    return []


class TrainingFiles:
    """Writes the files of a training as it goes.

    Args:
        folder: Its folder.
        params: Its whole configuration.
    """

    def __init__(self, folder: Path, params: Mapping[str, Json]) -> None:
        self._folder = folder
        self._params = params
        self._former = read_epochs(folder)
        self._before: float | None = None

    def add(self, report: EpochReport) -> None:
        """Add an epoch; those that are trained again after an interruption take the place of the former ones.

        Raises:
            EvolveError: if nothing can be written there.
        """
        if self._before is None:
            kept = [each for each in self._former if each.epoch < report.epoch]
            self._before = kept[-1].seconds if kept else 0.0
            with replacing(self._folder / PARAMS, "configuration") as file:
                file.write_text(dump_yaml(self._params), encoding="utf-8")
            with replacing(self._folder / EPOCHS, "table of epochs") as file, file.open("w", newline="") as stream:
                csv.writer(stream).writerow(["epoch", "seconds", *report.metrics])
                csv.writer(stream).writerows(map(_row, kept))
        row = _row(replace(report, seconds=self._before + report.seconds))
        try:
            with (self._folder / EPOCHS).open("a", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerow(row)
        except OSError as error:
            raise EvolveError(f"{self._folder / EPOCHS}: the epoch cannot be written: {error.strerror}") from error

    def finish(self, result: TrialResult) -> None:
        """Write the result, which marks the training as finished.

        Raises:
            EvolveError: if it cannot be written.
        """
        with replacing(self._folder / RESULT, "result") as file:
            file.write_text(json.dumps(finite(asdict(result)), indent=2) + "\n", encoding="utf-8")


def _row(report: EpochReport) -> list[float]:
    return [report.epoch, round(report.seconds, 2), *report.metrics.values()]
