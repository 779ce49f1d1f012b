"""What is taken away comes back: recipes from PNGs, frames of films, steps from npz."""

import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from sd.common.validation import InputError
from sd.data.images import to_array
from sd.diffusion.sampling import SampleStep
from sd.diffusion.schedule import Schedule
from sd.generation import export
from sd.generation.export import (
    read_recipe,
    scale_for,
    thin_steps,
    write_gif,
    write_mp4,
    write_npz,
    write_png,
    write_webp,
)
from sd.generation.player import one_file
from sd.generation.player.one_file import read_html, write_html
from sd.generation.player.words import PLAYER_TEXTS
from tests.helpers.films import PIXELS, film_of, frames_of

RECIPE: dict[str, Any] = {"model": "emoji32", "steps": 50, "eta": 0.5, "姓": ["é", None, True]}

CHINESE = {key: f"中 {english}" for key, english in PLAYER_TEXTS.items()}


def steps_of(total: int, count: int = 4, side: int = 16) -> list[SampleStep]:
    """Steps whose pictures brighten evenly, the estimates a quarter of the way ahead."""
    shape = (count, 3, side, side)
    return [
        SampleStep(
            i,
            1000.0 * (total - i) / total,
            torch.full(shape, -1 + 1.5 * i / total),
            torch.full(shape, -0.5 + 1.5 * i / total),
            torch.zeros(shape),
            0.0,
        )
        for i in range(1, total + 1)
    ]


def noise(side: int = 24) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return Image.fromarray(pixels)


def png(*chunks: tuple[bytes, bytes]) -> io.BytesIO:
    """A PNG of any chunks, each with the sum that belongs to it."""
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (*chunks, (b"IEND", b""))
    ]
    return io.BytesIO(export.SIGNATURE + b"".join(parts))


def itxt(text: bytes, compressed: bool = False) -> tuple[bytes, bytes]:
    return b"iTXt", b"sd\0" + (b"\1\0" if compressed else b"\0\0") + b"\0\0" + text


def test_a_recipe_comes_back_and_the_pixels_stay(tmp_path: Path) -> None:
    image, path = noise(), tmp_path / "a.png"
    write_png(image, path, RECIPE)
    assert read_recipe(path) == RECIPE
    with Image.open(path) as opened:
        assert opened.tobytes() == image.tobytes()
        assert json.loads(opened.text["sd"]) == RECIPE
    with path.open("rb") as file:
        assert read_recipe(file) == RECIPE


def test_a_recipe_survives_being_saved_again_and_moved_behind_the_pixels() -> None:
    body = itxt(json.dumps(RECIPE).encode())
    assert read_recipe(png((b"IDAT", b"anything"), body)) == RECIPE
    packed = itxt(zlib.compress(json.dumps(RECIPE).encode()), compressed=True)
    assert read_recipe(png(packed)) == RECIPE


def test_a_large_recipe_fits_and_a_larger_one_is_refused() -> None:
    file = io.BytesIO()
    write_png(noise(), file, {"picture": "x" * 4_000_000})
    assert len(read_recipe(io.BytesIO(file.getvalue()))["picture"]) == 4_000_000
    with pytest.raises(InputError, match="at most 5242880 are allowed"):
        write_png(noise(), io.BytesIO(), {"picture": "x" * 6_000_000})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_png(noise(), io.BytesIO(), {"eta": float("nan")})


def plain_png() -> io.BytesIO:
    file = io.BytesIO()
    noise().save(file, "PNG")
    return io.BytesIO(file.getvalue())


