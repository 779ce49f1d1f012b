"""What a sampling takes is told before: calls counted, one call measured, sizes compared."""

from dataclasses import replace

import pytest
import torch

from sd.checkpoints.model import Model
from sd.config import Config
from sd.generation.price import price_of, size_factor_of
from sd.generation.recipe import Recipe
from sd.networks.blueprint import blueprint
from sd.training.randomness import new_network

PLAIN = Recipe("little", steps=5)


def test_calls_are_counted_and_each_kind_is_measured_once(tiny_config: Config) -> None:
    model = Model(new_network(tiny_config, 0).eval(), tiny_config)
    asked: list[tuple[int, ...]] = []
    model.unet.register_forward_hook(lambda _, given, __: asked.append(tuple(given[0].shape)))
    recipes = [PLAIN, replace(PLAIN, seed=1), replace(PLAIN, sampler="heun", size=(16, 8))]
    price = price_of(recipes, lambda recipe: model, torch.device("cpu"))
    assert (price.pictures, price.calls) == (3, 5 + 5 + 8)
    assert asked == [(1, 1, 8, 8)] * 2 + [(1, 1, 16, 8)] * 2
    assert price.seconds > 0 and price.line().startswith("3 pictures, 18 network calls, about ")


def test_a_size_is_as_much_more_as_its_operations(tiny_config: Config) -> None:
    wanted = (
        blueprint(tiny_config.unet, 32, 16).operations
        / blueprint(tiny_config.unet, 8, 8).operations
    )
    assert size_factor_of(tiny_config, (32, 16)) == pytest.approx(wanted)
    assert wanted > 6
