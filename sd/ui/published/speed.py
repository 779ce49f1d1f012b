"""How long a drawing with a published model will take, told before it begins.

By its work, see `sd.ui.published.work`, times the seconds that it takes here. They are measured
whenever such a model has drawn, and before that with a small network of the same kind.
"""

import time
from contextlib import suppress
from functools import partial

from sd.checkpoints.pretrained.choices import BFLOAT16, parse_place
from sd.common.validation import InputError
from sd.config.sections import UNetConfig
from sd.generation.recipe import Recipe
from sd.generation.registry import ModelEntry, OpenModels
from sd.networks.blueprint import blueprint
from sd.ui import models
from sd.ui.components.handlers import in_own_thread
from sd.ui.published.work import OF_A_LAYER, Work, report_of, work_of
from sd.ui.state import Recent, shared

SIDE, TOKENS, CALLS = 16, 77, 4  # places and tokens that are measured, and how often
READ = 1.2e8  # parameters a second that are read from a file: 4.27 GB in 9 s
MEASURED = UNetConfig(  # the widest places of Stable Diffusion v1, where most of its time goes
    channel=4,
    n_embed=4,
    model_channels=320,
    num_res_blocks=1,
    attention_resolutions=(1,),
    channel_mult=(1,),
    num_heads=8,
    resblock_updown=False,
    context_dim=768,
    patch_size=1,
)


class Speeds(Recent[str, float]):
    """Seconds that an operation takes: by model, and by type where a model was not measured."""

    most = 64


def note(recipe: Recipe, seconds: float) -> None:
    """Note how long all of a recipe's pictures took, if its model is a published one."""
    with suppress(InputError):  # while it drew, its model may have been deleted, renamed, forgotten
        entry = models.find(recipe.model)
        if entry.published and recipe.branch is None and seconds > 0:
            shared(Speeds)[facts_key(entry.place)] = seconds / work_of(recipe)


def is_known(recipe: Recipe) -> bool:
    """Tell whether a recipe of a published model can be estimated without measuring first."""
    place, speeds = models.find(recipe.model).place, shared(Speeds)
    return facts_key(place) in speeds or dtype_of(place) in speeds


def estimate(recipe: Recipe) -> float:
    """Return about how many seconds a recipe of a published model will take from the press on."""
    entry, speeds = models.find(recipe.model), shared(Speeds)
    known = speeds.get(facts_key(entry.place))
    if known is None:
        dtype = dtype_of(entry.place)
        if dtype not in speeds:
            speeds[dtype] = in_own_thread(partial(measure, dtype))
        known = speeds[dtype]
    return opening_seconds(entry) + known * work_of(recipe)


def opening_seconds(entry: ModelEntry) -> float:
    """Return about how long a model takes to be read into memory; none where it is open."""
    if shared(OpenModels).has(entry):
        return 0.0
    return sum(part.parameters for part in report_of(entry.place).parts if part.used) / READ


def facts_key(place: str) -> str:
    """Return what tells one kind of speed from another: the file, and what it computes in."""
    return f"{parse_place(place)[0]} {dtype_of(place)}"


def dtype_of(place: str) -> str:
    """Return what a published model computes in."""
    return parse_place(place)[1].dtype or "float32"


def measure(dtype: str) -> float:
    """Return the seconds that an operation's worth of work takes a small network, in a type."""
    import torch

    from sd.networks.unet import UNetModel

    device = models.machine().device
    kind: torch.dtype = torch.bfloat16 if dtype == BFLOAT16 else torch.float32
    network = UNetModel.from_config(MEASURED).to(device, kind).eval()
    network = network.to(memory_format=torch.channels_last)
    x = torch.ones(1, 4, SIDE, SIDE, device=device)
    given = torch.tensor([500], device=device), torch.ones(1, TOKENS, 768, device=device)
    plan, seconds = blueprint(MEASURED, SIDE, SIDE, TOKENS), []
    with torch.no_grad():
        for _ in range(CALLS):
            began = time.monotonic()
            network(x, *given).cpu()
            seconds.append(time.monotonic() - began)
    work = Work(plan.operations, plan.tensors / OF_A_LAYER).total
    return sum(seconds[1:]) / (len(seconds) - 1) / work  # the first makes kernels and memory
