"""Films: a chunk holds what the steps held, in numbers and in pictures, and it stays small."""

import base64
import io
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sd.checkpoints.checkpoint import load_checkpoint
from sd.common.encoding import data_uri
from sd.data.images import to_uint8
from sd.diffusion.sampling import SampleStep
from sd.diffusion.schedule import Schedule
from sd.generation.film import (
    FRAME_KINDS,
    MOST_FRAMES,
    MOST_PIXELS,
    MOST_TOGETHER,
    WHOLE,
    Chunk,
    Film,
    embed_chunks,
)
from tests.helpers.films import PIXELS, film_of

ROOT = Path(__file__).parents[2]
BUNDLED = ROOT / "checkpoints" / "emoji32"
SCHEDULE = Schedule.create("cosine", 1000)


def smooth(count: int, channels: int = 3, side: int = 16) -> torch.Tensor:
    """Pictures that JPEG keeps well: each a ramp of its own."""
    ramp = torch.linspace(-1, 1, side).expand(channels, side, side)
    return torch.stack([ramp * (n + 1) / count for n in range(count)])


def step(i: int, total: int, pictures: torch.Tensor, clipped: float = 0.25) -> SampleStep:
    t = 1000.0 * (total - i) / total
    return SampleStep(i, t, pictures, pictures / 2, pictures * 3, clipped)


def chunk_of(film: Film, *steps: SampleStep) -> Chunk:
    for each in steps:
        film.add(each)
    chunk = film.take()
    assert chunk is not None
    return chunk


def opened(chunk: Chunk, place: int) -> Image.Image:
    start = sum(chunk.parts[:place])
    return Image.open(io.BytesIO(chunk.data[start : start + chunk.parts[place]]))


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_fifty_steps_of_sixteen_pictures_stay_below_two_megabytes(sampler: str) -> None:
    model = load_checkpoint(BUNDLED, "cpu")
    sampling = model.sampling(sampler, 50)
    film, stored = Film(PIXELS, sampling.schedule, 50), []
    for each in sampling.steps(model.denoiser, model.shape, range(16)):
        film.add(each)
        if each.i % 5 == 0:
            film.flush(lambda data: stored.append(data) or f"/chunk/{len(stored)}")
    assert len(stored) == 10 and len(film.json()["frames"]) == 50
    assert sum(map(len, stored)) + len(json.dumps(film.json())) < 2_000_000


def test_every_picture_lies_in_its_cell_of_its_sheet() -> None:
    pictures = smooth(3)
    chunk = chunk_of(Film(PIXELS, SCHEDULE, 2), step(1, 2, pictures), step(2, 2, -pictures))
    for place, expected in enumerate([pictures, pictures / 2, pictures]):  # eps is shown / 3
        column = np.asarray(opened(chunk, place)).astype(int)
        assert column.shape == (2 * 2 * 16, 2 * 16, 3)
        for n, picture in enumerate(expected):
            top, left = n // 2 * 16, n % 2 * 16
            cell = column[top : top + 16, left : left + 16]
            wanted = to_uint8(picture).permute(1, 2, 0).numpy().astype(int)
            assert np.abs(cell - wanted).mean() < 3
            assert np.abs(column[32 + top : 48 + top, left : left + 16] + wanted - 255).mean() < 3
        assert np.abs(column[16:32, 16:] - 128).max() <= 3  # no picture: grey


def test_a_film_can_be_told_its_columns() -> None:
    pictures = smooth(6)
    film = Film(PIXELS, SCHEDULE, 1, columns=6)
    column = np.asarray(opened(chunk_of(film, step(1, 1, pictures)), 0)).astype(int)
    assert column.shape == (16, 6 * 16, 3) and film.json()["columns"] == 6
    wanted = to_uint8(pictures[4]).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(column[:, 64:80] - wanted).mean() < 3
    square = film_of([step(1, 1, pictures)], SCHEDULE, 1)
    assert (
        square["columns"] == 3
        and film_of([step(1, 1, pictures)], SCHEDULE, 1, columns=2)["columns"] == 2
    )


def test_a_jpeg_keeps_the_colour_of_every_pixel() -> None:
    checks = torch.zeros(1, 3, 16, 16)
    checks[:, 0, :, ::2], checks[:, 2, :, 1::2] = 0.5, 0.5
    chunk = chunk_of(Film(PIXELS, SCHEDULE, 1), SampleStep(1, 0.0, checks, checks, checks, 0.0))
    image = opened(chunk, 1)
    assert image.layer == [(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 1)]  # no colour is halved


