"""From what a user writes after `--data` to a data set on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from evolve.exceptions import DataError
from workers.datasets.demo import make_demo
from workers.datasets.problems import printable

DEMO = "demo"
_ADVICE = "give your own with --data path/to/data.yaml, or --data demo"


def resolve_data(ref: str, home: Path, download: Callable[[str], Path] | None = None) -> Path:
    """Find the data set that `ref` names.

    Args:
        ref: `demo` for the built-in one, a path that exists, or the name of a data set that can be downloaded.
        home: The folder that holds everything of this product; the built-in data set is made there.
        download: Gets a data set by name and returns its data YAML, with an absolute `path:`; raises DataError or
            OSError where it cannot. None where nothing may be downloaded.

    Returns:
        A data YAML or a folder.

    Raises:
        DataError: if it is neither here nor to be had.
    """
    if ref == DEMO:
        return make_demo(home)
    path = Path(os.path.expanduser(ref))
    if ref and os.path.exists(path):  # unlike the methods of Path, these live with a name of any length
        return path
    if not re.fullmatch(r"[\w-][\w.-]*", ref):
        raise DataError(f"data: it must be a path that exists, but got {printable(ref)}; {_ADVICE}")
    return _downloaded(ref, download)


def _downloaded(name: str, download: Callable[[str], Path] | None) -> Path:
    reason = "no download is set up"
    if download is not None:
        try:
            return download(name)
        except (DataError, OSError) as error:
            reason = str(error.__cause__ or error).strip().split("\n", 1)[0]
    raise DataError(
        f"data: {printable(name)} is neither a file here nor could it be downloaded ({printable(reason)});"
        f" {_ADVICE}"
    )
