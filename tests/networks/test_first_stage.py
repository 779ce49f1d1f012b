"""The space of an autoencoder's latents, and autoencoders known by the shapes of their tensors."""

import pytest
import torch

from sd.common.validation import InputError
from sd.networks import first_stage
from sd.networks.autoencoder import AutoencoderKL, TinyAutoencoder
from sd.networks.first_stage import Latents, describe_autoencoder
from tests.helpers.first_stages import small_autoencoder

MEAN, STD = torch.tensor([0.5, -1.0, 2.0, 0.0]), torch.tensor([2.0, 0.5, 1.0, 3.0])
RGB = torch.arange(15.0).reshape(5, 3) / 10
X = torch.linspace(-1, 1, 3 * 3 * 64).reshape(3, 3, 8, 8).sin()


@pytest.fixture(scope="module")
def space():
    return Latents(small_autoencoder(), MEAN, STD, RGB, (3, 8, 8))


def test_z_is_what_the_encoder_gives_less_its_mean_over_its_std(space):
    e = space.autoencoder.encode(X).mean
    z = space.encode(X)
    assert space.latent_shape == (4, 4, 4) == tuple(z.shape[1:]) and not space.clips
    for channel in range(4):
        wanted = (e[:, channel] - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(z[:, channel], wanted)


def test_decoding_takes_the_scale_back_and_stays_within_pictures(space):
    wanted = space.autoencoder.decode(space.autoencoder.encode(X).mean)
    assert wanted.abs().max() > 1  # a random decoder's go beyond
    torch.testing.assert_close(space.decode(space.encode(X)), wanted.clamp(-1, 1))


def test_the_preview_is_linear_in_z_and_takes_any_leading_axes(space):
    z = torch.randn(2, 5, 4, 4, 4)
    seen = space.preview(z)
    assert seen.shape == (2, 5, 3, 4, 4)
    one = torch.cat([z[1, 2, :, 3, 1], torch.ones(1)]) @ RGB
    torch.testing.assert_close(seen[1, 2, :, 3, 1], one)
    offset = space.preview(torch.zeros_like(z))
    torch.testing.assert_close(space.preview(3 * z) - offset, 3 * (seen - offset))


def test_paint_moves_x_t_by_what_it_changes_in_the_latents(space):
    x0, x_t = space.encode(X), torch.randn(3, 4, 4, 4)
    colour, cover = torch.full((3, 8, 8), 0.25), torch.zeros(1, 8, 8)
    assert torch.equal(space.paint(x_t, x0, 0.7, colour, cover), x_t)  # its error falls out
    cover[:, :3] = 0.5
    picture = space.decode(x0)
    over = picture.clone()
    over[:, :, :3] += 0.5 * (0.25 - over[:, :, :3])
    wanted = x_t + 0.7 * (space.encode(over) - space.encode(picture))
    torch.testing.assert_close(space.paint(x_t, x0, 0.7, colour, cover), wanted)


def test_parts_bound_what_is_encoded_and_decoded_at_once(space, monkeypatch):
    whole, seen = space.decode(space.encode(X)), []
    inner = space.autoencoder.decoder.forward
    monkeypatch.setattr(
        space.autoencoder.decoder, "forward", lambda z: seen.append(len(z)) or inner(z)
    )
    monkeypatch.setattr(first_stage, "PART", 2 * 8 * 8)
    torch.testing.assert_close(space.decode(space.encode(X)), whole, rtol=0, atol=1e-4)
    assert seen == [2, 1]


DDCONFIG = {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "z_channels": 4, "resolution": 32}


@pytest.mark.parametrize(
    "network",
    [
        AutoencoderKL(DDCONFIG, 4),
        AutoencoderKL({**DDCONFIG, "patch": 4, "mid_attention": False}, 8),
        AutoencoderKL({**DDCONFIG, "attn_resolutions": [16], "num_res_blocks": 2}, 4),
        AutoencoderKL({**DDCONFIG, "double_z": False, "ch_mult": [1, 1, 2], "z_channels": 6}, 3),
        TinyAutoencoder(),
        TinyAutoencoder(32, pooled=True),
    ],
    ids=["plain", "patch", "attention", "certain", "taesd", "taef2"],
)
def test_an_autoencoder_is_known_by_its_shapes(network):
    shapes = {name: list(each.shape) for name, each in network.state_dict().items()}
    found = describe_autoencoder(shapes)
    assert {name: list(each.shape) for name, each in found.state_dict().items()} == shapes
    assert (found.factor, found.channels) == (network.factor, network.channels)
    assert next(found.parameters()).is_meta


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"encoder.conv_in.weight": [32, 3, 3, 3]},
        {"encoder.conv_in.weight": [32, 5, 3, 3], "decoder.conv_in.weight": [32, 4, 3, 3]},
        {"encoder.conv_in.weight": []},
        {"encoder.0.weight": [64, 3, 3, 3], "encoder.x.weight": [1]},
        {"input_blocks.0.0.weight": [320, 4, 3, 3]},
    ],
)
def test_what_is_no_autoencoder_is_refused_in_one_line(shapes):
    with pytest.raises(InputError, match="no autoencoder whose names are known"):
        describe_autoencoder(shapes)
