"""Latents on the command line: trained, planned, told about and sampled."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sd import runs
from sd.checkpoints.checkpoint import load_checkpoint
from sd.cli.parser import main
from sd.common.validation import InputError
from sd.config import Config
from sd.diffusion.sampling import draw_noise, generators
from sd.training.planning import forecast, memory
from tests.helpers.commands import refused, said
from tests.helpers.first_stages import LATENT, latent_settings
from tests.runs.test_resume import make_small_samples

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def ini(tiny_config: Config, tmp_path: Path) -> Path:
    path = tmp_path / "latent.ini"
    path.write_text(latent_settings(tmp_path, tiny_config, "training.held_out=0").to_ini())
    return path


@pytest.fixture
def run(ini: Path, pictures: Path, tmp_path: Path, capsys: Capture, monkeypatch: Any) -> Path:
    make_small_samples(monkeypatch)
    folder = tmp_path / "run"
    printed = said(capsys, "train", pictures, "--config", ini, "--run", folder)
    assert printed == f"finished 4 steps: {folder}\n"
    return folder


def test_a_model_on_latents_is_sampled_into_pictures_films_and_arrays(
    run: Path, tmp_path: Path, capsys: Capture
) -> None:
    asked = ["sample", run, "--count", 2, "--steps", 3, "--seed", 5, "--out"]
    for name in ("sheet.png", "film.gif", "film.html", "arrays.npz"):
        said(capsys, *asked, tmp_path / name)
    with np.load(tmp_path / "arrays.npz") as arrays:
        assert arrays["samples"].shape == (2, 8, 8, 3)
    said(capsys, *asked, tmp_path / "folder")
    made = sorted((tmp_path / "folder").glob("*.png"))
    with Image.open(made[0]) as picture:
        assert (picture.size, picture.mode) == ((8, 8), "RGB")
        first = np.asarray(picture)
    said(capsys, "sample", "--recipe", made[0], "--out", tmp_path / "again.png")
    with Image.open(tmp_path / "again.png") as again:
        assert np.array_equal(np.asarray(again.convert("RGB")), first)
    start = ["--from", made[1], "--t", 20]
    said(capsys, *asked, tmp_path / "from.png", *start)


def test_it_draws_sizes_that_its_places_divide(run: Path, tmp_path: Path, capsys: Capture) -> None:
    asked = ["sample", run, "--count", 1, "--steps", 2, "--out"]
    said(capsys, *asked, tmp_path / "large.png", "--size", "12x16")
    with Image.open(tmp_path / "large.png") as picture:
        assert picture.size == (16, 12)
    line = refused(capsys, *asked, tmp_path / "odd.png", "--size", "14")
    assert line == (
        "size = 14x14: must be multiples of 4, as this network halves them; the next that fits is "
        "16x16"
    )


def test_info_tells_what_pictures_become(ini: Path, run: Path, capsys: Capture) -> None:
    told = said(capsys, "info", ini)
    assert "3 x 8 x 8 -> 4 x 4 x 4, f = 2" in told
    found = json.loads(said(capsys, "info", run, "--json"))
    assert (found["picture"], found["latent"]) == ([3, 8, 8], [4, 4, 4])
    assert "first stage" not in said(capsys, "info", "tiny")


def test_info_names_both_networks(
    ini: Path, run: Path, capsys: Capture, tiny_config: Config, tmp_path: Path
) -> None:
    model = load_checkpoint(run)
    assert model.latents is not None
    network = model.latents.autoencoder
    counts = [
        sum(each.numel() for each in part.parameters())
        for part in (network.encoder, network.decoder)
    ]
    for place in (ini, run):
        found = json.loads(said(capsys, "info", place, "--json"))["first_stage"]
        assert [found["encoder"], found["decoder"]] == counts and found["factor"] == 2
    assert found["mean"] == pytest.approx(model.latents.mean.tolist())
    told = said(capsys, "info", run)
    assert f"encoder {counts[0]:,} and decoder {counts[1]:,} parameters" in told
    assert "\nlatents' mean " in told and "\nlatents' std " in told
    assert "and decoder 932,428 parameters" in said(capsys, "info", "latent-own")
    assert json.loads(said(capsys, "info", "tiny", "--json"))["first_stage"] is None


def parts_of(path: Path, side: int) -> list[list[np.ndarray[Any, Any]]]:
    """Return the tiles of a sheet, row by row, in [-1, 1]."""
    with Image.open(path) as opened:
        sheet = np.asarray(opened.convert("RGB")).astype(float) / 127.5 - 1
    rows = [sheet[top : top + side] for top in range(0, sheet.shape[0], side + 2)]
    return [
        [row[:, left : left + side] for left in range(0, row.shape[1], side + 2)] for row in rows
    ]


def test_noise_draws_pixels_and_below_them_latents(
    run: Path, emoji: dict[str, bytes], tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "a.png").write_bytes(next(iter(emoji.values())))
    asked = ["noise", tmp_path / "a.png", "--t", 0, 20, 50, "--seed", 3, "--overwrite", "--out"]
    told = said(capsys, *asked, tmp_path / "both.png", "--model", run)
    assert told.count("x_t = ") == 3
    model = load_checkpoint(run)
    assert model.latents is not None
    plain = tmp_path / "plain.ini"
    settings = ["first_stage.autoencoder=None", "unet.channel=3", "unet.n_embed=3"]
    plain.write_text(model.config.with_settings(settings).to_ini())
    said(capsys, *asked, tmp_path / "pixels.png", "--config", plain)
    pixels, latents = parts_of(tmp_path / "both.png", 8)
    assert np.array_equal(pixels, parts_of(tmp_path / "pixels.png", 8)[0])
    x = torch.from_numpy(pixels[0].transpose(2, 0, 1)).float()[None]
    z, eps = model.space.encode(x), draw_noise(model.shape, generators([3]))
    for t, tile in zip((0, 20, 50), latents, strict=True):
        wanted = model.space.decode(model.diffusion.q_sample(z, t, eps))[0]
        assert np.abs(tile.transpose(2, 0, 1) - wanted.numpy()).max() < 0.02
    said(capsys, *asked, tmp_path / "taesd.png", "--preset", "latent128")
    assert [len(row) for row in parts_of(tmp_path / "taesd.png", 128)] == [3, 3]
    line = refused(capsys, *asked, tmp_path / "own.png", "--preset", "latent-own")
    assert line.startswith("first_stage.autoencoder = own: it lies with the model")


def test_a_closed_form_on_latents_says_what_it_repeats(
    run: Path, tmp_path: Path, capsys: Capture
) -> None:
    capsys.readouterr()
    asked = ["sample", f"ideal:{run}", "--count", "1", "--steps", "3", "--out"]
    assert main([*asked, str(tmp_path / "ideal.png")]) == 0
    assert "repeats its pictures as the autoencoder gives them back" in capsys.readouterr().err


def test_a_flag_sets_the_first_stage_and_what_must_fit_it(
    tmp_path: Path, tiny_config: Config
) -> None:
    plain = Config.preset("small")
    latent = plain.with_first_stage("taesd")
    assert (latent.latent_shape, latent.unet.patch_size) == ((4, 8, 8), 1)
    assert plain.with_first_stage("taef2").latent_shape == (32, 8, 8)
    assert latent.with_first_stage("pixels").picture_shape == plain.picture_shape
    again = Config.preset("latent256").with_first_stage("taesd")
    assert again == Config.preset("latent256")


def test_the_flag_is_read_by_train_and_cannot_be_given_to_a_run_that_goes_on(
    run: Path, pictures: Path, capsys: Capture
) -> None:
    line = refused(capsys, "train", "--run", run, "--resume", "--first-stage", "taesd")
    assert line == "--resume: --first-stage cannot be given; a run keeps its own"
    asked = ["train", pictures, "--preset", "tiny", "--first-stage"]
    line = refused(capsys, *asked, "taesd", "--set", "training.input_width=36")
    assert line.startswith("training.input_width = 36: must be a multiple of 8")


def test_a_plan_counts_the_encoding(
    ini: Path, pictures: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["plan", pictures, "--config", ini, "--json"]
    found = json.loads(said(capsys, *asked))["forecast"]
    assert found["steps"] == 4
    monkeypatch.setattr(forecast, "_time_encoding", lambda *_: 100.0)  # seconds a picture
    slower = json.loads(said(capsys, *asked))["forecast"]
    assert slower["seconds"] - found["seconds"] == pytest.approx(1200, rel=0.05)


def test_a_plan_counts_phase_1_and_says_so(
    tiny_config: Config, pictures: Path, tmp_path: Path, capsys: Capture, monkeypatch: Any
) -> None:
    own = tmp_path / "own.ini"
    more = ["first_stage.autoencoder=own", "first_stage.autoencoder_steps=30"]
    own.write_text(tiny_config.with_settings([*LATENT, *more]).to_ini())
    asked = ["plan", pictures, "--config", own]
    found = json.loads(said(capsys, *asked, "--json"))["forecast"]
    assert 0 < found["autoencoder_seconds"] < found["seconds"]
    monkeypatch.setattr(forecast, "_time_autoencoder", lambda *_: 40.0)  # seconds a step
    assert "before the first step: 20 min to train the autoencoder" in said(capsys, *asked)


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ([], (None, False)),
        (["--first-stage", "own"], ("own", False)),
        (["--first-stage", "pixels"], ("pixels", False)),
        (["--set", "training.shift=0.1"], ("pixels", False)),
        (["--set", "training.flip=True"], (None, True)),
    ],
)
def test_a_plan_is_asked_for_the_first_stage_and_the_mirror_images_of_the_flags(
    pictures: Path, capsys: Capture, monkeypatch: Any, flags: list[str], wanted: tuple[Any, bool]
) -> None:
    asked: list[Any] = []

    def plan(*words: Any) -> Any:
        asked.append(words[-2:])
        raise InputError("asked")

    monkeypatch.setattr("sd.training.planning.planner.plan", plan)
    assert refused(capsys, "plan", pictures, "--json", "--minutes", 1, *flags) == "asked"
    assert asked == [wanted]


def test_memory_counts_the_first_stage(tiny_config: Config, tmp_path: Path) -> None:
    plain = tiny_config.with_settings(["unet.channel=4", "unet.n_embed=4"])
    latent = latent_settings(tmp_path, plain, "training.input_width=16", "training.input_height=16")
    assert memory.needed(latent) == memory.needed(plain) + memory.FIRST_STAGE
    assert memory.sampling(latent, 1) == memory.sampling(plain, 1) + memory.FIRST_STAGE


def test_what_is_made_on_latents_is_the_same_on_the_same_seed(run: Path) -> None:
    model = load_checkpoint(run)
    one, both = (
        model.sampling(steps=3).sample(model.denoiser, model.shape, seeds)
        for seeds in ([1], [1, 2])
    )
    torch.testing.assert_close(
        model.space.decode(one)[0], model.space.decode(both)[0], rtol=0, atol=1e-4
    )
    assert runs.status(run).state == "finished"


def test_an_autoencoder_is_trained_alone_and_then_taken_by_its_run(
    tiny_config: Config, pictures: Path, tmp_path: Path, capsys: Capture, monkeypatch: Any
) -> None:
    make_small_samples(monkeypatch)
    own = ["first_stage.autoencoder=own", "first_stage.autoencoder_steps=4"]
    ini = tmp_path / "own.ini"
    ini.write_text(tiny_config.with_settings([*LATENT, *own, "training.steps=2"]).to_ini())
    folder, other = tmp_path / "own", tmp_path / "other"
    asked = ["train", pictures, "--config", ini, "--only-first-stage", "--run", folder]
    told = said(capsys, *asked)
    assert told.startswith("the autoencoder is trained: ") and told.endswith(f" dB: {folder}\n")
    assert not list(folder.glob("checkpoint-*")) and runs.status(folder).state == "finished"
    said(capsys, "train", pictures, "--config", ini, "--first-stage", folder, "--run", other)
    both = [each / runs.LATENTS / "autoencoder.safetensors" for each in (folder, other)]
    assert (folder / runs.LATENTS / "trained.safetensors").read_bytes() == both[1].read_bytes()
    said(capsys, "train", "--run", folder, "--resume")  # to the network
    assert both[0].read_bytes() == both[1].read_bytes()


def test_where_there_is_no_autoencoder_to_train_it_is_said(
    pictures: Path, tmp_path: Path, capsys: Capture
) -> None:
    asked = ["train", pictures, "--run", tmp_path / "run", "--only-first-stage", "--preset"]
    for preset in ("tiny", "latent128"):
        line = refused(capsys, *asked, preset)
        assert line.startswith("--only-first-stage: there is none to train")


def test_a_picture_is_reconstructed(
    run: Path, emoji: dict[str, bytes], tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "a.png").write_bytes(next(iter(emoji.values())))
    asked = ["reconstruct", tmp_path / "a.png", "--out", tmp_path / "both.png"]
    lines = said(capsys, *asked, "--first-stage", "taesd", "--size", 64).splitlines()
    assert lines[0] == "3 x 64 x 64 -> 4 x 8 x 8, f = 8"
    assert 15 < float(lines[1].partition(" dB")[0]) < 40
    with Image.open(tmp_path / "both.png") as made:
        assert made.size == (3 * 64 + 4, 64)
        parts = [
            np.asarray(made)[:, k * 66 : k * 66 + 64].astype(float) / 127.5 - 1 for k in range(3)
        ]
    error = np.abs(parts[0] - parts[1]).mean(2)
    assert np.abs((parts[2][..., 0] + 1) / 4 - error)[error < 0.45].max() < 0.02
    rms = float(np.sqrt(((parts[0] - parts[1]) ** 2).mean()))
    assert abs(float(lines[1].split()[-1]) - rms) < 2e-3
    assert 0.5 < float(lines[1].partition("SSIM ")[2].partition(",")[0]) < 1
    assert 10 < int(lines[2].partition("%")[0]) < 90
    told = said(capsys, *asked, "--model", run, "--overwrite")
    assert told.startswith("3 x 8 x 8 -> 4 x 4 x 4, f = 2\n")


def test_what_cannot_be_reconstructed_is_one_line(
    run: Path, checkpoint: Path, emoji: dict[str, bytes], tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "a.png").write_bytes(next(iter(emoji.values())))
    asked = ["reconstruct", tmp_path / "a.png", "--out", tmp_path / "both.png"]
    assert "samples pixels" in refused(capsys, *asked, "--model", checkpoint)
    assert "pixels have none" in refused(capsys, *asked, "--first-stage", "pixels")
    assert "next that fit are 16 x 16" in refused(capsys, *asked, "--size", 12)
    assert "a.png" in refused(
        capsys, "reconstruct", tmp_path / "a.png", "--out", tmp_path / "a.png"
    )
