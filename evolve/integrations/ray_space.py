"""What an experiment of Ray Tune searches over, in either language: a space of ours, or domains of Ray's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from ray.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Quantized, Uniform
from ray.tune.search.variant_generator import parse_spec_vars

from evolve.exceptions import InputError, SpaceError
from evolve.integrations.axes import Axis, Choices, Numbers, Steps, Translation
from evolve.space import RepeatSettings, SearchSpace, load_space, override
from evolve.trial import Json

_Path: TypeAlias = tuple[str, ...]


class Problem(Protocol):
    """A space, and what its configurations look like to a trainable."""

    space: SearchSpace

    def configuration(self, params: Mapping[str, Json]) -> dict[str, Any]:
        """What a trainable gets for these values of genes."""
        ...

    def params(self, configuration: Mapping[str, Any]) -> dict[str, Json]:
        """The values of genes in a configuration; those that it leaves out have their defaults."""
        ...


def problem_of(space: SearchSpace | str | Path | Mapping[str, Any], search: Mapping[str, Json]) -> Problem:
    """The problem that a user means by a space.

    Args:
        space: Ours, its path or document, or a dictionary of Ray Tune's domains.
        search: Settings of the search; they win over those of the space.

    Raises:
        InputError: if it is no space.
    """
    settings = {f"search.{name}": value for name, value in search.items()}
    if isinstance(space, str | Path):
        return OwnProblem(load_space(space, settings))
    if isinstance(space, SearchSpace):
        space = space.document()
    elif domains := domains_in(space):
        return RayProblem(domains, search)
    return OwnProblem(SearchSpace.from_document(override(space, settings, "space"), "space"))


def domains_in(config: Mapping[str, Any]) -> dict[_Path, Domain]:
    """The domains of a configuration by their paths.

    Raises:
        InputError: for a grid search, or a domain within a list.
    """
    _, domains, grids = parse_spec_vars(dict(config))
    for path, _ in grids:
        raise InputError(f"param_space: {_shown(path)}: a grid leaves nothing to search; use tune.choice")
    for path, _ in domains:
        if not all(isinstance(part, str) for part in path):
            raise InputError(f"param_space: {_shown(path)}: a domain must stand in a dictionary, not in a list")
    return dict(domains)


class OwnProblem:
    """A space of ours: a trainable gets the settings of `train` and the genes that exist.

    Raises:
        InputError: if it asks for what a run of Ray Tune cannot do.
    """

    def __init__(self, space: SearchSpace) -> None:
        search = space.search
        if space.objectives or search.repeats != RepeatSettings():
            raise InputError(
                "EvolveSearch: objectives and search.repeats must be left out; a trial of Ray Tune has one result"
            )
        # it is Ray's schedulers that stop trials
        self.space = space.model_copy(update={"search": search.model_copy(update={"rungs": None})})

    def configuration(self, params: Mapping[str, Json]) -> dict[str, Any]:
        """See `Problem`."""
        return {**self.space.train, **params}

    def params(self, configuration: Mapping[str, Any]) -> dict[str, Json]:
        """See `Problem`."""
        genes = self.space.genes
        settings = self.space.train.keys() - genes.keys()
        given = {name: value for name, value in configuration.items() if name not in settings}
        values = {**{name: gene.default for name, gene in genes.items()}, **given}
        active = self.space.active(values)
        return {name: value for name, value in values.items() if name in active or name in given}


class RayProblem:
    """Domains of Ray Tune; those of a single value are no genes."""

    def __init__(self, domains: Mapping[_Path, Domain], search: Mapping[str, Json]) -> None:
        axes = {path: _axis(path, domain) for path, domain in domains.items()}
        self._constants = {path: axis.outer(_only(axis)) for path, axis in axes.items() if _is_constant(axis)}
        varied = {path: axis for path, axis in axes.items() if path not in self._constants}
        try:
            self._translation = Translation(varied, search)
        except SpaceError as error:
            names = ", ".join(f"g{place} is {_shown(path)}" for place, path in enumerate(varied))
            raise SpaceError(f"param_space: {error} ({names})") from None
        self.space = self._translation.space

    def configuration(self, params: Mapping[str, Json]) -> dict[str, Any]:
        """See `Problem`."""
        nested: dict[str, Any] = {}
        for (*parents, last), value in (self._constants | self._translation.outer(params)).items():
            inner = nested
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[last] = value
        return nested

    def params(self, configuration: Mapping[str, Any]) -> dict[str, Json]:
        """See `Problem`."""
        return {**self.space.default(), **self._translation.inner(dict(_leaves(configuration)))}


def _axis(path: _Path, domain: Domain) -> Axis:
    if isinstance(domain, Categorical):
        return Choices(domain.categories)
    sampler = domain.get_sampler()
    step = None
    if isinstance(sampler, Quantized):
        step, sampler = sampler.q, sampler.sampler
    if not isinstance(domain, Float | Integer) or not isinstance(sampler, Uniform | LogUniform):
        raise InputError(
            f"param_space: {_shown(path)}: must be uniform, loguniform, randint, lograndint, a quantised one of "
            f"these, or choice, but got {domain.domain_str}"
        )
    log, whole = isinstance(sampler, LogUniform), isinstance(domain, Integer)
    if step is None:
        # the upper end of Ray's whole numbers is not one of them, unless they are quantised
        return Numbers(domain.lower, domain.upper - 1 if whole else domain.upper, log=log, whole=whole)
    first, last = math.ceil(_steady(domain.lower / step)), math.floor(_steady(domain.upper / step))
    return Steps(0 if whole else 0.0, step, max(first, 1) if log else first, last, log=log)


def _steady(quotient: float) -> float:
    """Without the dirt of binary fractions, which would cost a step at either end."""
    return round(quotient, 9)


def _is_constant(axis: Axis) -> bool:
    gene: dict[str, Any] = axis.gene
    return len(gene["choices"]) == 1 if "choices" in gene else bool(gene["low"] == gene["high"])


def _only(axis: Axis) -> Json:
    return axis.gene["default"]


def _leaves(configuration: Mapping[str, Any], path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    for name, value in configuration.items():
        yield (*path, name), value
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, name))


def _shown(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path))
