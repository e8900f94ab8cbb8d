"""The kinds of genes: which values a hyperparameter can take, and where they lie in [0, 1].

Each gene maps a coordinate in [0, 1] to a value and back. `decode(encode(value)) == value` holds exactly for
every value that `decode` can give, and for a number's bounds and default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from evolve.space.expression import Kind, kind_of
from evolve.space.validation import AsTuple, Part, Scalar, show

_CHOICES = range(2, 65)
_LARGEST_FLOAT = 1e100
_LARGEST_INTEGER = 10**12  # up to here the doubles in [0, 1] reach every integer, on a log scale too
_NARROWEST = 1e-6  # of the bounds' size; narrower ranges drown in rounding
_DIGITS = 6

_N = TypeVar("_N", int, float)


def _as_values(when: Any) -> Any:
    if not isinstance(when, Mapping):
        return when
    return {name: tuple(values) if isinstance(values, list) else (values,) for name, values in when.items()}


_Conditions: TypeAlias = Annotated[Mapping[str, tuple[Scalar, ...]], BeforeValidator(_as_values)]
_Float: TypeAlias = Annotated[float, AfterValidator(lambda value: value + 0.0)]
"""A float that is never -0.0, which equals 0.0 but would be written differently."""


class _Gene(Part):
    """What all genes share.

    Attributes:
        type: `float`, `int`, `categorical` or `boolean`.
        when: Names of controlling genes to the values under which this gene exists; all must match.
    """

    type: str
    when: _Conditions = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_when(self) -> _Gene:
        for name, values in self.when.items():
            if not values:
                raise ValueError(f"when.{name}: at least one value is needed, but the list is empty")
        return self


class _NumericGene(_Gene, Generic[_N]):
    """A number between two bounds, both included."""

    low: _N
    high: _N
    default: _N
    log: bool = False

    @property
    def kind(self) -> Kind:
        """What the gene's values are in a constraint."""
        return Kind.NUMBER

    @property
    def choice_count(self) -> None:
        """None: the values have an order, and nearby coordinates are nearby values."""
        return None

    @model_validator(mode="after")
    def _check_range(self) -> _NumericGene[_N]:
        low, high = self.low, self.high
        if not low < high:
            raise ValueError(f"low < high must hold, but got low={_number(low)}, high={_number(high)}")
        if self.log and low <= 0:
            raise ValueError(f"low > 0 must hold on a log scale, but got low={_number(low)}")
        self._check_size()
        if (problem := self.outside(self.default)) is not None:
            raise ValueError(f"default {problem}")
        return self

    def _check_size(self) -> None:
        raise NotImplementedError

    def outside(self, value: float) -> str | None:
        """The rule that a number breaks, or None."""
        if self.low <= value <= self.high:
            return None
        return f"must lie between low={_number(self.low)} and high={_number(self.high)}, but got {_number(value)}"


def _number(value: float) -> str:
    """A number as its author wrote it: 0, although a float gene holds 0.0."""
    return show(value).removesuffix(".0")


