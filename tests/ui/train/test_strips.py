"""What a preset drew: a small picture beside its figures, both of a preset that is there."""

import tomllib

import pytest
from PIL import Image

from sd.common.paths import PACKAGE
from sd.config import Config, preset_names
from sd.networks.blueprint import blueprint

PLACE = PACKAGE / "ui" / "assets" / "presets"
FIGURES = tomllib.loads((PLACE / "figures.toml").read_text(encoding="utf-8"))
LARGEST = 60_000  # bytes


def test_each_strip_has_figures_and_each_figure_a_strip() -> None:
    strips = {path.stem for path in PLACE.glob("*.webp")}
    assert strips == set(FIGURES) <= set(preset_names())


@pytest.mark.parametrize("name", FIGURES)
def test_a_strip_is_small_and_wide_and_its_figures_are_the_networks(name: str) -> None:
    path = PLACE / f"{name}.webp"
    assert path.stat().st_size <= LARGEST
    with Image.open(path) as strip:
        assert strip.width >= 4 * strip.height
    config, told = Config.preset(name), FIGURES[name]
    plan = blueprint(config.unet, config.training.input_height, config.training.input_width)
    assert told["parameters"] == plan.parameters
    assert told["minutes"] > 0 and 500 < told["memory"] < 4000  # MiB
