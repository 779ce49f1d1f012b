"""A film of a training shows the samples of its steps, in order, each with its number."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sd.common.validation import InputError
from sd.generation import training_film
from sd.generation.training_film import draw_grids, write_training_film
from tests.helpers.made import made_run, write_events

SIZE = (536, 536 + 20 + 2 * 6)  # of a grid of 134 pixels, and of the words under it


def grid_of(frame: Image.Image) -> Image.Image:
    """Return the grid that a frame shows, at its own size."""
    return frame.crop((0, 0, 536, 536)).resize((134, 134), Image.Resampling.NEAREST)


def test_a_frame_of_each_step_in_order_tells_its_step(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    draw = training_film.ImageDraw.ImageDraw.text

    def text(self: object, place: object, words: str, *more: object, **named: object) -> None:
        written.append(words)
        draw(self, place, words, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(training_film.ImageDraw.ImageDraw, "text", text)
    folder = made_run(home, steps=1040)
    frames = draw_grids(folder)
    steps = sorted({*range(52, 1041, 52), *range(100, 1041, 100)})
    assert written == [f"step {step:,}" for step in steps] and written[-1] == "step 1,040"
    assert {frame.size for frame in frames} == {SIZE}
    for frame, step in zip(frames, steps, strict=True):
        with Image.open(folder / "samples" / f"step-{step:09d}.png") as grid:
            assert np.array_equal(np.asarray(grid_of(frame)), np.asarray(grid.convert("RGB")))
        below = np.asarray(frame.convert("L"))[536:]
        assert below.min() < 64 and below[:, 300:].min() == 255  # words, at the left


def test_a_film_of_many_steps_keeps_the_first_and_the_last(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_run(home, steps=400)
    everything = draw_grids(folder)
    monkeypatch.setattr(training_film.export, "MOST_FRAMES", 4)
    few = draw_grids(folder)
    assert len(everything) == 11 and len(few) == 4
    assert [few[0].tobytes(), few[-1].tobytes()] == [
        everything[0].tobytes(),
        everything[-1].tobytes(),
    ]


@pytest.mark.parametrize(("form", "most"), [(".gif", 10), (".webp", 0)])  # 256 colours, or all
def test_an_animation_goes_slowly_where_the_steps_are_few_and_stays_on_the_last(
    home: Path, tmp_path: Path, form: str, most: int
) -> None:
    frames, path = draw_grids(made_run(home, steps=156)), tmp_path / f"a{form}"
    write_training_film(form, frames, path)
    with Image.open(path) as film:
        assert (film.format, film.size, film.n_frames) == (form[1:].upper(), SIZE, 4)
        times = []
        for place in range(4):
            film.seek(place)
            film.load()
            times.append(film.info["duration"])
        assert times == [250, 250, 250, 1000]
        shown, wanted = (np.asarray(each.convert("RGB")).astype(int) for each in (film, frames[-1]))
        assert np.abs(shown - wanted).mean() <= most


def test_a_video_holds_the_last(home: Path, tmp_path: Path) -> None:
    frames, path = draw_grids(made_run(home, steps=156)), tmp_path / "a.mp4"
    write_training_film(".mp4", frames, path)
    with av.open(str(path)) as film:
        (stream,) = film.streams.video
        assert float(stream.average_rate or 0) == 4 and (stream.width, stream.height) == SIZE
        assert sum(1 for _ in film.decode(stream)) == 4 + 4


def test_a_run_without_two_steps_to_show_is_one_line(home: Path) -> None:
    empty = write_events(home / "empty", {"event": "start", "total": 4})
    with pytest.raises(InputError, match=r"^empty: has no samples yet; a film needs those of two"):
        draw_grids(empty)
    one = made_run(home, "one", steps=52)
    with pytest.raises(InputError, match=r"^one: has samples of one step alone; a film needs"):
        draw_grids(one)


def test_damaged_samples_are_left_out(home: Path) -> None:
    folder = made_run(home, steps=156)
    (folder / "samples" / "step-000000100.png").write_bytes(b"no PNG")
    assert len(draw_grids(folder)) == 3
    for step in (52, 104):
        (folder / "samples" / f"step-{step:09d}.png").write_bytes(b"no PNG")
    with pytest.raises(InputError, match=r"step-000000104\.png: not a PNG"):
        draw_grids(folder)
