"""YAML in and out, safely.

Documents are read by the rules of YAML 1.2 (`1e-5` is a number, `010` is ten, `yes` and `12:30:45` are text).
They hold nothing but mappings with text keys, lists and scalars: no anchors, aliases, tags, merge keys or
directives, so that a small file cannot grow into a large one, nor a scalar into an object.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.nodes import MappingNode, ScalarNode
from ruamel.yaml.representer import SafeRepresenter

from evolve.exceptions import InputError
from evolve.files import read_text
from evolve.trial import Json

MAX_BYTES = 64 * 1024
MAX_DEPTH = 16
MAX_INTEGER = 2**63 - 1

_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGERS = (
    (re.compile(r"[-+]?[0-9]+"), 10),
    (re.compile(r"0o[0-7]+"), 8),
    (re.compile(r"0x[0-9a-fA-F]+"), 16),
)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def read_yaml(path: Path, *, error: type[InputError] = InputError, numbered_keys: bool = False) -> dict[str, Json]:
    """Read a YAML file whose top level is a mapping; see `parse_yaml`.

    Raises:
        InputError: (or `error`) if the file is unreadable, above 64 KiB, not UTF-8, or breaks a rule.
    """
    return parse_yaml(read_text(path, MAX_BYTES, error), str(path), error=error, numbered_keys=numbered_keys)


def read_yaml_value(path: Path, *, error: type[InputError] = InputError) -> dict[str, Json] | list[Json]:
    """Read a YAML file whose top level is a mapping or a list.

    Raises:
        InputError: (or `error`), as `read_yaml`.
    """
    return _parse(_Builder(read_text(path, MAX_BYTES, error), str(path), error, lists=True))


def parse_yaml(
    text: str, source: str, *, error: type[InputError] = InputError, numbered_keys: bool = False
) -> dict[str, Json]:
    """Read a YAML document whose top level is a mapping.

    Args:
        text: The document.
        source: What messages call it, e.g. its path.
        error: The class to raise.
        numbered_keys: Whether a key may be a whole number, which is then read as its text.

    Raises:
        InputError: (or `error`) with one line, `source:line:column: rule; what to do`.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise error(f"{source}: a document may hold at most {MAX_BYTES // 1024} KiB; make it shorter")
    value = _parse(_Builder(text, source, error, numbered_keys=numbered_keys))
    assert isinstance(value, dict)  # noqa: S101 - without lists there is nothing else
    return value


def _parse(builder: _Builder) -> dict[str, Json] | list[Json]:
    try:
        return builder.document()
    except MarkedYAMLError as problem:
        what = " ".join(filter(None, (problem.context, problem.problem)))
        builder.refuse(problem.problem_mark or problem.context_mark, f"this is not valid YAML: {what}")
    except InputError:
        raise
    except Exception as problem:  # on hostile text ruamel's scanner fails with errors of many built-in classes
        what = getattr(problem, "reason", None) or str(problem)
        builder.refuse(None, f"this is not valid YAML: {what}")


