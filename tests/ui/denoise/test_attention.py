"""Where a model looked: asked as the sampling asks, told once, shown and gated."""

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sd.checkpoints.model import Model
from sd.common.validation import InputError
from sd.config import Config
from sd.data.images import to_pil
from sd.generation.pipeline import denoiser_of, sampling_of
from sd.generation.recipe import Branch, Recipe
from sd.networks.attention_maps.heatmaps import pixel_map, word_map
from sd.networks.attention_maps.hooks import Recording
from sd.ui import models, state
from sd.ui.adapter.checks import read_value
from sd.ui.components import fields
from sd.ui.denoise import job
from sd.ui.denoise.attention import panel as attention
from sd.ui.denoise.attention import pictures as attention_pictures
from sd.ui.denoise.attention import record
from sd.ui.denoise.attention.panel import Selection
from sd.ui.denoise.attention.record import AttentionRecord, RecordCache, Spot
from sd.ui.denoise.tree import Tree
from sd.ui.state import shared
from sd.ui.texts import TEXTS
from tests.helpers.denoising import (
    CHINESE,
    ENGLISH,
    LABELLED,
    WORDED,
    another_day,
    replayed,
)
from tests.helpers.denoising import recipe as plain_recipe
from tests.helpers.latents import latent_model

RED, DOG = "a red heart", "a small dog"
NOTHING = Selection()
CLOSE = 1e-5  # a picture alone and the same one in a batch


