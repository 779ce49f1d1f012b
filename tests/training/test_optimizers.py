"""What updates the weights: Muon by its own definition, and which weight belongs to which."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sd.common.device import choose
from sd.config import Config
from sd.config.sections import TrainingConfig
from sd.data.image_set import read_images
from sd.networks.conditioned import to_stored_names
from sd.training.loop import Training
from sd.training.optimizers import (
    DECAY,
    ITERATIONS,
    QUINTIC,
    AdamW,
    Muon,
    Optimizer,
    hidden_matrices,
    newton_schulz,
    newton_schulz_gathered,
    orthogonalize,
)

MUON = TrainingConfig(optimizer="muon", learning_rate=0.01)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def step_by_step(x: Tensor) -> Tensor:
    """Newton-Schulz as it is published, on one matrix, in float64."""
    a, b, c = QUINTIC
    x = x.double() / x.double().norm()
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(8, 8), (8, 72), (72, 8), (1, 5)])
def test_it_is_the_published_iteration_on_every_matrix(shape: tuple[int, int]) -> None:
    x = drawn(3, *shape)
    wanted = torch.stack([step_by_step(each) for each in x])
    found = orthogonalize(x)
    assert found.shape == x.shape
    assert (found - wanted).abs().max() <= 1e-4


@pytest.mark.parametrize("way", [newton_schulz, newton_schulz_gathered])
@pytest.mark.parametrize("shape", [(8, 8), (8, 72), (96, 864)])
def test_both_orders_of_the_products_come_to_the_same(
    way: Callable[[Tensor], Tensor], shape: tuple[int, int]
) -> None:
    x = drawn(2, *shape)
    wanted = torch.stack([step_by_step(each) for each in x])
    found = way(x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True))
    assert (found - wanted).abs().max() <= 1e-4


@pytest.mark.parametrize("shape", [(16, 144), (144, 16), (32, 64)])
def test_every_direction_comes_out_about_as_long(shape: tuple[int, int]) -> None:
    u, _, v = torch.linalg.svd(drawn(*shape), full_matrices=False)
    uneven = torch.logspace(0, -2, len(v))
    found = orthogonalize(((u * uneven) @ v)[None])[0]
    assert torch.linalg.svdvals(found).min() >= 0.65
    assert torch.linalg.svdvals(found).max() <= 1.25
    along = ((u.T @ found) * v).sum(1)  # and in the same direction
    assert (along >= 0.65).all()


def test_no_gradient_at_all_moves_nothing() -> None:
    assert (orthogonalize(torch.zeros(1, 4, 6)) == 0).all()


def test_a_step_is_as_long_as_its_matrix_asks() -> None:
    """0.2 times the rate in the root mean square, whatever the shape (Liu et al. 2025, eq. 4)."""
    for shape in ((32, 32), (32, 288), (128, 16)):
        weight = nn.Parameter(torch.zeros(shape))
        weight.grad = drawn(*shape)
        Muon([weight], 0.0).step(0.01)
        assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.002, rel=0.2)


def test_the_momentum_looks_ahead_and_decay_pulls() -> None:
    weight = nn.Parameter(drawn(4, 6))
    optimizer, momentum, wanted = Muon([weight], 0.5), torch.zeros(4, 6), weight.detach()
    for number in range(3):
        weight.grad = drawn(4, 6, seed=number + 1)
        momentum = DECAY * momentum + (1 - DECAY) * weight.grad
        ahead = DECAY * momentum + (1 - DECAY) * weight.grad
        way = step_by_step(ahead).float()
        wanted = wanted * (1 - 0.1 * 0.5) - 0.1 * 0.2 * math.sqrt(6) * way
        optimizer.step(0.1)
        assert (weight.detach() - wanted).abs().max() <= 1e-4


def test_a_convolution_is_one_matrix_however_it_lies_in_memory() -> None:
    start, gradient = drawn(8, 4, 3, 3), drawn(8, 4, 3, 3, seed=1)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(start.clone(memory_format=layout))
        weight.grad = gradient.clone(memory_format=layout)
        Muon([weight], 0.0).step(0.1)
        found.append(weight.detach())
    assert (found[0] - found[1]).abs().max() <= 1e-6
    wanted = start.flatten(1) - 0.1 * 0.2 * 6 * step_by_step(gradient.flatten(1)).float()
    assert (found[0].flatten(1) - wanted).abs().max() <= 1e-4


def test_weights_of_one_shape_go_together_and_one_without_a_gradient_stays() -> None:
    alone, beside, still = (nn.Parameter(torch.zeros(4, 6)) for _ in range(3))
    alone.grad = beside.grad = drawn(4, 6)
    other = nn.Parameter(torch.zeros(4, 6))
    other.grad = drawn(4, 6, seed=1)
    Muon([alone], 0.0).step(0.1)
    Muon([other, still, beside], 0.0).step(0.1)
    assert (alone - beside).abs().max() <= 1e-6
    assert (still == 0).all()


def test_what_meets_pixels_words_or_the_time_is_adamws() -> None:
    config = Config.preset("small").with_settings(
        ["training.input_height=32", "training.input_width=32", "conditioning.text_length=8"]
    )
    training = Training(config, read_images("starter"), 0, choose("cpu"))
    parameters = to_stored_names(dict(training.network.named_parameters()))
    matrices = hidden_matrices(parameters)
    left = {name for name, each in parameters.items() if each.ndim > 1} - set(matrices)
    assert {name for name in left if "emb_layers" not in name} == {
        "input_blocks.0.0.weight",
        "out.2.weight",
        "time_embed.0.weight",
        "time_embed.2.weight",
        "conditioner.encoder.token.weight",
        "conditioner.encoder.place.weight",
    }
    assert "input_blocks.1.0.in_layers.2.weight" in matrices
    assert "conditioner.encoder.blocks.0.attn.to_q.weight" in matrices
    share = sum(each.numel() for each in matrices.values())
    assert share >= 0.8 * sum(each.numel() for each in parameters.values())


@pytest.mark.parametrize("fused", [True, None])
def test_adamw_is_torchs(fused: bool | None) -> None:
    ours, theirs, still = (nn.Parameter(drawn(4, 6)) for _ in range(3))
    optimizer = AdamW([ours, still], 0.1, fused)
    other = torch.optim.AdamW([theirs], lr=1.0, weight_decay=0.1, fused=fused)
    for number in range(4):
        ours.grad = drawn(4, 6, seed=number + 1)
        theirs.grad = ours.grad.clone()
        other.param_groups[0]["lr"] = rate = 0.01 * (number + 1)
        optimizer.step(rate)
        other.step()
        assert torch.equal(ours, theirs)
    assert torch.equal(still, drawn(4, 6)) and still not in optimizer.state


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))


def moved(each: nn.Module, optimizer: Optimizer, first: int, last: int) -> list[Tensor]:
    for number in range(first, last):
        each(drawn(5, 4, seed=number)).square().sum().backward()
        optimizer.step(0.01)
        optimizer.zero_grad()
    return [parameter.detach().clone() for parameter in each.parameters()]


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_what_was_kept_goes_on_as_if_it_had_never_stopped(kind: str) -> None:
    training = TrainingConfig(optimizer=kind, learning_rate=0.01)
    whole = network()
    wanted = moved(whole, Optimizer(dict(whole.named_parameters()), training, "cpu"), 0, 6)
    half = network()
    optimizer = Optimizer(dict(half.named_parameters()), training, "cpu")
    moved(half, optimizer, 0, 3)
    state = {name: each.clone() for name, each in optimizer.state().items()}
    again = Optimizer(dict(half.named_parameters()), training, "cpu")
    again.restore(state, 3)
    found = moved(half, again, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    begun = {name.split(".")[0] for name in state}
    assert begun == ({"exp_avg", "exp_avg_sq"} | ({"momentum"} if kind == "muon" else set()))


def test_before_any_step_there_is_nothing_to_keep() -> None:
    parameters = dict(network().named_parameters())
    assert Optimizer(parameters, MUON, "cpu").state() == {}


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_decay_that_was_asked_for_pulls_every_weight(kind: str) -> None:
    training = TrainingConfig(optimizer=kind, learning_rate=0.01, weight_decay=0.5)
    each = network()
    before = [parameter.detach().clone() for parameter in each.parameters()]
    for parameter in each.parameters():
        parameter.grad = torch.zeros_like(parameter)
    Optimizer(dict(each.named_parameters()), training, "cpu").step(0.02)
    for parameter, old in zip(each.parameters(), before, strict=True):
        assert torch.allclose(parameter, old * (1 - 0.02 * 0.5), rtol=1e-5)


def test_a_state_of_another_kind_or_shape_is_refused() -> None:
    each = network()
    parameters = dict(each.named_parameters())
    adamw = Optimizer(parameters, TrainingConfig(), "cpu")
    moved(each, adamw, 0, 1)
    with pytest.raises(KeyError):
        Optimizer(parameters, MUON, "cpu").restore(adamw.state(), 1)
    cut = {name: tensor[..., :2] for name, tensor in adamw.state().items()}
    with pytest.raises(RuntimeError):
        Optimizer(parameters, TrainingConfig(), "cpu").restore(cut, 1)
