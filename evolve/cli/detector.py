"""`evolve train`, `val`, `predict`, `export`: one configuration from training to use, without a second tool."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from evolve.exceptions import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from evolve.compose.detector import Progress
    from evolve.compose.training import Given
    from evolve.progress_training import TrainingState
    from evolve.trial import Json

INTERRUPTED_CODE = 130
"""The exit code of a training that was interrupted and goes on when it is started again."""

Weights = Annotated[Path, typer.Argument(metavar="WEIGHTS", help="The .pt file of a detector.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, or the number of a GPU.")]
Imgsz = Annotated[int | None, typer.Option(help="Image size in pixels; as trained unless given.")]
NmsIou = Annotated[float | None, typer.Option(help="Overlap above which a box suppresses another.")]
Nms = Annotated[str | None, typer.Option(help="Which overlap: iou or diou.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    for command in (train, val, predict, export):
        app.command()(command)


def train(
    params: Annotated[
        Path | None, typer.Option(help="YAML of `evolve best`, or one for `yolo train cfg=`.")
    ] = None,
    search: Annotated[str | None, typer.Option(help="Take the best of this search instead.")] = None,
    individual: Annotated[int | None, typer.Option(help="Take this individual of it.", min=0)] = None,
    data: Annotated[str | None, typer.Option(help="Data YAML or folder, or `demo`.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs to train.")] = None,
    imgsz: Annotated[int | None, typer.Option(help="Image size in pixels.")] = None,
    weights: Annotated[str | None, typer.Option(help="To start from: none, auto, or a .pt file.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the training.")] = None,
    device: Device = None,
    name: Annotated[str | None, typer.Option(help="Train in runs/NAME, or NAME-2 and so on.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Train in this folder.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any argument; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for every epoch.")] = False,
) -> None:
    """Train one configuration at full length, as a trial is trained.

    The same command goes on with a training that was interrupted.
    """
    from evolve.compose.training import params_of_options
    from evolve.progress_training import TrainingState
    from evolve.runner import Interrupted
    from evolve.signals import Signals

    options: dict[str, Json] = {"data": data, "epochs": epochs, "imgsz": imgsz, "pretrained": weights, "seed": seed}
    if name is not None and output is not None:
        raise InputError("--name: names a folder below runs, but --output gives one already; drop one of them")
    state = TrainingState()
    with Signals():
        try:
            given, found_name = _configuration(params, search, individual)
            merged = {**given, **params_of_options(options, settings or [])}
            _train(merged, _folder_name(name or found_name), output, device, as_json, state)
        except Interrupted:
            after = f"after epoch {state.last.epoch}" if state.last else "before the first epoch was over"
            command = shlex.join(["evolve", *sys.argv[1:]])
            typer.echo(f"interrupted {after}; the same command goes on: {command}", err=True)
            raise typer.Exit(INTERRUPTED_CODE) from None


def _configuration(params: Path | None, search: str | None, individual: int | None) -> tuple[dict[str, Given], str]:
    from evolve.compose.training import params_of_file, params_of_search
    from evolve.ledger import Ledger
    from evolve.settings import Settings

    if (params is None) == (search is None):
        raise InputError("train: exactly one of --params FILE and --search SEARCH is needed; see `evolve best`")
    if search is None and individual is not None:
        raise InputError("--individual: is one of a search, but no --search is given; add it")
    if params is not None:
        return params_of_file(params), params.stem
    with Ledger(Settings().ledger_url) as ledger:
        return params_of_search(ledger, search or "", individual)


def _folder_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-")[:100] or "train"


def _train(
    params: dict[str, Given],
    name: str,
    output: Path | None,
    device: str | None,
    as_json: bool,
    state: TrainingState,
) -> None:
    from rich.console import Console

    from evolve.compose.training import planned_training
    from evolve.detector_text import training_lines, training_title
    from evolve.progress_training import make_training_progress
    from evolve.settings import Settings
    from evolve.training_files import TrainingFiles, read_epochs

    if sys.stderr.isatty():
        typer.echo("checking configuration, data and weights", err=True)
    with planned_training(params, Settings(), name=name, output=output, device=device) as training:
        _say_notes(training.notes)
        state.former = read_epochs(training.folder)
        files = TrainingFiles(training.folder, training.params)
        progress = make_training_progress(state, as_json=as_json)
        try:
            progress.begin(training_title(training), training.epochs)
            result = training.run(files.add, progress.epoch)
        finally:
            progress.close()
        files.finish(result)
    if as_json:
        typer.echo(json.dumps({"kind": "training_finished", **_plain(result)}))
        return
    console = Console()
    for line in training_lines(result, state.best[0] if state.best else None, training.data):
        console.print(line, soft_wrap=True)


def val(
    weights: Weights,
    data: Annotated[str, typer.Option(help="Data YAML or folder, or `demo`.")],
    split: Annotated[str, typer.Option(help="Split to validate on: val, test or train.")] = "val",
    imgsz: Imgsz = None,
    batch: Annotated[int | None, typer.Option(help="Pictures in a batch; as in the training.")] = None,
    nms_iou: NmsIou = None,
    nms: Nms = None,
    device: Device = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a detector on a data set: mAP, precision and recall, of all classes and each."""
    from rich.console import Console

    from evolve.compose.detector import validate_weights
    from evolve.detector_text import validation_line, validation_table
    from evolve.settings import Settings

    options: dict[str, Json] = {"imgsz": imgsz, "batch": batch, "nms_iou": nms_iou, "nms": nms}
    with _bar("validating") as progress:
        found = validate_weights(
            weights, data, Settings(), split=split, options=options, device=device, progress=progress
        )
    _say_notes(found.notes)
    if as_json:
        typer.echo(json.dumps(_plain(found)))
        return
    Console().print(validation_table(found))
    typer.echo(validation_line(found))


