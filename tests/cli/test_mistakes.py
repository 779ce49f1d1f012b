"""The command line: a mistake is one line and exit status 2, and hostile input does no harm."""

import io
import os
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from sd import runs
from sd.checkpoints.record import WEIGHTS
from sd.cli.parser import main
from sd.config import Config
from tests.checkpoints.test_checkpoint import Payload, restamp
from tests.helpers.commands import (
    Capture,
    files_below,
    process,
    refused,
    said,
)
from tests.helpers.run_folders import list_runs
from tests.helpers.sets import folder


@pytest.fixture
def place(tmp_path: Path, pictures: Path, home: Path, tiny_ini: Path) -> Path:
    """A folder of bad input; `outside` beside it must stay empty."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "page.png").write_text("<html>404</html>")
    (tmp_path / "cut.png").write_bytes(next(pictures.glob("*.png")).read_bytes()[:60])
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with zipfile.ZipFile(tmp_path / "climber.zip", "w") as archive:
        for name in ("../outside/x.png", str(tmp_path / "outside" / "y.png")):
            archive.writestr(name, next(pictures.glob("*.png")).read_bytes())
    folder(tmp_path, {"data/x.npz": "", "set.tgz": b"\x1f\x8b", "nothing.zip": ""})
    (tmp_path / "page.zip").write_text("<!doctype html><title>not found</title>")
    (tmp_path / "bad.ini").write_text("[training]\nepochs = nan\n")
    (tmp_path / "typo.ini").write_text("[unet]\nmodel_chanels = 32\n")
    (tmp_path / "weights.safetensors").write_bytes(pickle.dumps(Payload(tmp_path / "outside/m")))
    return tmp_path


TRAINING = [
    (["{place}/page.png"], "page.png: no picture could be read: 1 left out, first page.png"),
    (["{place}/cut.png"], "cut.png: no picture could be read"),
    (["{place}/empty"], "empty: no picture could be read; it holds none"),
    (["{place}/empty.zip"], "empty.zip: no picture could be read"),
    (["{place}/data"], "data: no picture could be read; it holds files .npz (1)"),
    (["{place}/set.tgz"], "set.tgz: an archive of another kind than zip"),
    (["{place}/page.zip"], "page.zip: not a picture but a web page"),
    (["{place}/nothing.zip"], "nothing.zip: an empty file"),
    (["{place}/climber.zip"], "its name points outside the archive"),
    (["{place}/missing"], "missing: no such folder, zip or picture"),
    (["nul\0byte"], "no such folder, zip or picture"),
    ([""], "DATA: give a folder"),
    ([], "DATA: give a folder, a zip, starter or shapes (the ini names none)"),
    (["starter", "--set", "training.input_width=1000000000"], "from 1 to 4096"),
    (
        ["starter", "--set", "training.input_width=2048", "--set", "training.input_height=2048"],
        "training.input_height = 2048: already at batch_size 1 it needs about",
    ),
    (["starter", "--set", "training.learning_rate=nan"], "training.learning_rate = 'nan'"),
    (["starter", "--set", "unet.model_channels=48"], "use a multiple of 32"),
    (["starter", "--set", "unet.num_classes=5"], "unet.num_classes = 5: set conditioning.kind"),
    (["starter", "--set", "model_chanels=32"], "did you mean 'model_channels'?"),
    (["starter", "--set", "nonsense"], "must look like section.key=value"),
    (["starter", "--preset", "tinny"], "preset = 'tinny': must be one of"),
    (["starter", "--preset", "seed", "--set", "unet.dims=3"], "unet.dims = 3"),
    (["starter", "--config", "{place}/bad.ini"], "'bad.ini', line 2: training.epochs = 'nan'"),
    (["starter", "--config", "{place}/typo.ini"], "did you mean 'model_channels'?"),
    (["starter", "--config", "{place}/missing.ini"], "cannot be read (No such file"),
    (["starter", "--config", "{place}"], "cannot be read (Is a directory"),
    (["starter", "--steps", "0"], "--steps = 0: must be a whole number from 1"),
    (["starter", "--steps", "1e9"], "--steps = 1000000000: must be"),
    (["starter", "--steps", "nan"], "--steps = nan"),
    (["starter", "--epochs", "-1"], "training.epochs = -1: must be"),
    (["starter", "--steps", "1", "--epochs", "1"], "not allowed with argument"),
    (["starter", "--from", "emoji32", "--lora", "v1.safetensors"], "not allowed with argument"),
    (["starter", "--seed", "nan"], "--seed = nan: must be a whole number from 0"),
    (["starter", "--seed", "-2"], "--seed = -2: must be a whole number from 0"),
    (["starter", "--seed", "1.5"], "--seed = 1.5"),
    (["starter", "--seed", "x" * 5000], "is not a number"),
    (["starter", "--device", "gpu"], "device = 'gpu': must be one of auto, cpu, cuda, mps"),
    (["starter", "--device", "mps"], "device = 'mps': this machine has no such device"),
    (["starter", "--run", "{place}/page.png"], "a file of that name is there"),
    (["starter", "--run", "{place}/page.png/run"], "Not a directory"),
    (["starter", "--run", "/proc/nowhere/run"], "No such file or directory"),
    (["starter", "--sedd", "1"], "unrecognized arguments: --sedd 1"),
]


@pytest.mark.parametrize(("words", "line"), TRAINING)
def test_a_mistake_in_train_is_one_line(
    capsys: Capture, place: Path, home: Path, words: list[str], line: str
) -> None:
    before = files_below(place)
    given = [word.format(place=place) if "{place}" in word else word for word in words]
    assert line in refused(capsys, "train", *given)
    made = {name for name in files_below(place) - before if not name.startswith("home/")}
    assert not made
    for status in list_runs(runs.default_home()):
        assert status.state == "failed" and line in status.line


@pytest.mark.parametrize("command", [["data"], ["train", "--steps", "1"], ["plan"]])
def test_a_run_is_no_set_of_pictures(
    capsys: Capture, home: Path, tmp_path: Path, command: list[str]
) -> None:
    run = folder(
        tmp_path / "run",
        {"config.ini": b"", "events.jsonl": b"", "checkpoint-2/model.safetensors": b""},
    )
    line = refused(capsys, command[0], run, *command[1:])
    assert line.startswith("run: a run of this program, no set of pictures; python -m sd info")


def test_no_run_is_made_of_the_folder_of_its_pictures(
    capsys: Capture, home: Path, pictures: Path
) -> None:
    before = files_below(pictures)
    line = refused(capsys, "train", pictures, "--steps", "1", "--run", f"{pictures}/../pictures/")
    assert "is the folder of the pictures; name another, or none" in line
    assert files_below(pictures) == before


SAMPLING = [
    (["--sampler", "ddimm"], "sampler = 'ddimm': must be one of ddim, ddpm, euler,"),
    (["--spacing", "trialing"], "did you mean 'trailing'?"),
    (["--variance", "large"], "variance = 'large': must be one of fixed_small, fixed_large"),
    (["--steps", "1001"], "steps = 1001: must be a whole number from 1 to 1000"),
    (["--steps", "1e400"], "steps = inf"),
    (["--count", "1000000000"], "--count = 1000000000: must be a whole number from 1 to 4096"),
    (["--count", "nan"], "--count = nan"),
    (["--seed", "nan"], "--seed = nan"),
    (["--eta", "nan"], "eta = nan: must be a number from 0 to 1"),
    (["--eta", "2"], "eta = 2"),
    (["--device", "tpu"], "device = 'tpu'"),
    (["--out", "{place}/x.bmp"], "must be a folder or FILE.png, FILE.npz, FILE.gif, FILE.webp"),
    (["--out", "{place}/page.png/x"], "Not a directory"),
    (["--out", "{place}/page.png/x.npz"], "a file of that name is there"),
    (["--out", "{place}/weights"], "a file of that name is there"),
    (["--out", "/proc/nowhere/x.png"], "No such file or directory"),
    (["--out", "/" + 300 * "x"], "File name too long"),
]


@pytest.mark.parametrize(("words", "line"), SAMPLING)
def test_a_mistake_in_sample_is_one_line(
    capsys: Capture, place: Path, checkpoint: Path, words: list[str], line: str
) -> None:
    (place / "weights").write_text("a file")
    before = files_below(place)
    given = [word.format(place=place) for word in words]
    assert line in refused(capsys, "sample", checkpoint, *given)
    assert files_below(place) == before


def test_a_checkpoint_that_is_none_is_one_line(
    capsys: Capture, place: Path, checkpoint: Path
) -> None:
    forged = shutil.copytree(checkpoint, place / "forged")
    shutil.copy(place / "weights.safetensors", forged / WEIGHTS)
    for command in ("sample", "info"):
        assert "it is a pickle, which can run code" in refused(capsys, command, restamp(forged))
        assert "no checkpoint there" in refused(capsys, command, place / "empty")
    assert "no checkpoint there" in refused(capsys, "sample", place / "missing")
    assert "it is a bare pickle, which can run code" in refused(
        capsys, "sample", place / "weights.safetensors"
    )
    assert "it is a bare pickle, which can run code" in refused(
        capsys, "info", place / "weights.safetensors"
    )
    assert "cannot be read (No such file" in refused(capsys, "info", place / "missing.ini")
    assert refused(capsys, "sample", "x" * 5000)
    assert not files_below(place / "outside")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["{place}/page.png", "--t", "1"], "page.png: not a picture"),
        (["{place}/missing.png", "--t", "1"], "missing.png: cannot be read"),
        (["{place}", "--t", "1"], "cannot be read (Is a directory)"),
        (["{picture}", "--t", "51"], "--t = 51: must be a number from 0 to 50"),
        (["{picture}", "--t", "1", "-0.5"], "--t = -0.5"),
        (["{picture}", "--t", "nan"], "--t = nan"),
        (["{picture}", "--t", "one"], "'one' is not a number"),
        (["{picture}", "--t"], "expected at least one argument"),
        (["{picture}"], "the following arguments are required: --t"),
        (["{picture}", "--t", "1", "--seed", "nan"], "--seed = nan"),
        (["{picture}", "--t", "1", "--out", "{place}/x.xyz"], "must be a folder or FILE.png"),
        (
            ["{picture}", "--t", "1", "--out", "{place}/page.png/x.png"],
            "a file of that name is there",
        ),
        (["{picture}", "--t", "1", "--set", "unet.chanel=3"], "did you mean 'channel'?"),
    ],
)
def test_a_mistake_in_noise_is_one_line(
    capsys: Capture, place: Path, pictures: Path, tiny_ini: Path, words: list[str], line: str
) -> None:
    picture = next(pictures.glob("*.png"))
    before = files_below(place)
    given = [word.format(place=place, picture=picture) for word in words]
    assert line in refused(capsys, "noise", *given, "--config", tiny_ini)
    assert files_below(place) == before


@pytest.mark.parametrize(
    "words", [[], ["trian"], ["data"], ["data", "/" + "x" * 400], ["info"], ["--json"], ["\x1b[2J"]]
)
def test_any_other_mistake_is_one_line_too(capsys: Capture, home: Path, words: list[str]) -> None:
    assert refused(capsys, *words)


def test_a_climbing_zip_writes_nothing_where_it_climbs(
    capsys: Capture, place: Path, pictures: Path, tiny_ini: Path
) -> None:
    with zipfile.ZipFile(place / "climber.zip", "a") as archive:
        archive.write(next(pictures.glob("*.png")), "good.png")
    assert main(["data", str(place / "climber.zip")]) == 0
    words = ["train", place / "climber.zip", "--config", tiny_ini, "--run", place / "run"]
    said(capsys, *words, "--steps", 1)
    start = runs.events(place / "run")[0]
    assert (start["pictures"], start["left_out"]) == (1, 2)
    assert not files_below(place / "outside")


def test_a_save_path_is_a_folder_whatever_it_is_called(
    capsys: Capture, checkpoint: Path, tmp_path: Path
) -> None:
    """A foreign checkpoint's ini must not name a file of mine to be written over."""
    mine = tmp_path / "photo.png"
    mine.write_text("mine")
    forged = shutil.copytree(checkpoint, tmp_path / "forged")
    config = Config.read(forged / "config.ini")
    for name in ("photo.png", "new.v2"):
        named = config.with_settings([f"training.save_path={tmp_path / name}"])
        (forged / "config.ini").write_text(named.to_ini(), encoding="utf-8")
        words = ["sample", restamp(forged), "--count", 1, "--steps", 1]
        if name == "photo.png":
            assert "a file of that name is there" in refused(capsys, *words)
        else:
            said(capsys, *words)
    assert mine.read_text() == "mine"
    assert files_below(tmp_path / "new.v2") == {"seed-00000.png"}


def test_a_real_process_answers_a_mistake_with_status_2(tmp_path: Path) -> None:
    child = process("info", tmp_path / "missing.ini")
    out, err = child.communicate()
    assert (child.returncode, out) == (2, b"")
    assert err == b"'missing.ini': cannot be read (No such file or directory)\n"


def test_names_that_no_terminal_can_show_are_printed_all_the_same(
    tiny_ini: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed, folder = io.BytesIO(), os.fsdecode(os.fsencode(tmp_path) + b"/run-\xff")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="utf-8"))
        words = ["train", str(pictures), "--config", str(tiny_ini), "--steps", "1", "--run", folder]
        assert main(words) == 0
        sys.stdout.flush()
        assert printed.getvalue().endswith(b"run-\\udcff\n")
