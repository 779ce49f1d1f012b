"""The sample command with what a model is told: labels, prompts, guidance, and where it looked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sd.checkpoints import save_checkpoint
from sd.config import Config
from sd.export import read_recipe
from tests.commands import Capture, files_below, refused, said
from tests.test_conditioning import trained

KINDS = ("class_embedding", "class_tokens", "captions")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> dict[str, Path]:
    """A checkpoint of each kind, after three steps."""
    home = tmp_path_factory.mktemp("told")
    return {
        kind: save_checkpoint(trained(tiny_config, kind).model, home / kind, {"step": 3})
        for kind in KINDS
    }


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path) as opened:
        return dict(opened)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_asked_for_is_in_the_recipe_and_made_again(
    capsys: Capture, models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    flag, one, other = ("--prompt", "a red circle", "a blue square")
    if kind != "captions":
        flag, one, other = ("--label", "circle", "square")
    words = [flag, one, flag, other, "--negative", other, "--guidance", 3, "--rescale", 0.5]
    words += ["--interval", 0.1, 0.9, "--count", 3, "--steps", 4]
    said(capsys, "sample", models[kind], *words, "--out", tmp_path / "made")
    first = tmp_path / "made" / "seed-00000.png"
    recipe = read_recipe(first)["recipe"]
    assert recipe["prompts"] == [one, other] and recipe["negative"] == other
    assert recipe["guidance"] == [3] and recipe["rescale"] == 0.5
    assert recipe["interval"] == [0.1, 0.9]
    said(capsys, "sample", "--recipe", first, "--out", tmp_path / "again.png")
    with Image.open(first) as made, Image.open(tmp_path / "again.png") as again:
        assert made.tobytes() == again.convert(made.mode).tobytes()


def test_a_prompt_alone_is_guided_and_nothing_asked_is_not(
    capsys: Capture, models: dict[str, Path], tmp_path: Path
) -> None:
    plain = ["--count", 1, "--steps", 3, "--out"]
    model = models["captions"]
    said(capsys, "sample", model, "--prompt", "a red circle", *plain, tmp_path / "a.png")
    said(capsys, "sample", model, *plain, tmp_path / "b.png")
    assert read_recipe(tmp_path / "a.png")["recipe"]["guidance"] == [2]
    assert read_recipe(tmp_path / "b.png")["recipe"]["guidance"] == [1]


@pytest.mark.parametrize("prompt", ["", "🦊 狐", "zebra " * 10_000])
def test_any_prompt_is_taken(
    capsys: Capture, models: dict[str, Path], tmp_path: Path, prompt: str
) -> None:
    words = ["--prompt", prompt, "--count", 1, "--steps", 2, "--out", tmp_path / "x.npz"]
    said(capsys, "sample", models["captions"], *words)
    assert arrays(tmp_path / "x.npz")["samples"].shape == (1, 8, 8, 1)


@pytest.mark.parametrize(
    ("kind", "words", "line"),
    [
        ("captions", ["--label", "circle"], "--label = 'circle': this model knows no classes"),
        ("class_tokens", ["--prompt", "circle"], "--prompt = 'circle': this model knows classes"),
        ("class_tokens", ["--label", "disc"], "class 'disc': the model knows circle, square"),
        ("class_tokens", ["--label", "circle", "--guidance", 99], "guidance = 99"),
        ("captions", ["--prompt", "x", "--rescale", 2], "guidance rescale = 2"),
        ("captions", ["--prompt", "x", "--interval", 0.9, 0.1], "0 <= first <= last <= 1"),
        ("captions", ["--prompt", "x" * 100_001], "prompt: 100001 characters; at most 100000"),
        ("captions", ["--attention", "x.gif"], "--attention = 'x.gif': must be a folder or"),
    ],
)
def test_a_mistake_is_one_line(
    capsys: Capture,
    models: dict[str, Path],
    tmp_path: Path,
    kind: str,
    words: list[Any],
    line: str,
) -> None:
    out = tmp_path / "out.png"
    assert line in refused(capsys, "sample", models[kind], *words, "--steps", 2, "--out", out)
    assert not files_below(tmp_path)


def test_a_closed_form_has_no_attention(capsys: Capture, pictures: Path, tmp_path: Path) -> None:
    words = ["--steps", 2, "--attention", tmp_path / "x.png", "--out", tmp_path / "y.png"]
    assert "has no attention" in refused(capsys, "sample", f"ideal:{pictures}", *words)


def test_where_it_looked_is_written_and_changes_nothing(
    capsys: Capture, models: dict[str, Path], tmp_path: Path
) -> None:
    words = ["--prompt", "a red circle", "--count", 2, "--steps", 4, "--out"]
    model = models["captions"]
    said(capsys, "sample", model, *words, tmp_path / "plain.npz")
    looked = ["--attention", tmp_path / "looked.npz"]
    said(capsys, "sample", model, *words, tmp_path / "seen.npz", *looked)
    plain, seen = (arrays(tmp_path / f"{name}.npz")["samples"] for name in ("plain", "seen"))
    assert np.array_equal(plain, seen)
    found = arrays(tmp_path / "looked.npz")
    assert list(found["words"]) == ["a", "red", "circle"]
    assert found["heat"].shape[:2] == (4, 3)
    said(capsys, "sample", model, *words, tmp_path / "z.png", "--attention", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 4 * 8
