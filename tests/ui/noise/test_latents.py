"""The Noise tab's two looks at latents, as plain functions."""

import base64
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch

from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.common.validation import InputError
from sd.config import Config
from sd.data.images import to_uint8
from sd.training.latents import space_of_picture
from sd.training.randomness import new_network
from sd.ui import models
from sd.ui.adapter.errors import PageError
from sd.ui.noise import inside, latents
from sd.ui.noise.latents import OF_MODEL
from sd.ui.noise.pictures import STARTERS, draw_noise, read_pixels
from tests.helpers.first_stages import latent_settings, small_autoencoder

ENGLISH: Any = SimpleNamespace(headers={"accept-language": "en-GB,en;q=0.9"})
LION = STARTERS[1]


def sent(**changes: Any) -> dict[str, Any]:
    """Return the form that a browser sends, with some of it changed."""
    return {"picture": LION, "schedule": "tiny", "seed": 3, "serial": 3, "t": 300} | changes


def pressed(**data: Any) -> Any:
    return gr.EventData(None, data)


@pytest.fixture
def model(home: Path, tiny_config: Config, tmp_path: Path) -> str:
    """An untrained model on latents of 4 x 4 places of pictures of 8 x 8."""
    config = latent_settings(tmp_path, tiny_config)
    network = small_autoencoder()
    space = space_of_picture(network, to_uint8(read_pixels(LION, (3, 8, 8))))
    made = Model(new_network(config, 0), config, latents=space)
    save_checkpoint(made, home / "lat" / "checkpoint-1", {"step": 1})
    (home / "lat" / "config.ini").write_text(config.to_ini())
    return "lat"


def shown(handler: Any, *args: Any) -> list[dict[str, Any]]:
    return [each["tool"] for each in handler(*args)]


def test_the_space_of_a_picture_has_mean_0_and_variance_1() -> None:
    x = read_pixels(LION, (3, 16, 16))
    space = space_of_picture(small_autoencoder(), to_uint8(x))
    z = space.encode(x[None])[0]
    assert space.latent_shape == (4, 8, 8) == tuple(z.shape)
    assert torch.allclose(z.mean((1, 2)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(z.std((1, 2), correction=0), torch.ones(4), atol=1e-3)
    assert space.preview(z).mean().item() == pytest.approx(x.mean().item(), abs=1e-3)


def test_the_browser_gets_what_it_draws_noised_latents_with(model: str) -> None:
    [told] = shown(latents.show_latents, sent(), model, ENGLISH)
    data = told["data"]
    assert (data["shape"], data["t"], len(data["rgb"])) == ([4, 4, 4], 300, 15)
    assert data["name"] == "lat's own" and data["decoded"].startswith("data:image/")
    entry = models.find(model)
    found = latents.encode(OF_MODEL, entry, LION)
    for name, values in (("z", found.z), ("eps", draw_noise((4, 4, 4), 3))):
        packed = np.frombuffer(base64.b64decode(data[name]), "<f2").reshape(4, 4, 4)
        assert packed == pytest.approx(values.numpy(), abs=0.01)


def test_a_model_of_pixels_is_noised_in_the_latents_of_a_bundled_autoencoder(
    home: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents, "SIDES", (16, 32))
    made = Model(new_network(tiny_config, 0), tiny_config)
    save_checkpoint(made, home / "pixels" / "checkpoint-1", {"step": 1})
    (home / "pixels" / "config.ini").write_text(tiny_config.to_ini())
    assert latents.list_autoencoders(models.find("pixels")) == ["taesd", "taef2"]
    [told] = shown(latents.show_latents, sent(), "pixels", ENGLISH)
    assert (told["data"]["shape"], told["data"]["name"]) == ([4, 4, 4], "TAESD")


def test_an_autoencoder_that_a_model_has_as_it_is_stands_there_once(
    home: Path, tiny_config: Config
) -> None:
    config = Config.preset("latent128")
    entry = SimpleNamespace(folder=home / "named", name="named")
    entry.folder.mkdir()
    (entry.folder / "config.ini").write_text(config.to_ini())
    listed = [(OF_MODEL, "TAESD"), ("taef2", "TAEF2")]
    plain: Any = models.ModelEntry("named", str(entry.folder))
    names = latents.list_autoencoders(plain)
    assert [(name, latents.title_of(name, plain, "en")) for name in names] == listed


def test_a_look_inside_shows_them_side_by_side_and_one_from_within(model: str) -> None:
    updates = shown(inside.look_inside, sent(), model, ENGLISH, pressed())
    assert len(updates) == 3 and updates[-1]["progress"] == "" and updates[0]["progress"]
    html = updates[-1]["shown"]
    assert re.findall(r'data-autoencoder="(\w+)" aria-pressed="(\w+)"', html) == [
        (OF_MODEL, "true"),
        ("taesd", "false"),
        ("taef2", "false"),
    ]
    entry = models.find(model)
    one = inside.look(OF_MODEL, entry, LION, 3, 0.0)
    assert f"{one.told.psnr:.1f} dB · SSIM {one.told.ssim:.3f}" in html
    assert "4 × 4 × 4, 3 times fewer values" in html
    assert html.count('class="bars"') == 4 and "what comes back of it" in html
    assert torch.equal(one.back, one.found.space.decode(one.found.z[None])[0])


def test_noise_on_the_latents_is_as_strong_as_is_said(model: str) -> None:
    entry = models.find(model)
    clean, noisy = (inside.look(OF_MODEL, entry, LION, 3, noise) for noise in (0.0, 0.5))
    z = clean.found.z + 0.5 * draw_noise((4, 4, 4), 3)
    assert torch.equal(noisy.back, clean.found.space.decode(z[None])[0])
    update = shown(inside.look_inside, sent(), model, ENGLISH, pressed(noise=0.5))[-1]
    assert "what comes back with 50 % noise" in update["shown"]


def test_another_one_is_looked_into_where_it_is_pressed(model: str) -> None:
    first = shown(inside.look_inside, sent(), model, ENGLISH, pressed(autoencoder="taef2"))[0]
    assert first["shown"].count('class="bars"') == 32


@pytest.mark.parametrize(
    "data", [{"autoencoder": "../x"}, {"autoencoder": []}, {"noise": 2}, {"noise": "x"}]
)
def test_what_cannot_be_is_told_in_a_line(data: dict[str, Any], model: str) -> None:
    with pytest.raises((PageError, InputError)):
        shown(inside.look_inside, sent(), model, ENGLISH, pressed(**data))
