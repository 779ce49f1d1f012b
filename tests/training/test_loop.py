"""Training: Algorithm 1 with the right draws, rates and averages, undisturbed by who watches."""

import copy
import math
import shutil
from collections.abc import Container, Iterator
from itertools import combinations, pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sd.common.device import choose
from sd.common.randomness import keyed_generator
from sd.common.validation import InputError
from sd.config import Config
from sd.config.sections import TrainingConfig
from sd.data.image_set import ImageSet
from sd.data.images import to_float, to_uint8
from sd.data.reading.report import Report
from sd.diffusion.loss import Diffusion
from sd.training.loop import Training, TrainStep, ema_decay, learning_rate, total_steps, train
from sd.training.optimizers import Optimizer
from sd.training.randomness import batch_indices, draw_times, new_network
from tests.helpers.networks import with_weights

MACHINE = choose("cpu")


def image_set(pixels: Tensor) -> ImageSet:
    names = tuple(f"{number}.png" for number in range(len(pixels)))
    report = Report(len(pixels), (), {}, {}, {}, 0, ())
    return ImageSet(pixels, names, None, (), None, report)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    source = torch.Generator().manual_seed(0)
    return image_set(torch.randint(0, 256, (7, 1, 8, 8), generator=source).to(torch.uint8))


def weights(network: Any) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first | second)


def trained(config: Config, images: ImageSet, seed: int = 0) -> tuple[list[TrainStep], Any]:
    steps = list(train(config, images, seed, MACHINE))
    return steps, weights(steps[-1].model.unet)


# Lengths, rates, averages


def test_three_epochs_of_500_pictures_in_tens_are_150_steps() -> None:
    assert total_steps(TrainingConfig(epochs=3, batch_size=10), 500) == 150
    assert total_steps(TrainingConfig(epochs=3, batch_size=10), 501) == 151
    assert total_steps(TrainingConfig(epochs=1, batch_size=64), 3) == 1
    assert total_steps(TrainingConfig(epochs=3, batch_size=10, steps=7), 500) == 7


def test_the_rate_rises_evenly_and_then_stays() -> None:
    training = TrainingConfig(learning_rate=0.01, warmup_steps=4)
    rates = [learning_rate(training, step) for step in (1, 2, 3, 4, 5, 1000)]
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01], rel=1e-12)
    assert learning_rate(TrainingConfig(learning_rate=0.01), 1) == 0.01


def test_the_rate_of_a_step_is_the_optimisers(tiny_config: Config, images: ImageSet) -> None:
    training = Training(tiny_config.with_settings(["training.warmup_steps=8"]), images, 0, MACHINE)
    for step in training.steps():
        assert step.lr == pytest.approx(0.002 * step.step / 8, rel=1e-12)
        assert training.optimizer.rate == step.lr


