"""A sampling whose steps come from another process as arrays."""

import pickle
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
import torch

from sd.checkpoints.model import Model
from sd.common.device import Machine
from sd.common.validation import InputError
from sd.ui import models, state
from sd.ui.denoise import gpu
from sd.ui.denoise import job as job_module
from sd.ui.denoise.job import Job, progress_line, watch
from sd.ui.hosting import zero_gpu
from tests.helpers import denoising
from tests.helpers.denoising import equal, replayed


@pytest.fixture(autouse=True)
def _lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    monkeypatch.setenv(zero_gpu.NAME, "true")


def test_what_travels_can_be_pickled_and_is_the_same_sampling(little: Model) -> None:
    recipe = denoising.recipe(steps=6)
    sent = list(gpu.arrays_of(recipe, state.home()))
    assert [kind for kind, _ in sent] == ["Start", *["SampleStep"] * 6]
    for _, values in sent:
        assert not any(isinstance(each, torch.Tensor) for each in values)
        pickle.loads(pickle.dumps(values))
    steps = list(gpu.lent_records(recipe, state.home()))[1:]
    assert equal(steps, replayed(recipe, little))


def test_a_job_takes_its_steps_from_there_and_gives_the_gpu_back(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back, stream = [], gpu.arrays_of

    def lent(*arguments: Any) -> Any:
        try:
            yield from stream(*arguments)
        finally:
            given_back.append(arguments)

    monkeypatch.setattr(gpu, "arrays_of", lent)
    job = Job(denoising.recipe(steps=6))
    job.start()
    assert job.wait(denoising.PATIENCE) and job.error is None
    assert job.done == 6 and len(given_back) == 1 and job.end is not None


def test_a_closed_tab_gives_the_gpu_back_after_the_step_at_hand(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, sent = gpu.arrays_of, []
    begun, closed, given_back = Event(), Event(), Event()

    def lent(*arguments: Any) -> Any:
        try:
            for number, record in enumerate(stream(*arguments)):
                if number == 2:
                    begun.set()
                    assert closed.wait(denoising.PATIENCE)
                sent.append(number)
                yield record
        finally:
            given_back.set()

    monkeypatch.setattr(gpu, "arrays_of", lent)
    monkeypatch.setattr(job_module, "INTERVALS", (0.01,))
    tab = watch(job := Job(denoising.recipe(steps=60)))
    next(tab)
    assert begun.wait(denoising.PATIENCE)
    tab.close()
    closed.set()
    assert given_back.wait(denoising.PATIENCE) and job.wait(denoising.PATIENCE)
    assert sent == [0, 1, 2] and job.stopped


def test_a_mistake_comes_back_as_its_line(little: Model) -> None:
    with pytest.raises(InputError, match="the recipe's model 'no such'"):
        list(
            gpu.lent_records(
                replace(denoising.recipe(steps=6), model="no such", digest=""), state.home()
            )
        )


def test_it_is_asked_for_no_longer_than_it_takes(little: Model) -> None:
    few, many = (denoising.recipe(steps=steps) for steps in (1, 1000))
    assert 10 < gpu.seconds_of(few, state.home()) <= gpu.seconds_of(many, state.home()) <= 40


def test_the_page_itself_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # so it looks there
    models.machine.cache_clear()
    try:
        assert models.machine().device == "cpu"
    finally:
        models.machine.cache_clear()


def test_the_line_names_a_gpu_and_no_processor(
    little: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Job(denoising.recipe(steps=6))
    made.done = 6
    assert "6 steps in 0.0 s on ZeroGPU" in progress_line(made, "en", True)
    monkeypatch.delenv(zero_gpu.NAME)
    for device, told in (("cpu", "6 步，用时 0.0 秒"), ("cuda", "H200 上 6 步，用时 0.0 秒")):
        machine = Machine(device, 2, "mkl", "H200" if device == "cuda" else "CPU, 2 threads")
        monkeypatch.setattr(models, "machine", lambda machine=machine: machine)
        assert f">{told}<" in progress_line(made, "zh", True)