@pytest.fixture(autouse=True)
def _home(told: dict[str, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has the three models, and has kept nothing."""
    another_day(monkeypatch)
    monkeypatch.setitem(state.current().parts, RecordCache, RecordCache())


@pytest.fixture(name="calls")
def counted_calls() -> Iterator[list[int]]:
    """How many rows the network of `worded` was asked for, call by call."""
    network: Any = models.open_model(models.find(WORDED))
    rows: list[int] = []
    hook = network.unet.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    yield rows
    hook.remove()


def recipe(model: str = WORDED, **changes: Any) -> Recipe:
    settings: dict[str, Any] = {"prompts": (RED, DOG), "guidance": (2.0,)} | changes
    if model != WORDED and "prompts" not in changes:
        settings["prompts"] = ("cat", "dog") if model == LABELLED else ()
    return replace(plain_recipe(), model=model, digest="", **settings)


def tree_of(made: Recipe, place: int = 3) -> Tree:
    """Return a page on which a recipe was made and the slider rests at a step."""
    tree = Tree()
    tree.add(made).done = made.steps
    tree.place = place
    return tree


def recorded(made: Recipe, i: int = 3, k: int = 0) -> AttentionRecord:
    found = record.record_attention(made, i, k)
    assert found is not None
    return found


def show(tree: Tree, held: Selection = NOTHING, request: Any = ENGLISH, picture: Any = 1) -> Any:
    tree.picture = picture
    return attention.show(request, tree, held, looking(picture))


def looking(picture: Any = 1, layer: str = "averaged", head: str = "all") -> dict[str, Any]:
    """Return what the form of the panel holds."""
    return {"picture": picture, "layer": layer, "head": head}


def patched(panel: Any) -> dict[str, Any]:
    """Return what a handler changes of that form."""
    return dict(panel["looking"]["patch"])


def pictures(shown: str) -> list[Image.Image]:
    """Return the pictures that a piece of the page holds."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', shown)
    return [Image.open(io.BytesIO(base64.b64decode(each)), formats=["PNG"]) for each in found]


# ---- asked


def test_the_estimate_is_that_of_the_step_whatever_the_noise(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = little.config.with_settings(["diffusion.noise_info=[0.3, 1.5]"])
    model = Model(little.unet, config)
    monkeypatch.setattr(models, "open_model", lambda entry: model)
    made = plain_recipe(clip_x0=False)
    step = replayed(made, model)[2]
    assert torch.allclose(recorded(made, 3, 1).x0, step.x0[1], atol=1e-4)


@pytest.mark.parametrize("guidance", [(1.0,), (3.0, 1.0)])
def test_a_picture_alone_looks_where_it_looked_in_its_batch(guidance: tuple[float, ...]) -> None:
    made = recipe(guidance=guidance)
    model: Any = models.open_model(models.find(WORDED))
    x, t = replayed(made, model)[1].x_t, sampling_of(made, model).times[2]
    with Recording(model.unet, ("self", "cross"), [1], 2) as recording:
        answer = denoiser_of(made, model)(x, t)
        calls = recording.drain()
    seen = recorded(made, 3, 1)
    assert seen.t == t and [word for word, _ in seen.words] == DOG.split()
    torch.testing.assert_close(seen.x0, answer.x0[1], atol=CLOSE, rtol=0)
    for k, (_, places) in enumerate(seen.words):
        wanted = word_map(calls, places, 0, 1, (8, 8))
        torch.testing.assert_close(seen.word(k), wanted, atol=CLOSE, rtol=0)
    layer = seen.layers[0]
    wanted = pixel_map(calls, 6, 1, 0, 1, (8, 8), layer, 0)
    torch.testing.assert_close(seen.place(Spot(6, 1), layer, 0), wanted, atol=CLOSE, rtol=0)
    wanted = word_map(calls, seen.words[1][1], 0, 1, (8, 8), layer.replace("self", "cross"))
    torch.testing.assert_close(seen.word(1, layer), wanted, atol=CLOSE, rtol=0)
    assert float((recorded(made, 3, 0).word(0) - seen.word(0)).abs().max()) > 1e-3


def test_one_call_for_one_picture_and_none_when_asked_again(calls: list[int]) -> None:
    made = recipe()
    first = recorded(made)
    assert calls == [4, 4, 2]  # two steps of two guided pictures, then one picture of both halves
    assert recorded(made) is first and len(calls) == 3
    recorded(made, 2)
    assert len(calls) == 4  # its step is kept


def test_each_picture_of_a_step_has_a_look_of_its_own() -> None:
    made = recipe()
    first, second = recorded(made, 3, 0), recorded(made, 3, 1)
    assert [[word for word, _ in each.words] for each in (first, second)] == [
        RED.split(),
        DOG.split(),
    ]
    assert not torch.equal(first.x0, second.x0)


def test_heads_are_counted_from_one_and_the_mark_lies_on_its_pixel() -> None:
    four: Any = SimpleNamespace(layers=["a self"], heads=lambda _layer: 4)
    found = [attention_pictures.layer_and_head(four, "a self", str(k)) for k in (1, 2, 4)]
    assert found == [("a self", 0), ("a self", 1), ("a self", 3)]
    assert attention_pictures.layer_and_head(four, "averaged", "all") == (None, None)
    seen = recorded(recipe())
    assert "left:81.250%;top:18.750%" in attention_pictures.place_html(seen, Spot(1, 6), "en")
    assert "row 2, column 7" in attention_pictures.where_html(
        seen, Spot(1, 6), "averaged", "all", "en"
    )


def test_the_oldest_looks_make_room() -> None:
    made = recipe()
    first = recorded(made, 1)
    assert first.nbytes == sum(
        layer.weights.nbytes for call in first.calls for layer in call.layers.values()
    )
    assert all(len(layer.weights) == 1 for call in first.calls for layer in call.layers.values())
    looks = RecordCache(2 * first.nbytes)
    for i in (1, 2, 3):
        looks.keep((made, i, 0), first)
    assert [looks.get((made, i, 0)) for i in (1, 2, 3)] == [None, first, first]
    RecordCache(1).keep((made, 1, 0), first)


def test_a_branch_and_a_grid_are_asked_what_each_picture_was() -> None:
    parent = recipe(guidance=(1.0, 4.0))
    branch = replace(parent, branch=Branch(parent, 2), steps=4)
    one = record.single_recipe(branch, 1)
    assert (one.prompts, one.guidance, one.count, one.branch) == ((DOG,), (4.0,), 1, None)
    assert recorded(branch, 2, 1).words == recorded(parent, 2, 1).words
    assert record.single_recipe(recipe(prompts=()), 1).prompts == ("",)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, ""),
        ({"prompts": ()}, "looked_nothing"),
        ({"guidance": (0.0,)}, "looked_null"),
        ({"guidance": (0.0,), "interval": (0.0, 0.1)}, ""),  # there the wish alone counts
        ({"model": LABELLED}, ""),
        ({"model": LABELLED, "prompts": ()}, ""),
        ({"model": "little"}, "looked_untold"),
    ],
)
def test_without_words_there_is_a_reason(changes: dict[str, Any], missing: str) -> None:
    seen = recorded(recipe(**changes))
    assert seen.missing == missing and bool(seen.words) is not bool(missing)
    assert float(seen.place(Spot(4, 4)).sum()) == pytest.approx(1, abs=0.4)
    panel = show(tree_of(recipe(**changes)))
    words = panel["words"]
    if missing:
        assert TEXTS["en"][missing] in words and "<button" not in words
        assert panel["selection"].spot.word is None and "row 5, column 5" in panel["subject"]
    else:
        assert words.count("<button") == len(seen.words)


