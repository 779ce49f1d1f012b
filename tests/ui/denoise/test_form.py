"""The Denoise tab's fields and models: recipes and back, closed forms, commands, refusals."""

import io
import math
import re
import shlex
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from sd import runs
from sd.checkpoints.checkpoint import load_checkpoint
from sd.cli.parser import parser
from sd.common.validation import LARGEST_SEED, InputError
from sd.config import Config
from sd.generation import registry
from sd.generation.recipe import Recipe, Start
from sd.generation.registry import ModelEntry
from sd.ui import api, models, starters
from sd.ui.components import painter
from sd.ui.components.fields import read_fields
from sd.ui.denoise import form, prompts
from sd.ui.denoise.form import SamplingForm
from sd.ui.denoise.tools import branch
from sd.ui.denoise.tools.branch import BranchForm
from tests.helpers import denoising
from tests.helpers.denoising import (
    CHINESE,
    ENGLISH,
    HOSTILE,
    beginnings,
    command_line,
    one_line,
    recipe_of,
    set_fields,
    values,
)

pytestmark = pytest.mark.usefixtures("little", "quick")
SENT = [each.name for each in form.FIELDS if each.name not in ("negative", "guidance")]
SENT = [name for name in SENT if name not in ("rescale", "low", "high")]
START = Start(denoising.picture(), 30.0)


# ---- the fields


def test_every_field_of_a_form_is_on_the_page_by_its_name() -> None:
    with gr.Blocks():
        sampling = form.build(form.build_bar(gr.HTML())).fields
        branching = branch.build().fields
    assert set(sampling) == {each.name for each in dataclass_fields(SamplingForm)}
    assert {*branching["branch_form"].value, "paint"} == {
        each.name for each in dataclass_fields(BranchForm)
    }


@pytest.mark.parametrize("name", ["noise", "seeds", "picture", "mask"])
def test_every_control_comes_back_from_a_recipe(name: str) -> None:
    made = replace(
        beginnings()[name], eta=0.35, variance="fixed_large", spacing="karras", clip_x0=False
    )
    found = SamplingForm.from_recipe(made, "en")
    assert found.to_recipe() == made
    other = replace(made, seed=6)
    assert replace(found, asked={**found.asked, "seed": 6}).to_recipe() == other != made
    assert recipe_of(**set_fields(form.updates_of(made, "en"))) == made


@pytest.mark.parametrize("share", [0.1, 1, 12.3456789, 33.3, 60, 99.9, 100])
def test_how_far_into_the_noise_comes_back(share: float) -> None:
    made = recipe_of(**values(begin="picture", share=share))
    assert made.start is not None
    assert made.start.t == pytest.approx(models.timesteps(models.find("little")) * share / 100)
    assert SamplingForm.from_recipe(made, "en").to_recipe() == made


def test_a_recipe_names_the_model_as_it_is() -> None:
    made = recipe_of(**values())
    assert made == Recipe(
        *("little", denoising.STEP, registry.digest(models.find("little"))),
        *("ddim", 6, 0.0, "fixed_small", "trailing", True, 5, 2),
    )
    assert re.fullmatch("[0-9a-f]{16}", made.digest)
    assert recipe_of(**values(seed_to=7, share=20)) == made  # those of other beginnings
    assert recipe_of(**values(begin="seeds", seed_to=7)).seed_to == 7
    start = recipe_of(**values(begin="picture", share=20, mask=None)).start
    assert start is not None and start.t == 10 and start.mask is None
    with Image.open(io.BytesIO(start.picture)) as image:
        assert (image.size, image.mode) == ((8, 8), "L")


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("name", [*SENT, "seed", "model", "mask"])
def test_each_field_refuses_what_it_cannot_hold(name: str, value: Any) -> None:
    good = {"clip": [True], "eta": [], "mask": [None, {}], "share": [4.7], "seed": [10**9]}
    good |= {"seed_to": [10**9]}
    if name == "picture" or (value in good.get(name, []) and value is not False):
        return  # a state of the server's own, or a value that may be
    needed = {"seed_to": "seeds", "share": "picture", "mask": "picture"}
    changes = {name: value, **({"begin": needed[name]} if name in needed else {})}
    with pytest.raises(InputError) as error:
        fields = values(**changes)
        prompts.read_asked("bar", fields["asked"])
        read_fields(form.FIELDS, "form", fields["held"])
        recipe_of(**fields)
    one_line(error.value)


