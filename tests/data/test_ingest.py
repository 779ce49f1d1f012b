"""Sets on disk: the same as in memory, whole or not there, checked when opened, of any size."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sd.common.validation import InputError
from sd.data.decoding import pool
from sd.data.image_set import ImageSet, read_images
from sd.data.ingest import INDEX, PIXELS, ingest_images, open_images
from sd.data.reading.report import Report
from tests.helpers.sets import folder, left_out, picture, values, zipped

SIZE: dict[str, Any] = {"height": 8, "width": 6, "channels": 3, "fit": "crop"}


def taken_in(source: Path | str, target: Path, **settings: Any) -> ImageSet:
    for _ in ingest_images(source, target, **{**SIZE, **settings}):
        pass
    return open_images(target, verify=True)


def equal(one: ImageSet, two: ImageSet) -> bool:
    def same(a: Tensor | None, b: Tensor | None) -> bool:
        return a is b is None or (a is not None and b is not None and torch.equal(a, b))

    told = [(s.names, s.label_names, s.captions, s.report) for s in (one, two)]
    return same(one.pixels, two.pixels) and same(one.labels, two.labels) and told[0] == told[1]


MIXED: dict[str, bytes | str] = {
    "cat/1.png": picture(10),
    "cat/2.png": picture(20, (16, 8)),
    "cat/2.txt": "a wide one",
    "cat/bad.png": "no picture",
    "dog/1.png": picture(10),
    "dog/2.jpg": picture(40, (30, 30), "JPEG"),
    "fox/1.png": picture(50),
}


@pytest.mark.parametrize("kind", ["folder", "zip", "starter"])
def test_on_disk_as_in_memory(kind: str, tmp_path: Path) -> None:
    source: Path | str = kind
    if kind == "folder":
        source = folder(tmp_path / "in", MIXED)
    if kind == "zip":
        source = zipped(tmp_path / "in.zip", MIXED)
    on_disk = taken_in(source, tmp_path / "set")
    assert equal(on_disk, read_images(source, **SIZE))
    assert sorted(os.listdir(tmp_path / "set")) == [INDEX, PIXELS]


def test_a_set_on_disk_can_be_picked_from_and_is_never_changed(tmp_path: Path) -> None:
    images = taken_in(zipped(tmp_path / "in.zip", MIXED), tmp_path / "set")
    whole = (tmp_path / "set" / PIXELS).read_bytes()
    assert images.pixels[torch.tensor([4, 0, 0])][:, 0, 0, 0].tolist() == [50, 10, 10]
    images.pixels.zero_()
    assert (tmp_path / "set" / PIXELS).read_bytes() == whole
    assert values(open_images(tmp_path / "set"))[0] == 10


@pytest.mark.parametrize("helped_from", [1, 10**9])
def test_classes(helped_from: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "HELPED_FROM", helped_from)
    monkeypatch.setattr(pool, "count_cores", lambda: 2)
    source = zipped(tmp_path / "in.zip", MIXED)
    images = taken_in(source, tmp_path / "set", classes=("fox", "cat"))
    assert images.names == ("cat/1.png", "cat/2.png", "fox/1.png")
    assert values(images) == [10, 20, 50] and images.label_names == ("cat", "fox")
    assert images.labels is not None and images.labels.tolist() == [0, 0, 1]
    assert images.captions == ("", "a wide one", "")
    assert images.report.used == 3 and images.report.classes == {"cat": 2, "fox": 1}
    assert images.report.remarks == ("of other classes: 2 pictures, not used",)
    assert list(left_out(images)) == ["cat/bad.png"] and images.report.duplicates == ()
    assert equal(images, read_images(source, **SIZE, classes=["fox", "cat"]))


@pytest.mark.parametrize(
    ("files", "classes", "words"),
    [
        (MIXED, ["cat", "cats"], "class 'cats': these pictures have cat, dog, fox; did you mean"),
        ({"a.png": picture()}, ["cat"], "class 'cat': these pictures have no classes"),
        (
            {"cat/1.png": picture(), "2.png": picture()},
            ["cat"],
            "class 'cat': these pictures have no classes",
        ),
    ],
)
def test_unknown_classes_are_refused(
    files: dict[str, bytes | str], classes: list[str], words: str, tmp_path: Path
) -> None:
    source = folder(tmp_path / "in", files)
    with pytest.raises(InputError) as caught:
        taken_in(source, tmp_path / "set", classes=classes)
    assert words in str(caught.value)
    with pytest.raises(InputError) as again:
        read_images(source, classes=classes)
    assert str(again.value) == str(caught.value)
    assert os.listdir(tmp_path) == ["in"]


def many(root: Path, count: int) -> Path:
    """So many files, which are links to ten."""
    files = folder(root / "ten", {f"{n}.png": picture(20 * n, (64, 64)) for n in range(10)})
    target = root / "many"
    target.mkdir()
    for number in range(count):
        os.link(files / f"{number % 10}.png", target / f"{number}.png")
    return target


def test_progress_is_told_often_and_ends_whole(tmp_path: Path) -> None:
    source, target = many(tmp_path, 500), tmp_path / "set"
    there = [(told, target.exists()) for told in ingest_images(source, target, **SIZE)]
    told = [each for each, _ in there]
    assert told[0] == (0, 500) and told[-1] == (500, 500)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert {done for done, _ in told} >= set(range(0, 500, 64))
    assert [exists for _, exists in there] == [False] * (len(there) - 1) + [True]
    assert open_images(target).pixels.shape == (500, 3, 8, 6)


@pytest.mark.parametrize("steps", [1, 3])
def test_closing_it_midway_leaves_nothing(steps: int, tmp_path: Path) -> None:
    source, target = many(tmp_path, 500), tmp_path / "runs" / "set"
    target.parent.mkdir()
    stream = ingest_images(source, target, **SIZE)
    for _ in range(steps):
        next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("fault", ["no room", "full", "flush"])
def test_a_full_disk_is_one_line(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = folder(tmp_path / "in", MIXED), tmp_path / "runs" / "set"

    def full(*words: object) -> None:
        raise OSError(28, "No space left on device")

    if fault == "no room":
        monkeypatch.setattr("sd.data.ingest.SPARE_BYTES", 2**60)
    else:
        name = "sd.data.ingest.flush" if fault == "flush" else "sd.data.ingest._write_index"
        monkeypatch.setattr(name, full)
    with pytest.raises(InputError) as caught:
        taken_in(source, target)
    words = "are free" if fault == "no room" else "cannot be written to disk (No space left"
    assert words in str(caught.value) and os.listdir(target.parent) == []


def test_a_source_without_pictures_leaves_nothing(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a.png": "no picture"})
    with pytest.raises(InputError, match="no picture could be read"):
        taken_in(source, tmp_path / "set")
    with pytest.raises(InputError, match="channels = 2"):
        taken_in(source, tmp_path / "set", channels=2)
    assert os.listdir(tmp_path) == ["in"]


def test_too_much_to_say_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sd.data.ingest.LONGEST_INDEX", 300)
    with pytest.raises(InputError, match="names and captions take"):
        taken_in(folder(tmp_path / "in", MIXED), tmp_path / "set")
    assert os.listdir(tmp_path) == ["in"]


# What is opened comes from strangers, too


def changed(**fields: Any) -> Callable[[Path], None]:
    def change(made: Path) -> None:
        index = json.loads((made / INDEX).read_text())
        (made / INDEX).write_text(json.dumps({**index, **fields}))

    return change


def overwritten(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda made: (made / name).write_bytes(data) and None


def linked(made: Path) -> None:
    (made / PIXELS).rename(made.parent / "elsewhere")
    (made / PIXELS).symlink_to(made.parent / "elsewhere")


@pytest.mark.parametrize(
    "damage",
    [
        changed(shape=[10**9, 3, 8, 6]),
        changed(shape=[5, 3, 4096, 4096]),
        changed(shape=[4, 3, 8, 6]),
        changed(shape=[5, 3, 8, 6.5]),
        changed(shape=[5, 3, 8, 10**30]),
        changed(shape=[0, 3, 8, 6]),
        changed(shape=[5, 3, 48]),
        changed(shape="5388"),
        changed(shape=None),
        changed(names=["a"] * 4),
        changed(names="abcde"),
        changed(names=["a", "b", "c", "d", 5]),
        changed(names=["a", "b", "c", "d", "\ud800"]),
        changed(names=["a", "b", "c", "d", "x" * 20_000]),
        changed(labels=[0, 0, 1, 1, 3]),
        changed(labels=[0, 0, 1, 1, -1]),
        changed(labels=[0, 0, 1, 1, True]),
        changed(labels=[0, 0, 1, 1]),
        changed(labels={"a": 1}),
        changed(label_names=None),
        changed(captions=["a"]),
        changed(captions=[1, 2, 3, 4, 5]),
        changed(report=None),
        changed(report={"used": 5}),
        overwritten(INDEX, b"[" * 100_000),
        overwritten(INDEX, b"[1, 2]"),
        overwritten(INDEX, b"\xff\xfe"),
        overwritten(INDEX, b'{"shape": ' + b"9" * 9999 + b"}"),
        overwritten(INDEX, b""),
        overwritten(PIXELS, b"short"),
        overwritten(PIXELS, bytes(721)),
        linked,
        lambda made: (made / INDEX).unlink(),
        lambda made: (made / PIXELS).unlink(),
    ],
)
def test_damaged_sets_are_refused_in_one_line(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    taken_in(folder(tmp_path / "in", MIXED), tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(InputError) as caught:
        open_images(tmp_path / "set")
    message = str(caught.value)
    assert message.startswith("set: not a picture set, or a damaged one")
    assert "\n" not in message and len(message) <= 300 and str(tmp_path) not in message


def test_a_changed_pixel_is_found_when_asked_for(tmp_path: Path) -> None:
    taken_in(folder(tmp_path / "in", MIXED), tmp_path / "set")
    data = bytearray((tmp_path / "set" / PIXELS).read_bytes())
    data[700] ^= 1
    (tmp_path / "set" / PIXELS).write_bytes(data)
    assert open_images(tmp_path / "set").report.used == 5
    with pytest.raises(InputError, match=r"set: pixels\.bin has changed"):
        open_images(tmp_path / "set", verify=True)


@pytest.mark.parametrize("key", ["used", "left_out", "sizes", "remarks", "duplicates"])
@pytest.mark.parametrize("value", [None, 7.5, [7], {"8 x 8": "x"}, {"7": -1}, "seven"])
def test_damaged_reports_are_refused(key: str, value: Any) -> None:
    whole = Report(1, (), {(8, 8): 1}, {"RGB": 1}, {}, 0, ()).to_json()
    assert Report.from_json(whole) == Report(1, (), {(8, 8): 1}, {"RGB": 1}, {}, 0, ())
    with pytest.raises(InputError, match="the report of the pictures is damaged"):
        Report.from_json({**whole, key: value})


def test_where_memory_is_not_promised_the_pixels_are_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux refuses a private mapping of more than all memory; one for reading it grants."""
    expected = taken_in(folder(tmp_path / "in", MIXED), tmp_path / "set")
    mapped = np.memmap

    def strict(path: Path, kind: Any, mode: str, **words: Any) -> Any:
        if mode == "c":
            raise OSError(12, "Cannot allocate memory")
        return mapped(path, kind, mode, **words)

    monkeypatch.setattr("numpy.memmap", strict)
    assert equal(open_images(tmp_path / "set"), expected)


# Of any size

PEAK = """
import sys
from pathlib import Path
from sd.data.ingest import ingest_images

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024

before = peak()
for _ in ingest_images(sys.argv[1], Path(sys.argv[2]), height=96, width=96, channels=3, fit="crop"):
    pass
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path: Path) -> None:
    """2,000 more pictures are 53 MiB more pixels; names and digests are all that stays."""
    grown = []
    for count in (500, 2500):
        (tmp_path / str(count)).mkdir()
        source = many(tmp_path / str(count), count)
        words = [sys.executable, "-c", PEAK, str(source), str(tmp_path / f"set{count}")]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        grown.append(int(done.stdout))
    assert grown[1] - grown[0] < 16
    assert len(open_images(tmp_path / "set2500").pixels) == 2500
