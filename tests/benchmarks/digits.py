"""A classifier of the pictures of a set with classes, made for the digits: judge and yardstick.

It tells which class a sample shows, and its features are what the Frechet distance of samples to
pictures is measured in (Heusel et al. 2017, with this network in place of Inception). Trained anew
wherever it is needed, in about a minute on two cores; the same seed gives the same classifier on
the same machine.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sd.config.sections import TrainingConfig
from sd.data.augment import augment
from sd.data.image_set import ImageSet, split
from sd.data.images import to_float

WIDTHS = (32, 64, 128)
HELD_OUT = 0.1  # share of the pictures that judge the classifier itself
EPOCHS, BATCH, RATE = 16, 64, 4e-3
CHANGES = TrainingConfig(shift=1 / 16, rotation=10.0)  # what training does to each picture
AT_ONCE = 500  # pictures that are judged together


class Classifier(nn.Module):
    """Three blocks of two convolutions, each half the size of the one before, then a mean."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in zip((channels, *WIDTHS), WIDTHS, strict=False):
            layers += [*_convolution(before, width, 2), *_convolution(width, width, 1)]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(WIDTHS[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, classes] for pictures [B, C, H, W] in [-1, 1]."""
        logits: Tensor = self.head(self.body(x))
        return logits

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Return what the last layer sees of pictures [N, C, H, W] in [-1, 1]: [N, 128]."""
        device = self.head.weight.device
        return torch.cat([self.body(part.to(device)).cpu() for part in x.split(AT_ONCE)])

    @torch.no_grad()
    def classes_of(self, x: Tensor) -> Tensor:
        """Return the number int64 [N] of the likeliest class of pictures in [-1, 1]."""
        device = self.head.weight.device
        return torch.cat([self(part.to(device)).argmax(1).cpu() for part in x.split(AT_ONCE)])


class Judge(NamedTuple):
    """A classifier with the names of its classes; accuracy is on `unseen` real pictures."""

    classifier: Classifier
    classes: tuple[str, ...]
    accuracy: float
    unseen: int


def _convolution(before: int, after: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU()]


def train_judge(
    images: ImageSet, device: str = "cpu", epochs: int = EPOCHS, seed: int = 0
) -> Judge:
    """Train a classifier on nine tenths of a set with labels; judge it on the rest."""
    assert images.labels is not None, "a classifier needs pictures with classes"
    rows, held = split(images, HELD_OUT, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = Classifier(images.pixels.shape[1], len(images.label_names))
    classifier = made.to(device, memory_format=torch.channels_last)
    _fit(classifier, images.pixels[rows], images.labels[rows], epochs, seed)
    right = classifier.classes_of(to_float(images.pixels[held])) == images.labels[held]
    return Judge(classifier, images.label_names, float(right.float().mean()), len(held))


def _fit(classifier: Classifier, pixels: Tensor, labels: Tensor, epochs: int, seed: int) -> None:
    """Train with AdamW on a rate that rises and falls once (Smith & Topin 2018)."""
    device, source = classifier.head.weight.device, torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=0.05)
    total = epochs * math.ceil(len(pixels) / BATCH)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=total)
    classifier.train()
    for rows in _batches(len(pixels), epochs, source):
        x = to_float(augment(pixels[rows], CHANGES, source))
        logits = classifier(x.to(device))
        loss = F.cross_entropy(logits, labels[rows].to(device), label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
    classifier.eval()


def _batches(count: int, epochs: int, source: torch.Generator) -> Iterator[Tensor]:
    for _ in range(epochs):
        yield from torch.randperm(count, generator=source).split(BATCH)


def frechet(a: Tensor, b: Tensor) -> float:
    """Return the Frechet distance of the normal distributions fitted to [N, D] and [M, D].

    |m_a - m_b|^2 + tr(A + B - 2 (A B)^(1/2)), A and B the covariances (Dowson & Landau 1982, eq. 4;
    Heusel et al. 2017, eq. 6). With few samples it is too large: compare only at equal N and M.
    """
    (mean_a, cov_a), (mean_b, cov_b) = _moments(a), _moments(b)
    root = _root(cov_a)
    # A B has the eigenvalues of the symmetric A^(1/2) B A^(1/2), which none are below zero.
    shared = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    apart = (mean_a - mean_b).square().sum()
    return max(0.0, float(apart + cov_a.trace() + cov_b.trace() - 2 * shared))


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean [D] and the covariance [D, D], both float64."""
    exact = features.double()
    return exact.mean(0), torch.cov(exact.T).reshape(exact.shape[1], exact.shape[1])


def _root(covariance: Tensor) -> Tensor:
    """Return the square root of a symmetric matrix whose eigenvalues are at least 0."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
