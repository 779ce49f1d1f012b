"""A run that was trained on latents is asked by the Denoise tab as any other."""

from pathlib import Path

import pytest
from PIL import Image

from sd import runs
from sd.config import Config
from sd.runs.worker import begin
from sd.ui.denoise import tab as denoise
from sd.ui.denoise.tools import takeaway
from sd.ui.denoise.tree import Tree
from tests.helpers import denoising
from tests.helpers.denoising import ENGLISH, another_day, values
from tests.helpers.first_stages import latent_settings
from tests.runs.test_resume import make_small_samples

little_model = denoising.little_model


@pytest.mark.usefixtures("little")
def test_it_is_sampled_shown_and_taken_away(
    tiny_config: Config, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_day(monkeypatch)
    make_small_samples(monkeypatch)
    config = latent_settings(tmp_path, tiny_config, "training.steps=2")
    list(begin(config, str(pictures), runs.default_home().path / "latent"))
    tree = Tree()
    list(denoise.run(ENGLISH, tree, **values(model="latent")))
    node = tree.current
    assert node.recipe.model == "latent"
    assert node.end is not None and tuple(node.end.shape[1:]) == (3, 8, 8)
    assert (node.film["width"], node.film["factor"]) == (4, 2)
    path = takeaway.write_file(node, takeaway.PNG, 0, "en")
    with Image.open(path) as image:
        assert (image.size, image.mode) == ((8, 8), "RGB")
