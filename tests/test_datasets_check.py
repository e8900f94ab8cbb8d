"""Judging a data set: YAML, pictures, labels, and what the report says of them."""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dataset_factory import ROW, YAML, add_image, noise, write_dataset
from evolve.exceptions import DataError
from workers.datasets import check_dataset
from workers.datasets.images import Flaw, inspect_image
from workers.datasets.labels import MAX_FAULTS, Fault, parse_labels
from workers.datasets.problems import Severity, printable


@pytest.fixture
def data(tmp_path):
    """A sound data set of two splits."""
    write_dataset(tmp_path)
    return tmp_path


def errors(report):
    return "\n".join(map(str, report.errors))


def warnings(report):
    return "\n".join(report.warnings())


def test_a_sound_data_set_gives_no_problem(data):
    report = check_dataset(data)
    assert report.problems == ()
    assert report.names == ("cat", "dog")
    assert report.image_counts == {"train": 2, "val": 2}
    assert report.box_counts == {"train": [2, 2], "val": [2, 2]}
    report.raise_for_errors()


def test_the_folder_and_its_yaml_are_the_same_from_every_directory(data, monkeypatch):
    hashes = {check_dataset(data / "data.yaml").content_hash}
    for directory, path in ((data, "."), (data / "images", "../data.yaml"), (data.parent, data.name)):
        monkeypatch.chdir(directory)
        hashes.add(check_dataset(path).content_hash)
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        ("", "data.yaml: "),
        ("- a\n- b\n", "map keys to values"),
        ("a: &x [1]\nb: *x\n", "data.yaml: "),
        ("a: " + "[" * 40 + "]" * 40, "data.yaml: "),
        ("#" * 70_000, "at most 65536 bytes"),
        (YAML.replace("images/train", "https://example.org/train.zip"), "on this machine"),
        (YAML + "path: https://example.org/x\n", "on this machine"),
        (YAML.replace("images/train", "[]"), "an empty list"),
        (YAML.replace("images/train", "no/such"), "no/such; try train: images/train (it exists)"),
        (YAML.replace("train:", "trian:"), "add train: images/train (it exists)"),
        (YAML.replace("[cat, dog]", "{1: cat, 2: dog}"), "got 1, 2; number them 0, 1, 2"),
        (YAML.replace("[cat, dog]", "cat"), "must list the class names"),
        (YAML.replace("[cat, dog]", "[cat, {a: b}]"), "must list the class names"),
        (YAML.replace("names: [cat, dog]", "nc: two"), "nc: must be a whole number"),
    ],
)
def test_a_yaml_that_cannot_be_used(data, yaml, words):
    (data / "data.yaml").write_text(yaml)
    report = check_dataset(data / "data.yaml")
    assert words in errors(report)
    with pytest.raises(DataError, match=r"data\.yaml"):
        report.raise_for_errors()


@pytest.mark.parametrize(
    "yaml",
    [
        YAML.replace("[cat, dog]", "{0: cat, 1: dog}"),
        YAML + "nc: 2\n",
        YAML.replace("names: [cat, dog]", "nc: 2"),
        YAML.replace("images/train", "[images/train]"),
        YAML.replace("images/", "../images/"),
        YAML.replace("images/train", "train.txt"),
        YAML + "download: |\n  raise SystemExit\n",
        YAML + "test:\n",
    ],
)
def test_the_ways_to_write_a_yaml(data, yaml):
    (data / "data.yaml").write_text(yaml)
    (data / "train.txt").write_text("\ufeff./images/train/0.jpg\nimages/train/1.jpg\n", encoding="utf-8")
    report = check_dataset(data)
    assert not report.errors
    assert not report.warnings()
    assert report.image_counts == {"train": 2, "val": 2}


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        (YAML.replace("val:", "validation:"), "it is taken as val:"),
        (YAML.replace("dog", "cat"), "class names should differ"),
        (YAML + "path: .\n", "taken from the file's folder"),
    ],
)
def test_a_yaml_that_is_used_with_a_word(data, yaml, words):
    (data / "data.yaml").write_text(yaml)
    report = check_dataset(data)
    assert not report.errors
    assert words in warnings(report)


