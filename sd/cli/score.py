"""The score command: did a model draw what captions asked for, also what it was never shown?

Told exactly and by no other model, for sets of drawn shapes: geometry reads the samples
(`sd.data.shapes`). Half of the captions are among those in training, half are not; whether a sample
is a copy of a training picture is judged as the page does it (`sd.training.likeness`).
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from sd import runs
from sd.checkpoints.model import Model
from sd.common import validation
from sd.common.device import choose
from sd.common.validation import InputError
from sd.data import shapes
from sd.data.image_set import ImageSet, read_images, split
from sd.data.images import to_array
from sd.data.ingest import open_images
from sd.diffusion.guidance import Guidance
from sd.generation.registry import load_model, model_at
from sd.runs import default_home
from sd.training.likeness import judge
from sd.training.memorisation import find_nearest, measure_baseline

COUNT, STEPS, GUIDANCE, SAMPLER = 200, 25, 2.0, "dpmpp_2m"
AT_ONCE = 25  # samples


def score(args: argparse.Namespace) -> None:
    """Sample captions of both kinds and print the shares that are right and that are copies."""
    count = validation.whole("--count", COUNT if args.count is None else args.count, 2, 10_000)
    steps = validation.whole("--steps", STEPS if args.steps is None else args.steps, 1, 1000)
    guidance = GUIDANCE if args.guidance is None else args.guidance
    scale = validation.real("--guidance", guidance, 0, 100)
    machine = choose(args.device).apply()
    entry = model_at(default_home(), args.run)
    model = None if entry.is_closed_form else load_model(entry, machine.device)
    if not isinstance(model, Model) or model.conditioner is None:
        raise InputError(f"RUN = {validation.shown(args.run)}: knows no captions to be scored by")
    images = training_pictures(entry.folder, model)
    rows, held_out = split(images, model.config.training.held_out, model.about.get("seed", 0))
    asked = choose_captions([(images.captions or ())[row] for row in rows.tolist()], count)
    print(f"sampling {len(asked)} pictures in {steps} steps", file=sys.stderr, flush=True)
    prompts = [caption for caption, _ in asked]
    samples = draw(model, prompts, steps, scale, machine.device)
    training = model.config.training
    usual = measure_baseline(images.pixels, rows, held_out, training.flip)
    near = find_nearest(samples, images.pixels, rows, training.flip).distance.tolist()
    copies = [usual is not None and judge(each, usual) == "copy" for each in near]
    right = [shapes.follows(*each) for each in zip(prompts, to_array(samples), strict=True)]
    found = figures(asked, right, copies) | {
        "steps": steps,
        "guidance": scale,
        "sampler": SAMPLER,
    }
    print(json.dumps(found) if args.json else "\n".join(lines(found)))


def training_pictures(folder: Path, model: Model) -> ImageSet:
    """Return the pictures of a run as its network saw them; `InputError` if no shapes are drawn."""
    training, kept, source = model.config.training, folder / runs.PICTURES, runs.read_source(folder)
    if not kept.is_dir() and not source:
        raise InputError(f"{folder.name}: the pictures that it was trained on are not there")
    if kept.is_dir():
        images = open_images(kept)
    else:
        images = read_images(
            source,
            height=training.input_height,
            width=training.input_width,
            channels=model.config.picture_shape[0],
            fit=training.fit,
            classes=training.classes,
        )
    if images.captions is None or not any(map(shapes.is_caption, images.captions)):
        raise InputError(
            f"{folder.name}: only models of drawn shapes can be scored exactly: train one with "
            "python -m sd train shapes"
        )
    if max(images.pixels.shape[2:]) > shapes.LARGEST_SIDE:
        raise InputError(f"{folder.name}: pictures of at most {shapes.LARGEST_SIDE} are read")
    return images


def choose_captions(trained: Sequence[str], count: int) -> list[tuple[str, bool]]:
    """Return `count` captions of two shapes, each with whether it was trained on, half of each."""
    known, source = set(trained), random.Random(0)
    two = [each for each in shapes.captions() if shapes.parse(each).second]
    kinds = [[each for each in two if (each in known) is seen] for seen in (True, False)]
    for each in kinds:
        source.shuffle(each)
    there = [each for each in kinds if each]
    chosen = [there[k % len(there)] for k in range(count)]
    return [(kind[k // len(there) % len(kind)], kind is kinds[0]) for k, kind in enumerate(chosen)]


def draw(model: Model, prompts: Sequence[str], steps: int, guidance: float, device: str) -> Tensor:
    """Return a picture for each prompt, [N, 3, H, W] in [-1, 1] on the CPU; seeds count from 0."""
    import torch

    made, sampling = [], model.sampling(SAMPLER, steps)
    for first in range(0, len(prompts), AT_ONCE):
        part = list(prompts[first : first + AT_ONCE])
        denoiser = model.guided(part, guidance=Guidance((guidance,)))
        seeds = range(first, first + len(part))
        z = sampling.sample(denoiser, model.shape, seeds, device)
        made.append(model.space.decode(z).cpu())
    return torch.cat(made)


def figures(
    asked: Sequence[tuple[str, bool]], right: Sequence[bool], copies: Sequence[bool]
) -> dict[str, Any]:
    """Return how many samples of each kind of caption there are, are right, and are copies."""
    found: dict[str, Any] = {}
    for name, wanted in (("trained", True), ("unseen", False)):
        kept = [k for k, (_, seen) in enumerate(asked) if seen is wanted]
        found[name] = {
            "count": len(kept),
            "right": sum(right[k] for k in kept),
            "copies": sum(copies[k] for k in kept),
        }
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """Return the figures in words."""
    told = []
    for name, what in (("trained", "captions in training"), ("unseen", "captions never shown")):
        part = found[name]
        if part["count"]:
            shares = (
                f"{part[key] / part['count']:.1%} ({part[key]})" for key in ("right", "copies")
            )
            right, copies = shares
            told.append(
                f"{part['count']} samples of {what}: {right} drawn as asked, {copies} copies"
            )
        else:
            told.append(f"{what}: none; all that can be asked was trained on")
    told.append(f"{found['steps']} steps of {found['sampler']}, guidance {found['guidance']:g}")
    return told
