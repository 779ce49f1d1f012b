"""The sample command with what a model is told: labels, prompts, guidance, and where it looked."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sd.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from sd.checkpoints.model import Model
from sd.cli.parser import main
from sd.config import Config
from sd.generation.export import read_recipe
from tests.conftest import TINY
from tests.helpers.commands import Capture, files_below, refused, said
from tests.networks.test_conditioning import trained

KINDS = ("class_embedding", "class_tokens", "captions")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> dict[str, Path]:
    """A checkpoint of each kind, after three steps."""
    home = tmp_path_factory.mktemp("told")
    return {
        kind: save_checkpoint(trained(tiny_config, kind).model, home / kind, {"step": 3})
        for kind in (*KINDS, "none")
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


def remarked(capsys: Capture, *words: Any) -> list[str]:
    """Run a command that must succeed; return what it says beside its result."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_is_asked_it_is_what_the_run_s_own_samples_were(
    capsys: Capture, models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    plain, model = ["--count", 3, "--steps", 2, "--out"], load_checkpoint(models[kind])
    own = list(model.default_prompts)
    assert own == list(trained(Config().with_settings(TINY), kind).sample_prompts) and len(own) > 1
    (line,) = remarked(capsys, "sample", models[kind], *plain, tmp_path / "usual.png")
    assert line.startswith("asked for what its own samples were, ") and own[0] in line
    usual = read_recipe(tmp_path / "usual.png")["recipe"]
    assert (usual["prompts"], usual["guidance"]) == (own, [2])
    flag = "--prompt" if kind == "captions" else "--label"
    asked = [word for prompt in own for word in (flag, prompt)]
    assert remarked(capsys, "sample", models[kind], *asked, *plain, tmp_path / "asked.png") == []
    assert (tmp_path / "asked.png").read_bytes() == (tmp_path / "usual.png").read_bytes()
    untold = ["--unconditional", *plain, tmp_path / "nothing.png"]
    assert remarked(capsys, "sample", models[kind], *untold) == []
    nothing = read_recipe(tmp_path / "nothing.png")["recipe"]
    assert (nothing["prompts"], nothing["guidance"]) == ([], [1])
    again = ["--recipe", tmp_path / "nothing.png", "--out", tmp_path / "again.png"]
    assert remarked(capsys, "sample", *again) == []
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "nothing.png").read_bytes()


def test_what_a_run_s_samples_were_told_to_be_comes_first(tiny_config: Config) -> None:
    chosen = trained(tiny_config, "class_tokens", 'conditioning.sample_prompts=["square"]', steps=0)
    assert chosen.model.default_prompts == ("square",)
    assert Model(chosen.model.unet, tiny_config).default_prompts == ()


NOTHING = "this model is told nothing"
UNASKED = "nothing is asked for"
AS_IT_IS = "guidance 1 is what is asked for, as it is"
RED = ["--prompt", "a red circle"]


@pytest.mark.parametrize(
    ("kind", "words", "line"),
    [
        ("none", ["--guidance", 2], f"--guidance changes nothing: {NOTHING}"),
        (
            "none",
            ["--rescale", 0.5, "--interval", 0, 1],
            f"--rescale, --interval change nothing: {NOTHING}",
        ),
        (
            "captions",
            [*RED, "--negative", "blue", "--guidance", 1],
            f"--negative changes nothing: {AS_IT_IS}",
        ),
        (
            "captions",
            [*RED, "--guidance", 1, "--rescale", 0.5],
            f"--rescale changes nothing: {AS_IT_IS}",
        ),
        (
            "captions",
            ["--unconditional", "--guidance", 3],
            f"--guidance changes nothing: {UNASKED}",
        ),
        ("captions", ["--unconditional", "--negative", "blue"], None),
        ("captions", ["--unconditional", "--negative", "blue", "--guidance", 3], None),
        (
            "captions",
            ["--unconditional", "--negative", "blue", "--guidance", 1],
            f"--negative changes nothing: {AS_IT_IS}",
        ),
        ("captions", [*RED, "--negative", "a red circle"], None),
        (
            "captions",
            [*RED, "--negative", "a red circle", "--guidance", 3],
            "--guidance changes nothing: what is asked for is what it is held against",
        ),
        (
            "captions",
            [*RED, "--interval", 0.01, 0.02],
            "--interval changes nothing: no step lies within the interval",
        ),
        ("captions", [*RED, *RED, *RED], "--prompt: of 3 only 2 used; --count 3 takes all"),
        ("captions", [*RED, "--guidance", 1, 2, 3], "--guidance: of 3 only 2 used; --count 3"),
        ("captions", [*RED, "--seed-to", 0], "--seed-to changes nothing: it is --seed itself"),
        ("none", ["--keep-steps"], "--keep-steps changes nothing: a sheet has the end alone"),
        ("none", ["--eta", 0.5, "--sampler", "euler"], "--eta changes nothing: it is ddim's"),
        ("none", ["--variance", "fixed_large"], "--variance changes nothing: it is ddpm's"),
        ("captions", [*RED, "--guidance", 0], "--prompt changes nothing: guidance 0"),
        ("captions", [*RED, "--negative", "blue", "--guidance", 1, 2, "--interval", 0, 0.9], None),
    ],
)
def test_what_changes_nothing_is_told(
    capsys: Capture,
    models: dict[str, Path],
    tmp_path: Path,
    kind: str,
    words: list[Any],
    line: str | None,
) -> None:
    steps = ["--count", 2, "--steps", 3, "--out"]
    found = remarked(capsys, "sample", models[kind], *words, *steps, tmp_path / "x.png")
    assert len(found) == (line is not None) and all(each.startswith(line or "") for each in found)


def test_words_that_training_never_saw_are_told(
    capsys: Capture, models: dict[str, Path], tmp_path: Path
) -> None:
    words = ["--prompt", "A red, CIRCLE! beside zebra", "--negative", "mouse", "--count", 1]
    words += ["--steps", 2, "--out", tmp_path / "x.png"]
    told = remarked(capsys, "sample", models["captions"], *words)
    assert told == ["never seen in training: beside, zebra, mouse"]


def test_a_model_that_never_trained_untold_is_not_guided(
    capsys: Capture, tiny_config: Config, tmp_path: Path
) -> None:
    made = trained(tiny_config, "class_tokens", "conditioning.drop=0", steps=0).model
    folder, plain = save_checkpoint(made, tmp_path / "c", {"step": 0}), ["--count", 1, "--steps", 2]
    plain += ["--out", tmp_path / "x.png"]
    remarked(capsys, "sample", folder, *plain)
    assert read_recipe(tmp_path / "x.png")["recipe"]["guidance"] == [1]
    for words in (["--guidance", 2], ["--unconditional"]):
        (tmp_path / "x.png").unlink()
        assert "never trained" in remarked(capsys, "sample", folder, *words, *plain)[-1]


@pytest.mark.parametrize("prompt", ["", "🦊 狐", "zebra " * 1_600])
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
        ("captions", ["--prompt", "x" * 10_001], "prompt: 10001 characters; at most 10000"),
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
