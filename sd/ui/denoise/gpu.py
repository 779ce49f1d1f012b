"""A sampling on a GPU that is lent for it: made in another process, its steps come as arrays."""

import math
from collections.abc import Iterator
from typing import Any

from sd.common.validation import InputError
from sd.generation.recipe import Recipe
from sd.runs import Home
from sd.ui import model_cost, models
from sd.ui.hosting import zero_gpu

DEVICE = "cuda"  # of the process that has the GPU
BEGIN, FASTEST = 10.0, 1e12  # seconds to begin with; operations a second that are counted on


def seconds_of(recipe: Recipe, _: Home) -> int:
    """Return for how many seconds a GPU is asked: what beginning takes, and the sampling."""
    cost = models.cost_of(models.find(recipe.model)).resized(recipe.size)
    operations = model_cost.calls_of(recipe) * recipe.count * cost.operations()
    return math.ceil(min(zero_gpu.LONGEST, BEGIN + operations / FASTEST))


@zero_gpu.lend(seconds_of)
def arrays_of(recipe: Recipe, home: Home) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield the records of a sampling, each as its kind and its values; tensors are arrays.

    A mistake is a record, too: of an error only the name of its kind comes back.
    """
    import torch

    from sd.generation import registry
    from sd.generation.records import sample_records

    try:
        source = registry.load_recipe_model(home, recipe, DEVICE)
        for record in sample_records(recipe, source, DEVICE):
            values = (each.numpy() if isinstance(each, torch.Tensor) else each for each in record)
            yield type(record).__name__, tuple(values)
    except InputError as error:
        yield InputError.__name__, (str(error),)


def lent_records(recipe: Recipe, home: Home) -> Iterator[Any]:
    """Yield the records of a sampling that is made where the GPU is."""
    import numpy as np
    import torch

    from sd.diffusion.sampling import SampleStep
    from sd.generation.records import Replay, Start

    kinds: dict[str, Any] = {kind.__name__: kind for kind in (Replay, Start, SampleStep)}
    stream = arrays_of(recipe, home)
    try:
        for kind, values in stream:
            if kind not in kinds:
                raise InputError(*values)
            tensors = (torch.from_numpy(v) if isinstance(v, np.ndarray) else v for v in values)
            yield kinds[kind](*tensors)
    finally:
        stream.close()