def test_blocks_that_are_computed_again_train_the_same(
    tiny_config: Config, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config.with_settings(["unet.dropout=0.2", "training.steps=3"])
    calls: list[int] = []
    monkeypatch.setattr(
        "sd.networks.recomputation.checkpoint",
        lambda *args, **more: calls.append(1) or checkpoint(*args, **more),  # type: ignore[func-returns-value]
    )
    steps, kept = trained(config, images)
    assert not calls
    again, computed = trained(config.with_settings(["training.recompute=True"]), images)
    blocks = len(steps[-1].model.unet.input_blocks) + len(steps[-1].model.unet.output_blocks)
    assert len(calls) == 3 * blocks  # each step's; none for samples or the average
    assert [each.loss for each in again] == pytest.approx([each.loss for each in steps], rel=1e-6)
    assert all(torch.allclose(kept[name], computed[name], atol=1e-6) for name in kept)


@pytest.mark.parametrize("holds", [1, 2, 3])
def test_a_batch_that_memory_does_not_hold_is_cut_and_has_the_same_gradient(
    tiny_config: Config, images: ImageSet, monkeypatch: pytest.MonkeyPatch, holds: int
) -> None:
    config = tiny_config.with_settings(
        ["training.batch_size=3", "training.gradient_accumulation=2", "training.steps=3"]
    )
    steps, whole = trained(config, images)
    loss = Diffusion.loss

    def shortage(self: Diffusion, network: Any, x0: Tensor, t: Tensor, eps: Tensor) -> Any:
        if len(x0) > holds:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return loss(self, network, x0, t, eps)

    monkeypatch.setattr(Diffusion, "loss", shortage)
    again, cut = trained(config, images)
    for name in ("loss", "grad_norm"):
        expected = [getattr(each, name) for each in steps]
        assert [getattr(each, name) for each in again] == pytest.approx(expected, rel=1e-4)
    assert same(whole, cut) == (holds == 3)
    training = Training(config, images, 0, MACHINE)
    next(training.steps())
    assert training.parts == {1: 4, 2: 2, 3: 1}[holds]
    half = Training(config, images, 0, MACHINE)
    half.restore(training.state(), training.counts())
    monkeypatch.setattr(Diffusion, "loss", loss)
    list(half.steps())
    assert same(cut, weights(half.model.unet))  # goes on in as many parts, to the byte


def test_not_even_one_picture_at_a_time_is_the_end(
    tiny_config: Config, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shortage(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(Diffusion, "loss", shortage)
    with pytest.raises(MemoryError):
        list(train(tiny_config, images, 0, MACHINE))


def test_the_decay_of_the_average() -> None:
    assert ema_decay(0.999, 1) == pytest.approx(2 / 11)
    assert ema_decay(0.999, 90) == pytest.approx(91 / 100)
    assert ema_decay(0.999, 100_000) == 0.999
    assert ema_decay(0.0, 5) == 0


def test_the_model_is_the_average_of_the_weights_so_far(
    tiny_config: Config, images: ImageSet
) -> None:
    config = tiny_config.with_settings(["training.ema_decay=0.25"])
    training = Training(config, images, 0, MACHINE)
    average = weights(training.network.unet)
    for step in training.steps():
        decay = min(0.25, (1 + step.step) / (10 + step.step))  # 2/11 first, then 1/4
        now = weights(training.network.unet)
        average = {name: decay * average[name] + (1 - decay) * now[name] for name in now}
        found = weights(step.model.unet)
        assert all(torch.allclose(found[name], average[name], atol=1e-6) for name in now)
    assert not same(found, now)


def test_without_average_the_model_is_the_network(tiny_config: Config, images: ImageSet) -> None:
    training = Training(tiny_config.with_settings(["training.ema_decay=0"]), images, 0, MACHINE)
    for step in training.steps():
        assert same(weights(step.model.unet), weights(training.network.unet))


# Draws


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 2**53))
def test_every_picture_is_seen_once_per_epoch(pictures: int, batch: int, seed: int) -> None:
    epochs = 3
    steps = math.ceil(epochs * pictures / batch)
    drawn = [batch_indices(pictures, batch, step, seed) for step in range(1, steps + 1)]
    assert all(len(indices) == batch for indices in drawn)
    seen = torch.cat(drawn)[: epochs * pictures].reshape(epochs, pictures)
    assert torch.equal(seen.sort(1).values, torch.arange(pictures).expand(epochs, -1))


def test_every_epoch_has_an_order_of_its_own() -> None:
    first, second = (batch_indices(30, 30, step, 0) for step in (1, 2))
    assert not torch.equal(first, second)
    assert not torch.equal(first, batch_indices(30, 30, 1, 1))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 64), st.integers(1, 2000), st.integers(0, 2**32))
def test_one_time_is_drawn_from_each_stratum(batch: int, timesteps: int, seed: int) -> None:
    t = draw_times(batch, timesteps, torch.Generator().manual_seed(seed))
    assert t.dtype == torch.int64 and len(t) == batch
    assert t.min() >= 1 and t.max() <= timesteps
    low = torch.arange(batch, dtype=torch.float64) * timesteps / batch
    assert (t - 1 >= low.floor()).all()  # stratum k of u T is [k T / B, (k + 1) T / B)
    assert (t - 1 <= (low + timesteps / batch).floor()).all()


def test_times_are_uniform_over_all_steps() -> None:
    source = torch.Generator().manual_seed(1)
    draws, timesteps = 10_000, 10
    times = torch.cat([draw_times(3, timesteps, source) for _ in range(draws)])
    counts = torch.bincount(times, minlength=timesteps + 1)[1:]
    expected = 3 * draws / timesteps
    assert len(counts) == timesteps
    assert (counts - expected).abs().max() < 5 * math.sqrt(expected)
    assert draw_times(200, 200, source).tolist() == list(range(1, 201))


def test_a_picture_is_changed_anew_at_each_step(tiny_config: Config) -> None:
    config = tiny_config.with_settings(["training.shift=0.25"])
    training = Training(config, one_picture(), 0, MACHINE)
    first, second = (next(training.batches(step))[0] for step in (1, 2))
    assert not torch.equal(first, second)


