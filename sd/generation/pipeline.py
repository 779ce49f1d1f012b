"""A recipe made into pictures: the same on the same machine, versions and threads, byte for byte.

Here a recipe's embedded pictures become tensors, and its beginning becomes x at the first time.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sd.common.validation import InputError
from sd.data.decoding.decoder import CHANNELS, open_quietly
from sd.data.images import to_float
from sd.data.space import (
    KeptOutside,
    Shape,
    Space,
    encode_mask,
    factor_of,
    feather,
    is_finite,
)
from sd.diffusion.guidance import Guidance
from sd.diffusion.loss import Diffusion
from sd.diffusion.process import DenoiserLike
from sd.diffusion.sampling import (
    KnownRegion,
    SampleStep,
    Sampling,
    TrustRegion,
    draw_noise,
    generators,
    slerp,
)
from sd.generation.recipe import Recipe


class Source(Protocol):
    """What can be sampled: a trained model, or the closed-form model of a picture set."""

    @property
    def space(self) -> Space: ...
    @property
    def diffusion(self) -> Diffusion: ...
    @property
    def denoiser(self) -> DenoiserLike: ...
    def guided(
        self, prompts: Sequence[str] = ..., negative: str = ..., guidance: Guidance = ...
    ) -> DenoiserLike: ...
    def sampling(self, sampler: str = ..., steps: int = ..., **settings: Any) -> Sampling: ...
    def resized(self, height: int, width: int) -> "Source": ...
    def around(self, picture: Tensor, mask: Tensor) -> "Source": ...


LEAST_SIGMA = 1e-4  # of a beginning: less noise is none to a picture, and to float64 hard to tell


def stream(
    recipe: Recipe,
    source: Source,
    device: torch.device | str,
    start: Tensor | None = None,
) -> Iterator[SampleStep]:
    """Yield each completed step of a recipe's pictures.

    `start` is what `begin_x` returned, if it was called before. Raises `InputError`, before
    anything is made, where the recipe does not fit the model.
    """
    source = sized(recipe, source)
    start = begin_x(recipe, source, device) if start is None else start
    steps = sampling_of(recipe, source).steps(
        denoiser_of(recipe, source),
        source.space.latent_shape,
        recipe.seeds,
        device,
        start=start,
        first=recipe.first,
        known=known_of(recipe, source.space),
        trust_region=trust_region_of(recipe, source),
    )
    return (check_step(step, recipe) for step in steps)


def check_step(step: SampleStep, recipe: Recipe) -> SampleStep:
    """Return a step, its x_t (N, C, H, W), if all of that is finite.

    Raises `InputError` for the first picture that is not: its seed, and the step.
    """
    if is_finite(step.x_t):
        return step
    finite = [is_finite(each) for each in step.x_t]
    raise InputError(
        f"seed {recipe.seeds[finite.index(False)]}, step {step.i}: values that are not finite "
        "numbers; the model's weights are damaged or too large for what it computes in, which for "
        "a published one #dtype=float32 changes"
    )


def sized(recipe: Recipe, source: Source) -> Source:
    """Return a source whose pictures have a recipe's size; `InputError` where it has none such."""
    if recipe.size is None or recipe.size == source.space.picture_shape[1:]:
        return source
    return source.resized(*recipe.size)


def denoiser_of(recipe: Recipe, source: Source) -> DenoiserLike:
    """Return the model's denoiser under a recipe's prompts and guidance."""
    guidance = Guidance(recipe.guidance, recipe.rescale, recipe.interval)
    start = recipe.root.start
    if start is not None and start.mask is not None:
        shape = source.space.picture_shape
        source = source.around(picture_tensor(start.picture, shape), mask_tensor(start.mask, shape))
    return source.guided(recipe.prompts, recipe.negative, guidance)


def begin_x(
    recipe: Recipe,
    source: Source,
    device: torch.device | str,
    branch_point: SampleStep | None = None,
) -> Tensor:
    """Return x [B, c, h, w] before a recipe's first step.

    branch_point: the step after which its parent is left; made again where it was not kept.
    """
    source = sized(recipe, source)
    check(recipe, source)
    if not recipe.branch:
        return starting_x(recipe, source)
    if branch_point is None:
        steps = stream(recipe.branch.recipe, source, device)
        branch_point = next(islice(steps, recipe.branch.at - 1, None))
    return paint_over(branch_point, recipe.branch.paint, source)