def test_what_fits_in_no_field_is_told_where_it_counts() -> None:
    def told(request: Any = ENGLISH, **changes: Any) -> Any:
        return form.tell(request, **values(**{"sampler": "heun"} | changes))

    assert "second order" in told()["about"]
    late = told(begin="picture")["about"]
    assert f"{models.network_calls(models.find('little'), 'heun', 6, start=30.0)} network" in late
    assert f"{models.network_calls(models.find('little'), 'heun', 6)} network" in told()["about"]
    assert "共调用网络" in told(CHINESE)["about"]
    with pytest.raises(gr.Error):
        told(model="gone")
    shown = {each.name: each.when for each in form.FIELDS if each.when}
    assert shown["eta"] == ("sampler", ("ddim",)) and shown["variance"] == ("sampler", ("ddpm",))
    mask = form.show_mask(ENGLISH, {"begin": "picture"}, "little", "owl.png")["mask"]
    assert (mask["width"], mask["height"], mask["paint"]) == (8, 8, None)
    assert form.show_mask(ENGLISH, {"begin": "noise"}, "little", "owl.png") == {}


def changed(name: str, **fields: Any) -> Any:
    """Return what follows when a person has changed a field of the form."""
    held = values(**fields)
    event = gr.EventData(None, {"name": name})
    return form.react(ENGLISH, held["model"], held["asked"], held["held"], "owl.png", event)


def test_a_picture_that_is_chosen_gets_its_mask() -> None:
    assert changed("begin", begin="picture")["mask"]["width"] == 8
    assert changed("share", begin="picture") == changed("begin") == {}


@pytest.mark.parametrize(
    ("begin", "seed", "seed_to", "found"),
    [
        *(
            ("seeds", 1, 1, 2),
            ("seeds", LARGEST_SEED, LARGEST_SEED, LARGEST_SEED - 1),
            ("seeds", 0, 1, None),
        ),
        *(("noise", 1, 1, None), ("picture", 1, 1, None)),
    ],
)
def test_two_seeds_never_begin_as_twice_the_same(
    begin: str, seed: int, seed_to: int, found: int | None
) -> None:
    updates = changed("begin", begin=begin, seed=seed, seed_to=seed_to)
    held = updates.get("held", {"patch": {"values": {}}})["patch"]["values"]
    assert held.get("seed_to") == found


@pytest.mark.parametrize("seed", [0, 1, 7, LARGEST_SEED])
def test_a_recipe_leaves_no_second_seed_that_is_its_first(seed: int) -> None:
    for made in (denoising.recipe(seed=seed), denoising.recipe(seed=seed, start=START)):
        found = SamplingForm.from_recipe(made, "en")
        held = found.held
        assert found.asked["seed"] == seed != held["seed_to"]
        again = replace(found, held={**held, "begin": "seeds"})
        assert again.to_recipe().seed_to == held["seed_to"]


def test_a_recipe_leaves_no_picture_in_sight_that_is_not_its_own() -> None:
    updates = form.updates_of(denoising.recipe(start=START), "en")
    assert updates["upload"] is None and updates["starters"] == {"chosen": None}
    plain = form.updates_of(denoising.recipe(), "en")  # what is in sight would still be begun from
    assert not {"picture", "mask", "upload", "starters"} & set(plain)


