"""Phase 1 of latent diffusion: training an autoencoder (Rombach et al. 2021), or tuning a decoder.

The loss is mean |x - D(z)| + w KL(q(z | x) || N(0, 1)), with KL summed over z and divided by the
values of a picture; w = 1e-6 only keeps the latents' scale in bounds. There is no discriminator and
no perceptual network: in some thousand steps neither does anything. Every draw is a function of
(seed, purpose, step). A trained autoencoder is rounded to float16 at its end, as it is stored.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sd.checkpoints.first_stage import open_autoencoder
from sd.common.device import Machine, multiplies_bfloat16
from sd.common.randomness import keyed_generator
from sd.common.validation import InputError, whole
from sd.config import Config
from sd.config.sections import MOST_STEPS, OWN, TrainingConfig
from sd.data.image_set import ImageSet, split
from sd.data.images import to_float
from sd.diffusion.reconstruction import psnr
from sd.networks.autoencoder import AutoencoderKL, Posterior
from sd.networks.first_stage import Autoencoder, encode_mode, new_autoencoder
from sd.training.evaluation import evenly_spaced_rows
from sd.training.optimizers import Optimizer
from sd.training.randomness import batch_indices

CROP = 64  # pixels a side of what is trained on at once; networks of convolutions know no size
LOG_VARIANCE = -6.0  # of the posterior at first, so that latents carry the picture from the start
FALLING = 0.5  # share of the steps over which the rate falls to 0
RIM = 8  # pixels of a crop that a tuned decoder is not judged by: it sees only half of them
TUNING_RATE = 3e-4
MEASURED = 16  # pictures on which the PSNR is measured


@dataclass(frozen=True)
class FirstStageStep:
    """One step. loss: all of it, before the step's update; reconstruction: mean |x - D(z)|."""

    step: int
    total: int
    loss: float
    reconstruction: float
    lr: float
    seconds: float


def rate_at(rate: float, step: int, total: int) -> float:
    """Return the learning rate of a step: constant, then falling evenly to almost 0."""
    left = (total - step + 1) / max(1.0, FALLING * total)
    return rate * min(1.0, left)