def test_a_yaml_in_utf_16_is_read(data):
    (data / "data.yaml").write_text(YAML, encoding="utf-16")
    assert check_dataset(data).problems == ()


def test_another_yaml_in_the_folder_is_no_second_data_yaml(data):
    (data / "hyperparameters.yaml").write_text("lr0: 0.01\n")
    assert check_dataset(data).problems == ()


@pytest.mark.parametrize("path", ["nothing/there", "/dev/null"])
def test_a_path_that_is_no_data_set(path):
    with pytest.raises(DataError, match="give one with --data"):
        check_dataset(path).raise_for_errors()


@pytest.mark.timeout(20)
def test_files_that_are_no_files_neither_block_nor_count(data):
    os.mkfifo(data / "images/train/pipe.jpg")
    os.symlink("/dev/zero", data / "images/train/device.jpg")
    os.symlink("nowhere", data / "images/train/broken.jpg")
    os.symlink(".", data / "images/train/loop")
    (data / "images/train/more").mkdir()
    os.symlink("../more", data / "images/train/more/again")
    for index in range(3):  # at least half must be usable
        add_image(data, "train", f"more/{index}.jpg", noise(seed=30 + index))
    report = check_dataset(data)
    assert not report.errors
    assert report.image_counts["train"] == 5
    assert warnings(report).count("not a regular file") == 1  # one line for all three
    assert sum(record.facts.flaw is Flaw.NOT_A_FILE for record in report.splits["train"]) == 3


