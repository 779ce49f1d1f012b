"""Picture sets from folders and zips: what is used, what is left out, and what is refused."""

import copy
import io
import json
import os
import stat
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sd.archive import Archive
from sd.data import (
    ImageSet,
    inspect_images,
    natural,
    pack_files,
    read_images,
    some_pictures,
    split,
    starter_path,
    survey_images,
)
from sd.gate import InputError
from sd.reading import passage
from sd.report import Cut, Report

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
LINK = (stat.S_IFLNK | 0o777) << 16


def picture(value: int = 0, size: tuple[int, int] = (8, 8), form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(file, form)
    return file.getvalue()


def folder(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return root


def zipped(path: Path, files: dict[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def left_out(images: ImageSet) -> dict[str, str]:
    return dict(images.report.left_out)


def refusal(source: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        read_images(source)
    message = str(caught.value)
    assert "\n" not in message and len(message) <= 300
    if isinstance(source, Path):
        assert str(source.parent) not in message
    with pytest.raises(InputError) as again:
        inspect_images(source)
    assert str(again.value) == message
    return message


def values(images: ImageSet) -> list[int]:
    """The grey value of each picture."""
    return images.pixels[:, 0, 0, 0].tolist()


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
    monkeypatch.setattr("sd.files.LONGEST_FILE", 5000)
    monkeypatch.setattr("sd.archive.LONGEST_FILE", 5000)
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
    assert sorted(names, key=natural)[:4] == ["a.png", "a09.png", "a9.png", "a10.png"]


def test_two_readings_are_equal(tmp_path: Path) -> None:
    files = {f"{n}.png": picture(n, (40 + n, 30)) for n in range(20)}
    one = read_images(folder(tmp_path / "set", files), fit="pad")
    two = read_images(zipped(tmp_path / "set.zip", dict(reversed(files.items()))), fit="pad")
    assert one.names == two.names and torch.equal(one.pixels, two.pixels)


# What is left out


GOOD = {f"good/{n}.png": picture(10 * n) for n in range(1, 6)}


def test_good_files_survive_beside_bad_ones(tmp_path: Path) -> None:
    bad: dict[str, bytes | str] = {
        "bad/cut.jpg": picture(9, (99, 99), "JPEG")[:-90],
        "bad/text.png": "not a picture",
        "bad/empty.jpg": b"",
        "bad/film.mp4": bytes(2000),
        "bad/inner.zip": zipped(tmp_path / "inner.zip", dict(GOOD)).read_bytes(),
        "bad/inner.tar.gz": b"\x1f\x8b",
        "../climbs.png": picture(),
        "/rooted.png": picture(),
        "C:\\drive.png": picture(),
        "good\\..\\..\\back.png": picture(),
        "readme.pdf": "%PDF-",
    }
    images = read_images(zipped(tmp_path / "mixed.zip", {**GOOD, **bad}), height=8, width=8)
    assert images.names == tuple(GOOD) and values(images) == [10, 20, 30, 40, 50]
    reasons = left_out(images)
    assert len(reasons) == len(bad)
    outside = "its name points outside the archive"
    climbing = ["../climbs.png", "/rooted.png", "C:/drive.png", "good/../../back.png"]
    assert [reasons[name] for name in climbing] == [outside] * 4
    assert (
        reasons["bad/inner.zip"] == reasons["bad/inner.tar.gz"] == "an archive inside the archive"
    )
    assert reasons["bad/text.png"].startswith("not a picture")
    assert sorted(os.listdir(tmp_path)) == ["inner.zip", "mixed.zip"]


def test_odd_entries_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "odd.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, mode in (("link.png", LINK), ("pipe.png", stat.S_IFIFO << 16), ("dir/", 0)):
            info = zipfile.ZipInfo(name)
            info.external_attr = mode
            archive.writestr(info, "/etc/passwd")
        archive.writestr("bz2.png", picture(), zipfile.ZIP_BZIP2)
        archive.writestr("lzma.png", picture(), zipfile.ZIP_LZMA)
        archive.writestr("secret.png", picture())
        archive.filelist[-1].flag_bits |= 1
        archive.writestr("lies.png", bytes(10_000))
        archive.filelist[-1].file_size = 10
        archive.writestr("crc.png", picture())
        archive.filelist[-1].CRC ^= 1
        archive.writestr("long.png", b"")
        archive.filelist[-1].file_size = 100 * 2**20
        archive.writestr("./good.png", picture())
        archive.writestr("good.png", picture(9))
    images = read_images(path)
    assert images.names == ("good.png",) and values(images) == [0]
    assert left_out(images) == {
        "link.png": "a link",
        "pipe.png": "not a plain file",
        "bz2.png": "packed by another method than zip's usual one, deflate",
        "lzma.png": "packed by another method than zip's usual one, deflate",
        "secret.png": "encrypted",
        "lies.png": "damaged in the archive",
        "crc.png": "damaged in the archive",
        "long.png": "100.0 MiB; at most 64 are allowed",
        "good.png": "its name appears twice",
    }


def test_names_without_utf8_flag(tmp_path: Path) -> None:
    path = tmp_path / "names.zip"
    names = {"猫/1.png": "gbk", "狗/1.png": "gbk", "Äpfel/1.png": "utf-8", "été/1.png": "cp437"}
    stand_ins = {}
    with zipfile.ZipFile(path, "w") as archive:
        for number, (name, encoding) in enumerate(names.items()):
            raw = name.encode(encoding)
            stand_ins[bytes([65 + number]) * len(raw)] = raw
            archive.writestr(chr(65 + number) * len(raw), picture())
    data = path.read_bytes()
    for stand_in, raw in stand_ins.items():
        data = data.replace(stand_in, raw)
    path.write_bytes(data)
    assert set(read_images(path).label_names) == {"猫", "狗", "Äpfel", "été"}


def test_links_in_a_folder(tmp_path: Path) -> None:
    outside = folder(tmp_path / "outside", {"secret.png": picture(), "more/x.png": picture()})
    root = folder(tmp_path / "set", {"a.png": picture()})
    (root / "out.png").symlink_to(outside / "secret.png")
    (root / "more").symlink_to(outside / "more")
    (root / "loop").symlink_to(root)
    (root / "self.png").symlink_to(root / "self.png")
    (root / "gone.png").symlink_to(root / "nothing.png")
    (root / "inside.png").symlink_to(root / "a.png")
    os.mkfifo(root / "pipe.png")
    images = read_images(root)
    assert images.names == ("a.png", "inside.png")
    reasons = left_out(images)
    assert list(reasons) == ["gone.png", "loop", "more", "out.png", "pipe.png", "self.png"]
    assert reasons["out.png"] == "a link that leads out of the folder"
    assert reasons["more"] == reasons["loop"] == "a link to a folder"
    assert reasons["pipe.png"] == "not a plain file"


def test_names_that_cannot_be_printed(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for raw in (b"\xff\xfe.png", b"new\nline.png", b"esc\x1b[31m.png"):
        (tmp_path / "set").joinpath(os.fsdecode(raw)).write_bytes(picture())
    images = read_images(tmp_path / "set")
    assert images.report.used == 3
    assert all(name.isprintable() and name.encode() for name in images.names)


def test_output_folders_are_left_out(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a.png": picture(), "runs/1/b.png": picture(), "c/d.png": picture()})
    (tmp_path / "alias").symlink_to(tmp_path / "runs")
    (tmp_path / "e.png").symlink_to(tmp_path / "runs" / "1" / "b.png")
    outputs = [tmp_path / "alias" / "1", tmp_path / "c" / "d.png", tmp_path, tmp_path.parent]
    images = read_images(root, leave_out=outputs)
    assert images.names == ("a.png",)
    assert left_out(images)["runs/1"] == "a folder that training or sampling writes to"
    assert left_out(images)["c/d.png"] == "a file that training or sampling writes"
    assert left_out(images)["e.png"] == "a file that training or sampling writes"
    assert images.report == inspect_images(root, leave_out=outputs)


def test_report_lines(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"bad{n}.png": "x" for n in range(57)}
    files |= {"cat/a.png": picture(), "dog/b.gif": picture(9, (9, 7), "GIF"), "dog/b.txt": "b"}
    files["x" * 250 + ".png"] = "x"
    images = read_images(folder(tmp_path, files))
    lines = images.report.lines()
    assert lines[:7] == [
        "pictures used: 2",
        "sizes: 8 x 8 (1), 9 x 7 (1)",
        "modes: RGB (1), P (1)",
        "classes: 2; cat (1), dog (1)",
        "captions: 1; the other 1 train without words",
        "a model can be told: the captions (auto) or the classes",
        "left out: 58",
    ]
    assert lines[7].startswith("  bad0.png: not a picture")
    assert len(lines) == 7 + 20 + 1 and lines[-1] == "  and 38 more"
    assert all(len(line) <= 300 for line in lines)
    again = json.loads(json.dumps(images.report.to_json()))
    assert len(again["left_out"]) == 58 and again["sizes"] == {"8 x 8": 1, "9 x 7": 1}
    assert again["left_out"][0]["name"] == "bad0.png"


def test_duplicates_are_pictures_that_are_equal_when_fitted(tmp_path: Path) -> None:
    files = {"a.png": picture(9), "b.bmp": picture(9, (20, 10), "BMP"), "c.png": picture(8)}
    files |= {f"{n}.png": picture(200) for n in range(5)} | {"d.png": picture(8)}
    source = folder(tmp_path, files)
    images = read_images(source, height=4, width=4)
    fives = tuple(f"{n}.png" for n in range(5))
    assert images.report.duplicates == (fives, ("a.png", "b.bmp"), ("c.png", "d.png"))
    assert images.report.lines()[3:] == [
        "a model can be told: nothing but the time, without captions or two classes",
        "duplicates: 6 of 9 repeat another picture",
        "  the same: 0.png, 1.png, 2.png and 2 more",
        "  the same: a.png, b.bmp",
        "  the same: c.png, d.png",
    ]
    assert inspect_images(source) == images.report
    assert Report.from_json(json.loads(json.dumps(images.report.to_json()))) == images.report


def test_what_cropping_cuts(tmp_path: Path) -> None:
    sizes = [(10, 10), (20, 10), (10, 40), (20, 10)]
    files = {f"{n}.png": picture(n, size) for n, size in enumerate(sizes)}
    report = inspect_images(folder(tmp_path, files))
    assert report.cut(32, 32, "crop") == Cut(3, (0.5 + 0.75 + 0.5) / 4, 0.75)
    assert report.cut(16, 32, "crop") == Cut(2, pytest.approx((0.5 + 0.875) / 4), 0.875)
    assert report.cut(32, 32, "pad") == report.cut(32, 32, "stretch") == Cut(0, 0.0, 0.0)


def test_a_survey_tells_how_far_it_is(tmp_path: Path) -> None:
    source = folder(tmp_path, {f"{n}.png": picture(n) for n in range(250)} | {"bad.png": b"x"})
    survey = survey_images(source)
    told = list(survey)
    assert told[0] == (0, 251) and told[-1] == (251, 251)
    assert {(64 * n, 251) for n in range(4)} <= set(told) and len(set(told)) == len(told)
    assert survey.report == inspect_images(source) and survey.report.used == 250


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


def image_set(grey: Sequence[int]) -> ImageSet:
    pixels = torch.tensor(grey, dtype=torch.uint8).view(-1, 1, 1, 1)
    names = tuple(f"{n}.png" for n in range(len(grey)))
    groups: dict[int, list[str]] = {}
    for name, value in zip(names, grey, strict=True):
        groups.setdefault(value, []).append(name)
    equal = tuple(tuple(group) for group in groups.values() if len(group) > 1)
    return ImageSet(pixels, names, None, (), None, Report(len(grey), (), {}, {}, {}, 0, (), equal))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=60),
    st.floats(0, 0.5),
    st.integers(0, 2**32),
)
def test_split_never_parts_equal_pictures(grey: list[int], share: float, seed: int) -> None:
    images = image_set(grey)
    train, held = split(images, share, seed)
    assert train.dtype == held.dtype == torch.int64 and len(train) >= 1
    assert sorted(train.tolist() + held.tolist()) == list(range(len(grey)))
    assert train.tolist() == sorted(train.tolist()) and held.tolist() == sorted(held.tolist())
    assert not {grey[n] for n in train} & {grey[n] for n in held}
    assert not len(held) if share == 0 or len(grey) < 8 else True
    again = split(images, share, seed)
    assert torch.equal(train, again[0]) and torch.equal(held, again[1])


def test_split_holds_out_the_share() -> None:
    images = image_set(range(200))
    assert len(split(images, 0.1, 0)[1]) == 20 and len(split(images, 0.5, 0)[1]) == 100
    assert len(split(images, 0.001, 0)[1]) == 1 and len(split(image_set(range(8)), 0.01, 3)[1]) == 1
    assert not torch.equal(split(images, 0.1, 0)[1], split(images, 0.1, 1)[1])
    pairs = image_set([n // 2 for n in range(8)])
    assert len(split(pairs, 0.05, 0)[1]) == 2, "the smallest group, where one picture is no group"
    assert len(split(image_set([7] * 20), 0.5, 0)[1]) == 0, "training is left with some"
    for share in (-0.1, 0.6, float("nan"), True):
        with pytest.raises(InputError, match="share = "):
            split(images, share, 0)


# What is refused


def bomb(path: Path) -> Path:
    """300 MiB of zeros in 300 kB."""
    return zipped(path, {f"{n}.png": bytes(60 * 2**20) for n in range(5)})


def overlapping(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0.png", picture())
        for n in range(1, 1000):
            twin = copy.copy(archive.filelist[0])
            twin.filename = f"{n}.png"
            archive.filelist.append(twin)
    return path


def claiming(path: Path, size: int) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0.png", picture())
        archive.filelist[0].file_size = size
    return path


def cut(path: Path) -> Path:
    data = zipped(path, dict(GOOD)).read_bytes()
    path.write_bytes(data[: len(data) - 40])
    return path


def text(path: Path) -> Path:
    path.write_text("no zip")
    return path


def encrypted(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(3):
            archive.writestr(f"{n}.png", picture())
            archive.filelist[-1].flag_bits |= 1
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (bomb, "x.zip: would unpack to more than 200 times its size"),
        (overlapping, "x.zip: its entries overlap, as in a zip bomb"),
        (lambda path: claiming(path, 10 * 2**30), "x.zip: would unpack to 10.0 GiB; at most 4"),
        (cut, "x.zip: not a zip archive, or a damaged or cut-off one"),
        (text, "x.zip: not a zip archive, or a damaged or cut-off one"),
        (lambda path: zipped(path, {}), "x.zip: no picture could be read; it holds none"),
        (encrypted, "x.zip: no picture could be read: 3 left out, first 0.png (encrypted)"),
        (
            lambda path: zipped(path, {"../a.png": picture()}),
            "no picture could be read: 1 left out, first ../a.png (its name points outside",
        ),
        (
            lambda path: zipped(path, {"b.png": "x", "a.png": "y"}),
            "x.zip: no picture could be read: 2 left out, first a.png (not a picture (PNG",
        ),
        (lambda path: zipped(path, {"a" * 9000: "x"}), "1 left out, first aaa"),
    ],
)
def test_archives_that_are_refused(
    make: Callable[[Path], Path], words: str, tmp_path: Path
) -> None:
    path = make(tmp_path / "x.zip")
    start = time.perf_counter()
    assert words in refusal(path)
    assert time.perf_counter() - start < 2
    assert os.listdir(tmp_path) == ["x.zip"]


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sd.archive.MOST_FILES", 4)
    monkeypatch.setattr("sd.files.MOST_FILES", 4)
    assert "5 entries; at most 4" in refusal(zipped(tmp_path / "x.zip", dict(GOOD)))
    assert "more than 4 files" in refusal(folder(tmp_path / "set", dict(GOOD)))


def test_a_directory_of_entries_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"a.png": picture()})
    data = bytearray(path.read_bytes())
    data[-10:-6] = (20 * 2**20).to_bytes(4, "little")  # the directory's length in the end record
    path.write_bytes(bytes(17 * 2**20) + data)
    assert "x.zip: its list of entries takes 20.0 MiB; at most 16 are allowed" in refusal(path)


def test_missing_sources() -> None:
    assert refusal("no/such/place") == (
        "place: no such folder, zip or picture (nor the word starter or shapes)"
    )
    assert "no pictures are named" in refusal(" ")
    for odd in ("nul\0byte", "x" * 5000, "~", "http://host/x.zip"):
        assert "no such folder" in refusal(odd)


def test_folders_and_files_without_a_picture(tmp_path: Path) -> None:
    assert "it holds none" in refusal(folder(tmp_path / "empty", {".hidden.png": picture()}))
    (tmp_path / "a.jpg").write_text("<html>")
    assert "a.jpg: no picture could be read: 1 left out" in refusal(tmp_path / "a.jpg")
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b")
    assert "a.tar.gz: not a zip archive" in refusal(tmp_path / "a.tar.gz")


def test_too_much_memory_is_refused_before_decoding(tmp_path: Path) -> None:
    source = folder(tmp_path, {f"{n}.png": b"" for n in range(43)})
    with pytest.raises(InputError) as caught:
        read_images(source, height=4096, width=4096)
    assert "43 pictures of 3 x 4096 x 4096 take 2.0 GiB; at most 2 GiB" in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"height": 0}, "height = 0"),
        ({"width": 10**9}, "width = 1000000000"),
        ({"channels": 4}, "channels = 4: must be 1 (grey) or 3 (colour)"),
        ({"fit": "Crop"}, "did you mean 'crop'"),
    ],
)
def test_wrong_settings_are_refused_first(setting: dict[str, int | str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_images("no/such/place", **setting)  # type: ignore[arg-type]
    assert words in str(caught.value)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    st.integers(0, 10**6),
)
def test_broken_zips_give_pictures_or_an_input_error(
    tmp_path: Path, flips: list[tuple[int, int]], length: int
) -> None:
    whole = zipped(tmp_path / "whole.zip", {**GOOD, "metadata.csv": "file_name\ngood/1.png\n"})
    data = bytearray(whole.read_bytes())
    for place, value in flips:
        data[place % len(data)] = value
    path = tmp_path / "x.zip"
    path.write_bytes(data[:length] if length % 3 == 0 else data)
    try:
        assert set(values(read_images(path, height=8, width=8))) <= {10, 20, 30, 40, 50}
    except InputError as error:
        assert len(str(error)) <= 300 and "\n" not in str(error)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(
        st.sampled_from(["metadata.csv", "metadata.jsonl", "a.txt", "b.png", "c", "d/e.zip"]),
        st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8"))),
    )
)
def test_random_files_beside_a_picture(tmp_path: Path, files: dict[str, bytes]) -> None:
    source = zipped(tmp_path / "x.zip", {"a.png": picture(), **files})
    try:
        assert read_images(source).report.used == 1
    except InputError as error:
        assert str(error).startswith("metadata.")


# Packing loose files


def test_pack_files(tmp_path: Path) -> None:
    root = folder(tmp_path / "in", {"1": picture(10), "2": picture(20), "3": "three", "4": "four"})
    files = [root / name for name in "1234"]
    names = ["x/cat.png", "C:\\y\\cat.png", "cat.txt", "../.cat.txt"]
    (tmp_path / "out").mkdir()
    target = pack_files(files, names, tmp_path / "out" / "set.zip")
    with Archive(target) as archive:
        assert archive.names == ["cat.png", "cat-2.png", "cat.txt", "cat-2.txt"]
    images = read_images(target, height=8, width=8)
    assert values(images) == [20, 10] and images.captions == ("four", "three")
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


def test_what_is_told_is_counted_without_reading_a_picture(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"cat/a.png": "x", "dog/b.png": "x", "dog/b.txt": "b"}
    with passage(folder(tmp_path / "all", files)) as reading:
        assert reading.told() == (1, 2)
    with passage(folder(tmp_path / "some", {**files, "c.png": "x"})) as reading:
        assert reading.told() == (1, 0)


def test_different_captions_are_counted(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"{name}.png": picture() for name in "abcd"}
    files |= {"a.txt": "one", "b.txt": "one", "c.txt": "two"}
    report = read_images(folder(tmp_path, files)).report
    assert (report.captions, report.wordings) == (3, 2)
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report
