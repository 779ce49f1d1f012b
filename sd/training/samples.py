"""How a run samples its own model: with which prompts and guidance, at what cost."""

from sd.checkpoints.model import Model
from sd.diffusion.guidance import Denoiser, Guidance
from sd.networks.conditioning_metadata import default_guidance
from sd.training.loop import Training


def sample_denoiser(training: Training, model: Model, first: int = 0) -> Denoiser:
    """Return the denoiser of a run's samples: guided by the run's prompts, if it has any.

    first: which of the samples the first picture is; they take the prompts in turn.
    """
    scale, prompts = default_guidance(training.config.conditioning.drop), training.sample_prompts
    start = first % max(1, len(prompts))
    return model.guided([*prompts[start:], *prompts[:start]], guidance=Guidance((scale,)))


def passes_per_step(training: Training) -> int:
    """Return the passes of the network for a step of a sample: 2 where cond and uncond differ."""
    guided = training.sample_prompts and default_guidance(training.config.conditioning.drop) != 1
    return 2 if guided else 1
