"""A race of two models on the same noise: a published one beside one's own, in the same latents.

Models whose latents are of one autoencoder begin with the same x_T where their pictures have one
size; what differs is what each has learned.
"""

from collections.abc import Iterator
from dataclasses import replace

from sd.checkpoints.pretrained.choices import MARK
from sd.common.validation import InputError, choice
from sd.generation import registry
from sd.generation.recipe import Recipe
from sd.generation.registry import ModelEntry
from sd.ui import models, state
from sd.ui.components.events import Updates
from sd.ui.components.fields import CHOICE, Field, patch
from sd.ui.components.handlers import guarded
from sd.ui.denoise.prompts import known_prompts

OTHER = "beside"  # between which a race is: the page's model, and another one
FIELD = Field(
    name=OTHER,
    kind=CHOICE,
    value="",
    label="race_beside",
    info="race_beside_info",
    choices=(("race_none", ""),),
    is_open=True,
    when=("between", (OTHER,)),
)


def others(model: str) -> Iterator[ModelEntry]:
    """Yield the models whose latents are of the same kind as the page's, but not itself."""
    entry = models.find(model)
    if (kind := latents_of(entry)) is None:
        return
    stem = entry.name.partition(MARK)[0]
    for each in registry.list_models(state.home()):
        if each.name != stem and latents_of(each) == kind:
            yield each


def latents_of(entry: ModelEntry) -> tuple[int, int] | None:
    """Return the channels of a model's latents and the pixels of a place; None for pixels."""
    try:
        config = models.config_of(entry)
    except InputError:  # its settings are damaged, or its file is another by now
        return None
    return (config.latent_shape[0], config.factor) if config.is_latent else None


@guarded
def offer(model: str) -> Updates:
    """Offer the models that can stand beside the page's, the first of them chosen."""
    if isinstance(model, models.FirstModel):  # it is told again for the one that is chosen
        return {}
    names = [each.name for each in others(model)]
    found = [(each, each) for each in names] or [("race_none", "")]
    return {"race_form": patch({OTHER: found[0][1]}, choices={OTHER: found})}


def lanes(recipe: Recipe, name: str) -> list[Recipe]:
    """Return a recipe, and that of another model with the same noise, size and number of steps.

    Raises `InputError` for a model whose latents are others, and for a size that it does not draw.
    """
    known = [each.name for each in others(recipe.model)]
    if not known:
        raise InputError("beside: no other model has latents of this kind")
    entry = models.find(choice("beside", name, known))
    own = models.shape_of(entry)[1:]
    size = recipe.size or models.shape_of(models.find(recipe.model))[1:]
    conditioning = models.read_conditioning(entry)
    prompts = recipe.prompts
    if conditioning is None or (conditioning.labels and not known_prompts(conditioning, prompts)):
        prompts = ()
    other = replace(
        recipe,
        model=entry.name,
        step=entry.step,
        digest=registry.digest(entry),
        size=None if size == own else size,
        prompts=prompts,
        negative="",
        guidance=(models.default_guidance(entry),) if prompts else (1.0,),
    )
    return [recipe, other]