HOSTILE: dict[str, tuple[Callable[[], io.BytesIO], str]] = {
    "elsewhere": (plain_png, "a PNG from elsewhere: it carries no recipe"),
    "empty": (lambda: io.BytesIO(b""), "not a PNG"),
    "JPEG": (lambda: io.BytesIO(b"\xff\xd8\xff\xe0" * 9), "not a PNG"),
    "cut": (lambda: io.BytesIO(png(itxt(b"{}")).getvalue()[:25]), "cut short"),
    "head alone": (lambda: io.BytesIO(export.SIGNATURE), "cut short"),
    "length": (
        lambda: io.BytesIO(export.SIGNATURE + b"\xff\xff\xff\xffiTXt" + b"x" * 9),
        "cut short",
    ),
    "sum": (lambda: io.BytesIO(png(itxt(b"{}")).getvalue().replace(b"{}", b"[]")), "damaged"),
    "no fields": (lambda: png((b"iTXt", b"sd\0")), "damaged"),
    "one field": (lambda: png((b"iTXt", b"sd\0\0\0")), "damaged"),
    "not UTF-8": (lambda: png(itxt(b"\xff\xfe")), "damaged"),
    "not packed": (lambda: png(itxt(b"{}", compressed=True)), "damaged"),
    "not JSON": (lambda: png(itxt(b"{'a': 1}")), "not JSON"),
    "a list": (lambda: png(itxt(b"[1]")), "not an object"),
    "deep": (lambda: png(itxt(b"[" * 1_000_000)), "not JSON"),
    "digits": (lambda: png(itxt(b'{"a": ' + b"9" * 5000 + b"}")), "not JSON"),
    "long": (lambda: png(itxt(b'{"a": "' + b"x" * 5_300_000 + b'"}')), "more than 5242880 bytes"),
    "chunks": (lambda: png(*[(b"tEXt", b"")] * 100_001), "more than 100000 chunks"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_strangers_file_ends_in_one_line(name: str) -> None:
    made, line = HOSTILE[name]
    with pytest.raises(InputError) as caught:
        read_recipe(made())
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_a_packed_text_is_never_unpacked_beyond_its_bound() -> None:
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(b"[" * 2**20) for _ in range(200)) + packer.flush()
    with pytest.raises(InputError, match="more than 5242880 bytes"):
        read_recipe(png(itxt(body, compressed=True)))


def test_frames_show_x_t_beside_x0() -> None:
    frames = frames_of(steps_of(3))
    assert len(frames) == 3 and frames[0].size == (34 + 8 + 34, 34)
    assert frames[2].getpixel((5, 5)) == (191,) * 3  # x_t = 0.5
    assert frames[2].getpixel((42 + 5, 5)) == (255,) * 3  # x0 = 1
    assert frames[0].getpixel((38, 10)) == (255,) * 3  # between them: white
    assert scale_for(frames[0], 270) == 8 and scale_for(frames[0], 20) == 1


def test_steps_are_thinned_evenly_to_the_last() -> None:
    few = thin_steps(steps_of(1000, count=1, side=1), most=100)
    assert [step.i for step in few] == list(range(10, 1001, 10))
    assert [step.i for step in thin_steps(steps_of(7, count=1, side=1))] == list(range(1, 8))
    assert [step.i for step in thin_steps(steps_of(7, count=1, side=1), most=3)] == [3, 5, 7]


def test_a_gif_has_every_frame_and_stays_on_the_last() -> None:
    file = io.BytesIO()
    frames = frames_of(steps_of(6))
    write_gif(frames, file, side=70)
    with Image.open(io.BytesIO(file.getvalue())) as gif:
        assert gif.n_frames == 6 and gif.size == (152, 68) and gif.info["loop"] == 0
        for place, frame in enumerate(frames):
            gif.seek(place)
            wanted = np.asarray(frame.resize(gif.size, Image.Resampling.NEAREST)).astype(int)
            assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - wanted).mean() < 1
            assert gif.info["duration"] == (1000 if place == 5 else 80)


def test_a_webp_has_every_pixel_and_stays_on_the_last() -> None:
    file = io.BytesIO()
    frames = [*frames_of(steps_of(5)), noise().resize((76, 34))]
    write_webp(frames, file, side=70)
    with Image.open(io.BytesIO(file.getvalue())) as webp:
        assert (webp.format, webp.n_frames, webp.size) == ("WEBP", 6, (152, 68))
        assert webp.info["loop"] == 0
        for place, frame in enumerate(frames):
            webp.seek(place)
            webp.load()
            wanted = np.asarray(frame.resize(webp.size, Image.Resampling.NEAREST))
            assert np.array_equal(np.asarray(webp.convert("RGB")), wanted)
            assert webp.info["duration"] == (1000 if place == 5 else 80)


