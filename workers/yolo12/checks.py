"""Whether YOLO12 can be trained with a search space, and whether each of its genes can change anything.

Importing this module imports neither Ultralytics nor torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evolve.exceptions import SpaceError
from evolve.space import FloatGene, Gene, IntGene, SearchSpace
from evolve.trial import Json
from workers.yolo12.architectures import MODEL, MODELS
from workers.yolo12.arguments import CATALOGUE, Argument, advice
from workers.yolo12.metrics import METRICS

OVERRIDDEN_BY_AUTO = ("lr0", "momentum", "warmup_bias_lr")
CONFLICTS = (
    ("cos_lr", "lr_schedule", "which decides the same; `lr_schedule: cosine` is what cos_lr means"),
    ("multi_scale", "image_sizes", "which decides the same; image_sizes keeps the memory level"),
    ("rect", "image_sizes", "but batches of one shape cannot change their size"),
)
"""Pairs of arguments that exclude each other, and why."""


def check_arguments(space: SearchSpace) -> None:
    """Refuse a space whose model, settings or genes Ultralytics could not train with.

    Raises:
        SpaceError: with one line for the first rule that is broken.
    """
    for problem in _problems(space):
        raise SpaceError(f"{space.name}: {problem}")


def _problems(space: SearchSpace) -> Iterator[str]:
    yield from _model_problems(space)
    for name, value in space.train.items():
        yield from _name_problem(f"train.{name}", name)
        yield from _value_problem(f"train.{name}", CATALOGUE[name], value)
    if "epochs" not in space.train:
        yield "train.epochs: is required, but is missing; add the number of epochs that each trial trains"
    for name, gene in _argument_genes(space).items():
        yield from _name_problem(f"genes.{name}", name)
        if not CATALOGUE[name].gene:
            yield f"genes.{name}: must be the same for all individuals, but is a gene; put it under train"
        for value in _extremes(gene):
            yield from _value_problem(f"genes.{name}", CATALOGUE[name], value)
    yield from _optimizer_problems(space)
    yield from _conflicts(space)
    yield from _idle_problems(space)
    for key, metrics in (("fitness", space.fitness.weights), ("objectives", space.objectives)):
        for metric in metrics:
            if metric not in METRICS:
                yield f"{key}: must use metrics that YOLO12 reports ({', '.join(METRICS)}), but got {metric!r}"


def _model_problems(space: SearchSpace) -> Iterator[str]:
    """The model, or the gene that decides it; such a gene needs first weights for each of its choices."""
    gene = space.genes.get(MODEL)
    if gene is not None and not gene.when and space.model:
        yield f"model: must be left out where a gene decides it, but got {space.model!r}; remove it, or the gene"
    elif (gene is None or gene.when) and space.model not in MODELS:
        yield f"model: must be one of {', '.join(MODELS)}, but got {space.model!r}"
    if gene is None:
        return
    for value in _extremes(gene):
        if value not in MODELS:
            yield f"genes.model: must choose among {', '.join(MODELS)}, but got {value!r}"
    if space.weights not in ("auto", "none"):
        yield (
            "weights: must be auto or none where the model is a gene, as a file holds those of one model, "
            f"but got {space.weights!r}; auto takes a file of each model's name"
        )


def _argument_genes(space: SearchSpace) -> Mapping[str, Gene]:
    """The genes that are training arguments: all but the model."""
    return {name: gene for name, gene in space.genes.items() if name != MODEL}


def _name_problem(key: str, name: str) -> Iterator[str]:
    if name not in CATALOGUE:
        yield f"{key}: must be a known training argument, but got {name!r}; {advice(name)}"


def _value_problem(key: str, argument: Argument, value: Json) -> Iterator[str]:
    if problem := argument.problem(value):
        yield f"{key}: {problem}, but got {value!r}"


def _extremes(gene: Gene) -> Iterator[Json]:
    """Values that stand for all of a gene's: every rule of the catalogue is an interval or a list."""
    if isinstance(gene, FloatGene | IntGene):
        yield from (gene.low, gene.high)
    else:
        yield from gene.options


def _optimizer_problems(space: SearchSpace) -> Iterator[str]:
    """`auto` chooses learning rate and momentum by itself, silently: their genes would be noise."""
    gene = space.genes.get("optimizer")
    possible = set(_extremes(gene)) if gene else {space.train.get("optimizer", "auto")}
    if "auto" not in possible:
        return
    for name in OVERRIDDEN_BY_AUTO:
        if name in space.genes and "auto" in space.genes[name].when.get("optimizer", ("auto",)):
            key = f"genes.{name}"
        elif name in space.train:
            key = f"train.{name}"
        else:
            continue
        yield (
            f"{key}: optimizer must not be auto, which overwrites {name}, but it is; "
            "set train.optimizer, e.g. to AdamW"
        )


def _conflicts(space: SearchSpace) -> Iterator[str]:
    names = {**space.train, **space.genes}
    for one, other, reason in CONFLICTS:
        if one in names and other in names:
            section = "genes" if one in space.genes else "train"
            yield f"{section}.{one}: must not stand beside {other}, {reason}; remove one of them"


def _idle_problems(space: SearchSpace) -> Iterator[str]:
    """Genes and settings that would change nothing: the search would breed noise, and nobody would see it."""
    for name, gene in _argument_genes(space).items():
        for other, allowed in CATALOGUE[name].needs.items():
            possible = gene.when.get(other) or _possible(space, other)
            idle = [value for value in possible if not helps(value, allowed)]
            if isinstance(space.genes.get(other), FloatGene) and len(idle) < len(possible):
                continue  # only the very edge of its range
            if idle:
                yield f"genes.{name}: {need(other, allowed)}, but it may be {idle[0]}; {_remedy(other, allowed)}"
    for name, value in space.train.items():
        if value is False:
            continue  # what is switched off needs nothing
        for other, allowed in CATALOGUE[name].needs.items():
            possible = _possible(space, other)
            if not any(helps(value, allowed) for value in possible):
                yield f"train.{name}: {need(other, allowed)}, but it is {possible[0]}; remove it, or set {other}"


def _possible(space: SearchSpace, name: str) -> tuple[Json, ...]:
    """Values that an argument may have in some individual; of a range, its ends."""
    fallback = space.train.get(name, CATALOGUE[name].default)
    gene = space.genes.get(name)
    if gene is None:
        return (fallback,)
    return (*_extremes(gene), *([fallback] if gene.when else []))


def helps(value: Json, allowed: tuple[Json, ...] | None) -> bool:
    """Whether a value of an argument lets another one have its effect; see `Argument.needs`."""
    if allowed is not None:
        return value in allowed
    return isinstance(value, int | float) and value > 0


def need(other: str, allowed: tuple[Json, ...] | None) -> str:
    """What an argument needs of another one, in words."""
    if allowed is None:
        wanted = "above 0"
    elif _is_range(allowed):
        wanted = f"{allowed[0]} to {allowed[-1]}"
    else:
        wanted = " or ".join(_text(value) for value in allowed)
    return f"changes nothing unless {other} is {wanted}"


def _remedy(other: str, allowed: tuple[Json, ...] | None) -> str:
    if allowed is None or _is_range(allowed):
        return f"set train.{other}"
    listed = ", ".join(_text(value) for value in allowed)
    return f"add `when: {{{other}: [{listed}]}}`, or set train.{other}"


def _is_range(allowed: tuple[Json, ...]) -> bool:
    return len(allowed) > 2 and list(allowed) == list(range(len(allowed)))  # noqa: PLR2004


def _text(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
