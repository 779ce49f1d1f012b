"""A LoRA in training: adapters alone learn, the model stays, what is written works elsewhere."""

import copy
import hashlib

import pytest
import torch

from sd import runs
from sd.checkpoints.adapted import open_base, write_lora
from sd.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from sd.checkpoints.pretrained.building import open_pretrained
from sd.checkpoints.pretrained.export import write_pipeline
from sd.checkpoints.record import CARD, FIRST_STAGE, TRAINING, WEIGHTS, newest_checkpoint
from sd.cli.parser import main
from sd.common.device import choose
from sd.common.validation import InputError
from sd.config import Config
from sd.data.image_set import ImageSet
from sd.data.reading.report import Report
from sd.diffusion.guidance import Guidance
from sd.networks.adapters.training import AdaptedUNet
from sd.runs.preparing.start import lora_settings
from sd.training.adapters.base import adapt
from sd.training.loop import Training
from sd.training.planning import memory
from sd.training.samples import sample_denoiser
from tests.helpers import published
from tests.helpers.sets import picture

CAPTIONS = ["a red square", "a blue square", "a green square", "a grey square"]
SMALL = (
    "training.input_height=16",
    "training.input_width=16",
    "training.batch_size=2",
    "training.learning_rate=0.02",
    "training.held_out=0",
    "training.warmup_steps=0",
    "training.lora_rank=2",
    "training.lora_alpha=4",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(published.write_single(tmp_path_factory.mktemp("base") / "model.safetensors"))


@pytest.fixture(scope="module")
def config(base):
    return lora_settings(base, Config.preset("lora")).with_settings(SMALL)


@pytest.fixture(scope="module")
def images():
    source = torch.Generator().manual_seed(0)
    colours = torch.randint(0, 256, (4, 3, 1, 1), generator=source).expand(-1, -1, 16, 16)
    report = Report(4, (), {}, {}, {}, 0, ())
    names = tuple(f"{k}.png" for k in range(4))
    return ImageSet(colours.to(torch.uint8), names, None, (), tuple(CAPTIONS), report)


def begun(config, images, base, seed=0):
    start = open_pretrained(base).resized(16, 16)
    return Training(config, images, seed, choose("cpu"), start=start), start


@pytest.mark.parametrize("targets", ["attention", "all"])
@torch.no_grad()
def test_adapters_begin_at_the_model_itself_and_copies_share_it(base, config, targets):
    config = config.with_settings([f"training.lora_targets={targets}"])
    model = open_pretrained(base)
    x, t = torch.randn(2, 4, 8, 8), torch.tensor([9, 500])
    context = model.conditioner(model.conditioner.read(["a cat", "a dog"])).context
    plain = model.unet(x, t, context)
    unet = adapt(model, config, seed=1)
    assert torch.equal(unet(x, t, context), plain)
    assert sum(each.numel() for each in unet.parameters()) == memory.count_parameters(config)
    twin = copy.deepcopy(unet)
    for each in twin.parameters():
        each.add_(0.1)
    assert not torch.allclose(twin(x, t, context), plain, atol=1e-3)
    assert torch.equal(unet(x, t, context), plain)  # each has a say when it is asked itself
    assert twin.lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q


def test_blocks_that_are_computed_again_have_the_same_gradients(base, config):
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([500])
    found = []
    for recompute in (False, True):
        model = open_pretrained(base)
        again = config.with_settings([f"training.recompute={recompute}"])
        context = model.conditioner(model.conditioner.read(["a cat"])).context
        unet = adapt(model, again, seed=1)
        unet(x, t, context).square().sum().backward()
        found.append([each.grad for each in unet.parameters()])
    assert any(each.abs().max() > 0 for each in found[0])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(*found, strict=True))


def test_the_adapters_learn_and_the_model_stays(base, config, images):
    training, start = begun(config.with_settings(["training.steps=12"]), images, base)
    before = {name: each.clone() for name, each in start.unet.state_dict().items()}
    first = training.evaluate().train
    assert len(list(training.steps())) == 12
    assert sum(training.evaluate().train) < 0.98 * sum(first)
    assert all(torch.equal(before[name], each) for name, each in start.unet.state_dict().items())
    assert isinstance(training.network.unet, AdaptedUNet)
    assert all("lora_" in name or "alpha" in name for name in training.network.stored_state())
    with pytest.raises(InputError, match="was not encoded before training"):
        training.network.conditioner.read(["another"])


def test_a_sample_that_is_made_alone_has_its_own_prompt(base, config, images):
    words = ["training.steps=1", 'conditioning.sample_prompts=["a red square", "a blue square"]']
    training, _ = begun(config.with_settings(words), images, base)
    for each in training.network.unet.parameters():
        torch.nn.init.normal_(each)
    model, x = training.raw, torch.randn(1, 4, 8, 8)
    guidance = Guidance((2.0,))
    for first, prompt in enumerate(training.sample_prompts * 2):
        found = sample_denoiser(training, model, first)(x, 500).eps
        assert torch.equal(found, model.guided([prompt], guidance=guidance)(x, 500).eps)
    others = [sample_denoiser(training, model, first)(x, 500).eps for first in (0, 1)]
    assert not torch.equal(*others)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("squares")
    for k, caption in enumerate(CAPTIONS):
        (place / f"{k}.png").write_bytes(picture(60 * k, (16, 16)))
        (place / f"{k}.txt").write_text(caption)
    return place


