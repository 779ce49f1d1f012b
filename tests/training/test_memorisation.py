"""Memorisation: distances, baselines, and verdicts on samples that are copies and that are not."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sd.checkpoints.first_stage import BUNDLED, read_autoencoder
from sd.common.device import choose
from sd.config import Config
from sd.data.image_set import ImageSet, read_images
from sd.data.images import to_float
from sd.data.reading.report import Report
from sd.training.likeness import judge
from sd.training.loop import train
from sd.training.memorisation import Baseline, find_nearest, measure_baseline
from tests.conftest import STARTER

NOBODY = torch.empty(0, dtype=torch.int64)


@pytest.fixture(scope="module")
def emoji32() -> Tensor:
    """400 real pictures, uint8 [400, 3, 32, 32], evenly spread over the starter set."""
    return read_images("starter", height=32, width=32).pixels[::3][:400]


def read_pictures(count: int) -> Tensor:
    """Return so many real pictures as they lie in the starter set, uint8 [count, 3, 64, 64]."""
    with zipfile.ZipFile(STARTER) as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        chosen = names[:: len(names) // count][:count]
        images = [Image.open(archive.open(name)).convert("RGBA") for name in chosen]
    white = Image.new("RGBA", images[0].size, "white")
    flat = [Image.alpha_composite(white, image).convert("RGB") for image in images]
    return torch.from_numpy(np.stack([np.asarray(each) for each in flat])).permute(0, 3, 1, 2)


def halves(pixels: Tensor) -> tuple[Tensor, Tensor]:
    every = torch.arange(len(pixels))
    return every[every % 2 == 0], every[every % 2 == 1]


def noisy(pixels: Tensor, sigma: float) -> Tensor:
    source = torch.Generator().manual_seed(0)
    return (to_float(pixels) + sigma * torch.randn(pixels.shape, generator=source)).clamp(-1, 1)


def shares(distance: Tensor, known: Baseline) -> dict[str, float]:
    said = [judge(float(each), known) for each in distance]
    return {word: said.count(word) / len(said) for word in ("copy", "close", "own")}


def test_the_nearest_is_the_picture_itself_at_distance_0(emoji32: Tensor) -> None:
    found = find_nearest(to_float(emoji32), emoji32)
    assert found.picture.tolist() == list(range(400))
    assert found.distance.max() < 1e-4


def test_the_distance_is_the_rms_difference_over_that_of_the_own_neighbours() -> None:
    pixels = torch.tensor([0, 51, 102, 255], dtype=torch.uint8).reshape(4, 1, 1, 1)
    found = find_nearest(to_float(torch.tensor([[[[51.0]]]])) + 0.1, pixels)
    distances = [abs(-0.6 + 0.1 - x) for x in (-1.0, -0.6, -0.2, 1.0)]
    assert found.picture.tolist() == [1]
    torch.testing.assert_close(found.distance, torch.tensor([0.1 / (sum(distances) / 4)]))


def test_only_50_neighbours_make_the_scale() -> None:
    levels = [100] * 30 + [60] * 20 + [255] * 50
    pixels = torch.tensor(levels, dtype=torch.uint8).reshape(100, 1, 1, 1)
    near, far = 1 - 100 / 127.5, 1 - 60 / 127.5  # from 0; white is farther
    found = float(find_nearest(torch.zeros(1, 1, 1, 1), pixels).distance)
    assert found == pytest.approx(near / ((30 * near + 20 * far) / 50), rel=1e-5)


def test_only_the_rows_are_looked_at(emoji32: Tensor) -> None:
    train_rows, held = halves(emoji32)
    found = find_nearest(to_float(emoji32[held]), emoji32, train_rows)
    assert set(found.picture.tolist()) <= set(train_rows.tolist())
    assert found.distance.min() > 0.01


def test_chunks_change_nothing(emoji32: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noisy(emoji32[:20], 0.3)
    whole = find_nearest(samples, emoji32, flips=True)
    monkeypatch.setattr("sd.training.memorisation.CHUNK_BYTES", 7 * 4 * 3 * 32 * 32)
    cut = find_nearest(samples, emoji32, flips=True)
    assert torch.equal(whole.picture, cut.picture)
    torch.testing.assert_close(whole.distance, cut.distance)


def test_mirrored_copies_are_found_where_flips_are_asked_for(emoji32: Tensor) -> None:
    lopsided = emoji32[200:240]
    mirrored = to_float(lopsided).flip(3)
    found = find_nearest(mirrored, emoji32, flips=True)
    assert found.distance.max() < 1e-4 and found.picture.tolist() == list(range(200, 240))
    assert find_nearest(mirrored, emoji32).distance.median() > 0.3


def test_equal_pictures_give_0_and_not_nan() -> None:
    pixels = torch.full((5, 1, 4, 4), 255, dtype=torch.uint8)
    assert find_nearest(to_float(pixels[:1]), pixels).distance.tolist() == [0.0]


def test_pixels_may_be_mapped_from_a_file(emoji32: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "pixels.bin"
    path.write_bytes(emoji32.numpy().tobytes())
    mapped = torch.from_file(str(path), size=emoji32.numel(), dtype=torch.uint8).view_as(emoji32)
    found = find_nearest(to_float(emoji32[7:9]), mapped)
    assert found.picture.tolist() == [7, 8]


def test_the_baseline_is_of_held_out_pictures_where_there_are_some(emoji32: Tensor) -> None:
    known = measure_baseline(emoji32, *halves(emoji32))
    assert known is not None and (known.kind, known.count) == ("held_out", 200)
    assert 0.2 < known.low < known.median < 1


def test_without_held_out_pictures_each_is_compared_with_the_others(emoji32: Tensor) -> None:
    known = measure_baseline(emoji32, torch.arange(400), NOBODY)
    assert known is not None and (known.kind, known.count) == ("training", 256)
    assert known.low > 0.2  # a picture that found itself would be at 0


def test_of_a_few_pictures_each_has_the_others_alone_for_a_scale() -> None:
    pixels = torch.tensor([0, 51, 102, 255], dtype=torch.uint8).reshape(4, 1, 1, 1)
    known = measure_baseline(pixels, torch.arange(4), NOBODY)
    apart = [[51, 102, 255], [51, 51, 204], [51, 102, 153], [153, 204, 255]]
    relative = torch.tensor([min(each) / (sum(each) / 3) for each in apart])
    low, median = torch.quantile(relative, torch.tensor([0.05, 0.5])).tolist()
    assert known is not None
    assert (known.low, known.median) == pytest.approx((low, median), abs=2e-4)


def test_the_pictures_of_a_baseline_come_from_all_over_the_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Copies first, then pictures apart: of the first ones alone all would be at 0."""
    monkeypatch.setattr("sd.training.memorisation.MOST_COMPARED", 4)
    levels = torch.tensor([7, 7, 7, 7, 60, 120, 180, 240], dtype=torch.uint8)
    known = measure_baseline(levels.reshape(8, 1, 1, 1), torch.arange(8), NOBODY)
    assert known is not None and known.count == 4 and known.median > 0.1


