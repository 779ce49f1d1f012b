"""What this program wrote is known again, and never trained on: by folder, zip and single file."""

import io
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sd.common import marks
from sd.common.marks import REASON, RUN_REASON, is_marked
from sd.common.validation import InputError
from sd.config import Config
from sd.data.image_set import ImageSet, inspect_images, read_images, some_pictures
from sd.data.reading.archive import pack_files
from sd.data.reading.source import open_source
from sd.generation import export
from sd.generation.player import one_file
from sd.generation.player.words import PLAYER_TEXTS
from sd.runs.worker import begin
from sd.ui.train.samples import store_grid
from tests.generation.test_export import RECIPE, noise, steps_of
from tests.helpers.commands import Capture, said
from tests.helpers.films import PIXELS, frames_of
from tests.helpers.made import made_run

WRITERS: dict[str, Callable[[Path], object]] = {
    "recipe.png": lambda path: export.write_png(noise(), path, RECIPE),
    "plain.png": lambda path: marks.save_png(noise(), path),
    "film.gif": lambda path: export.write_gif(frames_of(steps_of(3)), path, 64),
    "film.webp": lambda path: export.write_webp(frames_of(steps_of(3)), path, 64),
    "film.mp4": lambda path: export.write_mp4(frames_of(steps_of(3)), path, 64),
    "steps.npz": lambda path: export.write_npz(path, steps_of(2), PIXELS, [1, 2, 3, 4]),
    "film.html": lambda path: one_file.write_html([], path, PLAYER_TEXTS),
}


def dotted(seed: int) -> bytes:
    """A picture of its own, as a camera or a program of others writes it."""
    info = marks.PngImagePlugin.PngInfo()
    info.add_text("parameters", "made by sd, a small diffusion model")  # another's keyword
    file = io.BytesIO()
    image = Image.frombytes("RGB", (8, 8), random.Random(seed).randbytes(192))
    image.save(file, "PNG", pnginfo=info)
    return file.getvalue()


@pytest.fixture(name="data")
def two_classes(tmp_path: Path) -> Path:
    """Two classes of three pictures."""
    for n in range(6):
        path = tmp_path / "data" / ("cat" if n % 2 else "dog") / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dotted(n))
    return tmp_path / "data"