class _Builder:
    """Builds plain values from the parser's events, so that nothing is ever constructed from a tag."""

    def __init__(
        self,
        text: str,
        source: str,
        error: type[InputError],
        *,
        numbered_keys: bool = False,
        lists: bool = False,
    ) -> None:
        self._events: Iterator[Any] = YAML(typ="safe", pure=True).parse(io.StringIO(text))
        self._source = source
        self._error = error
        self._numbered_keys = numbered_keys
        self._lists = lists

    def refuse(self, mark: Any, problem: str) -> NoReturn:
        """Raise the error for a place in the document."""
        place = f"{self._source}:{mark.line + 1}:{mark.column + 1}" if mark else self._source
        raise self._error(f"{place}: {_one_line(problem)}") from None

    def document(self) -> dict[str, Json] | list[Json]:
        """The one document of the stream."""
        next(self._events)
        start = next(self._events)
        if isinstance(start, StreamEndEvent):
            raise self._error(f"{self._source}: the document is empty; it must map keys to values")
        if isinstance(start, DocumentStartEvent) and (start.version or start.tags):
            self.refuse(start.start_mark, "directives (%YAML, %TAG) are not allowed; remove them")
        value = self._top(next(self._events))
        next(self._events)
        after = next(self._events)
        if not isinstance(after, StreamEndEvent):
            self.refuse(after.start_mark, "a file holds one document; remove what follows '---'")
        return value

    def _top(self, event: Any) -> dict[str, Json] | list[Json]:
        if isinstance(event, MappingStartEvent):
            return self._mapping(event, 1)
        if not self._lists:
            self.refuse(event.start_mark, "the document must map keys to values")
        if not isinstance(event, SequenceStartEvent):
            self.refuse(event.start_mark, "the document must be a mapping or a list")
        if event.anchor is not None or event.ctag is not None:
            self.refuse(event.start_mark, "anchors and tags are not allowed; remove them")
        return self._sequence(1)

    def _value(self, event: Any, depth: int) -> Json:
        if isinstance(event, AliasEvent):
            self.refuse(event.start_mark, "aliases are not allowed; write the value out")
        if event.anchor is not None:
            self.refuse(event.start_mark, "anchors are not allowed; write the value out where it is needed")
        if event.ctag is not None:
            self.refuse(event.start_mark, f"tags are not allowed, but got {str(event.ctag)!r}; remove it")
        if depth > MAX_DEPTH:
            self.refuse(event.start_mark, f"nesting goes at most {MAX_DEPTH} levels deep; flatten it")
        if isinstance(event, MappingStartEvent):
            return self._mapping(event, depth)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(depth)
        return self._scalar(event)

    def _mapping(self, start: Any, depth: int) -> dict[str, Json]:
        if start.anchor is not None or start.ctag is not None:
            self.refuse(start.start_mark, "anchors and tags are not allowed; remove them")
        mapping: dict[str, Json] = {}
        for event in self._events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._key(event, depth)
            if key in mapping:
                self.refuse(event.start_mark, f"key {key!r} is given twice; remove one of them")
            mapping[key] = self._value(next(self._events), depth + 1)
        return mapping

    def _key(self, event: Any, depth: int) -> str:
        if isinstance(event, ScalarEvent) and event.value == "<<" and event.style is None:
            self.refuse(event.start_mark, "merge keys (<<) are not allowed; write the keys out")
        key = self._value(event, depth + 1)
        if self._numbered_keys and isinstance(key, int) and not isinstance(key, bool):
            return str(key)
        if not isinstance(key, str):
            self.refuse(event.start_mark, f"a key must be text, but got {key!r}; put it in quotes")
        return key

    def _sequence(self, depth: int) -> list[Json]:
        items: list[Json] = []
        for event in self._events:
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self._value(event, depth + 1))
        return items

    def _scalar(self, event: ScalarEvent) -> Json:
        text: str = event.value
        if _NOT_TEXT.search(text):
            self.refuse(event.start_mark, "text must be valid Unicode without NUL; remove the odd escape")
        if not event.implicit[0]:  # quoted or a block: text, whatever it looks like
            return text
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _NOT_FINITE.fullmatch(text):
            self.refuse(event.start_mark, f"numbers must be finite, but got {text}")
        number = _number(text)
        if isinstance(number, float) and not math.isfinite(number):
            self.refuse(event.start_mark, f"the number is too large: {text[:40]}")
        return text if number is None else number


def _number(text: str) -> int | float | None:
    """The number that a plain scalar stands for; infinite if it cannot be held."""
    for pattern, base in _INTEGERS:
        if pattern.fullmatch(text):
            value = int(text, base) if len(text) <= 64 else MAX_INTEGER + 1  # noqa: PLR2004 - longer cannot fit
            return value if abs(value) <= MAX_INTEGER else math.inf
    return float(text) if _FLOAT.fullmatch(text) else None


def _one_line(text: str) -> str:
    return " ".join(text.split())


def dump_yaml(mapping: Mapping[str, Json]) -> str:
    """Write a mapping as YAML: a key to a line, inner mappings and lists of scalars in braces.

    YAML 1.1 readers (PyYAML, and so Ultralytics) read the same values back: floats keep all digits and have a
    point, and text that such a reader would take for something else is quoted.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = None
    yaml.allow_unicode = True
    yaml.width = 110
    out = io.StringIO()
    yaml.dump(_Top(mapping), out)
    return out.getvalue()


class _Top(dict[str, Json]):
    """The outermost mapping, which is never written in braces."""


_PLAIN_TEXT = re.compile(r"[A-Za-z_][A-Za-z0-9_./()-]*")
_YAML_1_1_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


class _Representer(SafeRepresenter):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sort_base_mapping_type_on_output = False

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_top(self, data: _Top) -> MappingNode:
        return self.represent_mapping("tag:yaml.org,2002:map", data, flow_style=not data)

    def represent_text(self, data: str) -> ScalarNode:
        plain = _PLAIN_TEXT.fullmatch(data) and data.lower() not in _YAML_1_1_WORDS
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if plain else '"')

    def represent_number(self, data: float) -> ScalarNode:
        digits = repr(data)
        if "e" in digits and "." not in digits:
            digits = digits.replace("e", ".0e")
        return self.represent_scalar("tag:yaml.org,2002:float", digits)


_Representer.add_representer(_Top, _Representer.represent_top)
_Representer.add_representer(str, _Representer.represent_text)
_Representer.add_representer(float, _Representer.represent_number)
