"""A picture set is read once for everyone, kept beside its zip, and never lost to another's."""

import json
import os
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import sd
from sd.common import disk
from sd.common.validation import InputError
from sd.data import image_set
from sd.ui import surveys, uploads
from sd.ui.state import Shared, shared, use
from sd.ui.surveys import Surveys
from tests.helpers.planning import make_zip


@pytest.fixture(autouse=True)
def nothing_is_known() -> Iterator[None]:
    with use(Shared(Surveys(seconds=0.01))):
        yield


@pytest.fixture(name="read")
def times_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that were read through, in order."""
    read: list[str] = []
    survey = image_set.survey_images

    def noted(source: Any, *more: Any) -> Any:
        read.append(str(source))
        return survey(source, *more)

    monkeypatch.setattr(image_set, "survey_images", noted)
    return read


def taken(path: Path) -> str:
    """Take an upload as the page does; return its handle."""
    return uploads.drained(uploads.take([str(path)]))


def restart(handle: str) -> None:
    """Forget a set, as a page does that is started anew."""
    shared(Surveys).forget(handle)


def test_twenty_uploads_of_one_zip_at_once_are_twenty_usable_and_one_reading(
    home: Path, tmp_path: Path, read: list[str]
) -> None:
    path = make_zip(tmp_path / "set.zip", "cats/1.png", "dogs/1.png")
    copies = [tmp_path / str(number) / "set.zip" for number in range(20)]
    for copy in copies:
        copy.parent.mkdir()
        copy.write_bytes(path.read_bytes())
    start, page = threading.Barrier(20), Shared(Surveys(seconds=0.01))

    def take(path: Path) -> str:
        start.wait()
        with use(page):
            return taken(path)

    with ThreadPoolExecutor(20) as pool:
        handles = set(pool.map(take, copies))
    assert len(handles) == 1 and len(read) == 1
    (handle,) = handles
    assert zipfile.ZipFile(uploads.source_of(handle)).testzip() is None
    assert uploads.survey_of(handle).report.used == 2
    assert not list(uploads.uploads().glob(".*"))


def test_whoever_gives_up_leaves_the_reading_to_the_next(
    home: Path, tmp_path: Path, read: list[str]
) -> None:
    path = make_zip(tmp_path / "set.zip", "1.png", "2.png")
    first, second = uploads.take([str(path)]), uploads.take([str(path)])
    assert next(first) == (0, 3)
    assert next(second) == (0, 3)  # as far as the first
    first.close()
    assert uploads.survey_of(uploads.drained(second)).report.used == 2
    assert len(read) == 2


def test_all_that_wait_are_told_why_a_set_is_refused(
    home: Path, tmp_path: Path, read: list[str]
) -> None:
    path = make_zip(tmp_path / "set.zip")
    first, second = uploads.take([str(path)]), uploads.take([str(path)])
    next(first), next(second)
    for each in (first, second):
        with pytest.raises(InputError, match=r"set\.zip: no picture could be read"):
            uploads.drained(each)
    assert len(read) == 1 and not list(uploads.uploads().iterdir())


def test_a_set_that_was_there_before_is_never_taken_away(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_zip(tmp_path / "set.zip", "1.png")
    handle = taken(path)
    (uploads.uploads() / handle).with_suffix(surveys.SUFFIX).unlink()
    restart(handle)

    def broken(*_: Any) -> Iterator[tuple[int, int]]:
        raise InputError("out of memory")
        yield 0, 0

    with monkeypatch.context() as patch:
        patch.setattr(image_set, "survey_images", broken)
        with pytest.raises(InputError, match="out of memory"):
            taken(path)
    assert taken(path) == handle


def test_what_an_older_page_cut_off_is_made_whole(home: Path, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "set.zip", "1.png")
    place = uploads.uploads() / f"{uploads.digest_of([path], [path.name])}.zip"
    place.parent.mkdir(parents=True)
    place.write_bytes(path.read_bytes()[:50])
    assert uploads.survey_of(taken(path)).report.used == 1


def test_an_upload_that_cannot_be_linked_is_copied(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    path = make_zip(tmp_path / "set.zip", "1.png")
    assert Path(uploads.source_of(taken(path))).read_bytes() == path.read_bytes()


def test_a_full_disk_is_told_before_anything_is_kept(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_zip(tmp_path / "set.zip", "1.png")
    usage = type("Usage", (), {"free": uploads.SPARE_DISK})
    monkeypatch.setattr(uploads.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="the disk of this page has 0 bytes left"):
        taken(path)
    assert not list(uploads.uploads().iterdir())


def test_what_was_found_is_read_from_beside_the_zip(
    home: Path, tmp_path: Path, read: list[str]
) -> None:
    handle = taken(make_zip(tmp_path / "set.zip", "cats/1.png", "dogs/1.png"))
    found = uploads.survey_of(handle)
    restart(handle)
    again = uploads.survey_of(handle)
    assert again is not found and again.report == found.report and len(read) == 1
    assert [each.tobytes() for each in again.preview] == [each.tobytes() for each in found.preview]
    assert [each.mode for each in again.preview] == [each.mode for each in found.preview]


def spoilt(path: Path, how: str) -> None:
    """Change a file in which a survey is kept."""
    if how == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    elif how == "long":
        path.open("ab").truncate(surveys.LARGEST_KEPT + 1)
    else:
        told = {"list": [], "report": {"reader": surveys.reader(), "report": {}}}[how]
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(surveys.REPORT, json.dumps(told))


@pytest.mark.parametrize("how", ["cut", "empty", "long", "list", "report", "a folder"])
def test_a_damaged_survey_is_made_again(
    home: Path, tmp_path: Path, read: list[str], how: str
) -> None:
    handle = taken(make_zip(tmp_path / "set.zip", "1.png"))
    spoilt((uploads.uploads() / handle).with_suffix(surveys.SUFFIX), how)
    restart(handle)
    assert uploads.survey_of(handle).report.used == 1 and len(read) == 2


def test_a_damaged_picture_of_a_survey_is_made_again(
    home: Path, tmp_path: Path, read: list[str]
) -> None:
    handle = taken(make_zip(tmp_path / "set.zip", "1.png"))
    path = (uploads.uploads() / handle).with_suffix(surveys.SUFFIX)
    report = zipfile.ZipFile(path).read(surveys.REPORT)
    large = tmp_path / "large.png"
    Image.new("L", (surveys.PREVIEW_SIDE + 1, 1)).save(large)
    for data_of_it in (b"x", large.read_bytes(), large.read_bytes()[:60]):
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(surveys.REPORT, report)
            packed.writestr("0.png", data_of_it)
        assert surveys.load(path) is None


def test_another_reader_reads_again(
    home: Path, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = taken(make_zip(tmp_path / "set.zip", "1.png"))
    restart(handle)
    monkeypatch.setattr(surveys, "reader", lambda: "another")
    assert uploads.survey_of(handle).report.used == 1 and len(read) == 2
    restart(handle)
    assert uploads.survey_of(handle).report.used == 1 and len(read) == 2


def test_a_reader_is_another_once_its_source_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sd, "__file__", str(tmp_path / "__init__.py"))
    (tmp_path / "ui").mkdir()
    told = []
    for name, line in (("a.py", "1"), ("ui/b.py", "2"), ("a.py", "3")):
        (tmp_path / name).write_text(line)
        told.append(surveys.reader.__wrapped__())
    assert told[0] == told[1] != told[2]  # the page itself reads no picture


def test_the_sets_that_are_remembered_have_a_number() -> None:
    known, found = Surveys(most=2), surveys.Survey(None, ())  # type: ignore[arg-type]
    for name in ("starter", "a.zip", "b.zip"):
        known.remember(name, found)
    uploads.drained(known.survey("a.zip", "a.zip"))  # asked for, so it stays
    known.remember("c.zip", found)
    assert set(known.handles()) == {"starter", "a.zip", "c.zip"}


def test_two_sets_are_read_at_a_time(home: Path, tmp_path: Path, read: list[str]) -> None:
    steps = []
    for number in range(3):
        path = make_zip(tmp_path / f"{number}.zip", *(f"{k}.png" for k in range(number + 1)))
        steps.append(uploads.take([str(path)]))
    for each in steps:
        next(each)
    assert len(read) == 2
    for each in steps:
        assert uploads.survey_of(uploads.drained(each))
    assert len(read) == 3


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    disk.write_file(path, lambda temporary: temporary.write_text("old"))

    def fails(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        disk.write_file(path, fails)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
