"""Samples against held-out digits: the distance that everyone is judged by, and its floor."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sd.common.validation import InputError
from sd.data.image_set import ImageSet, read_images, split
from sd.data.images import make_grid, to_float, to_uint8
from tests.benchmarks.digits import HELD_OUT, Classifier, Judge, frechet, train_judge
from tests.benchmarks.learning.contest import CHANNELS, SIDE, Competitor, Verdict

SEED = 0
AT_ONCE = 50  # samples that are made together
SHOWN, SCALE = 64, 3  # samples of a sheet, and how much they are enlarged


def chosen(images: ImageSet, rows: Tensor) -> ImageSet:
    """Return the pictures at `rows` alone, without captions."""
    assert images.labels is not None
    names = tuple(images.names[row] for row in rows.tolist())
    labels = images.labels[rows]
    return replace(images, pixels=images.pixels[rows], names=names, labels=labels, captions=None)


class Jury:
    """Pictures to train on, pictures held out, and a classifier whose features tell them apart.

    The classifier, trained on the former, is kept in `folder`, so that all are judged by the same.
    """

    def __init__(self, data: str, folder: Path, count: int) -> None:
        images = read_images(data, height=SIDE, width=SIDE, channels=CHANNELS)
        if images.labels is None:
            raise InputError(f"{data}: the race needs a folder per class")
        rows, held = split(images, HELD_OUT, SEED)  # as `train_judge` splits them
        self.images, self.held_out, self.count = chosen(images, rows), len(held), count
        self.judge = kept_judge(images, folder / "judge.safetensors")
        self._held = self.judge.classifier.features(to_float(images.pixels[held]))
        self.made = torch.empty(0)  # the newest samples

    def distance(self, pixels: Tensor) -> float:
        """Return the Frechet distance of pictures uint8 [N, C, H, W] to those held out."""
        return frechet(self.judge.classifier.features(to_float(pixels)), self._held)

    def floor(self) -> float:
        """Return the distance of real training pictures, as many as there are samples."""
        source = torch.Generator().manual_seed(SEED)
        order = torch.randperm(len(self.images.pixels), generator=source)
        return self.distance(self.images.pixels[order[: self.count]])

    def verdict(self, competitor: Competitor) -> Verdict:
        """Let a competitor make its samples, always from the same seeds, and judge them."""
        began = time.perf_counter()
        self.made = samples(competitor, range(self.count))
        seconds = time.perf_counter() - began
        return Verdict(self.distance(to_uint8(self.made)), self.count, seconds)

    def write_sheet(self, path: Path) -> None:
        """Write the first of the newest samples, none picked, as one picture."""
        make_grid(self.made[:SHOWN], scale=SCALE).save(path)


def samples(competitor: Competitor, seeds: Sequence[int]) -> Tensor:
    """Return one sample a seed, [N, C, H, W]; the random numbers of training stay as they were."""
    made = []
    with torch.random.fork_rng():
        for first in range(0, len(seeds), AT_ONCE):
            part = seeds[first : first + AT_ONCE]
            torch.manual_seed(part[0])
            made.append(competitor.sample(part))
    return torch.cat(made)


def kept_judge(images: ImageSet, path: Path) -> Judge:
    """Return the judge kept at `path` if it is of these pictures, else train and keep one."""
    digest = hashlib.sha256(images.pixels.numpy().tobytes()).hexdigest()
    if path.is_file():
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
        if about.get("pixels") == digest:
            made = Classifier(CHANNELS, len(images.label_names))
            classifier = made.to(memory_format=torch.channels_last).eval()
            classifier.load_state_dict(load_file(path))
            told = float(about["accuracy"]), int(about["unseen"])
            return Judge(classifier, images.label_names, *told)
    judge = train_judge(images, seed=SEED)
    tensors = {name: each.contiguous() for name, each in judge.classifier.state_dict().items()}
    told = {"pixels": digest, "accuracy": str(judge.accuracy), "unseen": str(judge.unseen)}
    save_file(tensors, path, told)
    return judge
