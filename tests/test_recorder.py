"""The one writer of a run's folder: a sheet is there whole or not at all."""

from pathlib import Path

import pytest
from PIL import Image

from sd.recorder import Recorder

NAME = "step-000000001.png"


def test_a_sheet_that_is_cut_off_while_it_is_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path / "run", new=True)
    old = Image.new("RGB", (38, 38), "red")
    assert recorder.picture(old, NAME) == f"samples/{NAME}"
    whole = (recorder.folder / "samples" / NAME).read_bytes()

    def half(_self: Image.Image, path: Path, *_form: object, **_more: object) -> None:
        Path(path).write_bytes(b"\x89PNG half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", half)
    for name in (NAME, "step-000000002.png"):
        with pytest.raises(KeyboardInterrupt):
            recorder.picture(Image.new("RGB", (38, 38)), name)
    recorder.close()
    assert (recorder.folder / "samples" / NAME).read_bytes() == whole
    assert [path.name for path in (recorder.folder / "samples").glob("[!.]*")] == [NAME]
    Recorder(recorder.folder, new=True).close()  # which sweeps
    assert [path.name for path in (recorder.folder / "samples").iterdir()] == [NAME]


def test_a_sheet_is_on_the_disk_before_its_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, flushed = Recorder(tmp_path / "run", new=True), []

    def flush(path: Path) -> None:
        flushed.append((path.suffix, (recorder.folder / "samples" / NAME).exists()))

    monkeypatch.setattr("sd.recorder.flush", flush)
    recorder.picture(Image.new("RGB", (38, 38)), NAME)
    recorder.close()
    assert flushed == [(".tmp", False)]


def test_why_a_run_ended_can_always_be_told(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run", new=True)
    recorder.failed("bad \x1b[0m name \udcff\nof a file" + "x" * 999)
    recorder.close()
    written = (recorder.folder / "events.jsonl").read_text()
    assert "\\ud" not in written.replace("\\ufffd", "") and len(written) < 450
