"""The samples that a run draws of itself: how many, how, and what they are asked for."""

from sd.checkpoints.model import Model
from sd.diffusion.guidance import Denoiser, Guidance
from sd.networks.conditioning_metadata import default_guidance
from sd.training.loop import Training


def sample_denoiser(training: Training, model: Model) -> Denoiser:
    """Return a model as a run's samples ask it: for the run's prompts, if it is told anything."""
    scale = default_guidance(training.config.conditioning.drop)
    return model.guided(training.sample_prompts, guidance=Guidance((scale,)))


def passes_per_step(training: Training) -> int:
    """Return how often the network is asked for a step of a sample; guidance has two halves."""
    guided = training.sample_prompts and default_guidance(training.config.conditioning.drop) != 1
    return 2 if guided else 1
