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
