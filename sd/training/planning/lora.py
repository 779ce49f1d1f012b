"""What a plan says of a LoRA: how little is trained, and what smaller pictures would take."""

from sd.checkpoints.adapters.targets import count_parameters
from sd.networks.blueprint import blueprint
from sd.training.planning.planner import Plan

CHEAP_SIDE = 256  # pixels, at which Stable Diffusion still draws and a step takes a fifth


def lora_lines(plan: Plan) -> list[str]:
    """Return what is said of a plan's LoRA; nothing where none is trained."""
    config, training = plan.config, plan.config.training
    if not training.lora_rank:
        return []
    whole = blueprint(config.unet, *config.latent_shape[1:])
    trained = count_parameters(config)
    lines = [
        f"a LoRA of rank {training.lora_rank}: {trained:,} values are trained, the "
        f"{whole.parameters:,} of the model stay"
    ]
    side = min(training.input_height, training.input_width)
    if side > CHEAP_SIDE:
        places = CHEAP_SIDE // config.factor
        share = blueprint(config.unet, places, places).operations / whole.operations
        seconds = share * plan.forecast.step_seconds
        lines.append(
            f"pictures of {CHEAP_SIDE} x {CHEAP_SIDE} (--set training.input_height={CHEAP_SIDE} "
            f"--set training.input_width={CHEAP_SIDE}): about {seconds:.3g} s a step"
        )
    return lines
