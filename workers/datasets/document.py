"""Reads a data YAML: which classes there are and where each split lies. Follows no URL, runs no `download:`."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolve.exceptions import DataError
from evolve.yaml_io import MAX_BYTES, parse_yaml
from workers.datasets.layout import find_split_folders, find_yamls, minimal_yaml
from workers.datasets.problems import Problems, excerpt, printable, show

MAX_CLASSES = 2**16
SPLITS = ("train", "val", "test")

Names = tuple[str, ...]


@dataclass(frozen=True)
class DataDocument:
    """A data YAML that could be understood.

    Attributes:
        file: The YAML.
        root: The folder that the splits are relative to, absolute.
        names: Class names; the index is the class id.
        splits: For each split the folders, list files or pictures that make it up, absolute and existing.
        keypoints: How many values of key points follow a box in each label row; 0 for detection sets.
    """

    file: Path
    root: Path
    names: Names
    splits: Mapping[str, tuple[Path, ...]]
    keypoints: int = 0


def read_document(path: Path, problems: Problems) -> DataDocument | None:
    """Read the data YAML at `path`, or the only one in the folder `path`.

    Returns:
        The document, or None where `problems` has an error that makes reading on pointless.
    """
    file = _find_file(path, problems)
    text = _read_text(file, problems) if file else None
    mapping = _parse(file, text, problems) if file and text is not None else None
    if file is None or mapping is None:
        return None
    if "download" in mapping:
        problems.note(file, "download: is never followed or run", "one", "nothing to do")
    names = _names(file, mapping, problems)
    root = _root(file, mapping, problems)
    splits = _splits(file, root, mapping, problems) if root else {}
    if root is None or problems.has_errors:
        return None
    return DataDocument(file, root, names, splits, _keypoints(mapping))


def _find_file(path: Path, problems: Problems) -> Path | None:
    path = Path(os.path.abspath(path))
    if path.is_file():
        return path
    if not path.is_dir():
        found = "something else" if path.exists() else "nothing there"
        problems.error(path, "data must be a YAML file or a folder", found, "give one with --data")
        return None
    yamls = find_yamls(path)
    if len(yamls) == 1:
        return yamls[0]
    if yamls:
        listed = ", ".join(printable(file.name) for file in yamls)
        problems.error(path, "the folder must hold one data YAML", f"{len(yamls)}: {listed}", "name one of them")
    else:
        problems.error(path / "data.yaml", "a data set needs this file", "none", minimal_yaml(path))
    return None


def _read_text(file: Path, problems: Problems) -> str | None:
    with file.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        problems.error(file, f"a data YAML has at most {MAX_BYTES} bytes", "more", "is this the right file?")
        return None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte 0x{content[error.start]:02x} at offset {error.start}"
        problems.warn(
            file,
            "the file must be UTF-8",
            found,
            "it is read as Latin-1; check the class names, save as UTF-8",
        )
        return content.decode("latin-1")


def _parse(file: Path, text: str, problems: Problems) -> dict[str, Any] | None:
    try:
        return parse_yaml(text, "", error=DataError, numbered_keys=True)
    except DataError as error:
        found, _, advice = str(error).removeprefix(":").strip().partition("; ")
        place = re.match(r"(\d+):(\d+): ", found)
        if place:
            found = f"{found[place.end() :]} (line {place[1]}, column {place[2]})"
        problems.error(
            file,
            "the file must be plain YAML with keys such as train:, val: and names:",
            found,
            advice or "correct it: indent with spaces, close every quote",
        )
        return None


def _names(file: Path, mapping: Mapping[str, Any], problems: Problems) -> Names:
    names, count = mapping.get("names"), mapping.get("nc")
    if count is not None and (
        isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= MAX_CLASSES
    ):
        problems.error(
            file,
            f"nc: must be a whole number from 1 to {MAX_CLASSES}",
            excerpt(str(count)),
            "remove it, names: is enough",
        )
        return ()
    if names is None and count is not None:
        problems.note(file, "classes should have names", f"nc: {count} alone", "they are called class_0 and so on")
        return tuple(f"class_{index}" for index in range(count))
    values = _name_list(file, names, problems)
    if count is not None and values and count != len(values):
        found = f"nc: {count} and {len(values)} names"
        problems.error(file, "nc: must be the number of names:", found, "correct or remove nc:")
    repeated = sorted(name for name, times in Counter(values).items() if times > 1)
    if repeated:
        problems.warn(
            file,
            "class names should differ",
            ", ".join(map(excerpt, repeated[:8])),
            "rename them if this is a slip",
        )
    return values


def _name_list(file: Path, names: Any, problems: Problems) -> Names:
    if isinstance(names, dict):
        keys = list(names)
        if set(keys) != set(map(str, range(len(keys)))):
            found = ", ".join(map(printable, keys[:8]))
            problems.error(file, "names: must be numbered from 0 without a gap", found, "number them 0, 1, 2, ...")
            return ()
        names = [value for _, value in sorted((int(key), value) for key, value in names.items())]
    is_list = isinstance(names, list) and bool(names)
    if not is_list or any(isinstance(name, (list, dict)) or name is None for name in names):
        problems.error(
            file, "names: must list the class names", excerpt(str(names)), "write e.g. names: [cat, dog]"
        )
        return ()
    return tuple(str(name) for name in names)


def _root(file: Path, mapping: Mapping[str, Any], problems: Problems) -> Path | None:
    value = mapping.get("path")
    if value is None or value == "":
        return file.parent
    if not isinstance(value, str) or "://" in value:
        problems.error(
            file,
            "path: must be a folder on this machine",
            excerpt(str(value)),
            "remove path: or name a folder",
        )
        return None
    root = Path(os.path.normpath(file.parent / value))
    if not root.is_dir():
        beside = find_split_folders(file.parent)
        remedy = (
            f"remove path:, as {beside['train']} exists beside the file" if "train" in beside else "correct path:"
        )
        problems.error(file, "path: must be a folder that exists", excerpt(str(root)), remedy)
        return None
    if not os.path.isabs(value):
        advice = "it is taken from the file's folder; other tools may take the current directory, so remove the key"
        problems.warn(file, "path: should be absolute or absent", excerpt(value), advice)
    return root


def _splits(file: Path, root: Path, mapping: Mapping[str, Any], problems: Problems) -> dict[str, tuple[Path, ...]]:
    splits = {}
    for split in SPLITS:
        value = mapping.get(split)
        if value is None and split == "val" and mapping.get("validation") is not None:
            problems.warn(file, "the key must be called val:", "validation:", "it is taken as val:")
            value = mapping["validation"]
        if value is not None:
            splits[split] = _split_paths(file, root, split, value, problems)
        elif split != "test":
            problems.error(
                file, f"{split}: must say where the {split} images are", "no such key", _offer(root, split)
            )
    return splits


def _offer(root: Path, split: str) -> str:
    folders = find_split_folders(root)
    if split in folders:
        return f"add {split}: {folders[split]} (it exists)"
    return f"add {split}: with a folder of images"


def _split_paths(file: Path, root: Path, split: str, value: Any, problems: Problems) -> tuple[Path, ...]:
    entries = value if isinstance(value, list) else [value]
    paths = []
    for entry in entries:
        if not isinstance(entry, str) or not entry or "://" in entry:
            problems.error(
                file,
                f"{split}: must name folders or files on this machine",
                excerpt(str(entry)),
                "correct it",
            )
            continue
        path = _split_path(root, entry)
        if not path.exists():
            problems.error(
                file, f"{split}: must exist", f"no {show(path)}", _offer(root, split).replace("add", "try")
            )
        paths.append(path)
    if not entries:
        problems.error(file, f"{split}: must name a folder", "an empty list", _offer(root, split))
    return tuple(paths)


def _split_path(root: Path, entry: str) -> Path:
    path = Path(os.path.normpath(root / entry))
    # Roboflow writes ../train/images for a folder that lies beside the YAML
    return path if path.exists() or not entry.startswith("../") else Path(os.path.normpath(root / entry[3:]))


def _keypoints(mapping: Mapping[str, Any]) -> int:
    shape = mapping.get("kpt_shape")
    match shape:
        case [int(points), int(dimensions)]:
            return points * dimensions
        case _:
            return 0
