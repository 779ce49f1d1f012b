"""What is told of picture sets: what is left out and what is equal, which no split parts."""

import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sd.common.marks import png_chunk
from sd.common.validation import InputError
from sd.data.image_set import ImageSet, inspect_images, read_images, split, survey_images
from sd.data.reading.report import Cut, Report
from sd.data.reading.source import open_source
from tests.helpers.sets import GOOD, folder, left_out, picture, values, zipped

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
LINK = (stat.S_IFLNK | 0o777) << 16


# What is left out


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
    assert reasons["bad/inner.zip"] == reasons["bad/inner.tar.gz"] == "an archive: unpack it first"
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


def zipped_raw(path: Path, names: dict[bytes, bytes]) -> Path:
    """A zip whose names are bytes without the UTF-8 flag, each with an extra field."""
    stand_ins = {}
    with zipfile.ZipFile(path, "w") as archive:
        for number, (raw, extra) in enumerate(names.items()):
            stand_ins[bytes([65 + number]) * len(raw)] = raw
            info = zipfile.ZipInfo(chr(65 + number) * len(raw))
            info.extra = extra
            archive.writestr(info, picture(number))
    data = path.read_bytes()
    for stand_in, raw in stand_ins.items():
        data = data.replace(stand_in, raw)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("names", "encoding", "called"),
    [
        (["猫", "狗"], "gbk", "GB18030"),
        (["苹果", "香蕉"], "gb18030", "GB18030"),
        (["Äpfel", "été"], "utf-8", "UTF-8"),
        (["été", "Übung"], "cp437", "cp437"),
        (["新しいフォルダ", "赤い猫", "ソ"], "cp932", "Shift-JIS"),
        (["犬", "猫"], "cp932", "Shift-JIS"),
        (["고양이", "개"], "cp949", "EUC-KR"),
        (["蘋果", "貓"], "big5", "Big5"),
        (["кошка", "собака"], "cp866", "cp866"),
        (["Кошка", "Собаки"], "cp1251", "Windows-1251"),
        (["動物", "風景", "海邊"], "big5", "Big5"),
        (["แมว", "หมา"], "cp874", "Windows-874"),
        (["แมวน้อย", "ลูกหมา"], "cp874", "Windows-874"),
    ],
)
def test_names_without_utf8_flag_are_guessed_once(
    names: list[str], encoding: str, called: str, tmp_path: Path
) -> None:
    raw = {f"{name}/1.png".encode(encoding): b"" for name in [*names, "plain"]}
    images = read_images(zipped_raw(tmp_path / "names.zip", raw))
    assert set(images.label_names) == {*names, "plain"}
    assert images.report.remarks == (
        f"guessed: names in the zip in {called}, since nothing in it says so",
    )


@pytest.mark.parametrize(
    ("version", "wrong", "label"), [(1, 0, "赤い猫"), (1, 1, "猫犬猫"), (2, 0, "猫犬猫")]
)
def test_a_unicode_path_in_a_zip_is_certain_if_it_is_that_of_the_name(
    version: int, wrong: int, label: str, tmp_path: Path
) -> None:
    raw, told = "猫犬猫/1.png".encode("cp932"), "赤い猫/1.png".encode()
    field = struct.pack("<BI", version, zlib.crc32(raw) ^ wrong) + told
    extra = struct.pack("<HH", 0x5455, 1) + b"x" + struct.pack("<HH", 0x7075, len(field)) + field
    images = read_images(zipped_raw(tmp_path / "x.zip", {raw: extra, b"plain/1.png": b""}))
    assert set(images.label_names) == {label, "plain"}
    assert bool(images.report.remarks) == (label == "猫犬猫")


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


# What is reported


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


def ours() -> bytes:
    """A picture with the mark of this program."""
    return picture()[:33] + png_chunk() + picture()[33:]


def test_what_is_told_is_counted_and_few_pictures_read_for_it(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        f"{name}/{n}.png": picture() for name in "ab" for n in range(9)
    }
    files |= {"a/0.png": picture()[:20], "b/1.txt": "b"}
    with open_source(folder(tmp_path / "all", files)) as reading:
        read, usual = [], reading.picture
        reading.picture = lambda name, enough: read.append(name) or usual(name, enough)  # type: ignore[method-assign,func-returns-value]
        assert reading.counts() == (18, 1, 2) and read == ["a/0.png", "a/1.png", "b/0.png"]
    with open_source(folder(tmp_path / "some", {**files, "c.png": picture()})) as reading:
        assert reading.counts() == (19, 1, 0)
    stray: dict[str, bytes | str] = {f"{n}.png": "x" for n in range(3)} | {"notes/film.mp4": "x"}
    stray |= {"a.jxl": b"\xff\x0a", "a.xcf": "gimp xcf", "ours.png": ours()}
    with open_source(folder(tmp_path / "stray", {**files, **stray})) as reading:
        assert reading.counts() == (18, 1, 2)


def test_different_captions_are_counted(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {f"{name}.png": picture() for name in "abcd"}
    files |= {"a.txt": "one", "b.txt": "one", "c.txt": "two"}
    report = read_images(folder(tmp_path, files)).report
    assert (report.captions, report.wordings) == (3, 2)
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report


# What is held out


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
