"""Maps of recorded attention: by hand, laid over pictures, and as a sampling's sheet and arrays."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFont

from sd.common.marks import is_marked
from sd.common.validation import InputError
from sd.data.images import to_uint8
from sd.data.space import Pixels
from sd.diffusion.sampling import SampleStep
from sd.generation.attention_pictures import (
    AttentionRecorder,
    check_attention,
    font_for,
    replace_missing,
    write_attention,
)
from sd.networks.attention_maps.heatmaps import (
    COLOUR_MAP,
    layer_names,
    overlay,
    pixel_map,
    word_map,
)
from sd.networks.attention_maps.hooks import Call, Layer, Recording
from tests.helpers.attending import D, L, asked, hooks, tiny


def made_up(kind, height, width, stride, heads=2, batch=1, seed=0):
    n = height * width
    source = torch.Generator().manual_seed(seed)
    raw = torch.randn(batch, heads, n, L if kind == "cross" else n, generator=source)
    return Layer(kind, height, width, raw.softmax(-1), stride)


def test_a_words_map_by_hand():
    fine, coarse = made_up("cross", 4, 6, 1, batch=4), made_up("cross", 2, 3, 2, batch=4, seed=1)
    later = Call(1, {"fine": fine._replace(weights=fine.weights.flip(2)), "coarse": coarse})
    calls = [Call(0, {"fine": fine, "coarse": coarse}), later]
    parts = []
    for call in calls:
        for layer in call.layers.values():
            plane = torch.zeros(layer.height, layer.width)
            for n in range(layer.height * layer.width):
                y, x = divmod(n, layer.width)
                for head in range(2):  # picture 1, tokens 1 and 3, the mean of two heads
                    plane[y, x] += (layer.weights[1, head, n, [1, 3]] / 2).sum()
            parts.append(F.interpolate(plane[None, None], (4, 6), mode="bilinear")[0, 0])
    found = word_map(calls, [1, 3], 1, 2, (4, 6))
    torch.testing.assert_close(found, sum(parts) / 4)
    one = word_map(calls[:1], [2], 1, 2, (4, 6), layer="fine", head=1)
    torch.testing.assert_close(one, fine.weights[1, 1, :, 2].reshape(4, 6))
    assert not word_map(calls, [], 0, 2, (4, 6)).any()


def test_the_null_half_changes_no_map():
    layer = made_up("cross", 3, 3, 1, batch=4)
    other = layer._replace(weights=torch.cat([layer.weights[:2], layer.weights[2:].flip(3)]))
    alone = layer._replace(weights=layer.weights[:2])
    maps = [word_map([Call(0, {"a": each})], [1], 0, 2, (3, 3)) for each in (layer, other, alone)]
    assert torch.equal(maps[0], maps[1]) and torch.equal(maps[0], maps[2])


def test_a_pixels_map_by_hand():
    fine, coarse = made_up("self", 4, 6, 1), made_up("self", 2, 3, 2, seed=1)
    calls = [Call(0, {"fine": fine, "coarse": coarse})]
    one = pixel_map(calls, 3, 2, 0, 1, (4, 6), layer="fine", head=0)
    torch.testing.assert_close(one, fine.weights[0, 0, 3 * 6 + 2].reshape(4, 6))
    row = coarse.weights[0, :, 1 * 3 + 1].mean(0).reshape(1, 1, 2, 3)  # (3, 2) lies in (1, 1)
    two = F.interpolate(row / 4, (4, 6), mode="bilinear")[0, 0]
    both = pixel_map(calls, 3, 2, 0, 1, (4, 6))
    mean = (fine.weights[0, :, 20].mean(0).reshape(4, 6) + two) / 2
    torch.testing.assert_close(both, mean)


def test_pixels_of_one_position_share_a_map_that_sums_to_about_one():
    layer = made_up("self", 2, 2, 4)
    calls = [Call(0, {"a": layer})]
    maps = [pixel_map(calls, y, x, 0, 1, (8, 8)) for y, x in [(0, 4), (3, 7), (4, 4)]]
    assert torch.equal(maps[0], maps[1]) and not torch.equal(maps[0], maps[2])
    assert abs(float(maps[0].sum()) - 1) < 1e-5


def test_positions_over_the_rim_are_cut_off():
    layer = made_up("cross", 2, 2, 4, heads=1)
    weights = torch.zeros(1, 1, 4, L)
    weights[0, 0, :, 0] = torch.tensor([0.0, 1.0, 0.0, 1.0])  # the right half looks at the word
    found = word_map([Call(0, {"a": layer._replace(weights=weights)})], [0], 0, 1, (5, 6))
    assert found.shape == (5, 6)
    full = [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1]  # bilinear between pixel middles 2 and 6
    torch.testing.assert_close(found, torch.tensor(full[:6]).expand(5, 6))


MISTAKES = {
    "places": (dict(places=[5]), "token = 5: must be a whole number from 0 to 4"),
    "picture": (dict(picture=1), "picture = 1: must be a whole number from 0 to 0"),
    "layer": (dict(layer="fyne"), "layer = 'fyne': must be one of fine; did you mean 'fine'?"),
    "head": (dict(head=2), "head = 2: must be a whole number from 0 to 1"),
    "calls": (dict(calls=[]), "no cross-attention was recorded"),
}


@pytest.mark.parametrize(("told", "line"), MISTAKES.values(), ids=list(MISTAKES))
def test_what_is_not_there_is_told_in_one_line(told, line):
    calls = [Call(0, {"fine": made_up("cross", 2, 2, 1)})]
    with pytest.raises(InputError) as caught:
        word_map(**{"calls": calls, "places": [0], "picture": 0, "count": 1, "size": (2, 2)} | told)
    assert str(caught.value) == line


def test_a_pixel_outside_is_told():
    with pytest.raises(InputError, match="y = 2: must be a whole number from 0 to 1"):
        pixel_map([Call(0, {"a": made_up("self", 2, 2, 1)})], 2, 0, 0, 1, (2, 2))


def lightness(colours):
    """CIE L* of sRGB colours 0..255, [..., 3] -> [...]."""
    c = np.asarray(colours) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(y > 216 / 24389, 116 * np.cbrt(y) - 16, y * 24389 / 27)


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_heat_reads_on_dark_and_light_pictures(ground):
    ramp = torch.linspace(0, 1, 65)[None]
    picture = Image.new("RGB", (65, 1), (ground,) * 3)
    light = lightness(np.asarray(overlay(picture, ramp))[0])
    rises = np.diff(light)
    assert rises.min() > 0 and rises.max() < 3.5 * rises.min()  # rounding to bytes included
    assert light[-1] - light[0] > 40
    evenly = np.diff(lightness(COLOUR_MAP))
    assert evenly.max() < 1.15 * evenly.min()


def test_an_overlay_by_hand_and_its_peak():
    heat = torch.tensor([[0.0, 0.5]])
    picture = torch.full((1, 1, 2), 100, dtype=torch.uint8)
    own = np.asarray(overlay(picture, heat))
    for pixel, colour in zip(own[0], (COLOUR_MAP[0], COLOUR_MAP[-1]), strict=True):
        assert pixel.tolist() == [round(0.65 * c + 35) for c in colour]
    half = np.asarray(overlay(picture, heat, peak=1.0))
    assert half[0, 1].tolist() == [round(0.65 * c + 35) for c in COLOUR_MAP[2]]
    assert np.array_equal(np.asarray(overlay(picture, 9 * heat, peak=0.5)), own)
    assert overlay(picture, torch.zeros(1, 2)).getpixel((1, 0)) == tuple(own[0, 0])
    assert overlay(Image.new("L", (8, 6)), heat).size == (8, 6)


GREY = Pixels((1, 8, 8))
WORDS = [("cat", [1, 2]), ("猫🐈‍⬛/../", [3]), ("cut", [])]


def sampled(network, words=(), steps=3, count=2, **settings):
    """A sampling of pictures, watched; every step's mean map by the long way is told too."""
    told = asked(network, (8, 8), 2 * count)  # as with guidance: both halves in one batch
    by_hand = []
    with torch.no_grad(), AttentionRecorder(network, GREY, count, words, **settings) as watched:
        for i in range(1, steps + 1):
            kinds = ("cross",) if words else ("self",)
            with Recording(network, kinds) as second:
                for shift in (0, 1):  # two calls a step, as Heun has
                    network(**{**told, "timesteps": told["timesteps"] + i + shift})
            x0 = torch.full((count, 1, 8, 8), i / steps)
            watched.add(SampleStep(i, float(steps - i), x0, x0, x0, 0.0))
            by_hand.append(second.drain())
    assert hooks(network) == []
    return watched.record(), by_hand