def test_a_class_that_is_added_to_the_time_is_no_word() -> None:
    source: Any = SimpleNamespace(conditioner=SimpleNamespace(kind="class_embedding"))
    assert record.prompt_words(recipe(), source, 3.0) == ((), "looked_embedding")


def test_a_formula_has_no_network_and_says_so() -> None:
    tree = tree_of(recipe("ideal:pictured"))
    panel = show(tree)
    assert "ideal:pictured is a formula over the pictures" in panel["words"]
    assert panel["place"] == panel["where"] == panel["strip"] == ""
    assert attention.redraw(ENGLISH, tree, NOTHING, looking()) == {}
    assert list(attention.show_strip(ENGLISH, tree, NOTHING, looking()))[-1] == {
        "line": "",
        "strip": "",
    }


@pytest.mark.parametrize(
    ("last", "steps"),
    [(1, [1]), (3, [1, 2, 3]), (50, [1, 8, 15, 22, 29, 36, 43, 50]), (9, [1, 2, 3, 4, 6, 7, 8, 9])],
)
def test_steps_are_spread_from_the_first_to_the_last(last: int, steps: list[int]) -> None:
    assert record.spread_steps(last, 8) == steps


# ---- shown


def test_the_panel_shows_the_estimate_the_place_and_every_word() -> None:
    made = recipe()
    panel = show(tree_of(made))
    place, where, words, subject = (panel[k] for k in ("place", "where", "words", "subject"))
    form = patched(panel)
    seen = recorded(made)
    assert panel["selection"] == Selection(made, 0, Spot(4, 4, 0))
    (base,) = pictures(place)
    wanted = to_pil(seen.x0).convert("RGB").resize((320, 320), Image.Resampling.NEAREST)
    assert np.array_equal(np.asarray(base), np.asarray(wanted))
    assert 'data-x="4" data-y="4"' in place and "row 5, column 5" in place
    assert len(pictures(where)) == 1 and len(pictures(words)) == 3
    shares = [int(each) for each in re.findall(r"<small>(\d+) %", words)]
    assert shares == [round(100 * float(seen.word(k).mean())) for k in range(3)]
    assert re.findall(r'aria-pressed="(\w+)"', words) == ["true", "false", "false"]
    assert form["shown"] == {"picture": True} and form["values"]["picture"] == 1
    assert "heat of “a” changes" in subject
    assert [value for _, value in form["choices"]["layer"]] == ["averaged", *seen.layers]
    assert [value for _, value in form["choices"]["head"]] == ["all", *map(str, range(1, 2))]


def test_only_an_open_fold_looks_and_only_at_what_was_made(calls: list[int]) -> None:
    tree = tree_of(recipe())
    assert attention.show(ENGLISH, tree, NOTHING, looking(), False) == {}
    assert calls == []
    assert set(waits := show(Tree())) == {"words"} and "Draw something" in waits["words"]


