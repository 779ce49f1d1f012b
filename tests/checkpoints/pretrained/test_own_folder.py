"""A folder of diffusers for a model of our own: its own code answers as ours does."""

import ast
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sd.checkpoints.model import Model
from sd.checkpoints.pretrained.export import write_pipeline
from sd.checkpoints.pretrained.folders import own
from sd.common.validation import InputError
from sd.config.conditioning_kind import resolve_conditioning
from sd.diffusion.guidance import Guidance
from sd.networks.conditioning import Captions, ClassEmbedding, ClassTokens
from sd.networks.first_stage import Latents
from sd.networks.tokenizer import Vocabulary
from sd.training.randomness import new_network
from tests.helpers.first_stages import latent_settings, small_autoencoder
from tests.helpers.networks import with_weights

CAPTIONS = ["a red heart", "Red cars, don't!", "emoji 🇩🇪 👩‍👩‍👧", "नमस्ते x-ray 12:30", ""]
TEXT = ("conditioning.kind=captions", "unet.attention_resolutions=[1]")
DRAW = """
import sys
sys.modules["sd"] = sys.modules["einops"] = None
import torch
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1], trust_remote_code=True)
noise = [torch.Generator().manual_seed(seed) for seed in (0, 7)]
found = pipeline(sys.argv[2], num_images_per_prompt=2, num_inference_steps=5, generator=noise,
                 output_type="pt").images
torch.save(found, sys.argv[3])
"""


def captions_of(config):
    vocabulary = Vocabulary.train(CAPTIONS * 3, 300)
    wide, pooled = config.unet.context_dim, 4 * config.unet.model_channels
    return Captions(vocabulary, 24, wide, 2, CAPTIONS, pooled * config.conditioning.pooled)


def model_of(tmp_path, config, kind):
    """Return a model of random weights."""
    latent = kind.startswith("latent")
    if latent:
        config = latent_settings(tmp_path, config)
    more = {
        "classes": ["conditioning.kind=class_embedding", "unet.channel_mult=[2,1]"],
        "tokens": ["conditioning.kind=class_tokens", "unet.attention_resolutions=[1]"],
        "captions": [*TEXT, "conditioning.pooled=True", "diffusion.prediction=x0"],
        "latent captions": TEXT,
        "resampled": ["unet.resblock_updown=True", "unet.channel_mult=[1,2]"],
        "averaged": ["unet.conv_resample=False", "unet.channel_mult=[1,2]", "unet.patch_size=3"],
        "plain": ["unet.use_scale_shift_norm=False", "unet.middle=False", "unet.channel_mult=[2]"],
    }[kind]
    config = resolve_conditioning(config.with_settings(more), captions=9, labels=2)
    conditioner = {
        "class_embedding": lambda: ClassEmbedding(("cat", "dog")),
        "class_tokens": lambda: ClassTokens(("cat", "dog"), config.unet.context_dim),
        "captions": lambda: captions_of(config),
        "none": lambda: None,
    }[config.conditioning.kind]()
    unet = with_weights(new_network(config, seed=1)).requires_grad_(False).eval()
    if conditioner is not None:
        conditioner = with_weights(conditioner).requires_grad_(False).eval()
    latents = None
    if latent:
        moments = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([1.0, 2.0, 3.0, 4.0])
        latents = Latents(small_autoencoder(), *moments, torch.randn(5, 3), config.picture_shape)
    return Model(unet, config, {}, conditioner, latents)


def carried(folder, part, file, name):
    """Return a part of a folder, made by the folder's own code."""
    scope = {"__name__": file}
    path = folder / part / f"{file}.py"
    code = compile(path.read_text(encoding="utf-8"), str(path), "exec")
    exec(code, scope)  # (the test runs what was just copied)
    settings = json.loads((folder / part / "config.json").read_text())
    settings.pop("_class_name")
    network = scope[name](**settings)
    network.load_state_dict(load_file(folder / part / "diffusion_pytorch_model.safetensors"))
    return network.eval()


@pytest.mark.parametrize(
    "kind",
    ["classes", "tokens", "captions", "latent captions", "resampled", "averaged", "plain"],
)
@torch.no_grad()
def test_the_networks_in_a_folder_answer_as_ours(tmp_path, tiny_config, kind):
    pytest.importorskip("diffusers")
    model = model_of(tmp_path, tiny_config, kind)
    write_pipeline(model, tmp_path / "folder")
    unet = carried(tmp_path / "folder", "unet", "unet", "UNetModel")
    x, told, theirs = torch.randn(2, *model.shape), {}, {}
    if isinstance(model.conditioner, ClassEmbedding) and kind == "classes":
        told = theirs = {"y": torch.tensor([0, 2])}
    elif model.conditioner is not None:
        reader = carried(tmp_path / "folder", "conditioner", "conditioner", "Conditioner")
        prompts = ["dog", "cat"] if kind == "tokens" else CAPTIONS[:2]
        rows = model.conditioner.read(prompts)
        if kind != "tokens":
            texts = [*CAPTIONS, "unseen words " * 20]
            assert torch.equal(reader.read(texts), model.conditioner.read(texts))
        told, theirs = model.conditioner(rows)._asdict(), reader(rows)
    ours = model.unet(x, torch.full((2,), 9.0), **told)
    answer = unet(x, torch.tensor(9), **theirs)
    assert (ours - answer).abs().max() < 1e-4 * ours.std()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classes", "captions", "latent captions"])
def test_diffusers_alone_draws_our_pictures(tmp_path, tiny_config, kind):
    pytest.importorskip("diffusers")
    model = model_of(tmp_path, tiny_config, kind)
    write_pipeline(model, tmp_path / "folder")
    prompt = "dog" if kind == "classes" else "a red heart"
    words = [str(tmp_path / "folder"), prompt, str(tmp_path / "drawn.pt")]
    environment = {"HF_HOME": str(tmp_path), "PATH": "", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-I", "-c", DRAW, *words]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    denoiser = model.guided([prompt], "", Guidance((2.0,)))
    *_, last = model.sampling("ddim", 5).steps(denoiser, model.shape, [0, 7])
    theirs = torch.load(tmp_path / "drawn.pt", weights_only=True)
    assert (model.space.decode(last.x_t) - theirs).abs().max() < 1e-4


def test_the_code_that_goes_along_needs_torch_and_diffusers_alone():
    for name in ("pipeline", "unet", "conditioner"):
        tree = ast.parse((Path(own.__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
        froms = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        roots = {str(each).partition(".")[0] for each in froms | names}
        assert roots - sys.stdlib_module_names <= {"torch", "diffusers"}


def test_a_folder_says_how_it_is_used_and_what_it_cannot_hold(tmp_path, tiny_config):
    model = model_of(tmp_path, tiny_config, "captions")
    write_pipeline(model, tmp_path / "folder")
    card = (tmp_path / "folder" / "README.md").read_text(encoding="utf-8")
    assert "trust_remote_code=True" in card and "'a red heart'" in card
    noisy = model.config.with_settings(["diffusion.noise_info=[0.5,1.0]"])
    with pytest.raises(InputError, match="its noise has another mean"):
        write_pipeline(replace(model, config=noisy), tmp_path / "other")