def test_grey_pictures_stay_grey() -> None:
    chunk = chunk_of(Film(PIXELS, SCHEDULE, 1), step(1, 1, smooth(4, channels=1)))
    assert [opened(chunk, place).mode for place in range(4)] == ["L"] * 4
    assert opened(chunk, 0).size == (32, 32)


def test_what_is_no_number_is_grey() -> None:
    broken = torch.full((1, 3, 16, 16), float("nan"))
    chunk = chunk_of(Film(PIXELS, SCHEDULE, 1), SampleStep(1, 0.0, broken, broken, broken, 0.0))
    assert np.abs(np.asarray(opened(chunk, 0)).astype(int) - 128).max() <= 2
    assert json.loads(json.dumps(chunk.frames, allow_nan=False))[0]["rms"] == [0, 0, 0]


def test_the_numbers_are_those_of_the_steps() -> None:
    start, one, two = (torch.randn(2, 3, 8, 8, generator=torch.Generator()) for _ in range(3))
    film = Film(PIXELS, SCHEDULE, 2, start=start)
    first, last = chunk_of(film, step(1, 2, one), step(2, 2, two)).frames
    rms = one.square().mean().sqrt().item()
    assert first["rms"] == pytest.approx([rms, rms / 2, 3 * rms], rel=1e-3)
    assert first["change"] == pytest.approx((one - start).square().mean().sqrt().item(), rel=1e-3)
    assert last["change"] == pytest.approx((two - one).square().mean().sqrt().item(), rel=1e-3)
    assert first["log_snr"] == pytest.approx(float(SCHEDULE.log_snr(500)), rel=1e-3)
    assert (first["i"], first["t"], first["clipped"]) == (1, 500.0, 0.25)
    assert (last["i"], last["t"], last["log_snr"]) == (2, 0.0, None)


def test_numbers_alone_are_those_of_a_film_with_pictures() -> None:
    one, two = (torch.randn(2, 3, 8, 8, generator=torch.Generator()) for _ in range(2))
    drawn, counted = Film(PIXELS, SCHEDULE, 2, start=two), Film(PIXELS, SCHEDULE, 2, start=two)
    assert not counted.count()
    frames = chunk_of(drawn, step(1, 2, one), step(2, 2, two)).frames
    for each in (step(1, 2, one), step(2, 2, two)):
        counted.add(each)
        assert counted.count()
    assert counted.frames == frames and counted.chunks == []


def test_the_first_change_is_told_only_if_the_start_is_known() -> None:
    film = Film(PIXELS, SCHEDULE, 3)
    assert [frame["change"] for frame in chunk_of(film, step(1, 3, smooth(1))).frames] == [None]
    assert chunk_of(film, step(2, 3, -smooth(1))).frames[0]["change"] > 1  # across chunks


def test_a_change_shows_where_it_was() -> None:
    before = smooth(4)
    after = before.clone()
    after[2] += 0.01
    chunk = chunk_of(Film(PIXELS, SCHEDULE, 2, start=before), step(1, 2, after))
    sheet = np.asarray(opened(chunk, FRAME_KINDS.index("change"))).astype(int)
    assert sheet[16:, :16].mean() == pytest.approx(255 * 2 / 3, abs=4)  # 2 rms of at most 3
    assert sheet[:16].mean() < 4 and sheet[16:, 16:].mean() < 4


def test_a_chunk_has_bounds_and_the_rest_waits() -> None:
    film = Film(PIXELS, SCHEDULE, 100)
    for i in range(1, 101):
        film.add(step(i, 100, smooth(1, side=4)))
    sizes = []
    while chunk := film.take():
        sizes.append((chunk.first, len(chunk.frames)))
    assert sizes == [(1, MOST_TOGETHER), (65, 36)]
    large = Film(PIXELS, SCHEDULE, 9)
    for i in range(1, 10):
        large.add(step(i, 9, torch.zeros(4, 1, 512, 512)))
    chunk = large.take()
    assert chunk is not None and len(chunk.frames) == MOST_PIXELS // 1024**2
    image = opened(chunk, 0)
    assert max(image.size) < 16384 and image.width * image.height <= MOST_PIXELS


