"""Search spaces of other tools as ours: each of their parameters as a gene, and its values there and here."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from evolve.exceptions import SpaceError
from evolve.space import SearchSpace
from evolve.space.validation import show, suggest
from evolve.trial import Json

OPERATORS = (
    "population",
    "start",
    "selection",
    "tournament_size",
    "truncation",
    "crossover",
    "crossover_probability",
    "blend_alpha",
    "sbx_eta",
    "mutation",
    "mutation_probability",
    "mutation_sigma",
    "polynomial_eta",
    "immigrants",
    "stagnation",
)
"""The settings of a search that shape breeding, wherever trials are run."""

_MOST_CHOICES = 64
_DIGITS = 12


def check_settings(search: Mapping[str, Json], known: Sequence[str]) -> None:
    """Refuse a setting of the search that would change nothing.

    Raises:
        SpaceError: naming it.
    """
    for name in search:
        if name not in known:
            raise SpaceError(f"unknown setting {show(name)}{suggest(name, known)}")


class Axis(Protocol):
    """One parameter of another tool."""

    @property
    def gene(self) -> dict[str, Json]:
        """The gene as a space's document describes it."""
        ...

    def outer(self, value: Any) -> Any:
        """The tool's value for one of the gene's."""
        ...

    def inner(self, value: Any) -> Json:
        """The gene's value for one of the tool's; the nearest where none is equal."""
        ...


class Numbers:
    """Real or whole numbers between two bounds, both included. The middle is the default."""

    def __init__(self, low: float, high: float, *, log: bool, whole: bool) -> None:
        self._low, self._high, self._log, self._whole = low, high, log, whole

    @property
    def gene(self) -> dict[str, Json]:
        """A float or int gene."""
        low, high = self._low, self._high
        middle = math.sqrt(low * high) if self._log and low > 0 else (low + high) / 2
        default = round(middle) if self._whole else middle
        kind = "int" if self._whole else "float"
        return {"type": kind, "low": low, "high": high, "log": self._log, "default": min(max(default, low), high)}

    def outer(self, value: Any) -> Any:
        """The same number."""
        return value

    def inner(self, value: Any) -> Json:
        """The number, within the bounds."""
        number = min(max(value, self._low), self._high)
        return round(number) if self._whole else float(number)


class Steps:
    """Numbers a step apart, `offset + k * step`; the gene is the whole number k."""

    def __init__(self, offset: float, step: float, first: int, last: int, *, log: bool = False) -> None:
        self._offset, self._step = offset, step
        self._numbers = Numbers(first, last, log=log, whole=True)

    @property
    def gene(self) -> dict[str, Json]:
        """An int gene."""
        return self._numbers.gene

    def outer(self, value: Any) -> Any:
        """The k-th number, without the dirt of binary fractions."""
        number = self._offset + value * self._step
        return float(f"{number:.{_DIGITS}g}") if isinstance(number, float) else number

    def inner(self, value: Any) -> Json:
        """The nearest k."""
        return self._numbers.inner(round((value - self._offset) / self._step))


class Choices:
    """One of some values of any kind; the gene holds their places. The first is the default."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = list(values)

    @property
    def gene(self) -> dict[str, Json]:
        """A categorical gene; of very many choices, an int gene."""
        count = len(self._values)
        if count > _MOST_CHOICES:
            return {"type": "int", "low": 0, "high": count - 1, "default": 0}
        return {"type": "categorical", "choices": list(range(count)), "default": 0}

    def outer(self, value: Any) -> Any:
        """The value at a place."""
        return self._values[value]

    def inner(self, value: Any) -> Json:
        """The place of a value.

        Raises:
            ValueError: if it is none of them.
        """
        for place, each in enumerate(self._values):  # True equals 1, and is another choice
            if each is value or (type(each) is type(value) and bool(each == value)):
                return place
        raise ValueError(f"must be one of {self._values}, but got {value!r}")


_Key = TypeVar("_Key", bound=Hashable)


class Translation(Generic[_Key]):
    """A space made of axes, and configurations translated between the two.

    Attributes:
        space: Its genes are called `g0`, `g1` and so on: names elsewhere may be anything.

    Args:
        axes: By the tool's own key.
        search: Settings of the search.

    Raises:
        SpaceError: if an axis or a setting breaks a rule of ours.
    """

    def __init__(self, axes: Mapping[_Key, Axis], search: Mapping[str, Json]) -> None:
        self._axes = {f"g{place}": (key, axis) for place, (key, axis) in enumerate(axes.items())}
        genes: dict[str, Json] = {name: axis.gene for name, (_, axis) in self._axes.items()}
        self.space = SearchSpace.from_document({"genes": genes, "search": dict(search)}, "search")

    def outer(self, params: Mapping[str, Json]) -> dict[_Key, Any]:
        """The tool's values of a configuration of ours."""
        return {key: axis.outer(params[name]) for name, (key, axis) in self._axes.items() if name in params}

    def inner(self, values: Mapping[_Key, Any]) -> dict[str, Json]:
        """Our values of a configuration of the tool's; what it leaves out has its default."""
        return {name: axis.inner(values[key]) for name, (key, axis) in self._axes.items() if key in values}