def test_a_picture_is_not_its_own_mirror_image() -> None:
    half = torch.randint(0, 256, (12, 3, 8, 4), generator=torch.Generator().manual_seed(0))
    symmetrical = torch.cat([half, half.flip(3)], 3).to(torch.uint8)
    known = measure_baseline(symmetrical, torch.arange(12), NOBODY, flips=True)
    assert known is not None and known.low > 0.5


@pytest.mark.parametrize(("train_rows", "held"), [([0, 1], []), ([0, 1, 2, 3], [4, 5])])
def test_too_few_pictures_give_no_baseline(train_rows: list[int], held: list[int]) -> None:
    pixels = torch.zeros(6, 1, 4, 4, dtype=torch.uint8)
    rows = [torch.tensor(each, dtype=torch.int64) for each in (train_rows, held)]
    assert measure_baseline(pixels, *rows) is None


def test_unseen_pictures_are_no_copies_and_seen_ones_with_noise_are(emoji32: Tensor) -> None:
    train_rows, held = halves(emoji32)
    known = measure_baseline(emoji32, train_rows, held[::2])
    assert known is not None
    unseen = find_nearest(to_float(emoji32[held[1::2]]), emoji32, train_rows)
    assert shares(unseen.distance, known)["copy"] <= 0.05
    for sigma in (0.02, 0.05, 0.1):
        seen = find_nearest(noisy(emoji32[train_rows], sigma), emoji32, train_rows)
        assert shares(seen.distance, known)["copy"] >= 0.95, sigma


