"""The sample command's prompts and guidance, and which of its flags change nothing.

A conditioned model without a prompt or label takes the prompts of its own run's samples: without
any condition it shows what no picture is, the mean of many.
"""

import argparse
from collections.abc import Iterable
from typing import Any

from sd.checkpoints.adapters.adding import ADDED
from sd.checkpoints.closed_form_model import ClosedFormModel
from sd.checkpoints.model import Model
from sd.common import validation
from sd.common.validation import InputError
from sd.generation.pipeline import sampling_of
from sd.generation.recipe import Recipe
from sd.networks.conditioning_metadata import default_guidance

GIVEN_BACK = {  # what closed forms on latents teach
    "ideal": "ideal, on latents: it repeats its pictures as the autoencoder gives them back",
    "linear": "linear, on latents: what it draws is linear in z; the decoder makes pictures of it",
}
NAMED = 4  # prompts in a line
LONGEST_NAMED = 40  # characters of each


def read_conditioning(args: argparse.Namespace, source: Model | ClosedFormModel) -> dict[str, Any]:
    """Return a recipe's fields of prompts and guidance; `InputError` where the model has none."""
    _check(args, source.conditioner if isinstance(source, Model) else None)
    prompts = (*(args.label or ()), *(args.prompt or ())) or default_prompts(args, source)
    fields: dict[str, Any] = {"prompts": prompts, "negative": args.negative or ""}
    if args.guidance is not None:
        fields["guidance"] = tuple(args.guidance)
    elif prompts or args.negative:
        fields["guidance"] = (usual_guidance(source),)
    if args.rescale is not None:
        fields["rescale"] = args.rescale
    if args.interval is not None:
        fields["interval"] = tuple(args.interval)
    return fields


def read_branch_conditioning(
    args: argparse.Namespace, parent: Recipe, source: Model | ClosedFormModel
) -> dict[str, Any]:
    """Return a branch's fields of prompts and guidance: its parent's, where no flag tells."""
    _check(args, source.conditioner if isinstance(source, Model) else None)
    fields: dict[str, Any] = {}
    if args.unconditional or args.label or args.prompt:
        fields["prompts"] = (*(args.label or ()), *(args.prompt or ()))
        if not parent.prompts and not parent.negative and args.guidance is None:
            fields["guidance"] = (usual_guidance(source),)
    for name in ("negative", "guidance", "rescale", "interval"):
        if (value := getattr(args, name)) is not None:
            fields[name] = tuple(value) if isinstance(value, list) else value
    return fields


def usual_guidance(source: Model | ClosedFormModel) -> float:
    """Return the guidance scale that a model is asked with by default."""
    conditioner = source.conditioner if isinstance(source, Model) else None
    usual = None if conditioner is None else conditioner.usual_guidance
    return default_guidance(source.config.conditioning.drop) if usual is None else usual


def default_prompts(args: argparse.Namespace, source: Model | ClosedFormModel) -> tuple[str, ...]:
    """Return what is asked for where the flags ask for nothing."""
    asked = args.label or args.prompt or args.unconditional or args.recipe
    if asked or not isinstance(source, Model):
        return ()
    return source.default_prompts


def _check(args: argparse.Namespace, conditioner: Any) -> None:
    if args.unconditional and (args.label or args.prompt):
        raise InputError("--unconditional: asks for nothing; leave out --label and --prompt")
    for flag, words in (("--prompt", args.prompt), ("--negative", [args.negative])):
        if conditioner is None and any(words or ()):
            asked = validation.shown(next(filter(None, words)))
            raise InputError(f"{flag} = {asked}: this model knows no words or classes")
    if args.label and (conditioner is None or not conditioner.labels):
        raise InputError(
            f"--label = {validation.shown(args.label[0])}: this model knows no classes"
        )
    if args.prompt and conditioner.labels:
        asked = validation.shown(args.prompt[0])
        raise InputError(f"--prompt = {asked}: this model knows classes; ask with --label")


