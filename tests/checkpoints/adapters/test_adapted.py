"""A published model that stays open while what is added to it changes."""

from pathlib import Path

import pytest
import torch

from sd.checkpoints.adapters.adapted import AdaptableModel, AdaptedModel, Scales
from sd.checkpoints.pretrained.building import fill_text_encoder, open_pretrained
from sd.checkpoints.pretrained.choices import Choices
from tests.helpers import published


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    published.write_single(path / "model.safetensors")
    for name in ("one", "two"):
        published.write_lora(path / f"{name}.safetensors")
    return path


@torch.no_grad()
def test_a_lora_counts_while_its_own_model_is_asked_alone(folder: Path) -> None:
    opened = AdaptableModel(open_pretrained(f"{folder}/model.safetensors"))
    unet = opened.base.unet
    given = torch.ones(1, 4, 8, 8), torch.tensor([500]), torch.ones(1, 77, 32)
    plain = unet(*given)
    one, two = (Choices(lora=((f"{folder}/{name}.safetensors", 0.5),)) for name in ("one", "two"))
    model = opened.with_choices(one)
    assert isinstance(model, AdaptedModel)
    with model.weights.of(model.scales):
        changed = unet(*given)
        opened.with_choices(two)  # as another person opens it meanwhile
        assert torch.equal(unet(*given), changed) and not torch.equal(changed, plain)
    assert torch.equal(unet(*given), plain)


@torch.no_grad()
def test_where_memory_is_short_the_text_encoder_goes_and_comes_back(folder: Path) -> None:
    place = f"{folder}/model.safetensors"
    whole = AdaptableModel(open_pretrained(place))
    base = open_pretrained(place)
    encoder = base.conditioner.encoder  # type: ignore[union-attr]
    short = AdaptableModel(base, Scales(lambda: True, lambda: fill_text_encoder(place, encoder)))
    ink = Choices(lora=((f"{folder}/one.safetensors", 0.5),))
    for choices, prompt in ((Choices(), "a cat"), (ink, "a dog"), (Choices(), "a cat")):
        one, other = (
            each.with_choices(choices).guided([prompt], "grey") for each in (whole, short)
        )
        assert not base.has_text_encoder and whole.base.has_text_encoder
        wanted, found = (each(torch.ones(1, 4, 8, 8), 500) for each in (one, other))
        assert torch.equal(wanted.x0, found.x0)
