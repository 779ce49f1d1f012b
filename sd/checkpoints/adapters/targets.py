"""The layers that a LoRA in training changes, and what kohya's files call them. No torch."""

import re
from math import prod

from sd.checkpoints.pretrained.names import unet_modules, unet_tensors
from sd.config import Config

KOHYA = "lora_unet_"
IN_BLOCKS = re.compile(r"(input_blocks\.[1-9]|middle_block|output_blocks)")
ATTENTION = re.compile(r"\.attn[12]\.(to_q|to_k|to_v|to_out\.0)$")
NORM = re.compile(r"norm\d?$|(in|out)_layers\.0$")


def spell_targets(config: Config) -> dict[str, str]:
    """Return what a file calls the layers that the settings adapt, by our names."""
    wanted = ATTENTION if config.training.lora_targets == "attention" else IN_BLOCKS
    return {
        ours: KOHYA + theirs.replace(".", "_")
        for ours, theirs in unet_modules(config.unet).items()
        if wanted.search(ours) and not NORM.search(ours)
    }


def count_parameters(config: Config) -> int:
    """Return how many values the LoRA of the settings has: A and B of each layer."""
    targets, total = spell_targets(config), 0
    for each in unet_tensors(config.unet):
        layer, _, kind = each.ours.rpartition(".")
        if kind == "weight" and layer in targets:
            out, inputs, *kernel = each.shape
            total += out + inputs * prod(kernel)
    return total * config.training.lora_rank