def test_a_starter_picture_is_named_in_the_page_s_language_and_taken_by_its_place() -> None:
    chinese: Any = SimpleNamespace(headers={"accept-language": "zh-CN"})
    row: Any = starters.show_starters(chinese)["starters"]
    assert [each["name"] for each in row["pictures"]][:2] == ["狮子", "日出"]
    assert Path(row["pictures"][7]["src"]["path"]).is_file()
    event: Any = SimpleNamespace(index=2)
    assert starters.choose_starter(event) == {"picture": "owl.png", "upload": None}
    for index in (8, -1, None):
        with pytest.raises(gr.Error, match="picture = "):
            starters.choose_starter(SimpleNamespace(index=index))


def test_an_upload_to_begin_from_must_be_a_picture(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(denoising.picture(20))
    (tmp_path / "bad.png").write_text("<html>")
    assert form.choose_upload(str(tmp_path / "good.png"))["picture"].endswith("good.png")
    assert form.choose_upload(None) == {}
    with pytest.raises(gr.Error, match="not a picture"):
        form.choose_upload(str(tmp_path / "bad.png"))


def test_what_start_means() -> None:
    made = denoising.recipe(start=Start(denoising.picture(), 30.0, denoising.mask()))
    found = SamplingForm.from_recipe(made, "en")
    assert painter.read_mask(found.mask, 8, 8) == denoising.mask()


# ---- the models


def test_calls_are_those_of_the_chosen_times(tmp_path: Path) -> None:
    settings = ["diffusion.zero_terminal_snr=True", "diffusion.prediction=v"]
    config = Config.preset("tiny").with_settings(settings)
    (tmp_path / runs.CONFIG).write_text(config.to_ini())
    entry = ModelEntry("zero", str(tmp_path))
    found = {each: models.network_calls(entry, "heun", 6, each) for each in ("trailing", "leading")}
    assert found == {"trailing": 10, "leading": 11}  # from infinite sigma, and to 0, once


def test_closed_forms_are_found_by_name(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "teal").save(tmp_path / "a.png")
    handle = api.inspect_data([str(tmp_path / "a.png")])["data"]
    assert models.find(f"linear:{handle}").folder == runs.default_home().uploads / handle
    assert models.shape_of(models.find("ideal:pictured")) == (1, 8, 8)
    assert models.find("little").step == 4 and models.find("ideal:starter").is_closed_form


@pytest.mark.parametrize(
    "name",
    [
        *("ideal:/etc", "ideal:../x", "linear:", "ideal:starter/../x", "ideal:.", "ideal:.."),
        *("ideal:little/../pictured", "ideal:0123456789abcdef.zip", "linear:ideal:starter"),
        *("../little", "/etc", "", "gone", "ideal", "sharp:starter", "little ", "ideal:a\0b"),
        *(None, 5, True, math.nan, ["little"], {}, "x" * 5_000_000, "ideal:" + "x" * 5_000_000),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_is_no_model_is_told_in_a_line(name: Any) -> None:
    with pytest.raises(InputError) as error:
        models.find(name)
    assert str(runs.default_home().path) not in one_line(error.value)


def test_without_any_model_the_line_says_so(home: Path) -> None:
    with pytest.raises(InputError, match="no model is there yet; train one first"):
        models.find("little")
    assert models.find(models.FALLBACK).is_closed_form


def test_a_digest_tells_a_model_from_another_of_its_name() -> None:
    entry, recipe = models.find("little"), denoising.recipe()
    about = load_checkpoint(entry.folder).about
    assert about["sha256"]["model.safetensors"].startswith(registry.digest(entry))
    assert registry.digest(models.find("ideal:starter")) == ""
    assert models.find_recipe_model(recipe) == entry
    assert models.find_recipe_model(replace(recipe, digest="")) == entry
    with pytest.raises(InputError, match="made at step 9 with other weights than those here"):
        models.find_recipe_model(replace(recipe, digest="0" * 16, step=9))
    with pytest.raises(InputError, match=r"model = 'gone': must be .*little"):
        models.find_recipe_model(replace(recipe, model="gone"))


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "ddim", "eta": 0.25},
        {"sampler": "ddpm", "variance": "fixed_large", "clip": False},
        {"sampler": "unipc", "spacing": "karras", "steps": 9},
        {"begin": "seeds", "seed_to": 9},
        {"model": "ideal:starter"},
        {"model": "linear:pictured"},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_the_command_is_one_that_the_command_line_understands(changes: dict[str, Any]) -> None:
    asked = values(**changes)
    recipe, line = recipe_of(**asked), command_line(**asked)
    words = shlex.split(line)
    assert words[:4] == ["python", "-m", "sd", "sample"]
    args = parser().parse_args(words[3:])
    assert args.checkpoint.startswith(("ideal:", "linear:")) is registry.is_closed_form(
        recipe.model
    )
    assert Path(args.checkpoint.rpartition(":")[2]).name == recipe.model.rpartition(":")[2]
    assert (args.sampler, args.steps, args.seed, args.count, args.spacing) == (
        *(recipe.sampler, recipe.steps, recipe.seed, recipe.count, recipe.spacing),
    )
    assert args.no_clip is not recipe.clip_x0 and args.seed_to == recipe.seed_to
    assert args.eta == (recipe.eta if recipe.sampler == "ddim" else None)
    assert args.variance == (recipe.variance if recipe.sampler == "ddpm" else None)


def test_other_commands_name_the_picture_and_none_a_field_that_is_empty() -> None:
    for name in ("picture", "mask", "branch"):
        line = models.sample_command(beginnings()[name])
        assert parser().parse_args(shlex.split(line)[3:]).recipe == "PICTURE.png"
    assert command_line(**values(model="x")) == command_line(**values(steps=0)) == ""


def test_a_seed_of_minus_one_becomes_one_that_is_recorded() -> None:
    fields = values(seed=-1, seed_to=-1, begin="seeds")
    asked = prompts.read_asked("bar", fields["asked"])
    made = recipe_of(**fields | {"asked": asked})
    assert 0 <= made.seed < 10**6 and made.seed != made.seed_to
    usual = ("little", "ddim", 2, -1, 1, 0.0, "fixed_small", "trailing", True)
    seeds = [list(api.denoise_pictures(*usual))[-1][2]["seed"] for _ in range(2)]
    assert seeds[0] != seeds[1]
    _, facts = api.noise_picture("owl.png", 5, "tiny", -1)
    assert 0 <= facts["seed"] < 10**6


# ---- the size of what is drawn


@pytest.mark.parametrize(("words", "size"), [("", None), (" 16 ", (16, 16)), ("16x12", (16, 12))])
def test_a_size_is_drawn_and_comes_back_from_its_recipe(
    words: str, size: tuple[int, int] | None
) -> None:
    made = recipe_of(**values(size=words, begin="picture"))
    assert made.size == size and made.start is not None
    with Image.open(io.BytesIO(made.start.picture)) as picture:
        height, width = size or (8, 8)
        assert picture.size == (width, height)
    assert recipe_of(**set_fields(form.updates_of(made, "en"))) == made


@pytest.mark.parametrize(
    ("words", "line"),
    [("9", "must be multiples of 2"), ("big", "must be HEIGHTxWIDTH"), ("4096", "more than")],
)
def test_a_size_that_cannot_be_drawn_is_told(words: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        recipe_of(**values(size=words))


def test_what_a_size_takes_is_told_and_that_it_was_never_trained() -> None:
    told = form.tell(ENGLISH, **values(size="16"))["about"]
    assert "4.1 times the work of 8x8, the only size that was trained" in told
    for words in ("", "8", "9", "x"):
        assert "times the work" not in form.tell(ENGLISH, **values(size=words))["about"]
    command = command_line(**values(size="16x12"))
    assert "--size 16x12" in command
