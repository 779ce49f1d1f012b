"""The sample command's grid: each cell a picture with its own recipe, and a sheet of all."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.cli.parser import main
from sd.config import Config
from sd.generation.export import read_recipe
from sd.networks.conditioning import conditioner_of
from sd.training.randomness import new_network
from tests.checkpoints.test_checkpoint import network_of
from tests.helpers.commands import Capture, files_below, refused, said
from tests.helpers.networks import with_weights


@pytest.fixture
def model(home: Path, tiny_config: Config) -> Path:
    """A run called `little` with checkpoints of two steps, of other weights."""
    for step, seed in ((7, 0), (9, 3)):
        network = with_weights(new_network(tiny_config, seed).eval())
        place = home / "little" / f"checkpoint-{step}"
        save_checkpoint(Model(network, tiny_config), place, {"step": step})
    (home / "little" / "config.ini").write_text(tiny_config.to_ini(), encoding="utf-8")
    return home / "little"


def pixels(path: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_every_cell_is_made_again_from_its_own_file(
    capsys: Capture, model: Path, tmp_path: Path
) -> None:
    axes = ["--grid", "checkpoint=7,9", "--grid", "seed=1,2,3"]
    out = tmp_path / "made"
    assert main(["sample", str(model), *axes, "--steps", "3", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("6 pictures, 18 network calls, about ")
    assert printed.out.startswith("2 x 3 cells on ")
    names = {f"checkpoint-{step}_seed-{seed}.png" for step in (7, 9) for seed in (1, 2, 3)}
    assert files_below(out) == names | {"grid.png"}
    for name in names:
        said(capsys, "sample", "--recipe", out / name, "--out", tmp_path / f"again-{name[:-4]}")
        (again,) = (tmp_path / f"again-{name[:-4]}").iterdir()
        assert np.array_equal(pixels(again), pixels(out / name))
    told = read_recipe(out / "checkpoint-7_seed-2.png")["recipe"]
    assert (told["step"], told["seed"], told["count"]) == (7, 2, 1)
    by_step = [pixels(out / f"checkpoint-{step}_seed-2.png") for step in (7, 9)]
    assert not np.array_equal(*by_step)


def test_a_sheet_alone_and_sizes_with_their_price(
    capsys: Capture, model: Path, tmp_path: Path
) -> None:
    words = ["--grid", "size=8,16", "--steps", "2", "--out", str(tmp_path / "sheet.png")]
    assert main(["sample", str(model), *words]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("16x16: never trained, 8x8 was;") and len(lines) == 2
    assert files_below(tmp_path) >= {"sheet.png"} and pixels(tmp_path / "sheet.png").shape[1] > 190


def test_prompts_and_guidance_of_a_model_of_classes(
    capsys: Capture, home: Path, tiny_config: Config, tmp_path: Path
) -> None:
    words = ["conditioning.kind=class_tokens", "unet.context_dim=16"]
    config = tiny_config.with_settings(words)
    conditioner = conditioner_of(config, {"kind": "class_tokens", "labels": ["cat", "dog"]})
    network = with_weights(network_of(config), conditioner)
    place = save_checkpoint(
        Model(network, config, {}, conditioner), home / "told" / "checkpoint-7", {"step": 7}
    )
    out = tmp_path / "made"
    axes = ["--grid", "prompt=cat,dog", "--grid", "guidance=1,3"]
    said(capsys, "sample", place, *axes, "--steps", 2, "--out", out)
    told = read_recipe(out / "prompt-dog_guidance-3.png")["recipe"]
    assert (told["prompts"], told["guidance"], told["seed"]) == (["dog"], [3.0], 0)
    line = refused(capsys, "sample", place, "--grid", "prompt=cat,cow")
    assert line.startswith("class 'cow': the model knows cat, dog")
    said(capsys, "sample", place, "--grid", "prompt=dog", "--steps", 2, "--out", tmp_path / "one")
    assert read_recipe(tmp_path / "one" / "prompt-dog.png")["recipe"]["guidance"] == [2.0]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--grid", "step=1"], "grid axis = 'step'"),
        (["--grid", "checkpoint=8"], "checkpoint = 8: 'little' keeps 7, 9"),
        (["--grid", "seed=1", "--seed", "2"], "--seed: cannot be given; --grid seed tells it"),
        (["--grid", "seed=1", "--count", "2"], "--count: cannot be given with --grid"),
        (["--grid", "seed=1", "--keep-steps"], "--keep-steps: cannot be given with --grid"),
        (["--grid", "seed=1", "--out", "x.gif"], "must be a folder or FILE.png"),
        (["--grid", "size=7"], "must be multiples of 2"),
        (["--grid", "prompt=cat"], "knows no words or classes"),
        (["--grid", "steps=3,2000"], "steps"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_made(
    capsys: Capture, model: Path, tmp_path: Path, words: list[str], line: str
) -> None:
    before = files_below(tmp_path)
    out = [] if "--out" in words else ["--out", tmp_path / "made"]
    assert line in refused(capsys, "sample", model, *words, *out)
    assert files_below(tmp_path) == before


def test_a_closed_form_has_a_grid_too_but_of_one_size(
    capsys: Capture, pictures: Path, tmp_path: Path
) -> None:
    said(capsys, "sample", f"ideal:{pictures}", "--grid", "steps=2,3", "--out", tmp_path / "x.png")
    line = refused(capsys, "sample", f"ideal:{pictures}", "--grid", "size=64")
    assert line.startswith("size = 64x64: the ideal model draws the size of its pictures alone")
