"""A recipe made into pictures: from noise, between seeds, from a picture, and as a branch."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sd.checkpoints.closed_form_model import build_closed_form
from sd.checkpoints.model import Model
from sd.common.encoding import png_bytes
from sd.common.validation import InputError
from sd.config import Config
from sd.data.image_set import read_images
from sd.data.images import to_float, to_uint8
from sd.diffusion.guidance import Guidance
from sd.diffusion.loss import PREDICTIONS
from sd.diffusion.sampling import SampleStep, draw_noise, generators, slerp
from sd.diffusion.timesteps import SAMPLERS, SPACINGS
from sd.generation.pipeline import (
    begin_x,
    check,
    paint_over,
    pick_pixel,
    rms_distance,
    stream,
    trust_region_of,
)
from sd.generation.recipe import Branch, Recipe, Start
from sd.networks.conditioning import conditioner_of
from sd.training.randomness import new_network
from tests.checkpoints.test_checkpoint import network_of
from tests.conftest import TINY
from tests.helpers.networks import with_weights


@pytest.fixture(scope="module")
def model(tiny_config: Config) -> Model:
    """A network with random weights everywhere, so that its output depends on what it sees."""
    return Model(with_weights(new_network(tiny_config, 0).eval()), tiny_config)


def told() -> Model:
    """A model of two classes, all of whose weights count."""
    config = Config().with_settings([*TINY, "conditioning.kind=class_tokens"])
    config = config.with_settings(["unet.context_dim=16"])
    conditioner = conditioner_of(config, {"kind": "class_tokens", "labels": ["cat", "dog"]})
    assert conditioner is not None
    network = with_weights(new_network(config, 0).eval(), conditioner)
    return Model(network, config, {}, conditioner)


PLAIN = Recipe("little", count=2, steps=10, seed=5)


def grey(*levels: int) -> bytes:
    return png_bytes(Image.fromarray(np.resize(np.array(levels, np.uint8), (8, 8))))


def made(recipe: Recipe, model: Model) -> list[SampleStep]:
    return list(stream(recipe, model, "cpu"))


def test_a_plain_recipe_is_what_sampling_makes(model: Model) -> None:
    expected = model.sampling("ddim", 10).sample(model.denoiser, model.shape, [5, 6])
    assert torch.equal(made(PLAIN, model)[-1].x_t, expected)


@pytest.mark.parametrize("without", ["", "negative", "guidance", "rescale", "interval"])
def test_all_that_a_recipe_asks_for_is_asked(without: str) -> None:
    """Each field counts: left at its default, other pictures come."""
    asked = {"negative": "dog", "guidance": (4.0, 2.5), "rescale": 0.7, "interval": (0.3, 0.8)}
    given = {name: value for name, value in asked.items() if name != without}
    model, recipe = told(), replace(PLAIN, prompts=("cat",), **given)
    guidance = Guidance(asked["guidance"], asked["rescale"], asked["interval"])
    denoiser = model.guided(["cat"], "dog", guidance)
    whole = model.sampling("ddim", 10).sample(denoiser, model.shape, [5, 6])
    found = made(recipe, model)[-1].x_t
    assert torch.equal(found, whole) == (not without)


def test_pictures_between_two_seeds_begin_and_end_at_them(model: Model) -> None:
    recipe = replace(PLAIN, seed_to=40, count=3)
    one, other = draw_noise(model.shape, generators([5, 40]))
    start = begin_x(recipe, model, "cpu")
    assert torch.allclose(start[0], one) and torch.allclose(start[2], other, atol=1e-6)
    assert torch.allclose(start[1], slerp(one, other, 0.5))
    alone = made(replace(recipe, count=1), model)
    assert torch.allclose(alone[-1].x_t[0], made(recipe, model)[-1].x_t[0], atol=1e-5)


def test_a_picture_is_left_at_its_time(model: Model) -> None:
    recipe = replace(PLAIN, start=Start(grey(0, 90, 255), 20))
    x0 = to_float(torch.from_numpy(np.array(Image.open(io.BytesIO(recipe.start.picture)))))
    a, b = (float(f(20)) for f in (model.diffusion.schedule.signal, model.diffusion.schedule.noise))
    eps = draw_noise(model.shape, generators([5, 6]))
    assert torch.allclose(begin_x(recipe, model, "cpu"), a * x0 + b * eps, atol=1e-6)
    steps = made(recipe, model)
    assert len(steps) == 10 and steps[0].t == 18
    assert rms_distance(steps[-1].x_t, made(PLAIN, model)[-1].x_t) > 0.1


def from_picture(sampler: str, spacing: str, t: float, **more: Any) -> Recipe:
    start = Start(grey(*range(20, 230, 3)), t)
    return Recipe("little", sampler=sampler, spacing=spacing, steps=5, count=2, start=start, **more)


def change(recipe: Recipe, model: Model) -> float:
    """Return how far pictures end from the one that they began from, on average, of 255."""
    assert recipe.start is not None
    kept = torch.from_numpy(np.array(Image.open(io.BytesIO(recipe.start.picture)))).int()
    return float((to_uint8(made(recipe, model)[-1].x_t).int() - kept).abs().double().mean())


def wrong(base: Config, prediction: str = "x0") -> Model:
    """Return a model of a thousand times, whose answers are far from any picture."""
    words = ["diffusion.timesteps=1000", "diffusion.schedule=linear"]
    config = base.with_settings([*words, f"diffusion.prediction={prediction}"])
    return Model(network_of(config), config)


@pytest.fixture(scope="module")
def mistaken(tiny_config: Config) -> Model:
    return wrong(tiny_config)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_near_t_0_a_picture_stays_as_it_is_in_proportion(
    mistaken: Model, sampler: str, spacing: str
) -> None:
    schedule = mistaken.diffusion.schedule
    for t in (1e-30, 0.01, 1.0, 20.5):
        found = change(from_picture(sampler, spacing, t, eta=0.5), mistaken)
        assert found <= 127.5 * float(schedule.sigma(t)) + 0.5, t  # half a level is rounding
        assert t > 0.01 or found < 0.5


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_it_stays_whatever_the_network_estimates(tiny_config: Config, prediction: str) -> None:
    model = wrong(tiny_config, prediction)
    assert change(from_picture("ddim", "trailing", 0.01), model) < 0.5
    assert change(from_picture("ddim", "trailing", 990.0), model) > 30


def test_far_from_t_0_nothing_is_held_and_without_clipping_it_is(mistaken: Model) -> None:
    recipe = from_picture("ddim", "trailing", 900.0)
    start = begin_x(recipe, mistaken, "cpu")
    sampling = mistaken.sampling("ddim", 5, start_time=900.0)
    plain = list(sampling.steps(mistaken.denoiser, mistaken.shape, [0, 1], start=start))
    assert torch.equal(made(recipe, mistaken)[-1].x_t, plain[-1].x_t)
    loose = from_picture("ddim", "trailing", 0.01, clip_x0=False)
    assert change(loose, mistaken) < 0.5


def test_branches_stay_near_too_but_for_what_is_painted(mistaken: Model) -> None:
    parent = from_picture("ddim", "trailing", 5.0)
    branch = replace(parent, start=None, branch=Branch(parent, 2), steps=3)
    assert torch.equal(made(branch, mistaken)[-1].x_t, made(parent, mistaken)[-1].x_t)
    white = Image.new("RGBA", (8, 8), "white")
    painted_on = replace(branch, branch=Branch(parent, 2, png_bytes(white)))
    assert (
        trust_region_of(branch, mistaken) is not None
        and trust_region_of(painted_on, mistaken) is None
    )


def test_a_leading_grid_begins_with_the_noise_of_its_first_time(model: Model) -> None:
    recipe = replace(PLAIN, spacing="leading", start=Start(grey(0, 90, 255), 49))
    x0 = to_float(torch.from_numpy(np.array(Image.open(io.BytesIO(grey(0, 90, 255))))))
    assert made(recipe, model)[0].t == 33  # of 37, 33, ... 1: ten steps of four below 49
    a, b = model.diffusion.schedule.at(37)
    eps = draw_noise(model.shape, generators([5, 6]))
    assert torch.allclose(begin_x(recipe, model, "cpu"), a * x0 + b * eps, atol=1e-6)


def test_what_began_from_a_picture_stays_as_near_as_its_noise_was_large(
    tiny_config: Config,
) -> None:
    config = tiny_config.with_settings(["diffusion.noise_info=[0.5, 2.0]"])
    model = Model(network_of(config), config)
    trust_region = trust_region_of(
        replace(PLAIN, spacing="leading", start=Start(grey(90), 49)), model
    )
    assert trust_region is not None  # the first time of this grid is 37
    assert trust_region.sigma == pytest.approx(float(model.diffusion.schedule.sigma(37)))


def test_outside_the_mask_the_picture_stays(model: Model) -> None:
    half = np.zeros((8, 8), np.uint8)
    half[:4] = 255
    start = Start(grey(0, 90, 255), 40, png_bytes(Image.fromarray(half)))
    recipe = replace(PLAIN, sampler="ddpm", start=start)
    x0 = to_float(torch.from_numpy(np.array(Image.open(io.BytesIO(start.picture)))))
    end = made(recipe, model)[-1].x_t[:, 0]
    assert torch.equal(end[:, 4:], x0[4:].expand(2, 4, 8))
    assert not torch.allclose(end[:, :4], x0[:4].expand(2, 4, 8), atol=0.1)
    branch = replace(PLAIN, branch=Branch(recipe, 3), steps=4)
    assert torch.equal(made(branch, model)[-1].x_t[:, 0, 4:], x0[4:].expand(2, 4, 8))


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "euler", "euler_ancestral"])
def test_a_branch_with_nothing_changed_is_the_same_future(model: Model, sampler: str) -> None:
    parent = replace(PLAIN, sampler=sampler)
    branch = replace(parent, steps=6, branch=Branch(parent, 4))
    whole, rest = made(parent, model), made(branch, model)
    assert [step.t for step in rest] == [step.t for step in whole[4:]]
    for one, other in zip(rest, whole[4:], strict=True):
        assert torch.equal(one.x_t, other.x_t)


@pytest.mark.parametrize("change", [{"seed": 6}, {"eta": 0.5}, {"sampler": "heun"}, {"steps": 3}])
def test_a_branch_with_something_changed_is_another(
    model: Model, change: dict[str, object]
) -> None:
    parent = replace(PLAIN, sampler="ddpm") if "seed" in change else PLAIN
    branch = replace(parent, **{"steps": 6, "branch": Branch(parent, 4), **change})
    assert rms_distance(made(branch, model)[-1].x_t, made(parent, model)[-1].x_t) > 1e-4


@pytest.mark.parametrize(
    ("asked", "words", "scale"),
    [
        ({"prompts": ("dog",)}, (["dog"], ""), 1.0),
        ({"prompts": ("dog",), "guidance": (3.0,)}, (["dog"], ""), 3.0),
        ({"negative": "dog", "guidance": (3.0,)}, (["cat"], "dog"), 3.0),
        ({"prompts": ()}, ([""], ""), 1.0),
    ],
)
@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_from_a_step_on_a_branch_is_asked_for_something_else(
    asked: dict[str, Any], words: tuple[list[str], str], scale: float, sampler: str
) -> None:
    """It is what sampling by hand makes whose denoiser is exchanged at that step, byte for byte."""
    model, parent = told(), replace(PLAIN, sampler=sampler, prompts=("cat",))
    branch = replace(parent, steps=6, branch=Branch(parent, 4), **asked)
    before, after = model.guided(["cat"]), model.guided(*words, Guidance((scale,)))
    calls: list[float] = []

    def exchanged(w: torch.Tensor, t: float) -> Any:
        calls.append(t)
        return (before if len(calls) <= 4 else after)(w, t)

    by_hand = list(model.sampling(sampler, 10).steps(exchanged, model.shape, [5, 6]))
    for one, other in zip(made(branch, model), by_hand[4:], strict=True):
        assert torch.equal(one.x_t, other.x_t) and torch.equal(one.x0, other.x0)
    assert not torch.equal(by_hand[-1].x_t, made(parent, model)[-1].x_t)


def test_a_branch_of_what_was_told_with_nothing_changed_is_the_same_future() -> None:
    model, parent = told(), replace(PLAIN, prompts=("cat", "dog"), guidance=(2.0,), negative="dog")
    branch = replace(parent, steps=6, branch=Branch(parent, 4))
    assert torch.equal(made(branch, model)[-1].x_t, made(parent, model)[-1].x_t)


def test_what_a_branch_asks_for_must_be_known() -> None:
    parent = replace(PLAIN, prompts=("cat",))
    with pytest.raises(InputError, match="class 'cow': the model knows cat, dog"):
        check(replace(parent, prompts=("cow",), branch=Branch(parent, 4)), told())


# other sizes


def test_another_size_is_what_the_network_makes_of_noise_of_that_size(model: Model) -> None:
    recipe = replace(PLAIN, size=(16, 10))
    expected = model.sampling("ddim", 10).sample(model.denoiser, (1, 16, 10), [5, 6])
    assert torch.equal(made(recipe, model)[-1].x_t, expected)
    own = replace(PLAIN, size=(8, 8))
    assert torch.equal(made(own, model)[-1].x_t, made(PLAIN, model)[-1].x_t)


def test_a_picture_a_mask_and_paint_have_the_size_that_is_drawn(model: Model) -> None:
    large, half = Image.new("L", (16, 16), 90), np.zeros((16, 16), np.uint8)
    half[:8] = 255
    start = Start(png_bytes(large), 40, png_bytes(Image.fromarray(half)))
    recipe = replace(PLAIN, size=(16, 16), start=start)
    end = made(recipe, model)[-1].x_t
    assert end.shape == (2, 1, 16, 16)
    assert (to_uint8(end[:, :, 8:]) == 90).all() and not (to_uint8(end[:, :, :8]) == 90).all()
    paint = png_bytes(Image.new("RGBA", (16, 16), "white"))
    painted = replace(recipe, start=None, steps=6, branch=Branch(recipe, 4, paint))
    assert made(painted, model)[-1].x_t.shape == (2, 1, 16, 16)
    with pytest.raises(InputError, match="must have the model's 8 x 8"):
        check(replace(recipe, size=None), model)


def test_a_size_that_the_network_does_not_draw_is_one_line(model: Model) -> None:
    with pytest.raises(InputError, match="size = 9x8: must be multiples of 2"):
        check(replace(PLAIN, size=(9, 8)), model)
    with pytest.raises(InputError, match="more than"):
        check(replace(PLAIN, size=(4096, 4096)), model)


def test_a_closed_form_draws_the_size_of_its_pictures_alone(
    tiny_config: Config, pictures: Path
) -> None:
    images = read_images(pictures, height=8, width=8, channels=1)
    source = build_closed_form("ideal", images, tiny_config)
    assert made(replace(PLAIN, size=(8, 8)), source)[-1].x_t.shape == (2, 1, 8, 8)
    with pytest.raises(InputError, match="size = 16x16: the ideal model draws the size of its"):
        check(replace(PLAIN, size=(16, 16)), source)


def test_paint_moves_the_estimate_and_leaves_the_noise(model: Model) -> None:
    step = made(PLAIN, model)[3]
    stroke = Image.new("RGBA", (8, 8))
    stroke.putpixel((2, 1), (255, 255, 255, 255))
    x = paint_over(step, png_bytes(stroke), model)
    a, b = model.diffusion.factors(step.t, step.x_t)
    eps = (step.x_t - a * step.x0) / b
    assert torch.allclose(x[:, 0, 1, 2], (a * 1 + b * eps)[:, 0, 1, 2], atol=1e-5)
    x[:, 0, 1, 2] = step.x_t[:, 0, 1, 2]
    assert torch.equal(x, step.x_t)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (replace(PLAIN, start=Start(grey(1), 51)), "t = 51"),
        (replace(PLAIN, start=Start(grey(1), 0)), "t = 0"),
        (replace(PLAIN, start=Start(b"GIF89a", 5)), "not a PNG"),
        (replace(PLAIN, start=Start(png_bytes(Image.new("L", (9, 8))), 5)), "9 x 8 pixels"),
        (replace(PLAIN, start=Start(grey(1), 5, png_bytes(Image.new("L", (8, 9))))), "mask of"),
        (replace(PLAIN, branch=Branch(PLAIN, 10)), "before the last step"),
        (replace(PLAIN, branch=Branch(PLAIN, 2, grey(1)[:40])), "paint"),
    ],
)
def test_what_does_not_fit_the_model_is_told_before_anything_is_made(
    model: Model, recipe: Recipe, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        check(recipe, model)
    with pytest.raises(InputError, match=words):
        stream(recipe, model, "cpu")


def test_the_pixel_that_is_told_of_lies_where_something_is_made() -> None:
    shape = (1, 8, 8)
    assert pick_pixel(PLAIN, shape) == (4, 4)
    mask = np.zeros((8, 8), np.uint8)
    mask[5, 2:4] = 255
    start = Start(grey(0, 255), 40, png_bytes(Image.fromarray(mask)))
    assert pick_pixel(replace(PLAIN, start=start), shape) == (5, 2)


def test_distance_is_the_root_of_the_mean_square() -> None:
    assert rms_distance(torch.tensor([1.0, 2.0]), torch.tensor([4.0, -2.0])) == pytest.approx(
        12.5**0.5
    )
