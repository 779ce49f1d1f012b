"""The samplings whose result diffusers tells: of which model, from what, by which sampler."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from tests.helpers import published

FIXTURE = Path(__file__).parents[1] / "fixtures" / "pipelines.npz"
PROMPT, SCALE, STEPS, SIDE = "a red cat", 7.5, 10, 16
UNET = published.UNET
V2 = replace(UNET, model_channels=64, context_dim=64, num_heads=-1, num_head_channels=64)
BOTH = ("ddim", "dpmpp_2m")


@dataclass(frozen=True)
class Case:
    """A sampling: the weights, what the network estimates, and where it begins.

    t: the time to which the picture is noised; at 1000 without a mask it is noise alone.
    mask: whether only what lies within is made anew.
    """

    state: Callable[[], dict[str, Tensor]]
    prediction: str = "eps"
    samplers: tuple[str, ...] = BOTH
    t: int = 1000
    mask: bool = False
    seed: int = 3


def v2_state() -> dict[str, Tensor]:
    """Return a model of v2: projections as matrices, OpenCLIP's text encoder."""
    theirs, _ = published.open_clip_state(64, 2)
    state = published.single_state(V2, linear=True, text=False)
    return state | published.prefixed("cond_stage_model.model.", theirs)


CASES = {
    "txt2img": Case(published.single_state),
    "img2img": Case(published.single_state, t=600),
    "masked": Case(published.single_state, t=600, mask=True),  # a network of four channels
    "inpainting": Case(lambda: published.single_state(replace(UNET, channel=9)), mask=True),
    "v2": Case(v2_state, "v"),
    "no_middle": Case(
        lambda: published.single_state(replace(UNET, middle=False)), samplers=("ddim",)
    ),
}
