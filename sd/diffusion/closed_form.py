"""Models that need no training: closed-form denoisers of a picture set.

`IdealDenoiser` is the exact posterior mean E[x_0 | x_t] when x_0 is one of the pictures: what a
network would answer that fitted the training loss to the last digit. Sampled to the end it can only
repeat pictures of the set (Kamb & Ganguli 2024, "An analytic theory of creativity in convolutional
diffusion models"). `LinearDenoiser` is the best of the affine denoisers, the Wiener filter: that of
a Gaussian with the set's mean and covariance. Its samples have the set's colours and its shapes in
the large, and are no pictures. A trained network lies between the two.

Both answer a weighted sum of the pictures, so both are two passes over the set, in parts that bound
the memory. The work is done in float64: at small noise the logits are near 10^6 and their
differences count.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from sd.common.validation import InputError
from sd.diffusion.process import ForwardProcess, Prediction

HALF = 127.5  # levels; a picture is levels / HALF - 1, see `sd.data.images.to_float`
PART_BYTES = 4 * 2**20  # of pictures as float64 at once
MOST_FITTED = 2048  # pictures whose covariance is taken; its eigenvectors cost their number cubed


class ClosedFormDenoiser:
    """The callable (w_t [B, C, H, W], t) -> Prediction(w_0, eps) whose w_0 is a sum of pictures.

    Times are in (0, T], the answer has the type and device of w_t. A subclass gives the weights.
    In latents a picture is its z.
    """

    def __init__(self, pixels: Tensor, process: ForwardProcess, device: str = "cpu") -> None:
        """Take the set: uint8 [N, C, H, W], mapped from disk or not, or z, floats [N, c, h, w].

        Raises `InputError` for a set without pictures.
        """
        self.half, self.shift = (HALF, 1.0) if pixels.dtype == torch.uint8 else (1.0, 0.0)
        if not len(pixels):
            raise InputError("a model of a picture set needs a picture; the set is empty")
        # MPS has no float64.
        self.device = "cpu" if torch.device(device).type == "mps" else device
        self.pixels = pixels.flatten(1).to(self.device)
        self.process = process

    @torch.no_grad()
    def __call__(self, w_t: Tensor, t: float) -> Prediction:
        w, weights = w_t.to(self.device).double(), self.weights(w_t, t)
        w_0 = self.process.to_w(self._sum(weights).reshape(w.shape), 0)
        a, b = self.process.factors(t, w)
        answer = w_0, (w - a * w_0) / b
        return Prediction(*(each.to(w_t.dtype).to(w_t.device) for each in answer))

    @torch.no_grad()
    def weights(self, w_t: Tensor, t: float) -> Tensor:
        """Return how much of each picture is in the answer: float64 [B, N], 1 together."""
        a, b = self.process.schedule.at(t)
        # w_t = a x_0 / s + b eps: the pictures' own factor is a / s.
        return self._weights(w_t.to(self.device).double().flatten(1), a / self.process.std, b)

    def _weights(self, w_t: Tensor, a: float, b: float) -> Tensor:
        """Return the weights [B, N] at w_t [B, D] = a x_0 + b eps."""
        raise NotImplementedError

    def _products(self, w: Tensor) -> Tensor:
        """Return the inner product of each of w [B, D] with each picture: [B, N]."""
        levels = torch.cat([w @ part.T for part in self._parts()], dim=1)
        return levels / self.half - self.shift * w.sum(1, keepdim=True)

    def _parts(self) -> Iterator[Tensor]:
        """Yield the stored values of all pictures, float64 [K, D], few at a time.

        A picture is levels / half - shift: what is linear in it need not make it.
        """
        for part in torch.split(self.pixels, _part_length(self.pixels.shape[1])):
            yield part.double()

    def _sum(self, weights: Tensor) -> Tensor:
        """Return the pictures' sums [B, D] under weights [B, N]; those of weight 0 are not read."""
        total = weights.new_zeros(len(weights), self.pixels.shape[1])
        used = torch.nonzero((weights != 0).any(0)).flatten()
        for part in torch.split(used, _part_length(self.pixels.shape[1])):
            total.addmm_(weights.index_select(1, part), self.pixels.index_select(0, part).double())
        return total.div_(self.half).sub_(self.shift * weights.sum(1, keepdim=True))


