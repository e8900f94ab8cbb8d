"""The built-in data set, and how a reference becomes a data set."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from evolve.exceptions import DataError
from workers.datasets import check_dataset, make_demo, resolve_data


def digest(folder):
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "labels" not in path.name:
            content.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return content.hexdigest()


def test_the_demo_is_sound_and_of_the_asked_size(tmp_path):
    report = check_dataset(make_demo(tmp_path, train=12, val=5, size=80))
    assert report.problems == ()
    assert report.names == ("digit",)
    assert report.image_counts == {"train": 12, "val": 5}
    assert {(record.facts.width, record.facts.height) for record in report.splits["train"]} == {(80, 80)}
    assert all(len(record.boxes) for record in report.splits["train"])


def test_the_demo_is_the_same_everywhere_and_made_once(tmp_path):
    folders = [make_demo(tmp_path / home, train=6, val=3).parent for home in ("a", "b")]
    assert digest(folders[0]) == digest(folders[1])
    stamp = (folders[0] / "data.yaml").stat().st_ino
    assert make_demo(tmp_path / "a", train=6, val=3).stat().st_ino == stamp


def test_boxes_fit_the_ink(tmp_path):
    yaml = make_demo(tmp_path, train=20, val=2)
    for record in check_dataset(yaml).splits["train"]:
        with Image.open(record.path) as image:
            gray = np.asarray(image.convert("L"), dtype=float)
        for _, x, y, width, height in record.boxes:
            left, right = round((x - width / 2) * 96), round((x + width / 2) * 96)
            top, bottom = round((y - height / 2) * 96), round((y + height / 2) * 96)
            assert 0 <= left < right <= 96
            assert 0 <= top < bottom <= 96
            assert gray[top:bottom, left:right].std() > 15  # ink on ground, not ground alone


def test_demo_and_existing_paths(tmp_path):
    assert resolve_data("demo", tmp_path).is_file()
    assert resolve_data(str(tmp_path), tmp_path) == tmp_path


def test_a_name_is_downloaded_by_the_callable_alone(tmp_path):
    asked = []

    def download(name):
        asked.append(name)
        return tmp_path / "coco8.yaml"

    assert resolve_data("coco8.yaml", tmp_path, download) == tmp_path / "coco8.yaml"
    assert asked == ["coco8.yaml"]


@pytest.mark.parametrize("error", [OSError("no network\nat all"), DataError("no network")])
def test_a_download_that_fails_is_one_line_with_the_reason(tmp_path, error):
    def download(name):
        raise error

    with pytest.raises(DataError) as refusal:
        resolve_data("coco128.yaml", tmp_path, download)
    assert str(refusal.value) == (
        "data: coco128.yaml is neither a file here nor could it be downloaded (no network);"
        " give your own with --data path/to/data.yaml, or --data demo"
    )


@pytest.mark.parametrize(
    "ref",
    [
        "no/such/data.yaml",
        "https://example.org/data.zip",
        "",
        "../x.yaml",
        "a\x1b[0m/b",
        "~nobody-here/x",
        "a/" + 999 * "b",
    ],
)
def test_what_is_no_name_is_never_downloaded(tmp_path, ref):
    def download(name):
        raise AssertionError(name)

    with pytest.raises(DataError, match="--data") as refusal:
        resolve_data(ref, tmp_path, download)
    assert str(refusal.value).isprintable()


def test_without_a_download_a_name_is_refused(tmp_path):
    with pytest.raises(DataError, match="no download"):
        resolve_data("coco8", tmp_path)
