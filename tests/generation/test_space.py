"""Every way from what is sampled to a picture is one door: all of it works in another space too."""

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sd.checkpoints.checkpoint import load_checkpoint
from sd.common.device import choose
from sd.common.encoding import png_bytes
from sd.common.outputs import Output, make_place
from sd.config import Config
from sd.data.images import to_float, to_uint8
from sd.data.space import Pixels, encode_mask, feather
from sd.generation.attention_pictures import AttentionRecorder, write_attention
from sd.generation.pipeline import begin_x, pick_pixel, space_of, stream
from sd.generation.player.one_file import read_html
from sd.generation.recipe import Branch, Recipe, Start
from sd.generation.save import Generation, save
from sd.runs.home import BUNDLED_RUNS
from tests.helpers.latents import Blocks, LatentModel, latent_model, only_pictures  # noqa: F401

PLAIN = Recipe("blocks", count=3, steps=4, seed=5)
BLOCKS = Blocks()


@pytest.fixture(scope="module")
def model(tiny_config: Config) -> LatentModel:
    return latent_model(tiny_config)


def waves() -> Image.Image:
    y, x = np.mgrid[0:8, 0:8]
    return Image.fromarray((128 + 90 * np.sin(x / 2 + y)).astype(np.uint8))


def tensor(image: Image.Image) -> torch.Tensor:
    return to_float(torch.from_numpy(np.array(image))[None, None])


def place(path: Path) -> Output:
    """A file by its ending, else a folder."""
    out = Output(path, path.suffix)
    make_place(out)
    return out


def half() -> np.ndarray[Any, Any]:
    mask = np.zeros((8, 8), np.uint8)
    mask[:4] = 255
    return mask


def test_in_pixels_the_door_changes_nothing() -> None:
    x, space = torch.randn(2, 3, 8, 8), Pixels((3, 8, 8))
    assert space.encode(x) is space.decode(x) is space.preview(x) is x and space.clips
    mask = torch.rand(1, 8, 8)
    assert torch.equal(encode_mask(mask, space), mask)


def test_a_place_is_made_anew_if_any_of_its_pixels_is() -> None:
    mask = torch.zeros(1, 8, 8)
    mask[0, 3, 6] = 1
    assert encode_mask(mask, BLOCKS).nonzero().tolist() == [[0, 1, 3]]


