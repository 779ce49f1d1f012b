"""A small diffusion model that was trained with sd, as a pipeline of diffusers.

This file lies in the folder of an exported model and needs torch and diffusers alone:

    pipeline = DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)
    pipeline("a red heart", generator=[torch.Generator().manual_seed(0)]).images[0]
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor


class SmallDiffusionPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Pictures from noise, unconditional or of a class or caption; of pixels or of latents."""

    _optional_components = ("vae", "conditioner")

    def __init__(
        self,
        unet: Any,
        scheduler: Any,
        vae: Any = None,
        conditioner: Any = None,
        shape: list[int] | None = None,
        vae_patch: int = 1,
        latent_mean: list[float] | None = None,
        latent_std: list[float] | None = None,
        labels: list[str] | None = None,
    ) -> None:
        """Take the parts, and what joins them.

        shape: what is sampled, (c, h, w). vae_patch: side of the blocks of pixels that the
        autoencoder sees as one place. latent_mean, latent_std: of each channel of the latents; the
        U-Net sees them normalised. labels: the classes that the model knows.
        """
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, vae=vae, conditioner=conditioner)
        self.register_to_config(
            shape=shape,
            vae_patch=vae_patch,
            latent_mean=latent_mean,
            latent_std=latent_std,
            labels=labels or [],
        )

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str] = "",
        negative_prompt: str = "",
        num_images_per_prompt: int = 1,
        num_inference_steps: int = 50,
        guidance_scale: float = 2.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pil",
    ) -> Any:
        """Return an `ImagePipelineOutput` of pictures; prompts are captions, or names of classes.

        output_type: "pil", "np" (0..1, [N, H, W, C]) or "pt" (-1..1, [N, C, H, W]).
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        prompts = [each for each in prompts for _ in range(num_images_per_prompt)]
        guided = self._is_conditional and guidance_scale != 1.0
        told = self._read([*prompts, *[negative_prompt] * (len(prompts) if guided else 0)])
        size = (len(prompts), *self.config.shape)
        x = randn_tensor(size, generator, self._execution_device, self.unet.dtype)
        self.scheduler.set_timesteps(num_inference_steps, device=x.device)
        x = x * self.scheduler.init_noise_sigma
        known = inspect.signature(self.scheduler.step).parameters
        extra = {"use_clipped_model_output": True} if "use_clipped_model_output" in known else {}
        for t in self.progress_bar(self.scheduler.timesteps):
            seen = self.scheduler.scale_model_input(x, t)
            out = self.unet(torch.cat([seen, seen]) if guided else seen, t, **told)
            if guided:
                cond, uncond = out.chunk(2)
                out = uncond + guidance_scale * (cond - uncond)
            x = self.scheduler.step(out, t, x, **extra).prev_sample
        pictures: Any = self._decode(x)
        if output_type != "pt":
            array = (pictures / 2 + 0.5).permute(0, 2, 3, 1).float().cpu().numpy()
            pictures = self.numpy_to_pil(array) if output_type == "pil" else array
        return ImagePipelineOutput(images=pictures)

    @property
    def _is_conditional(self) -> bool:
        return self.conditioner is not None or bool(self.config.labels)

    def _read(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Return what the U-Net is told."""
        if not self._is_conditional:
            if any(prompts):
                raise ValueError("this model knows no words or classes")
            return {}
        device = self._execution_device
        if not self.config.labels:
            return self.conditioner(self.conditioner.read(prompts).to(device))  # type: ignore[no-any-return]
        for unknown in set(prompts) - {*self.config.labels, ""}:
            known = ", ".join(self.config.labels)
            raise ValueError(f"class {unknown!r}: the model knows {known}")
        numbers = [
            self.config.labels.index(each) if each else len(self.config.labels) for each in prompts
        ]
        rows = torch.tensor(numbers, device=device)
        return {"y": rows} if self.conditioner is None else self.conditioner(rows)

    def _decode(self, x: Tensor) -> Tensor:
        """Return the pictures of what was sampled, in [-1, 1]."""
        if self.vae is not None:
            mean, std = (
                torch.tensor(each, device=x.device, dtype=x.dtype)[:, None, None]
                for each in (self.config.latent_mean, self.config.latent_std)
            )
            x = self.vae.decode(x * std + mean, return_dict=False)[0]
            x = F.pixel_shuffle(x, self.config.vae_patch)
        return x.clamp(-1, 1)
