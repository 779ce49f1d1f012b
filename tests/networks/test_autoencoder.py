"""The autoencoders against the reference latent-diffusion code and against diffusers."""

import json

import numpy as np
import pytest
import torch

from sd.common.validation import InputError
from sd.networks.autoencoder import (
    AutoencoderKL,
    Posterior,
    TinyAutoencoder,
    UpsamplingConv2d,
)
from tests.helpers.parity import FOLDER, normal, weight

SMALL, FULL = "autoencoder_kl_small", "autoencoder_kl_sd_v1"
TOY = {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "z_channels": 4, "resolution": 32}


def spec_of(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def filled(spec):
    network = AutoencoderKL(**spec["config"])
    network.load_state_dict(
        {name: weight(name, list(t.shape)) for name, t in network.state_dict().items()}
    )
    return network.eval()


@pytest.mark.parametrize("name", [SMALL, FULL])
def test_names_shapes_and_counts_equal_the_reference(name):
    spec = spec_of(name)
    with torch.device("meta"):
        network = AutoencoderKL(**spec["config"])
    state = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    assert state == spec["state_dict"]
    assert sum(p.numel() for p in network.parameters()) == spec["parameters"]


@pytest.mark.parametrize("name", [SMALL, pytest.param(FULL, marks=pytest.mark.slow)])
def test_outputs_equal_the_reference(name):
    spec = spec_of(name)
    network = filled(spec)
    with torch.no_grad():
        posterior = network.encode(torch.from_numpy(normal(f"{name}/x", spec["x_shape"])))
        decoded = network.decode(torch.from_numpy(normal(f"{name}/z", spec["z_shape"])))
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as stored:
        wanted = {key: torch.from_numpy(stored[key]) for key in ("mean", "logvar", "decoded")}
    outputs = {"mean": posterior.mean, "logvar": posterior.logvar, "decoded": decoded}
    for key, out in outputs.items():
        torch.testing.assert_close(out, wanted[key], rtol=0, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_repeating_and_convolving_at_once_equals_one_after_the_other(bias):
    conv, x = UpsamplingConv2d(6, bias), torch.randn(2, 6, 5, 7)
    larger = torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
    wanted = torch.nn.functional.conv2d(larger, conv.weight, conv.bias, padding=1)
    with torch.no_grad():
        torch.testing.assert_close(conv(x), wanted.detach(), rtol=0, atol=1e-5)
    torch.testing.assert_close(conv(x), wanted, rtol=0, atol=0)


def test_outputs_with_and_without_a_gradient_are_equal():
    network, x = AutoencoderKL(TOY, 4), torch.randn(1, 3, 16, 16)
    kept = x.clone()
    with torch.no_grad():
        plain = network(x)[0]
    torch.testing.assert_close(network(x)[0].detach(), plain, rtol=0, atol=1e-5)
    assert torch.equal(x, kept)


def test_attention_stands_where_a_level_has_the_wanted_side():
    network = AutoencoderKL({**TOY, "attn_resolutions": [16]}, 4)
    attention = [
        name for name, _ in network.named_modules() if name.endswith(("attn.0", "attn_1", "attn.1"))
    ]
    assert attention == [
        "encoder.down.1.attn.0",
        "encoder.mid.attn_1",
        "decoder.mid.attn_1",
        "decoder.up.1.attn.0",
        "decoder.up.1.attn.1",
    ]


def test_a_patch_divides_the_latent_and_renames_nothing():
    plain, folded = AutoencoderKL(TOY, 4), AutoencoderKL({**TOY, "patch": 2}, 4)
    assert list(plain.state_dict()) == list(folded.state_dict())
    x = torch.randn(2, 3, 32, 48)
    assert (plain.config.factor, folded.config.factor) == (2, 4)
    assert plain.encode(x).mean.shape == (2, 4, 16, 24)
    z = folded.encode(x).mean
    assert z.shape == (2, 4, 8, 12)
    assert folded.decode(z).shape == x.shape


def test_without_attention_in_the_middle_its_tensors_are_not_there():
    names = AutoencoderKL({**TOY, "mid_attention": False}, 4).state_dict()
    assert not [name for name in names if "attn" in name]


def test_the_posterior_is_the_gaussian_of_its_moments():
    mean, logvar = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    posterior = Posterior(mean, logvar)
    q = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(posterior.kl(), kl.flatten(1).sum(1))
    noise = torch.randn(mean.shape)
    torch.testing.assert_close(posterior.sample(noise), q.loc + q.scale * noise)


def test_without_double_z_the_latent_is_certain():
    posterior = AutoencoderKL({**TOY, "double_z": False}, 4).encode(torch.randn(1, 3, 16, 16))
    assert posterior.mean.shape == (1, 4, 8, 8)
    noise = torch.randn(posterior.mean.shape)
    torch.testing.assert_close(posterior.sample(noise), posterior.mean, rtol=0, atol=1e-5)


def test_the_forward_pass_decodes_the_mean_or_a_sample():
    network, x = AutoencoderKL(TOY, 4), torch.randn(1, 3, 16, 16)
    posterior, noise = network.encode(x), torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(network(x)[0], network.decode(posterior.mean))
    torch.testing.assert_close(network(x, noise)[0], network.decode(posterior.sample(noise)))


@pytest.mark.parametrize("network", [AutoencoderKL(TOY, 4), TinyAutoencoder()])
def test_a_side_that_does_not_divide_is_refused_with_the_next_that_does(network):
    f = network.factor if isinstance(network, TinyAutoencoder) else network.config.factor
    with pytest.raises(InputError, match=f"multiples of {f}; the next that fit are 32 x 40"):
        network.encode(torch.zeros(1, 3, 40 - f + 1, 32))


def test_a_width_that_the_norms_do_not_divide_is_refused():
    with pytest.raises(InputError, match="ch 48 times 1"):
        AutoencoderKL({**TOY, "ch": 48}, 4)


def test_the_tiny_autoencoder_equals_the_one_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    ours, theirs = TinyAutoencoder().eval(), diffusers.AutoencoderTiny().eval()
    state = {}
    for name, tensor in ours.state_dict().items():
        half, layer, rest = name.split(".", 2)
        layer = int(layer) - (half == "decoder")  # its clamp is no layer there
        state[f"{half}.layers.{layer}.{rest}"] = tensor
    theirs.load_state_dict(state)
    x = torch.rand(2, 3, 32, 48) * 2 - 1
    with torch.no_grad():
        z = ours.encode(x)
        torch.testing.assert_close(z, theirs.encode(x).latents, rtol=0, atol=1e-5)
        wanted = theirs.decode(4 * z).sample
        torch.testing.assert_close(ours.decode(4 * z), wanted, rtol=0, atol=1e-5)


def test_the_pooled_tiny_autoencoder_has_the_names_of_its_files():
    shapes = {k: tuple(v.shape) for k, v in TinyAutoencoder(32, pooled=True).state_dict().items()}
    assert len(shapes) == 158
    assert sum(np.prod(shape) for shape in shapes.values()) == 1_338_528 + 1_338_499
    pooled = sorted({name.rsplit(".", 2)[0] for name in shapes if name.endswith("pool.0.weight")})
    assert pooled == [
        *[f"decoder.{i}.pool" for i in (3, 4, 5)],
        *[f"encoder.{i}.pool" for i in (11, 12, 13)],
    ]
    assert shapes["encoder.14.weight"] == (32, 64, 3, 3)
