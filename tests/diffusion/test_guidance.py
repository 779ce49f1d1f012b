"""Guidance against hand computation: Ho & Salimans 2022, eq. 6; Lin et al. 2023, eq. 15 and 16."""

from typing import Any

import pytest
import torch
from torch import Tensor

from sd.diffusion.guidance import Condition, Denoiser, Guidance, rescale
from sd.diffusion.loss import Diffusion
from sd.diffusion.schedule import Schedule
from sd.training.randomness import new_network
from tests.helpers.networks import with_weights
from tests.networks.test_conditioning import KINDS, settings, trained

X = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(5))
T = 20.0


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tiny_config: Any) -> Any:
    """A model that is told something, none of its weights zero."""
    made = trained(tiny_config, request.param).model
    with_weights(made.unet)
    return made


def prompts(model: Any) -> list[str]:
    return list(model.conditioner.labels) or ["a red circle", "a blue square"]


def alone(model: Any, prompt: str, x: Tensor) -> Tensor:
    """Return eps of each picture by itself, in a batch of one."""
    return torch.cat([model.guided([prompt])(each[None], T).eps for each in x])


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0, 7.5])
def test_guidance_is_the_formula(model: Any, scale: float) -> None:
    cond, other = prompts(model)
    for negative in ("", other):
        wanted, uncond = alone(model, cond, X), alone(model, negative, X)
        made = model.guided([cond], negative, Guidance((scale,)))(X, T)
        assert torch.allclose(made.eps, uncond + scale * (wanted - uncond), atol=1e-4)


def test_pictures_take_prompts_and_scales_in_turn(model: Any) -> None:
    made = model.guided(prompts(model), "", Guidance((3.0, 1.0, 0.0)))(X, T).eps
    nothing = alone(model, "", X)
    for k, scale in enumerate((3.0, 1.0, 0.0)):
        wanted = alone(model, prompts(model)[k % 2], X[k : k + 1])
        hand = nothing[k : k + 1] + scale * (wanted - nothing[k : k + 1])
        assert torch.allclose(made[k : k + 1], hand, atol=1e-4)


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
    cond, uncond = Condition(y=torch.tensor([5])), Condition(y=torch.tensor([2]))
    return network, Denoiser(network, process, cond, uncond, guidance)


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
    assert torch.allclose(eps, X * (2 + scale[0] * 3), atol=1e-4)


def test_outside_its_interval_the_condition_alone_counts() -> None:
    network, denoiser = counting(Guidance((3.0,), interval=(0.25, 0.5)))
    for t in (20.0, 25.0, 50.0, 51.0):
        denoiser(X, t)
    assert [len(each) for each in network.batches] == [3, 6, 6, 3]


def test_rescaling_is_the_formula(model: Any) -> None:
    cond = prompts(model)[0]
    wanted, uncond = alone(model, cond, X), alone(model, "", X)
    guided = uncond + 6 * (wanted - uncond)
    for k in range(len(X)):
        ratio = wanted[k].std() / guided[k].std()
        hand = 0.7 * guided[k] * ratio + 0.3 * guided[k]
        assert torch.allclose(rescale(guided, wanted, 0.7)[k], hand, atol=1e-4)
    assert torch.equal(rescale(guided, wanted, 0.0), guided)
    spread = rescale(guided, wanted, 1.0).flatten(1).std(1)
    assert torch.allclose(spread, wanted.flatten(1).std(1), atol=1e-4)


def test_rescaling_takes_the_spread_of_a_whole_picture() -> None:
    """Over all its channels: here they differ in spread, and go on to differ."""
    spreads = torch.tensor([0.1, 1.0, 5.0]).reshape(1, 3, 1, 1)
    source = torch.Generator().manual_seed(6)
    guided, cond = (spreads * torch.randn(2, 3, 4, 4, generator=source) for _ in range(2))
    cond[1] *= 3
    found = rescale(guided, cond.flip(1), 0.7)
    for k in range(2):
        ratio = cond[k].std() / guided[k].std()
        assert torch.allclose(found[k], guided[k] * (0.7 * ratio + 0.3), atol=1e-4)


class Seeing:
    """A network that keeps what it is shown; its answer is of all that."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, list[float]]] = []

    def __call__(self, x: Tensor, times: Tensor, **told: Any) -> Tensor:
        self.seen.append((x, times.tolist()))
        of = told["y"].reshape(-1, 1, 1, 1) if told else 1
        return x * of + x.square() * (of - 3) + times.reshape(-1, 1, 1, 1)


def processes() -> list[Diffusion]:
    schedule = Schedule.create("cosine", 50)
    return [
        Diffusion(schedule, kind, info)
        for kind in ("eps", "x0", "v")
        for info in ((0.0, 1.0), (0.5, 2.0))
    ]


@pytest.mark.parametrize(
    "process", processes(), ids=lambda p: f"{p.prediction}-{p.mean:g}-{p.std:g}"
)
def test_the_network_is_shown_what_training_showed_it(process: Diffusion) -> None:
    """The same w_t at the same network time; what it answers there is made into x0 and eps."""
    network, eps = Seeing(), torch.randn(X.shape, generator=torch.Generator().manual_seed(8))
    process.loss(network, X, torch.full((3,), int(T)), eps)
    made = Denoiser(network, process)(process.to_w(process.q_sample(X, T, eps), T), T)
    (shown, times), (w_t, cond) = network.seen
    assert torch.allclose(w_t, shown, atol=1e-4) and cond == times == [T - 1] * 3
    a, b = process.schedule.at(T)
    answer = Seeing()(w_t, torch.full((3,), T - 1))
    w_0, noise = {
        "eps": ((w_t - b * answer) / a, answer),
        "x0": (answer, (w_t - a * answer) / b),
        "v": (a * w_t - b * answer, b * w_t + a * answer),
    }[process.prediction]
    assert torch.allclose(made.x0, w_0, rtol=1e-4, atol=1e-4)
    assert torch.allclose(made.eps, noise, rtol=1e-4, atol=1e-4)


def test_guided_and_rescaled_it_is_shown_the_same_twice() -> None:
    process, network = Diffusion(Schedule.create("cosine", 50), "v", (0.5, 2.0)), Seeing()
    cond, uncond = Condition(y=torch.tensor([5])), Condition(y=torch.tensor([2]))
    made = Denoiser(network, process, cond, uncond, Guidance((4.0,), 0.6))(X, 19.5)
    ((shown, times),) = network.seen
    w_t = X
    assert torch.equal(shown, torch.cat([w_t, w_t])) and times == [18.5] * 6
    wanted, held = (
        Seeing()(w_t, torch.full((3,), 18.5), y=c.for_batch(3).y) for c in (cond, uncond)
    )
    output = rescale(held + 4 * (wanted - held), wanted, 0.6)
    for found, hand in zip(made, process.predict(output, X, 19.5), strict=True):
        assert torch.allclose(found, hand, rtol=1e-4, atol=1e-4)


def test_a_network_that_is_told_nothing_is_asked_as_it_ever_was(tiny_config: Any) -> None:
    network = with_weights(new_network(settings(tiny_config, "none"), 0).eval())
    process = Diffusion.from_config(tiny_config.diffusion)
    made = Denoiser(network, process)(X, T)
    with torch.no_grad():
        output = network(X, torch.full((3,), 19.0))
        later = network(X, torch.full((3,), T))
    assert output.std() > 0.1 and not torch.allclose(output, later, atol=1e-3)
    assert torch.equal(made.eps, process.predict(output, X, T).eps)