def test_noise_of_any_kind_stays_within_its_bytes() -> None:
    source = torch.Generator().manual_seed(0)
    # Of so many steps that no frame may take more than its usual share.
    film = Film(PIXELS, SCHEDULE, 300)
    for i in range(1, 13):
        x, y, z = (torch.randn(4, 3, 32, 32, generator=source) for _ in range(3))
        film.add(SampleStep(i, 500.0, x, y / 3, z, 0.0))
        if i % 4 == 0:
            chunk = film.take()
            assert chunk is not None and len(chunk.data) <= WHOLE * 4 * 64 * 64


def test_a_long_sampling_keeps_an_even_share_and_the_last() -> None:
    film = film_of((step(i, 2002, torch.zeros(1, 1, 8, 8)) for i in range(1, 2003)), SCHEDULE, 2002)
    kept = [frame["i"] for frame in film["frames"]]
    assert kept[0] == 1 and kept[-1] == 2002 and len(kept) <= MOST_FRAMES + 1
    assert {b - a for a, b in pairwise(kept)} == {3}


def test_the_last_step_is_kept_before_the_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sd.generation.film.MOST_FRAMES", 2)
    film = Film(PIXELS, SCHEDULE, 4)
    chunk = chunk_of(film, *(step(i, 4, torch.zeros(1, 1, 8, 8)) for i in range(1, 5)))
    assert [frame["i"] for frame in chunk.frames] == [1, 3, 4]


def test_a_thousand_steps_are_all_kept_but_of_pictures_that_are_too_large() -> None:
    small = film_of(
        (step(i, 1000, torch.zeros(1, 1, 8, 8)) for i in range(1, 1001)), SCHEDULE, 1000
    )
    assert len(small["frames"]) == 1000
    large = Film(PIXELS, SCHEDULE, 1000)
    large.add(step(1, 1000, torch.zeros(16, 3, 64, 64)))
    assert large._stride == 4


def test_a_small_film_may_be_better() -> None:
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    sizes = []
    for total in (50, 5000):
        film = Film(PIXELS, SCHEDULE, total)
        film.add(step(1, total, picture))
        chunk = film.take()
        assert chunk is not None
        sizes.append(len(chunk.data))
    assert sizes[0] > 1.3 * sizes[1]


def test_a_stopped_sampling_keeps_its_newest_step() -> None:
    film = Film(PIXELS, SCHEDULE, 4000)
    for i in range(1, 8):
        film.add(step(i, 4000, torch.zeros(1, 1, 8, 8)))
    film.end()
    film.flush(data_uri)
    assert [frame["i"] for frame in film.json()["frames"]] == [1, 5, 7]


def test_the_film_tells_what_a_player_needs() -> None:
    film = Film(PIXELS, SCHEDULE, 4, 2, label="heun")
    assert film.json(running=True)["frames"] == [] and not film.flush(data_uri)
    film.add(step(1, 4, smooth(5)))
    assert film.flush(lambda data: "/a") and not film.flush(lambda data: "/b")
    told = film.json("one line", running=True)
    wanted = {"label": "heun", "count": 5, "columns": 3, "width": 16, "height": 16, "total": 4}
    assert told.items() >= (wanted | {"calls": 2, "running": True, "line": "one line"}).items()
    (chunk,) = told["chunks"]
    assert (chunk["src"], chunk["first"], chunk["count"], len(chunk["parts"])) == ("/a", 1, 1, 4)
    film.add(step(2, 4, smooth(5)))
    film.flush(lambda data: "/c")
    assert len(told["frames"]) == len(told["chunks"]) == 1  # what was told stays as it was
    assert film.json()["id"] == told["id"] != Film(PIXELS, SCHEDULE, 4).json()["id"]


def test_files_are_taken_into_the_film(tmp_path: Path) -> None:
    def keep(data: bytes) -> str:
        path = tmp_path / "chunk.bin"
        path.write_bytes(data)
        return str(path)

    film = film_of([step(1, 1, smooth(1))], SCHEDULE, 1, keep)
    (chunk,) = embed_chunks(film)["chunks"]
    assert base64.b64decode(chunk["src"].partition(",")[2]) == (tmp_path / "chunk.bin").read_bytes()
    assert embed_chunks(embed_chunks(film)) == embed_chunks(film)
