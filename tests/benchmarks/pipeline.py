"""How fast pictures reach training: batches after the first epoch, and photographs taken in.

    python -m tests.benchmarks.pipeline [--pictures 1000] [--photographs 2000] [--rounds 3]
                                        [--batch 16] [--json]

draws a folder of PNG and JPEG of 64 to 256 pixels and one of JPEG photographs of 640 x 480 to
1600 x 1200 (0.3 MB each, in the temporary folder), and reads them with this program and
with two peers, each with 0 and 2 workers: denoising-diffusion-pytorch's data set as its trainer
makes it, and the transforms of diffusers' unconditional example in a plain DataLoader. All take
turns; the first round warms up.

Batches: ours are taken and mirrored as training does, from pixels in memory. The peers' workers
stay between epochs, which neither peer does by itself: an epoch is timed without their start.
Ingest: photographs to 64 pixels on disk, against one pass of a peer, workers started in either.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from sd.common.randomness import keyed_generator
from sd.config.sections import TrainingConfig
from sd.data.augment import augment
from sd.data.image_set import read_images
from sd.data.images import to_float
from sd.training.randomness import batch_indices
from tests.benchmarks.ingest import take_in
from tests.benchmarks.timing import Ratio, alternate, medians, peer

BATCH_TARGET, INGEST_TARGET = 25, 1.5
FORMS = {"32 px grey": (32, 1), "64 px colour": (64, 3)}
INGEST_SIDE = 64
WORKERS = (0, 2)
MODES = {1: "L", 3: "RGB"}
LEAST_SECONDS = 1.0  # that our batches are timed for: an epoch of them is over at once
COARSE = 16  # pixels from one random value to the next
GRAIN, MOST_SHIFT = 6.0, 64  # deviation of the fine noise; pixels by which two have it apart


def grain(random: np.random.Generator, width: int, height: int) -> NDArray[np.int16]:
    """Return fine noise, larger than any picture, from which each takes a piece."""
    shape = (height + MOST_SHIFT, width + MOST_SHIFT, 3)
    noise = random.standard_normal(shape, dtype=np.float32) * GRAIN
    return noise.astype(np.int16)


def drawn(
    random: np.random.Generator, noise: NDArray[np.int16], width: int, height: int
) -> Image.Image:
    """Return a picture with large smooth shapes and fine grain."""
    few = random.integers(0, 256, (height // COARSE, width // COARSE, 3), dtype=np.uint8)
    smooth = Image.fromarray(few).resize((width, height), Image.Resampling.BICUBIC)
    y, x = random.integers(0, MOST_SHIFT + 1, 2)
    pixels = np.asarray(smooth, np.int16) + noise[y : y + height, x : x + width]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def draw_pictures(folder: Path, number: int) -> None:
    """Draw pictures of any shape with sides of 64 to 256 pixels, half PNG and half JPEG."""
    folder.mkdir()
    random = np.random.default_rng(0)
    noise = grain(random, 256, 256)
    for place in range(number):
        width, height = map(int, random.integers(64, 257, 2))
        path = folder / f"{place}.{('png', 'jpg')[place % 2]}"
        drawn(random, noise, width, height).save(path)


def draw_photographs(folder: Path, number: int) -> None:
    """Draw JPEG of 4:3, 640 to 1600 pixels wide."""
    folder.mkdir()
    random = np.random.default_rng(0)
    noise = grain(random, 1600, 1200)
    for place in range(number):
        width = int(random.integers(10, 26)) * 64
        drawn(random, noise, width, width * 3 // 4).save(folder / f"{place}.jpg", quality=90)


def our_batches(pixels: Tensor, size: int) -> Iterator[Tensor]:
    """Yield batches for ever as training takes them, mirrored half of the time."""
    training = TrainingConfig(flip=True, batch_size=size)
    for step in count(1):
        chosen = pixels[batch_indices(len(pixels), size, step, 0)]
        yield to_float(augment(chosen, training, keyed_generator(0, "augment", step)))


class Files(Dataset[Tensor]):
    """A folder's pictures through the transforms of diffusers' unconditional example."""

    def __init__(self, folder: Path, side: int, channels: int) -> None:
        self.paths, self.mode = sorted(folder.iterdir()), MODES[channels]
        self.transform = transforms.Compose(
            [
                transforms.Resize(side, transforms.InterpolationMode.BILINEAR),
                transforms.CenterCrop(side),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.5], [0.5]),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> Tensor:
        with Image.open(self.paths[place]) as image:
            made: Tensor = self.transform(image.convert(self.mode))
        return made


def trainers_set(folder: Path, side: int, channels: int) -> Any:
    """Return the data set of denoising-diffusion-pytorch as its trainer makes it."""
    made = peer("denoising_diffusion_pytorch").denoising_diffusion_pytorch.Dataset
    return made(folder, side, augment_horizontal_flip=True, convert_image_to=MODES[channels])


def peers(folder: Path, side: int, channels: int) -> dict[str, tuple[Any, int]]:
    """Return the peers' data sets, each once for every number of workers."""
    sets = {
        "denoising-diffusion-pytorch": trainers_set(folder, side, channels),
        "diffusers' example": Files(folder, side, channels),
    }
    return {
        f"{name}, {workers} workers": (made, workers)
        for name, made in sets.items()
        for workers in WORKERS
    }