class FirstStageTraining:
    """An autoencoder in training on a picture set; `steps` runs it from `step`."""

    def __init__(
        self,
        config: Config,
        images: ImageSet,
        seed: int,
        machine: Machine,
        tuned: Autoencoder | None = None,
    ) -> None:
        """Begin an own one, or with the decoder of `tuned`, whose latents stay as they are."""
        self.config, self.seed, self.machine, self.pixels = config, seed, machine, images.pixels
        self.rows, self.held_out = split(images, config.training.held_out, seed)
        stage = config.first_stage
        self.tunes = tuned is not None
        self.total = stage.tune_steps if self.tunes else stage.autoencoder_steps
        self.step = 0
        self.network: Autoencoder = self._new() if tuned is None else tuned
        self.network.to(machine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.train()
        part = self.network.decoder if self.tunes else self.network
        assert isinstance(part, nn.Module)
        self.network.requires_grad_(False)
        part.requires_grad_(True)
        self.trained = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        self._rate = TUNING_RATE if self.tunes else stage.autoencoder_rate
        settings = TrainingConfig(
            learning_rate=self._rate, optimizer="adamw" if self.tunes else "muon"
        )
        self.optimizer = Optimizer(self.trained, settings, machine.device)
        self._untuned = {n: p.detach().clone() for n, p in self.trained.items() if self.tunes}
        self._before = self.measure() if self.tunes else 0.0

    def _new(self) -> AutoencoderKL:
        """Return the untrained autoencoder of a seed, sure of its latents at first."""
        with torch.random.fork_rng():
            torch.manual_seed(keyed_generator(self.seed, "autoencoder", 0).initial_seed())
            network = new_autoencoder(self.config.first_stage, self.config.unet.channel)
        with torch.no_grad():
            bias = network.quant_conv.bias
            assert bias is not None
            bias[self.config.unet.channel :] += LOG_VARIANCE
        return network

    def steps(self) -> Iterator[FirstStageStep]:
        """Yield each step when it is complete; `InputError` where the loss is no number."""
        while self.step < self.total:
            begun = time.perf_counter()
            lr = rate_at(self._rate, self.step + 1, self.total)
            loss, reconstruction = self._step(self.step + 1, lr)
            if not math.isfinite(loss):
                raise InputError(
                    f"the autoencoder's loss is not a finite number at step {self.step + 1}: "
                    f"first_stage.autoencoder_rate = {self._rate:g} may be too high"
                )
            self.step += 1
            seconds = time.perf_counter() - begun
            yield FirstStageStep(self.step, self.total, loss, reconstruction, lr, seconds)

    def _step(self, step: int, lr: float) -> tuple[float, float]:
        """Take one step; return its loss and the part of it that is the picture's."""
        x = self.batch(step)
        lower = multiplies_bfloat16(self.machine.device)
        with torch.autocast(x.device.type, torch.bfloat16, lower):
            loss, reconstruction = self.loss(x, step)
        if torch.isfinite(loss):
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(list(self.trained.values()), 1.0)
            self.optimizer.step(lr)
        self.optimizer.zero_grad()
        return float(loss.detach()), float(reconstruction.detach())

    def loss(self, x: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the loss of pictures x [B, 3, H, W], and the mean |x - D(z)| in it."""
        if self.tunes:
            with torch.no_grad():
                z = encode_mode(self.network, x)
            found = self.network.decode(z)
            rim = min(RIM, min(x.shape[2:]) // 4)
            reconstruction = (found.float() - x)[..., rim:-rim, rim:-rim].abs().mean()
            return reconstruction, reconstruction
        assert isinstance(self.network, AutoencoderKL)
        posterior = self.network.encode(x)
        source = keyed_generator(self.seed, "autoencoder/noise", step)
        noise = torch.randn(posterior.mean.shape, generator=source).to(x.device)
        z, wanted = self._changed(posterior.sample(noise), x, step)
        reconstruction = (self.network.decode(z).float() - wanted).abs().mean()
        kl = kl_per_value(posterior, x)
        return reconstruction + self.config.first_stage.kl_weight * kl, reconstruction

    def _changed(self, z: Tensor, x: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return what is decoded and what must come of it: z and x, or as the settings change them.

        Where it is drawn, tau(z) must decode to tau(x), tau being quarter turns or half the size
        (EQ-VAE, Kouzelis et al. 2025, eq. 4); noise is s std(z) n, s evenly from 0 to the greatest,
        anew for each picture (l-DeTok, Yang et al. 2025, section 3.2), and no change of x.
        """
        stage = self.config.first_stage
        if stage.equivariance:
            source = keyed_generator(self.seed, "autoencoder/equivariance", step)
            if torch.rand(1, generator=source) < stage.equivariance:
                way = int(torch.randint(4, (1,), generator=source))
                z, x = transformed(z, way), transformed(x, way)
        if stage.latent_noise:
            source = keyed_generator(self.seed, "autoencoder/latent_noise", step)
            strength = stage.latent_noise * torch.rand(len(z), 1, 1, 1, generator=source)
            noise = torch.randn(z.shape, generator=source)
            std = z.detach().float().std(dim=(0, 2, 3), keepdim=True)
            z = z + (strength * noise).to(z.device) * std
        return z, x

    def batch(self, step: int) -> Tensor:
        """Return the crops [B, 3, h, w] of a step; with flips half of them mirrored."""
        stage = self.config.first_stage
        count = stage.autoencoder_batch
        chosen = self.rows[batch_indices(len(self.rows), count, step, self.seed)]
        source = keyed_generator(self.seed, "autoencoder/crop", step)
        pixels = self.pixels[chosen]
        sides = [min(side, max(CROP, 2 * stage.factor)) for side in pixels.shape[2:]]
        crops = []
        for picture in pixels:
            corners = [
                int(torch.randint(whole_side - side + 1, (1,), generator=source))
                for whole_side, side in zip(picture.shape[1:], sides, strict=True)
            ]
            (top, left), (height, width) = corners, sides
            crop = picture[:, top : top + height, left : left + width]
            mirrored = self.config.training.flip and torch.rand(1, generator=source) < 0.5
            crops.append(crop.flip(-1) if mirrored else crop)
        x = to_float(torch.stack(crops)).to(self.machine.device)
        return x.contiguous(memory_format=torch.channels_last)

    def measure(self) -> float:
        """Return the mean PSNR on whole held-out pictures, or on others where none are held out."""
        self.network.eval()
        found = measure_autoencoder(self.network, self.pixels, self.held_out, self.machine)
        self.network.train()
        return found

    @torch.no_grad()
    def reconstruct(self, count: int) -> Tensor:
        """Return 2 `count` pictures [2 count, 3, H, W]: each before what comes back of it.

        They are held-out ones, and others where these are few; of fewer still some come twice.
        """
        rows = evenly_spaced_rows(self.held_out, count)
        rows = torch.cat([rows, evenly_spaced_rows(self.rows, count - len(rows))])
        self.network.eval()
        shown = []
        for row in rows[torch.arange(count) % len(rows)]:
            x = to_float(self.pixels[row : row + 1]).to(self.machine.device)
            shown += [x, self.network.decode(encode_mode(self.network, x)).clamp(-1, 1)]
        self.network.train()
        return torch.cat(shown).float().cpu()

    def finish(self) -> Autoencoder:
        """Return the trained autoencoder as files hold it, in evaluation.

        One whose tuning did it no good is what it was.
        """
        with torch.no_grad():
            for each in self.trained.values():
                each.copy_(each.half().float())
            if self.tunes and self.measure() < self._before:
                for name, each in self.trained.items():
                    each.copy_(self._untuned[name])
        return self.network.eval().requires_grad_(False)

    def state(self) -> dict[str, Tensor]:
        """Return the tensors from which `restore` goes on as if training had never stopped."""
        tensors = self.optimizer.state()
        tensors |= {f"network.{n}": each for n, each in self.network.state_dict().items()}
        tensors["step"] = torch.tensor(float(self.step))
        return {name: each.detach().cpu().contiguous() for name, each in tensors.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up a `state` of the same settings; `InputError` if it is another's."""
        try:
            step = whole("step", int(tensors["step"]), 1, MOST_STEPS)
            prefix = "network."
            own = {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}
            self.network.load_state_dict(own)
            self.optimizer.restore(tensors, step)
        except (RuntimeError, KeyError) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"the autoencoder's state is not this network's ({reason})") from None
        self.step = step


def transformed(x: Tensor, way: int) -> Tensor:
    """Return pictures or latents [B, C, H, W] turned by `way` quarters; for 0 at half the size.

    A side that is odd is not halved: then all stays as it is.
    """
    if way:
        return x.rot90(way, (2, 3))
    return x if x.shape[2] % 2 or x.shape[3] % 2 else F.avg_pool2d(x, 2)


@torch.no_grad()
def measure_autoencoder(
    network: Autoencoder, pixels: Tensor, rows: Tensor, machine: Machine
) -> float:
    """Return the mean PSNR in dB of at most 16 of the pictures at `rows`, or where none of all."""
    rows = rows if len(rows) else torch.arange(len(pixels))
    network.to(machine.device)
    found = []
    for row in evenly_spaced_rows(rows, MEASURED):
        x = to_float(pixels[row : row + 1]).to(machine.device)
        found.append(psnr(x, network.decode(encode_mode(network, x))).cpu())
    return float(torch.cat(found).mean())


def kl_per_value(posterior: Posterior, x: Tensor) -> Tensor:
    """Return the mean KL(q || N(0, 1)) of pictures x, in nats a value of a picture."""
    return posterior.kl().mean() / x[0].numel()


def prepare_first_stage(
    config: Config, images: ImageSet, seed: int, machine: Machine
) -> "FirstStageTraining | None":
    """Return the training that a run's autoencoder needs before it encodes; None where it is ready.

    `InputError` where there is none of that name.
    """
    stage = config.first_stage
    if stage.autoencoder == OWN:
        return FirstStageTraining(config, images, seed, machine)
    if stage.tune_steps:
        return FirstStageTraining(config, images, seed, machine, open_autoencoder(config))
    return None


def ready_autoencoder(config: Config, images: ImageSet, seed: int, machine: Machine) -> Autoencoder:
    """Return the autoencoder of the settings, trained or tuned here if they want it."""
    training = prepare_first_stage(config, images, seed, machine)
    if training is None:
        return open_autoencoder(config)
    for _ in training.steps():
        pass
    return training.finish()
