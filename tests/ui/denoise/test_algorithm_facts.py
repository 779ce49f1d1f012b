"""The numbers under Algorithm 2 are those of the step at which the slider rests, at one pixel."""

from dataclasses import replace
from typing import Any

import pytest

from sd import runs
from sd.checkpoints.checkpoint import save_checkpoint
from sd.checkpoints.model import Model
from sd.config import Config
from sd.generation.pipeline import begin, sampling_of
from sd.training.randomness import new_network
from sd.ui import models
from sd.ui.denoise import algorithm
from tests.helpers.denoising import another_day, little_model, replayed  # noqa: F401 (a fixture)
from tests.helpers.denoising import recipe as plain_recipe
from tests.helpers.networks import with_weights


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("noise_info", [(0.0, 1.0), (0.5, 2.0)])
def test_every_number_is_of_its_step_and_of_the_standard_process(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch, noise_info: tuple[float, float]
) -> None:
    another_day(monkeypatch)
    monkeypatch.setattr("sd.generation.pipeline.seen_pixel", lambda *_: (2, 6))
    (mean, std), name = noise_info, f"noise-{noise_info[1]:g}"
    config = tiny_config.with_settings([f"diffusion.noise_info=[{mean:g}, {std:g}]"])
    network = with_weights(new_network(config, 0).eval())
    save_checkpoint(Model(network, config), runs.home() / name / "checkpoint-4", {"step": 4})
    (runs.home() / name / runs.CONFIG).write_text(config.to_ini())
    made = replace(plain_recipe(), model=name, digest="", step=4, sampler="ddpm", steps=6)
    made = replace(made, variance="fixed_large", clip_x0=False)
    model: Any = models.open_model(models.find(name))
    steps, times = replayed(made, model), [*sampling_of(made, model).times, 0.0]
    x = [begin(made, model, "cpu"), *(step.x_t for step in steps)]
    w = [
        (each - model.diffusion.schedule.at(t)[1] * mean) / std
        for each, t in zip(x, times, strict=True)
    ]
    for i in (1, 3, 6):
        found, step = algorithm.facts(made, i, "en"), steps[i - 1]
        assert (found.i, found.total, found.t, found.s) == (i, 6, times[i - 1], times[i])
        assert found.large and found.sampler == "ddpm"
        assert "row 3, column 7" in found.name_of_pixel
        at = (0, 0, 2, 6)
        wanted = [float(each[at]) for each in (w[i - 1], w[i], step.x0 / std, step.eps)]
        told = [found.before, found.after, found.x0, found.eps]
        assert told == pytest.approx(wanted, abs=1e-4)
