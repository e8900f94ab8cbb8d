"""A search space: what is trained, which hyperparameters may change and how, and when to stop."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    model_validator,
)

from evolve.exceptions import SpaceError
from evolve.fitness import DEFAULT_METRIC, Fitness
from evolve.space.expression import Constraint, Kind, kind_of
from evolve.space.feasibility import require_feasible
from evolve.space.genes import FloatGene, Gene
from evolve.space.known import MAX_KNOWN, Known
from evolve.space.settings import FinalsSettings, SearchSettings, StopSettings
from evolve.space.validation import NAME, AsTuple, Part, Scalar, check_scalar, first_problem, show, suggest
from evolve.trial import Json
from evolve.yaml_io import MAX_DEPTH

MAX_GENES = 200
FULL: Mapping[str, float] = {"epochs": 0, "imgsz": 640, "fraction": 1.0}
"""What a whole training has, unless `train` says otherwise; its epochs have no default."""
STEPS: Mapping[str, float] = {"epochs": 1, "imgsz": 32, "fraction": 0.01}
"""What a rung is a multiple of."""
LEAST: Mapping[str, float] = {"epochs": 2, "imgsz": 32, "fraction": 0.01}
"""The lowest rung that can tell anything."""
_FEWEST_OBJECTIVES = 2
_SEARCH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _check_name(name: str) -> str:
    if not _SEARCH_NAME.fullmatch(name):
        raise ValueError(f"must be letters, digits, '.', '_' or '-', at most 100, but got {show(name)}")
    return name


def _check_setting(value: Any, depth: int = 0) -> Any:
    """Let through what JSON can hold; settings of a user's own objective may be nested."""
    if depth > MAX_DEPTH:
        raise ValueError(f"must be nested at most {MAX_DEPTH} deep")
    inner: list[Any] = []
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) for key in value):
            raise ValueError("keys must be text; put numbers in quotes")
        inner = list(value.values())
    elif isinstance(value, list):
        inner = value
    elif value is not None:
        check_scalar(value)
    for item in inner:
        _check_setting(item, depth + 1)
    return value


_Text: TypeAlias = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Setting: TypeAlias = Annotated[Any, AfterValidator(_check_setting)]
_Fitness: TypeAlias = Annotated[
    Fitness, PlainValidator(Fitness.parse), PlainSerializer(Fitness.document, return_type=Any)
]
_Constraint: TypeAlias = Annotated[
    Constraint, PlainValidator(Constraint.parse), PlainSerializer(str, return_type=str)
]


