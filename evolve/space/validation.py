"""The base of every part of a search space document, and one readable line for whatever breaks its rules."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from evolve.yaml_io import MAX_INTEGER

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""What a gene and a training setting may be called."""

_WIDEST_VALUE = 80


class Part(BaseModel):
    """A frozen part of a document that allows no unknown key and converts no types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key {show(key)}{suggest(key, cls.model_fields)}")
        return data


def check_scalar(value: Any) -> Any:
    """Refuse what is no finite number, text or truth value."""
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"must be a number, text, true or false, but got {show(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"must be finite, but got {value}")
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ValueError(f"must fit into 64 bits, but got {show(value)}")
    return value


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Scalar: TypeAlias = Annotated[bool | int | float | str, BeforeValidator(check_scalar)]
"""A value that a gene can take."""

AsTuple = BeforeValidator(_as_tuple)
"""Lets a list of the document become the tuple that a frozen part holds."""


def show(value: object) -> str:
    """A value as a message shows it: on one line, and not too long."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= _WIDEST_VALUE else text[: _WIDEST_VALUE - 3] + "..."


def suggest(word: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest known one, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(str(word)[:_WIDEST_VALUE], names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(names)}"


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a document, as `key: rule, but got value`."""
    return problem_line(error.errors(include_url=False)[0])


def problem_line(problem: Any) -> str:
    """One of `ValidationError.errors()`, as `key: rule, but got value`."""
    where, rule = _place(problem["loc"]), _rule(problem)
    return f"{where}: {rule}" if where else rule


def _place(loc: tuple[int | str, ...]) -> str:
    """Turn `("genes", "lr0", "float", "low")` into `gene 'lr0': low`."""
    if loc[:1] == ("genes",) and len(loc) > 1:
        inner = _dotted(loc[3:])  # loc[2] is the gene's type
        return f"gene {show(loc[1])}" + (f": {inner}" if inner else "")
    return _dotted(loc)


def _dotted(loc: tuple[int | str, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return path.removeprefix(".") if path.isprintable() else repr(path)


_RULES = {
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "enum": "must be one of {expected}",
    "finite_number": "must be finite",
    "float_type": "must be a number",
    "greater_than": "must be > {gt:g}",
    "greater_than_equal": "must be >= {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of a usual size",
    "int_type": "must be a whole number",
    "less_than": "must be < {lt}",
    "less_than_equal": "must be <= {le}",
    "list_type": "must be a list",
    "literal_error": "must be one of {expected}",
    "mapping_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "model_type": "must be a mapping",
    "string_type": "must be text",
    "string_pattern_mismatch": "must not hold control characters",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_long": "must have at most {max_length} items",
    "tuple_type": "must be a list",
    "union_tag_invalid": "type must be one of {expected_tags}",
}


def _rule(problem: Any) -> str:
    context = problem.get("ctx", {})
    match problem["type"]:
        case "value_error":  # raised by our own validators, which already say all of it
            return str(context["error"])
        case "missing":
            return "the key is required; add it"
        case "union_tag_not_found":
            return "key 'type' is required: float, int, categorical or boolean"
        case "union_tag_invalid":
            got = context["tag"]
        case _:
            got = problem["input"]
    rule = _RULES.get(problem["type"], problem["msg"]).format(**context)
    return f"{rule}, but got {show(got)}"
