"""How the search goes about it, when it stops, and how it ends: `search`, `stop` and `finals` of a document."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from evolve.space.validation import Part

_Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
_PositiveShare: TypeAlias = Annotated[float, Field(gt=0, le=1)]
_Positive: TypeAlias = Annotated[float, Field(gt=0)]
_Count: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000)]


class RungSettings(Part):
    """Where a trial must show what it is worth, or be stopped.

    Attributes:
        over: What a rung has less of than a whole training: `epochs`; or `imgsz` or `fraction` (of the pictures),
            for which a promising individual is trained anew in full.
        levels: Rungs below a whole training.
        factor: How many times more each level has than the one before; also, one of so many goes on.
    """

    over: Literal["epochs", "imgsz", "fraction"] = "epochs"
    levels: int = Field(default=2, ge=1, le=5)
    factor: float = Field(default=3.0, ge=1.5, le=10)


class RepeatSettings(Part):
    """Which trainings are repeated with other seeds, so that luck is not taken for skill.

    Attributes:
        default: Further trainings of the default configuration, which measure the noise.
        elites: Further trainings of each new best individual.
    """

    default: int = Field(default=0, ge=0, le=20)
    elites: int = Field(default=0, ge=0, le=20)


class FinalsSettings(Part):
    """What is trained when the search is over: the best few and the default, with several seeds each.

    Attributes:
        top: How many of the best.
        seeds: Trainings of each.
        epochs: Length of a training; None for that of the trials.
    """

    top: int = Field(default=3, ge=1, le=100)
    seeds: int = Field(default=3, ge=1, le=100)
    epochs: _Count | None = None


class SearchSettings(Part):
    """Settings of the search; those of the operators are for the genetic algorithm.

    Attributes:
        algorithm: `genetic`, or one of Optuna's to compare it with.
        screening: Offspring that are bred for every individual that is trained: a model that learns from the
            trainings so far chooses among them. 1 trains whatever is bred.
        objective: `fitness`, or `efficiency` for the most expected gain for each second of training.
        rungs: Where trials are stopped that promise little; None trains all to their end. There are none for other
            algorithms, for several objectives, and where a training is too short for them.
        repeats: Which trainings are repeated with other seeds.
        population: Individuals of a generation.
        generations: Generations, the first one included.
        seed: Seed of the search and of the trainings.
        generational: Wait for a whole generation before the next is bred.
        start: How the first generation is spread over the space.
        selection: How parents are chosen.
        tournament_size: Individuals that compete to become a parent.
        truncation: Share of the population that may become parents under `truncation`.
        elites: Best individuals that always survive.
        crossover: How the genes of two parents are mixed.
        crossover_probability: Share of the children that have two parents.
        blend_alpha: How far a blended gene may lie outside its parents', as a share of their distance.
        sbx_eta: Spread of simulated binary crossover; larger is nearer to the parents.
        mutation: How a gene is changed.
        mutation_probability: For each gene; None stands for 1 / number of genes.
        mutation_sigma: Standard deviation of a Gaussian step, as a share of the gene's range.
        polynomial_eta: Spread of polynomial mutation; larger is nearer to the parent.
        immigrants: Share of a population that is replaced by fresh samples on stagnation.
        stagnation: Generations without improvement after which immigrants come; None for never.
        min_diversity: Diversity, in [0, 1], below which immigrants come as well.
        inherit_weights: Start a child from the weights of its fitter parent, where shapes agree.
        retries: Attempts after the first for a trial that failed through no fault of its genes.
        same_error_limit: Equal errors in a row after which the search stops.
    """

    algorithm: Literal["genetic", "tpe", "gp", "cmaes", "random"] = "genetic"
    screening: int = Field(default=250, ge=1, le=10_000)
    objective: Literal["fitness", "efficiency"] = "fitness"
    rungs: RungSettings | None = Field(default_factory=RungSettings)
    repeats: RepeatSettings = Field(default_factory=RepeatSettings)
    population: int = Field(default=8, ge=2, le=10_000)
    generations: int = Field(default=30, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0, lt=2**31)
    generational: bool = False
    start: Literal["sobol", "latin_hypercube"] = "sobol"
    selection: Literal["tournament", "truncation"] = "tournament"
    tournament_size: int = Field(default=3, ge=1, le=1000)
    truncation: _PositiveShare = 0.5
    elites: int = Field(default=1, ge=0)
    crossover: Literal["uniform", "blend", "sbx"] = "uniform"
    crossover_probability: _Share = 0.9
    blend_alpha: float = Field(default=0.5, ge=0, le=2)
    sbx_eta: float = Field(default=15, gt=0, le=1000)
    mutation: Literal["gaussian", "polynomial"] = "gaussian"
    mutation_probability: _PositiveShare | None = None
    mutation_sigma: _PositiveShare = 0.15
    polynomial_eta: float = Field(default=20, gt=0, le=1000)
    immigrants: _Share = 0.25
    stagnation: _Count | None = 5
    min_diversity: _Share = 0.02
    inherit_weights: bool = False
    retries: int = Field(default=2, ge=0, le=100)
    same_error_limit: _Count = 5

    @model_validator(mode="after")
    def _check_elites(self) -> SearchSettings:
        if self.elites >= self.population:
            raise ValueError(
                f"elites < population must hold, but got elites={self.elites}, population={self.population}"
            )
        return self

    @model_validator(mode="after")
    def _check_algorithm(self) -> SearchSettings:
        if self.algorithm == "genetic":
            return self
        for name, used in (
            ("objective", self.objective != "fitness"),
            ("repeats", self.repeats != RepeatSettings()),
        ):
            if used:
                raise ValueError(
                    f"{name} needs algorithm='genetic', but got algorithm={self.algorithm!r}; leave {name} out"
                )
        return self


class StopSettings(Part):
    """When the search ends before its last generation; None for each means never.

    Attributes:
        plateau: Generations without a new best.
        hours: Wall-clock hours.
        gpu_hours: Hours of GPU time over all trials.
        evaluations: Whole trainings; one that is stopped at a rung, or cheap, counts by its share of one.
        target: Fitness that is good enough.
    """

    plateau: _Count | None = None
    hours: _Positive | None = None
    gpu_hours: _Positive | None = None
    evaluations: _Count | None = None
    target: float | None = None
