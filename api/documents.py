"""Documents that come in, JSON or YAML, by the same strict rules; and values that go out, as JSON or YAML.

Neither form knows NaN, infinities, whole numbers beyond 64 bits, keys that are given twice, nesting beyond a few
levels, or text that is no Unicode.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from evolve.exceptions import InputError
from evolve.formatting import finite
from evolve.space.validation import first_problem, show
from evolve.trial import Json
from evolve.yaml_io import MAX_BYTES, MAX_DEPTH, MAX_INTEGER, parse_yaml

JSON_TYPE = "application/json"
YAML_TYPE = "application/yaml"
YAML_TYPES = (YAML_TYPE, "application/x-yaml", "text/yaml", "text/x-yaml")

_SOURCE = "body"
_LONGEST_NUMBER = 400
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Document:
    """The body of a request, not read yet: reading a long one takes a while, and belongs into a thread.

    Attributes:
        content: At most 64 KiB.
        is_yaml: Whether it is YAML rather than JSON.
    """

    content: bytes
    is_yaml: bool

    def read(self, model: type[_Model]) -> _Model:
        """What the document says.

        Raises:
            InputError: with one line for the first rule that is broken.
        """
        values = _parse_yaml(self.content) if self.is_yaml else parse_json(self.content)
        try:
            return model.model_validate(values)
        except ValidationError as error:
            raise InputError(f"{_SOURCE}: {first_problem(error)}") from None


def _parse_yaml(content: bytes) -> dict[str, Json]:
    return parse_yaml(_decode(content), _SOURCE)


def parse_json(content: bytes) -> Any:
    """The value that a JSON text stands for.

    Raises:
        InputError: with one line for the first rule that is broken.
    """
    if len(content) > MAX_BYTES:
        raise InputError(f"{_SOURCE}: a document may hold at most {MAX_BYTES // 1024} KiB; make it shorter")
    try:
        value = json.loads(
            _decode(content),
            object_pairs_hook=_mapping,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_refuse_number,
        )
    except json.JSONDecodeError as error:
        raise InputError(
            f"{_SOURCE}:{error.lineno}:{error.colno}: this is not valid JSON: {error.msg}; "
            f"YAML needs the header Content-Type: {YAML_TYPE}"
        ) from None
    except RecursionError:
        _refuse_depth()
    _check(value, 1)
    return value


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{_SOURCE}: must be UTF-8, but byte {error.start} is not; encode it as UTF-8") from None


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InputError(f"{_SOURCE}: key {show(twice)} is given twice; remove one of them")
    return mapping


def _integer(digits: str) -> int:
    value = int(digits) if len(digits) < _LONGEST_NUMBER else MAX_INTEGER + 1
    if abs(value) > MAX_INTEGER:
        _refuse_number(digits)
    return value


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        _refuse_number(digits)
    return value


def _refuse_number(digits: str) -> NoReturn:
    raise InputError(f"{_SOURCE}: numbers must be finite and fit into 64 bits, but got {digits[:40]}")


def _refuse_depth() -> NoReturn:
    raise InputError(f"{_SOURCE}: nesting goes at most {MAX_DEPTH} levels deep; flatten it")


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        _check_text(value)
        return
    if not isinstance(value, dict | list):
        return
    if depth > MAX_DEPTH:
        _refuse_depth()
    if isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check(item, depth + 1)
    else:
        for item in value:
            _check(item, depth + 1)


def _check_text(text: str) -> None:
    if "\0" in text or (not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)):
        raise InputError(f"{_SOURCE}: text must be valid Unicode without NUL, but got {ascii(text)[:60]}")


def to_json(value: object) -> bytes:
    """JSON for anything that the ledger hands out; NaN and infinities become null."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a mapping that is no dict, or text of a worker with half a surrogate pair in it
        return json.dumps(finite(value), allow_nan=False, separators=(",", ":")).encode()


def wants_yaml(accept: str, form: str | None) -> bool:
    """Whether a caller would rather have YAML: as `?format=` says, else the first known type in `Accept`."""
    if form is not None:
        return form == "yaml"
    for media_range in accept.lower().split(","):
        name = media_range.partition(";")[0].strip()
        if name in YAML_TYPES:
            return True
        if name in (JSON_TYPE, "application/*", "*/*"):
            return False
    return False


def public(fields: Mapping[str, object], record: object) -> dict[str, object]:
    """The named fields of a record."""
    return {name: getattr(record, name) for name in fields}
