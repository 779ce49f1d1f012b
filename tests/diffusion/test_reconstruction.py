"""How a picture and what comes back of it are compared, against values that are known."""

import math

import numpy as np
import pytest
import torch

from sd.diffusion.reconstruction import (
    BINS,
    REACH,
    compare_reconstruction,
    describe_channel,
    psnr,
    rough_share,
    ssim,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_a_known_error() -> None:
    x = torch.zeros(2, 3, 8, 8)
    y = torch.stack([x[0] + 0.2, x[1] + 0.02])
    assert psnr(x, y).tolist() == pytest.approx([20, 40])
    assert float(psnr(x - 1, x - 3)[0]) > 100  # what is beyond black is black


def test_ssim_of_known_pictures() -> None:
    x = noise(2, 3, 24, 20).mul(0.3).clamp(-1, 1)
    assert ssim(x, x).tolist() == pytest.approx([1, 1])
    flat, other = torch.full((1, 1, 16, 16), 0.5), torch.full((1, 1, 16, 16), 0.25)
    c_1 = 0.02**2
    assert float(ssim(flat, other)) == pytest.approx((0.25 + c_1) / (0.3125 + c_1))
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1  # its mean is 0 almost
    assert float(ssim(board[None, None], -board[None, None])) == pytest.approx(-0.996, abs=0.002)


def test_ssim_is_that_of_the_definition() -> None:
    x, y = (noise(1, 1, 11, 11, seed=seed).mul(0.4).clamp(-1, 1) for seed in (1, 2))
    bell = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    w = np.outer(bell, bell) / bell.sum() ** 2
    a, b = x[0, 0].double().numpy(), y[0, 0].double().numpy()
    mean_a, mean_b = (w * a).sum(), (w * b).sum()
    var_a, var_b = (w * (a - mean_a) ** 2).sum(), (w * (b - mean_b) ** 2).sum()
    shared = (w * (a - mean_a) * (b - mean_b)).sum()
    c_1, c_2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    expected = (2 * mean_a * mean_b + c_1) * (2 * shared + c_2)
    expected /= (mean_a**2 + mean_b**2 + c_1) * (var_a + var_b + c_2)
    assert float(ssim(x, y)) == pytest.approx(expected, rel=1e-9)
    assert math.isfinite(float(ssim(x[..., :4, :5], y[..., :4, :5])))  # smaller than its window


def test_roughness_is_the_share_above_half_of_nyquist() -> None:
    place = torch.arange(16) * (2 * math.pi / 16)
    low, high = torch.cos(2 * place), torch.cos(7 * place)
    waves = (3 * low + high)[None, :] + torch.zeros(16, 1) + 5  # of power 9 and 1; a mean apart
    assert rough_share(waves[None]) == pytest.approx(0.1)
    assert rough_share(waves.T[None]) == pytest.approx(0.1)
    assert rough_share(torch.full((4, 8, 8), 2.0)) == 0


def test_a_channel_is_told_by_its_spread() -> None:
    channel = describe_channel(3 + 2 * noise(64, 64))
    assert (channel.mean, channel.std) == pytest.approx((3, 2), abs=0.1)
    assert channel.density.sum() * 2 * REACH / BINS == pytest.approx(1, abs=0.001)
    assert channel.density[BINS // 2] == pytest.approx(0.399, abs=0.05)


def test_a_whole_comparison() -> None:
    x, z = noise(3, 16, 24).mul(0.3).clamp(-1, 1), noise(4, 2, 3)
    found = compare_reconstruction(x, x + 0.1, z)
    assert found.error.shape == (16, 24) and len(found.channels) == 4
    assert float(found.error.median()) == pytest.approx(0.1, abs=1e-6)
    assert len(found.power) == len(found.power_back) == 8
    assert found.power_back == pytest.approx(found.power, rel=0.05)
    assert found.ssim < 1 and found.psnr == pytest.approx(26, abs=0.2)
