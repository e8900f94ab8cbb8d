"""Writes a detector in a format for other runtimes, and compares what it says there with what it says here."""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ultralytics.engine.exporter import Exporter

from evolve.exceptions import EvolveError, InputError
from workers.yolo12.detector import Detector
from workers.yolo12.results import Exported

Pixels = NDArray[np.float32]


def export_detector(
    detector: Detector, target: Path, *, form: str, imgsz: int, dynamic: bool, half: bool, device: str
) -> Exported:
    """Export a detector and check the result against torch on pictures of noise.

    Args:
        detector: The detector.
        target: The file or folder to make; it appears whole or not at all, in place of an older one.
        form: A key of `FORMATS`.
        imgsz: Image size in pixels, a multiple of 32.
        dynamic: Whether other sizes and batches are taken, too.
        half: Whether numbers have 16 bits.
        device: `cpu` or `cuda`.

    Raises:
        InputError: if a package is missing, or the target cannot be written.
        EvolveError: if the export fails.
    """
    _check_packages(form)
    if half and form == "torchscript" and device == "cpu":
        raise InputError("--half: torchscript with 16 bits must be made on a GPU, but there is none; use onnx")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as scratch:
            draft = Path(scratch) / "model.pt"
            made = _export(detector, draft, form, imgsz=imgsz, dynamic=dynamic, half=half, device=device)
            differences = _compare(detector, made, form, sizes=(imgsz, imgsz + 32) if dynamic else (imgsz,))
            _replace(made, target, Path(scratch))
    except OSError as error:
        raise InputError(f"{target}: the export cannot be written: {error.strerror or error}") from error
    return Exported(target, form, imgsz, *differences)


def _check_packages(form: str) -> None:
    missing = [name for name in FORMATS[form].packages if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"--format {form}: {', '.join(missing)} must be installed: pip install {' '.join(missing)}"
        )


def _export(detector: Detector, draft: Path, form: str, **options: Any) -> Path:
    model = deepcopy(detector.model)
    model.pt_path = str(draft)  # the exporter puts its file beside this one
    exporter = Exporter(
        overrides={
            "format": form,
            "imgsz": options["imgsz"],
            "batch": 1,
            "dynamic": options["dynamic"],
            "quantize": 16 if options["half"] else None,
            "device": "0" if options["device"] == "cuda" else "cpu",
            **({"simplify": True} if form == "onnx" else {}),
            "mode": "export",
        }
    )
    try:
        with warnings.catch_warnings(action="ignore"):  # of the ways in which torch is asked, by Ultralytics
            return Path(exporter(model))
    except OSError:
        raise
    except Exception as error:  # exporters of other projects raise whatever they stumble over
        summary = str(error).strip().split("\n", 1)[0]
        raise EvolveError(f"--format {form}: the export failed: {type(error).__name__}: {summary}") from error


def _replace(made: Path, target: Path, scratch: Path) -> None:
    if target.is_dir():
        target.rename(scratch / "replaced")
    made.replace(target)


def _compare(detector: Detector, made: Path, form: str, sizes: tuple[int, ...]) -> tuple[float, float]:
    """Largest differences of boxes (pixels) and confidences over some pictures."""
    run = FORMATS[form].load(made)
    reference = deepcopy(detector.model).float().cpu().fuse(verbose=False).eval()
    noise = np.random.default_rng(0)
    boxes = scores = 0.0
    for size in sizes:
        pixels = noise.random((1, 3, size, size), dtype=np.float32)
        with torch.inference_mode():
            expected = reference(torch.from_numpy(pixels))
        wanted = (expected[0] if isinstance(expected, tuple | list) else expected).numpy()
        difference = np.abs(run(pixels) - wanted)
        boxes = max(boxes, float(difference[:, :4].max()))
        scores = max(scores, float(difference[:, 4:].max()))
    return boxes, scores


def _load_onnx(path: Path) -> Callable[[Pixels], Pixels]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    kind = np.float16 if entry.type == "tensor(float16)" else np.float32
    return lambda pixels: np.asarray(session.run(None, {entry.name: pixels.astype(kind)})[0], dtype=np.float32)


def _load_torchscript(path: Path) -> Callable[[Pixels], Pixels]:
    with warnings.catch_warnings(action="ignore"):  # torch advises another format
        module = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    first = next(module.parameters())

    def run(pixels: Pixels) -> Pixels:
        with torch.inference_mode():
            found = module(torch.from_numpy(pixels).to(first))
        return np.asarray((found[0] if isinstance(found, tuple | list) else found).float().cpu().numpy())

    return run


def _load_openvino(path: Path) -> Callable[[Pixels], Pixels]:
    import openvino

    compiled = openvino.Core().compile_model(next(path.glob("*.xml")), "CPU")
    return lambda pixels: np.asarray(compiled(pixels)[0], dtype=np.float32)


@dataclass(frozen=True)
class Format:
    """A format to export to.

    Attributes:
        suffix: What its file or folder is called after the stem of the weights.
        packages: Packages that making it takes.
        load: From what was made to a function of pictures, 1 x 3 x height x width in [0, 1], that gives
            1 x (4 + classes) x anchors: boxes in pixels and confidences.
    """

    suffix: str
    packages: tuple[str, ...]
    load: Callable[[Path], Callable[[Pixels], Pixels]]


FORMATS: Mapping[str, Format] = {
    "onnx": Format(".onnx", ("onnx", "onnxruntime", "onnxslim"), _load_onnx),
    "openvino": Format("_openvino_model", ("openvino",), _load_openvino),
    "torchscript": Format(".torchscript", (), _load_torchscript),
}
"""What works without anything being installed on the way, and can be compared with torch on any machine."""
