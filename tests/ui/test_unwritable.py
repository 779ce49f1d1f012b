"""A folder of runs that takes nothing: the system's own reason, in one line."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from sd import runs
from sd.common.validation import InputError
from sd.config import Config
from sd.ui import uploads
from sd.ui.adapter import errors
from sd.ui.adapter.served_files import store
from sd.ui.train import control


def open_upload(file: Path) -> Any:
    """Open a file as a bundle, which was uploaded to the page as the browser does it."""
    sent = store(file.read_bytes(), "run.zip")
    return control.open_bundle(gr.EventData(None, {"file": str(sent)}))


LINE = "the folder of runs, home, cannot be written (it is a file); SD_HOME names another"
ACTS: dict[str, Callable[[Path, Config], Any]] = {
    "start": lambda picture, config: runs.start(runs.default_home(), "starter", config),
    "upload": lambda picture, config: uploads.keep([str(picture)]),
    "bundle": lambda picture, config: open_upload(picture),
}


@pytest.fixture(name="picture")
def _picture(pictures: Path) -> Path:
    return next(pictures.glob("*.png"))


@pytest.mark.parametrize("act", ACTS)
def test_a_home_that_is_a_file_is_told(
    act: str, picture: Path, tiny_config: Config, home: Path
) -> None:
    home.rmdir()
    home.write_text("")
    with pytest.raises((InputError, errors.PageError)) as caught:
        ACTS[act](picture, tiny_config)
    assert str(getattr(caught.value, "message", caught.value)) == LINE


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("act", ACTS)
def test_the_systems_reason_is_told(
    act: str,
    number: int,
    picture: Path,
    tiny_config: Config,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(number, os.strerror(number), str(home / "probe"))

    monkeypatch.setattr("sd.runs.home.TemporaryFile", refuse)  # root may write anywhere but there
    with pytest.raises((InputError, errors.PageError)) as caught:
        ACTS[act](picture, tiny_config)
    line = LINE.replace("it is a file", os.strerror(number))
    assert str(getattr(caught.value, "message", caught.value)) == line
    assert not list(home.iterdir())


def test_a_disk_that_fills_at_the_start_leaves_no_half_run(
    tiny_config: Config, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sd.runs.process.spawn", full)
    with pytest.raises(OSError, match="No space left"):
        runs.start(runs.default_home(), "starter", tiny_config)
    assert [path.name for path in home.iterdir()] == [runs.START_LOCK]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/srv/<b>"), "<b>: Permission denied"),
        (OSError(errno.EROFS, "Read-only file system", Path("/x/y")), "y: Read-only file system"),
    ],
)
def test_the_page_tells_what_a_person_can_mend(error: OSError, line: str) -> None:
    told = errors.page_error(error, None)
    assert told.message == line.replace("<", "&lt;").replace(">", "&gt;")


@pytest.mark.parametrize("error", [OSError("odd"), ConnectionResetError(104, "reset"), KeyError(1)])
def test_of_anything_else_no_detail_is_told(error: Exception) -> None:
    assert "unexpected" in errors.page_error(error, None).message.lower()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write there")
def test_a_folder_of_others_is_told(home: Path, tiny_config: Config) -> None:
    home.chmod(0o500)
    with pytest.raises(InputError, match=r"home, cannot be written \(Permission denied\)"):
        runs.start(runs.default_home(), "starter", tiny_config)
    home.chmod(0o700)
    shutil.rmtree(home)
