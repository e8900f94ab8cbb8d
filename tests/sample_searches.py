"""Searches made up for tests of what a person looks at."""

from __future__ import annotations

import math
import random
from collections.abc import Collection
from dataclasses import dataclass, replace

from evolve.ledger.records import EvaluationRecord, IndividualRecord, SearchRecord, SearchState
from evolve.trial import FailureKind, Json, TrialState

METRIC = "metrics/mAP50-95(B)"
GENES: dict[str, Json] = {
    "lr0": {"type": "float", "low": 1e-5, "high": 0.1, "log": True, "default": 0.01},
    "weight_decay": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True, "default": 5e-4},
    "batch": {"type": "int", "low": 4, "high": 64, "log": True, "default": 16},
    "optimizer": {"type": "categorical", "choices": ["SGD", "AdamW"], "default": "SGD"},
    "momentum": {
        "type": "float",
        "low": 0.6,
        "high": 0.98,
        "log": False,
        "default": 0.937,
        "when": {"optimizer": "SGD"},
    },
    "nms_iou": {"type": "float", "low": 0.3, "high": 0.8, "log": False, "default": 0.7},
    "mosaic": {"type": "float", "low": 0.0, "high": 1.0, "log": False, "default": 1.0},
    "cos_lr": {"type": "boolean", "default": False},
}
DEFAULTS: dict[str, Json] = {
    "lr0": 0.01, "weight_decay": 5e-4, "batch": 16, "optimizer": "SGD", "momentum": 0.937,
    "nms_iou": 0.7, "mosaic": 1.0, "cos_lr": False,
}  # fmt: skip
DOCUMENT: dict[str, Json] = {
    "name": "bottles",
    "model": "yolo12n",
    "data": "bottles.yaml",
    "weights": "none",
    "train": {"epochs": 30, "imgsz": 640},
    "fitness": METRIC,
    "genes": GENES,
    "search": {"population": 8, "generations": 30, "seed": 0},
}


@dataclass
class SampleLedger:
    """The reading side of a ledger with one search in it."""

    record: SearchRecord
    members: list[IndividualRecord]
    attempts: list[EvaluationRecord]

    def search(self, ref: str) -> SearchRecord:
        return self.record

    def individuals(self, search_id: str, *, numbers: Collection[int] | None = None) -> list[IndividualRecord]:
        return [each for each in self.members if numbers is None or each.number in numbers]

    def evaluations(self, search_id: str, individual: int | None = None) -> list[EvaluationRecord]:
        return [each for each in self.attempts if individual is None or each.individual == individual]


def search_record(**changes) -> SearchRecord:
    record = SearchRecord(
        id="3f2a9c1b", name="bottles", state=SearchState.RUNNING, reason="", document=DOCUMENT,
        objective="yolo12", options={}, environment={"python": "3.12.1", "gpus": ["NVIDIA L4"]},
        directory="/home/me/evolve/3f2a9c1b", data_hash="9b1c" * 16, created_at=990.0, started_at=1000.0,
        finished_at=None, request=None, owner=None, lease_expires=None, evaluated=0, trained=0, failed=0,
        gpu_seconds=0.0, trial_seconds=0.0, best_individual=None, best_fitness=None, default_fitness=None,
    )  # fmt: skip
    return replace(record, **changes)


def individual(number: int, params: dict[str, Json] | None = None, **changes) -> IndividualRecord:
    record = IndividualRecord(
        search_id="3f2a9c1b", number=number, generation=number // 8, genome=(0.5,) * len(GENES),
        params=DEFAULTS if params is None else params, key=f"{number:064x}",
        origins=dict.fromkeys(GENES, "sampled" if number else "default"), attempts=1,
    )  # fmt: skip
    return replace(record, **changes)


def evaluation(number: int, **changes) -> EvaluationRecord:
    record = EvaluationRecord(
        search_id="3f2a9c1b", individual=number, attempt=1, state=TrialState.COMPLETED, seed=0, epochs=30,
        requested={}, effective={}, differences={}, metrics={}, weights=None, notes=(), failure=None,
        failure_message="", failure_details="", worker="gpu-0", created_at=1000.0, started_at=1001.0,
        finished_at=1100.0, seconds=99.0, gpu_seconds=99.0, epochs_trained=30,
    )  # fmt: skip
    return replace(record, **changes)


