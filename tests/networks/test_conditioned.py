"""One module of U-Net and conditioner: its names in files, and that training uses it whole."""

from typing import Any

import pytest
import torch

from sd.checkpoints.model import Model
from sd.common.device import choose
from sd.config import Config
from sd.networks.conditioned import ConditionedNetwork, to_stored_names
from sd.training.loop import Training
from sd.training.randomness import new_network
from tests.helpers.networks import with_weights
from tests.networks.test_conditioning import KINDS, pictures, settings, trained


def rows_of(model: Model) -> torch.Tensor:
    assert model.conditioner is not None
    return model.conditioner.read(["", *model.default_prompts[:1]])


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_as_the_network_given_the_condition(tiny_config: Config, kind: str) -> None:
    model = trained(tiny_config, kind).model
    x, times, rows = torch.randn(2, 1, 8, 8), torch.tensor([3, 20]), rows_of(model)
    assert model.conditioner is not None
    with torch.no_grad():
        by_hand = model.unet(x, times, **model.conditioner(rows)._asdict())
        assert torch.equal(model.network(x, times, rows), by_hand)
        assert not torch.equal(model.network(x, times, rows.flip(0)), by_hand)


@pytest.mark.parametrize("kind", ["none", "captions"])
def test_files_name_the_network_as_latent_diffusion_does(tiny_config: Config, kind: str) -> None:
    model = trained(tiny_config, kind).model
    stored = model.network.stored_state()
    assert {"input_blocks.0.0.weight", "time_embed.0.bias", "out.2.weight"} <= set(stored)
    others = {name for name in stored if name not in model.unet.state_dict()}
    assert others == {name for name in stored if name.startswith("conditioner.")}
    assert bool(others) == (kind == "captions")
    named = to_stored_names(dict(model.network.named_parameters()))
    assert set(named) <= set(stored)
    again = trained(tiny_config, kind, steps=1).model.network
    again.load_stored(stored)
    assert all(torch.equal(each, stored[name]) for name, each in again.stored_state().items())


@pytest.mark.parametrize("name", ["conditioner.token.weight", "out.3.weight"])
def test_what_is_not_its_own_is_refused(tiny_config: Config, name: str) -> None:
    network = ConditionedNetwork(new_network(tiny_config, 0))
    with pytest.raises(RuntimeError, match=name.partition(".")[0]):
        network.load_stored({**network.stored_state(), name: torch.zeros(1)})


def test_what_is_compiled_holds_the_conditioner(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything with weights runs in one call of one module: what wraps it misses nothing."""
    compiled, calls = list[Any](), list[tuple[Any, ...]]()

    def record(module: Any) -> Any:
        compiled.append(module)
        module.register_forward_hook(
            lambda _, args, kwargs, out: calls.append((args, kwargs)), with_kwargs=True
        )
        return module

    monkeypatch.setattr(torch, "compile", record)
    config = settings(tiny_config, "captions", "training.compile=True", "training.steps=2")
    training = Training(config, pictures(), 0, choose("cpu").apply())
    with_weights(training.network)
    before = {name: each.clone() for name, each in training.network.stored_state().items()}
    list(training.steps())
    assert compiled == [training.network] and len(calls) == 2
    assert all(kwargs["rows"].shape == (4, 8) for _, kwargs in calls)
    moved = {n for n, each in training.network.stored_state().items() if (each != before[n]).any()}
    assert any(name.startswith("conditioner.encoder") for name in moved)