def test_watched_keeps_a_map_of_each_word_and_step():
    told, calls = sampled(tiny(), WORDS, picture=1)
    assert [word for word, _ in told.words] == ["cat", WORDS[1][0]]  # one had no tokens
    assert [(step.i, step.t) for step in told.steps] == [(1, 2.0), (2, 1.0), (3, 0.0)]
    for step, each in zip(told.steps, calls, strict=True):
        for heat, (_, places) in zip(step.heat, WORDS, strict=False):
            torch.testing.assert_close(heat, word_map(each, places, 1, 2, (8, 8)))
        assert step.layers == {} and step.x0.shape == (1, 8, 8)


@pytest.mark.parametrize("context_dim", [D, None])
def test_without_words_the_centre_is_watched(context_dim):
    told, calls = sampled(tiny(context_dim=context_dim), full=True)
    assert told.words == (("self: centre", ()),)
    torch.testing.assert_close(
        told.steps[2].heat[0], pixel_map(calls[2], 4, 4, 0, 2, (8, 8)), rtol=1e-4, atol=1e-6
    )
    first = told.steps[0].layers["down 1 self"]
    expected = sum(call.layers["down 1 self"].weights[0, :, 4 * 8 + 4] for call in calls[0]) / 2
    assert first.shape == (2, 1, 64)
    torch.testing.assert_close(first[:, 0].float(), expected, rtol=1e-3, atol=1e-4)


