"""A run whose pictures are gone is not gone on with; begun anew, it keeps what it had made."""

import json
import shutil
from pathlib import Path

import pytest

from sd import runs
from sd.checkpoints.record import WEIGHTS
from sd.cli.parser import main
from sd.common.disk import numbered
from sd.common.validation import InputError
from sd.config import Config
from sd.runs import process
from sd.runs.worker import begin, resume
from tests.helpers.commands import Capture, files_below, refused


@pytest.fixture(autouse=True)
def _small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sd.runs.session.SAMPLE_SEEDS", range(2))
    monkeypatch.setattr("sd.runs.session.SAMPLE_STEPS", 2)


@pytest.fixture(name="run")
def _run(tiny_config: Config, pictures: Path, home: Path) -> Path:
    """A run that was stopped at step 2 of 4."""
    for step in begin(tiny_config, str(pictures), home / "run", seed=5):
        if step.step == 2:
            runs.stop(home / "run")
    assert runs.status(home / "run").resumable
    return home / "run"


def weights(folder: Path) -> bytes:
    return (numbered(folder, "checkpoint-*")[-1][1] / WEIGHTS).read_bytes()


def test_no_run_goes_on_with_pictures_that_are_read_anew(capsys: Capture, run: Path) -> None:
    shutil.rmtree(run / runs.PICTURES)
    journal = (run / "events.jsonl").read_bytes()
    line = "its stored pictures are gone, and read anew they may be others; "
    line += "python -m sd train --run FOLDER --restart begins it anew from step 0"
    assert refused(capsys, "train", "--run", run, "--resume") == f"run: {line}"
    assert not runs.status(run).resumable  # so the page offers nothing else
    with pytest.raises(InputError) as caught:
        runs.resume(runs.default_home(), run)
    assert str(caught.value) == f"run = 'run': {line}"
    assert (run / "events.jsonl").read_bytes() == journal
    assert not (run / runs.PICTURES).exists()


def test_a_run_that_begins_anew_keeps_what_it_had_made(
    capsys: Capture, run: Path, pictures: Path
) -> None:
    old = weights(run)
    shutil.rmtree(run / runs.PICTURES)
    next(pictures.glob("*.png")).unlink()
    assert main(["train", "--run", str(run), "--restart"]) == 0
    said = capsys.readouterr().err
    (aside,) = run.glob(f"{runs.ASIDE}*")
    assert f"begun anew; what was there lies in run/{aside.name}" in said
    assert "pictures used: 11" in said
    assert weights(aside) == old
    assert runs.status(run).state == "finished" and runs.status(run).step == 4
    started = [each for each in runs.events(run) if each["event"] in ("start", "resumed")]
    assert [each["event"] for each in started] == ["start"] and started[0]["seed"] == 5
    assert [each["step"] for each in runs.events(aside) if each["event"] == "stopped"] == [2]
    assert files_below(aside) >= {"config.ini", "events.jsonl", "checkpoint-000000002"}


def test_a_beginning_that_fails_leaves_the_run_as_it_was(
    capsys: Capture, run: Path, pictures: Path
) -> None:
    before = {
        name: (run / name).read_bytes() for name in files_below(run) if (run / name).is_file()
    }
    pictures.rename(pictures.with_name("elsewhere"))
    assert "no such folder" in refused(capsys, "train", "--run", run, "--restart")
    after = {name: (run / name).read_bytes() for name in files_below(run) if (run / name).is_file()}
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert changed <= {"process.json", process.STOP}
    assert [step.step for step in resume(run)] == [3, 4]


@pytest.mark.parametrize("flag", ["--resume", "--restart"])
def test_a_run_keeps_its_own_settings(capsys: Capture, run: Path, flag: str) -> None:
    line = refused(capsys, "train", "--run", run, flag, "--seed", 3)
    assert line == f"{flag}: --seed cannot be given; a run keeps its own"
    assert refused(capsys, "train", flag).startswith(f"{flag}: tell with --run FOLDER")
    both = refused(capsys, "train", "--run", run, "--resume", "--restart")
    assert "not allowed with argument" in both


def test_page_and_command_agree_about_what_can_go_on(run: Path, home: Path) -> None:
    for name in ("training.safetensors", runs.PICTURES, runs.RUN):
        folder = home / f"without-{name}"
        shutil.copytree(run, folder)
        for path in [folder / name, *folder.glob(f"checkpoint-*/{name}")]:
            if path.exists():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert not runs.status(folder).resumable
        with pytest.raises(InputError):
            next(resume(folder))


def test_a_run_without_a_checkpoint_reads_its_pictures_anew(
    tiny_config: Config, pictures: Path, home: Path
) -> None:
    stream = begin(tiny_config, str(pictures), home / "run")
    next(stream)
    stream.close()  # as if it were killed
    shutil.rmtree(home / "run" / runs.PICTURES)
    assert runs.obstacle(home / "run") == ""
    assert [step.step for step in resume(home / "run", 2)] == [1, 2]
    assert json.loads((home / "run" / runs.SOURCE).read_text())["data"] == str(pictures)