@pytest.fixture(scope="module")
def trained(base, folder, tmp_path_factory):
    """A run of four steps, and one that was ended after two and went on."""
    runs_of, patch = tmp_path_factory.mktemp("runs"), pytest.MonkeyPatch()
    patch.setattr("sd.runs.session.SAMPLE_SEEDS", range(2))
    patch.setattr("sd.runs.session.LORA_STEPS", 2)
    changes = [word for each in SMALL for word in ("--set", each)]
    words = ["train", str(folder), "--lora", base, *changes, "--device", "cpu"]
    for name, steps in (("whole", 4), ("parts", 2)):
        assert main([*words, "--steps", str(steps), "--run", str(runs_of / name)]) == 0
    assert main(["train", "--resume", "--run", str(runs_of / "parts"), "--steps", "4"]) == 0
    yield runs_of
    patch.undo()


def test_a_run_goes_on_to_the_byte_and_keeps_the_lora_alone(trained, base):
    digests = []
    for name in ("whole", "parts"):
        checkpoint = newest_checkpoint(trained / name)
        assert not (checkpoint / FIRST_STAGE).exists()
        files = (checkpoint / WEIGHTS, checkpoint / TRAINING)
        digests.append([hashlib.sha256(each.read_bytes()).hexdigest() for each in files])
    assert digests[0] == digests[1]
    assert runs.status(trained / "parts").state == "finished"
    assert "creativeml-openrail-m" in (checkpoint / CARD).read_text(encoding="utf-8")
    model = load_checkpoint(trained / "whole")
    assert model.config.training.start_from.startswith(base + "@")
    assert model.conditioner.examples == tuple(CAPTIONS)


def test_a_lora_is_refused_without_the_model_that_it_is_for(trained, folder, base, capsys):
    words = ["train", str(folder), "--preset", "lora"]
    assert main(words) == 2
    assert "a LoRA is trained for a published model" in capsys.readouterr().err
    config = Config.read(newest_checkpoint(trained / "whole") / "config.ini")
    other = config.with_settings([f"training.start_from={base}@0123456789abcdef"])
    with pytest.raises(InputError, match="has other weights by now"):
        open_base(other)


@torch.no_grad()
def test_what_export_writes_is_the_same_lora(trained, base, tmp_path, capsys):
    run = trained / "whole"
    assert main(["export", str(run), "--out", str(tmp_path / "lora.safetensors")]) == 0
    assert main(["export", str(run), "--out", str(tmp_path / "folder")]) == 0
    model = load_checkpoint(run)
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([500])
    context = model.conditioner(model.conditioner.read(["a cat"])).context
    wanted, plain = model.unet(x, t, context), open_pretrained(base).unet(x, t, context)
    assert not torch.allclose(wanted, plain, atol=1e-4)
    for file in ("lora.safetensors", "folder/pytorch_lora_weights.safetensors"):
        again = open_pretrained(f"{base}#lora={tmp_path / file}")
        torch.testing.assert_close(again.unet(x, t, context), wanted, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_200_steps_lower_the_loss(base, config, images):
    training, _ = begun(config.with_settings(["training.steps=200"]), images, base)
    first = sum(training.evaluate().train)
    list(training.steps())
    assert sum(training.evaluate().train) < 0.8 * first


@pytest.mark.slow
@pytest.mark.parametrize("targets", ["attention", "all"])
@pytest.mark.parametrize("form", ["kohya", "peft"])
def test_diffusers_draws_the_same_with_the_lora(base, config, images, tmp_path, form, targets):
    diffusers = pytest.importorskip("diffusers")
    pytest.importorskip("peft")
    config = config.with_settings(["training.steps=9", f"training.lora_targets={targets}"])
    training, _ = begun(config, images, base)
    list(training.steps())
    checkpoint = save_checkpoint(training.model, tmp_path / "checkpoint-9", {"step": 9, "seed": 0})
    out = tmp_path / ("lora.safetensors" if form == "kohya" else "lora")
    write_lora(checkpoint, config, out)
    write_pipeline(open_pretrained(base).resized(16, 16), tmp_path / "base")
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "base")
    pipeline.load_lora_weights(out)
    z = torch.randn(1, 4, 8, 8)
    settings = {"num_inference_steps": 5, "guidance_scale": 7.5, "height": 16, "width": 16}
    theirs = pipeline("a cat", latents=z, output_type="np", **settings).images
    model = load_checkpoint(checkpoint)
    denoiser = model.guided(["a cat"], "", Guidance((7.5,)))
    *_, last = model.sampling("ddim", 5).steps(denoiser, model.shape, [0], start=z)
    ours = model.space.decode(last.x_t).permute(0, 2, 3, 1).numpy() / 2 + 0.5
    assert abs(ours - theirs).max() < 1 / 255
