"""Denoisers in closed form: what samplers are tested against."""

from sd.diffusion.process import Prediction

MEAN, STD = 0.3, 0.5
MIXTURE = [(0.5, -0.9, 0.4), (0.3, 0.2, 0.3), (0.2, 1.1, 0.5)]  # share, mean, standard deviation


def gaussian(schedule, noise_std=1.0):
    """The exact denoiser of pixels that are N(MEAN, STD^2), by conditioning Gaussians.

    In the standard process, whose w_0 is x_0 / noise_std.
    """
    mean, std = MEAN / noise_std, STD / noise_std

    def denoise(w_t, t):
        a, b = float(schedule.signal(t)), float(schedule.noise(t))
        gain = a * std**2 / (a**2 * std**2 + b**2)
        w_0 = mean + gain * (w_t - a * mean)
        return Prediction(w_0, (w_t - a * w_0) / b)

    return denoise


def mixture_mean(x, a, b):
    """E[x_0 | x_t = x] of pixels from MIXTURE, x_t = a x_0 + b eps; for arrays and tensors."""
    total = top = 0 * x
    for share, mean, std in MIXTURE:
        variance = a**2 * std**2 + b**2
        weight = (
            share / variance**0.5 * 2.718281828459045 ** (-((x - a * mean) ** 2) / 2 / variance)
        )
        total = total + weight
        top = top + weight * (mean + a * std**2 / variance * (x - a * mean))
    return top / total


def mixture(schedule):
    """The exact denoiser of pixels from MIXTURE."""

    def denoise(x_t, t):
        a, b = float(schedule.signal(t)), float(schedule.noise(t))
        x0 = mixture_mean(x_t, a, b)
        return Prediction(x0, (x_t - a * x0) / b)

    return denoise
