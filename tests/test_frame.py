from __future__ import annotations

import csv

import pandas as pd
import pytest

from evolve.exceptions import InputError
from evolve.frame import disarmed, individuals_frame, search_frame, write_frame
from evolve.trial import FailureKind, TrialState
from sample_searches import METRIC, evaluation, individual, sample_ledger


@pytest.fixture
def frame() -> pd.DataFrame:
    members = [
        individual(0, fitness=0.4, metrics={METRIC: 0.4}, state=TrialState.COMPLETED, told=0),
        individual(1, {"optimizer": "AdamW", "batch": 8, "cos_lr": True, "lr0": 1}, parents=(0,), attempts=2),
        individual(2, failure=FailureKind.OUT_OF_MEMORY, state=TrialState.FAILED, reused_from=0),
    ]
    attempts = [evaluation(0, seconds=10.0), evaluation(1, seconds=3.0), evaluation(1, attempt=2, seconds=4.0)]
    return individuals_frame(members, attempts)


def test_a_row_for_each_individual_with_sensible_types(frame):
    kinds = {
        "number": "int64", "fitness": "float64", "gene.lr0": "float64", "gene.batch": "Int64",
        "gene.optimizer": "string", "gene.momentum": "float64", "gene.cos_lr": "boolean", "failure": "string",
        f"metrics.{METRIC}": "float64", "reused_from": "Int64", "attempts": "int64", "seconds": "float64",
    }  # fmt: skip
    assert {name: str(frame[name].dtype) for name in kinds} == kinds
    assert frame["seconds"].tolist() == [10.0, 7.0, 0.0]
    assert frame["failure"].tolist()[2] == "out_of_memory"
    assert frame["parents"].tolist() == ["", "0", ""]
    assert frame["gene.momentum"].isna().tolist() == [False, True, False]
    assert frame["reused_from"].tolist()[2] == 0


def test_an_empty_search_has_the_fixed_columns():
    frame = individuals_frame([])
    assert len(frame) == 0
    assert {"number", "generation", "state", "fitness", "parents", "operators", "failure"} <= set(frame.columns)


def test_a_search_by_its_id():
    assert search_frame(sample_ledger(30), "3f2a9c1b")["number"].tolist() == list(range(30))


def test_parquet_keeps_values_and_types(frame, tmp_path):
    path = write_frame(frame, tmp_path / "new" / "t.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(path), frame)


def test_csv_can_be_read_back(frame, tmp_path):
    read = pd.read_csv(write_frame(frame, tmp_path / "t.csv"))
    assert list(read.columns) == list(frame.columns)
    assert read["gene.lr0"].tolist() == [0.01, 1.0, 0.01]
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("cell", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_text_cell_of_a_csv_is_a_formula(tmp_path, cell):
    frame = individuals_frame([individual(0, {"optimizer": cell, "lr0": -1.0})])
    path = write_frame(frame, tmp_path / "t.csv")
    with path.open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["gene.optimizer"] == f"'{cell}".replace("\r", " ")
    assert row["gene.lr0"] == "-1.0"
    assert frame["gene.optimizer"].tolist() == [cell]
    assert list(disarmed(pd.DataFrame({"=x": [1]})).columns) == ["'=x"]


@pytest.mark.parametrize(
    ("name", "rule"), [("t.xlsx", "must be .csv or .parquet"), ("file/t.csv", "cannot be written")]
)
def test_a_table_that_cannot_be_written(frame, tmp_path, name, rule):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=rule):
        write_frame(frame, tmp_path / name)
