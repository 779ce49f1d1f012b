"""Conditions: what is told, how it is read, dropped, stored and followed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sd.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from sd.checkpoints.model import Model
from sd.common.device import choose
from sd.common.randomness import keyed_generator
from sd.common.validation import InputError
from sd.config import Config
from sd.data.image_set import ImageSet
from sd.data.images import to_uint8
from sd.data.reading.report import Report
from sd.diffusion.guidance import Condition
from sd.networks.conditioning import Captions, ClassEmbedding, ClassTokens, conditioner_of
from sd.networks.conditioning_metadata import evenly_spaced
from sd.networks.tokenizer import END, PAD, START, Vocabulary
from sd.training.loop import Training
from sd.training.prompts import drop_prompts, resolve
from sd.training.randomness import new_conditioner, new_network
from tests.helpers.networks import with_weights

WORDS = ("a red circle", "a blue square", "", "a red square")
LABELS = ("circle", "square")


def pictures(captions: tuple[str, ...] | None = WORDS, labelled: bool = True) -> ImageSet:
    """Four pictures of 8 x 8, grey, which differ as their captions do."""
    source = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (4, 1, 8, 8), generator=source, dtype=torch.uint8)
    labels = torch.tensor([0, 1, 0, 1]) if labelled else None
    told = sum(map(bool, captions or ()))
    report = Report(4, (), {}, {}, dict.fromkeys(LABELS, 2) if labelled else {}, told, ())
    names = tuple("abcd")
    return ImageSet(pixels, names, labels, LABELS if labelled else (), captions, report)


def settings(config: Config, kind: str, *more: str) -> Config:
    if kind == POOLED:
        kind, more = "captions", ("conditioning.pooled=True", *more)
    told = [f"conditioning.kind={kind}", "conditioning.text_length=8", "training.steps=3"]
    return config.with_settings([*told, "conditioning.text_layers=1", *more])


POOLED = "captions, their mean too"
KINDS = ("class_embedding", "class_tokens", "captions", POOLED)


def trained(config: Config, kind: str, *more: str, steps: int = 3) -> Training:
    """Train a network that answers from the start, so that what is told learns from the start."""
    training = Training(settings(config, kind, *more), pictures(), 0, choose("cpu").apply())
    with_weights(training.network.unet)
    for _ in zip(range(steps), training.steps(), strict=False):
        pass
    return training


# what is told is decided from the pictures


def test_what_is_left_open_is_decided_and_recorded(tiny_config: Config) -> None:
    auto = settings(tiny_config, "auto")
    assert resolve(auto, pictures()).conditioning.kind == "captions"
    assert resolve(auto, pictures(None)).conditioning.kind == "class_tokens"
    nothing = resolve(auto, pictures(None, labelled=False))
    assert nothing.conditioning.kind == "none" and nothing.unet == tiny_config.unet
    once = resolve(settings(tiny_config, "class_embedding"), pictures())
    assert once.unet.num_classes == 3  # two and the null
    assert resolve(once, pictures()) == once == Config.from_ini(once.to_ini())


@pytest.mark.parametrize("setting", ["unet.num_classes=3", "unet.context_dim=8"])
def test_a_port_that_nothing_is_told_through_is_refused(tiny_config: Config, setting: str) -> None:
    config = settings(tiny_config, "none", setting)
    with pytest.raises(InputError, match=f"{setting.replace('=', ' = ')}: set conditioning.kind"):
        Training(config, pictures(), 0, choose("cpu"))


def test_without_classes_and_captions_training_is_as_it_ever_was(tiny_config: Config) -> None:
    runs = [
        Training(settings(tiny_config, kind), pictures(None, False), 0, choose("cpu").apply())
        for kind in ("auto", "none")
    ]
    losses = [[step.loss for step in training.steps()] for training in runs]
    assert losses[0] == losses[1] and all(each.model.conditioner is None for each in runs)
    assert list(runs[0].state()) == list(runs[1].state())
    assert not any("conditioner" in name for name in runs[0].state())


# rows and conditions


def test_a_label_is_its_number_and_the_null_one_more() -> None:
    told = ClassEmbedding(LABELS)
    assert told.read(["square", "", "circle"]).tolist() == [1, 2, 0]
    condition = told(told.read(["square"]))
    assert condition.y is not None and condition.context is None and condition.y.tolist() == [1]
    with pytest.raises(InputError, match=r"class 'squares': the model knows circle, square; did"):
        told.read(["squares"])


def test_class_tokens_are_a_rest_and_the_class() -> None:
    told = ClassTokens(LABELS, 6)
    context = told(told.read(["circle", "square", ""])).context
    assert context is not None and context.shape == (3, 2, 6)
    assert torch.equal(context[:, 0], told.rest.expand(3, 6))
    assert torch.equal(context[:, 1], told.token.weight[[0, 1, 2]])
    assert told.spans("square") == [("(rest)", [0]), ("square", [1])]


def test_captions_are_padded_and_padding_changes_nothing() -> None:
    told = Captions(Vocabulary.train(WORDS, 300), 12, 32, 2, ()).eval()
    rows = told.read(["a red circle", ""])
    assert rows[0, 0] == START and END in rows[0].tolist() and rows[0, -1] == PAD
    assert rows[1].tolist() == [START, END] + [PAD] * 10
    condition = told(rows)
    assert condition.context is not None and condition.mask is not None
    assert condition.context.shape == (2, 12, 32) and condition.mask[1].sum() == 2
    length = int(condition.mask[0].sum())
    alone = told.encoder(rows[:1, :length], condition.mask[:1, :length])
    assert torch.allclose(alone[0], condition.context[0, :length], atol=1e-5)


@pytest.mark.parametrize("text", ["", "🦊 狐", "\x00\ud800", "word " * 10_000, "A RED CIRCLE"])
def test_any_text_is_read(text: str) -> None:
    told = Captions(Vocabulary.train(WORDS, 300), 12, 32, 1, ())
    rows = told.read([text])
    context = told(rows).context
    assert rows.shape == (1, 12) and context is not None and bool(torch.isfinite(context).all())


def test_a_word_changes_the_picture_and_its_place_does_too() -> None:
    told = Captions(Vocabulary.train(WORDS, 300), 12, 32, 1, ())
    one, other = told(told.read(["red circle blue square", "blue circle red square"])).context  # type: ignore[misc]
    assert (one - other).abs().max() > 0.01


def test_conditions_are_taken_in_turn_and_laid_beside_each_other() -> None:
    one = Condition(y=torch.tensor([4, 5]))
    assert one.for_batch(5).y.tolist() == [4, 5, 4, 5, 4]  # type: ignore[union-attr]
    assert one.concat(Condition(y=torch.tensor([9]))).y.tolist() == [4, 5, 9]  # type: ignore[union-attr]


def test_the_mean_of_a_caption_s_tokens_is_added_to_the_time(tiny_config: Config) -> None:
    model = trained(tiny_config, POOLED).model
    told, network = model.conditioner, model.unet
    y, context, mask = told(told.read(["a red square"]))  # type: ignore[misc]
    kept = context[0][mask[0]].double().mean(0)
    hand = kept @ told.pool.weight.double().T + told.pool.bias.double()  # type: ignore[union-attr]
    assert torch.allclose(y[0].double(), hand, atol=1e-6)
    torch.nn.init.normal_(network.out[-1].weight, generator=torch.Generator().manual_seed(3))
    x, t = torch.ones(1, 1, 8, 8), torch.tensor([7])
    with torch.no_grad():
        made = network(x, t, context, y, mask)
        network.time_embed[-1].bias += y[0]
        assert torch.allclose(network(x, t, context, mask=mask), made, atol=1e-4)


def test_about_a_share_is_dropped_whole() -> None:
    rows, null = torch.arange(1, 4001).reshape(2000, 2), torch.zeros(1, 2, dtype=torch.int64)
    kept = drop_prompts(rows, null, 0.1, keyed_generator(0, "condition", 1))
    lost = (kept == 0).all(1)
    assert torch.equal(kept[~lost], rows[~lost]) and 150 < int(lost.sum()) < 250
    assert torch.equal(drop_prompts(rows, null, 0.0, keyed_generator(0, "condition", 1)), rows)


def test_spread_takes_different_ones_from_all_over() -> None:
    assert evenly_spaced(["a", "b", "a", "c", "d", "e"], 2) == ["a", "c"]
    assert evenly_spaced(["a", "a"], 5) == ["a"] and evenly_spaced([], 5) == []


# training and checkpoints


@pytest.mark.parametrize("kind", ["class_tokens", "captions"])
def test_every_picture_of_a_step_is_told_what_is_its_own(tiny_config: Config, kind: str) -> None:
    config = settings(tiny_config, kind, "conditioning.drop=0", "training.batch_size=8")
    training, images = Training(config, pictures(), 0, choose("cpu").apply()), pictures()
    assert training.network.conditioner is not None and images.captions is not None
    own = images.captions if kind == "captions" else [LABELS[k % 2] for k in range(4)]
    told = training.network.conditioner.read(own)
    for step in (1, 2, 3):
        x0, _, _, rows = next(training.batches(step))
        alike = (to_uint8(x0)[:, None] == images.pixels).flatten(2).all(2)
        assert alike.sum(1).tolist() == [1] * 8
        assert torch.equal(rows, told[alike.long().argmax(1)])


def test_what_is_held_out_is_neither_learned_nor_asked_for(tiny_config: Config) -> None:
    captions = tuple(f"word{k}" for k in range(20))
    images = replace(
        pictures(None, labelled=False),
        pixels=torch.arange(20, dtype=torch.uint8).reshape(20, 1, 1, 1).expand(20, 1, 8, 8),
        names=captions,
        captions=captions,
    )
    config = settings(tiny_config, "captions", "training.held_out=0.3")
    training = Training(config, images, 0, choose("cpu").apply())
    own = {captions[row] for row in training.rows.tolist()}
    assert len(own) == 14 and isinstance(training.network.conditioner, Captions)
    assert training.network.conditioner.vocabulary.words == own
    assert set(training.sample_prompts) | set(training.network.conditioner.examples) <= own


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_told_is_trained_along(tiny_config: Config, kind: str) -> None:
    training = trained(tiny_config, kind, steps=0)
    before = {name: each.clone() for name, each in training.state().items()}
    for _ in training.steps():
        pass
    after = training.state()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    own = {"class_embedding": "label_emb.weight", "class_tokens": "conditioner.token.weight"}
    name = own.get(kind, "conditioner.encoder.token.weight")
    assert {f"network.{name}", f"average.{name}"} <= moved


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_goes_on_as_if_never_stopped(
    tiny_config: Config, tmp_path: Path, kind: str
) -> None:
    whole = trained(tiny_config, kind)
    half = trained(tiny_config, kind, steps=1)
    folder = save_checkpoint(half.model, tmp_path / "half", {"step": 1}, half.state())
    facts = json.loads((folder / "conditioning.json").read_text())
    again = Training(half.config, pictures(), 0, choose("cpu").apply(), facts)
    again.restore(half.state(), half.counts())
    for _ in again.steps():
        pass
    assert all(torch.equal(each, whole.state()[name]) for name, each in again.state().items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_comes_back_with_what_it_can_be_told(
    tiny_config: Config, tmp_path: Path, kind: str
) -> None:
    model = trained(tiny_config, kind).model
    save_checkpoint(model, tmp_path / "x", {"step": 3})
    back = load_checkpoint(tmp_path / "x")
    prompt = "square" if kind.startswith("class") else "a blue square"
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    ours, theirs = (each.guided([prompt])(x, 20).x0 for each in (model, back))
    assert torch.equal(ours, theirs) and not torch.equal(ours, back.denoiser(x, 20).x0)


def test_a_stranger_s_facts_are_checked(tiny_config: Config, tmp_path: Path) -> None:
    model = trained(tiny_config, "class_tokens").model
    assert model.conditioner is not None
    metadata: dict[str, Any] = model.conditioner.metadata()
    for wrong in (
        None,
        {**metadata, "kind": "captions"},
        {**metadata, "labels": "ab"},
        {"kind": 3},
    ):
        with pytest.raises(InputError) as error:
            conditioner_of(model.config, wrong)
        assert "\n" not in str(error.value)
    folder = save_checkpoint(model, tmp_path / "x", {"step": 3})
    (folder / "conditioning.json").write_text(json.dumps({**metadata, "labels": ["only"]}))
    with pytest.raises(InputError, match=r"x/conditioning.json: damaged"):
        load_checkpoint(folder)
    about = json.loads((folder / "checkpoint.json").read_text())
    del about["sha256"]["conditioning.json"], about["sha256"]["checkpoint.json"]
    (folder / "checkpoint.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"conditioner.token.weight is \[3, 128\], not \[2, 128\]"):
        load_checkpoint(folder)


def test_a_model_that_is_told_nothing_says_so(tiny_config: Config) -> None:
    model = Model(new_network(tiny_config, 0), tiny_config)
    with pytest.raises(InputError, match="prompt = 'a fox': this model knows no words"):
        model.guided(["", "a fox"])


def test_the_samples_of_a_run_ask_for_its_classes_or_captions(tiny_config: Config) -> None:
    assert trained(tiny_config, "class_tokens", steps=0).sample_prompts == LABELS
    captions = trained(tiny_config, "captions", steps=0).sample_prompts
    assert set(captions) == {each for each in WORDS if each}
    chosen = 'conditioning.sample_prompts=["square"]'
    assert trained(tiny_config, "class_tokens", chosen, steps=0).sample_prompts == ("square",)
    with pytest.raises(InputError, match="class 'disc'"):
        trained(tiny_config, "class_tokens", 'conditioning.sample_prompts=["disc"]', steps=0)


def test_first_weights_are_the_seed_s(tiny_config: Config) -> None:
    config = resolve(settings(tiny_config, "class_tokens"), pictures())
    facts = {"kind": "class_tokens", "labels": list(LABELS)}
    made = [new_conditioner(config, facts, seed) for seed in (1, 1, 2)]
    rests = [each.rest for each in made if isinstance(each, ClassTokens)]
    assert torch.equal(rests[0], rests[1]) and not torch.equal(rests[0], rests[2])
