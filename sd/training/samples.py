"""How a run samples its own model: with which prompts and guidance, at what cost."""

from sd.checkpoints.model import Model
from sd.diffusion.guidance import Denoiser, Guidance
from sd.networks.conditioning_metadata import default_guidance
from sd.training.loop import Training


def sample_denoiser(training: Training, model: Model) -> Denoiser:
    """Return the denoiser of a run's samples: guided by the run's prompts, if it has any."""
    scale = default_guidance(training.config.conditioning.drop)
    return model.guided(training.sample_prompts, guidance=Guidance((scale,)))


def passes_per_step(training: Training) -> int:
    """Return the passes of the network for a step of a sample: 2 where cond and uncond differ."""
    guided = training.sample_prompts and default_guidance(training.config.conditioning.drop) != 1
    return 2 if guided else 1
