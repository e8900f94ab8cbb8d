"""Where things lie in a data set: YAML files, split folders, pictures and the label that belongs to each."""

from __future__ import annotations

import errno
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

IMAGE_SUFFIXES = frozenset(
    [".avif", ".bmp", ".dng", ".heic", ".heif", ".jp2", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"]
)
"""The file names that Ultralytics takes for pictures."""

_SPLIT_FOLDERS = {
    "train": ("images/train", "train/images"),
    "val": ("images/val", "images/valid", "valid/images", "val/images"),
    "test": ("images/test", "test/images"),
}
_NOT_LABELS = frozenset({"classes.txt", "README.txt"})
_SAMPLED_LABELS = 2000
_SAMPLED_BYTES = 64 * 1024
_MAX_LIST_BYTES = 256 * 1024 * 1024
"""Of a file that lists pictures; enough for millions of them."""


def find_yamls(folder: Path) -> list[Path]:
    """The files of `folder` that look like data YAMLs, by name."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".yaml", ".yml") and file.is_file())
    return [file for file in files if _is_data_yaml(file)] or files


def _is_data_yaml(file: Path) -> bool:
    with file.open("rb") as stream:
        return re.search(rb"^(train|val|names)\s*:", stream.read(64 * 1024), re.MULTILINE) is not None


def find_split_folders(root: Path) -> dict[str, str]:
    """The usual split folders that exist under `root`, relative to it."""
    found = {}
    for split, candidates in _SPLIT_FOLDERS.items():
        for candidate in candidates:
            if (root / candidate).is_dir():
                found[split] = candidate
                break
    return found


def minimal_yaml(root: Path) -> str:
    """Advice that spells out the smallest data YAML for what lies under `root`; one line is a whole file."""
    splits = find_split_folders(root)
    if "train" not in splits:
        return "write one with the keys train:, val: and names:"
    document = {
        **splits,
        "names": [f"class_{index}" for index in range(_count_classes(root / splits["train"]))],
    }
    return f"write one with this line and your own names: {json.dumps(document)}"


def _count_classes(images: Path) -> int:
    highest = 0
    for number, image in enumerate(walk(images, IMAGE_SUFFIXES)):
        if number == _SAMPLED_LABELS:
            break
        ids = re.findall(rb"^(\d{1,4})\s", read_head(label_path(image), _SAMPLED_BYTES), re.MULTILINE)
        highest = max([highest, *map(int, ids)])
    return highest + 1


def read_head(path: str, size: int) -> bytes:
    """The first `size` bytes of a regular file; nothing of a pipe or a device, nor of what cannot be read."""
    try:
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return file.read(size)
    except OSError:
        pass
    return b""


def walk(folder: str | os.PathLike[str], suffixes: Iterable[str]) -> Iterator[str]:
    """Every file below `folder` with one of `suffixes`, in lower case.

    Hidden files and what macOS leaves in archives are passed over. Links to folders are followed, each folder
    once, so that a loop ends.

    Raises:
        OSError: if a folder cannot be read; its pictures would go missing without a word.
    """
    suffixes = frozenset(suffixes)
    seen = set()
    for parent, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes:
                yield os.path.join(parent, name)


def _refuse(error: OSError) -> NoReturn:
    raise error


def list_images(sources: Iterable[Path]) -> list[str]:
    """The pictures of a split, each once: those below a folder, those named in a list file, or a single picture."""
    found: dict[str, None] = {}
    for source in sources:
        if source.is_dir():
            found.update(dict.fromkeys(walk(source, IMAGE_SUFFIXES)))
        elif source.suffix.lower() == ".txt":
            found.update(dict.fromkeys(_listed(source)))
        elif source.suffix.lower() in IMAGE_SUFFIXES:
            found[os.fspath(source)] = None
    return sorted(found)


def _listed(source: Path) -> Iterator[str]:
    if not source.is_file() or source.stat().st_size > _MAX_LIST_BYTES:
        raise OSError(errno.EFBIG, f"no file of at most {_MAX_LIST_BYTES // 2**20} MiB", os.fspath(source))
    content = source.read_bytes().removeprefix(b"\xef\xbb\xbf")
    for line in content.splitlines():
        name = os.fsdecode(line.strip())
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
            yield os.path.normpath(os.path.join(source.parent, name))


def label_path(image: str) -> str:
    """Where the label of `image` is looked for: the last `/images/` becomes `/labels/`, the suffix `.txt`."""
    separated = f"{os.sep}labels{os.sep}".join(image.rsplit(f"{os.sep}images{os.sep}", 1))
    return os.path.splitext(separated)[0] + ".txt"


def labels_beside(sources: Iterable[Path]) -> list[str]:
    """The label files in the folders that belong to folders of pictures."""
    labels = []
    for source in map(os.fspath, sources):
        folder = os.path.dirname(label_path(os.path.join(source, "any.jpg")))
        if folder != source and os.path.isdir(folder):
            labels += [path for path in walk(folder, (".txt",)) if os.path.basename(path) not in _NOT_LABELS]
    return labels


def fold_name(path: str) -> str:
    """The same for two paths that differ only in case or in how accents are composed."""
    return unicodedata.normalize("NFC", path).casefold()