def sampling_of(recipe: Recipe, source: Source) -> Sampling:
    """Return the sampler of a recipe, from the time at which it begins."""
    return source.sampling(
        recipe.sampler,
        recipe.steps,
        eta=recipe.eta,
        variance=recipe.variance,
        spacing=recipe.spacing,
        clip_x0=recipe.clip_x0,
        times=remaining_times(recipe, source),
        start_time=start_time(recipe, source),
    )


def remaining_times(recipe: Recipe, source: Source) -> list[float] | None:
    """Return the parent's own times where a branch takes as many steps as were left, else None.

    So a branch with nothing changed is the same future: a grid laid anew may round otherwise.
    """
    if recipe.branch is None or recipe.spacing != recipe.branch.recipe.spacing:
        return None
    left = sampling_of(recipe.branch.recipe, source).times[recipe.branch.at :]
    return left if len(left) == recipe.steps else None


def start_time(recipe: Recipe, source: Source) -> float | None:
    """Return the t at which a recipe begins; None is T."""
    if recipe.start:
        return max(recipe.start.t, float(source.diffusion.schedule.time_of(LEAST_SIGMA)))
    if not recipe.branch:
        return None
    times = [*sampling_of(recipe.branch.recipe, source).times, 0.0]
    if recipe.branch.at >= len(times) - 1:
        raise InputError(
            f"branch at = {recipe.branch.at}: must be a whole number from 1 to {len(times) - 2}, "
            "before the last step"
        )
    return times[recipe.branch.at]


def check(recipe: Recipe, source: Source) -> None:
    """Raise `InputError` where a recipe's pictures, time or branch do not fit the model."""
    source = sized(recipe, source)
    start_time(recipe, source)
    denoiser_of(recipe, source)
    if recipe.start:
        T = source.diffusion.schedule.timesteps
        if not 0 < recipe.start.t <= T:
            raise InputError(f"t = {recipe.start.t:g}: must be above 0 and at most {T}")
        picture_tensor(recipe.start.picture, source.space.picture_shape)
        if recipe.start.mask is not None:
            mask_tensor(recipe.start.mask, source.space.picture_shape)
    if recipe.branch:
        if recipe.branch.paint is not None:
            paint_tensors(recipe.branch.paint, source.space.picture_shape)
        check(recipe.branch.recipe, source)


def starting_x(recipe: Recipe, source: Source) -> Tensor:
    """Return x [B, c, h, w] where a recipe without a branch begins: noise, or a picture at t.

    The noise is the seed's, or lies between two seeds' on the great circle through both
    (Shoemake 1985): pictures 0 and count - 1 start exactly where the two seeds do.
    """
    process, shape = source.diffusion, source.space.latent_shape
    eps = draw_noise(shape, generators(recipe.seeds))
    if recipe.seed_to is not None:
        other = draw_noise(shape, generators([recipe.seed_to]))[0]
        shares = [k / max(recipe.count - 1, 1) for k in range(recipe.count)]
        eps = torch.stack(
            [slerp(one, other, share) for one, share in zip(eps, shares, strict=True)]
        )
    if recipe.start:
        x0 = encoded_picture(recipe.start.picture, source.space)
        first = sampling_of(recipe, source).times[0]  # of a leading grid, below the start's t
        return process.q_sample(x0.expand_as(eps), first, eps)
    return process.pure_noise(eps)


def known_of(recipe: Recipe, space: Space) -> KnownRegion | None:
    """Return the picture and mask that hold outside of what is made anew; branches inherit them."""
    start = recipe.root.start
    if start is None or start.mask is None:
        return None
    mask = mask_tensor(start.mask, space.picture_shape)
    return KnownRegion(encoded_picture(start.picture, space), encode_mask(mask, space))