def test_a_model_without_a_context_has_no_words():
    network = tiny(1, attend=(), context_dim=None)
    assert AttentionRecorder(network, GREY, 1, [("cat", [1])]).words == ()


def test_the_sheet_is_a_row_of_estimates_and_a_row_for_each_word(tmp_path):
    told, _ = sampled(tiny(), WORDS, steps=12)
    (tmp_path / "deep").mkdir()
    write_attention(check_attention(str(tmp_path / "deep" / "sheet.png")), told)
    assert is_marked((tmp_path / "deep" / "sheet.png").read_bytes())
    with Image.open(tmp_path / "deep" / "sheet.png") as image:
        image.load()
    columns, side = 10, 96  # of 12 steps ten are shown, the first and the last among them
    assert image.height == 26 + 3 * (side + 6)
    left = image.width - columns * (side + 6)
    cells = [
        [
            np.asarray(image)[26 + r * (side + 6) :, left + c * (side + 6) :][:side, :side]
            for c in range(columns)
        ]
        for r in range(3)
    ]
    grey = to_uint8(torch.tensor([1 / 12, 1.0])).tolist()
    for cell, value in zip((cells[0][0], cells[0][-1]), grey, strict=True):
        assert (cell == value).all()
    for k in (0, 1):
        peak = max(float(step.heat[k].max()) for step in told.steps)
        last = Image.fromarray(cells[0][-1])
        own = np.asarray(overlay(last, told.steps[-1].heat[k], peak))
        assert np.array_equal(cells[1 + k][-1], own)


def test_the_arrays_hold_every_layer_and_what_explains_it(tmp_path):
    told, calls = sampled(tiny(), WORDS, steps=2, full=True)
    write_attention(check_attention(str(tmp_path / "a.npz")), told)
    assert is_marked((tmp_path / "a.npz").read_bytes())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        arrays = dict(file)
    assert arrays["words"].tolist() == ["cat", WORDS[1][0]]
    assert arrays["places"].tolist() == [[False, True, True, False], [False, False, False, True]]
    assert arrays["times"].tolist() == [1.0, 0.0] and arrays["steps"].tolist() == [1, 2]
    assert arrays["heat"].shape == (2, 2, 8, 8)
    for name, size in zip(arrays["layers"].tolist(), arrays["sizes"], strict=True):
        kept = arrays[f"2/{name}"]
        assert kept.dtype == np.float16 and kept.shape == (2, np.prod(size), L)
        expected = sum(call.layers[name].weights[0] for call in calls[1]) / 2
        torch.testing.assert_close(torch.tensor(kept).float(), expected, rtol=1e-3, atol=1e-4)
    assert arrays["layers"].tolist() == layer_names(calls[0], "cross")


def test_a_folder_gets_a_picture_for_each_word(tmp_path):
    told, _ = sampled(tiny(), WORDS)
    (tmp_path / "words").mkdir()
    write_attention(check_attention(str(tmp_path / "words")), told)
    names = sorted(path.name for path in (tmp_path / "words").iterdir())
    assert names == ["01-cat.png", "02-word.png"]
    assert all(is_marked((tmp_path / "words" / name).read_bytes()) for name in names)
    mean = sum(step.heat[0] for step in told.steps) / 3
    white = Image.new("RGB", (256, 256), "white")
    with Image.open(tmp_path / "words" / "01-cat.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(overlay(white, mean)))


def test_another_ending_is_told_in_one_line(tmp_path):
    with pytest.raises(InputError) as caught:
        check_attention(str(tmp_path / "a.jpg"))
    assert "must be a folder or FILE.png, FILE.npz" in str(caught.value)
    (tmp_path / "b.jpg").mkdir()
    check_attention(str(tmp_path / "b.jpg"))
    for fits in ("out", "a.png", "a.npz"):
        check_attention(fits)


def test_letters_that_no_font_has_become_their_numbers():
    own = ImageFont.load_default(14)
    assert replace_missing("cat é", own) == "cat U+00E9"
    private = "a\U0010abcd"
    assert replace_missing(private, font_for([private])) == "aU+10ABCD"
    assert font_for(["cat", "x0"]).getname() == own.getname()