@pytest.mark.usefixtures("only_pictures")
@pytest.mark.parametrize("name", ["a.png", "a.npz", "a.gif", "a.mp4", "a.html", "folder"])
def test_every_form_shows_decoded_pictures(model: LatentModel, tmp_path: Path, name: str) -> None:
    made = Generation(PLAIN, model, choose("cpu"))
    *_, last = made.steps()
    assert last.x_t.shape == (3, 4, 4, 4) and last.clipped == 0
    save(place(tmp_path / name), made.steps(), made, every=True)
    wanted = to_uint8(BLOCKS.decode(last.x_t))[:, 0].numpy()
    if name == "folder":
        for index in range(3):
            with Image.open(tmp_path / name / f"seed-0000{5 + index}.png") as image:
                assert np.array_equal(np.asarray(image), wanted[index])
    elif name == "a.npz":
        arrays = np.load(tmp_path / name)
        assert np.array_equal(arrays["samples"][..., 0], wanted)
        assert arrays["steps"].shape == arrays["x0"].shape == (4, 3, 8, 8, 1)
    elif name == "a.png":
        with Image.open(tmp_path / name) as image:
            assert image.size == (18, 18)
            assert np.array_equal(np.asarray(image)[:8, :8, 0], wanted[0])
    elif name == "a.html":
        assert '"width": 4, "height": 4' in (tmp_path / name).read_text()
        [film], _ = read_html(tmp_path / name)
        assert film["factor"] == 2
        [still] = film["stills"]
        assert (still["i"], still["kind"]) == (4, "x_t")
        with Image.open(io.BytesIO(base64.b64decode(still["src"].partition(",")[2]))) as sheet:
            shown = np.asarray(sheet.convert("L"), dtype=int)
        expected = np.full((16, 16), 128)
        for n in range(3):
            expected[n // 2 * 8 :, n % 2 * 8 :][:8, :8] = wanted[n]
        assert np.abs(shown - expected).mean() < 8
    elif name == "a.gif":
        with Image.open(tmp_path / name) as image:
            assert image.n_frames == 4 and image.size[1] % 18 == 0


def test_a_start_picture_is_encoded_and_outside_of_a_mask_it_stays(model: LatentModel) -> None:
    picture, mask = waves(), Image.fromarray(half())
    start = Start(png_bytes(picture), 40, png_bytes(mask))
    recipe = replace(PLAIN, start=start)
    a, b = model.diffusion.schedule.at(model.sampling("ddim", 4, start_time=40).times[0])
    noise = begin_x(PLAIN, model, "cpu")
    assert torch.allclose(
        begin_x(recipe, model, "cpu"), a * BLOCKS.encode(tensor(picture)) + b * noise, atol=1e-6
    )
    *_, last = stream(recipe, model, "cpu")
    pictures = BLOCKS.decode(last.x_t)
    assert torch.allclose(pictures[:, :, 4:], tensor(picture)[:, :, 4:].expand(3, 1, 4, 8))
    assert not torch.allclose(pictures[:, :, :4], tensor(picture)[:, :, :4], atol=0.1)
    assert pick_pixel(recipe, BLOCKS.picture_shape) == (0, 0)


class Lossy(Blocks):
    """Blocks whose every decoded pixel is off by a little, as an autoencoder's are."""

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return super().decode(z) + 0.1


def test_a_feathered_mask_rises_from_its_rim() -> None:
    mask = torch.zeros(1, 5, 9)
    mask[..., 2:] = 1
    rising = [0, 0, 1 / 3, 2 / 3, 1, 1, 1, 1, 1]
    assert feather(mask, 3)[0, 2].tolist() == pytest.approx(rising)
    assert torch.equal(feather(mask, 1), mask)


def test_outside_of_a_mask_the_picture_comes_back_to_the_bit(model: LatentModel) -> None:
    recipe = replace(PLAIN, start=Start(png_bytes(waves()), 40, png_bytes(Image.fromarray(half()))))
    *_, last = stream(recipe, model, "cpu")
    pictures = space_of(recipe, Lossy()).decode(last.x_t)
    outside = np.asarray(waves())[4:]
    assert all(np.array_equal(each[0, 4:].numpy(), outside) for each in to_uint8(pictures))
    assert torch.equal(pictures[:, :, :4], Lossy().decode(last.x_t)[:, :, :4])
    branch = replace(PLAIN, steps=2, branch=Branch(recipe, 2))
    assert torch.equal(space_of(branch, Lossy()).decode(last.x_t), pictures)
    lossy = Lossy()
    assert space_of(PLAIN, lossy) is lossy


def test_a_saved_picture_keeps_what_lies_outside_of_its_mask(
    model: LatentModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(model.__dict__, "space", Lossy())
    mask = png_bytes(Image.fromarray(half()))
    recipe = replace(PLAIN, count=1, start=Start(png_bytes(waves()), 40, mask))
    for name in ("a.png", "folder", "a.npz"):
        made = Generation(recipe, model, choose("cpu"))
        save(place(tmp_path / name), made.steps(), made, every=False)
    arrays = [np.load(tmp_path / "a.npz")["samples"][0, ..., 0]]
    for path in (tmp_path / "a.png", *(tmp_path / "folder").glob("*.png")):
        with Image.open(path) as image:
            arrays.append(np.asarray(image.convert("L")))
    assert len(arrays) == 3
    for array in arrays:
        assert np.array_equal(array[4:], np.asarray(waves())[4:])


def test_the_bundled_latent_model_loses_no_bit_outside_of_a_mask(tmp_path: Path) -> None:
    """Through TAESD, which gives none of these pixels back as it was."""
    model, side = load_checkpoint(BUNDLED_RUNS / "shapes128"), 128
    random = np.random.default_rng(0)
    few = Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8))
    picture, mask = few.resize((side, side)), Image.new("L", (side, side))
    mask.paste(255, (40, 30, 90, 70))
    start = Start(png_bytes(picture), 300, png_bytes(mask))
    recipe = Recipe("shapes128", sampler="dpmpp_2m", steps=2, start=start)
    made = Generation(recipe, model, choose("cpu"))
    save(place(tmp_path / "a.png"), made.steps(), made, every=False)
    with Image.open(tmp_path / "a.png") as image:
        saved, before = np.asarray(image.convert("RGB")), np.asarray(picture)
    outside = np.asarray(mask) == 0
    assert saved.shape == before.shape and np.array_equal(saved[outside], before[outside])
    assert (saved[~outside] != before[~outside]).mean() > 0.5
    x = to_float(torch.from_numpy(before.copy()).permute(2, 0, 1))[None]
    back = to_uint8(model.space.decode(model.space.encode(x)))[0]
    changed = back.permute(1, 2, 0).numpy() != before
    assert changed[outside].mean() > 0.5  # what laying back undoes


def test_paint_covers_the_picture_of_the_estimate(model: LatentModel) -> None:
    stroke = Image.new("RGBA", (8, 8))
    stroke.putpixel((2, 1), (255, 255, 255, 255))
    plain = begin_x(replace(PLAIN, steps=2, branch=Branch(PLAIN, 2)), model, "cpu")
    branch = replace(PLAIN, steps=2, branch=Branch(PLAIN, 2, png_bytes(stroke)))
    *_, parent = (step for step in stream(PLAIN, model, "cpu") if step.i <= 2)
    a, _ = model.diffusion.schedule.at(parent.t)
    moved = (begin_x(branch, model, "cpu") - plain) / a
    picture = BLOCKS.decode(parent.x0 + moved) - BLOCKS.decode(parent.x0)
    expected = torch.zeros_like(picture)
    expected[:, 0, 1, 2] = 1 - BLOCKS.decode(parent.x0)[:, 0, 1, 2]
    assert torch.allclose(picture, expected, atol=1e-4)


@pytest.mark.usefixtures("only_pictures")
def test_attention_lies_over_the_decoded_estimate(tiny_config: Config, tmp_path: Path) -> None:
    deep = ["unet.attention_resolutions=[1]"]
    model = latent_model(tiny_config.with_settings(deep))
    made = Generation(PLAIN, model, choose("cpu"))
    attention = AttentionRecorder(model.unet, model.space, PLAIN.count)
    steps = list(made.steps(attention))
    record = attention.record()
    assert record.steps[0].heat.shape == (1, 4, 4)
    assert torch.equal(record.steps[1].x0, BLOCKS.decode(steps[1].x0[:1])[0])
    for name in ("table.png", "weights.npz", "words"):
        write_attention(place(tmp_path / name), record)
    (picture,) = (tmp_path / "words").iterdir()
    with Image.open(io.BytesIO(picture.read_bytes())) as image:
        assert image.size == (256, 256)