def test_small_things_on_white_are_not_taken_for_copies(emoji32: Tensor) -> None:
    train_rows, held = halves(emoji32)
    known = measure_baseline(emoji32, train_rows, held)
    assert known is not None
    ink = (1 - to_float(emoji32[held])).flatten(1).mean(1)
    small = held[ink.argsort()[:20]]  # the emptiest tenth
    found = find_nearest(to_float(emoji32[small]), emoji32, train_rows)
    plain = (to_float(emoji32[small]) - to_float(emoji32[found.picture])).square()
    assert plain.flatten(1).mean(1).sqrt().median() < 0.26  # by plain RMS they are near
    assert shares(found.distance, known)["copy"] <= 0.05


def test_a_set_of_look_alikes_raises_no_alarm() -> None:
    source = torch.Generator().manual_seed(0)
    frames = torch.linspace(0, 1, 200)[:, None, None, None]
    ends = torch.rand(2, 3, 8, 8, generator=source) * 255
    film = (ends[0] + frames * (ends[1] - ends[0])).round().to(torch.uint8)
    train_rows, held = halves(film)
    known = measure_baseline(film, train_rows, held)
    assert known is not None and known.median < 1 / 3
    found = find_nearest(to_float(film[held]), film, train_rows)
    assert shares(found.distance, known)["copy"] <= 0.06


def test_the_verdict_has_two_limits() -> None:
    spread = Baseline("held_out", 100, low=0.5, median=0.8)
    film = Baseline("held_out", 100, low=0.1, median=0.2)
    assert [judge(d, spread) for d in (0.2, 0.4, 0.6)] == ["copy", "close", "own"]
    assert [judge(d, film) for d in (0.05, 0.2, 0.4)] == ["copy", "close", "own"]


def test_a_baseline_is_read_from_its_event_or_not_at_all() -> None:
    known = Baseline("held_out", 64, 0.4, 0.8)
    assert Baseline.from_event({"event": "baseline", "time": 1.0, **vars(known)}) == known
    assert Baseline.from_event({"event": "baseline"}) is None
    assert Baseline.from_event({**vars(known), "low": "much"}) is None


def blobs(count: int, seed: int) -> Tensor:
    """Return soft random pictures, uint8 [count, 1, 8, 8], a family that can be learned."""
    coarse = torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    grown = torch.nn.functional.interpolate(coarse, size=8, mode="bicubic", align_corners=True)
    return (grown.clamp(0, 1) * 255).round().to(torch.uint8)


def samples_after(config: Config, pixels: Tensor) -> Tensor:
    """Train a real network on `pixels` and return 32 samples of its averaged weights."""
    report = Report(len(pixels), (), {}, {}, {}, 0, ())
    images = ImageSet(pixels, tuple(map(str, range(len(pixels)))), None, (), None, report)
    for step in train(config, images, 0, choose("cpu")):
        model = step.model
    return model.sampling(steps=25).sample(model.denoiser, model.shape, range(32), "cpu")


