"""A bundle that an earlier version of this package packed opens, samples and goes on training here.

`old_bundle.zip.xz` is a run of four steps, of two classes; most of its weights are 0, so that it is
small. `old_bundle.png` is what that version then sampled of it: the recipe is in the picture.
"""

import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sd import runs
from sd.checkpoints.checkpoint import load_checkpoint
from sd.data.images import make_grid
from sd.generation.export import read_recipe
from sd.generation.pipeline import stream
from sd.generation.recipe import from_json
from sd.runs.unbundle import unpack
from sd.runs.worker import resume

FIXTURES = Path(__file__).parents[1] / "fixtures"
SAMPLES = FIXTURES / "old_bundle.png"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The run of the old bundle."""
    packed = tmp_path / "old.zip"
    packed.write_bytes(lzma.decompress((FIXTURES / "old_bundle.zip.xz").read_bytes()))
    return unpack(packed, tmp_path)


def test_an_old_bundle_samples_what_it_sampled(run: Path) -> None:
    carried: Mapping[str, Any] = read_recipe(SAMPLES)
    *_, last = stream(from_json(carried["recipe"]), load_checkpoint(run), "cpu")
    with Image.open(SAMPLES) as image:
        expected = np.asarray(image.convert("RGB")).astype(int)
    found = np.asarray(make_grid(last.x_t)).astype(int)
    assert np.abs(found - expected).max() <= 2  # another processor rounds otherwise


def test_an_old_bundle_goes_on(run: Path) -> None:
    step = [each.step for each in resume(run, steps=6)]
    assert step == [5, 6] and runs.status(run).state == "finished"
    before, after = (
        load_checkpoint(run / f"checkpoint-00000000{step}").unet.state_dict() for step in (4, 6)
    )
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