def remarks(args: argparse.Namespace, recipe: Recipe, source: Model | ClosedFormModel) -> list[str]:
    """Return a line for each flag that changes nothing, and for what was chosen without one."""
    conditioner = source.conditioner if isinstance(source, Model) else None
    drawn = [name for name in ("seed", "seed_to") if getattr(args, name) == validation.RANDOM_SEED]
    lines = list(source.about.get(ADDED, ())) if isinstance(source, Model) else []
    lines += [f"{name.replace('_', ' ')} {getattr(recipe, name)}" for name in drawn]
    lines += unused_values(args, recipe)
    if isinstance(source, ClosedFormModel) and source.latents is not None:
        lines.append(GIVEN_BACK[source.about["kind"]])
    if usual := default_prompts(args, source):
        lines.append(f"asked for what its own samples were, {_join(usual[: recipe.count])}")
        lines[-1] += "; --unconditional asks for nothing"
    if conditioner is not None:
        asked = [*recipe.prompts[: recipe.count], recipe.negative]
        unseen = dict.fromkeys(word for text in asked for word in conditioner.unseen(text))
        lines += [f"never seen in training: {_join(unseen)}"] if unseen else []
        if not source.config.conditioning.drop and _uses_uncond(recipe):
            lines.append("conditioning.drop was 0: told nothing, as here, it never trained")
    for flag, sampler in (("eta", "ddim"), ("variance", "ddpm")):
        if getattr(args, flag) is not None and recipe.sampler != sampler:
            lines.append(f"--{flag} changes nothing: it is {sampler}'s; this is {recipe.sampler}")
    return lines + unused_guidance(args, recipe, source)


def unused_values(args: argparse.Namespace, recipe: Recipe) -> list[str]:
    """Return a line for each flag with more values than there are pictures to take them in turn."""
    lines = []
    for name in ("label", "prompt", "guidance"):
        given = len(getattr(args, name) or ())
        if given > recipe.count:
            lines.append(
                f"--{name}: of {given} only {recipe.count} used; --count {given} takes all"
            )
    if recipe.seed_to is not None and (recipe.count == 1 or recipe.seed_to == recipe.seed):
        why = "a single picture is that of --seed" if recipe.count == 1 else "it is --seed itself"
        lines.append(f"--seed-to changes nothing: {why}")
    return lines


def _uses_uncond(recipe: Recipe) -> bool:
    """Tell whether a picture is made with the unconditional prediction."""
    guided = set(recipe.guidance) != {1.0} and not recipe.negative
    return guided or not all(recipe.prompts or ("",))


def _join(texts: Iterable[str]) -> str:
    """Return texts for a line that stays one."""
    words = [" ".join(text.split()) for text in texts]
    named = [w if len(w) <= LONGEST_NAMED else f"{w[: LONGEST_NAMED - 1]}…" for w in words[:NAMED]]
    more = f" and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return ", ".join(named) + more


def unused_guidance(
    args: argparse.Namespace, recipe: Recipe, source: Model | ClosedFormModel
) -> list[str]:
    """Return a line where flags about guidance change no picture: which, and why."""
    why, flags = _why_unused(recipe, source)
    given = [name for name in flags if getattr(args, name) not in (None, "")]
    if not given or not why:
        return []
    verb = "change" if len(given) > 1 else "changes"
    return [f"{', '.join(f'--{name}' for name in given)} {verb} nothing: {why}"]


def _why_unused(recipe: Recipe, source: Model | ClosedFormModel) -> tuple[str, tuple[str, ...]]:
    """Return why guidance, or a part of it, comes to nothing, and the flags that say so."""
    scales = set(recipe.guidance)
    if not isinstance(source, Model) or source.conditioner is None:
        return "this model is told nothing", ("guidance", "rescale", "interval")
    if {*(recipe.prompts or ("",))} == {recipe.negative}:
        same = "what is asked for is what it is held against"
        why = same if recipe.negative else "nothing is asked for"
        return why, ("guidance", "rescale", "interval")
    if scales == {1.0}:
        return "guidance 1 is what is asked for, as it is", ("negative", "rescale", "interval")
    low, high = recipe.interval
    T = source.diffusion.schedule.timesteps
    if not any(low <= t / T <= high for t in sampling_of(recipe, source).times):
        return "no step lies within the interval", ("interval", "guidance", "negative", "rescale")
    if scales == {0.0}:
        return "guidance 0 is what it is held against, alone", ("label", "prompt", "rescale")
    return "", ()
