"""`docker-compose.yml` and `Dockerfile` as data, and what a service of theirs runs natively."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor

from containers import ROOT

Service = Mapping[str, Any]
PROGRAM_USER = 10001
POSTGRES_USER = 999


class _Constructor(SafeConstructor):
    """Knows the tag with which an override takes something back."""


_RESET = object()
_Constructor.add_constructor("!reset", lambda constructor, node: _RESET)


def load(path: Path, values: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A compose file without what it takes back; with values, its variables are replaced by them."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    document: dict[str, Any] = _cleaned(yaml.load(path), values)
    for service in document["services"].values():
        if values is not None and "environment" in service:
            service["environment"] = _passed_on(service["environment"], values)
    return document


def _passed_on(environment: Mapping[str, str | None], values: Mapping[str, str]) -> dict[str, str]:
    """What a container is given: a variable without a value is the one outside, if that is set."""
    found = {name: values.get(name) if value is None else value for name, value in environment.items()}
    return {name: value for name, value in found.items() if value is not None}


def _cleaned(value: Any, values: Mapping[str, str] | None) -> Any:
    if isinstance(value, dict):
        return {key: _cleaned(each, values) for key, each in value.items() if each is not _RESET}
    if isinstance(value, list):
        return [_cleaned(each, values) for each in value]
    return interpolate(value, values) if isinstance(value, str) and values is not None else value


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Replace `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$` as compose does."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        given = values.get(found["name"], "")
        if given or found["kind"] is None:
            return given
        if found["kind"] == ":?":
            raise KeyError(f"{found['name']}: {found['rest']}")
        return found["rest"]

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<rest>[^}]*))?\}", value, text)


def dockerfile() -> list[tuple[str, str]]:
    """Instructions and their arguments; continued lines are joined."""
    text = re.sub(r"(?m)^#.*\n", "", (ROOT / "Dockerfile").read_text()).replace("\\\n", " ")
    found = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(name.upper(), rest) for name, rest in found]


def image_environment() -> dict[str, str]:
    """What the image sets, with the search path of this Python in place of its own."""
    settings: dict[str, str] = {}
    for name, rest in dockerfile():
        if name == "ENV":
            settings |= dict(each.split("=", 1) for each in shlex.split(rest))
    return {**settings, "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin"}


def secrets_wanted(text: str) -> set[str]:
    """The variables without which the file cannot be used."""
    return set(re.findall(r"\$\{(\w+):\?", text))
