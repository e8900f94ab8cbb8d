"""Every sick data set of a collection that was made to hurt trainers gets the verdict that its index asks for."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from dataset_factory import snapshot
from evolve.exceptions import DataError
from workers.datasets import check_dataset, prepare_view
from workers.datasets.problems import Severity

DATA = Path(__file__).parents[1].parent / "shared" / "data"
BAD = DATA / "bad"
CASES = (
    {case["case"]: case["expect"] for case in json.loads((BAD / "index.json").read_text())} if BAD.is_dir() else {}
)

pytestmark = pytest.mark.skipif(not CASES, reason="the collection of bad data sets is not here")

# what the report must say, in the words that a user needs; each text must occur in one line
MUST_SAY = {
    "01-no-data-yaml": ["data.yaml", '"train": "images/train"', '["class_0", "class_1", "class_2"]'],
    "02-yaml-wrong-path": ["/home/alice/datasets/blood", "images/train exists beside"],
    "03-yaml-path-dot": ["'.'", "taken from the file's folder"],
    "05-no-val-key": ["val:", "add val: images/val (it exists)"],
    "06-val-is-train": ["train: and val:", "6 of 6 val images"],
    "07-nc-names-mismatch": ["nc: 2 and 3 names"],
    "09-yaml-broken-syntax": ["line 4, column 1"],
    "10-yaml-latin1": ["offset 48", "Latin-1"],
    "11-two-yamls": ["2: data.yaml, data_old.yaml"],
    "13-class-id-too-high": ["BloodImage_00020.txt:1: ", "1-based", "14 in 7 files"],
    "14-coords-above-1": ["BloodImage_00020.txt:1: ", "1.08", "3 in 3 files"],
    "15-pixel-xywh": ["look like pixels; divide by width and height"],
    "17-negative-and-nan": ["BloodImage_00020.txt:23: ", "-0.2", "nan", "inf"],
    "18-zero-area-boxes": ["2 smaller (line 24, 25)", "left out"],
    "19-all-labels-empty": ["0 boxes in 6 images"],
    "20-no-labels-folder": ["labels/train: "],
    "21-some-images-unlabelled": ["BloodImage_00020.jpg", "background", "3 in 3 files"],
    "22-orphan-labels": ["BloodImage_00020.txt", "bloodimage_00022.jpg, which differs only in case"],
    "23-duplicate-rows": ["23 repeated rows"],
    "25-polygon-labels": ["117 polygons", "turned into its box"],
    "26-polygon-and-box-mixed": ["BloodImage_00020.txt:2: ", "12 boxes and 11 polygons"],
    "27-comma-and-names": ["separated by commas", "decimal commas", "class name", "'WBC 0.296094"],
    "29-voc-xml-only": ["Pascal VOC", "convert"],
    "30-coco-json-only": ["COCO", "1->0, 2->1, 5->2"],
    "31-corrupt-jpeg": ["BloodImage_00020.jpg", "BloodImage_00022.jpg", "BloodImage_00023.jpg", "left out"],
    "32-zero-byte-image": ["train/BloodImage_00020.jpg", "val/BloodImage_00028.jpg", "0 bytes"],
    "33-not-an-image": ["an HTML page", "git lfs pull"],
    "35-gray-16bit-alpha": ["16-bit", "palette", "transparency", "1-bit"],
    "36-cmyk-jpeg": ["CMYK", "BloodImage_00022.jpg", "one single colour"],
    "38-huge-image": ["14000x13500", "10000x9500", "downscaled"],
    "39-tiny-images": ["1x1", "8x8", "4000x6"],
    "43-folder-not-called-images": ["/images/", "rename photos to images"],
    "45-class-absent": ["'Platelets'", "'RBC'"],
    "47-empty-split": ["0 images in", "images/val"],
}


@pytest.fixture
def case(request, tmp_path):
    """A writable copy of one case."""
    target = tmp_path / "copy"
    shutil.copytree(BAD / request.param, target, copy_function=shutil.copyfile)
    return request.param, target


def source_of(name, folder):
    """The YAML, or the folder where there is not exactly one."""
    yaml = folder / "data.yaml"
    return folder if name == "11-two-yamls" or not yaml.exists() else yaml


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_verdict_and_words(case, monkeypatch):
    name, folder = case
    monkeypatch.chdir("/")
    before = snapshot(folder)
    report = check_dataset(source_of(name, folder))
    verdict = "error" if report.errors else "warn" if report.warnings() else "ok"
    lines = list(report.lines())
    assert verdict == CASES[name], lines
    for text in MUST_SAY.get(name, ()):
        assert any(text in line for line in lines), (text, lines)
    assert all(line.isprintable() for line in lines)
    assert snapshot(folder) == before


@pytest.mark.parametrize("case", [name for name, expect in CASES.items() if expect == "error"], indirect=True)
def test_an_error_is_one_line_and_builds_no_view(case, tmp_path):
    name, folder = case
    report = check_dataset(source_of(name, folder))
    with pytest.raises(DataError) as refusal:
        report.raise_for_errors()
    assert "\n" not in str(refusal.value)
    if len(report.errors) > 1:
        assert "evolve data check " in str(refusal.value)
    with pytest.raises(DataError):
        prepare_view(report, tmp_path / "home")


@pytest.mark.parametrize("case", [name for name, expect in CASES.items() if expect != "error"], indirect=True)
def test_what_is_accepted_gives_a_view_and_stays_untouched(case, tmp_path):
    name, folder = case
    before = snapshot(folder)
    report = check_dataset(source_of(name, folder))
    view = prepare_view(report, tmp_path / "home")
    for split, count in report.image_counts.items():
        images = sorted((view.parent / "images" / split).iterdir())
        labels = sorted((view.parent / "labels" / split).iterdir())
        assert len(images) == count
        assert [path.stem for path in images] == [path.stem for path in labels]
        assert sum(len(path.read_text().splitlines()) for path in labels) == sum(report.box_counts[split])
    assert snapshot(folder) == before


def test_names_that_are_not_utf8_or_hold_a_line_break(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(BAD / "40-odd-file-names", folder, copy_function=shutil.copyfile)
    with tarfile.open(folder / "raw-names.tar") as archive:
        for member in archive:
            target = os.path.join(folder, os.fsdecode(member.name.encode("utf-8", "surrogateescape")))
            Path(target).write_bytes(archive.extractfile(member).read())
    report = check_dataset(folder)
    assert not report.errors
    assert not report.warnings()
    assert report.image_counts == {"train": 9, "val": 3}
    view = prepare_view(report, tmp_path / "home")
    manifest = json.loads((view.parent / "manifest.json").read_text())
    originals = {entry["original"] for entry in manifest["splits"]["train"]}
    assert originals == {record.path for record in report.splits["train"]}
    assert all(os.path.exists(path) for path in originals)


def test_nested_folders_keep_pictures_of_one_name_apart():
    report = check_dataset(BAD / "41-nested-folders")
    assert report.image_counts == {"train": 12, "val": 3}
    assert sum(report.box_counts["train"]) == 234


def test_latin1_names_come_out_right():
    assert check_dataset(BAD / "10-yaml-latin1").names[0] == "érythrocyte"


def test_real_pictures_are_accepted_without_a_word():
    report = check_dataset(DATA / "bccd")
    assert not [problem for problem in report.problems if problem.severity is not Severity.NOTE]
    assert report.image_counts == {"train": 205, "val": 87, "test": 72}
    assert report.box_counts["train"] == [2381, 214, 209]
