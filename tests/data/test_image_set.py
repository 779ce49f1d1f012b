"""Picture sets from folders and zips: what is read, in which order, and how files are packed."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sd.data.image_set import read_images, some_pictures
from sd.data.reading.archive import Archive, pack_files
from sd.data.reading.source import natural_order, starter_path
from tests.helpers.sets import folder, left_out, picture, refusal, values, zipped

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


# What is read


def test_starter() -> None:
    images = read_images("starter", height=64, width=64)
    assert images.pixels.shape == (1292, 3, 64, 64) and images.pixels.dtype == torch.uint8
    assert images.labels is not None and images.captions is not None
    assert len(images.label_names) == 44 and images.labels.dtype == torch.int64
    assert len(set(images.captions)) == 1292
    assert images.report.left_out == () and images.report.remarks == ()
    place = images.names.index("images/0422-lion.png")
    assert images.captions[place] == "lion"
    assert images.label_names[images.labels[place]] == "animal-mammal"
    with zipfile.ZipFile(starter_path()) as archive:
        original = Image.open(archive.open("images/0422-lion.png")).convert("RGB")
    assert np.array_equal(images.pixels[place].permute(1, 2, 0), np.asarray(original))
    assert (starter_path().parent / "LICENSE").is_file()


@pytest.mark.parametrize("kind", ["folder", "zip", "wrapped zip"])
def test_class_folders_are_labels(kind: str, tmp_path: Path) -> None:
    files = {f"{name}/{n}.png": picture(20 * n) for name in ("dog", "cat") for n in (10, 9, 2)}
    files |= {"cat/.DS_Store": b"x", "__MACOSX/cat/._2.png": b"x", "dog/Thumbs.db": b"x"}
    if kind == "folder":
        source = folder(tmp_path / "set", files)
    else:
        top = "" if kind == "zip" else "my pictures/"
        source = zipped(tmp_path / "set.zip", {top + name: data for name, data in files.items()})
    images = read_images(source, height=8, width=8)
    assert images.names == tuple(f"{name}/{n}.png" for name in ("cat", "dog") for n in (2, 9, 10))
    assert values(images) == [40, 180, 200] * 2
    assert images.labels is not None and images.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert images.label_names == ("cat", "dog") and images.captions is None
    assert images.report.classes == {"cat": 3, "dog": 3} and images.report.left_out == ()


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["train/cat/1.png", "test/dog/1.png"], ["dog", "cat"]),
        (["train/1.png", "test/1.png"], []),
        (["a/b/cat/1.png", "a/b/dog/old/1.png"], ["cat", "dog"]),
        (["images/1.png", "images/2.png"], []),
        (["1.png"], []),
    ],
)
def test_folders_that_are_no_classes(names: list[str], labels: list[str], tmp_path: Path) -> None:
    images = read_images(folder(tmp_path, {name: picture() for name in names}))
    found = [] if images.labels is None else [images.label_names[n] for n in images.labels]
    assert found == labels and images.report.remarks == ()


def test_labels_are_for_all_or_none(tmp_path: Path) -> None:
    images = read_images(folder(tmp_path, {"a.png": picture(), "cat/b.png": picture()}))
    assert images.labels is None and images.label_names == ()
    assert images.report.remarks == ("the labels are not used: 1 of 2 pictures have none",)


CSV = 'file_name,text,label\na.png,"a small, grey\nsquare",10\nsub/b.png,b,9\n'
JSONL = (
    '{"file_name": "a.png", "text": "a small, grey square", "label": 10}\n\n'
    '{"file_name": "./sub\\\\b.png", "text": "b", "label": "9"}\n'
)


@pytest.mark.parametrize(("name", "text"), [("metadata.csv", CSV), ("metadata.jsonl", JSONL)])
@pytest.mark.parametrize("below", ["", "images/"])
def test_metadata(name: str, text: str, below: str, tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {below + "a.png": picture(), below + "sub/b.png": picture()}
    for source in (
        folder(tmp_path / "set", {**files, below + name: "\ufeff" + text}),
        zipped(tmp_path / "set.zip", {**files, below + name: text}),
    ):
        images = read_images(source)
        assert images.captions == ("a small, grey square", "b")
        assert images.label_names == ("9", "10")
        assert images.labels is not None and images.labels.tolist() == [1, 0]
        assert images.report.captions == 2 and images.report.left_out == ()


def test_the_nearest_metadata_counts(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "in/a.png": picture(),
        "b.png": picture(),
        "metadata.csv": "file_name,text\nin/a.png,far\nb.png,here\n",
        "in/metadata.csv": "file_name,text\na.png,near\n",
    }
    images = read_images(folder(tmp_path, files))
    assert dict(zip(images.names, images.captions or (), strict=True)) == {
        "b.png": "here",
        "in/a.png": "near",
    }


def test_captions_beside_the_pictures(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"{name}.png": picture() for name in "abcdef"}
    files |= {
        "a.txt": "\ufeff one\r\n  two ",
        "b.txt": b"\xff\xfe\x00",
        "c.txt": "x" * 2001,
        "d.txt": "bell \x07",
        "f.txt": "",
        "lonely.txt": "no picture",
        "README.txt": "is no caption and needs no line",
    }
    images = read_images(folder(tmp_path, files))
    assert images.captions == ("one two", "", "", "", "", "")
    assert images.report.captions == 1 and images.report.used == 6
    reasons = left_out(images)
    assert list(reasons) == ["b.txt", "caption of c.txt", "caption of d.txt", "lonely.txt"]
    assert "2001 characters" in reasons["caption of c.txt"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('"\\ud800"', "half characters"),
        ("7", "must be a text"),
        ("[1]", "must be a text"),
        ("true", "must be a text"),
        (json.dumps("y" * 5000), "5000 characters"),
    ],
)
def test_unfit_captions_are_left_out_but_the_picture_is_not(
    value: str, words: str, tmp_path: Path
) -> None:
    text = f'{{"file_name": "a.png", "text": {value}, "label": true}}'
    images = read_images(folder(tmp_path, {"a.png": picture(), "metadata.jsonl": text}))
    assert images.report.used == 1 and images.captions is None and images.labels is None
    assert words in left_out(images)["caption of a.png"]
    assert "must be a text" in left_out(images)["label of a.png"]


def test_rows_without_a_picture_are_one_remark(tmp_path: Path) -> None:
    rows = "".join(f"gone{n}.png,x\n" for n in range(500))
    text = f"file_name,text\na.png,here\n{rows}../../etc/passwd,x\n"
    images = read_images(folder(tmp_path, {"a.png": picture(), "metadata.csv": text}))
    assert images.captions == ("here",)
    assert images.report.remarks == (
        "metadata.csv: 501 rows name no picture of this set, first 'gone0.png' in line 3",
    )


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("metadata.csv", b"", "line 1: no column file_name"),
        ("metadata.csv", b"name,text\na.png,x\n", "line 1: no column file_name; found ['name'"),
        ("metadata.csv", b"file_name,text\na.png,x\na.png,y,z\n", "line 3: 3 cells in 2 columns"),
        ("metadata.csv", b'file_name,text\na.png,"x\n', "line 2: unexpected end of data"),
        ("metadata.csv", b"file_name,text\na.png,\xff\n", "line 2: not a text in UTF-8"),
        ("metadata.csv", b"file_name,text\n,x\n", "line 2: file_name = ''"),
        ("metadata.csv", b"file_name,text\na.png," + b"x" * 200_000, "line 2: field larger"),
        ("metadata.jsonl", b'{"file_name": "a.png"}\n{oops\n', "line 2: not a line of JSON"),
        ("metadata.jsonl", b"[1, 2]\n", "line 1: must be an object"),
        ("metadata.jsonl", b'{"file_name": 7}\n', "line 1: file_name = 7"),
        ("metadata.jsonl", b"[" * 100_000, "line 1: not a line of JSON"),
        ("metadata.jsonl", b'{"file_name": ' + b"9" * 9999 + b"}", "line 1: not a line of JSON"),
    ],
)
def test_malformed_metadata_names_the_line(
    name: str, data: bytes, words: str, tmp_path: Path
) -> None:
    files: dict[str, bytes | str] = {"a.png": picture(), name: data}
    for source in (folder(tmp_path / "set", files), zipped(tmp_path / "set.zip", files)):
        message = refusal(source)
        assert message.startswith(f"{name}: ") and words in message


def test_too_long_metadata_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, bytes | str] = {"a.png": picture(), "metadata.csv": "file_name\n" * 1000}
    monkeypatch.setattr("sd.data.reading.files.LONGEST_FILE", 5000)
    monkeypatch.setattr("sd.data.reading.archive.LONGEST_FILE", 5000)
    for source in (folder(tmp_path / "set", files), zipped(tmp_path / "set.zip", files)):
        assert refusal(source).startswith("metadata.csv: 0.0 MiB; at most")


def test_one_picture(tmp_path: Path) -> None:
    (tmp_path / "cat.webp").write_bytes(picture(7, (20, 10), "WEBP"))
    images = read_images(str(tmp_path / "cat.webp"), height=4, width=4, channels=1)
    assert images.names == ("cat.webp",) and images.pixels.shape == (1, 1, 4, 4)
    assert images.report.sizes == {(20, 10): 1} and images.report.modes == {"RGB": 1}


def test_a_large_stored_picture(tmp_path: Path) -> None:
    large = {"a.bmp": picture(70, (2600, 2400), "BMP")}
    images = read_images(zipped(tmp_path / "x.zip", dict(large), zipfile.ZIP_STORED))
    assert images.report.sizes == {(2600, 2400): 1} and values(images) == [70]


def test_natural_order() -> None:
    names = ["a10.png", "a9.png", "a09.png", "b.png", "a.png", "a" + "1" * 5000]
    assert sorted(names, key=natural_order)[:4] == ["a.png", "a09.png", "a9.png", "a10.png"]


def test_two_readings_are_equal(tmp_path: Path) -> None:
    files = {f"{n}.png": picture(n, (40 + n, 30)) for n in range(20)}
    one = read_images(folder(tmp_path / "set", files), fit="pad")
    two = read_images(zipped(tmp_path / "set.zip", dict(reversed(files.items()))), fit="pad")
    assert one.names == two.names and torch.equal(one.pixels, two.pixels)


def test_some_pictures_are_spread_and_not_fitted(tmp_path: Path) -> None:
    files = {f"{n}.png": picture(n, (400, 100)) for n in range(100)}
    source = folder(tmp_path, {**files, "0.png": b"no picture", "50.png": b""})
    some = some_pictures(source, 4, side=64)
    assert [each.size for each in some] == [(64, 16)] * 4 and {each.mode for each in some} == {
        "RGB"
    }
    assert [each.getpixel((0, 0)) for each in some] == [(n, n, n) for n in (1, 25, 51, 75)]
    assert len(some_pictures(source, 1000)) == 98
    assert some_pictures(folder(tmp_path / "none", {"a.png": b"x"})) == []


# Packing loose files


def test_pack_files(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", {"1": picture(10), "2": picture(20), "3": "three", "4": "four"})
    files = [root / name for name in "1234"]
    names = ["x/cat.png", "C:\\y\\cat.png", "x/cat.txt", "../y/.//cat.txt"]
    (tmp_path / "out").mkdir()
    target = pack_files(files, names, tmp_path / "out" / "set.zip")
    with Archive(target) as archive:
        assert archive.names == ["x/cat.png", "x/cat.txt", "y/cat.png", "y/cat.txt"]
    images = read_images(target, height=8, width=8)
    assert values(images) == [10, 20] and images.captions == ("three", "four")
    assert os.listdir(tmp_path / "out") == ["set.zip"]
    again = pack_files(files, names, tmp_path / "out" / "again.zip")
    assert again.read_bytes() == target.read_bytes()
    with zipfile.ZipFile(target) as packed:
        assert {info.compress_type for info in packed.infolist()} == {zipfile.ZIP_STORED}


def test_pack_files_leaves_nothing_half_done(tmp_path: Path) -> None:
    (tmp_path / "old.zip").write_bytes(b"old")
    with pytest.raises(OSError):
        pack_files([tmp_path / "gone"], ["a.png"], tmp_path / "old.zip")
    assert (tmp_path / "old.zip").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["old.zip"]