class SearchSpace(Part):
    """A checked search space document. Its genes keep the order in which they were written.

    Attributes:
        name: What searches over it are called unless told otherwise.
        model: Model to train, e.g. `yolo12n`; empty for objectives that need none.
        data: Data set YAML to train on; empty for objectives that need none.
        weights: `auto`, `none` or a local path.
        train: Training settings that stay fixed. A gene of the same name wins wherever it exists.
        fitness: What is maximised.
        objectives: Metrics that are traded off against each other, to `maximise` or `minimise`; empty for the
            fitness alone.
        genes: The hyperparameters that may change.
        constraints: Rules between them.
        search: How to search.
        stop: When to stop early.
        finals: What is trained when the search is over; None for nothing.
        known: Configurations to begin with, from an earlier search or from experience.
    """

    name: Annotated[str, AfterValidator(_check_name)]
    model: _Text = ""
    data: _Text = ""
    weights: _Text = "auto"
    train: Mapping[str, _Setting] = Field(default_factory=dict)
    fitness: _Fitness = Fitness({DEFAULT_METRIC: 1.0})
    objectives: Mapping[str, Literal["maximise", "minimise"]] = Field(default_factory=dict, max_length=5)
    genes: Mapping[str, Gene]
    constraints: Annotated[tuple[_Constraint, ...], AsTuple, Field(max_length=50)] = ()
    search: SearchSettings = Field(default_factory=SearchSettings)
    stop: StopSettings = Field(default_factory=StopSettings)
    finals: FinalsSettings | None = None
    known: Annotated[tuple[Known, ...], AsTuple, Field(max_length=MAX_KNOWN)] = ()

    @classmethod
    def from_document(cls, document: Mapping[str, Json], source: str) -> SearchSpace:
        """Check a document, as read from YAML or as `document` gave it.

        Args:
            document: Plain JSON values.
            source: What messages call it, e.g. its path; its stem is the default of `name`.

        Raises:
            SpaceError: with one line for the first rule that is broken.
        """
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).stem).lstrip("._-")[:100] or "space"
        try:
            return cls.model_validate({"name": stem, **document})
        except ValidationError as error:
            raise SpaceError(f"{source}: {first_problem(error)}") from None

    def document(self) -> dict[str, Json]:
        """Everything, defaults included, as JSON values; `from_document` gives an equal space back."""
        return self.model_dump(mode="json")

    def default(self) -> dict[str, Json]:
        """The genes of the default configuration that exist in it, with their values."""
        values = {name: gene.default for name, gene in self.genes.items()}
        active = self.active(values)
        return {name: value for name, value in values.items() if name in active}

    def active(self, params: Mapping[str, Json]) -> frozenset[str]:
        """The genes that exist for these values: those whose conditions hold, on genes that exist themselves."""
        active: set[str] = set()
        for name in self.parents_first:
            when = self.genes[name].when
            if all(parent in active and params.get(parent) in values for parent, values in when.items()):
                active.add(name)
        return frozenset(active)

    def violated(self, params: Mapping[str, Json]) -> list[Constraint]:
        """The constraints that these values break. One that mentions a gene that is not there does not apply."""
        return [constraint for constraint in self.constraints if not self.satisfies(params, constraint)]

    def satisfies(self, params: Mapping[str, Json], constraint: Constraint) -> bool:
        """Whether these values keep to a constraint."""
        return constraint.holds({**self._settings, **params})

    def check(self, params: Mapping[str, Json]) -> list[str]:
        """The rules that a configuration breaks: a line for each, none if it can be trained."""
        unknown = [
            f"unknown gene {show(name)}{suggest(name, self.genes)}" for name in params if name not in self.genes
        ]
        known = {name: value for name, value in params.items() if name in self.genes}
        problems = {name: self.genes[name].problem(value) for name, value in known.items()}
        broken = [f"gene {name!r}: {problem}" for name, problem in problems.items() if problem]
        if unknown or broken:
            return unknown + broken
        active = self.active(params)
        missing = [f"gene {name!r}: a value is required" for name in self.genes if name in active - known.keys()]
        extra = [f"gene {name!r}: does not exist under these conditions" for name in known.keys() - active]
        return missing + extra + [f"constraint {str(rule)!r} is violated" for rule in self.violated(params)]

    def full_training(self) -> float:
        """What a whole training has, in the units of the rungs; 1 where there are none."""
        rungs = self.search.rungs
        full: Any = 1.0 if rungs is None else self.train.get(rungs.over, FULL[rungs.over])
        return float(full) if self.rung_levels() else 1.0

    def training_share(self, level: float) -> float:
        """What a training up to a level costs, as a share of a whole one; pixels count by their area."""
        share = level / self.full_training()
        return share * share if self.search.rungs is not None and self.search.rungs.over == "imgsz" else share

    def rung_levels(self) -> tuple[float, ...]:
        """What a trial has had at each rung, ascending and below a whole training; in epochs, pixels or a share.

        Empty where a training is too short for rungs, or the search has none.
        """
        rungs = self.search.rungs
        if rungs is None or self.objectives or self.search.algorithm != "genetic" or rungs.over in self.genes:
            return ()
        full = self.train.get(rungs.over, FULL[rungs.over])
        if isinstance(full, bool) or not isinstance(full, int | float):
            return ()
        step, least = STEPS[rungs.over], LEAST[rungs.over]
        levels = (round(full / rungs.factor**power / step) * step for power in range(rungs.levels, 0, -1))
        return tuple(sorted({round(level, 6) for level in levels if least <= level < full}))

    @cached_property
    def _settings(self) -> dict[str, Json]:
        """The train settings that constraints may mention."""
        return {name: value for name, value in self.train.items() if isinstance(value, bool | int | float | str)}

    @cached_property
    def parents_first(self) -> tuple[str, ...]:
        """Names of the genes, each after those that control it."""
        return tuple(TopologicalSorter({name: gene.when for name, gene in self.genes.items()}).static_order())

    @model_validator(mode="after")
    def _check_names(self) -> SearchSpace:
        if not 1 <= len(self.genes) <= MAX_GENES:
            raise ValueError(f"genes: 1 to {MAX_GENES} genes are needed, but got {len(self.genes)}")
        for part, names in (("genes", self.genes), ("train", self.train)):
            for name in names:
                if not NAME.fullmatch(name):
                    raise ValueError(
                        f"{part}: a name must be a letter or '_' and then letters, digits or '_', "
                        f"64 at most, but got {show(name)}"
                    )
        return self

    @model_validator(mode="after")
    def _check_conditions(self) -> SearchSpace:
        for name, gene in self.genes.items():
            for parent, values in gene.when.items():
                if problem := self._condition_problem(parent, values):
                    raise ValueError(f"gene {name!r}: when: {problem}")
        try:
            self.parents_first  # noqa: B018 - computed here for the first time
        except CycleError as error:
            cycle = " -> ".join(error.args[1])
            raise ValueError(f"genes: conditions must not form a cycle, but got {cycle}") from None
        return self

    def _condition_problem(self, parent: str, values: tuple[Scalar, ...]) -> str | None:
        if parent not in self.genes:
            return f"unknown gene {show(parent)}{suggest(parent, self.genes)}"
        gene = self.genes[parent]
        if isinstance(gene, FloatGene):
            return f"a condition needs a categorical, boolean or int gene, but {parent!r} is a float"
        return next((f"{parent} {problem}" for value in values if (problem := gene.problem(value))), None)

    @model_validator(mode="after")
    def _check_rungs(self) -> SearchSpace:
        rungs = self.search.rungs
        if rungs is None or rungs.over == "epochs":
            return self
        if rungs.over in self.genes:
            raise ValueError(f"search.rungs: over must be no gene, but got {rungs.over!r}; make it a plain setting")
        full = self.train.get(rungs.over, FULL[rungs.over])
        if isinstance(full, bool) or not isinstance(full, int | float) or full <= 0:
            raise ValueError(
                f"search.rungs: train.{rungs.over} must say what a whole training has, but got {show(full)}"
            )
        return self

    @model_validator(mode="after")
    def _check_objectives(self) -> SearchSpace:
        if self.objectives and len(self.objectives) < _FEWEST_OBJECTIVES:
            raise ValueError("objectives: two or more are needed, but got one; use fitness for a single one")
        if self.objectives and self.search.algorithm != "genetic":
            raise ValueError(
                f"objectives: need search.algorithm='genetic', but got algorithm={self.search.algorithm!r}"
            )
        return self

    @model_validator(mode="after")
    def _check_known(self) -> SearchSpace:
        for place, each in enumerate(self.known):
            for name, value in each.genes.items():
                if name not in self.genes:
                    raise ValueError(f"known[{place}]: unknown gene {show(name)}{suggest(name, self.genes)}")
                if problem := self.genes[name].problem(value):
                    raise ValueError(f"known[{place}]: gene {name!r}: {problem}")
        return self

    @model_validator(mode="after")
    def _check_constraints(self) -> SearchSpace:
        kinds = {name: kind_of(value) for name, value in self._settings.items()}
        for name, gene in self.genes.items():
            kinds[name] = gene.kind if kinds.get(name, gene.kind) is gene.kind else Kind.MIXED
        for constraint in self.constraints:
            try:
                constraint.check(kinds)
            except ValueError as error:
                raise ValueError(f"constraint {show(str(constraint))}: {error}") from None
        for constraint in self.violated(self.default()):
            raise ValueError(
                f"constraint {show(str(constraint))}: the default configuration must satisfy it, but does not; "
                "change a default"
            )
        if self.constraints:
            require_feasible(self)
        return self