def test_a_step_of_the_same_sampling_keeps_what_was_chosen() -> None:
    tree = tree_of(recipe())
    held = Selection(recipe(), 0, Spot(1, 2, 2))
    panel = show(tree, held)
    assert panel["selection"] == held and not {"line", "strip"} & set(panel)
    assert 'data-x="2" data-y="1"' in panel["place"]
    other = show(tree, held, picture=9)  # more than there are: the last
    assert other["selection"] == Selection(recipe(), 1, Spot(4, 4, 0))
    assert patched(other)["values"]["picture"] == 2 and other["line"] == other["strip"] == ""


def test_tokens_of_classes_have_names_in_both_languages() -> None:
    panel = show(tree_of(recipe(LABELLED)), request=CHINESE)
    assert panel["selection"].spot.word == 1
    assert "（静止标记）" in panel["words"] and "cat" in panel["words"]
    assert sum(int(each) for each in re.findall(r"<small>(\d+) %", panel["words"])) in (
        99,
        100,
        101,
    )
    untold = show(tree_of(recipe(LABELLED, prompts=())))
    assert "(at rest)" in untold["words"] and "(any class)" in untold["words"]


def test_what_was_asked_for_is_no_html() -> None:
    made = recipe(prompts=("<i> &",))
    panel = show(tree_of(made))
    rest = "".join(panel[k] for k in ("place", "where", "words", "subject"))
    assert "<i> " not in rest and "&lt;" in panel["words"] and "&lt;" in panel["subject"]


def test_another_layer_and_head_are_drawn() -> None:
    made = recipe()
    seen, tree = recorded(made), tree_of(made)
    held = Selection(made, 0, Spot(4, 4, 0))
    now = attention.redraw(ENGLISH, tree, held, looking(1, seen.layers[0], "1"))
    where, words = now["where"], now["words"]
    wanted = show(tree, held)
    assert patched(now)["values"] == {"head": "1"} and len(pictures(words)) == 3
    assert len(pictures(where)) == len(pictures(wanted["where"])) == 1
    with pytest.raises(gr.Error, match="layer = 'middle': must be one of averaged, "):
        attention.redraw(ENGLISH, tree, held, looking(1, "middle"))
    with pytest.raises(gr.Error, match="head = '9': must be one of all, 1"):
        attention.choose_spot(ENGLISH, tree, held, looking(1, "averaged", "9"), {"x": 1, "y": 1})
    assert attention.redraw(ENGLISH, tree, held, looking(1, "averaged", "9"))["looking"]["patch"][
        "values"
    ] == {"head": "all"}


def test_a_pressed_place_is_looked_from() -> None:
    tree, held = tree_of(recipe()), Selection(recipe(), 0, Spot(4, 4, 0))
    asked = ENGLISH, tree, held, looking()
    now = attention.choose_spot(*asked, {"x": 7, "y": 0})
    assert now["selection"].spot == Spot(0, 7)
    assert "row 1, column 8" in now["where"] and "row 1, column 8" in now["subject"]
    back = attention.choose_spot(*asked, {"word": 2})
    assert back["selection"].spot == Spot(4, 4, 2) and "where" not in back
    assert "heat of “heart”" in back["subject"]


@pytest.mark.parametrize("value", [-1, 8, 1.5, True, None, "1", [1]])
def test_a_place_or_word_that_is_none_is_told(value: Any) -> None:
    tree, held = tree_of(recipe()), Selection(recipe(), 0, Spot(4, 4, 0))
    for name in ("x", "y"):
        data = {"x": 1, "y": 1} | {name: value}
        with pytest.raises(gr.Error, match=f"{name} = .*must be a whole number from 0 to 7"):
            attention.choose_spot(ENGLISH, tree, held, looking(), data)
    with pytest.raises(gr.Error, match=r"word = .*from 0 to 2"):
        attention.choose_spot(ENGLISH, tree, held, looking(), {"word": value})
    with pytest.raises(gr.Error, match="y = None"):
        attention.choose_spot(ENGLISH, tree, held, looking(), value)
    field = fields.form(attention.FIELDS, "looked-form")
    with pytest.raises(InputError, match=r"Picture = .*from 1 to 16"):
        read_value(field, {"picture": 99 if value == 8 else value})


