"""Phase 1: what an autoencoder is trained by, resumed to the byte; a tuned decoder does no harm."""

import math
from itertools import islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sd.checkpoints.first_stage import BUNDLED, read_autoencoder
from sd.common.device import Machine
from sd.common.randomness import keyed_generator
from sd.common.validation import InputError
from sd.config import Config
from sd.data.image_set import read_images
from sd.data.images import to_float
from sd.networks.autoencoder import Posterior
from sd.training import first_stage
from sd.training.first_stage import (
    FirstStageTraining,
    kl_per_value,
    psnr,
    rate_at,
    ready_autoencoder,
    transformed,
)
from sd.training.loop import Training
from sd.training.optimizers import hidden_matrices
from tests.helpers.first_stages import LATENT, small_autoencoder

MACHINE = Machine("cpu", 1, "mkl", "CPU, 1 thread")
OWN = (*LATENT, "first_stage.autoencoder=own", "first_stage.autoencoder_steps=6")
OWN += ("first_stage.autoencoder_batch=3", "training.held_out=0.2", "training.flip=True")


@pytest.fixture
def images(pictures):
    return read_images(pictures, height=8, width=8, channels=3)


@pytest.fixture
def config(tiny_config):
    return tiny_config.with_settings(OWN)


def test_psnr_is_that_of_pictures_in_minus_1_to_1():
    x = torch.zeros(2, 3, 4, 4)
    y = torch.full_like(x, 0.2)
    y[1] = 5.0  # cut to 1
    wanted = [20 * math.log10(2 / 0.2), 20 * math.log10(2 / 1.0)]
    assert psnr(x, y).tolist() == pytest.approx(wanted)


def test_the_rate_is_constant_then_falls_evenly():
    rates = [rate_at(0.4, step, 10) for step in range(1, 11)]
    assert rates[:6] == pytest.approx([0.4] * 6)
    assert rates[6:] == pytest.approx([0.4 * share for share in (0.8, 0.6, 0.4, 0.2)])
    assert rate_at(0.4, 1, 1) == 0.4


def test_the_loss_is_l1_and_a_little_kl_a_value(config, images):
    training = FirstStageTraining(config, images, 0, MACHINE)
    x = training.batch(1)
    posterior = training.network.encode(x)
    q = torch.distributions.Normal(posterior.mean, (0.5 * posterior.logvar).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(kl_per_value(posterior, x), kl / 3 / (3 * 8 * 8))
    loss, l1 = training.loss(x, 1)
    torch.testing.assert_close(loss, l1 + 1e-6 * kl / 3 / 192)
    noise = torch.zeros_like(posterior.mean)
    training.network.encode = lambda _: Posterior(posterior.mean, noise - 60)  # no noise at all
    wanted = (training.network.decode(posterior.mean) - x).abs().mean()
    torch.testing.assert_close(training.loss(x, 1)[1], wanted)


def test_equivariance_decodes_changed_latents_to_pictures_changed_alike(config, images):
    always = config.with_settings(["first_stage.equivariance=1", "first_stage.kl_weight=0"])
    training, plain = (FirstStageTraining(each, images, 0, MACHINE) for each in (always, config))
    seen = set()
    for step in range(1, 25):
        x = training.batch(step)
        posterior = training.network.encode(x)
        source = keyed_generator(0, "autoencoder/noise", step)
        z = posterior.sample(torch.randn(posterior.mean.shape, generator=source))
        errors = {
            way: (training.network.decode(change(z)) - change(x)).abs().mean()
            for way, change in {
                1: lambda each: torch.rot90(each, 1, (2, 3)),
                2: lambda each: torch.rot90(each, 2, (2, 3)),
                3: lambda each: torch.rot90(each, 3, (2, 3)),
                0: lambda each: F.avg_pool2d(each, 2),
            }.items()
        }
        loss = training.loss(x, step)[0].detach()
        errors = {way: error.detach() for way, error in errors.items()}
        way = min(errors, key=lambda way: abs(float(errors[way] - loss)))
        torch.testing.assert_close(loss, errors[way])
        seen.add(way)
    assert seen == {0, 1, 2, 3}
    assert plain.loss(x, 1)[1] != training.loss(x, 1)[1]


def test_an_odd_side_of_the_latents_is_not_halved():
    odd = torch.randn(1, 2, 3, 4)
    assert transformed(odd, 0) is odd and transformed(odd, 1).shape == (1, 2, 4, 3)


def test_noise_on_latents_is_a_share_of_their_spread_of_each_picture_its_own(config, images):
    noisy = config.with_settings(["first_stage.latent_noise=0.5"])
    training = FirstStageTraining(noisy, images, 0, MACHINE)
    z, x = 3 * torch.randn(64, 4, 8, 8) * torch.tensor([1.0, 2, 3, 4])[:, None, None], "x"
    found, same = training._changed(z, x, 1)
    assert same is x
    shares = (found - z).std(dim=(2, 3)) / z.std(dim=(0, 2, 3))
    torch.testing.assert_close(shares.amin(1), shares.amax(1), rtol=0.6, atol=0.05)  # all channels
    assert float(shares.mean(1).max()) < 0.55 and float(shares.mean(1).min()) < 0.05
    assert abs(float(shares.mean()) - 0.25) < 0.06
    assert torch.equal(training._changed(z, x, 1)[0], found)
    assert not torch.equal(training._changed(z, x, 2)[0], found)


def test_without_these_settings_nothing_is_drawn_or_changed(config, images):
    training = FirstStageTraining(config, images, 0, MACHINE)
    z, x = torch.randn(2, 4, 4, 4), torch.randn(2, 3, 8, 8)
    found = training._changed(z, x, 1)
    assert found[0] is z and found[1] is x


def test_it_begins_sure_of_its_latents(config, images):
    training = FirstStageTraining(config, images, 0, MACHINE)
    logvar = training.network.encode(training.batch(1)).logvar
    assert float(logvar.detach().mean()) == pytest.approx(first_stage.LOG_VARIANCE, abs=0.5)


def test_what_meets_pixels_is_no_hidden_matrix(config, images):
    names = set(hidden_matrices(FirstStageTraining(config, images, 0, MACHINE).trained))
    assert "encoder.conv_in.weight" not in names and "decoder.conv_out.weight" not in names
    assert {"encoder.conv_out.weight", "decoder.conv_in.weight", "quant_conv.weight"} <= names


def test_large_pictures_are_seen_in_crops_half_of_them_mirrored(tiny_config, emoji, tmp_path):
    for name in list(emoji)[:2]:
        (tmp_path / name).write_bytes(emoji[name])
    images = read_images(tmp_path, height=96, width=80, channels=3)
    size = ("training.input_height=96", "training.input_width=80", "training.held_out=0")
    config = tiny_config.with_settings([*OWN, *size])
    training = FirstStageTraining(config, images, 0, MACHINE)
    whole, mirrored = to_float(images.pixels), 0
    for step in range(1, 7):
        for crop in training.batch(step):
            assert crop.shape == (3, 64, 64)
            found = {
                flip
                for flip in (False, True)
                for picture in whole
                for top in range(33)
                for left in range(17)
                if torch.equal(
                    picture[:, top : top + 64, left : left + 64], crop.flip(-1) if flip else crop
                )
            }
            assert found
            mirrored += found == {True}
    assert 0 < mirrored < 18


def test_it_learns_and_is_rounded_as_files_hold_it(config, images):
    longer = config.with_settings(["first_stage.autoencoder_steps=60"])
    training = FirstStageTraining(longer, images, 0, MACHINE)
    before = training.measure()
    losses = [step.reconstruction for step in training.steps()]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:3])
    assert training.measure() > before + 3
    network = training.finish()
    assert not network.training
    assert all(torch.equal(each.half().float(), each) for each in network.parameters())