def test_streams_differ_by_seed_purpose_and_step() -> None:
    places = [(0, "noise", 1), (0, "noise", 2), (0, "time", 1), (1, "noise", 1), (10, "noise", 1)]
    drawn = [torch.rand(4, generator=keyed_generator(*place)).tolist() for place in places]
    assert len({tuple(each) for each in drawn}) == len(places)
    assert drawn == [torch.rand(4, generator=keyed_generator(*place)).tolist() for place in places]


def test_new_networks_depend_on_the_seed_alone(tiny_config: Config) -> None:
    torch.manual_seed(1)
    first = weights(new_network(tiny_config, 5))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert same(first, weights(new_network(tiny_config, 5)))
    assert torch.equal(before, torch.get_rng_state())
    assert not same(first, weights(new_network(tiny_config, 6)))


# Algorithm 1


def test_the_first_step_is_algorithm_1(tiny_config: Config, images: ImageSet) -> None:
    """Loss and gradient by hand: draw pictures, times and noise; ||v - v_theta(x_t, t)||^2."""
    training = Training(tiny_config, images, 3, MACHINE)
    network = copy.deepcopy(with_weights(training.network.unet))
    step = next(training.steps())
    schedule = Diffusion.from_config(tiny_config.diffusion).schedule
    x0 = to_float(images.pixels[batch_indices(7, 4, 1, 3)])
    t = draw_times(4, 50, keyed_generator(3, "time", 1))
    eps = torch.randn(x0.shape, generator=keyed_generator(3, "noise", 1))
    a, b = (
        torch.tensor(factor(t.numpy()), dtype=torch.float32).reshape(4, 1, 1, 1)
        for factor in (schedule.signal, schedule.noise)
    )
    loss = (network(a * x0 + b * eps, t - 1) - (a * eps - b * x0)).square().mean()
    loss.backward()
    squares = sum(p.grad.square().sum() for p in network.parameters() if p.grad is not None)
    assert step.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    assert step.grad_norm == pytest.approx(float(squares) ** 0.5, rel=1e-4)


def test_the_first_loss_of_eps_is_one_within_sampling_error(tiny_config: Config) -> None:
    """The output begins at zero, so the loss is the mean of eps^2: 1, of variance 2 / n."""
    config = tiny_config.with_settings(["diffusion.prediction=eps", "training.batch_size=64"])
    pixels = torch.full((5, 1, 8, 8), 200, dtype=torch.uint8)
    for seed in range(3):
        loss = next(train(config, image_set(pixels), seed, MACHINE)).loss
        assert abs(loss - 1) < 4 * math.sqrt(2 / (64 * 8 * 8))


def test_one_picture_is_learnt(tiny_config: Config) -> None:
    config = tiny_config.with_settings(["training.steps=150", "training.batch_size=16"])
    losses = [step.loss for step in train(config, one_picture(), 0, MACHINE)]
    assert sum(losses[-20:]) / 20 < losses[0] / 4
    means = [sum(losses[i : i + 30]) / 30 for i in range(0, 150, 30)]
    assert all(later < earlier for earlier, later in pairwise(means))


def one_picture() -> ImageSet:
    row = torch.arange(0, 256, 32, dtype=torch.uint8)
    return image_set(row.expand(1, 1, 8, 8).clone())


