"""Everything that proves the best individual, in one folder or archive."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evolve.best import BUILT_IN, best_of, best_yaml, foreign_arguments
from evolve.descent import inheritance_notes
from evolve.exceptions import EvolveError, InputError
from evolve.frame import individuals_frame, write_frame
from evolve.ledger.records import EvaluationRecord, IndividualRecord, SearchRecord
from evolve.yaml_io import dump_yaml

if TYPE_CHECKING:
    from evolve.ledger import Ledger


def export_bundle(
    ledger: Ledger, search_id: str, target: Path, *, force: bool = False, weights: bool = True
) -> Path:
    """Write a folder, or a `.zip`, with the best detector and all that proves how it came about.

    It holds best.yaml, stock.yaml (what stock Ultralytics takes of it, if that is not all), best.pt (if the
    training left weights), report.html, individuals.csv, seeds.json, data.json (with the content hash of the
    data), environment.json (versions and hardware), space.yaml, and MANIFEST, which `sha256sum -c` understands.

    Args:
        ledger: Where the search is recorded.
        search_id: The search.
        target: The folder or `.zip` to make; it appears whole or not at all.
        force: Whether an older bundle there may be replaced.
        weights: Whether to include the weights.

    Raises:
        SearchNotFound: if there is no such search.
        InputError: if `target` exists, or cannot be written.
        EvolveError: if nothing has been evaluated yet, or the weights are gone.
    """
    search = ledger.search(search_id)
    individual, evaluation = best_of(ledger, search)
    _check_target(target, force)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".bundle-") as scratch:
            folder = Path(scratch) / "bundle"
            folder.mkdir()
            _fill(folder, ledger, search, individual, evaluation)
            if weights and evaluation.weights is not None:
                _copy_weights(Path(evaluation.weights), folder / "best.pt", search)
            _write_manifest(folder)
            _publish(folder, target)
    except OSError as error:
        raise InputError(f"{target}: the bundle cannot be written: {error.strerror or error}") from error
    return target


def _check_target(target: Path, force: bool) -> None:
    if not target.exists():
        return
    if not force:
        raise InputError(f"{target}: the bundle must not exist yet, but it does; choose another place or --force")
    is_bundle = (target / "MANIFEST").is_file() if target.is_dir() else target.suffix == ".zip"
    if not is_bundle:
        raise InputError(f"{target}: only an older bundle may be replaced, but this is none; choose another place")


def _fill(
    folder: Path,
    ledger: Ledger,
    search: SearchRecord,
    individual: IndividualRecord,
    evaluation: EvaluationRecord,
) -> None:
    from evolve.report import write_report
    from evolve.space import SearchSpace

    space = SearchSpace.from_document(dict(search.document), f"search {search.id}")
    evaluations = ledger.evaluations(search.id)
    notes = inheritance_notes(ledger, individual)
    best = best_yaml(search, individual, evaluation, space, notes=notes)
    (folder / "best.yaml").write_text(best, encoding="utf-8")
    if search.objective == BUILT_IN and foreign_arguments(individual, space):
        stock = best_yaml(search, individual, evaluation, space, stock=True, name="stock.yaml", notes=notes)
        (folder / "stock.yaml").write_text(stock, encoding="utf-8")
    (folder / "space.yaml").write_text(dump_yaml(search.document), encoding="utf-8")
    _write_json(folder / "environment.json", search.environment)
    _write_json(folder / "data.json", {"data": space.data, "content_hash": search.data_hash})
    seeds = {f"{each.individual}.{each.attempt}": each.seed for each in evaluations}
    _write_json(folder / "seeds.json", {"search": space.search.seed, "best": evaluation.seed, "trials": seeds})
    write_frame(individuals_frame(ledger.individuals(search.id), evaluations), folder / "individuals.csv")
    write_report(ledger, search.id, folder / "report.html")


def _copy_weights(source: Path, target: Path, search: SearchRecord) -> None:
    if not source.is_file():
        raise EvolveError(
            f"search {search.id}: best.pt: the weights must still exist, but {source} is gone; "
            "export without them, or train again with best.yaml"
        )
    shutil.copyfile(source, target)


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_manifest(folder: Path) -> None:
    lines = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    (folder / "MANIFEST").write_text("".join(lines), encoding="utf-8")


def _publish(folder: Path, target: Path) -> None:
    """Move the finished bundle into place, and an older one out of the way."""
    finished = folder
    if target.suffix.lower() == ".zip":
        finished = folder.with_suffix(".zip")
        with zipfile.ZipFile(finished, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.iterdir()):
                archive.write(path, f"{target.stem}/{path.name}")
    elif target.exists():
        target.rename(folder.with_name("replaced"))
    finished.replace(target)
