"""The text that AUTOMATIC1111's interface puts into a PNG, read into a recipe's fields."""

import io

import pytest
from PIL import Image, PngImagePlugin

from sd.common.validation import InputError
from sd.generation.others.webui import WebuiParameters, parse_parameters, read_webui
from sd.generation.recipe import Recipe

TEXT = """a (red:1.2) cat, Steps: of stone
on a mat <lora:fur:0.8>
Negative prompt: blurry,
dog
Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 1234567890, Size: 512x768, \
Model hash: 6ce0161689, Model: v1-5-pruned, Denoising strength: 0.55, Clip skip: 2, \
Lora hashes: "fur: 1, other: 2", Hires upscale: 2, RNG: CPU, Version: v1.9.0"""


def made(text, key="parameters", **how):
    """A PNG with a text as Pillow writes it: tEXt if Latin-1 holds it, else iTXt."""
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text(key, text, **how)
    Image.new("RGB", (2, 2)).save(file, "PNG", pnginfo=info)
    file.seek(0)
    return file


def test_all_that_has_a_place_here_is_read():
    assert parse_parameters(TEXT) == WebuiParameters(
        prompt="a (red:1.2) cat, Steps: of stone\non a mat",
        negative="blurry,\ndog",
        steps=20,
        sampler="dpmpp_2m",
        spacing="karras",
        guidance=7.5,
        seed=1234567890,
        size=(768, 512),
        clip_skip=2,
        strength=0.55,
        model="v1-5-pruned",
        loras=(("fur", 0.8),),
        same_noise=True,
        left={"Hires upscale": "2"},
    )


def test_a_recipe_takes_its_fields():
    recipe = Recipe("model", **parse_parameters(TEXT).recipe_fields())
    assert recipe.prompts == ("a (red:1.2) cat, Steps: of stone\non a mat",)
    assert (recipe.negative, recipe.guidance, recipe.seed) == ("blurry,\ndog", (7.5,), 1234567890)
    assert (recipe.sampler, recipe.spacing, recipe.size) == ("dpmpp_2m", "karras", (768, 512))
    assert parse_parameters("a cat").recipe_fields() == {"prompts": ("a cat",)}


@pytest.mark.parametrize(
    ("sampler", "kind", "expected"),
    [
        ("Euler a", None, ("euler_ancestral", None)),
        ("DPM++ 2M", "Automatic", ("dpmpp_2m", "karras")),
        ("Euler", "Automatic", ("euler", None)),
        ("UniPC", "SGM Uniform", ("unipc", "trailing")),
        ("LCM", "Simple", ("lcm", "trailing")),
        ("DDIM", "Uniform", ("ddim", "linspace")),
        ("DPM++ SDE Karras", None, (None, "karras")),
    ],
)
def test_samplers_have_other_names_there(sampler, kind, expected):
    line = f"Steps: 5, Sampler: {sampler}, Seed: 1" + (f", Schedule type: {kind}" if kind else "")
    found = parse_parameters(f"a\n{line}")
    assert (found.sampler, found.spacing) == expected
    assert found.left == ({} if expected[0] else {"Sampler": sampler})


def test_what_is_impossible_here_stays_among_what_is_left():
    found = parse_parameters("a\nSteps: 0, Seed: -1, CFG scale: 1e9, Size: 0x512, Clip skip: 99")
    assert found.recipe_fields() == {"prompts": ("a",)} and found.clip_skip == 1
    assert set(found.left) == {"Steps", "Seed", "CFG scale", "Size", "Clip skip"}


def test_a_prompt_alone_and_a_line_that_only_looks_like_settings():
    assert parse_parameters("a cat: black, size: big").prompt == "a cat: black, size: big"
    assert parse_parameters("Negative prompt: dog\nSteps: 5, Seed: 1").negative == "dog"
    assert parse_parameters("") == WebuiParameters()


@pytest.mark.parametrize("how", [{}, {"zip": True}], ids=["as it is", "compressed"])
@pytest.mark.parametrize("prompt", ["a café", "猫 🐈"], ids=["Latin", "any script"])
def test_it_is_found_in_every_kind_of_text(prompt, how):
    found = read_webui(made(f"{prompt}\nSteps: 5, Seed: 7", **how))
    assert (found.prompt, found.steps, found.seed) == (prompt, 5, 7)


def test_files_without_it_are_refused():
    with pytest.raises(InputError, match="a PNG without the settings of another program"):
        read_webui(made("{}", key="prompt"))
    with pytest.raises(InputError, match="not a PNG"):
        read_webui(io.BytesIO(b"GIF89a"))
    damaged = made("猫" * 500, zip=True).getvalue().replace(b"\x78", b"\x79", 1)
    with pytest.raises(InputError, match="its text cannot be read: it is damaged"):
        read_webui(io.BytesIO(damaged))
    with pytest.raises(InputError, match="its text has more than 1048576 bytes"):
        read_webui(made("a" * 2**21, zip=True))
