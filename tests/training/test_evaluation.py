"""What a model is measured on: whose pictures, at which times, told what."""

import pytest
import torch

from sd.common.device import choose
from sd.common.randomness import keyed_generator
from sd.config import Config
from sd.data.images import to_float
from sd.training.evaluation import evenly_spaced_rows, losses
from sd.training.loop import Training
from tests.helpers.networks import with_weights
from tests.networks.test_conditioning import pictures, settings
from tests.training.test_loop import image_set

MACHINE = choose("cpu")


def test_rows_are_taken_from_all_over_the_set() -> None:
    rows = torch.arange(10, 31)
    assert evenly_spaced_rows(rows, 5).tolist() == [10, 15, 20, 25, 30]
    assert evenly_spaced_rows(rows, 4).tolist() == [10, 17, 23, 30]
    assert torch.equal(evenly_spaced_rows(rows, 99), rows)


@pytest.mark.parametrize("kind", ["class_embedding", "captions"])
@pytest.mark.parametrize("size", [3, 8])
def test_a_loss_is_the_mean_error_at_its_time_of_pictures_that_are_told(
    tiny_config: Config, kind: str, size: int
) -> None:
    training = Training(settings(tiny_config, kind), pictures(), 0, MACHINE)
    model = training.model
    with_weights(model.unet)
    assert model.conditioner is not None
    x0, rows = to_float(training.pixels), training._prompts
    found = losses(model, x0, rows, [7, 40], 5, size)
    for level, t in enumerate((7, 40)):
        eps = torch.randn(x0.shape, generator=keyed_generator(5, "evaluation", level))
        a, b = model.diffusion.schedule.at(t)
        with torch.no_grad():
            told = model.conditioner(rows)
            output = model.unet(a * x0 + b * eps, torch.full((4,), t - 1), **told._asdict())
        wanted = float((output - (a * eps - b * x0)).square().mean())
        assert found[level] == pytest.approx(wanted, rel=1e-4)
    untold = losses(model, x0, rows.roll(1, 0), [7, 40], 5, size)
    assert untold != pytest.approx(found, rel=1e-3)


def test_each_side_is_measured_on_its_own_pictures_as_they_are(tiny_config: Config) -> None:
    """Neither mirrored nor shifted: what is augmented is harder, and of another run no measure."""
    source = torch.Generator().manual_seed(0)
    many = image_set(torch.randint(0, 256, (12, 1, 8, 8), generator=source, dtype=torch.uint8))
    changes = ["training.held_out=0.3", "training.flip=True", "training.shift=0.25"]
    training = Training(tiny_config.with_settings(changes), many, 0, MACHINE)
    with_weights(training.model.unet)
    measured = training.evaluate()
    as_many = evenly_spaced_rows(training.rows, len(training.held_out))
    for rows, found in ((as_many, measured.train), (training.held_out, measured.held_out)):
        x0 = to_float(many.pixels[rows])
        assert found == losses(training.model, x0, training._prompts[rows], measured.times, 0, 8)
    assert measured.held_out != measured.train


def test_what_is_told_counts_in_the_losses_of_a_run(tiny_config: Config) -> None:
    training = Training(settings(tiny_config, "class_embedding"), pictures(), 0, MACHINE)
    with_weights(training.model.unet)
    measured = training.evaluate()
    x0 = to_float(training.pixels)
    assert measured.train == losses(training.model, x0, training._prompts, measured.times, 0, 8)
    nothing = training._null.expand(4)
    assert measured.train != losses(training.model, x0, nothing, measured.times, 0, 8)
