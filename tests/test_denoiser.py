"""Guidance against hand computation: Ho & Salimans 2022, eq. 6; Lin et al. 2023, eq. 15 and 16."""

from typing import Any

import pytest
import torch
from torch import Tensor

from sd.conditioning import Condition
from sd.denoiser import Denoiser, Guidance, rescaled
from sd.diffusion import Diffusion
from sd.schedule import Schedule
from sd.streams import new_network
from tests.test_conditioning import KINDS, settings, trained

X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(5))
T = 20.0


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tiny_config: Any) -> Any:
    """A model that is told something, its last layer no longer zero."""
    made = trained(tiny_config, request.param).model
    last = made.network.out[-1]
    torch.nn.init.normal_(last.weight, std=0.1, generator=torch.Generator().manual_seed(3))
    return made


def prompts(model: Any) -> list[str]:
    return list(model.conditioner.labels) or ["a red circle", "a blue square"]


def alone(model: Any, prompt: str, x: Tensor) -> Tensor:
    """Return eps of each picture by itself, in a batch of one."""
    return torch.cat([model.guided([prompt])(each[None], T).eps for each in x])


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0, 7.5])
def test_guidance_is_the_formula(model: Any, scale: float) -> None:
    asked, other = prompts(model)
    for negative in ("", other):
        wanted, against = alone(model, asked, X), alone(model, negative, X)
        made = model.guided([asked], negative, Guidance((scale,)))(X, T)
        assert torch.allclose(made.eps, against + scale * (wanted - against), atol=1e-5)


def test_pictures_take_prompts_and_scales_in_turn(model: Any) -> None:
    made = model.guided(prompts(model), "", Guidance((3.0, 1.0, 0.0)))(X, T).eps
    nothing = alone(model, "", X)
    for k, scale in enumerate((3.0, 1.0, 0.0)):
        wanted = alone(model, prompts(model)[k % 2], X[k : k + 1])
        hand = nothing[k : k + 1] + scale * (wanted - nothing[k : k + 1])
        assert torch.allclose(made[k : k + 1], hand, atol=1e-5)


class Counting:
    """A network that notes its batches; what it is told decides what it returns."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, x: Tensor, times: Tensor, **told: Any) -> Tensor:
        self.batches.append(told["y"].tolist())
        return x * told["y"].reshape(-1, 1, 1, 1)


def counting(guidance: Guidance) -> tuple[Counting, Denoiser]:
    network = Counting()
    process = Diffusion(Schedule.create("linear", 100), "eps")
    asked, against = Condition(y=torch.tensor([5])), Condition(y=torch.tensor([2]))
    return network, Denoiser(network, process, asked, against, guidance)


@pytest.mark.parametrize(
    ("scale", "batch"),
    [((1.0,), [5, 5, 5]), ((0.0,), [2, 2, 2]), ((3.0,), [5, 5, 5, 2, 2, 2])],
)
def test_scale_one_costs_one_pass_and_others_one_batch(
    scale: tuple[float, ...], batch: list[int]
) -> None:
    network, denoiser = counting(Guidance(scale))
    eps = denoiser(X, T).eps
    assert network.batches == [batch]
    assert torch.allclose(eps, X * (2 + scale[0] * 3), atol=1e-5)


def test_outside_its_interval_the_condition_alone_counts() -> None:
    network, denoiser = counting(Guidance((3.0,), interval=(0.25, 0.5)))
    for t in (20.0, 25.0, 50.0, 51.0):
        denoiser(X, t)
    assert [len(each) for each in network.batches] == [3, 6, 6, 3]


def test_rescaling_is_the_formula(model: Any) -> None:
    asked = prompts(model)[0]
    wanted, against = alone(model, asked, X), alone(model, "", X)
    guided = against + 6 * (wanted - against)
    for k in range(len(X)):
        ratio = wanted[k].std() / guided[k].std()
        hand = 0.7 * guided[k] * ratio + 0.3 * guided[k]
        assert torch.allclose(rescaled(guided, wanted, 0.7)[k], hand, atol=1e-5)
    assert torch.equal(rescaled(guided, wanted, 0.0), guided)
    spread = rescaled(guided, wanted, 1.0).flatten(1).std(1)
    assert torch.allclose(spread, wanted.flatten(1).std(1), atol=1e-5)


def test_a_network_that_is_told_nothing_is_asked_as_it_ever_was(tiny_config: Any) -> None:
    network = new_network(settings(tiny_config, "none"), 0).eval()
    process = Diffusion.from_config(tiny_config.diffusion)
    made = Denoiser(network, process)(X, T)
    with torch.no_grad():
        output = network(X, torch.full((3,), Schedule.network_time(T)))
    assert torch.equal(made.eps, process.predict(output, X, T).eps)
