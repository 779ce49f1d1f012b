"""Writing to disk: the old or the new, never a half; what a killed writer leaves is swept."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sd.common import disk


def test_a_text_is_the_old_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "note.json"
    disk.write_text(path, "old")

    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(disk, "flush", full)
        disk.write_text(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["note.json"]
    disk.write_text(path, "new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["note.json"]


@pytest.fixture(name="told")
def what_the_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return ("flush" or "rename", name) of what happens from here on, in its order."""
    told: list[tuple[str, str]] = []

    def fsync(handle: int) -> None:
        told.append(("flush", Path(os.readlink(f"/proc/self/fd/{handle}")).name))

    def named(move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def noted(path: Path, target: Path) -> Path:
            told.append(("rename", path.name))
            return move(path, target)

        return noted

    monkeypatch.setattr(disk.os, "fsync", fsync)
    for each in ("rename", "replace"):
        monkeypatch.setattr(Path, each, named(getattr(Path, each)))
    return told


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, told: list[tuple[str, str]]
) -> None:
    """Else a lost power line could leave a whole name over an empty file."""
    disk.write_text(tmp_path / "note.json", "new")
    beside = f".note.json.{os.getpid()}.tmp"
    assert told == [("flush", beside), ("rename", beside), ("flush", tmp_path.name)]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_folder_is_on_the_disk_with_all_it_holds_before_it_has_its_name(
    tmp_path: Path, told: list[tuple[str, str]]
) -> None:
    def write(folder: Path) -> None:
        for name in ("weights", "settings"):
            (folder / name).write_bytes(b"x")

    disk.write_folder(tmp_path / "checkpoint-1", write)
    beside = f".checkpoint-1.{os.getpid()}.tmp"
    assert set(told[:3]) == {("flush", name) for name in ("weights", "settings", beside)}
    assert told[3:] == [("rename", beside), ("flush", tmp_path.name)]


def test_a_removed_folder_is_gone_under_its_name_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    (folder / "weights").write_bytes(b"x")
    with monkeypatch.context() as patch:
        patch.setattr(disk.shutil, "rmtree", lambda *_args, **_more: None)  # killed just here
        disk.remove(folder)
    assert not folder.exists() and len(list(tmp_path.iterdir())) == 1
    assert disk.sweep(tmp_path) == [f".checkpoint-1.{os.getpid()}.tmp"]
    assert not list(tmp_path.iterdir())


def test_a_sweep_takes_only_what_writers_leave(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    kept = ["a.tmp", ".hidden", "samples/step-1.png"]
    swept = [".config.ini.7.tmp", "samples/.step-2.png.7.tmp"]
    for name in kept + swept:
        (tmp_path / name).write_bytes(b"x")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / ".link.7.tmp").symlink_to(elsewhere)
    (elsewhere / "file").write_bytes(b"x")
    assert sorted(disk.sweep(tmp_path)) == [".config.ini.7.tmp", ".link.7.tmp", ".step-2.png.7.tmp"]
    assert all((tmp_path / name).exists() for name in kept) and (elsewhere / "file").exists()
    assert not (tmp_path / ".link.7.tmp").is_symlink()


@pytest.fixture(name="order")
def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was flushed and renamed, in its order: the kind, then the place as it is afterwards."""
    order: list[str] = []
    genuine = disk.flush

    def flush(path: Path) -> None:
        order.append(f"flush {path.name}")
        genuine(path)

    def noted(kind: str) -> None:
        moved = getattr(Path, kind)

        def move(self: Path, target: Path) -> Path:
            order.append(f"rename {target.name}")
            return Path(moved(self, target))

        monkeypatch.setattr(Path, kind, move)

    monkeypatch.setattr(disk, "flush", flush)
    noted("rename")
    noted("replace")
    return order


def test_a_text_is_on_the_disk_before_its_name_is(tmp_path: Path, order: list[str]) -> None:
    disk.write_text(tmp_path / "note.json", "new")
    written = disk.temporary_path(tmp_path / "note.json").name
    assert order == [f"flush {written}", "rename note.json", f"flush {tmp_path.name}"]


def test_a_folder_is_on_the_disk_before_its_name_is(tmp_path: Path, order: list[str]) -> None:
    def fill(folder: Path) -> None:
        (folder / "checkpoint-1").mkdir()
        for name in ("config.ini", "checkpoint-1/weights"):  # of a bundle, folders lie in it
            (folder / name).write_bytes(b"x")

    disk.write_folder(tmp_path / "run", fill)
    *before, renamed, after = order
    written = disk.temporary_path(tmp_path / "run").name
    wanted = {f"flush {name}" for name in ("config.ini", "checkpoint-1", "weights", written)}
    assert set(before) == wanted
    assert (renamed, after) == ("rename run", f"flush {tmp_path.name}")


def test_a_flush_asks_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[os.stat_result] = []
    monkeypatch.setattr(os, "fsync", lambda handle: asked.append(os.fstat(handle)))
    (tmp_path / "file").write_bytes(b"x")
    for path in (tmp_path / "file", tmp_path):
        disk.flush(path)
    assert [each.st_ino for each in asked] == [
        path.stat().st_ino for path in (tmp_path / "file", tmp_path)
    ]
