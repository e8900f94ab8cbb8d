"""A trained detector in use: validated, looking at pictures, exported."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evolve.compose.preparation import prepare_data
from evolve.exceptions import InputError
from evolve.settings import RUNS, Settings
from evolve.trial import Json
from workers.datasets.layout import IMAGE_SUFFIXES, walk
from workers.yolo12.arguments import CATALOGUE
from workers.yolo12.detector import Progress, choose_device, load_detector
from workers.yolo12.recipe import GRID
from workers.yolo12.results import Exported, Picture, Prediction, Validation

__all__ = [
    "Exported",
    "Prediction",
    "Progress",
    "Validation",
    "export_weights",
    "new_folder",
    "predict_pictures",
    "validate_weights",
]


def validate_weights(
    weights: Path,
    data: str,
    settings: Settings,
    *,
    split: str,
    options: Mapping[str, Json],
    device: str | None,
    progress: Progress | None = None,
) -> Validation:
    """Validate a `.pt` file on a data set that is checked and prepared as for a search.

    Args:
        weights: The file.
        data: What the user calls the data set.
        settings: Where prepared data are kept.
        split: `train`, `val` or `test`.
        options: See `workers.yolo12.validating.validate`; those that are None were not given.
        device: See `workers.yolo12.detector.choose_device`.
        progress: Is told after every batch.

    Raises:
        InputError: in one line, for whatever cannot be used.
    """
    given = _checked(options)
    chosen = choose_device(device)
    detector = load_detector(weights)
    prepared = prepare_data(data, settings)
    from workers.yolo12.validating import validate

    found = validate(detector, Path(prepared.data), split=split, settings=given, device=chosen, progress=progress)
    return replace(found, notes=(*prepared.notes, *found.notes))


def predict_pictures(
    weights: Path,
    sources: Sequence[str],
    *,
    conf: float,
    options: Mapping[str, Json],
    device: str | None,
    output: Path | None,
    as_text: bool,
) -> Iterator[Prediction]:
    """Look for objects in pictures.

    Args:
        weights: The `.pt` file.
        sources: Pictures, and folders that hold some at any depth.
        conf: Least confidence of what is reported.
        options: See `workers.yolo12.predicting.predict`; those that are None were not given.
        device: See `workers.yolo12.detector.choose_device`.
        output: Folder for annotated copies; None for none.
        as_text: Whether to write the boxes there as text, too.

    Raises:
        InputError: in one line, for whatever cannot be used.
    """
    if not 0 <= conf <= 1:
        raise InputError(f"--conf: must be a number from 0 to 1, but got {conf:g}")
    given = _checked(options)
    paths = find_pictures(sources)
    chosen = choose_device(device)
    detector = load_detector(weights)
    pictures = _pictures(paths, output, as_text)
    from workers.yolo12.predicting import predict

    return predict(detector, pictures, conf=conf, settings=given, device=chosen)


def export_weights(
    weights: Path,
    *,
    form: str,
    output: Path | None,
    force: bool,
    imgsz: int | None,
    dynamic: bool,
    half: bool,
    device: str | None,
) -> Exported:
    """Export a `.pt` file; see `workers.yolo12.exporting.export_detector`.

    Args:
        weights: The file.
        form: Name of a format.
        output: The file, or folder, to make; beside the weights unless given.
        force: Whether something that is there may be replaced.
        imgsz: Image size in pixels; that of the training unless given.
        dynamic: Whether other sizes and batches are taken, too.
        half: Whether numbers have 16 bits.
        device: See `workers.yolo12.detector.choose_device`; the CPU unless given.

    Raises:
        InputError: in one line, for whatever cannot be used.
        EvolveError: if the export fails.
    """
    _checked({"imgsz": imgsz})
    chosen = choose_device(device or "cpu")
    detector = load_detector(weights)
    from workers.yolo12.exporting import FORMATS, export_detector

    if form not in FORMATS:
        raise InputError(f"--format: must be one of {', '.join(FORMATS)}, but got {form!r}")
    suffix = FORMATS[form].suffix
    target = output or weights.with_name(f"{weights.stem}{suffix}")
    if not target.name.endswith(suffix):
        raise InputError(f"--output: must end in {suffix} for --format {form}, but got {target.name!r}")
    if target.exists() and not force:
        raise InputError(f"{target}: must not exist yet, but it does; choose another --output, or --force")
    if target.is_dir() and not (target / "metadata.yaml").is_file():
        raise InputError(f"{target}: only an older export may be replaced, but this is none; choose another place")
    size = imgsz or detector.imgsz
    return export_detector(detector, target, form=form, imgsz=size, dynamic=dynamic, half=half, device=chosen)


def _checked(options: Mapping[str, Json]) -> dict[str, Json]:
    """Those that were given, all of them sound."""
    given: dict[str, Json] = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        problem = CATALOGUE[name].problem(value)
        if not problem and name == "imgsz" and isinstance(value, int) and value % GRID:
            problem = f"must be a multiple of {GRID}"
        if problem:
            raise InputError(f"--{name.replace('_', '-')}: {problem}, but got {value!r}")
    return given


def new_folder(name: str) -> Path:
    """A folder below `runs` that does not exist yet: `runs/<name>`, or `runs/<name>-2` and so on."""
    numbers = itertools.count(2)
    folder = RUNS / name
    while folder.exists():
        folder = RUNS / f"{name}-{next(numbers)}"
    return folder


def find_pictures(sources: Sequence[str]) -> list[str]:
    """The pictures that are meant, each once.

    Raises:
        InputError: if a source is neither a file nor a folder with pictures on this machine.
    """
    found: dict[str, None] = {}
    for source in sources:
        if re.match(r"\w+:/", source) and not os.path.exists(source):
            raise InputError(f"{source}: must be a picture or folder of this machine; download it first")
        if os.path.isdir(source):
            try:
                inside = list(walk(source, IMAGE_SUFFIXES))
            except OSError as error:
                raise InputError(f"{error.filename}: must be readable, but: {error.strerror}") from error
            if not inside:
                raise InputError(f"{source}: must hold pictures, but holds none; name another folder")
            found.update(dict.fromkeys(inside))
        elif os.path.isfile(source):
            found[source] = None
        else:
            raise InputError(f"{source}: must be a picture or a folder that exists, but is none; check its name")
    return list(found)


def _pictures(paths: Sequence[str], output: Path | None, as_text: bool) -> list[Picture]:
    """Where the annotated copies go; pictures of one name from two folders get two."""
    if output is None:
        return [Picture(path) for path in paths]
    originals = {os.path.realpath(path) for path in paths}
    try:
        (output / "labels" if as_text else output).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written: {error.strerror or error}") from error
    pictures: list[Picture] = []
    taken: set[str] = set()
    for path in paths:
        stem, number = Path(path).stem, 1
        name = stem
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        copy = output / f"{name}.jpg"
        if os.path.realpath(copy) in originals:
            raise InputError(f"--output {output}: must not hold the pictures themselves; choose another folder")
        pictures.append(Picture(path, copy, output / "labels" / f"{name}.txt" if as_text else None))
    return pictures
