"""Picture sets that are refused: hostile archives, missing sources, wrong settings, damage."""

import copy
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sd.common.validation import InputError
from sd.data.image_set import read_images
from tests.helpers.sets import GOOD, folder, picture, refusal, values, zipped

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


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
    monkeypatch.setattr("sd.data.reading.archive.MOST_FILES", 4)
    monkeypatch.setattr("sd.data.reading.files.MOST_FILES", 4)
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
    assert "a.tar.gz: an archive of another kind than zip" in refusal(tmp_path / "a.tar.gz")


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
        ({"channels": 2}, "channels = 2: must be 1 (grey), 3 (colour) or 4"),
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