def zipped(folder: Path) -> Path:
    """A zip of a folder, as a browser or a person packs it."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return path


def marked(images: ImageSet) -> set[str]:
    return {name for name, reason in images.report.left_out if reason == REASON}


def last_line(images: ImageSet) -> str:
    assert images.report.remarks[-1:] == tuple(
        line for line in images.report.lines() if REASON in line and not line.startswith("  ")
    )
    return images.report.remarks[-1]


@pytest.mark.parametrize("name", WRITERS)
def test_all_that_is_written_is_marked(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    assert is_marked((tmp_path / name).read_bytes())


@pytest.mark.parametrize("form", ["PNG", "GIF", "JPEG", "WEBP", "BMP", "TIFF"])
def test_saved_anew_it_is_anybodys(form: str, tmp_path: Path) -> None:
    marks.save_png(noise(), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        image.convert("RGB").save(tmp_path / f"b.{form.lower()}", form)
    assert not is_marked((tmp_path / f"b.{form.lower()}").read_bytes())


def test_a_mark_behind_the_pixels_is_found() -> None:
    file = io.BytesIO()
    marks.save_png(noise(128), file)
    data = file.getvalue()
    start = data.index(b"iTXt") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    text, last = data[start:end], data.rindex(b"IEND") - 4
    moved = data[:start] + data[end:last] + text + data[last:]
    assert len(moved) > 40_000 and is_marked(moved)
    with Image.open(io.BytesIO(moved)) as image:
        assert image.tobytes() == noise(128).tobytes()
    assert not is_marked(data[:start] + data[end:])


@pytest.mark.parametrize("place", ["beginning", "end"])
def test_a_mark_is_found_at_either_end_of_a_large_file(place: str) -> None:
    mark, rest = marks.MARK.encode(), bytes(3 * marks.LOOKED)
    assert is_marked(mark + rest if place == "beginning" else rest + mark)
    assert not is_marked(rest + mark + rest)


@pytest.mark.parametrize("data", [b"", marks.SIGNATURE, marks.SIGNATURE + b"\xff" * 9, b"GIF89a"])
def test_what_is_no_whole_file_carries_none(data: bytes) -> None:
    assert not is_marked(data)


def test_outputs_among_the_pictures_are_left_out_and_counted(
    data: Path, capsys: Capture, tmp_path: Path
) -> None:
    pure, pictures = read_images(data), data.rename(tmp_path / "pure")
    shutil.copytree(pictures, data)
    words = ["--count", 3, "--steps", 2, "--sampler", "ddim"]
    said(capsys, "sample", f"ideal:{pictures}", *words, "--keep-steps", "--out", data / "test_pic")
    said(capsys, "sample", f"ideal:{pictures}", *words, "--out", data / "cat" / "film.gif")
    said(capsys, "sample", f"ideal:{pictures}", *words, "--out", data / "sheet.png")
    said(capsys, "noise", data / "cat" / "1.png", "--t", 9, "--out", data / "dog" / "noise.png")
    ours = {f"test_pic/seed-0000{n}.png" for n in range(3)}
    ours |= {"test_pic/step-0001.png", "test_pic/step-0002.png", "sheet.png"}
    ours |= {"cat/film.gif", "dog/noise.png"}
    for source in (data, zipped(data)):
        images = read_images(source)
        assert marked(images) == ours
        assert images.names == pure.names and images.label_names == ("cat", "dog")
        assert last_line(images).startswith(f"{REASON}, so not trained on: 8 files (")
        assert inspect_images(source).left_out == images.report.left_out
        with open_source(source) as reading:
            assert reading.counts() == (6, 0, 2)
        assert len(some_pictures(source)) == 6
    loose = sorted(data.rglob("*.png"))
    packed = pack_files(loose, [path.name for path in loose], tmp_path / "loose.zip")
    assert read_images(packed).report.used == 6


def test_an_earlier_run_among_the_pictures_is_left_out(
    data: Path, tiny_config: Config, tmp_path: Path
) -> None:
    settings = ["training.steps=1", f"training.save_path={data / 'other'}"]
    config = tiny_config.with_settings(settings)
    for name in ("old", "deep/er"):
        list(begin(config, str(data), data / name))
    Image.new("RGB", (8, 8)).save(data / "old" / "samples" / "unmarked.png")
    for source in (data, zipped(data)):
        images = read_images(source)
        assert (images.report.used, images.label_names) == (6, ("cat", "dog"))
        runs = {name for name, reason in images.report.left_out if reason == RUN_REASON}
        assert runs == {"old", "deep/er"}
        assert last_line(images).startswith(f"{REASON}, so not trained on: 2 run folders (")


def test_a_run_into_its_own_pictures_can_read_them_again(data: Path, tiny_config: Config) -> None:
    config = tiny_config.with_settings(["training.steps=1", "training.sample_every=1"])
    list(begin(config, str(data), data))
    images = read_images(data)
    assert images.report.used == 6
    assert {name.split("/")[0] for name in marked(images)} == {"samples"}
    assert marks.run_folders(["run.json", "a/run.json", "a/b/c.png", "c/config.ini"]) == {"a"}


def test_nothing_but_outputs_is_no_picture_set(tmp_path: Path) -> None:
    marks.save_png(noise(), tmp_path / "a.png")
    with pytest.raises(InputError, match=r"no picture could be read: 1 left out, .*made by this"):
        read_images(tmp_path / "a.png")


def test_the_mark_is_a_chunk_like_any_other() -> None:
    file = io.BytesIO()
    noise().save(file, "PNG")
    data = file.getvalue()
    with Image.open(io.BytesIO(data[:33] + marks.png_chunk() + data[33:])) as image:
        image.load()
        assert image.info == {marks.MADE: marks.MARK} and image.tobytes() == noise().tobytes()


def test_what_the_page_hands_over_keeps_the_mark(tmp_path: Path) -> None:
    folder = made_run(tmp_path, steps=100)
    sheet = folder / "samples" / "step-000000100.png"
    assert is_marked(Path(store_grid(sheet, 1)).read_bytes())


@pytest.mark.parametrize("name", ["emoji32", "shapes32", "shapes128"])
def test_the_bundled_models_own_pictures_are_marked(name: str) -> None:
    bundled = Path(__file__).parents[2] / "checkpoints" / name
    found = [*bundled.rglob("*.png"), *bundled.rglob("*.html")]
    assert found and all(is_marked(path.read_bytes()) for path in found)
