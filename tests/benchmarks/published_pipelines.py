"""Whole samplings of tiny models of Stable Diffusion's shape as diffusers makes them: the fixture.

    python -m tests.benchmarks.published_pipelines     # writes tests/fixtures/pipelines.npz

Each model's files are those of `tests.helpers.published`, written as a folder by `write_pipeline`;
`tests/checkpoints/pretrained/test_pipelines.py` holds what is drawn here against the same from the
single file. A picture's latents are the mean of its posterior, as they are here, not a sample.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from sd.checkpoints.pretrained.building import open_pretrained
from sd.checkpoints.pretrained.export import write_pipeline
from tests.benchmarks.timing import peer
from tests.helpers import published
from tests.helpers.pipelines import CASES, FIXTURE, PROMPT, SCALE, SIDE, STEPS, Case

TRAILING = {"timestep_spacing": "trailing"}


def scheduler(name: str, config: Any) -> Any:
    """Return diffusers' scheduler of a sampler of ours, along a model's own schedule."""
    diffusers = peer("diffusers")
    if name == "ddim":
        return diffusers.DDIMScheduler.from_config(config, **TRAILING)
    more = {"final_sigmas_type": "zero", "lower_order_final": False, **TRAILING}
    return diffusers.DPMSolverMultistepScheduler.from_config(config, **more)


def draw(case: Case, pipeline: Any, **asked: Any) -> Any:
    """Return the latents, or the picture in [-1, 1], that a pipeline of diffusers draws."""
    diffusers = peer("diffusers")
    asked |= {"generator": torch.Generator().manual_seed(case.seed), "guidance_scale": SCALE}
    asked |= {"num_inference_steps": STEPS, "return_dict": False}
    mask, picture = published.inpainted()
    if case.t == 1000 and not case.mask:
        return pipeline(PROMPT, height=SIDE, width=SIDE, **asked)[0]
    asked["strength"] = case.t / 1000
    picture = picture[None] / 2 + 0.5  # as people hand one over
    if not case.mask:
        pipeline = diffusers.StableDiffusionImg2ImgPipeline(**pipeline.components, **UNGUARDED)
        return pipeline(PROMPT, image=picture, **asked)[0]
    pipeline = diffusers.StableDiffusionInpaintPipeline(**pipeline.components, **UNGUARDED)
    sizes = {"height": SIDE, "width": SIDE}
    return pipeline(PROMPT, image=picture, mask_image=mask[None], **sizes, **asked)[0]


UNGUARDED = {"requires_safety_checker": False}


def by_mean(encode: Callable[..., Any]) -> Callable[..., Any]:
    """Return an autoencoder's `encode` that answers with the mean alone, whatever is sampled."""

    def answer(x: torch.Tensor, **_: Any) -> Any:
        return SimpleNamespace(latents=encode(x).latent_dist.mean)

    return answer


@torch.no_grad()
def main() -> None:
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "folder"
            file = published.write_single(Path(place) / "model.safetensors", case.state())
            write_pipeline(open_pretrained(f"{file}#prediction={case.prediction}"), folder)
            pipeline = peer("diffusers").StableDiffusionPipeline.from_pretrained(folder)
        pipeline.vae.encode = by_mean(pipeline.vae.encode)
        for sampler in case.samplers:
            pipeline.scheduler = scheduler(sampler, pipeline.scheduler.config)
            z = draw(case, pipeline, output_type="latent")
            x = pipeline.vae.decode(z / pipeline.vae.config.scaling_factor).sample
            found[f"{name}/{sampler}/z"] = z.numpy()
            found[f"{name}/{sampler}/x"] = x.clamp(-1, 1).numpy()
            print(name, sampler, f"spread {float(z.std()):.3f}")
    np.savez_compressed(FIXTURE, **found)


if __name__ == "__main__":
    main()
