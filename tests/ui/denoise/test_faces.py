"""Faces beside what typing offers: of the set that a model learned; none where it is gone."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sd import runs
from sd.checkpoints.model import Model
from sd.data.ingest import ingest_images
from sd.ui import models
from sd.ui.denoise import faces
from sd.ui.denoise.prompts import offered_prompts
from tests.helpers.denoising import CAPTIONS, CLASSES, LABELLED, WORDED

pytestmark = pytest.mark.usefixtures("little")


@pytest.fixture
def copied(told: dict[str, Model]) -> Iterator[Any]:
    """Return what copies a told model's folder within its home; the copies go at the end."""
    made: list[Path] = []

    def copy(name: str, to: str) -> Path:
        made.append(shutil.copytree(runs.default_home().path / name, runs.default_home().path / to))
        return made[-1]

    yield copy
    for folder in made:
        shutil.rmtree(folder)


def shown(model: str) -> dict[str, Any]:
    """Return what the bar is told of a model's faces."""
    updates: dict[str, Any] = faces.show_faces(model)
    return dict(updates["asked"]["patch"]["faces"])


def face(told: dict[str, Any], n: int) -> Any:
    """Return the n-th face of the sheet: [H, W, 3]."""
    down, right = divmod(n, told["across"])
    side = told["side"]
    sheet = np.asarray(Image.open(told["src"]["path"]).convert("RGB"))
    return sheet[down * side : (down + 1) * side, right * side : (right + 1) * side]


def kept(folder: Path, place: Path, of: dict[str, str]) -> None:
    """Keep a picture of one colour for each text, which is its caption or its folder's name."""
    for text, colour in of.items():
        where = place / text if text in CLASSES else place
        where.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(where / f"{colour}.png")
        if text not in CLASSES:
            (where / f"{colour}.txt").write_text(text)
    for _ in ingest_images(place, folder / "pictures", height=8, width=8, channels=3, fit="crop"):
        pass


@pytest.mark.parametrize(("model", "texts"), [(WORDED, CAPTIONS[:2]), (LABELLED, CLASSES)])
def test_a_run_s_own_pictures_are_the_faces(
    copied: Any, tmp_path: Path, model: str, texts: tuple[str, ...]
) -> None:
    colours = dict(zip(texts, ("red", "blue"), strict=True))
    kept(copied(model, "mine"), tmp_path / "set", colours)
    told = shown("mine")
    offered = offered_prompts(models.find("mine"))
    assert {offered[place] for place in told["known"]} == set(texts)
    for n, place in enumerate(told["known"]):
        mean = face(told, n).mean((0, 1))
        assert mean.argmax() == {"red": 0, "blue": 2}[colours[offered[place]]], mean
    Path(told["src"]["path"]).unlink()  # as gradio does after a day
    assert Path(shown("mine")["src"]["path"]).is_file()


def test_a_bundled_set_s_pictures_are_the_faces(copied: Any) -> None:
    (copied(WORDED, "shaped") / runs.SOURCE).write_text(json.dumps({"data": "shapes"}))
    told, offered = shown("shaped"), offered_prompts(models.find("shaped"))
    assert offered[: len(CAPTIONS)] == CAPTIONS and "blue square" in offered
    n = told["known"].index(offered.index("blue square"))
    ink = 255 - face(told, n).reshape(-1, 3).astype(int)
    assert ink[:, 0].sum() > 2 * ink[:, 2].sum() > 0  # blue lacks red


def test_without_a_set_there_are_none(told: dict[str, Model]) -> None:
    assert shown(WORDED) == {} == shown("little")
