"""Augmentation: what each one does, that each picture has its own draw, that borders reflect."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from sd.config import Config
from sd.config.sections import TrainingConfig
from sd.data.augment import augment, is_on


def training(**settings: Any) -> TrainingConfig:
    return dataclasses.replace(Config().training, **settings)


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int = 16, height: int = 12, width: int = 8) -> Tensor:
    shape = (count, 3, height, width)
    return torch.randint(0, 256, shape, generator=source(1), dtype=torch.uint8)


def test_off_is_untouched_and_draws_nothing() -> None:
    pixels, stream = noise(), source()
    before = stream.get_state()
    assert augment(pixels, training(), stream) is pixels
    assert torch.equal(stream.get_state(), before) and not is_on(training())


@pytest.mark.parametrize(
    "settings", [{"flip": True}, {"shift": 0.1}, {"rotation": 5.0}, {"brightness": 0.2}]
)
def test_each_is_on_alone(settings: dict[str, Any]) -> None:
    pixels = noise(64)
    kept = pixels.clone()
    changed = augment(pixels, training(**settings), source())
    assert is_on(training(**settings))
    assert torch.equal(pixels, kept), "the pictures themselves stay"
    assert changed.dtype == torch.uint8 and changed.shape == pixels.shape
    assert not torch.equal(changed, pixels)
    assert torch.equal(changed, augment(pixels, training(**settings), source()))
    assert not torch.equal(changed, augment(pixels, training(**settings), source(5)))


def test_flip_mirrors_about_half() -> None:
    pixels = noise(400)
    changed = augment(pixels, training(flip=True), source())
    mirrored = (changed == pixels.flip(-1)).flatten(1).all(1)
    kept = (changed == pixels).flatten(1).all(1)
    assert (mirrored | kept).all() and 150 < int(mirrored.sum()) < 250


def test_shift_is_by_whole_pixels_and_reflects() -> None:
    pixels = noise(200, height=20, width=12)
    changed = augment(pixels, training(shift=0.25), source())
    padded = torch.cat([pixels.flip(-1)[..., -3:], pixels, pixels.flip(-1)[..., :3]], -1)
    padded = torch.cat([padded.flip(-2)[..., -5:, :], padded, padded.flip(-2)[..., :5, :]], -2)
    found = set()
    for number in range(len(pixels)):
        places = [
            (5 - y, 3 - x)
            for y in range(11)
            for x in range(7)
            if torch.equal(changed[number], padded[number, :, y : y + 20, x : x + 12])
        ]
        assert len(places) == 1
        found |= set(places)
    assert {y for y, _ in found} == set(range(-5, 6)) and {x for _, x in found} == set(range(-3, 4))


@pytest.mark.parametrize("settings", [{"shift": 0.25}, {"rotation": 45.0}])
def test_no_black_corners(settings: dict[str, Any]) -> None:
    white = torch.full((50, 1, 32, 8), 255, dtype=torch.uint8)
    assert int(augment(white, training(**settings), source()).min()) == 255


def test_rotation_turns_in_pixels_about_the_centre() -> None:
    """A disc off the centre keeps its distance from it and its size, in a picture not square."""
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    disc = ((y - 19.5) ** 2 + (x - 41.5) ** 2 < 16).float() * 255
    pixels = disc.to(torch.uint8).expand(30, 1, 40, 60)
    changed = augment(pixels, training(rotation=30.0), source()).float()
    mass = changed.sum((1, 2, 3))
    centre_y = (changed[:, 0] * y).sum((1, 2)) / mass - 19.5
    centre_x = (changed[:, 0] * x).sum((1, 2)) / mass - 29.5
    assert torch.allclose(torch.hypot(centre_y, centre_x), torch.full((30,), 12.0), atol=0.3)
    assert torch.allclose(mass, disc.sum().expand(30), rtol=0.03)
    angles = torch.rad2deg(torch.atan2(centre_y, centre_x))
    assert angles.abs().max() <= 31 and angles.max() > 20 and angles.min() < -20


def test_brightness_is_one_factor_for_each_picture() -> None:
    pixels = torch.full((300, 3, 2, 2), 100, dtype=torch.uint8)
    changed = augment(pixels, training(brightness=0.3), source())
    assert (changed == changed[:, :1, :1, :1]).all()
    assert 70 <= int(changed.min()) < 75 and 125 < int(changed.max()) <= 130
    bright = augment(torch.full_like(pixels, 250), training(brightness=0.3), source())
    assert int(bright.max()) == 255 and int(bright.min()) < 190, "it does not wrap around"
