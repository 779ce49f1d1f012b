"""A set's latents: their moments, encoded once, and gone on with where that was ended."""

import json
import resource
from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sd.checkpoints.first_stage import BUNDLED, read_autoencoder
from sd.checkpoints.latent_set import INDEX, VALUES, open_latents
from sd.common.device import Machine
from sd.common.validation import InputError
from sd.data.image_set import read_images
from sd.data.images import to_float
from sd.networks.first_stage import Latents
from sd.training import latents as module
from sd.training.latents import (
    PROGRESS,
    encode_images,
    latents_in_memory,
    measure,
)
from sd.training.loop import Training
from tests.helpers.first_stages import latent_settings, small_autoencoder

MACHINE = Machine("cpu", 1, "mkl", "CPU, 1 thread")


@pytest.fixture
def images(pictures):
    return read_images(pictures, height=8, width=8, channels=3)


@pytest.fixture
def config(tiny_config, tmp_path):
    return latent_settings(tmp_path, tiny_config)


def encode(folder, config, images, **more):
    return list(encode_images(folder, config, images, small_autoencoder(), MACHINE, "set", **more))


def test_moments_are_those_of_all_values_and_the_view_is_the_least_squares_map(config, images):
    values = torch.randn(12, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    values = (values * torch.tensor([1.0, 2.0, 0.5, 3.0])[:, None, None] + 1.5).half()
    found = measure(values, images.pixels, config)
    flat = values.double().permute(0, 1, 3, 4, 2).reshape(-1, 4)
    torch.testing.assert_close(found.mean.double(), flat.mean(0), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.std.double(), flat.std(0, correction=0), rtol=1e-6, atol=1e-6)
    colour = F.avg_pool2d(to_float(images.pixels), 2).double()
    target = torch.stack([colour, colour.flip(-1)], 1).permute(0, 1, 3, 4, 2).reshape(-1, 3)
    z = (flat - flat.mean(0)) / flat.std(0, correction=0)
    rows = torch.cat([z, torch.ones(len(z), 1)], 1)
    wanted = torch.linalg.lstsq(rows, target).solution
    torch.testing.assert_close(found.rgb.double(), wanted, rtol=0, atol=1e-5)


def test_a_given_scale_is_the_one_factor_of_stable_diffusion(config, images):
    values = torch.randn(12, 1, 4, 4, 4).half()
    found = measure(
        values, images.pixels, config.with_settings(["first_stage.latent_scale=0.18215"])
    )
    assert torch.equal(found.mean, torch.zeros(4))
    torch.testing.assert_close(1 / found.std, torch.full((4,), 0.18215))
    space = Latents(small_autoencoder(), *found, (3, 8, 8))
    x = to_float(images.pixels)
    torch.testing.assert_close(space.encode(x), 0.18215 * space.autoencoder.encode(x).mean)


def test_a_channel_that_says_nothing_does_no_harm(config, images):
    found = measure(torch.ones(12, 1, 4, 4, 4).half(), images.pixels, config)
    assert all(torch.isfinite(each).all() for each in found) and (found.std > 0).all()


def test_latents_of_a_set_have_mean_0_and_variance_1(config, images, tmp_path):
    encode(tmp_path / "latents", config, images)
    found = open_latents(tmp_path / "latents", config)
    z = found.z(torch.arange(12)).double()
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.var((0, 2, 3), correction=0), torch.ones(4).double())
    torch.testing.assert_close(  # float16 on the disk, bfloat16 where the processor has it
        found.latents.encode(to_float(images.pixels)).double(), z, rtol=0, atol=0.15
    )
    in_memory = latents_in_memory(config, images, small_autoencoder(), MACHINE)
    assert torch.equal(in_memory.values, found.values)
    assert torch.equal(in_memory.latents.rgb, found.latents.rgb)


def test_a_mirrored_picture_is_encoded_not_its_latent_mirrored(config, images):
    flipped = config.with_settings(["training.flip=True"])
    found = latents_in_memory(flipped, images, small_autoencoder(), MACHINE)
    mirrored = type(images)(images.pixels.flip(-1), images.names, None, (), None, images.report)
    other = latents_in_memory(config, mirrored, small_autoencoder(), MACHINE)
    assert found.values.shape == (12, 2, 4, 4, 4)
    assert torch.equal(found.values[:, 1], other.values[:, 0])
    assert not torch.equal(found.values[:, 1], found.values[:, 0].flip(-1))


def test_a_mirrored_latent_decodes_far_worse_than_the_latent_of_the_mirror_image(emoji, tmp_path):
    for name in list(emoji)[:3]:
        (tmp_path / name).write_bytes(emoji[name])
    x = to_float(read_images(tmp_path, height=128, width=128, channels=3).pixels)
    network = read_autoencoder(BUNDLED / "taesd.safetensors")

    def error(z):
        return float((network.decode(z).clamp(-1, 1) - x.flip(-1)).square().mean().log10()) * 10

    assert error(network.encode(x).flip(-1)) > error(network.encode(x.flip(-1))) + 8  # dB


def stop_after(folder, config, images, blocks, monkeypatch):
    monkeypatch.setattr(module, "PROVED_SECONDS", -1.0)
    work = encode_images(folder, config, images, small_autoencoder(), MACHINE, "set")
    list(islice(work, blocks + 1))
    work.close()


@pytest.fixture
def blocks_of_two(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 2)


