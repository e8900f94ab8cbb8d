"""The private view: what was judged is what is trained, and the user's folder stays as it was."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from dataset_factory import ROW, add_image, noise, snapshot, write_dataset
from evolve.exceptions import DataError
from evolve.yaml_io import read_yaml
from workers.datasets import check_dataset, prepare_view
from workers.datasets.atomic import built_once


@pytest.fixture
def view_of(tmp_path):
    """Checks the data set in `tmp_path / "data"` and returns the folder of its view."""

    def build():
        return prepare_view(check_dataset(tmp_path / "data"), tmp_path / "home").parent

    return build


def picture(view, split="train", index=0):
    return sorted((view / "images" / split).iterdir())[index]


def opened(path):
    """The picture at `path`, its pixels loaded and its file closed."""
    with Image.open(path) as image:
        image.load()
        return image


def label(view, split="train", index=0):
    return sorted((view / "labels" / split).iterdir())[index].read_text()


def test_sound_pictures_are_linked_and_the_yaml_is_plain(tmp_path, view_of):
    write_dataset(
        tmp_path / "data",
        splits=("train", "val", "test"),
        yaml="""
path: .
train: images/train
val: images/val
test: images/test
download: raise SystemExit
names: {0: "yes", 1: "it's: # a \\" cat"}
""",
    )
    view = view_of()
    document = read_yaml(view / "data.yaml")
    assert document == {
        "path": str(view),
        "train": "images/train",
        "val": "images/val",
        "test": "images/test",
        "names": ["yes", "it's: # a \" cat"],
    }
    assert os.readlink(picture(view)) == str(tmp_path / "data/images/train/0.jpg")
    assert label(view) == "0 0.5 0.5 0.4 0.4\n1 0.3 0.3 0.2 0.2\n"


def test_nothing_is_written_into_the_users_folder_and_his_cache_is_not_read(tmp_path, view_of):
    write_dataset(tmp_path / "data")
    (tmp_path / "data/labels/train.cache").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    before = snapshot(tmp_path / "data")
    view = view_of()
    assert snapshot(tmp_path / "data") == before
    assert not list(view.rglob("*.cache"))


def test_a_second_call_builds_nothing_and_changed_data_gives_another_view(tmp_path, view_of):
    write_dataset(tmp_path / "data")
    first = view_of()
    stamp = first.stat().st_mtime_ns, (first / "data.yaml").stat().st_ino
    assert view_of() == first
    assert (first.stat().st_mtime_ns, (first / "data.yaml").stat().st_ino) == stamp
    (tmp_path / "data/labels/train/0.txt").write_text(ROW)
    assert view_of() != first


def test_the_hash_follows_the_content_and_the_view_the_place(tmp_path):
    for place in ("data", "moved"):
        write_dataset(tmp_path / place)
    reports = [check_dataset(tmp_path / place) for place in ("data", "moved")]
    assert reports[0].content_hash == reports[1].content_hash
    views = [prepare_view(report, tmp_path / "home") for report in reports]
    assert views[0] != views[1]


@pytest.mark.parametrize("change", ["picture", "label", "name"])
def test_the_hash_sees_every_change(tmp_path, change):
    yaml = write_dataset(tmp_path / "data")
    before = check_dataset(yaml).content_hash
    if change == "picture":
        noise(seed=77).save(tmp_path / "data/images/val/1.jpg")
    elif change == "label":
        (tmp_path / "data/labels/val/1.txt").write_text(ROW)
    else:
        yaml.write_text(yaml.read_text().replace("dog", "cow"))
    assert check_dataset(yaml).content_hash != before


def test_processes_that_ask_together_build_once(tmp_path):
    calls = []

    def build(folder):
        calls.append(folder)
        (folder / "inside").write_text("x")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: built_once(tmp_path / "once", build), range(8)))
    assert len(calls) == 1
    assert (tmp_path / "once/inside").exists()


def test_a_build_that_fails_leaves_nothing_and_the_next_one_starts_afresh(tmp_path):
    def fail(folder):
        (folder / "half").write_text("x")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        built_once(tmp_path / "once", fail)
    assert not (tmp_path / "once").exists()
    built_once(tmp_path / "once", lambda folder: (folder / "whole").write_text("x"))
    assert [path.name for path in (tmp_path / "once").iterdir()] == ["whole"]


def test_sixteen_bit_gray_keeps_its_brightness_and_the_order_between_pictures(tmp_path, view_of):
    write_dataset(tmp_path / "data", count=1)
    for name, value in (("bright.png", 3000), ("dark.png", 300)):
        pixels = np.full((24, 32), value, dtype=np.uint16) + np.arange(32, dtype=np.uint16)
        add_image(tmp_path / "data", "train", name, Image.fromarray(pixels))
    view = view_of()
    bright, dark = (np.asarray(opened(picture(view, index=index))) for index in (1, 2))
    assert bright.dtype == np.uint8
    assert 187 <= bright.mean() <= 190  # 3000 of 4095: the set has 12 bits
    assert 18 <= dark.mean() <= 21


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", ".png"), ("P", ".png"), ("1", ".png"), ("CMYK", ".jpg")])
def test_other_pixel_formats_become_rgb(tmp_path, view_of, mode, suffix):
    write_dataset(tmp_path / "data", count=1)
    original = noise(seed=5).resize((320, 240))
    add_image(tmp_path / "data", "train", f"odd{suffix}", original.convert(mode))
    copy = opened(picture(view_of(), index=1))
    assert copy.mode == "RGB"
    correlation = np.corrcoef(np.asarray(copy).ravel(), np.asarray(original.convert(mode).convert("RGB")).ravel())
    assert correlation[0, 1] > 0.95


def test_a_jpeg_without_end_marker_is_repaired_in_the_copy_only(tmp_path, view_of):
    write_dataset(tmp_path / "data", count=1)
    path = add_image(tmp_path / "data", "train", "a.jpg", noise(seed=5))
    path.write_bytes(path.read_bytes() + b"trailing bytes of a phone")
    before = path.read_bytes()
    view = view_of()
    assert picture(view, index=1).read_bytes()[-2:] == b"\xff\xd9"
    assert not picture(view, index=1).is_symlink()
    assert path.read_bytes() == before


def test_a_very_large_picture_is_scaled_down(tmp_path, view_of, monkeypatch):
    monkeypatch.setattr("workers.datasets.images.LARGE_PIXELS", 500 * 400)
    monkeypatch.setattr("workers.datasets.convert.LARGE_PIXELS", 500 * 400)
    monkeypatch.setattr("workers.datasets.convert.LONG_SIDE", 250)
    write_dataset(tmp_path / "data", count=1)
    for seed, name in enumerate(("large.jpg", "large.png")):
        add_image(tmp_path / "data", "train", name, noise(1000, 800, seed=seed))
    deep = Image.fromarray(np.full((800, 1000), 3000, dtype=np.uint16))
    add_image(tmp_path / "data", "train", "large16.png", deep)
    view = view_of()
    assert [opened(picture(view, index=index)).size for index in (1, 2, 3)] == [(250, 200)] * 3
    assert opened(picture(view, index=3)).getextrema() == (187, 187)


def test_a_copy_is_upright_as_its_labels_are(tmp_path, view_of):
    write_dataset(tmp_path / "data", count=1)
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(32, 24, seed=3).convert("CMYK").save(tmp_path / "data/images/train/turned.jpg", exif=exif)
    (tmp_path / "data/labels/train/turned.txt").write_text(ROW)
    copy = opened(picture(view_of(), index=1))
    assert copy.size == (24, 32)
    assert 0x0112 not in copy.getexif()


def test_unusable_pictures_are_left_out_and_said_in_the_manifest(tmp_path, view_of):
    write_dataset(tmp_path / "data")
    add_image(tmp_path / "data", "train", "empty.jpg", b"")
    view = view_of()
    manifest = json.loads((view / "manifest.json").read_text())
    assert manifest["images"] == {"train": 2, "val": 2}
    assert len(list((view / "images/train").iterdir())) == 2
    assert manifest["left_out"]["train"] == [
        {"original": str(tmp_path / "data/images/train/empty.jpg"), "because": "0 bytes"}
    ]


def test_labels_are_cleaned(tmp_path, view_of):
    polygon = "1 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6\n"
    write_dataset(tmp_path / "data", count=1, rows=ROW + ROW + "1 0.5 0.5 0 0.2\n")
    add_image(tmp_path / "data", "train", "polygons.jpg", noise(seed=9), polygon)
    add_image(tmp_path / "data", "train", "zzz background.jpg", noise(seed=10), None)
    view = view_of()
    assert label(view, index=0) == ROW
    assert label(view, index=1) == "1 0.3 0.4 0.4 0.4\n"
    assert label(view, index=2) == ""


def test_odd_names_become_plain_and_unique(tmp_path, view_of):
    write_dataset(tmp_path / "data", count=1)
    names = ["-rf.jpg", "a b#%.JPG", "two\nlines.jpg", "血.jpg", "x" * 240 + ".jpg", os.fsdecode(b"\xe9.jpg")]
    for number, name in enumerate(names):
        add_image(tmp_path / "data", "train", name, noise(seed=50 + number))
    view = view_of()
    found = sorted(path.name for path in (view / "images/train").iterdir())
    assert len(found) == len(names) + 1
    assert all(name.isascii() and name.isprintable() and " " not in name and len(name) < 80 for name in found)
    assert all(opened(view / "images/train" / name).size == (32, 24) for name in found)


def test_a_picture_whose_pixels_cannot_be_decoded_is_named(tmp_path, view_of):
    write_dataset(tmp_path / "data", count=1)
    path = add_image(tmp_path / "data", "train", "bad.png", noise(seed=4).convert("RGBA"))
    report = check_dataset(tmp_path / "data")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"bad\.png: a picture must be decodable"):
        prepare_view(report, tmp_path / "home")
    assert not [folder for folder in (tmp_path / "home/datasets").iterdir() if not folder.name.startswith(".")]


@pytest.mark.slow
def test_ultralytics_reads_the_view_as_it_was_judged(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    data = pytest.importorskip("ultralytics.data", exc_type=ImportError)
    from ultralytics.data.utils import check_det_dataset

    write_dataset(tmp_path / "data", count=3)
    add_image(tmp_path / "data", "train", "deep.png", Image.fromarray(np.full((24, 32), 60000, dtype=np.uint16)))
    report = check_dataset(tmp_path / "data")
    document = check_det_dataset(str(prepare_view(report, tmp_path / "home")))
    dataset = data.YOLODataset(img_path=document["train"], data=document, task="detect", imgsz=32, augment=False)
    assert len(dataset) == report.image_counts["train"]
    assert sum(len(item["cls"]) for item in dataset.labels) == sum(report.box_counts["train"])
    assert dataset.load_image(3)[0].mean() > 200
