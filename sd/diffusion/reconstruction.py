"""What an autoencoder keeps of a picture: two measures of likeness, the error, and its latents.

Pictures are [..., C, H, W] in [-1, 1], latents z [c, h, w] of any scale.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sd.diffusion.analysis import spectrum

RANGE = 2.0  # of pictures in [-1, 1]
LEAST_ERROR = 1e-12  # of a mean square, so that a perfect picture has 120 dB + 6
WINDOW, SPREAD = 11, 1.5  # side of SSIM's Gaussian window in pixels, and its standard deviation
STABLE = (0.01, 0.03)  # SSIM's K1 and K2
BINS, REACH = 41, 4.0  # of a channel's histogram, from -REACH to REACH of its standard deviations
HALF_NYQUIST = 0.25  # cycles per value

Array = NDArray[np.float64]


class Channel(NamedTuple):
    """How the values of one channel of z are spread.

    density: at the middles of `BINS` bins of (z - mean) / std, from -`REACH` to `REACH`.
    """

    mean: float
    std: float
    density: Array


class Reconstruction(NamedTuple):
    """A picture x [C, H, W] beside what came back of it.

    psnr: in dB. error: [H, W], the mean over colours of |x - back|. channels: of z. power,
    power_back: of the largest square of x and of back, by frequency, as `spectrum` of
    `sd.diffusion.analysis` returns it. rough, rough_picture: `rough_share` of z, and of x made as
    small as z.
    """

    psnr: float
    ssim: float
    error: Tensor
    channels: tuple[Channel, ...]
    power: Array
    power_back: Array
    rough: float
    rough_picture: float


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio [B] in dB of pictures y [B, C, H, W] against x."""
    error = (x - y.clamp(-1, 1)).double().square().flatten(1).mean(1)
    return 10 * torch.log10(RANGE**2 / error.clamp(min=LEAST_ERROR))


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Return the structural similarity [B] of pictures [B, C, H, W] (Wang et al. 2004).

    A colour at a time, under a Gaussian window of 11 x 11 with standard deviation 1.5 (smaller ones
    in smaller pictures) wherever that lies within the picture; the mean of all.
    """
    side = min(WINDOW, *(each - (each + 1) % 2 for each in x.shape[-2:]))
    place = torch.arange(side, dtype=torch.float64) - side // 2
    bell = torch.exp(-((place / SPREAD) ** 2) / 2)
    window = torch.outer(bell, bell)[None, None] / bell.sum() ** 2

    def smooth(values: Tensor) -> Tensor:
        return F.conv2d(values.flatten(0, 1)[:, None], window.to(values.device))

    a, b = x.double(), y.clamp(-1, 1).double()
    mean_a, mean_b = smooth(a), smooth(b)
    var_a, var_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
    shared = smooth(a * b) - mean_a * mean_b
    c_1, c_2 = ((k * RANGE) ** 2 for k in STABLE)
    luminance = (2 * mean_a * mean_b + c_1) / (mean_a**2 + mean_b**2 + c_1)
    structure = (2 * shared + c_2) / (var_a + var_b + c_2)
    return (luminance * structure).reshape(len(x), -1).mean(1)


def rough_share(z: Tensor) -> float:
    """Return how much of the power of z [c, h, w], its means apart, is above half of Nyquist.

    Latents that are rougher than pictures as small as they are harder to draw (Skorokhodov et al.
    2025, "Improving the Diffusability of Autoencoders").
    """
    power = torch.fft.fft2(z.double(), norm="ortho").abs().square().sum(0)
    rows, columns = (torch.fft.fftfreq(side) for side in z.shape[-2:])
    power[0, 0] = 0
    high = power[torch.hypot(rows[:, None], columns[None, :]) > HALF_NYQUIST].sum()
    return float(high / power.sum().clamp(min=1e-30))


def describe_channel(values: Tensor) -> Channel:
    """Return how the values [h, w] of a channel are spread."""
    flat = values.double().flatten()
    mean, std = float(flat.mean()), float(flat.std(correction=0))
    standard = ((flat - mean) / max(std, 1e-12)).numpy()
    density, _ = np.histogram(standard, BINS, (-REACH, REACH))
    return Channel(mean, std, density * BINS / (2 * REACH) / len(flat))


def compare_reconstruction(x: Tensor, back: Tensor, z: Tensor) -> Reconstruction:
    """Return how a picture [C, H, W] and what came back of it through z [c, h, w] compare."""
    shown, side = back.clamp(-1, 1), min(x.shape[1:])
    small = F.adaptive_avg_pool2d(x[None], (z.shape[1], z.shape[2]))[0]
    return Reconstruction(
        float(psnr(x[None], shown[None])),
        float(ssim(x[None], shown[None])),
        (x - shown).abs().mean(0),
        tuple(describe_channel(each) for each in z),
        spectrum(x[:, :side, :side]),
        spectrum(shown[:, :side, :side]),
        rough_share(z),
        rough_share(small),
    )
