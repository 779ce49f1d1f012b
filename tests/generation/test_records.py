"""A sampling's records: the same steps, each of which crosses the border of a process."""

import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from sd.checkpoints.model import Model
from sd.common.encoding import png_bytes
from sd.common.validation import InputError
from sd.config import Config
from sd.diffusion.sampling import SampleStep
from sd.generation.pipeline import stream
from sd.generation.recipe import Branch, Recipe, Start
from sd.generation.records import Replay, sample_records
from sd.generation.records import Start as StartRecord
from sd.training.randomness import new_network
from tests.helpers.networks import with_weights

PLAIN = Recipe("little", sampler="ddpm", steps=6, count=3, seed=4)
BRANCH = replace(PLAIN, steps=3, branch=Branch(PLAIN, 3))
DEEPER = replace(PLAIN, steps=2, branch=Branch(BRANCH, 1))
SMALL_THINGS = 4096  # bytes of a pickled record beside the values of its tensors


@pytest.fixture(scope="module")
def model(tiny_config: Config) -> Model:
    return Model(with_weights(new_network(tiny_config, 0).eval()), tiny_config)


def from_picture() -> Recipe:
    return replace(PLAIN, sampler="heun", start=Start(png_bytes(Image.new("L", (8, 8), 99)), 30.0))


@pytest.mark.parametrize("recipe", [PLAIN, DEEPER, from_picture()], ids=["noise", "branch", "from"])
def test_every_record_and_what_asks_for_it_can_be_pickled(model: Model, recipe: Recipe) -> None:
    asked: Any = pickle.loads(pickle.dumps((recipe, {PLAIN: list(stream(PLAIN, model, "cpu"))[2]})))
    steps = []
    for record in sample_records(asked[0], model, "cpu", asked[1]):
        sent = pickle.dumps(record)
        values = sum(each.nbytes for each in record if isinstance(each, torch.Tensor))
        assert len(sent) < values + SMALL_THINGS  # no larger storage behind a view
        there = pickle.loads(sent)
        assert type(there) is type(record)
        if isinstance(there, SampleStep):
            steps.append(there)
    for one, other in zip(steps, stream(recipe, model, "cpu"), strict=True):
        assert (one.i, one.t, one.clipped) == (other.i, other.t, other.clipped)
        assert all(torch.equal(*pair) for pair in zip(one[2:5], other[2:5], strict=True))


def test_what_is_left_is_made_again_as_far_as_nothing_nearer_is_known(model: Model) -> None:
    def kinds(known: dict[Recipe, SampleStep]) -> list[type]:
        return [type(record) for record in sample_records(DEEPER, model, "cpu", known)]

    made = [StartRecord, SampleStep, SampleStep]
    root, branch = (list(stream(each, model, "cpu")) for each in (PLAIN, BRANCH))
    assert kinds({}) == [Replay] * (3 + 1) + made
    assert kinds({PLAIN: root[2]}) == [Replay] * 1 + made
    assert kinds({BRANCH: branch[0]}) == made


def test_the_start_is_x_before_the_first_step(model: Model) -> None:
    start, first, *_ = sample_records(PLAIN, model, "cpu")
    assert isinstance(start, StartRecord) and isinstance(first, SampleStep)
    again = next(stream(PLAIN, model, "cpu", start.x))
    assert torch.equal(again.x_t, first.x_t)


def test_a_recipe_that_does_not_fit_is_refused_before_a_parent_is_made(model: Model) -> None:
    unfit = replace(BRANCH, branch=Branch(PLAIN, 3, png_bytes(Image.new("RGBA", (9, 9)))))
    with pytest.raises(InputError, match="paint"):
        next(sample_records(unfit, model, "cpu"))