def png_bomb(side):
    """A PNG of a few hundred bytes that claims to be `side` pixels wide and high."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def saved(image, suffix, folder, **options):
    path = folder / f"picture{suffix}"
    image.save(path, **options)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("make", "flaw"),
    [
        (lambda folder: png_bomb(60_000), Flaw.TOO_LARGE),
        (lambda folder: png_bomb(9_000), Flaw.LARGE),
        (lambda folder: b"", Flaw.EMPTY),
        (lambda folder: b"\n  <!DOCTYPE html><title>Log in</title>", Flaw.HTML),
        (lambda folder: b"version https://git-lfs.github.com/spec/v1\noid", Flaw.LFS_POINTER),
        (lambda folder: b"%!PS-Adobe-3.0 EPSF-3.0\n", Flaw.NOT_AN_IMAGE),
        (lambda folder: saved(noise(), ".jpg", folder)[:-300], Flaw.TRUNCATED),
        (lambda folder: saved(noise(), ".png", folder)[:-300], Flaw.TRUNCATED),
        (lambda folder: saved(noise(), ".bmp", folder)[:-300], Flaw.TRUNCATED),
        (lambda folder: saved(noise(), ".webp", folder)[:-300], Flaw.TRUNCATED),
        (lambda folder: saved(noise(), ".tiff", folder)[:300], Flaw.TRUNCATED),
        (lambda folder: saved(noise(), ".jpg", folder) + b"x", Flaw.NO_END_MARKER),
        (lambda folder: saved(noise(9, 40), ".png", folder), Flaw.TOO_SMALL),
        (lambda folder: saved(Image.new("F", (20, 20)), ".tiff", folder), Flaw.UNSUPPORTED_MODE),
        (lambda folder: saved(noise(), ".jpg", folder), None),
        (lambda folder: saved(noise(), ".jpg", folder, progressive=True), None),
        (lambda folder: saved(noise().convert("L"), ".jpg", folder), None),
        (lambda folder: saved(noise(), ".png", folder), None),
        (lambda folder: saved(noise(), ".webp", folder), None),
        (lambda folder: saved(noise(), ".tiff", folder), None),
        (lambda folder: saved(noise(), ".bmp", folder), None),
    ],
)
def test_what_a_picture_is_taken_for(tmp_path, make, flaw):
    content = make(tmp_path)
    path = tmp_path / "named-anything.jpg"
    path.write_bytes(content)
    assert inspect_image(str(path)).flaw is flaw


def test_overwritten_bytes_are_noticed_and_flat_pictures_are_not_taken_for_them(tmp_path):
    photo = Image.fromarray(np.clip(np.add.outer(np.arange(240), np.arange(320)) // 3, 0, 255).astype(np.uint8))
    sound = saved(Image.merge("RGB", [photo] * 3), ".jpg", tmp_path, quality=95)
    middle = len(sound) * 3 // 4
    for broken in (bytes(200), b"\xff\x01" * 100):
        path = tmp_path / "broken.jpg"
        path.write_bytes(sound[:middle] + broken + sound[middle + 200 :])
        assert inspect_image(str(path)).flaw is Flaw.DAMAGED
    for options in ({}, {"optimize": True}, {"progressive": True}):
        for mode in ("L", "RGB"):
            path.write_bytes(saved(Image.new(mode, (800, 800)), ".jpg", tmp_path, **options))
            assert inspect_image(str(path)).flaw is None
            assert inspect_image(str(path)).is_flat


def test_a_large_file_is_digested_by_samples_that_see_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.datasets.images.WHOLE_FILE", 4000)
    content = saved(noise(100, 100), ".bmp", tmp_path)
    digests = set()
    for name, change in (("a", content), ("b", content), ("c", content[:-1] + bytes([content[-1] ^ 1]))):
        (tmp_path / name).write_bytes(change)
        digests.add(inspect_image(str(tmp_path / name)).digest)
    assert len(digests) == 2


def test_a_picture_of_one_colour_that_has_boxes_is_named(data):
    add_image(data, "train", "flat.png", Image.new("RGB", (640, 480)))
    add_image(data, "train", "flat background.png", Image.new("RGB", (640, 480), 7), rows="")
    report = check_dataset(data)
    assert len(report.warnings()) == 1
    assert "flat.png: a picture with boxes must show something" in warnings(report)


def test_a_split_of_mostly_broken_pictures_is_refused(data):
    for index in range(3):
        add_image(data, "val", f"broken{index}.jpg", b"")
    assert "at least half of val must be usable, but got 3 of 5" in errors(check_dataset(data))


def test_an_empty_test_split_is_only_a_warning(data):
    (data / "images/test").mkdir()
    (data / "data.yaml").write_text(YAML + "test: images/test\n")
    report = check_dataset(data)
    assert not report.errors
    assert "test must have images, but got 0 images" in warnings(report)


def test_a_copy_of_a_train_image_in_val_is_named(data):
    (data / "images/val/0.jpg").write_bytes((data / "images/train/0.jpg").read_bytes())
    assert "val/0.jpg: no val image may be in train" in warnings(check_dataset(data))


def test_many_warnings_of_a_kind_are_one_line_in_brief_and_all_in_the_listing(data):
    for index in range(5):
        add_image(data, "train", f"new{index}.jpg", noise(seed=20 + index), rows=None)
    report = check_dataset(data)
    assert len(report.warnings()) == 1
    assert report.warnings()[0].endswith("(and 4 more like it)")
    assert sum("a picture should have a label file, but got none" in line for line in report.lines()) == 5


def test_errors_are_one_line_with_the_command_that_lists_them(data, monkeypatch):
    folder = data / "my data"
    write_dataset(folder, rows="7 0.5 0.5 0.1 0.1\n")
    monkeypatch.chdir(data)
    with pytest.raises(DataError) as refusal:
        check_dataset("my data").raise_for_errors()
    assert str(refusal.value) == (
        "my data/labels/train/0.txt:1: a class id must be one of 0..1, but got 7; correct the id, or add the class"
        " to names: (3 more in 4 files; list them with: evolve data check 'my data')"
    )


def test_nothing_in_the_listing_can_drive_a_terminal(data):
    name = "a\x1b[31m\nb\u202e" + os.fsdecode(b"\xff")
    add_image(data, "train", f"{name}.jpg", b"")
    (data / "data.yaml").write_text(YAML.replace("dog", '"d\\u001b[0mog"'))
    lines = list(check_dataset(data).lines())
    assert all(line.isprintable() for line in lines)
    assert any(r"a\x1b[31m\nb\u202e\xff.jpg" in line for line in lines)
    assert printable("érythro 血 🔬") == "érythro 血 🔬"


def test_the_report_fits_into_json(data):
    add_image(data, "train", os.fsdecode(b"\xff.jpg"), b"")
    document = json.loads(json.dumps(check_dataset(data).document()))
    assert document["usable_images"] == {"train": 2, "val": 2}
    assert document["problems"][0]["severity"] == "warning"


def test_a_second_check_reads_only_what_changed(data, tmp_path, monkeypatch):
    home = tmp_path / "home"
    first = check_dataset(data, home)
    read = []
    monkeypatch.setattr(
        "workers.datasets.facts_cache.inspect_image", lambda path: read.append(path) or inspect_image(path)
    )
    assert check_dataset(data, home).document() == first.document()
    assert read == []
    noise(seed=99).save(data / "images/train/0.jpg")
    assert check_dataset(data, home).content_hash != first.content_hash
    assert read == [str(data / "images/train/0.jpg")]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 0}', b"\xff\xfe"])
def test_a_cache_that_is_torn_or_old_is_forgotten(data, tmp_path, content):
    home = tmp_path / "home"
    first = check_dataset(data, home)
    (cache,) = (home / "datasets").iterdir()
    cache.write_bytes(content)
    assert check_dataset(data, home).content_hash == first.content_hash


def faults(text, classes=2, **options):
    content = text if isinstance(text, bytes) else text.encode()
    return [(row.line, row.fault) for row in parse_labels(content, classes, 100, 100, **options).faults]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ROW, []),
        (b"\xef\xbb\xbf" + ROW.encode(), []),
        ("\r\n1.0 0.5 0.5 0.1 0.1\r\n\r\n", []),
        ("0 1.005 -0.005 0.1 0.1", []),
        ("0 1e-1 5E-1 .5 1", []),
        (ROW.encode("utf-16"), [(1, Fault.NOT_TEXT)]),
        ("0 0,5 0,5 0,1 0,1", [(1, Fault.NOT_NUMBERS)]),
        ("0 0.5 0.5 0.1 0.1 0.9", [(1, Fault.COLUMNS)]),
        ("0 0.5 0.5", [(1, Fault.COLUMNS)]),
        ("0.5 0.5 0.5 0.1 0.1", [(1, Fault.CLASS_ID)]),
        ("-1 0.5 0.5 0.1 0.1", [(1, Fault.CLASS_ID)]),
        (f"{ROW}{ROW}2 0.5 0.5 0.1 0.1", [(3, Fault.CLASS_ID)]),
        ("nan 0.5 0.5 0.1 0.1", [(1, Fault.NOT_FINITE)]),
        ("0 0.5 0.5 -inf 0.1", [(1, Fault.NEGATIVE)]),
        ("0 0.5 0.5 inf 0.1", [(1, Fault.NOT_FINITE)]),
        ("0 -0.5 0.5 0.1 0.1", [(1, Fault.NEGATIVE)]),
        ("0 0.5 0.5 -0.001 0.1", [(1, Fault.NEGATIVE)]),
        ("0 0.5 1.2 0.1 0.1", [(1, Fault.ABOVE_ONE)]),
        ("0 50 60 10 20\n1 30 30 5 5", [(1, Fault.PIXELS)]),
        ("0 0.1 0.1 1.5 0.1 0.2 0.2", [(1, Fault.ABOVE_ONE)]),
        ("0 0.1 0.1 nan 0.1 0.2 0.2", [(1, Fault.NOT_FINITE)]),
        (f"{ROW}0 0.1 0.1 0.5 0.1 0.2 0.2", [(2, Fault.MIXED)]),
    ],
)
def test_rows(text, expected):
    assert faults(text) == expected


def test_key_points_are_dropped_where_the_yaml_says_so(data):
    rows = "0 0.5 0.5 0.4 0.4 0.1 0.1 2 0.3 0.3 2\n"
    assert faults(rows, keypoints=6) == []
    (data / "data.yaml").write_text(YAML + "kpt_shape: [2, 3]\n")
    (data / "labels/train/0.txt").write_text(rows)
    report = check_dataset(data)
    assert not report.warnings()
    assert report.splits["train"][0].boxes.tolist() == [[0, 0.5, 0.5, 0.4, 0.4]]


def test_a_polygon_becomes_the_box_around_it():
    label = parse_labels(b"1 0.1 0.2 0.5 0.2 0.3 0.6\n", 2, 100, 100)
    assert label.polygons == 1
    assert label.boxes[0] == pytest.approx([1, 0.3, 0.4, 0.4, 0.4])


def test_boxes_below_one_pixel_and_repeated_rows_are_dropped_and_counted():
    rows = ROW + "0 0.2 0.2 0.009 0.5\n" + ROW + "1 0.2 0.2 0.011 0.5\n"
    label = parse_labels(rows.encode(), 2, 100, 100)
    assert label.boxes[:, 0].tolist() == [0, 1]
    assert (label.duplicates, label.empty_boxes) == (1, (2,))


def test_a_file_full_of_faults_is_cut_short_and_says_so(data):
    (data / "labels/train/0.txt").write_text("9 0.5 0.5 0.1 0.1\n" * 1000)
    report = check_dataset(data)
    assert len(report.errors) == MAX_FAULTS
    notes = [problem for problem in report.problems if problem.severity is Severity.NOTE]
    assert notes[0].found == f"{1000 - MAX_FAULTS} more faulty rows"


@pytest.mark.timeout(30)
class TestHostileFiles:
    """None of these may block, or fill the memory, or end in a traceback."""

    def test_a_pipe_among_annotations_of_other_tools(self, tmp_path):
        for split in ("train", "val"):
            add_image(tmp_path, split, "0.jpg", noise(), rows=None)
        (tmp_path / "data.yaml").write_text(YAML)
        os.mkfifo(tmp_path / "instances.json")
        assert "must have label files here" in errors(check_dataset(tmp_path))

    def test_a_pipe_in_place_of_a_list_of_pictures(self, data):
        (data / "data.yaml").write_text(YAML.replace("images/train", "train.txt"))
        os.mkfifo(data / "train.txt")
        assert "train.txt: it must be readable, but got no file of at most 256 MiB" in errors(check_dataset(data))

    def test_a_list_of_terabytes(self, data):
        (data / "data.yaml").write_text(YAML.replace("images/train", "train.txt"))
        with (data / "train.txt").open("w") as file:
            file.truncate(2**40)
        assert "no file of at most 256 MiB" in errors(check_dataset(data))

    @pytest.mark.parametrize("rows", [ROW * 100_000, "1\r" * 100_000, "0 " * 3_000_000])
    def test_a_label_file_that_no_picture_has(self, data, rows):
        add_image(data, "train", "0.jpg", noise(), rows)
        assert "labels/train/0.txt:1: a label file has at most 50000 rows" in errors(check_dataset(data))

    def test_labels_of_gigabytes_beside_a_missing_yaml(self, data):
        (data / "data.yaml").unlink()
        with (data / "labels/train/0.txt").open("a") as file:
            file.truncate(2**40)
        assert '"names": ["class_0", "class_1"]' in errors(check_dataset(data))

    def test_more_classes_than_memory(self, data):
        (data / "data.yaml").write_text(YAML.replace("names: [cat, dog]", "nc: 9000000000000000000"))
        assert "nc: must be a whole number from 1 to 65536" in errors(check_dataset(data))

    def test_a_full_disk_does_not_refuse_the_data(self, data, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        assert check_dataset(data, tmp_path / "home").problems == ()
        assert list((tmp_path / "home" / "datasets").iterdir()) == []
