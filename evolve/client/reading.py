"""From JSON to the client's records, by the types of their fields."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from evolve.exceptions import ServiceError

_Record = TypeVar("_Record")
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Page(Generic[_Item]):
    """A part of a list; `count` is how many there are on all pages."""

    data: tuple[_Item, ...]
    count: int

    def __iter__(self) -> Iterator[_Item]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


def read(kind: type[_Record], value: Any) -> _Record:
    """A record of this kind from a JSON value.

    Raises:
        ServiceError: if the value is none.
    """
    try:
        record: _Record = _read(kind, value)
    except (KeyError, TypeError, ValueError) as error:
        raise ServiceError(
            f"the server's answer is no {kind.__name__} that this client can read ({type(error).__name__}: "
            f"{error}); install the same version as the server's"
        ) from None
    return record


def read_page(kind: type[_Item], value: Any) -> Page[_Item]:
    """A page of records.

    Raises:
        ServiceError: if the value is none.
    """
    whole = read(_AnyPage, value)
    return Page(tuple(read(kind, item) for item in whole.data), whole.count)


@dataclass(frozen=True)
class _AnyPage:
    data: tuple[Any, ...]
    count: int


def _read(kind: Any, value: Any) -> Any:
    if is_dataclass(kind):
        return _read_record(kind, value)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is types.UnionType:  # `X | None`, or any JSON
        return _read(inner[0], value) if value is not None and len(inner) == 2 else value  # noqa: PLR2004
    if origin is tuple:
        return tuple(_read(inner[0], item) for item in _checked(value, list))
    if inner:
        return {str(key): _read(inner[1], item) for key, item in _checked(value, dict).items()}
    return value


def _read_record(kind: Any, value: Any) -> Any:
    given = _checked(value, dict)
    read_fields = {name: _read(hint, given[name]) for name, hint in _hints(kind).items() if name in given}
    for each in fields(kind):
        if each.name not in read_fields and each.default is MISSING and each.default_factory is MISSING:
            raise KeyError(each.name)
    return kind(**read_fields)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(kind).items() if name in kind.__dataclass_fields__}


def _checked(value: Any, kind: type[_Record]) -> _Record:
    if not isinstance(value, kind):
        raise TypeError(f"{kind.__name__} expected, but got {type(value).__name__}")
    return value
