"""The command line: every command does its work."""

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sd import runs
from sd.checkpoints.checkpoint import load_checkpoint
from sd.checkpoints.record import WEIGHTS
from sd.cli.commands import settings_of
from sd.cli.parser import main, parser
from sd.config import Config
from sd.data.images import fit_picture, read_picture
from sd.generation.export import read_recipe
from sd.runs import process as process_of
from tests.conftest import TINY
from tests.helpers.commands import (
    Capture,
    files_below,
    process,
    refused,
    said,
)
from tests.helpers.made import made_run
from tests.helpers.run_folders import DEAD, list_runs

ORIGINAL = Path(__file__).parents[1] / "fixtures" / "config_SD.txt"
LEFT_OUT = "a folder that training or sampling writes to"


def test_help_is_printed_for_every_command(capsys: Capture) -> None:
    named = ("train", "sample", "film", "noise", "data", "info", "plan", "rename")
    for words in ([], *([each] for each in named)):
        with pytest.raises(SystemExit) as caught:
            main([*words, "--help"])
        assert caught.value.code == 0 and capsys.readouterr().out.startswith("usage: python -m sd")


# rename


def test_a_run_is_renamed_and_its_old_pictures_are_made_again(
    capsys: Capture, tiny_ini: Path, pictures: Path, home: Path, tmp_path: Path
) -> None:
    run = home / "first"
    said(capsys, "train", pictures, "--config", tiny_ini, "--steps", 1, "--run", run)
    (run / process_of.PROCESS).write_text(json.dumps(DEAD))  # it was this process
    plain = ["--count", 1, "--steps", 2, "--out"]
    said(capsys, "sample", run, *plain, tmp_path / "a.png")
    assert said(capsys, "rename", run, "My cats") == f"{home / 'My cats'}\n"
    assert not run.exists() and (home / "My cats").is_dir()
    said(capsys, "sample", "--recipe", tmp_path / "a.png", "--out", tmp_path / "b.png")
    pixels = [np.asarray(Image.open(tmp_path / f"{name}.png")) for name in "ab"]
    np.testing.assert_array_equal(*pixels)
    assert said(capsys, "rename", "My cats", "cats") == f"{home / 'cats'}\n"
    assert "there is no run of that name" in refused(capsys, "rename", "gone", "cats")
    elsewhere = shutil.copytree(home / "cats", tmp_path / "cats")
    assert "its folder lies elsewhere" in refused(capsys, "rename", elsewhere, "dogs")


# train


