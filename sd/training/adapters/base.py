"""Training a LoRA: adapters beside a published U-Net, and its text encoder's answers, kept."""

import torch

from sd.checkpoints.adapters.targets import spell_targets
from sd.checkpoints.model import Model
from sd.common.randomness import keyed_generator
from sd.common.validation import InputError
from sd.config import Config
from sd.data.image_set import ImageSet
from sd.networks.adapters.training import AdaptedUNet, EncodedCaptions, FrozenNetwork
from sd.networks.clip.captions import ClipCaptions
from sd.networks.conditioning_metadata import EXAMPLES, evenly_spaced


def base_of(config: Config, start: Model | None) -> Model | None:
    """Return the model that a LoRA is for; None where the network itself is trained."""
    if config.training.lora_rank and start is None:
        raise InputError(
            "training.start_from = None: a LoRA is trained for a published model; say which, as "
            "with --lora FILE"
        )
    return start if config.training.lora_rank else None


def adapt(base: Model, config: Config, seed: int) -> AdaptedUNet:
    """Return a base's U-Net with new adapters, A drawn by the seed and B zero."""
    training = config.training
    frozen = FrozenNetwork(base.unet, spell_targets(config), kept=not training.recompute)
    with torch.random.fork_rng():
        torch.manual_seed(keyed_generator(seed, "weights", 0).initial_seed())
        return AdaptedUNet(frozen, training.lora_rank, training.lora_alpha)


def encode_captions(base: Model, images: ImageSet, rows: torch.Tensor) -> EncodedCaptions:
    """Return the conditioner of a LoRA's training, which encodes what it is asked to read."""
    captions = [(images.captions or ())[row] for row in rows.tolist()]
    examples = tuple(evenly_spaced([each for each in captions if each], EXAMPLES))
    assert isinstance(base.conditioner, ClipCaptions)
    return EncodedCaptions(base.conditioner, examples, base.conditioner.room + 2)