def test_steps_count_to_the_total(tiny_config: Config, images: ImageSet) -> None:
    steps = list(train(tiny_config, images, 0, MACHINE))
    assert [(step.step, step.total) for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(step.seconds > 0 and step.grad_norm > 0 for step in steps)


# Same seed, same result


def test_the_same_seed_gives_the_same_bytes(tiny_config: Config, images: ImageSet) -> None:
    first, second, other = (trained(tiny_config, images, seed) for seed in (0, 0, 1))
    assert [step.loss for step in first[0]] == [step.loss for step in second[0]]
    assert same(first[1], second[1])
    assert not same(first[1], other[1])


def test_who_watches_disturbs_nothing(tiny_config: Config, images: ImageSet) -> None:
    """Samples, foreign draws and foreign seeds between the steps; dropout draws in the training."""
    config = tiny_config.with_settings(["unet.dropout=0.3", "training.steps=5"])
    _, undisturbed = trained(config, images)
    for step in train(config, images, 0, MACHINE):
        sampling = step.model.sampling("ddpm", 5)
        sampling.sample(step.model.denoiser, step.model.shape, [0, 1])
        torch.manual_seed(step.step)
        torch.rand(step.step)
    assert same(weights(step.model.unet), undisturbed)


def test_training_leaves_the_global_generator_alone(tiny_config: Config, images: ImageSet) -> None:
    before = torch.get_rng_state()
    trained(tiny_config.with_settings(["unet.dropout=0.3"]), images)
    assert torch.equal(before, torch.get_rng_state())


def test_the_samples_come_without_dropout(tiny_config: Config, images: ImageSet) -> None:
    training = Training(tiny_config.with_settings(["unet.dropout=0.9"]), images, 0, MACHINE)
    for network in (training.network.unet, training.model.unet):
        with_weights(network)
    step, x = next(training.steps()), torch.randn(1, 1, 8, 8)
    first, second = (step.model.denoiser(x, 20) for _ in range(2))
    assert torch.equal(first.x0, second.x0)
    dropping, other = (training.raw.denoiser(x, 20) for _ in range(2))
    assert not torch.equal(dropping.x0, other.x0)


# What goes wrong


def losing(steps: Container[int], monkeypatch: pytest.MonkeyPatch, first_part: int = 0) -> None:
    """Let the losses of these steps be lost, from one part of an accumulated step on."""
    genuine = Training.batches

    def lost(self: Training, step: int) -> Iterator[tuple[Tensor, ...]]:
        for part, (x0, *others) in enumerate(genuine(self, step)):
            gone = step in steps and part >= first_part
            yield x0 * (math.nan if gone else 1.0), *others

    monkeypatch.setattr(Training, "batches", lost)


def test_a_lost_loss_changes_nothing(
    tiny_config: Config, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing([2], monkeypatch)
    training = Training(tiny_config, images, 0, MACHINE)
    before: dict[str, Tensor] = {}
    for step in training.steps():
        if step.step == 2:
            assert step.skipped and math.isnan(step.loss) and math.isnan(step.grad_norm)
            assert same(weights(training.network.unet), before)
        before = weights(training.network.unet)
    assert (training.step, training.updates, training.skipped) == (4, 3, 0)
    assert all(parameter.grad is None for parameter in training.network.parameters())


def test_a_loss_that_stays_lost_names_the_step_and_a_way_out(
    tiny_config: Config, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    losing(range(2, 100), monkeypatch)
    training = Training(tiny_config.with_settings(["training.steps=50"]), images, 0, MACHINE)
    with pytest.raises(InputError) as caught:
        list(training.steps())
    assert str(caught.value) == (
        "loss or gradient is not a finite number at 5 steps in a row, up to step 6: "
        "training.learning_rate = 0.002 may be too high; try 0.001"
    )


def test_a_lost_gradient_does_not_reach_the_weights(tiny_config: Config, images: ImageSet) -> None:
    training = Training(tiny_config, images, 0, MACHINE)
    steps = training.steps()
    next(steps)
    before = weights(training.network.unet)
    training.network.unet.out[2].bias.register_hook(lambda gradient: gradient * math.inf)
    step = next(steps)
    assert step.skipped and math.isfinite(step.loss) and not math.isfinite(step.grad_norm)
    assert same(weights(training.network.unet), before)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_of_a_step_that_lost_a_part_nothing_is_left(
    tiny_config: Config, images: ImageSet, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Whichever of three parts is lost, the next step is the one after a step that had none."""
    config = tiny_config.with_settings(["training.gradient_accumulation=3", "training.steps=3"])
    found = []
    for part in (0, number):
        with monkeypatch.context() as patch:
            losing([2], patch, part)
            steps, average = trained(config, images)
        assert [step.skipped for step in steps] == [False, True, False]
        found.append((steps[-1].grad_norm, average))
    assert found[0][0] == found[1][0] and same(found[0][1], found[1][1])


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_going_on_after_a_lost_step_is_as_if_it_had_never_stopped(
    tiny_config: Config, images: ImageSet, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    losing([2, 3], monkeypatch)
    kind = f"training.optimizer={optimizer}"
    config = tiny_config.with_settings(["training.steps=6", "training.batch_size=2", kind])
    whole, first, second = (Training(config, images, 0, MACHINE) for _ in range(3))
    losses = [step.loss for step in whole.steps()]
    assert next(step for step in first.steps() if step.step == 4) and first.updates == 2
    second.restore(first.state(), first.counts())
    assert (second.step, second.updates) == (4, 2)
    assert [step.loss for step in second.steps()] == losses[4:]
    assert same(second.state(), whole.state())


# Accumulation, held-out pictures, going on


def test_accumulated_batches_are_one_large_batch(tiny_config: Config, images: ImageSet) -> None:
    """The mean over 2 batches of 3 is the mean over 6: the same step up to rounding."""
    at_once = tiny_config.with_settings(["training.batch_size=6"])
    in_two = at_once.with_settings(["training.batch_size=3", "training.gradient_accumulation=2"])
    (steps, found), (others, wanted) = trained(in_two, images), trained(at_once, images)
    for step, other in zip(steps, others, strict=True):
        assert step.loss == pytest.approx(other.loss, rel=1e-5)
        assert step.grad_norm == pytest.approx(other.grad_norm, rel=1e-4)
    # AdamW divides each gradient by its own size, so a single weight's rounding can grow to a step.
    begun = weights(new_network(at_once, 0))
    gap = torch.cat([(found[name] - wanted[name]).flatten() for name in wanted])
    way = torch.cat([(begun[name] - wanted[name]).flatten() for name in wanted])
    assert gap.norm() <= 5e-3 * way.norm()
    assert gap.abs().max() <= at_once.training.learning_rate


def test_each_part_of_an_accumulated_step_has_a_dropout_of_its_own(
    tiny_config: Config, images: ImageSet
) -> None:
    config = tiny_config.with_settings(
        ["unet.dropout=0.5", "training.steps=2", "training.gradient_accumulation=2"]
    )

    def dropped() -> list[Tensor]:
        """Return which values the first dropout of each pass drops, over two steps."""
        training, found = Training(config, images, 0, MACHINE), list[Tensor]()
        dropout = next(
            each for each in training.network.unet.modules() if isinstance(each, nn.Dropout)
        )
        dropout.register_forward_hook(
            lambda _, args, out: found.append((out == 0) & (args[0] != 0))
        )
        list(training.steps())
        return found

    first, again = dropped(), dropped()
    assert len(first) == 4 and all(map(torch.equal, first, again))
    assert not any(torch.equal(one, other) for one, other in combinations(first, 2))


def test_a_long_gradient_is_cut_to_its_limit_before_the_step(
    tiny_config: Config, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []
    genuine = Optimizer.step

    def measured(self: Optimizer, lr: float) -> None:
        gradients = (each.grad for each in self._parameters.values())
        limits.append(math.hypot(*(float(each.norm()) for each in gradients if each is not None)))
        genuine(self, lr)

    monkeypatch.setattr(Optimizer, "step", measured)
    for words in ("training.grad_clip=0.01", "training.grad_clip=0"):
        step = next(train(tiny_config.with_settings([words]), images, 0, MACHINE))
        assert step.grad_norm > 0.1  # told before it is cut
    assert limits == pytest.approx([0.01, step.grad_norm], rel=1e-3)


def test_a_run_counts_the_pictures_that_it_trains_on(tiny_config: Config) -> None:
    many = image_set(torch.zeros(20, 1, 8, 8, dtype=torch.uint8))
    changes = ["training.steps=0", "training.epochs=2", "training.held_out=0.4"]
    assert Training(tiny_config.with_settings(changes), many, 0, MACHINE).total == 6


def test_epochs_count_every_picture_of_a_step(tiny_config: Config) -> None:
    config = tiny_config.with_settings(["training.steps=0", "training.gradient_accumulation=3"])
    assert total_steps(config.training, 25) == math.ceil(3 * 25 / 12)


def test_held_out_pictures_are_never_trained_on(tiny_config: Config, images: ImageSet) -> None:
    many = image_set(torch.arange(20, dtype=torch.uint8).reshape(20, 1, 1, 1).expand(20, 1, 8, 8))
    config = tiny_config.with_settings(["training.held_out=0.3", "training.steps=40"])
    training = Training(config, many, 0, MACHINE)
    held = set(training.held_out.tolist())
    assert len(held) == 6 and not held & set(training.rows.tolist())
    seen = [to_uint8(next(training.batches(step))[0])[:, 0, 0, 0].tolist() for step in range(1, 41)]
    assert set().union(*seen) == set(training.rows.tolist())


def test_an_evaluation_draws_nothing_and_is_repeatable(
    tiny_config: Config, images: ImageSet
) -> None:
    config = tiny_config.with_settings(["training.held_out=0.3"])
    many = image_set(torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8))
    training = Training(config, many, 0, MACHINE)
    before = torch.get_rng_state()
    first, second = training.evaluate(), training.evaluate()
    assert first == second and torch.equal(before, torch.get_rng_state())
    assert first.times == [max(1, round((k + 0.5) / 10 * 50)) for k in range(10)]
    assert first.held_out is not None and len(first.held_out) == len(first.train) == 10
    untrained = [1.0] * 10  # of v, whose variance is near 1 at every level for such pictures
    assert first.train != untrained and all(0 < loss < 3 for loss in first.train)
    without = Training(tiny_config, many, 0, MACHINE).evaluate()
    assert without.held_out is None


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_restored_training_is_the_same_training(
    tiny_config: Config, images: ImageSet, optimizer: str
) -> None:
    kind = f"training.optimizer={optimizer}"
    config = tiny_config.with_settings(["training.steps=9", "unet.dropout=0.2", kind])
    whole = Training(config, images, 0, MACHINE)
    losses = [step.loss for step in whole.steps()]
    first = Training(config, images, 0, MACHINE)
    for step in first.steps():
        if step.step == 5:
            break
    second = Training(config, images, 0, MACHINE)
    second.restore(first.state(), first.counts())
    assert [step.loss for step in second.steps()] == losses[5:]
    state = second.state()
    assert state.keys() == whole.state().keys() and same(state, whole.state())


def test_another_networks_state_is_refused(tiny_config: Config, images: ImageSet) -> None:
    training = Training(tiny_config, images, 0, MACHINE)
    list(training.steps())
    other = Training(tiny_config.with_settings(["unet.channel_mult=[2]"]), images, 0, MACHINE)
    with pytest.raises(InputError, match="the training state is not this network's"):
        other.restore(training.state(), training.counts())
    with pytest.raises(InputError, match=r"^updates = None: must be a whole number"):
        training.restore(training.state(), {"step": 3, "skipped": 0})


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("unet.num_classes=3", "unet.num_classes = 3"),
        ("unet.context_dim=8", "unet.context_dim = 8"),
        ("unet.dims=1", "unet.dims = 1"),
        ("unet.dims=3", "unet.dims = 3"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_name(
    tiny_config: Config, images: ImageSet, setting: str, name: str
) -> None:
    config = tiny_config.with_settings(["unet.patch_size=1", setting])
    with pytest.raises(InputError, match=f"^{name}: "):
        train(config, images, 0, MACHINE)


def test_no_pictures_are_refused(tiny_config: Config) -> None:
    with pytest.raises(InputError, match=r"^no pictures to train on$"):
        train(tiny_config, image_set(torch.zeros(0, 1, 8, 8, dtype=torch.uint8)), 0, MACHINE)


# Precision and devices


def test_bfloat16_multiplies_low_and_keeps_float32(tiny_config: Config, images: ImageSet) -> None:
    exact = next(train(tiny_config, images, 0, MACHINE))
    config = tiny_config.with_settings(["training.precision=bfloat16"])
    steps, found = trained(config, images)
    assert steps[0].loss == pytest.approx(exact.loss, rel=0.02)
    assert all(math.isfinite(step.loss) for step in steps)
    assert all(
        tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in found.values()
    )
    again = trained(config, images)[1]
    assert same(found, again)


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(tiny_config: Config, images: ImageSet) -> None:
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed: torch.compile was not tried")
    plain, compiled = (
        [step.loss for step in train(tiny_config.with_settings([words]), images, 0, MACHINE)]
        for words in ("training.compile=False", "training.compile=True")
    )
    assert compiled == pytest.approx(plain, rel=1e-3)


@pytest.mark.gpu
def test_training_runs_on_cuda(tiny_config: Config, images: ImageSet) -> None:
    machine = choose("cuda").apply()
    assert machine.device == "cuda" and machine.label == torch.cuda.get_device_name()
    config = tiny_config.with_settings(["training.steps=20"])
    steps = list(train(config, images, 0, machine))
    exact = list(train(config, images, 0, MACHINE))
    assert next(steps[-1].model.unet.parameters()).device.type == "cuda"
    assert steps[0].loss == pytest.approx(exact[0].loss, rel=1e-3)
    assert steps[-1].loss == pytest.approx(exact[-1].loss, rel=0.1)
    found = weights(steps[-1].model.unet)
    assert all(tensor.isfinite().all() for tensor in found.values())


@pytest.mark.gpu
def test_bfloat16_trains_on_cuda(tiny_config: Config, images: ImageSet) -> None:
    config = tiny_config.with_settings(["training.precision=bfloat16", "unet.dropout=0.1"])
    losses = [step.loss for step in train(config, images, 0, choose("cuda").apply())]
    assert len(losses) == 4 and all(math.isfinite(loss) for loss in losses)