def space_of(recipe: Recipe, space: Space) -> Space:
    """Return the way to a recipe's pictures: what lies outside of its mask comes back to the bit.

    Between it and what is made anew lies half a place of z, within the mask, where both are mixed.
    """
    start, factor = recipe.root.start, factor_of(space)
    if start is None or start.mask is None or factor == 1:
        return space
    mask = mask_tensor(start.mask, space.picture_shape)
    picture = picture_tensor(start.picture, space.picture_shape)
    return KeptOutside(space, picture, feather(mask, max(1, factor // 2)))


def trust_region_of(recipe: Recipe, source: Source) -> TrustRegion | None:
    """Return the picture near which estimates stay, that at which it began; branches inherit it.

    Not those that are painted on: paint is meant to lead away.
    """
    if recipe.branch:
        return None if recipe.branch.paint else trust_region_of(recipe.branch.recipe, source)
    if recipe.start is None:
        return None
    a, b = source.diffusion.schedule.at(sampling_of(recipe, source).times[0])
    x0 = encoded_picture(recipe.start.picture, source.space)
    return TrustRegion(x0, b / a) if a else None


def paint_over(step: SampleStep, paint: bytes | None, source: Source) -> Tensor:
    """Return x_t with `paint` laid over the picture of its estimate x_0, under the same noise."""
    if paint is None:
        return step.x_t
    colour, cover = (each.to(step.x_t) for each in paint_tensors(paint, source.space.picture_shape))
    a, _ = source.diffusion.factors(step.t, step.x_t)
    return source.space.paint(step.x_t, step.x0, a, colour, cover)


def pick_pixel(recipe: Recipe, shape: Shape) -> tuple[int, int]:
    """Return row and column of a picture's pixel at which something is made: within the mask.

    Without a mask it is the middle.
    """
    start = recipe.root.start
    if start is None or start.mask is None:
        return shape[1] // 2, shape[2] // 2
    row, column = divmod(int(mask_tensor(start.mask, shape).flatten().argmax()), shape[2])
    return row, column


def rms_distance(x: Tensor, y: Tensor) -> float:
    """Return the root of the mean squared difference of pictures of one shape, in units of x."""
    return float((x - y).square().mean().sqrt())


def encoded_picture(data: bytes, space: Space) -> Tensor:
    """Return an embedded picture as x_0 [c, h, w]."""
    return space.encode(picture_tensor(data, space.picture_shape)[None])[0]


def picture_tensor(data: bytes, shape: Shape) -> Tensor:
    """Return an embedded picture as floats [C, H, W]; it must have the model's own size."""
    return to_float(_pixels("picture", data, shape, CHANNELS[shape[0]]))


def mask_tensor(data: bytes, shape: Shape) -> Tensor:
    """Return an embedded mask [1, H, W] of 0..1; 1 (white) is made anew."""
    return _pixels("mask", data, shape, "L").to(torch.float32) / 255


def paint_tensors(data: bytes, shape: Shape) -> tuple[Tensor, Tensor]:
    """Return the colours [C, H, W] in [-1, 1] of embedded paint and its cover [1, H, W] of 0..1.

    Paint on a picture with transparency (C = 4) is opaque.
    """
    rgba = _pixels("paint", data, shape, "RGBA")
    colour = to_float(rgba[:3])
    if shape[0] == 1:
        colour = colour.mean(0, keepdim=True)
    elif shape[0] == 4:
        colour = torch.cat([colour, torch.ones_like(colour[:1])])
    return colour, rgba[3:].to(torch.float32) / 255


def _pixels(name: str, data: bytes, shape: Shape, mode: str) -> Tensor:
    """Return a PNG of exactly the model's size as uint8 [channels, H, W]."""
    height, width = shape[1:]
    try:
        with open_quietly(data, ["PNG"]) as image:
            if image.size != (width, height):
                raise InputError(
                    f"{name} of {image.size[0]} x {image.size[1]} pixels: "
                    f"must have the model's {width} x {height}"
                )
            array = np.array(image.convert(mode))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: not a PNG that can be read") from None
    return torch.from_numpy(array.reshape(height, width, -1)).permute(2, 0, 1).contiguous()