def predict(
    weights: Weights,
    sources: Annotated[list[str], typer.Argument(metavar="SOURCE...", help="Pictures, or folders of pictures.")],
    conf: Annotated[float, typer.Option(help="Least confidence of what is reported.")] = 0.25,
    imgsz: Imgsz = None,
    nms_iou: NmsIou = None,
    nms: Nms = None,
    device: Device = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for annotated copies; runs/predict unless given.")
    ] = None,
    save_txt: Annotated[bool, typer.Option(help="Write the boxes as text as well, in labels.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for every picture; copies only with --output.")
    ] = False,
) -> None:
    """Find objects in pictures of this machine."""
    from evolve.compose.detector import new_folder, predict_pictures
    from evolve.detector_text import prediction_json, prediction_line

    options: dict[str, Json] = {"imgsz": imgsz, "nms_iou": nms_iou, "nms": nms}
    if output is None and (save_txt or not as_json):
        output = new_folder("predict")
    seen = 0
    for found in predict_pictures(
        weights, sources, conf=conf, options=options, device=device, output=output, as_text=save_txt
    ):
        typer.echo(json.dumps(prediction_json(found)) if as_json else prediction_line(found))
        seen += not found.problem
    if not seen:
        raise InputError("predict: none of the pictures can be read; see the lines above")


def export(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A search, or the .pt file of a detector.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File, folder or .zip to make.")] = None,
    force: Annotated[bool, typer.Option(help="Replace an older one.")] = False,
    without_weights: Annotated[bool, typer.Option(help="Of a search: leave the weights out.")] = False,
    form: Annotated[
        str | None, typer.Option("--format", help="Of a detector: onnx (the default), openvino or torchscript.")
    ] = None,
    imgsz: Annotated[int | None, typer.Option(help="Of a detector: image size in pixels; as trained.")] = None,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Of a detector: take other sizes, too.")] = False,
    half: Annotated[bool, typer.Option("--half", help="Of a detector: numbers of 16 bits.")] = False,
    device: Annotated[str | None, typer.Option(help="Of a detector: cpu (the default), cuda, a number.")] = None,
) -> None:
    """Write the bundle of a search, or a detector for other runtimes.

    The bundle holds best YAML, weights, report, seeds, environment, hash of the data.
    """
    of_detector = {"--format": form, "--imgsz": imgsz, "--dynamic": dynamic, "--half": half, "--device": device}
    if target.endswith(".pt") and Path(target).is_file():
        _refuse(
            {"--without-weights": without_weights}, f"is for the bundle of a search, but {target} is a detector"
        )
        from evolve.compose.detector import export_weights
        from evolve.detector_text import export_lines

        made = export_weights(
            Path(target),
            form=form or "onnx",
            output=output,
            force=force,
            imgsz=imgsz,
            dynamic=dynamic,
            half=half,
            device=device,
        )
        for line in export_lines(made):
            typer.echo(line)
        return
    if target.endswith(".pt"):
        raise InputError(f"{target}: there is no such file; name the best.pt of a training, or a search")
    _refuse(of_detector, f"is for a detector, but {target} does not name a .pt file")
    _export_bundle(target, output, force, without_weights)


def _export_bundle(search: str, output: Path | None, force: bool, without_weights: bool) -> None:
    from evolve.bundle import export_bundle
    from evolve.formatting import file_stem
    from evolve.ledger import Ledger
    from evolve.settings import Settings

    with Ledger(Settings().ledger_url) as ledger:
        record = ledger.search(search)
        target = output or Path(f"{file_stem(record.name)}-{record.id}")
        typer.echo(export_bundle(ledger, record.id, target, force=force, weights=not without_weights))


def _refuse(options: Mapping[str, object], reason: str) -> None:
    for name, value in options.items():
        if value:
            raise InputError(f"{name}: {reason}; drop it")


def _plain(value: DataclassInstance) -> dict[str, object]:
    from evolve.formatting import finite

    return cast("dict[str, object]", finite(asdict(value)))


def _say_notes(notes: Iterable[str]) -> None:
    from evolve.formatting import clean

    for note in notes:
        typer.echo(f"note: {clean(note)}", err=True)


@contextmanager
def _bar(what: str) -> Iterator[Progress | None]:
    """A bar on a terminal, which vanishes when the work is done."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
