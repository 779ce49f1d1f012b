"""What a drawing with a published model comes to, and how long that takes here."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sd.checkpoints.pretrained.names import autoencoder_tensors
from sd.generation.published import shelf
from sd.generation.recipe import Recipe
from sd.generation.registry import OpenModels
from sd.networks.autoencoder import AutoencoderKL
from sd.networks.clip.config import CLIPTextConfig
from sd.networks.clip.text import CLIPText
from sd.runs import Home
from sd.ui import models, state
from sd.ui.published import speed, work
from tests.helpers import published

MODEL, SIDE = "tiny-v1.safetensors", 16


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.write_single(tmp_path_factory.mktemp("models") / MODEL)


@pytest.fixture(autouse=True)
def own(tmp_path: Path, file: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home", tmp_path / "bundled")
    with state.use(state.Shared(home=home)):
        shelf.open_file(home, file, shelf.MODEL)
        yield home


def recipe(**more: Any) -> Recipe:
    settings = {"sampler": "ddim", "steps": 4, "count": 1, "size": (SIDE, SIDE)}
    asked = {"prompts": ("a cat",), "guidance": (7.5,)}
    return models.make_recipe(model=MODEL, seed=0, **settings | asked | more)


def counted(network: Any, *given: Any) -> int:
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(*given)
    total: int = counter.get_total_flops()
    return total


def test_operations_are_those_that_torch_counts() -> None:
    config = {name: each for name, each in published.DDCONFIG.items() if name != "attended"}
    network = AutoencoderKL(config, 4).eval()
    tensors = autoencoder_tensors(published.DDCONFIG, 4)
    given = {
        work.DECODER: (network.decoder, torch.zeros(1, 4, SIDE // 2, SIDE // 2)),
        work.ENCODER: (network.encoder, torch.zeros(1, 3, SIDE, SIDE)),
    }
    for half, (part, x) in given.items():
        told = work.half_work(tensors, half, 2, SIDE * SIDE)
        assert told.operations == counted(part, x)
        assert told.layers == len(part.state_dict()) / work.OF_A_LAYER
    width, layers, vocabulary, positions, hidden = published.TEXT
    text = CLIPText(CLIPTextConfig(width, layers, 1, hidden, vocabulary, positions)).eval()
    scores = 4 * width * positions**2 * layers  # of the attention: little, and not counted
    told = work.text_work(models.find(MODEL))
    assert told.operations + scores == counted(text, torch.zeros(1, positions, dtype=torch.long))


def test_guidance_pictures_and_a_start_are_counted() -> None:
    entry = models.find(MODEL)
    decoding = work.autoencoder_work(entry, work.DECODER, SIDE, SIDE).total
    text, size = work.text_work(entry).total, (SIDE, SIDE)
    call, double = (work.network_work(entry, size, wide) for wide in (1, 2))
    assert double.operations == 2 * call.operations and double.layers == call.layers
    assert work.work_of(recipe()) == pytest.approx(4 * double.total + 2 * text + decoding)
    plain = work.work_of(recipe(guidance=(1.0,)))
    assert plain == pytest.approx(4 * call.total + text + decoding)
    several = work.work_of(recipe(count=3))
    of_three = work.network_work(entry, size, 6).total
    assert several == pytest.approx(4 * of_three + 2 * text + 3 * decoding)


def test_what_a_drawing_took_is_told_of_its_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "measure", lambda dtype: 1e-9)
    first = recipe()
    assert not speed.is_known(first)
    told, reading = speed.estimate(first), speed.opening_seconds(models.find(MODEL))
    assert reading > 0 and told == pytest.approx(reading + 1e-9 * work.work_of(first))
    models.open_model(models.find(MODEL))
    assert speed.opening_seconds(models.find(MODEL)) == 0  # it is read already
    speed.note(first, 12.0)
    assert speed.estimate(first) == pytest.approx(12.0)
    twice = speed.estimate(replace(first, steps=8))
    assert 18 < twice < 24  # the prompt and the end are once


def test_a_model_that_went_while_it_drew_is_no_mistake() -> None:
    gone = replace(recipe(), model="gone.safetensors")
    speed.note(gone, 12.0)
    assert not list(state.shared(speed.Speeds))


def test_a_weighed_model_is_as_open_as_its_file(own: Home, tmp_path: Path) -> None:
    ink = shelf.open_file(own, published.write_lora(tmp_path / "ink.safetensors"), shelf.LORA)
    opened, entry = state.shared(OpenModels), models.find(MODEL)
    assert not opened.has(entry)
    models.open_model(entry)
    assert opened.has(entry) and opened.has(models.find(f"{MODEL}#lora={ink.name}@0.5"))
    assert not opened.has(models.find(f"{MODEL}#prediction=v"))


def test_a_machine_is_measured() -> None:
    assert speed.measure("float32") > 0
