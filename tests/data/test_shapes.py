"""The drawn set: its pictures are those of its seed, and the scorer tells what they show."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageFilter

from sd.checkpoints import closed_form_model
from sd.common.validation import InputError
from sd.data import shapes
from sd.data.image_set import read_images
from sd.data.reading.source import bundled_path
from sd.data.shapes import COLOURS, FILLS, draw, find_shapes, follows, make_picture

TRIED = 200
MIRRORED = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


@pytest.fixture(scope="module")
def pictures() -> list[tuple[str, Image.Image]]:
    return [make_picture(shapes.SEED, number) for number in range(TRIED)]


def source(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def share(pictures, change) -> float:
    return float(np.mean([follows(text, change(picture)) for text, picture in pictures]))


def noisy(picture: Image.Image, seed: int = 1) -> np.ndarray:
    pixels = np.asarray(picture) + source(seed).normal(0, 8, (32, 32, 3))
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def swapped(text: str) -> tuple[str, str, str]:
    """Return a caption of two shapes with its relation, its colours, its order exchanged."""
    words = text.split()
    relation = " ".join(words[2:-2])
    (colour, shape), (other, second) = words[:2], words[-2:]
    return (
        f"{colour} {shape} {MIRRORED[relation]} {other} {second}",
        f"{other} {shape} {relation} {colour} {second}",
        f"{other} {second} {relation} {colour} {shape}",
    )


@pytest.mark.parametrize(("word", "side"), [("shapes", 32), ("shapes128", 128)])
def test_a_bundled_set_is_that_of_its_seed(word, side):
    with zipfile.ZipFile(bundled_path(word)) as archive:
        rows = archive.read("metadata.csv").decode().splitlines()
        assert rows[0] == "file_name,text,label" and len(rows) == shapes.COUNT + 1
        assert not any(shapes.is_held_out(row.split(",")[1]) for row in rows[1:])
        for number in range(8):
            text, picture = make_picture(shapes.SEED, number, side)
            assert rows[number + 1] == f"{number:04}.png,{text},{text.split()[1]}"
            stored = Image.open(io.BytesIO(archive.read(f"{number:04}.png")))
            assert np.array_equal(np.asarray(stored.convert("RGB")), np.asarray(picture))
    assert bundled_path(word).stat().st_size < 2.3e6


def test_things_are_held_out_at_places_where_no_picture_has_them():
    held_out = [each for each in shapes.captions() if shapes.is_held_out(each)]
    assert len(held_out) == 64
    assert shapes.is_held_out("red circle left of blue square")
    assert shapes.is_held_out("blue square right of red circle")  # the same scene
    assert not shapes.is_held_out("blue square left of red circle")
    assert not shapes.is_held_out("red circle")
    # Each colour and each shape is shown at every place, so that all can be put together.
    shown = [shapes.parse(each) for each in shapes.captions() if each not in held_out]
    for relation in shapes.CAPTION_RELATIONS:
        for place in (1, 2):
            there = [(each.first, each.second)[place - 1] for each in shown if each.second
                     and each.relation == relation]  # fmt: skip
            assert {thing.colour for thing in there} == set(COLOURS)
            assert {thing.shape for thing in there} == set(FILLS)
            assert len(set(there)) == 10


def test_the_same_draws_are_the_same_scene_at_any_side():
    text = "yellow circle left of blue triangle"
    small, large = (draw(text, source(5), side) for side in (32, 128))
    reduced = large.resize((32, 32), Image.Resampling.BOX)
    assert np.abs(np.asarray(reduced).astype(int) - np.asarray(small)).max() <= 12
    assert follows(text, large)


def test_the_same_seed_makes_the_same_bytes():
    assert shapes.make_set(5, 3) == shapes.make_set(5, 3) != shapes.make_set(5, 4)


def test_captions_are_all_there_is_to_say(pictures):
    every = shapes.captions()
    assert len(every) == len(set(every)) == 12 + 12 * 9 * 2
    assert all(" ".join(filter(None, flat(shapes.parse(text)))) == text for text in every)
    two = np.mean([len(text.split()) > 2 for text, _ in pictures])
    assert abs(two - shapes.TWO) < 0.1


def flat(asked):
    return [*asked.first, asked.relation, *(asked.second or ())]


def test_shapes_keep_their_distance_and_their_sizes(pictures):
    for text, picture in pictures:
        pixels = np.asarray(picture)
        assert (pixels[[0, -1]] == 255).all() and (pixels[:, [0, -1]] == 255).all()
        found = find_shapes(picture)
        for each in found:
            side = np.sqrt(each.area / FILLS[each.shape])
            assert 8.4 < side < 13.6
        if len(found) == 2:
            one, two = found
            apart = sorted(abs(np.array([one.x - two.x, one.y - two.y])))
            assert apart[1] > 8.5 and apart[1] > apart[0], text
            near = [np.argwhere(each.mask) for each in found]
            gaps = abs(near[0][:, None] - near[1][None]).max(2)
            assert gaps.min() > 2, text


def test_the_scorer_reads_the_sets_own_pictures(pictures):
    assert share(pictures, lambda picture: picture) >= 0.99


def test_the_scorer_reads_noisy_and_blurred_pictures(pictures):
    blur = ImageFilter.GaussianBlur(0.8)
    assert share(pictures, noisy) >= 0.97
    assert share(pictures, lambda picture: noisy(picture.filter(blur))) >= 0.97


def test_exchanged_words_are_refused(pictures):
    for text, picture in pictures:
        if len(text.split()) > 2:
            relation, colours, order = swapped(text)
            assert not follows(relation, picture) and not follows(order, picture)
            assert follows(colours, picture) == (colours == text)


def test_mirrored_words_for_the_same_scene_are_accepted():
    picture = draw("red circle left of blue square", source())
    assert follows("red circle left of blue square", picture)
    assert follows("blue square right of red circle", picture)
    assert not follows("blue square left of red circle", picture)
    assert not follows("red circle above blue square", picture)
    assert not follows("red circle left of green square", picture)
    assert not follows("red circle left of blue triangle", picture)


def test_a_missing_or_an_extra_shape_is_refused():
    two = np.array(draw("red circle above blue square", source()))
    assert not follows("red circle", two) and not follows("blue square", two)
    lost = two.copy()
    lost[max(each.mask for each in find_shapes(two) if each.colour == "red")] = 255
    assert not follows("red circle above blue square", lost)
    twice = np.full((32, 32, 3), 255, np.uint8)
    twice[3:12, 3:12] = twice[18:28, 18:28] = COLOURS["red"]
    assert [each.shape for each in find_shapes(twice)] == ["square", "square"]
    assert not follows("red square", twice)


@pytest.mark.parametrize("colour", [(0, 0, 0), (128, 128, 128), (0, 200, 220), (230, 40, 200)])
def test_another_colour_or_form_is_told_as_other(colour):
    pixels = np.full((32, 32, 3), 255, np.uint8)
    pixels[4:14, 4:14] = colour
    assert [(each.colour, each.shape) for each in find_shapes(pixels)] == [("other", "square")]
    pixels[20:24, 2:30] = COLOURS["blue"]
    assert ("blue", "other") in [(each.colour, each.shape) for each in find_shapes(pixels)]
    assert not follows("blue square", pixels)


def test_specks_and_empty_paper_are_nothing():
    pixels = np.full((32, 32, 3), 255, np.uint8)
    assert find_shapes(pixels) == [] and not follows("red circle", pixels)
    pixels[5:8, 5:8] = COLOURS["red"]
    assert find_shapes(pixels) == []
    pixels[5:9, 5:9] = COLOURS["red"]
    (found,) = find_shapes(pixels)
    assert (found.colour, found.x, found.y, found.area) == ("red", 6.5, 6.5, 16)
    assert found.mask[5:9, 5:9].all() and found.mask.sum() == 16


def test_larger_samples_are_read_by_their_share_of_the_picture():
    picture = draw("green triangle below yellow circle", source(4))
    assert follows("green triangle below yellow circle", picture.resize((64, 64)))
    assert follows("green triangle below yellow circle", picture.resize((128, 128)))


@pytest.mark.parametrize(
    "caption",
    ["", "red", "red circle red", "pink circle", "red circle beside blue square", None, "红 圆",
     "red circle left of red square", "red circle left of blue square " * 2000,
     "circle red", "red circle blue square", "red circle above blue square below"],
)  # fmt: skip
def test_a_bad_caption_is_told_in_one_line(caption):
    for call in (lambda: draw(caption, source()), lambda: follows(caption, np.zeros((8, 8, 3)))):
        with pytest.raises(InputError) as refused:
            call()
        line = str(refused.value)
        assert line.startswith("caption = ") and "must be like 'red circle'" in line
        assert "\n" not in line and len(line) <= 300


@pytest.mark.parametrize(
    ("picture", "told"),
    [(np.zeros((32, 32), np.uint8), "uint8 [32, 32]"),
     (np.zeros((32, 32, 3)), "float64 [32, 32, 3]"),
     (np.zeros((0, 32, 3), np.uint8), "uint8 [0, 32, 3]"),
     (Image.new("RGB", (129, 5)), "uint8 [5, 129, 3]")],
)  # fmt: skip
def test_a_bad_picture_is_told_in_one_line(picture, told):
    with pytest.raises(InputError, match=r"must be uint8 \[height, width, 3\]") as refused:
        find_shapes(picture)
    assert told in str(refused.value)


def test_the_word_shapes_is_a_picture_set():
    images = read_images("shapes")
    assert images.pixels.shape == (shapes.COUNT, 3, 32, 32)
    assert all(images.captions) and set(images.report.classes) == set(FILLS)
    for number in (0, 1, 2399):
        pixels = images.pixels[number].permute(1, 2, 0).numpy()
        assert follows(images.captions[number], pixels)
    assert images.report.left_out == ()


def test_a_closed_form_model_takes_the_word_too(monkeypatch):
    monkeypatch.setattr(closed_form_model, "read_images", lambda data, **_: asked.append(data))
    asked = []
    with pytest.raises(AttributeError):  # of the None that stands for the pictures
        closed_form_model.open_closed_form("ideal:shapes")
    assert asked == ["shapes"]