def loader(made: Any, workers: int, size: int) -> Any:
    """Return the batches of a data set in random order; its workers stay until it is let go."""
    stay = workers > 0
    return DataLoader(made, size, shuffle=True, num_workers=workers, persistent_workers=stay)


def endless_rate(batches: Iterator[Tensor]) -> float:
    """Return the pictures a second of batches that do not end."""
    began, seen = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < LEAST_SECONDS:
        seen += len(next(batches))
    return seen / spent


def pass_rate(batches: Any) -> float:
    """Return the pictures a second of one whole pass."""
    began = time.perf_counter()
    seen = sum(len(batch) for batch in batches)
    return seen / (time.perf_counter() - began)


def ingest_rate(folder: Path, number: int) -> float:
    """Return the photographs a second that become a set on disk."""
    target = folder.with_name("set")
    seconds = take_in(folder, target, INGEST_SIDE, helped=True)["seconds"]
    shutil.rmtree(target)
    return number / seconds


def batch_rates(folder: Path, form: tuple[int, int], size: int, rounds: int) -> dict[str, Any]:
    """Time the batches of one form; return what `compared` does."""
    side, channels = form
    pixels = read_images(folder, height=side, width=side, channels=channels).pixels
    variants: dict[str, Callable[[], float]] = {
        "ours": partial(endless_rate, our_batches(pixels, size))
    }
    for name, (made, workers) in peers(folder, side, channels).items():
        variants[name] = partial(pass_rate, loader(made, workers, size))
    return compared(alternate(variants, rounds), BATCH_TARGET)


def ingest_rates(folder: Path, number: int, size: int, rounds: int) -> dict[str, Any]:
    """Time photographs from files to 64 pixels; return what `compared` does."""
    variants: dict[str, Callable[[], float]] = {"ours": partial(ingest_rate, folder, number)}
    for name, pair in peers(folder, INGEST_SIDE, 3).items():
        variants[name] = lambda pair=pair: pass_rate(loader(*pair, size))
    figures = compared(alternate(variants, rounds), INGEST_TARGET)
    seconds = {name: number / rate for name, rate in figures["pictures a second"].items()}
    return {**figures, "seconds": seconds}


def compared(found: Mapping[str, Sequence[float]], target: float) -> dict[str, Any]:
    """Return the medians, and each round's ratio of ours to the best peer of that round."""
    best = [max(rates) for rates in zip(*list(found.values())[1:], strict=True)]
    ratio = Ratio.of(found["ours"], best)
    return {"pictures a second": medians(found), "ratio": ratio, "target": target}


def tell(name: str, figures: Mapping[str, Any]) -> None:
    """Print the figures of one comparison."""
    print(name)
    for who, rate in figures["pictures a second"].items():
        took = f", {figures['seconds'][who]:.1f} s" if "seconds" in figures else ""
        print(f"  {who}: {rate:,.0f} pictures a second{took}")
    print(f"  ours / best peer: {figures['ratio']}; target {figures['target']}")


def measure(args: argparse.Namespace, scratch: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the figures of each comparison."""
    pictures, photographs = scratch / "pictures", scratch / "photographs"
    draw_pictures(pictures, args.pictures)
    for name, form in FORMS.items():
        yield f"batches, {name}", batch_rates(pictures, form, args.batch, args.rounds)
    draw_photographs(photographs, args.photographs)
    name = f"{args.photographs} photographs to {INGEST_SIDE} px colour"
    yield name, ingest_rates(photographs, args.photographs, args.batch, args.rounds)


def main(words: Sequence[str] | None = None) -> None:
    """Print each comparison when it is done, or all as JSON at the end."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--photographs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16, help="both peers' own default is 16")
    parser.add_argument("--json", action="store_true", help="for programs")
    args, all_ = parser.parse_args(words), {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, figures in measure(args, Path(scratch)):
            all_[name] = figures
            if not args.json:
                tell(name, figures)
    if args.json:
        print(json.dumps(all_))


if __name__ == "__main__":
    main()
