"""Four channels: pictures with transparency are trained on, sampled, shown and taken away."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sd.checkpoints.closed_form_model import build_closed_form
from sd.common.device import choose
from sd.common.validation import InputError
from sd.config import Config
from sd.data.augment import augment
from sd.data.image_set import ImageSet, inspect_images, read_images
from sd.data.images import lay_on_white, make_grid, to_float, to_pil
from sd.data.space import Pixels
from sd.diffusion.loss import Diffusion
from sd.diffusion.sampling import SampleStep
from sd.generation import export, pipeline
from sd.generation.film import FRAME_KINDS, Film
from sd.training.loop import train
from sd.training.memorisation import find_nearest
from sd.ui.components import painter
from sd.ui.components.images import data_address, enlarge, tile
from sd.ui.denoise.tools import algorithm2
from sd.ui.noise import model_view
from sd.ui.surveys import Survey
from sd.ui.train import pictures
from tests.helpers.films import PIXELS, frames_of
from tests.helpers.sets import folder

FOUR = ("unet.channel=4", "unet.n_embed=4")
DISC = [(x - 4) ** 2 + (y - 4) ** 2 < 9 for y in range(8) for x in range(8)]


def disc(colour: tuple[int, int, int]) -> bytes:
    """A coloured disc on nothing, whose hidden colour is black."""
    image = Image.new("RGBA", (8, 8))
    image.putdata([(*colour, 255) if inside else (0, 0, 0, 0) for inside in DISC])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    colours = [(200, 40, 30), (30, 160, 60), (20, 60, 200), (220, 200, 40)]
    return folder(tmp_path / "discs", {f"{n}.png": disc(c) for n, c in enumerate(colours)})


@pytest.fixture
def images(source: Path) -> ImageSet:
    return read_images(source, height=8, width=8, channels=4)


@pytest.fixture
def config(tiny_config: Config) -> Config:
    return tiny_config.with_settings(FOUR)


def corner_and_middle(image: Image.Image) -> tuple[object, object]:
    return image.getpixel((0, 0)), image.getpixel((4, 4))


def test_a_set_of_four_channels_keeps_transparency(source: Path, images: ImageSet) -> None:
    assert images.pixels.shape == (4, 4, 8, 8)
    assert images.pixels[0, :, 0, 0].tolist()[3] == 0
    assert images.pixels[0, :, 4, 4].tolist() == [200, 40, 30, 255]
    assert images.report.remarks == ()
    told = "transparency: 4 of 4 pictures, laid on white unless unet.channel = 4"
    assert inspect_images(source).remarks == (told,)
    assert read_images(source, height=8, width=8).pixels[0, :, 0, 0].tolist() == [255] * 3


def test_a_network_of_four_channels_trains_and_samples(config: Config, images: ImageSet) -> None:
    training = train(config, images, seed=0, machine=choose("cpu").apply())
    losses = [step.loss for step in training]
    assert len(losses) == config.training.steps and all(np.isfinite(losses))


@pytest.mark.parametrize("kind", ["ideal", "linear"])
def test_the_closed_forms_have_four_channels(kind: str, config: Config, images: ImageSet) -> None:
    model = build_closed_form(kind, images, config)
    steps = list(model.sampling("ddim", 10).steps(model.denoiser, model.shape, [0, 1]))
    assert steps[-1].x_t.shape == (2, 4, 8, 8)
    if kind == "ideal":
        found = find_nearest(steps[-1].x_t, images.pixels)
        assert (to_float(images.pixels[found.picture]) - steps[-1].x_t).abs().max() < 0.02


@pytest.mark.parametrize("channels", [2, 5, 256])
def test_other_numbers_of_channels_are_refused_with_the_reason(channels: int) -> None:
    for settings in ([f"unet.channel={channels}"], [f"unet.channel={channels}"] * 1 + [FOUR[1]]):
        with pytest.raises(InputError) as caught:
            Config().with_settings(settings)
        line = f"unet.channel = {channels}: must be 1 (grey), 3 (colour) or 4 (colour and transp"
        assert str(caught.value).startswith(line)


def test_a_picture_and_a_sheet_keep_transparency(images: ImageSet) -> None:
    x = to_float(images.pixels)
    picture, sheet = to_pil(x[0]), make_grid(x)
    assert picture.mode == sheet.mode == "RGBA" and sheet.size == (18, 18)
    assert corner_and_middle(picture) == ((0, 0, 0, 0), (200, 40, 30, 255))
    assert sheet.getpixel((8, 8)) == (255, 255, 255, 255)


def test_what_is_shown_lies_on_white(images: ImageSet) -> None:
    picture = to_pil(images.pixels[0])
    for shown in (
        enlarge(picture, 8),
        tile([picture]),
        to_pil(lay_on_white(to_float(images.pixels[0]))),
        Image.open(io.BytesIO(_decoded(data_address(picture)))),
        Image.open(io.BytesIO(_decoded(painter.content("paint", picture, "en")["base"]))),
    ):
        assert shown.mode == "RGB" and shown.size == (8, 8)
        assert corner_and_middle(shown) == ((255, 255, 255), (200, 40, 30))


def _decoded(address: str) -> bytes:
    return painter._bytes(address)


def steps_of(images: ImageSet) -> list[SampleStep]:
    x = to_float(images.pixels)
    return [SampleStep(i, 10.0 * (2 - i), x, x, torch.zeros_like(x), 0.0) for i in (1, 2)]


def test_a_film_and_moving_pictures_lie_on_white(images: ImageSet, tmp_path: Path) -> None:
    steps, process = steps_of(images), Diffusion.from_config(Config().diffusion)
    film = Film(PIXELS, process.schedule, 2)
    for step in steps:
        film.add(step)
    chunk = film.take()
    assert chunk is not None
    place = 0
    for kind, length in zip(FRAME_KINDS, chunk.parts, strict=True):
        sheet = Image.open(io.BytesIO(chunk.data[place : place + length])).convert("RGB")
        place += length
        if kind in ("x_t", "x0"):
            assert min(sheet.getpixel((0, 0))) > 200  # JPEG at a small size
    frames = frames_of(steps)
    assert corner_and_middle(frames[0]) == ((255, 255, 255), (200, 40, 30))
    export.write_gif(frames, tmp_path / "x.gif", 8)
    export.write_npz(tmp_path / "x.npz", steps, PIXELS, [0, 1, 2, 3])
    assert np.load(tmp_path / "x.npz")["samples"].shape == (4, 8, 8, 4)


def test_a_recipes_picture_and_paint_have_four_channels() -> None:
    shape = (4, 8, 8)
    assert pipeline.picture_tensor(disc((200, 40, 30)), shape)[3, 0, 0] == -1
    colour, share = pipeline.paint_tensors(disc((200, 40, 30)), shape)
    assert colour.shape == shape and (colour[3] == 1).all()  # paint is opaque
    assert share[0, 4, 4] == 1 and share[0, 0, 0] == 0


def test_brightness_leaves_transparency(config: Config, images: ImageSet) -> None:
    training = replace(config.training, brightness=0.5)
    changed = augment(images.pixels, training, torch.Generator().manual_seed(0))
    assert torch.equal(changed[:, 3], images.pixels[:, 3])
    assert not torch.equal(changed[:, :3], images.pixels[:, :3])


def test_the_page_shows_and_says_it(config: Config, source: Path) -> None:
    picture = Image.open(source / "0.png")
    found = Survey(inspect_images(source), (picture,))
    seen = pictures.fit_previews(found, config)
    assert seen.shape == (1, 4, 8, 8)
    card, _ = pictures.draw_sheet(seen, config)
    sheet = Image.open(card["sheet"]["path"])
    assert sheet.mode == "RGB" and sheet.getpixel((0, 0)) == (255, 255, 255)
    for lang, words in (("en", "transparency too"), ("zh", "透明度")):
        assert words in pictures.look_of(None, found, config, lang)["caption"]
    assert "opacity" in algorithm2.pixel_name(Pixels((4, 8, 8)), 3, 1, 1, 1, "en")
    assert "data:image/png" in model_view.tile_html(
        to_float(torch.zeros(4, 8, 8, dtype=torch.uint8))
    )