class FloatGene(_NumericGene[_Float]):
    """A real number, given with about six significant digits so that people can read it."""

    type: Literal["float"]

    def _check_size(self) -> None:
        low, high = self.low, self.high
        size = max(abs(low), abs(high))
        if not 1 / _LARGEST_FLOAT <= size <= _LARGEST_FLOAT or (self.log and low < 1 / _LARGEST_FLOAT):
            raise ValueError(f"bounds must be of a size from 1e-100 to 1e+100, but got {low=}, {high=}")
        if high - low < size * _NARROWEST:
            raise ValueError(
                f"high must exceed low by a millionth, but got {low=}, {high=}; put a fixed value under train"
            )

    def decode(self, coordinate: float) -> float:
        """The value at a coordinate in [0, 1]."""
        if coordinate in self._exact:
            return self._exact[coordinate]
        value = min(max(self._rounded(self._scale.value(coordinate)), self.low), self.high)
        return self._exact.get(self._scale.coordinate(value), value)

    def encode(self, value: float) -> float:
        """The coordinate of a value within the bounds."""
        return self._scale.coordinate(value)

    def problem(self, value: object) -> str | None:
        """The rule that a value breaks, or None."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"must be a number, but got {show(value)}"
        return self.outside(value)

    @cached_property
    def _scale(self) -> _Scale:
        return _Scale(self.low, self.high, self.log)

    @cached_property
    def _exact(self) -> dict[float, float]:
        """Coordinates whose values are not rounded."""
        return {0.0: self.low, 1.0: self.high, self._scale.coordinate(self.default): self.default}

    @cached_property
    def _digits(self) -> int:
        """Significant digits on a log scale, decimals on a linear one."""
        if self.log:
            return _DIGITS - min(0, math.floor(math.log10(self._scale.width)))
        return _DIGITS - math.ceil(math.log10(self._scale.width))

    def _rounded(self, value: float) -> float:
        if self.log:
            return float(f"{value:.{self._digits}g}")
        return round(value, self._digits) + 0.0


class IntGene(_NumericGene[int]):
    """A whole number; each one owns an interval of [0, 1], all of one size on a linear scale."""

    type: Literal["int"]

    def _check_size(self) -> None:
        if max(abs(self.low), abs(self.high)) > _LARGEST_INTEGER:
            low, high = show(self.low), show(self.high)
            raise ValueError(f"bounds must lie within +-10**12, but got low={low}, high={high}")

    def decode(self, coordinate: float) -> int:
        """The value at a coordinate in [0, 1]."""
        return min(max(math.floor(self._scale.value(coordinate) + 0.5), self.low), self.high)

    def encode(self, value: int) -> float:
        """The coordinate of a value within the bounds."""
        return self._scale.coordinate(value)

    def problem(self, value: object) -> str | None:
        """The rule that a value breaks, or None."""
        if isinstance(value, bool) or not isinstance(value, int):
            return f"must be a whole number, but got {show(value)}"
        return self.outside(value)

    @cached_property
    def _scale(self) -> _Scale:
        return _Scale(self.low - 0.5, self.high + 0.5, self.log)


class _Scale:
    """A straight or logarithmic ruler from 0 at `low` to 1 at `high`."""

    def __init__(self, low: float, high: float, log: bool) -> None:
        self._log = log
        self._start, self._end = (math.log(low), math.log(high)) if log else (low, high)
        self.width = self._end - self._start

    def value(self, coordinate: float) -> float:
        position = self._start * (1 - coordinate) + self._end * coordinate
        return math.exp(position) if self._log else position

    def coordinate(self, value: float) -> float:
        position = math.log(value) if self._log else value
        return min(max((position - self._start) / self.width, 0.0), 1.0)


class _ChoiceGene(_Gene):
    """One of a few values without an order; each owns an interval of [0, 1] of equal size."""

    @property
    def options(self) -> tuple[Scalar, ...]:
        """All the values."""
        raise NotImplementedError

    @property
    def choice_count(self) -> int:
        """How many values there are, without an order between them."""
        return len(self.options)

    def decode(self, coordinate: float) -> Scalar:
        """The value at a coordinate in [0, 1]."""
        return self.options[min(int(coordinate * len(self.options)), len(self.options) - 1)]

    def encode(self, value: Scalar) -> float:
        """The coordinate of one of the values: the middle of its interval."""
        return (self.options.index(value) + 0.5) / len(self.options)

    def problem(self, value: object) -> str | None:
        """The rule that a value breaks, or None."""
        if any(same(value, option) for option in self.options):
            return None
        shown = ", ".join(map(show, self.options))
        return f"must be one of {shown}, but got {show(value)}"


class CategoricalGene(_ChoiceGene):
    """One of 2 to 64 distinct texts, numbers or truth values."""

    type: Literal["categorical"]
    choices: Annotated[tuple[Scalar, ...], AsTuple]
    default: Scalar

    @model_validator(mode="after")
    def _check_choices(self) -> CategoricalGene:
        count, distinct = len(self.choices), len(set(self.choices))
        if count not in _CHOICES:
            raise ValueError(f"choices must be {_CHOICES[0]} to {_CHOICES[-1]} values, but got {count}")
        if distinct < count:
            raise ValueError(f"choices must be distinct, but got {show(list(self.choices))}")
        if (problem := self.problem(self.default)) is not None:
            raise ValueError(f"default {problem}")
        return self

    @property
    def options(self) -> tuple[Scalar, ...]:
        """All the values."""
        return self.choices

    @cached_property
    def kind(self) -> Kind:
        """What the gene's values are in a constraint."""
        kinds = {kind_of(choice) for choice in self.choices}
        return kinds.pop() if len(kinds) == 1 else Kind.MIXED


class BooleanGene(_ChoiceGene):
    """True or false."""

    type: Literal["boolean"]
    default: bool

    @property
    def options(self) -> tuple[Scalar, ...]:
        """All the values."""
        return (False, True)

    @property
    def kind(self) -> Kind:
        """What the gene's values are in a constraint."""
        return Kind.BOOLEAN


def same(value: object, option: Scalar) -> bool:
    """Whether two values are the same choice; to Python, True equals 1."""
    return value == option and isinstance(value, bool) == isinstance(option, bool)


Gene: TypeAlias = Annotated[FloatGene | IntGene | CategoricalGene | BooleanGene, Field(discriminator="type")]
"""One hyperparameter that the search may change."""
