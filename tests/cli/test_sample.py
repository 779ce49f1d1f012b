"""The sample command: beginnings, forms, closed-form models, and recipes that are made again."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.cli.parser import main
from sd.common.encoding import png_bytes
from sd.config import Config
from sd.data.image_set import read_images
from sd.data.ingest import ingest_images
from sd.diffusion.timesteps import SAMPLERS, SPACINGS, VARIANCES
from sd.generation.export import read_recipe, write_png
from sd.generation.player.one_file import read_html
from sd.generation.recipe import Branch, Recipe, from_json
from tests.checkpoints.test_checkpoint import network_of
from tests.helpers.commands import Capture, files_below, refused, said


@pytest.fixture
def model(home: Path, tiny_config: Config) -> Path:
    """A run called `little` at home, with a checkpoint of random weights."""
    network = network_of(tiny_config)
    save_checkpoint(Model(network, tiny_config), home / "little" / "checkpoint-7", {"step": 7})
    (home / "little" / "config.ini").write_text(tiny_config.to_ini(), encoding="utf-8")
    return home / "little"


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as opened:
        return dict(opened)


def pixels(path: Path) -> Any:
    with Image.open(path) as opened:
        return np.asarray(opened)


# samplers and beginnings


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("spacing", SPACINGS)
def test_every_sampler_goes_over_every_grid(
    capsys: Capture, model: Path, tmp_path: Path, sampler: str, spacing: str
) -> None:
    words = ["--sampler", sampler, "--spacing", spacing, "--steps", 4, "--count", 2]
    said(capsys, "sample", model, *words, "--keep-steps", "--out", tmp_path / "x.npz")
    made = arrays(tmp_path / "x.npz")
    assert made["steps"].shape == (4, 2, 8, 8, 1) and made["times"][-1] == 0
    assert all(np.diff(made["times"]) < 0)


def test_help_names_every_choice(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for word in (*SAMPLERS, *SPACINGS, *VARIANCES, "ideal:DATA", "linear:DATA", ".html"):
        assert word in shown


def test_between_two_seeds_the_ends_are_those_seeds(
    capsys: Capture, model: Path, tmp_path: Path
) -> None:
    between = ["--seed", 3, "--seed-to", 8, "--count", 4]
    said(capsys, "sample", model, *between, "--steps", 5, "--out", tmp_path / "x.npz")
    made = arrays(tmp_path / "x.npz")["samples"].astype(int)
    for place, seed in ((0, 3), (3, 8)):
        words = ["--seed", seed, "--count", 1, "--steps", 5, "--out", tmp_path / f"{seed}.npz"]
        said(capsys, "sample", model, *words)
        assert abs(arrays(tmp_path / f"{seed}.npz")["samples"][0] - made[place]).max() <= 1
    assert abs(made[1] - made[0]).max() > 5 and abs(made[1] - made[2]).max() > 5
    said(capsys, "sample", model, *between, "--steps", 5, "--out", tmp_path / "x")
    assert files_below(tmp_path / "x") == {
        f"seed-00003-to-00008-{place:04d}.png" for place in (1, 2, 3, 4)
    }


def test_from_a_picture_the_ideal_model_finds_that_picture(
    capsys: Capture, pictures: Path, tmp_path: Path
) -> None:
    known = read_images(pictures)
    place = known.names.index(sorted(path.name for path in pictures.iterdir())[4])
    words = ["--from", pictures / known.names[place], "--t", 200, "--count", 2, "--steps", 9]
    said(capsys, "sample", f"ideal:{pictures}", *words, "--out", tmp_path / "x.npz")
    made = arrays(tmp_path / "x.npz")["samples"]
    wanted = known.pixels[place].permute(1, 2, 0).numpy()
    assert np.array_equal(made[0], wanted) and np.array_equal(made[1], wanted)


def test_outside_the_mask_the_picture_stays(
    capsys: Capture, model: Path, pictures: Path, tmp_path: Path
) -> None:
    picture = sorted(pictures.iterdir())[0]
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = ["--from", picture, "--t", 50, "--mask", tmp_path / "mask.png", "--steps", 5]
    said(capsys, "sample", model, *words, "--count", 2, "--out", tmp_path / "x.npz")
    made = arrays(tmp_path / "x.npz")["samples"][..., 0]
    wanted = read_images(picture, height=8, width=8, channels=1).pixels[0, 0].numpy()
    assert np.array_equal(made[:, :, :4], np.stack([wanted[:, :4]] * 2))
    assert abs(made[0, :, 4:].astype(int) - wanted[:, 4:]).max() > 5
    assert not np.array_equal(made[0], made[1])


def test_a_run_gives_its_own_pictures_and_no_network(
    capsys: Capture, model: Path, pictures: Path, tmp_path: Path
) -> None:
    shape = {"height": 8, "width": 8, "channels": 1}
    for _ in ingest_images(pictures, model / "pictures", fit="crop", **shape):
        pass
    known = read_images(pictures, **shape).pixels[:, 0].numpy()
    words = ["--count", 3, "--steps", 12]
    for kind in ("ideal", "linear"):
        printed = said(capsys, "sample", f"{kind}:{model}", *words, "--out", tmp_path / kind)
        assert printed == f"3 pictures on CPU, 1 thread: {tmp_path / kind}\n"
        found = pixels(tmp_path / kind / "seed-00001.png")
        assert any(np.array_equal(found, each) for each in known) == (kind == "ideal")
        told = read_recipe(tmp_path / kind / "seed-00001.png")
        assert told["recipe"]["model"] == f"{kind}:little" and told["index"] == 1


# forms


def test_the_steps_become_a_film_in_each_form(capsys: Capture, model: Path, tmp_path: Path) -> None:
    words = ["--count", 4, "--steps", 6, "--sampler", "heun"]
    for form in ("gif", "webp", "mp4", "html", "npz"):
        said(capsys, "sample", model, *words, "--keep-steps", "--out", tmp_path / f"x.{form}")
    for form in ("gif", "webp"):
        with Image.open(tmp_path / f"x.{form}") as film:
            assert (film.format, film.n_frames) == (form.upper(), 6)
    with av.open(str(tmp_path / "x.mp4")) as mp4:
        assert len(list(mp4.decode(video=0))) >= 6
    (film,), record = read_html(tmp_path / "x.html")
    assert (film["total"], film["calls"], film["count"], film["label"]) == (6, 2, 4, "little")
    assert [frame["i"] for frame in film["frames"]] == [1, 2, 3, 4, 5, 6]
    assert all(chunk["src"].startswith("data:") for chunk in film["chunks"])
    assert from_json(record["recipe"]) == from_json(png_recipe(capsys, model, tmp_path, *words))
    times = arrays(tmp_path / "x.npz")["times"]
    assert [frame["t"] for frame in film["frames"]] == pytest.approx(times.tolist(), rel=1e-5)


def png_recipe(capsys: Capture, model: Path, tmp_path: Path, *words: Any) -> dict[str, Any]:
    said(capsys, "sample", model, *words, "--out", tmp_path / "sheet.png")
    told: dict[str, Any] = read_recipe(tmp_path / "sheet.png")["recipe"]
    return told


def test_a_long_film_is_written_part_by_part(capsys: Capture, model: Path, tmp_path: Path) -> None:
    said(capsys, "sample", model, "--count", 1, "--steps", 70, "--out", tmp_path / "x.html")
    (film,), _ = read_html(tmp_path / "x.html")
    assert [chunk["first"] for chunk in film["chunks"]] == [1, 33, 65]
    said(capsys, "sample", model, "--count", 1, "--steps", 130, "--out", tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == 100


# recipes


BEGINNINGS: list[list[Any]] = [
    [],
    ["--sampler", "ddpm", "--variance", "fixed_large", "--spacing", "linspace"],
    ["--sampler", "ddim", "--eta", 0.7, "--no-clip"],
    ["--sampler", "unipc", "--spacing", "karras"],
    ["--seed-to", 90],
    ["--from", "{picture}", "--t", 33.5],
    ["--from", "{picture}", "--t", 40, "--mask", "{picture}"],
]


@pytest.mark.parametrize("beginning", BEGINNINGS, ids=lambda words: " ".join(map(str, words)))
def test_a_recipe_makes_the_same_picture_again(
    capsys: Capture, model: Path, pictures: Path, tmp_path: Path, beginning: list[Any]
) -> None:
    picture = sorted(pictures.iterdir())[3]
    words = [str(word).format(picture=picture) for word in beginning]
    words += ["--count", "3", "--steps", "5", "--seed", "5"]
    said(capsys, "sample", model, *words, "--out", tmp_path / "made")
    said(capsys, "sample", model, *words, "--out", tmp_path / "sheet.png")
    picture.unlink()
    for file in (tmp_path / "made").iterdir():
        said(capsys, "sample", "--recipe", file, "--out", tmp_path / "again")
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
        assert files_below(tmp_path / "again") == {file.name}
        shutil.rmtree(tmp_path / "again")
    said(capsys, "sample", "--recipe", tmp_path / "sheet.png", "--out", tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "sheet.png").read_bytes()
    said(capsys, "sample", "--recipe", tmp_path / "sheet.png", "--out", tmp_path / "all")
    assert files_below(tmp_path / "all") == files_below(tmp_path / "made")


def test_a_pictures_own_recipe_gives_its_arrays_alone(
    capsys: Capture, model: Path, tmp_path: Path
) -> None:
    words = ["--count", 3, "--steps", 5, "--seed", 5, "--keep-steps"]
    said(capsys, "sample", model, *words, "--out", tmp_path / "all.npz")
    said(capsys, "sample", model, *words, "--out", tmp_path / "made")
    file = tmp_path / "made" / "seed-00006.png"
    printed = said(
        capsys, "sample", "--recipe", file, "--keep-steps", "--out", tmp_path / "one.npz"
    )
    assert printed.startswith("1 picture on CPU")
    every, one = arrays(tmp_path / "all.npz"), arrays(tmp_path / "one.npz")
    assert one["seeds"].tolist() == [6]
    assert np.array_equal(one["steps"], every["steps"][:, 1:2])
    assert np.array_equal(one["samples"][0, ..., 0], pixels(file))


def recipe_file(path: Path, recipe: Recipe, /, **more: Any) -> Path:
    """Write a PNG as the page does, with whatever else it says."""
    record = {"recipe": recipe.to_json(), "index": 0, "made": {"device": "cpu"}} | more
    write_png(Image.new("L", (8, 8)), path, record)
    return path


def test_a_branch_goes_on_from_its_parent(capsys: Capture, model: Path, tmp_path: Path) -> None:
    parent = Recipe("little", steps=5, count=2, seed=4)
    same = Recipe("little", steps=3, count=2, seed=4, branch=Branch(parent, 2))
    painted = replace(same, branch=Branch(parent, 2, png_bytes(Image.new("RGBA", (8, 8), "red"))))
    for name, recipe in (("parent", parent), ("same", same), ("painted", painted)):
        file = recipe_file(tmp_path / f"{name}.png", recipe, sheet=True)
        said(capsys, "sample", "--recipe", file, "--out", tmp_path / f"{name}.npz")
    made = {
        name: arrays(tmp_path / f"{name}.npz")["samples"].astype(int)
        for name in ("parent", "same", "painted")
    }
    assert abs(made["same"] - made["parent"]).max() <= 1
    assert abs(made["painted"] - made["same"]).max() > 5


def test_a_model_that_moved_on_or_away_is_one_line(
    capsys: Capture, model: Path, tmp_path: Path, tiny_config: Config
) -> None:
    said(capsys, "sample", model, "--count", 1, "--steps", 2, "--out", tmp_path / "made")
    file = tmp_path / "made" / "seed-00000.png"
    told = read_recipe(file)["recipe"]
    assert (told["model"], told["step"], len(told["digest"])) == ("little", 7, 16)
    network = network_of(tiny_config)
    with torch.no_grad():
        network.out[-1].bias.add_(0.1)  # type: ignore[operator, union-attr]
    save_checkpoint(Model(network, tiny_config), model / "checkpoint-8", {"step": 8})
    said(capsys, "sample", "--recipe", file, "--out", tmp_path / "kept")
    assert np.array_equal(pixels(tmp_path / "kept" / file.name), pixels(file))
    (model / "checkpoint-7").rename(model / "aside-7")
    line = refused(capsys, "sample", "--recipe", file)
    assert "made at step 7 with other weights than those here (step 8)" in line
    (model / "aside-7").rename(model / "checkpoint-7")
    said(capsys, "sample", model / "checkpoint-7", "--count", 1, "--out", tmp_path / "old")
    old = read_recipe(tmp_path / "old" / "seed-00000.png")["recipe"]
    assert old["model"] == str(model / "checkpoint-7")
    said(capsys, "sample", "--recipe", tmp_path / "old" / "seed-00000.png", "--out", tmp_path / "x")
    shutil.rmtree(model)
    line = refused(capsys, "sample", "--recipe", file)
    assert line.startswith("the recipe's model 'little': little: no checkpoint there")


def test_at_a_step_a_recipe_is_left_as_the_flags_say(
    capsys: Capture, model: Path, tmp_path: Path
) -> None:
    parent = Recipe("little", steps=6, count=2, seed=4, sampler="ddpm")
    file, out = recipe_file(tmp_path / "parent.png", parent, sheet=True), tmp_path / "made"
    said(capsys, "sample", "--recipe", file, "--at", 2, "--out", out)
    found = from_json(read_recipe(out / "seed-00004.png")["recipe"])
    assert found == replace(parent, steps=4, branch=Branch(parent, 2))
    said(capsys, "sample", "--recipe", file, "--out", tmp_path / "parent")
    for name in ("seed-00004.png", "seed-00005.png"):
        assert np.array_equal(pixels(out / name), pixels(tmp_path / "parent" / name))
    words = ["--seed", 9, "--sampler", "ddim", "--eta", 1, "--steps", 3]
    said(capsys, "sample", "--recipe", file, "--at", 2, *words, "--out", tmp_path / "other")
    other = from_json(read_recipe(tmp_path / "other" / "seed-00009.png")["recipe"])
    assert (other.seed, other.sampler, other.eta, other.steps) == (9, "ddim", 1.0, 3)
    assert other.branch == Branch(parent, 2)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["{model}", "--at", "2"], "--at: tell with --recipe"),
        (["--recipe", "{file}", "--at", "6"], "--at = 6: must be a whole number from 1 to 5"),
        (["--recipe", "{file}", "--at", "0"], "--at = 0"),
        (["--recipe", "{file}", "--at", "2", "--count", "9"], "--count cannot be given"),
        (["--recipe", "{file}", "--at", "2", "--size", "16"], "--size cannot be given"),
        (["--recipe", "{file}", "--at", "2", "--prompt", "x"], "knows no words or classes"),
    ],
)
def test_what_no_branch_can_be_told_is_one_line(
    capsys: Capture, model: Path, tmp_path: Path, words: list[str], line: str
) -> None:
    file = recipe_file(tmp_path / "parent.png", Recipe("little", steps=6))
    assert line in refused(
        capsys, "sample", *(each.format(model=model, file=file) for each in words)
    )


def test_another_size_is_drawn_with_its_price_and_a_word(
    capsys: Capture, model: Path, tmp_path: Path
) -> None:
    words = ["sample", model, "--count", 1, "--steps", 3, "--size", "16x12"]
    assert main([*map(str, words), "--out", str(tmp_path / "made")]) == 0
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith("16x12: never trained, 8x8 was; a picture takes 3 times the operations")
    file = tmp_path / "made" / "seed-00000.png"
    assert pixels(file).shape == (16, 12) and read_recipe(file)["recipe"]["size"] == [16, 12]
    said(capsys, "sample", "--recipe", file, "--out", tmp_path / "again")
    assert np.array_equal(pixels(tmp_path / "again" / file.name), pixels(file))
    assert "must be multiples of 2" in refused(capsys, "sample", model, "--size", "15")
    assert "must be HEIGHTxWIDTH" in refused(capsys, "sample", model, "--size", "big")


def test_what_a_stranger_says_of_the_machine_changes_nothing(
    capsys: Capture, model: Path, tmp_path: Path
) -> None:
    recipe = Recipe("little", steps=3, count=1)
    threads = torch.get_num_threads()
    for made in ({"threads": 10**9, "matmul": "x", "device": "x"}, {"threads": True}, [], None, 7):
        file = recipe_file(tmp_path / "x.png", recipe, made=made)
        assert main(["sample", "--recipe", str(file), "--out", str(tmp_path / "out")]) == 0
        assert "the last digits may differ" in capsys.readouterr().err
        assert torch.get_num_threads() == threads


# mistakes


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "give a checkpoint or run folder, a file of Stable Diffusion, ideal:DATA"),
        (["ideal:"], "ideal: tell of which pictures"),
        (["ideal:{place}/missing"], "missing: no such folder, zip or picture"),
        (["linear:{place}/alone"], "needs at least 2 pictures; the set has 1"),
        (["ideal:{model}"], "little: holds config.ini but no pictures"),
        (["idea:starter"], "idea:starter: no checkpoint there"),
        (["{model}", "--t", "5"], "--t: tell with --from PICTURE"),
        (["{model}", "--mask", "{picture}"], "--mask: tell with --from PICTURE"),
        (["{model}", "--from", "{picture}"], "--from: tell with --t how far"),
        (
            ["{model}", "--from", "{picture}", "--t", "0"],
            "--t = 0: must be a number above 0, at most",
        ),
        (
            ["{model}", "--from", "{picture}", "--t", "51"],
            "--t = 51: must be a number above 0, at most 50",
        ),
        (["{model}", "--from", "{picture}", "--t", "nan"], "--t = nan"),
        (["{model}", "--from", "{place}/page.png", "--t", "9"], "page.png: not a picture"),
        (["{model}", "--from", "{place}/none.png", "--t", "9"], "none.png: cannot be read"),
        (["{model}", "--from", "{picture}", "--t", "9", "--mask", "{place}"], "cannot be read"),
        (["{model}", "--seed-to", "-2"], "--seed-to = -2: must be a whole number from 0"),
        (["{model}", "--seed-to", "1.5"], "--seed-to = 1.5"),
        (["{model}", "--steps", "2.5"], "--steps = 2.5"),
        (["{model}", "--sampler", "uni_pc"], "did you mean 'unipc'?"),
        (["{model}", "--spacing", "karas"], "did you mean 'karras'?"),
        (["--recipe", "{picture}"], ".png: a PNG from elsewhere: it carries no recipe"),
        (["--recipe", "{place}/page.png"], "page.png: not a PNG"),
        (["--recipe", "{place}/none.png"], "none.png: cannot be read (No such file"),
        (["--recipe", "{place}"], "cannot be read (Is a directory)"),
        (["--recipe", "{place}/good.png", "--seed", "0"], "--recipe: --seed cannot be given"),
        (["--recipe", "{place}/good.png", "--no-clip"], "--recipe: --no-clip cannot be given"),
        (["{model}", "--recipe", "{place}/good.png"], "--recipe: CHECKPOINT cannot be given"),
        (["--recipe", "{place}/good.png", "--device", "tpu"], "device = 'tpu'"),
        (["--recipe", "{place}/far.png"], "far.png: recipe: index = 3: must be a whole number"),
        (["--recipe", "{place}/odd.png"], "odd.png: recipe = 7: must be an object"),
        (["--recipe", "{place}/upload.png"], "the recipe's model 'ideal:0123': 0123: no such"),
        (
            ["--recipe", "{place}/good.png", "--out", "{place}/x.bmp"],
            "must be a folder or FILE.png",
        ),
    ],
)
def test_a_mistake_is_one_line(
    capsys: Capture, model: Path, pictures: Path, tmp_path: Path, words: list[str], line: str
) -> None:
    picture = sorted(pictures.iterdir())[0]
    (tmp_path / "page.png").write_text("<html>")
    (tmp_path / "alone").mkdir()
    shutil.copy(picture, tmp_path / "alone")
    recipe_file(tmp_path / "good.png", Recipe("little", steps=2, count=3))
    recipe_file(tmp_path / "far.png", Recipe("little", count=3), index=3)
    recipe_file(tmp_path / "odd.png", Recipe("little"), recipe=7)
    recipe_file(tmp_path / "upload.png", Recipe("ideal:0123"))
    before = files_below(tmp_path)
    given = [word.format(place=tmp_path, model=model, picture=picture) for word in words]
    assert line in refused(capsys, "sample", *given)
    assert files_below(tmp_path) == before


def test_a_recipe_of_branches_without_end_is_one_line(
    capsys: Capture, model: Path, tmp_path: Path
) -> None:
    told: dict[str, Any] = Recipe("little").to_json()
    for _ in range(200):
        told = {**Recipe("little").to_json(), "branch": {"recipe": told, "at": 1}}
    assert len(json.dumps(told)) < 100_000
    file = recipe_file(tmp_path / "deep.png", Recipe("little"), recipe=told)
    assert "branches of branches" in refused(capsys, "sample", "--recipe", file)
