"""Writing to disk: the old or the new, never a half; what a killed writer leaves is swept."""

import errno
import os
from pathlib import Path

import pytest

from sd import disk


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


@pytest.fixture(name="told")
def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was flushed and renamed, in its order: the kind, then the place as it is afterwards."""
    told: list[str] = []
    genuine = disk.flush

    def flush(path: Path) -> None:
        told.append(f"flush {path.name}")
        genuine(path)

    def noted(kind: str) -> None:
        moved = getattr(Path, kind)

        def move(self: Path, target: Path) -> Path:
            told.append(f"rename {target.name}")
            return Path(moved(self, target))

        monkeypatch.setattr(Path, kind, move)

    monkeypatch.setattr(disk, "flush", flush)
    noted("rename")
    noted("replace")
    return told


def test_a_text_is_on_the_disk_before_its_name_is(tmp_path: Path, told: list[str]) -> None:
    disk.write_text(tmp_path / "note.json", "new")
    written = disk.temporary_of(tmp_path / "note.json").name
    assert told == [f"flush {written}", "rename note.json", f"flush {tmp_path.name}"]


def test_a_folder_is_on_the_disk_before_its_name_is(tmp_path: Path, told: list[str]) -> None:
    def fill(folder: Path) -> None:
        (folder / "checkpoint-1").mkdir()
        for name in ("config.ini", "checkpoint-1/weights"):  # of a bundle, folders lie in it
            (folder / name).write_bytes(b"x")

    disk.write_folder(tmp_path / "run", fill)
    *before, renamed, after = told
    written = disk.temporary_of(tmp_path / "run").name
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
