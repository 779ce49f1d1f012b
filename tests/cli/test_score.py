"""The exact score of models of drawn shapes: what is right, what is new, what is a copy."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sd.cli import score
from sd.cli.parser import main
from sd.config import Config
from sd.data import shapes
from sd.data.images import to_float
from sd.data.ingest import open_images
from tests.helpers.commands import Capture, refused, said
from tests.runs.test_resume import make_small_samples

PICTURES = 60


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> Path:
    """A run of one step on drawn shapes."""
    place = tmp_path_factory.mktemp("score")
    (place / "shapes.zip").write_bytes(shapes.make_set(PICTURES, 3))
    settings = [f"training.input_{side}=32" for side in ("height", "width")]
    settings += ["training.steps=1", "unet.channel=3", "unet.n_embed=3", "unet.patch_size=8"]
    settings += ["unet.transformer_depth=1", "unet.context_dim=32", "conditioning.kind=captions"]
    settings += ["training.held_out=0"]
    (place / "a.ini").write_text(tiny_config.with_settings(settings).to_ini())
    with pytest.MonkeyPatch.context() as patch:
        make_small_samples(patch)
        words = ["train", place / "shapes.zip", "--config", place / "a.ini", "--run", place / "run"]
        assert main([str(word) for word in words]) == 0
    return place / "run"


def drawing(by: Callable[[str, int], Tensor]) -> Any:
    """Return a stand-in for the sampling: a picture for each caption and its seed."""

    def draw(_: Any, prompts: Sequence[str], *__: Any) -> Tensor:
        return torch.stack([by(caption, seed) for seed, caption in enumerate(prompts)])

    return draw


def as_asked(caption: str, seed: int) -> Tensor:
    picture = shapes.draw(caption, np.random.default_rng([9, seed]))
    return to_float(torch.tensor(np.array(picture)).permute(2, 0, 1))


def test_half_of_the_captions_asked_were_never_trained_on() -> None:
    trained = [each for each in shapes.captions() if not shapes.is_held_out(each)]
    asked = score.choose_captions(trained, 40)
    assert sum(seen for _, seen in asked) == 20
    assert all(shapes.is_held_out(caption) is not seen for caption, seen in asked)
    assert len({caption for caption, _ in asked}) == 40
    only = score.choose_captions(shapes.captions(), 10)
    assert len(only) == 10 and all(seen for _, seen in only)


def test_what_is_drawn_as_asked_is_right_and_new(
    run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "draw", drawing(as_asked))
    printed = said(capsys, "score", run, "--count", 20)
    right = "100.0% (10) drawn as asked, 0.0% (0) copies"
    assert printed.splitlines()[:2] == [
        f"10 samples of captions in training: {right}",
        f"10 samples of captions never shown: {right}",
    ]


def test_a_model_that_repeats_its_pictures_copies_and_is_wrong_where_it_was_shown_nothing(
    run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = open_images(run / "pictures")
    captions = list(images.captions or ())

    def repeat(caption: str, _: int) -> Tensor:
        place = captions.index(caption) if caption in captions else 0
        return to_float(images.pixels[place])

    monkeypatch.setattr(score, "draw", drawing(repeat))
    found = json.loads(said(capsys, "score", run, "--count", 20, "--json"))
    assert found["trained"] == {"count": 10, "right": 10, "copies": 10}
    assert found["unseen"]["right"] == 0 and found["unseen"]["copies"] == 10


def test_the_model_itself_is_asked(run: Path, capsys: Capture) -> None:
    found = json.loads(said(capsys, "score", run, "--count", 4, "--steps", 2, "--json"))
    assert found["trained"] == found["unseen"] == {"count": 2, "right": 0, "copies": 0}
    assert found["steps"] == 2 and found["sampler"] == "dpmpp_2m"


def test_what_cannot_be_scored_is_one_line(
    run: Path, checkpoint: Path, capsys: Capture, tmp_path: Path
) -> None:
    assert "knows no captions" in refused(capsys, "score", checkpoint)
    assert "--count = 1" in refused(capsys, "score", run, "--count", 1)
    assert "nowhere" in refused(capsys, "score", tmp_path / "nowhere")
    assert "knows no captions" in refused(capsys, "score", f"ideal:{tmp_path}")