def test_encoding_goes_on_where_it_was_stopped_to_the_byte(
    config, images, tmp_path, monkeypatch, blocks_of_two
):
    whole, folder = tmp_path / "whole", tmp_path / "stopped"
    assert encode(whole, config, images) == [(done, 12) for done in range(0, 13, 2)]
    stop_after(folder, config, images, 3, monkeypatch)
    assert not (folder / INDEX).exists()
    assert encode(folder, config, images)[0] == (6, 12)
    for name in (VALUES, INDEX):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert not (folder / PROGRESS).exists()
    assert encode(folder, config, images) == []  # whole: nothing is done again


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: (folder / VALUES).write_bytes(b"\1" * 2000),
        lambda folder: (folder / VALUES).write_bytes(b""),
        lambda folder: (folder / PROGRESS).write_text("{"),
        lambda folder: (folder / PROGRESS).write_text('{"done": 3}'),
        lambda folder: (folder / PROGRESS).unlink(),
        lambda folder: (folder / VALUES).unlink(),
    ],
)
def test_what_is_not_proved_is_encoded_anew(
    config, images, tmp_path, monkeypatch, harm, blocks_of_two
):
    whole, folder = tmp_path / "whole", tmp_path / "stopped"
    encode(whole, config, images)
    stop_after(folder, config, images, 3, monkeypatch)
    harm(folder)
    assert encode(folder, config, images)[0] == (0, 12)
    assert (folder / VALUES).read_bytes() == (whole / VALUES).read_bytes()


def test_damaged_or_foreign_latents_are_encoded_anew(config, images, tmp_path):
    folder = tmp_path / "latents"
    encode(folder, config, images)
    good = (folder / VALUES).read_bytes()
    (folder / VALUES).write_bytes(bytes([good[0] ^ 1]) + good[1:])
    assert encode(folder, config, images) and (folder / VALUES).read_bytes() == good
    index = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps(index | {"pictures": "another set"}))
    assert encode(folder, config, images)
    whole = (folder / INDEX).read_bytes()
    place = whole.index(b'"std": [') + 10  # a digit of a number, which stays one
    (folder / INDEX).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert json.loads((folder / INDEX).read_text())["std"] != json.loads(whole)["std"]
    assert encode(folder, config, images) and (folder / INDEX).read_bytes() == whole
    assert encode(folder, config.with_settings(["training.flip=True"]), images)


def test_known_moments_are_kept(config, images, tmp_path):
    first = latents_in_memory(config, images, small_autoencoder(), MACHINE).latents
    other = Latents(small_autoencoder(), first.mean + 1, 2 * first.std, first.rgb, (3, 8, 8))
    encode(tmp_path / "latents", config, images, known=other)
    found = open_latents(tmp_path / "latents", config).latents
    assert torch.equal(found.mean, other.mean) and torch.equal(found.std, other.std)


def test_a_full_disk_is_refused_before_anything_is_encoded(config, images, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SPARE_BYTES", 2**60)
    with pytest.raises(InputError, match=r"the latents need .* on disk"):
        encode(tmp_path / "latents", config, images)


def test_a_disk_that_fills_while_pictures_are_encoded_is_one_line_and_loses_no_block(
    config, images, tmp_path, monkeypatch, blocks_of_two
):
    whole, folder = tmp_path / "whole", tmp_path / "full"
    encode(whole, config, images)
    monkeypatch.setattr(module, "PROVED_SECONDS", -1.0)
    inner, done = module.encode_mode, []
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def encode_mode(*args):
        done.append(1)
        if len(done) == 4:
            room = (folder / VALUES).stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        return inner(*args)

    with monkeypatch.context() as patch:
        patch.setattr(module, "encode_mode", encode_mode)
        try:
            with pytest.raises(InputError, match=r"^the latents cannot be written to disk \(.+\)$"):
                encode(folder, config, images)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert encode(folder, config, images)[0] == (6, 12)
    for name in (VALUES, INDEX):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_an_autoencoder_that_gives_no_numbers_is_refused(config, images, tmp_path):
    broken = small_autoencoder()
    broken.quant_conv.bias.fill_(float("nan"))
    with pytest.raises(InputError, match="no finite numbers"):
        list(encode_images(tmp_path / "latents", config, images, broken, MACHINE))


def test_training_sees_z_and_of_mirrored_pictures_their_own(config, images):
    flipped = config.with_settings(["training.flip=True"])
    training = Training(flipped, images, 0, MACHINE)
    assert training.model.shape == (4, 4, 4) and training.model.space.picture_shape == (3, 8, 8)
    views = [training.data.latents.z(torch.arange(12), torch.full((12,), view)) for view in (0, 1)]
    seen = set()
    for step in range(1, 13):
        rows = [rows for rows in training.batches(step)]
        for x0, _, eps, _ in rows:
            assert x0.shape == eps.shape == (4, 4, 4, 4)
            for z in x0:
                seen |= {
                    view for view in (0, 1) if (views[view] - z).abs().amax((1, 2, 3)).min() == 0
                }
    assert seen == {0, 1}
    plain = Training(config, images, 0, MACHINE)
    x0 = next(plain.batches(1))[0]
    assert all(
        (plain.data.plain(torch.arange(12)) - z).abs().amax((1, 2, 3)).min() == 0 for z in x0
    )


def test_a_latent_training_learns_and_its_samples_are_pictures(config, images):
    training = Training(config.with_settings(["training.steps=30"]), images, 0, MACHINE)
    before = training.evaluate()
    losses = [step.loss for step in training.steps()]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    after = training.evaluate()
    assert sum(after.train) < sum(before.train)
    for model in (training.model, training.raw):
        x = model.sampling(steps=2).sample(model.denoiser, model.shape, [0, 1])
        assert model.space.decode(x).shape == (2, 3, 8, 8)
