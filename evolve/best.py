"""The best individual as YAML: all of it for `evolve train --params`, or what `yolo train cfg=` takes of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evolve.exceptions import EvolveError
from evolve.formatting import clean, fitness_label, number, verdict
from evolve.ledger.records import EvaluationRecord, IndividualRecord, SearchRecord
from evolve.models import MODEL, model_of, weights_begun_with
from evolve.objectives import Objectives
from evolve.trial import Json, TrialState
from evolve.yaml_io import dump_yaml

if TYPE_CHECKING:
    from evolve.ledger import Ledger
    from evolve.space import SearchSpace

BUILT_IN = "yolo12"
"""Name of the objective that trains with Ultralytics."""

ULTRALYTICS_NAMES = {"nms_iou": "iou"}
"""Names of ours for arguments that Ultralytics calls differently."""

TRAIN_ARGUMENTS = frozenset(
    {
        "agnostic_nms", "amp", "auto_augment", "batch", "bgr", "box", "cache", "classes", "close_mosaic", "cls",
        "cls_pw", "compile", "copy_paste", "copy_paste_mode", "cos_lr", "cutmix", "degrees",
        "deterministic", "device", "dfl", "dropout", "epochs", "erasing", "fliplr", "flipud", "fraction",
        "freeze", "hsv_h", "hsv_s", "hsv_v", "imgsz", "iou", "lr0", "lrf", "max_det", "mixup",
        "momentum", "mosaic", "multi_scale", "nbs", "optimizer", "patience", "perspective", "plots",
        "pretrained", "rect", "save", "save_period", "scale", "seed", "shear", "single_cls", "time",
        "translate", "val", "verbose", "warmup_bias_lr", "warmup_epochs", "warmup_momentum",
        "weight_decay", "workers",
    }
)  # fmt: skip
"""The arguments of stock Ultralytics that can shape a detector, or the time that its training takes."""

_STOCK_MODEL = re.compile(r"yolo12[nsmlx]")


def best_arguments(
    search: SearchRecord, individual: IndividualRecord, evaluation: EvaluationRecord, space: SearchSpace
) -> dict[str, Json]:
    """All that training an individual again needs: `evolve train --params best.yaml`.

    Args:
        search: The search.
        individual: The individual; `search.best_individual` as a rule.
        evaluation: The attempt that gave its fitness.
        space: The search's space.

    Returns:
        Arguments by their Ultralytics names, and by ours where stock Ultralytics does not know them; those are
        in `foreign_arguments`, too.
    """
    trained = model_of(space.model, individual.params)
    # The driver notes what `auto` came to; without a network that may be random weights.
    noted = str(search.options.get("weights", space.weights))
    weights = weights_begun_with(search).get(trained, noted)
    stock = f"{trained}.pt"
    model = f"{trained}.yaml"
    pretrained: Json = weights
    if weights == "auto" or Path(weights).name == stock:
        model, pretrained = stock, True
    elif weights == "none":
        pretrained = False
    arguments: dict[str, Json] = {
        "task": "detect",
        "mode": "train",
        "model": model,
        "data": space.data,
        "pretrained": pretrained,
        "seed": evaluation.seed,
    }
    length: dict[str, Json] = {"epochs": evaluation.epochs} if evaluation.epochs else {}
    return arguments | _chosen(individual, space) | length


def foreign_arguments(individual: IndividualRecord, space: SearchSpace) -> dict[str, Json]:
    """Settings and genes of an individual that stock Ultralytics does not know, as those of our recipe."""
    return {key: value for key, value in _chosen(individual, space).items() if key not in TRAIN_ARGUMENTS}


def _chosen(individual: IndividualRecord, space: SearchSpace) -> dict[str, Json]:
    merged = {**space.train, **individual.settings, **individual.params}
    return {
        ULTRALYTICS_NAMES.get(key, key): value
        for key, value in merged.items()
        if value is not None and key != MODEL  # it is not an argument, but decides what they are of
    }


def best_yaml(
    search: SearchRecord,
    individual: IndividualRecord,
    evaluation: EvaluationRecord,
    space: SearchSpace,
    *,
    stock: bool = False,
    name: str = "best.yaml",
    notes: Sequence[str] = (),
) -> str:
    """`best_arguments` as a YAML document, with comments that say where they come from and how to train with them.

    Args:
        search: The search.
        individual: The individual; `search.best_individual` as a rule.
        evaluation: The attempt that gave its fitness.
        space: The search's space.
        stock: Whether to write only what stock Ultralytics knows.
        name: What the file will be called.
        notes: What else to say; `evolve.descent.inheritance_notes` where weights were inherited.
    """
    comments = [
        f"Search {clean(search.name)} ({search.id}), individual {individual.number}",
        f"Fitness ({fitness_label(space.fitness.weights)}): {number(individual.fitness, 5)}",
    ]
    if objectives := Objectives(space.objectives):
        values = zip(objectives.labels(), objectives.texts(individual.objectives), strict=True)
        comments.append(f"Objectives: {', '.join(f'{label} {value}' for label, value in values)}")
    if individual.number == search.best_individual:
        comments.append(f"Result: {verdict(search)}")
        if search.best_fitness != individual.fitness:
            comments.append(f"Mean fitness of this configuration over its seeds: {number(search.best_fitness, 5)}")
    comments += [f"Attention: {note}" for note in notes]
    if search.objective == BUILT_IN:
        foreign = foreign_arguments(individual, space)
        model = model_of(space.model, individual.params)
        comments += _stock_advice(model, foreign, name) if stock else _advice(search, model, foreign, name)
        arguments = best_arguments(search, individual, evaluation, space)
        if stock:
            arguments = {key: value for key, value in arguments.items() if key not in foreign}
    else:
        comments.append(f"Parameters of the objective {clean(search.objective)}")
        arguments = {**space.train, **individual.params, "seed": evaluation.seed}
    return "".join(f"# {line}\n" for line in comments) + dump_yaml(arguments)


def _advice(search: SearchRecord, model: str, foreign: Mapping[str, Json], name: str) -> list[str]:
    lines = [f"Train again with: evolve train --params {clean(name)}"]
    if foreign:
        lines.append(
            f"Stock Ultralytics does not know {_listed(foreign)}: `evolve best {search.id} --stock` is for it"
        )
    elif _is_stock(model):
        lines.append(f"or with stock Ultralytics: yolo train cfg={clean(name)}")
    return lines


def _stock_advice(model: str, foreign: Mapping[str, Json], name: str) -> list[str]:
    lines = [f"Train with stock Ultralytics: yolo train cfg={clean(name)}"]
    if not _is_stock(model):
        lines.append(f"Attention: stock Ultralytics has no model {clean(model)}")
    if foreign:
        lines.append(f"Attention: left out, as stock Ultralytics does not know it: {_listed(foreign)}")
    return lines


def _is_stock(model: str) -> bool:
    return _STOCK_MODEL.fullmatch(model) is not None


def _listed(arguments: Mapping[str, Json]) -> str:
    return ", ".join(f"{clean(key)}={clean(str(value))}" for key, value in arguments.items())


def deciding_evaluation(
    individual: IndividualRecord, evaluations: Iterable[EvaluationRecord]
) -> EvaluationRecord | None:
    """The attempt that gave an individual its fitness, which for a repeated one was another's."""
    trained = individual.number if individual.reused_from is None else individual.reused_from
    attempts = [each for each in evaluations if each.individual == trained]
    for state in (TrialState.COMPLETED, TrialState.STOPPED):
        finished = [each for each in attempts if each.state is state]
        if finished:
            return max(finished, key=lambda each: each.attempt)
    return None


def best_of(ledger: Ledger, search: SearchRecord) -> tuple[IndividualRecord, EvaluationRecord]:
    """The best individual so far, with the attempt that decided its fitness.

    Raises:
        EvolveError: if no individual has been evaluated successfully yet.
    """
    if search.best_individual is not None:
        individual = ledger.individuals(search.id, numbers=[search.best_individual])[0]
        trained = individual.number if individual.reused_from is None else individual.reused_from
        evaluation = deciding_evaluation(individual, ledger.evaluations(search.id, trained))
        if evaluation is not None:
            return individual, evaluation
    raise EvolveError(
        f"search {search.id}: best: an individual must have been evaluated, but none has; "
        f"look at `evolve show {search.id}`"
    )