def test_train_makes_a_run_where_it_is_told(
    capsys: Capture, pictures: Path, tiny_ini: Path, home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "deep" / "run"
    words = ["train", pictures, "--config", tiny_ini, "--steps", 3, "--seed", 9, "--run", folder]
    assert said(capsys, *words) == f"finished 3 steps: {folder}\n"
    assert files_below(folder) >= {"config.ini", "events.jsonl", "process.json", "samples"}
    assert load_checkpoint(folder).about["seed"] == 9
    assert not list(home.iterdir())


def test_train_makes_a_new_run_at_home(
    capsys: Capture, pictures: Path, tiny_ini: Path, home: Path
) -> None:
    said(capsys, "train", pictures, "--config", tiny_ini, "--epochs", 1)
    status = list_runs(runs.default_home())[0]
    assert (status.state, status.total) == ("finished", 3)  # 12 pictures in fours
    assert [path.name for path in home.iterdir()] == [status.name]


def test_train_takes_preset_and_settings(capsys: Capture, pictures: Path, home: Path) -> None:
    settings = [word for setting in TINY for word in ("--set", setting)]
    said(capsys, "train", pictures, "--preset", "tiny", *settings, "--steps", 2)
    made = Config.read(home / list_runs(runs.default_home())[0].name / "config.ini")
    told = "conditioning.kind=none"  # decided: these pictures have neither classes nor captions
    assert made == Config.preset("tiny").with_settings([*TINY, "training.steps=2", told])


def original_text(dataset: Path, samples: Path) -> str:
    """Return the original author's text with a network and pictures small enough for a test."""
    text = ORIGINAL.read_text(encoding="utf-8")
    for key, value in (
        ("save_path", samples),
        ("dataset_path", dataset),
        ("input_height", 8),
        ("input_width", 8),
        ("model_channels", 32),
        ("channel_mult", "[1,2]"),
    ):
        text, count = re.subn(rf"^{key} = \S+", f"{key} = {value}", text, flags=re.M)
        assert count == 1
    return text


def test_the_originals_job_as_it_was(
    capsys: Capture, pictures: Path, home: Path, tmp_path: Path
) -> None:
    """Its ini names the pictures and the folder for samples; 3 epochs of 12 in tens are 4 steps."""
    ini, samples = tmp_path / "config_SD.ini", tmp_path / "pic" / "test_pic"
    ini.write_text(original_text(pictures, samples), encoding="utf-8")
    assert main(["train", "--config", str(ini)]) == 0
    printed = capsys.readouterr()
    status = list_runs(runs.default_home())[0]
    assert printed.out == f"finished 4 steps: {home / status.name}\n"
    assert "warning: terminal SNR 0.152 is above 0.001" in printed.err
    assert "pictures used: 12" in printed.err
    assert said(capsys, "sample", home / status.name, "--count", 5, "--steps", 4).endswith(
        f": {samples}\n"
    )
    assert files_below(samples) == {f"seed-{seed:05d}.png" for seed in range(5)}
    with Image.open(samples / "seed-00004.png") as picture:
        assert (picture.mode, picture.size) == ("L", (8, 8))


def test_data_on_the_command_line_is_stronger_than_the_ini(
    capsys: Capture, pictures: Path, tiny_config: Config, home: Path, tmp_path: Path
) -> None:
    ini = tmp_path / "own.ini"
    named = tiny_config.with_settings([f"training.dataset_path={tmp_path / 'missing'}"])
    ini.write_text(named.to_ini(), encoding="utf-8")
    assert "missing: no such folder" in refused(capsys, "train", "--config", ini)
    said(capsys, "train", pictures, "--config", ini, "--run", tmp_path / "run")


def test_outputs_among_the_pictures_are_left_out_with_a_line(
    capsys: Capture, pictures: Path, tiny_config: Config, tmp_path: Path
) -> None:
    ini, made = tmp_path / "own.ini", pictures / "made"
    config = tiny_config.with_settings([f"training.save_path={made}", "training.steps=1"])
    ini.write_text(config.to_ini(), encoding="utf-8")
    made.mkdir()
    shutil.copy(next(pictures.glob("*.png")), made / "seed-00000.png")
    assert main(["train", str(pictures), "--config", str(ini), "--run", str(pictures / "r")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "pictures used: 12"
    assert [line for line in lines if LEFT_OUT in line] == [
        f"  made: {LEFT_OUT}",
        f"  r: {LEFT_OUT}",
    ]


# sample


def test_sample_writes_a_picture_each(capsys: Capture, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    words = ["sample", checkpoint, "--count", 3, "--seed", 41, "--steps", 5]
    assert said(capsys, *words, "--out", out) == f"3 pictures on CPU, 1 thread: {out}\n"
    assert files_below(out) == {"seed-00041.png", "seed-00042.png", "seed-00043.png"}
    said(capsys, *words, "--out", out, "--keep-steps")
    assert files_below(out) >= {f"step-{i:04d}.png" for i in range(1, 6)}
    said(capsys, *words)
    assert files_below(checkpoint.parent / "made") == {f"seed-{s:05d}.png" for s in (41, 42, 43)}


def test_sample_as_arrays_as_pictures_and_as_a_sheet_is_the_same(
    capsys: Capture, checkpoint: Path, tmp_path: Path
) -> None:
    words = ["sample", checkpoint, "--count", 3, "--steps", 5, "--seed", 2]
    for out in ("x.npz", "x.png", "x"):
        said(capsys, *words, "--keep-steps", "--out", tmp_path / out)
    with np.load(tmp_path / "x.npz") as arrays:
        samples, steps, seeds, times = (
            arrays[name] for name in ("samples", "steps", "seeds", "times")
        )
    assert samples.dtype == steps.dtype == np.uint8
    assert samples.shape == (3, 8, 8, 1) and steps.shape == (5, 3, 8, 8, 1)
    assert np.array_equal(steps[-1], samples) and not np.array_equal(steps[0], samples)
    assert seeds.tolist() == [2, 3, 4] and times.tolist() == [40, 30, 20, 10, 0]
    for seed, picture in zip(seeds, samples, strict=True):
        with Image.open(tmp_path / "x" / f"seed-{seed:05d}.png") as opened:
            assert np.array_equal(np.asarray(opened), picture[..., 0])
    with Image.open(tmp_path / "x.png") as sheet:
        assert sheet.size == (8 + 2 + 8, 8 + 2 + 8)
        assert np.array_equal(np.asarray(sheet)[:8, :8, 0], samples[0, ..., 0])
    said(capsys, *words, "--out", tmp_path / "plain.npz")
    with np.load(tmp_path / "plain.npz") as arrays:
        assert sorted(arrays) == ["samples", "seeds"]
        assert np.array_equal(arrays["samples"], samples)


def test_sample_takes_every_sampler_and_spacing(
    capsys: Capture, checkpoint: Path, tmp_path: Path
) -> None:
    made = []
    for number, words in enumerate(
        (
            ["--sampler", "ddim"],
            ["--sampler", "ddim", "--eta", 1],
            ["--sampler", "ddpm"],
            ["--sampler", "ddpm", "--variance", "fixed_large"],
            ["--sampler", "ddim", "--spacing", "leading"],
            ["--sampler", "ddim", "--spacing", "linspace"],
            ["--sampler", "ddim", "--no-clip"],
        )
    ):
        out = tmp_path / f"{number}.npz"
        said(capsys, "sample", checkpoint, "--count", 2, "--steps", 6, "--out", out, *words)
        with np.load(out) as arrays:
            made.append(arrays["samples"].astype(int))
    assert abs(made[1] - made[2]).max() <= 1  # DDIM with eta 1 is DDPM
    different = [made[i] for i in (0, 1, 3, 4, 5, 6)]
    pairs = [(a, b) for a in range(6) for b in range(a)]
    assert all(not np.array_equal(different[a], different[b]) for a, b in pairs)


def test_a_picture_alone_is_the_picture_in_a_batch(
    capsys: Capture, checkpoint: Path, tmp_path: Path
) -> None:
    model = load_checkpoint(checkpoint)
    for sampler in ("ddim", "ddpm"):
        sampling = model.sampling(sampler, 20)
        batch, alone = (sampling.start(model.shape, seeds) for seeds in (range(3, 11), [5]))
        assert np.array_equal(batch[2], alone[0])
        words = ["sample", checkpoint, "--sampler", sampler, "--steps", 20]
        said(capsys, *words, "--seed", 3, "--count", 8, "--out", tmp_path / f"{sampler}-batch.npz")
        said(capsys, *words, "--seed", 5, "--count", 1, "--out", tmp_path / f"{sampler}-alone.npz")
        many, one = (
            np.load(tmp_path / f"{sampler}-{name}.npz")["samples"].astype(int)
            for name in ("batch", "alone")
        )
        assert abs(many[2] - one[0]).max() <= 2


def test_the_same_seed_gives_the_same_bytes_in_a_fresh_process(
    capsys: Capture, pictures: Path, tiny_ini: Path, tmp_path: Path
) -> None:
    dropout = ["--set", "unet.dropout=0.1", "--set", "training.sample_every=20"]
    words = ["train", pictures, "--config", tiny_ini, "--steps", 50, "--seed", 4, *dropout]
    here, fresh = tmp_path / "here", tmp_path / "fresh"
    child = process(*words, "--run", fresh)
    assert said(capsys, *words, "--run", here).startswith("finished 50 steps")
    assert child.communicate()[0].startswith(b"finished 50 steps") and child.returncode == 0
    weights = [(place / "checkpoint-000000050" / WEIGHTS).read_bytes() for place in (here, fresh)]
    assert len(weights[0]) > 700_000 and weights[0] == weights[1]
    for step in (20, 40, 50):
        sheets = [(run / "samples" / f"step-{step:09d}.png").read_bytes() for run in (here, fresh)]
        assert sheets[0] == sheets[1]
    words = ["--count", 4, "--seed", 11, "--sampler", "ddpm", "--keep-steps"]
    child = process("sample", fresh, *words, "--out", fresh / "made.npz")
    said(capsys, "sample", here, *words, "--out", here / "made.npz")
    assert child.communicate() and child.returncode == 0
    assert (here / "made.npz").read_bytes() == (fresh / "made.npz").read_bytes()


@pytest.mark.gpu
def test_train_and_sample_on_cuda_say_so(
    capsys: Capture, pictures: Path, tiny_ini: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["--device", "cuda", "--seed", 2]
    said(capsys, "train", pictures, "--config", tiny_ini, "--steps", 10, "--run", run, *words)
    assert runs.events(run)[0]["machine"]["device"] == "cuda"
    made = {}
    for device in ("cuda", "cpu"):
        out = tmp_path / f"{device}.npz"
        words = ["sample", run, "--device", device, "--count", 4, "--steps", 20, "--out", out]
        assert (f"on {'CPU' if device == 'cpu' else ''}") in said(capsys, *words)
        made[device] = np.load(out)["samples"].astype(int)
    assert abs(made["cuda"] - made["cpu"]).max() <= 2


# film


def test_the_samples_of_a_run_become_a_film(capsys: Capture, tmp_path: Path) -> None:
    run = made_run(tmp_path / "home", steps=108)
    path = tmp_path / "films" / "x.webp"
    assert said(capsys, "film", run, "--out", path) == f"3 steps: {path}\n"
    with Image.open(path) as film:
        assert (film.format, film.n_frames) == ("WEBP", 3)
    assert "x.webp is there already; another name, or --overwrite" in refused(
        capsys, "film", run, "--out", path
    )
    said(capsys, "film", run, "--out", path, "--overwrite")
    folder = path.parent  # gets it under a free name
    assert said(capsys, "film", run, "--out", folder) == f"3 steps: {folder / 'film.gif'}\n"


def test_what_has_no_film_is_told_in_one_line(capsys: Capture, tmp_path: Path) -> None:
    run = made_run(tmp_path / "home", steps=52)
    out = ["--out", tmp_path / "x.gif"]
    line = refused(capsys, "film", run, *out)
    assert line == "made: has samples of one step alone; a film needs those of two steps or more"
    assert refused(capsys, "film", tmp_path / "nowhere", *out) == "nowhere: holds no run"
    assert "FILE.gif, FILE.webp, FILE.mp4" in refused(capsys, "film", run, "--out", "x.png")
    assert not (tmp_path / "x.gif").exists()


# noise, data, info


def test_noise_lays_the_times_side_by_side(
    capsys: Capture, pictures: Path, tiny_ini: Path, tmp_path: Path
) -> None:
    picture, out = next(pictures.glob("*.png")), tmp_path / "new" / "x.png"
    printed = said(
        capsys, "noise", picture, "--config", tiny_ini, "--out", out, "--t", 0, 12.5, 25, 50
    )
    assert printed.splitlines()[0] == "t = 0: x_t = 1.0000 x_0 + 0.0000 eps, SNR inf"
    assert [line.partition(":")[0] for line in printed.splitlines()] == [
        "t = 0",
        "t = 12.5",
        "t = 25",
        "t = 50",
    ]
    with Image.open(out) as opened:
        sheet = np.asarray(opened.convert("L"))
    assert sheet.shape == (8, 4 * 8 + 3 * 2)
    clean = fit_picture(read_picture(picture, "x"), 8, 8, 1, "crop")[0].numpy()
    assert np.array_equal(sheet[:, :8], clean)
    assert not np.array_equal(sheet[:, -8:], clean)
    first = out.read_bytes()
    words = ["--config", tiny_ini, "--t", 0, 12.5, 25, 50, "--out", out, "--overwrite"]
    said(capsys, "noise", picture, *words)
    assert out.read_bytes() == first


@pytest.mark.parametrize("top", [1023, 4095, 65535])
def test_a_guess_of_a_picture_s_bits_is_told(
    capsys: Capture, checkpoint: Path, tiny_ini: Path, tmp_path: Path, top: int
) -> None:
    values = np.linspace(0, top, 64).reshape(8, 8).astype(np.uint16)
    picture = tmp_path / "deep.png"
    Image.fromarray(values).save(picture)
    made = ["--out", tmp_path / "made.png", "--overwrite"]
    noise = ["noise", picture, "--config", tiny_ini, "--t", 25]
    sample = ["sample", checkpoint, "--from", picture, "--t", 25, "--steps", 1, "--count", 1]
    for words in (noise, sample):
        assert main([str(word) for word in (*words, *made)]) == 0
        told = capsys.readouterr().err.splitlines()
        bits = f"more than 8 bits: 1 picture; no value goes beyond {top:,}, so they are read as "
        line = f"deep.png: {bits}{top.bit_length()} bits"
        assert [each for each in told if "bits" in each] == ([line] if top < 65535 else [])


def test_noise_tells_the_formula_and_the_ratio_of_what_it_draws(
    capsys: Capture, pictures: Path, tiny_ini: Path, tmp_path: Path
) -> None:
    picture = next(pictures.glob("*.png"))
    words = ["--config", tiny_ini, "--t", 25, "--out", tmp_path]
    plain, _ = said(capsys, "noise", picture, *words).splitlines()
    for noise, grain in (("[0.5, 2]", "(0.5 + 2 eps)"), ("[0, 2]", "2 eps")):
        told, _ = said(
            capsys, "noise", picture, *words, "--set", f"diffusion.noise_info={noise}"
        ).splitlines()
        formula, ratio = plain.split(" eps, SNR ")
        assert told.startswith(f"{formula} {grain}, SNR ")
        assert float(told.split("SNR ")[1]) == pytest.approx(float(ratio) / 4, rel=1e-3)


def test_a_seed_of_minus_one_is_drawn_told_and_kept(
    capsys: Capture, checkpoint: Path, pictures: Path, tiny_ini: Path, tmp_path: Path
) -> None:
    said(capsys, "sample", checkpoint, "--count", 1, "--steps", 2, "--out", tmp_path / "a.png")
    words = ["sample", checkpoint, "--count", 1, "--steps", 2, "--seed", -1, "--seed-to", -1]
    assert main([str(word) for word in (*words, "--out", tmp_path / "x.png")]) == 0
    recipe = read_recipe(tmp_path / "x.png")["recipe"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == [f"seed {recipe['seed']}", f"seed to {recipe['seed_to']}"]
    assert 0 <= recipe["seed"] < 10**6 and recipe["seed"] != recipe["seed_to"]
    words = ["noise", next(pictures.glob("*.png")), "--config", tiny_ini, "--t", 25, "--out"]
    assert main([str(word) for word in (*words, tmp_path / "n.png", "--seed", -1)]) == 0
    _, drawn = capsys.readouterr().err.split()
    said(capsys, *words, tmp_path / "again.png", "--seed", drawn)
    assert (tmp_path / "n.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_data_reports_what_is_used_and_what_is_not(capsys: Capture, pictures: Path) -> None:
    (pictures / "page.png").write_text("<html>")
    lines = said(capsys, "data", pictures).splitlines()
    assert lines[0] == "pictures used: 12" and lines[-2] == "left out: 1"
    assert lines[-1].startswith("  page.png: not a picture")
    report = json.loads(said(capsys, "data", pictures, "--json"))
    assert report["used"] == 12 and report["sizes"] == {"64 x 64": 12}
    assert report["left_out"][0]["name"] == "page.png"


def test_info_names_the_fault_of_the_seed(capsys: Capture) -> None:
    facts = json.loads(said(capsys, "info", "seed", "--json"))
    assert facts["parameters"] == 48_924_417
    assert facts["terminal_snr"] == pytest.approx(0.152, abs=5e-4)
    assert facts["warning"].startswith("terminal SNR 0.152 is above 0.001")
    assert json.loads(said(capsys, "info", ORIGINAL, "--json")) == facts
    lines = said(capsys, "info", "seed").splitlines()
    assert "terminal SNR 0.152" in lines and lines[-1].startswith("warning: terminal SNR 0.152")


def test_info_finds_no_fault_in_the_corrected_seed(capsys: Capture) -> None:
    facts = json.loads(said(capsys, "info", "seed-fixed", "--json"))
    assert facts["parameters"] == 48_924_417
    assert facts["terminal_snr"] < 1e-4 and facts["warning"] is None
    assert "warning" not in said(capsys, "info", "seed-fixed")


def test_info_of_a_checkpoint_tells_its_step(
    capsys: Capture, checkpoint: Path, tiny_ini: Path
) -> None:
    facts = json.loads(said(capsys, "info", checkpoint, "--json"))
    assert (facts["step"], facts["seed"], facts["pictures"]) == (7, 1, 12)
    assert facts["parameters"] == 203_460
    of_ini = json.loads(said(capsys, "info", tiny_ini, "--json"))
    assert of_ini == {name: facts[name] for name in of_ini}
    assert said(capsys, "info", checkpoint).splitlines()[-3:] == ["step 7", "seed 1", "pictures 12"]


def test_settings_are_read_from_standard_input(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a run's process gets them that the page starts."""
    config = tiny_config.with_settings(['training.classes=["größer"]'])
    given = io.TextIOWrapper(io.BytesIO(config.to_ini().encode()), encoding="ascii")
    monkeypatch.setattr("sys.stdin", given)
    assert settings_of(parser().parse_args(["train", "starter", "--config", "-"])) == config


def test_what_is_no_text_on_standard_input_is_a_mistake(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["plan", "starter", "--config", "-"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert refused(capsys, *words).startswith("standard input: not UTF-8 text")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"#" * 100_001)))
    assert refused(capsys, *words).startswith("standard input: more than 100,000 bytes")
    monkeypatch.setattr("sys.stdin", None)  # as Python has it where it is closed
    assert refused(capsys, *words).startswith("--config -: there is no standard input")