def test_it_goes_on_to_the_byte(config, images):
    whole = FirstStageTraining(config, images, 3, MACHINE)
    losses = [step.loss for step in whole.steps()]
    first = FirstStageTraining(config, images, 3, MACHINE)
    part = [step.loss for step in islice(first.steps(), 4)]
    state = first.state()
    again = FirstStageTraining(config, images, 3, MACHINE)
    again.restore(state)
    assert again.step == 4
    assert part + [step.loss for step in again.steps()] == losses
    wanted = whole.state()
    assert all(torch.equal(each, wanted[name]) for name, each in again.state().items())


@pytest.mark.parametrize("lost", ["step", "network.quant_conv.bias", "momentum.quant_conv.weight"])
def test_a_state_that_is_none_is_one_line(config, images, lost):
    training = FirstStageTraining(config, images, 0, MACHINE)
    next(training.steps())
    state = training.state()
    del state[lost]
    with pytest.raises(InputError, match="the autoencoder's state is not this network's"):
        training.restore(state)


def test_a_loss_that_is_no_number_ends_it_in_one_line(config, images):
    training = FirstStageTraining(config, images, 0, MACHINE)
    with torch.no_grad():
        next(iter(training.trained.values())).fill_(math.nan)
    with pytest.raises(InputError, match=r"not a finite number at step 1: first_stage.autoenc"):
        next(training.steps())


def test_training_without_a_run_trains_its_autoencoder_first(config, images):
    training = Training(config, images, 0, MACHINE)
    assert training.model.space.picture_shape == (3, 8, 8)
    alone = ready_autoencoder(config, images, 0, MACHINE)
    x = to_float(images.pixels[:2])
    torch.testing.assert_close(
        training.model.latents.autoencoder.encode(x).mean, alone.encode(x).mean
    )


def tuning(config, images, steps=12):
    network = small_autoencoder()
    settings = [f"first_stage.tune_steps={steps}", "first_stage.autoencoder=x"]
    return FirstStageTraining(config.with_settings(settings), images, 0, MACHINE, network)


def test_tuning_leaves_the_encoder_and_betters_the_decoder(config, images):
    training = tuning(config, images, 40)
    x, before = to_float(images.pixels), training.measure()
    z = small_autoencoder().encode(x).mean
    list(training.steps())
    network = training.finish()
    torch.testing.assert_close(network.encode(x).mean, z, rtol=0, atol=1e-4)
    weights, state = small_autoencoder().state_dict(), network.state_dict()
    assert all(
        torch.equal(state[name], each)
        for name, each in weights.items()
        if not name.startswith("decoder.")
    )
    assert training.measure() > before + 0.1
    assert all(name.startswith("decoder.") for name in training.trained)


def test_tuning_that_does_no_good_is_undone(config, images):
    training = tuning(config, images)
    list(training.steps())
    with torch.no_grad():
        for each in training.trained.values():
            each.mul_(3)
    network, wanted = training.finish(), small_autoencoder().state_dict()
    assert all(torch.equal(each, wanted[name]) for name, each in network.state_dict().items())


@pytest.mark.slow
def test_taesd_tuned_to_a_set_draws_it_better(emoji, tmp_path):
    for name, data in emoji.items():
        (tmp_path / name).write_bytes(data)
    images = read_images(tmp_path, height=128, width=128, channels=3)
    config = Config.preset("latent128").with_settings(["first_stage.tune_steps=60"])
    network = read_autoencoder(BUNDLED / "taesd.safetensors")
    training = FirstStageTraining(config, images, 0, MACHINE, network)
    before = training.measure()
    list(training.steps())
    training.finish()
    assert training.measure() > before
