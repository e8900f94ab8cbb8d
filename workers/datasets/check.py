"""Judges a data set before any training: all of its pictures, labels and names, in one pass over the files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

from workers.datasets.document import DataDocument, read_document
from workers.datasets.facts_cache import FactsCache
from workers.datasets.judge import Seen, judge
from workers.datasets.labels import MAX_BYTES, LabelFacts, parse_labels
from workers.datasets.layout import label_path, list_images
from workers.datasets.problems import Problems
from workers.datasets.report import DatasetReport, ImageRecord

_THREADS = min(32, 4 * (os.cpu_count() or 1))
_BATCH = 128


def check_dataset(path: str | os.PathLike[str], home: Path | None = None) -> DatasetReport:
    """Judge the data set of a YAML file or of a folder that holds one. Nothing in the data set is changed.

    Args:
        path: A data YAML, or a folder with exactly one.
        home: Where what was seen of the pictures is remembered, so that the next check is quick; None forgets it.

    Returns:
        The report, whatever is wrong; `DatasetReport.raise_for_errors` refuses a data set that cannot be trained.
    """
    source, problems = Path(path), Problems()
    try:
        document = read_document(source, problems)
        seen = _look(document, problems, home) if document else {}
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) else source
        problems.error(place, "it must be readable", str(error.strerror), "check its permissions")
        document, seen = None, {}
    if document is None:
        return DatasetReport(source, None, (), {}, tuple(problems), "")
    splits = {split: tuple(item.record for item in items) for split, items in seen.items()}
    content_hash = _content_hash(document.names, splits)
    return DatasetReport(source, document.root, document.names, splits, tuple(problems), content_hash)


def _look(document: DataDocument, problems: Problems, home: Path | None) -> dict[str, list[Seen]]:
    cache = FactsCache(home, document.root)
    seen = {}
    with ThreadPoolExecutor(_THREADS) as pool, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # what it warns of is judged here
        for split, sources in document.splits.items():
            images = list_images(sources)
            batches = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
            seen[split] = list(chain.from_iterable(pool.map(partial(_see_all, document, cache), batches)))
    with contextlib.suppress(OSError):  # a full disk makes the next check slow, not this one wrong
        cache.save()
    judge(document, seen, problems)
    return seen


def _see_all(document: DataDocument, cache: FactsCache, images: list[str]) -> list[Seen]:
    return [_see(document, cache, image) for image in images]


def _see(document: DataDocument, cache: FactsCache, image: str) -> Seen:
    facts = cache.inspect(image)
    content = _read_label(label_path(image))
    if content is None:
        return Seen(ImageRecord(image, facts, LabelFacts().boxes, ""), None)
    label = parse_labels(content, len(document.names), facts.width, facts.height, document.keypoints)
    digest = hashlib.blake2b(content, digest_size=20).hexdigest()
    return Seen(ImageRecord(image, facts, label.boxes, digest), label)


def _read_label(path: str) -> bytes | None:
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1)


def _content_hash(names: Iterable[str], splits: Mapping[str, tuple[ImageRecord, ...]]) -> str:
    digest = hashlib.blake2b(repr(tuple(names)).encode(), digest_size=20)
    for split in sorted(splits):
        for record in splits[split]:
            digest.update(f"{split} {record.facts.digest} {record.label_digest}\n".encode())
    return digest.hexdigest()
