"""A picture of another program: its settings come into the fields, and what cannot is told."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sd.ui.adapter.errors import PageError
from sd.ui.denoise import inpaint
from sd.ui.denoise.form import FIRST
from sd.ui.denoise.tools import like, takeaway
from sd.ui.denoise.tree import Tree
from tests.generation.others.test_webui import TEXT, made
from tests.helpers.denoising import CHINESE, ENGLISH


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "there.png").write_bytes(made(TEXT).getvalue())
    return str(tmp_path / "there.png")


def values_of(updates: Any) -> dict[str, Any]:
    found: dict[str, Any] = updates["held"]["patch"]["values"]
    return found


def test_its_settings_come_into_the_fields(file: str) -> None:
    updates = takeaway.bring(ENGLISH, Tree(), file)
    assert values_of(updates) == {
        **{"sampler": "dpmpp_2m", "spacing": "karras", "negative": "blurry,\ndog", "steps": 20},
        **{"guidance": 7.5, "size": "768x512", "count": 1},
    }
    asked = updates["asked"]["patch"]
    assert asked == {"prompts": ["a (red:1.2) cat, Steps: of stone on a mat"], "seed": 1234567890}
    for words in ("settings taken from there.png", "made with LoRA: fur 0.8", "began from a pic"):
        assert words in updates["line"]
    assert "已采用" in takeaway.bring(CHINESE, Tree(), file)["line"]
    dropped = inpaint.take_in(ENGLISH, Tree(), "shapes32", FIRST, file)
    assert values_of(dropped) == values_of(updates)


def test_what_is_beyond_the_fields_is_brought_within(tmp_path: Path) -> None:
    path = tmp_path / "far.png"
    path.write_bytes(made("a cat\nSteps: 90000, CFG scale: 49, Seed: 1, Size: 8x8").getvalue())
    said = like.read_settings(str(path))
    assert said is not None
    values = values_of(like.take(said, "far.png", "en"))
    assert (values["steps"], values["guidance"]) == (1000, 10.0)
    Image.new("RGB", (2, 2)).save(path)
    assert like.read_settings(str(path)) is None
    with pytest.raises(PageError):
        takeaway.bring(ENGLISH, Tree(), str(path))