class IdealDenoiser(ClosedFormDenoiser):
    """The posterior mean over the pictures (Karras et al. 2022, appendix B.3, eq. 57).

        E[x_0 | x_t] = sum_n p_n x_n,    p = softmax_n(-||w_t - a x_n||^2 / (2 b^2))

    At SNR 0 it is the mean picture, at small noise the nearest one.
    """

    def __init__(self, pixels: Tensor, process: ForwardProcess, device: str = "cpu") -> None:
        """Take the set; the squared length of each picture is taken once."""
        super().__init__(pixels, process, device)
        squares = ((part / self.half - self.shift).square().sum(1) for part in self._parts())
        self.squares = torch.cat(list(squares))

    def _weights(self, w_t: Tensor, a: float, b: float) -> Tensor:
        # ||w_t||^2 is the same for every n.
        return torch.softmax((a * self._products(w_t) - a**2 / 2 * self.squares) / b**2, dim=1)


class LinearDenoiser(ClosedFormDenoiser):
    """The Wiener filter of the set, whose mean is mu, its covariance sum_k lam_k u_k u_k^T:

        E[x_0 | x_t] = mu + sum_k a lam_k / (a^2 lam_k + b^2) u_k u_k^T (w_t - a mu)

    (conditioning Gaussians; Wang & Vastola 2023, "The Hidden Linear Structure in Score-Based Models
    and its Application"). Directions in which the set has no variance answer the mean.

    With Z [N, D] the pictures less mu and Z Z^T / N = V diag(lam) V^T, every u_k is
    Z^T V_k / sqrt(N lam_k): only N x N numbers are kept, and no lam is divided by.
    """

    def __init__(self, pixels: Tensor, process: ForwardProcess, device: str = "cpu") -> None:
        """Fit mean and covariance; of more than 2,048 pictures, to as many, evenly spread.

        Raises `InputError` for fewer than two pictures.
        """
        count = min(len(pixels), MOST_FITTED)
        if len(pixels) > count:
            pixels = pixels[torch.arange(count) * len(pixels) // count]
        super().__init__(pixels, process, device)
        if count < 2:
            raise InputError("a linear model needs at least 2 pictures; the set has 1")
        equal = torch.full((1, count), 1 / count, dtype=torch.float64, device=self.device)
        self.mean = self._sum(equal)
        lam, self.vectors = torch.linalg.eigh(self._gram() / count)
        self.variances = lam.clamp(min=0)

    def _gram(self) -> Tensor:
        """Return Z Z^T, float64 [N, N], column by column of Z so that memory stays bounded."""
        count = len(self.pixels)
        gram = torch.zeros((count, count), dtype=torch.float64, device=self.device)
        for part in torch.split(self.pixels, _part_length(count), dim=1):
            columns = _centred(part.double(), 0) / self.half
            gram += columns @ columns.T
        return gram

    def _weights(self, w_t: Tensor, a: float, b: float) -> Tensor:
        count = len(self.pixels)
        along = _centred(self._products(w_t - a * self.mean), 1) @ self.vectors
        gains = a / (a**2 * self.variances + b**2)
        return 1 / count + _centred((along * gains) @ self.vectors.T / count, 1)


def _part_length(size: int) -> int:
    """Return how many vectors of `size` float64 values are a part."""
    return max(1, PART_BYTES // (8 * size))


def _centred(values: Tensor, dim: int) -> Tensor:
    return values - values.mean(dim, keepdim=True)