@pytest.mark.parametrize("flips", [False, True])
def test_a_copy_of_what_an_autoencoder_gives_back_is_found(flips: bool) -> None:
    pixels, asked = blobs(60, 0), []
    lossy = torch.nn.functional.avg_pool2d(to_float(pixels), 2)  # of 8 x 8 only 4 x 4 are left
    lossy = lossy.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def given_back(rows: Tensor) -> Tensor:
        asked.extend(rows.tolist())
        return lossy[rows]

    own = lossy[:8].flip(3) if flips else lossy[:8]
    plain = find_nearest(own, pixels, flips=flips)
    found = find_nearest(own, pixels, None, flips, given_back)
    assert plain.distance.min() > 0.1
    assert found.picture.tolist() == list(range(8)) and found.distance.max() < 1e-4
    assert len(asked) == len(set(asked)) <= 16
    others = find_nearest(to_float(blobs(8, 5)), pixels, None, flips, given_back)
    assert others.distance.min() > 0.2
    unchanged = find_nearest(own, pixels, None, flips, lambda rows: to_float(pixels[rows]))
    torch.testing.assert_close(unchanged.distance, plain.distance)


@torch.no_grad()
def test_copies_planted_in_latents_are_found_as_those_in_pixels_are() -> None:
    """20 of 20, as a model on TAESD's latents would make them, a bit off; unseen ones as ever."""
    network, pixels = read_autoencoder(BUNDLED / "taesd.safetensors"), read_pictures(200)
    train_rows, held = halves(pixels)
    known = measure_baseline(pixels, train_rows, held)
    assert known is not None

    def given_back(rows: Tensor) -> Tensor:
        return network.decode(network.encode(to_float(pixels[rows]))).clamp(-1, 1)

    rows = train_rows[::5]
    z = network.encode(to_float(pixels[rows]))
    noise = 0.1 * z.std() * torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    planted = network.decode(z + noise).clamp(-1, 1)
    in_latents = find_nearest(planted, pixels, train_rows, given_back=given_back)
    in_pixels = find_nearest(noisy(pixels[rows], 0.1), pixels, train_rows)
    for found in (in_latents, in_pixels):
        assert len(found.distance) == 20 and shares(found.distance, known)["copy"] == 1
        assert torch.equal(found.picture, rows)
    blind = find_nearest(planted, pixels, train_rows)  # held against pictures alone
    assert shares(blind.distance, known)["copy"] < 1
    unseen = find_nearest(given_back(held[::10]), pixels, train_rows, given_back=given_back)
    in_pixels = find_nearest(to_float(pixels[held[::10]]), pixels, train_rows)
    assert shares(unseen.distance, known) == shares(in_pixels.distance, known)  # one has a twin


LEARNING = ["training.steps=600", "training.batch_size=16", "training.learning_rate=0.004"]
LEARNING += ["training.ema_decay=0.99", "diffusion.min_snr_gamma=5.0"]


@pytest.mark.slow
def test_a_model_that_learned_4_pictures_by_heart_is_found_out(tiny_config: Config) -> None:
    pixels = blobs(200, 0)
    known = measure_baseline(pixels, torch.arange(4), torch.arange(100, 200))
    samples = samples_after(tiny_config.with_settings(LEARNING), pixels[:4])
    found = find_nearest(samples, pixels, torch.arange(4))
    assert known is not None
    assert shares(found.distance, known)["copy"] >= 0.75


@pytest.mark.slow
def test_the_same_model_of_2000_pictures_is_not_accused(tiny_config: Config) -> None:
    pixels = blobs(2100, 0)
    known = measure_baseline(pixels, torch.arange(2000), torch.arange(2000, 2100))
    samples = samples_after(tiny_config.with_settings(LEARNING), pixels[:2000])
    found = find_nearest(samples, pixels, torch.arange(2000))
    assert known is not None
    assert shares(found.distance, known)["copy"] <= 0.1
