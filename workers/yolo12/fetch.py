"""Downloads one published file or data set: `python -m workers.yolo12.fetch weights|dataset NAME FOLDER`.

Prints the path of what it has on its last line; on failure, one line on standard error and exit code 1.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def fetch(kind: str, name: str, folder: Path) -> Path:
    """Download `name` into `folder`.

    Raises:
        ConnectionError: without a network.
        FileNotFoundError: if Ultralytics does not know the name.
    """
    from ultralytics import utils

    if not utils.ONLINE:
        raise ConnectionError("there is no network")
    return _weights(name, folder) if kind == "weights" else _dataset(name, folder)


def _weights(name: str, folder: Path) -> Path:
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

    if name not in GITHUB_ASSETS_NAMES:
        raise FileNotFoundError(f"Ultralytics publishes no {name}")
    with tempfile.TemporaryDirectory(dir=folder) as draft:  # half a file must not pass for a whole one
        return Path(attempt_download_asset(Path(draft, name))).replace(folder / name)


def _dataset(name: str, folder: Path) -> Path:
    from ultralytics.data import utils as data
    from ultralytics.utils import ROOT, YAML

    shipped = ROOT / "cfg" / "datasets" / f"{name}.yaml"
    if not shipped.is_file():
        raise FileNotFoundError(f"Ultralytics knows no data set {name!r}")
    data.DATASETS_DIR = folder  # its own is fixed when it is imported
    found = data.check_det_dataset(str(shipped))
    splits = {split: found[split] for split in ("train", "val", "test") if found.get(split)}
    document = folder / f"{name}.yaml"
    YAML.save(document, {"path": str(found["path"]), **splits, "names": found["names"]})
    return document


def main() -> int:
    """Run the command; see the module."""
    kind, name, folder = sys.argv[1:]
    with tempfile.TemporaryDirectory() as config:
        os.environ["YOLO_CONFIG_DIR"] = config
        try:
            path = fetch(kind, name, Path(folder))
        except Exception as error:  # whatever a download can raise is one line for the parent
            print(str(error).split("\n", 1)[0] or type(error).__name__, file=sys.stderr)
            return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
