from __future__ import annotations

import gc
import os
import sys

import pytest

from evolve.trial import Failure, TrialResult, TrialSpec
from workers import ray_actor
from workers.ray_actor import TrialActor


@pytest.fixture
def frozen(monkeypatch):
    """How often objects were taken out of garbage collections."""
    calls = []
    monkeypatch.setattr(gc, "freeze", lambda: calls.append(True))
    ray_actor._spare_imports.cache_clear()
    yield calls
    ray_actor._spare_imports.cache_clear()


def run(objective, tmp_path):
    actor = TrialActor(objective, sys.path, os.getcwd())
    assert isinstance(actor.prepare(), str)
    spec = TrialSpec("3f2a9c1b", 0, 1, {"x0": 0.5}, {"epochs": 2}, 0, str(tmp_path))
    return list(actor.run(spec))


def test_what_the_first_completed_trial_imported_is_spared_by_garbage_collections(frozen, tmp_path):
    for _ in range(3):
        assert isinstance(run("synthetic", tmp_path)[-1], TrialResult)
    assert frozen == [True]


def test_what_a_failed_trial_may_have_left_is_not_kept(frozen, tmp_path):
    assert isinstance(run("objectives_for_tests:exits", tmp_path)[-1], Failure)
    assert frozen == []
