"""A model: a network with its settings and its conditioner, ready to be sampled from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sd.checkpoints.record import LICENSE, RAIL_M
from sd.common.validation import InputError, shown
from sd.config import Config
from sd.data.space import Pixels, Shape, Space, encode_mask
from sd.diffusion.guidance import Denoiser, Guidance
from sd.diffusion.loss import Diffusion
from sd.diffusion.sampling import Sampling
from sd.networks.autoencoder import AutoencoderKL
from sd.networks.blueprint import check_size
from sd.networks.clip.captions import ClipCaptions
from sd.networks.conditioned import ConditionedNetwork, Inpainting
from sd.networks.conditioning import Conditioner
from sd.networks.conditioning_metadata import default_prompts
from sd.networks.first_stage import Latents
from sd.networks.unet import UNetModel


class Samplable:
    """What a trained model and a closed-form one share: the process and the space of a config."""

    config: Config

    @cached_property
    def diffusion(self) -> Diffusion:
        """The process whose noise it takes away."""
        return Diffusion.from_config(self.config.diffusion)

    @cached_property
    def space(self) -> Space:
        """Where it samples, and the way from there to pictures."""
        return Pixels(self.config.picture_shape)

    @property
    def shape(self) -> Shape:
        """The shape (c, h, w) of what is sampled."""
        return self.space.latent_shape

    def sampling(
        self, sampler: str = "ddim", steps: int = 50, clip_x0: bool = True, **settings: Any
    ) -> Sampling:
        """Return a `Sampling` over this model's own schedule and noise, clipped if its space is."""
        noise_info = self.config.diffusion.noise_info
        settings |= {"noise_info": noise_info, "clip_x0": self.space.clips and clip_x0}
        return Sampling(self.diffusion.schedule, sampler, steps, **settings)


@dataclass(frozen=True)
class Model(Samplable):
    """A U-Net with all that is needed to sample from it; `about` is its checkpoint.json.

    conditioner: reads its prompts; None for a model that takes none. latents: the space that it
    samples in; None where that is pixels. known: the picture [C, H, W] and the mask [1, H, W] that
    an inpainting network is shown; None: nothing is known, all is made anew.
    """

    unet: UNetModel
    config: Config
    about: Mapping[str, Any] = field(default_factory=dict)
    conditioner: Conditioner | None = None
    latents: Latents | None = None
    known: tuple[Tensor, Tensor] | None = None

    @cached_property
    def space(self) -> Space:
        """Where it samples, and the way from there to pictures."""
        if self.latents is None:
            return Pixels(self.config.picture_shape)
        return self.latents

    @cached_property
    def network(self) -> ConditionedNetwork:
        """The U-Net and the conditioner as one module."""
        return ConditionedNetwork(self.unet, self.conditioner)

    @property
    def denoiser(self) -> Denoiser:
        """The network as samplers call it, without a prompt."""
        return self.guided()

    @torch.no_grad()
    def guided(
        self,
        prompts: Sequence[str] = (),
        negative: str = "",
        guidance: Guidance = Guidance(),  # noqa: B008 (a constant)
    ) -> Denoiser:
        """Return the denoiser for `prompts`, which the pictures of a batch take in turn.

        Guidance leads away from `negative`, "" being the null. Raises `InputError` for a class
        that it does not know, and where a model without a conditioner is given any.
        """
        if self.conditioner is None:
            if any(prompts) or negative:
                prompt = shown(next(filter(None, [*prompts, negative])))
                raise InputError(f"prompt = {prompt}: this model knows no words or classes")
            if self.unet.config.context_dim is not None:
                raise InputError(
                    "this model came without the text encoder that its network is told by, so it "
                    "draws nothing; take a file or folder that has one"
                )
            return Denoiser(self._asked, self.diffusion)
        device = next(self.unet.parameters()).device
        rows = self.conditioner.read([*(prompts or [""]), negative]).to(device)  # of one length
        cond, uncond = (self.conditioner(each) for each in (rows[:-1], rows[-1:]))
        return Denoiser(self._asked, self.diffusion, cond, uncond, guidance)

    def release_text_encoder(self) -> None:
        """Let go of CLIP's weights, once all is read that will be; prompts are parsed as before."""
        if isinstance(self.conditioner, ClipCaptions):
            self.conditioner.encoder.to("meta")

    @property
    def has_text_encoder(self) -> bool:
        """Whether there is nothing to read prompts with that was let go of."""
        released = isinstance(self.conditioner, ClipCaptions) and any(
            each.is_meta for each in self.conditioner.encoder.parameters()
        )
        return not released

    def around(self, picture: Tensor, mask: Tensor) -> "Model":
        """Return the model as it draws within a mask [1, H, W], 1 where a picture is made anew.

        An inpainting network is shown both, the picture [C, H, W] in [-1, 1]; others are the same.
        """
        return replace(self, known=(picture, mask)) if self.is_inpainting else self

    @property
    def is_restricted(self) -> bool:
        """Whether Stable Diffusion's licence goes along with its weights.

        They are Stable Diffusion's, hold its autoencoder (own ones have no attention in the
        middle), or were trained on one of them.
        """
        autoencoder = None if self.latents is None else self.latents.autoencoder
        published = isinstance(autoencoder, AutoencoderKL) and autoencoder.config.mid_attention
        is_lora = self.config.training.lora_rank > 0
        return published or is_lora or self.about.get(LICENSE) == RAIL_M

    @property
    def is_inpainting(self) -> bool:
        """Whether its network sees a mask and what is around it."""
        return self.unet.config.channel == 2 * self.config.unet.channel + 1

    @property
    def _asked(self) -> Any:
        """The network as it is asked: with x_t alone."""
        return Inpainting(self.unet, self._beside) if self.is_inpainting else self.unet

    def _beside(self) -> Tensor:
        """Return what an inpainting network sees beside x_t, [1 + c, h, w]."""
        shape = self.space.picture_shape
        picture, mask = self.known or (torch.zeros(shape), torch.ones(1, *shape[1:]))
        device = next(self.unet.parameters()).device
        z = self.space.encode((picture * (1 - mask))[None].to(device))[0]
        return torch.cat([encode_mask(mask.to(z), self.space), z])

    def resized(self, height: int, width: int) -> "Model":
        """Return it as a model of pictures of another size, its network the same.

        Raises `InputError` for a size that the network cannot draw.
        """
        check_size(self.config.unet, height, width, self.config.factor)
        training = replace(self.config.training, input_height=height, input_width=width)
        config, latents = replace(self.config, training=training), self.latents
        if latents is not None:
            latents = replace(latents, picture_shape=config.picture_shape)
        return replace(self, config=config, latents=latents)

    @property
    def default_prompts(self) -> tuple[str, ...]:
        """The prompts of its own run's samples; none where it takes none."""
        if self.conditioner is None:
            return ()
        chosen = self.config.conditioning.sample_prompts
        return default_prompts(chosen, self.conditioner.labels, self.conditioner.examples)