def test_another_picture_that_is_chosen_is_looked_at_and_a_layer_is_drawn() -> None:
    made = recipe()
    tree, held = tree_of(made), Selection(made, 0, Spot(4, 4, 0))
    event = gr.EventData(None, {"name": "picture"})
    panel = attention.change(ENGLISH, tree, held, looking(2), event)
    assert tree.picture == 2 and panel["selection"].k == 1
    event = gr.EventData(None, {"name": "layer"})
    now = attention.change(ENGLISH, tree, held, looking(2, recorded(made).layers[0]), event)
    assert set(now) == {"where", "words", "looking"}


def test_through_the_sampling_each_step_is_asked_once(calls: list[int]) -> None:
    made = recipe()
    tree, held = tree_of(made), Selection(made, 0, Spot(4, 4, 1))
    told = list(attention.show_strip(ENGLISH, tree, held, looking()))
    lines = [each["line"] for each in told[:-1]]
    assert calls == [4] * 5 + [2] * 6  # the steps are made again once, then six looks
    assert [re.findall(r"step (\d) of 6", line) for line in lines] == [[str(i)] for i in range(6)]
    line, strip = told[-1]["line"], told[-1]["strip"]
    assert re.search(r"6 steps looked at in \d+\.\d s", line)
    assert len(pictures(strip)) == 6 and "heat of “red”" in strip
    assert re.findall(r"<span>step (\d)</span>", strip) == list("123456")
    place = list(attention.show_strip(CHINESE, tree, Selection(made, 0, Spot(0, 1)), looking()))
    assert len(calls) == 11 and "第 1 行，第 2 列" in place[-1]["strip"]


def test_a_strip_has_one_scale_of_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks: list[Any] = []
    from sd.networks.attention_maps import heatmaps  # noqa: PLC0415

    real = heatmaps.overlay
    monkeypatch.setattr(
        heatmaps, "overlay", lambda image, heat, peak: peaks.append(peak) or real(image, heat, peak)
    )
    made = recipe()
    asked = tree_of(made), Selection(made, 0, Spot(4, 4, 1)), looking()
    list(attention.show_strip(ENGLISH, *asked))
    wanted = max(float(recorded(made, i).word(1).max()) for i in range(1, 7))
    assert peaks == [pytest.approx(wanted)] * 6


def test_a_sampling_too_large_to_be_kept_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    another_day(monkeypatch, 1000)
    with pytest.raises(gr.Error, match="step 3 of 6: too large to be kept"):
        show(tree_of(recipe()))
    assert shared(job.StepCache).steps(recipe()) == []


def test_the_heat_of_latents_is_drawn_at_the_pictures_size(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = latent_model(tiny_config.with_settings(["unet.attention_resolutions=[1]"]))
    x = torch.randn(1, *model.space.latent_shape, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(record, "x_before", lambda recipe, i: x)
    seen = record.call_network(recipe(prompts=()), model, 3, 0)
    spot = Spot(1, 6)
    assert seen.grid == (4, 4) and seen.place(spot).shape == (4, 4) and seen.size == (8, 8)
    (base,) = pictures(attention_pictures.place_html(seen, spot, "en"))
    (where,) = pictures(attention_pictures.where_html(seen, spot, "averaged", "all", "en"))
    assert base.size == where.size == (320, 320)
    heat = torch.zeros(seen.grid)
    heat[0, 3] = 1.0  # the place of that pixel
    drawn = drawn_over(torch.zeros(1, 8, 8), seen, heat, 320)
    light = np.asarray(drawn.convert("L"), float)
    row, column = (8 * int(each.mean()) // 320 for each in np.where(light == light.max()))
    assert row in (0, 1) and column in (6, 7)
    assert drawn_over(torch.zeros(1, 96, 192), seen, heat, 128).size == (128, 64)


def drawn_over(x0: Tensor, seen: AttentionRecord, heat: Tensor, side: int) -> Image.Image:
    """Return a heat over another picture than that of a record."""
    return pictures(f'src="{attention_pictures.draw(seen._replace(x0=x0), heat, side)}"')[0]