def sample_ledger(size: int, *, name: str = "bottles", seed: int = 0) -> SampleLedger:
    """A search that gets better, with a failure now and then; the same for the same arguments."""
    rng = random.Random(seed)
    members: list[IndividualRecord] = []
    attempts: list[EvaluationRecord] = []
    best: IndividualRecord | None = None
    for number in range(size):
        child = _child(number, members, rng)
        if number and rng.random() < 0.06:
            kind = rng.choice([FailureKind.OUT_OF_MEMORY, FailureKind.DIVERGED])
            child = replace(child, state=TrialState.FAILED, failure=kind, told=number)
            message = "CUDA ran out of memory in epoch 1; a smaller batch may fit"
            attempts.append(evaluation(number, state=TrialState.FAILED, failure=kind, failure_message=message))
        else:
            fitness = _fitness(child.params, rng)
            metrics = {METRIC: fitness, "metrics/mAP50(B)": fitness * 1.4}
            child = replace(child, state=TrialState.COMPLETED, fitness=fitness, metrics=metrics, told=number)
            differences: dict[str, Json] = {"weight_decay": [5e-4, 4.7e-4]} if number % 9 == 4 else {}
            attempts.append(evaluation(number, metrics=metrics, differences=differences))
            if best is None or fitness > (best.fitness or 0):
                best = child
        members.append(child)
    failed = sum(each.failure is not None for each in members)
    record = search_record(
        name=name, state=SearchState.COMPLETED, evaluated=size, trained=size - failed, failed=failed,
        gpu_seconds=99.0 * size, trial_seconds=99.0 * size,
        best_individual=best.number if best else None, best_fitness=best.fitness if best else None,
        default_fitness=members[0].fitness if members else None,
    )  # fmt: skip
    return SampleLedger(record, members, attempts)


def _child(number: int, members: list[IndividualRecord], rng: random.Random) -> IndividualRecord:
    scored = sorted((each for each in members if each.fitness is not None), key=lambda each: each.fitness)
    parents = [each for each in scored[-12:] if each.generation < number // 8]
    if number == 0:
        return individual(0)
    if number < 8 or len(parents) < 2:
        return individual(number, _active({name: _draw(name, rng) for name in GENES}))
    first, second = rng.sample(parents, 2)
    params, origins = {}, {}
    for gene in GENES:
        parent = first if rng.random() < 0.7 else second
        if rng.random() < 0.15 or gene not in parent.params:
            params[gene], origins[gene] = _draw(gene, rng), "mutated"
        else:
            params[gene], origins[gene] = parent.params[gene], f"inherited:{parent.number}"
    operators = ("tournament", "uniform_crossover", "gaussian_mutation")
    return individual(
        number, _active(params), parents=(first.number, second.number), operators=operators, origins=origins
    )


def _active(params: dict[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in params.items() if name != "momentum" or params["optimizer"] == "SGD"}


def _draw(name: str, rng: random.Random) -> Json:
    gene = GENES[name]
    if gene["type"] == "boolean":
        return rng.random() < 0.5
    if gene["type"] == "categorical":
        return rng.choice(gene["choices"])
    low, high = gene["low"], gene["high"]
    value = math.exp(rng.uniform(math.log(low), math.log(high))) if gene.get("log") else rng.uniform(low, high)
    return round(value) if gene["type"] == "int" else value


def _fitness(params: dict[str, Json], rng: random.Random) -> float:
    distance = (math.log10(params["lr0"]) + 2.7) ** 2 * 0.08 + (params["nms_iou"] - 0.6) ** 2 * 0.6
    distance += 0.03 * (params["optimizer"] == "AdamW") + 0.05 * (1 - params["mosaic"]) ** 2
    return max(0.01, 0.47 - distance + rng.gauss(0, 0.006))