@pytest.mark.parametrize("side", [16, 15])  # an odd height is filled up
def test_an_mp4_plays_everywhere_and_has_every_frame(tmp_path: Path, side: int) -> None:
    path, frames = tmp_path / "a.mp4", frames_of(steps_of(6, count=1, side=side))
    write_mp4(frames, path, side=side)
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert stream.width % 2 == 0 == stream.height % 2
        assert float(stream.average_rate or 0) == 12.5
        shown = [np.asarray(frame.to_image()).astype(int) for frame in film.decode(stream)]
    assert len(shown) == 6 + 12  # the last stays for a second
    for image, frame in zip(shown, frames, strict=False):
        wanted = np.asarray(frame).astype(int)
        height = len(wanted)
        assert np.abs(image[2 : height - 2, 2 : side - 2] - wanted[2:-2, 2 : side - 2]).mean() < 4
    assert np.abs(shown[-1] - shown[5]).mean() < 2
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # a browser starts before all has come


def test_an_npz_holds_the_pictures_and_every_step(tmp_path: Path) -> None:
    steps = steps_of(5)
    write_npz(tmp_path / "a.npz", steps, PIXELS, range(4))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as stored:
        assert (stored["samples"] == to_array(steps[-1].x_t)).all()
        assert stored["steps"].shape == stored["x0"].shape == (5, 4, 16, 16, 3)
        assert stored["times"].tolist() == [800, 600, 400, 200, 0]
        assert stored["seeds"].tolist() == [0, 1, 2, 3]
    write_npz(tmp_path / "b.npz", steps, PIXELS, range(4), every=False)
    with np.load(tmp_path / "b.npz", allow_pickle=False) as stored:
        assert sorted(stored.files) == ["samples", "seeds"]


def test_one_file_holds_all_that_it_shows(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    film = film_of(steps_of(4), Schedule.create(), 4, label="</script><script>alert(1)</script>")
    write_html([film], path, CHINESE, {"start": "x" * 500, "</pre>": "<b>"}, "zh")
    text = path.read_text(encoding="utf-8")
    assert '<html lang="zh">' in text and CHINESE["title"] in text
    assert "default-src 'none'" in text and "'unsafe-inline'" not in text
    assert text.count("<script") == 3 and "alert(1)</script>" not in text
    shown = text[text.index("<pre>") : text.index("</pre>")]
    assert "x" * 100 not in shown and "(500)" in shown and "&lt;/pre&gt;" in shown
    (value,) = re.findall(r'id="value">(.*?)</script>', text)
    assert json.loads(value)["lanes"] == [film]
    assert read_html(path) == ([film], {"start": "x" * 500, "</pre>": "<b>"})
    # Names in the player are those of the XML of an icon; no other address is in the file.
    assert set(re.findall(r"https?://[^\s\"'`]+", text)) == {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("text", ["", "<html></html>", 'id="value">{"lanes": 1}</script>'])
def test_a_page_from_elsewhere_is_no_player(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.html").write_text(text)
    with pytest.raises(InputError, match=r"a\.html: not a player"):
        read_html(tmp_path / "a.html")


def test_every_word_of_the_player_has_a_text_and_every_text_a_use() -> None:
    source = "".join((one_file.PLAYER / name).read_text() for name in one_file.SCRIPTS)
    said = set(re.findall(r'say\("(\w+)"', source)) | set(re.findall(r'button\("(\w+)"', source))
    assert said <= set(PLAYER_TEXTS)
    families = ("view_", "caption_", "alt_", "norm_", "change", "log_snr", "clipped")
    rest = set(PLAYER_TEXTS) - said - {"title", "made", "pause", "late", "lost", "t", "t_info"}
    assert all(key.startswith(families) for key in rest), rest
