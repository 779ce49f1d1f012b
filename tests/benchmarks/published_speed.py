"""Networks of Stable Diffusion v1's full size, random weights: ours, diffusers' and OpenVINO's.

    python -m tests.benchmarks.published_speed [unet | decode | encode ...] [--side 256]
        [--dtype float32 | bfloat16] [--rounds 2] [--against diffusers | openvino] [--width 320]

One process, the same tensors, one call each in turn; processor seconds, so that a crowded machine
counts less. OpenVINO (`pip install openvino`) converts the network first, which is told too; it
computes in the type that it is asked for, and its outputs are compared. All three at 256 px take
about 90 processor seconds and 4.7 GB; a U-Net of half the width (160) a quarter of it.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from sd.checkpoints.pretrained.folders.components import autoencoder_state
from sd.checkpoints.pretrained.names import to_theirs, unet_tensors
from sd.networks.autoencoder import AutoencoderKL
from sd.networks.unet import UNetModel
from tests.benchmarks.published import V1
from tests.benchmarks.timing import Ratio, alternate, peer

FULL = {"ch": 128, "ch_mult": (1, 2, 4, 4), "num_res_blocks": 2, "z_channels": 4}
BLOCKS = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def processor_seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def filled(network: Any, dtype: torch.dtype) -> Any:
    """Return a network without storage with small random weights, laid out as ours are."""
    network = network.to(dtype).to_empty(device="cpu").to(memory_format=torch.channels_last)
    with torch.no_grad():
        for each in network.parameters():
            each.uniform_(-0.04, 0.04)
    return network


def unets(dtype: torch.dtype, width: int) -> tuple[Any, Any]:
    """Return our U-Net and diffusers' with the same tensors."""
    config = replace(V1, model_channels=width)
    with torch.device("meta"):
        ours = UNetModel.from_config(config)
    ours = filled(ours, dtype)
    names = to_theirs(unet_tensors(config))
    widths = tuple(width * mult for mult in V1.channel_mult)
    with torch.device("meta"):
        theirs = peer("diffusers").UNet2DConditionModel(
            cross_attention_dim=768, attention_head_dim=8, block_out_channels=widths
        )
    state = {names[name]: each for name, each in ours.state_dict().items()}
    theirs.load_state_dict(state, assign=True)
    return ours.eval(), theirs.eval()


def autoencoders(dtype: torch.dtype) -> tuple[Any, Any]:
    """Return our autoencoder and diffusers' with the same tensors."""
    with torch.device("meta"):
        ours = AutoencoderKL(FULL, 4)
    ours = filled(ours, dtype)
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4}
    kinds |= {"up_block_types": ("UpDecoderBlock2D",) * 4}
    with torch.device("meta"):
        theirs = peer("diffusers").AutoencoderKL(latent_channels=4, **BLOCKS, **kinds)
    theirs.load_state_dict(autoencoder_state(ours), assign=True)
    return ours.eval(), theirs.eval()


def works(
    what: str, side: int, dtype: torch.dtype, width: int
) -> tuple[Any, Callable[..., Any], tuple[Any]]:
    """Return our network as OpenVINO takes it, diffusers' call, and what both are asked."""
    if what == "unet":
        ours, theirs = unets(dtype, width)
        x, t = torch.randn(1, 4, side // 8, side // 8, dtype=dtype), torch.tensor([500])
        asked = x, t, torch.randn(1, 77, 768, dtype=dtype)
        return ours, lambda *given: theirs(*given).sample, asked  # type: ignore[return-value]
    ours, theirs = autoencoders(dtype)
    if what == "decode":
        z = torch.randn(1, 4, side // 8, side // 8, dtype=dtype)
        ours.forward = ours.decode
        return ours, lambda z: theirs.decode(z).sample, (z,)
    ours.forward = lambda x: ours.encode(x).mean
    x = torch.randn(1, 3, side, side, dtype=dtype)
    return ours, lambda x: theirs.encode(x).latent_dist.mean, (x,)


def converted(network: Any, asked: tuple[Any, ...], dtype: str) -> Callable[..., Any]:
    """Return OpenVINO's form of a network; says what converting took."""
    openvino = peer("openvino")
    began = time.process_time(), time.perf_counter()
    model = openvino.convert_model(network, example_input=asked)
    kinds = {"float32": "f32", "bfloat16": "bf16"}
    settings = {"INFERENCE_PRECISION_HINT": kinds[dtype], "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    took = time.process_time() - began[0], time.perf_counter() - began[1]
    print(f"openvino: converted and compiled in {took[0]:.1f} processor s, {took[1]:.1f} s")
    given = [each.float().numpy() if each.is_floating_point() else each.numpy() for each in asked]
    return lambda *_: torch.from_numpy(compiled(given)[0])


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["unet", "decode", "encode"])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--width", type=int, default=V1.model_channels)
    parser.add_argument("--against", default="diffusers")
    words = parser.parse_args()
    torch.set_num_threads(1)
    for what in words.what:
        torch.manual_seed(0)
        against_openvino = words.against == "openvino"
        made = torch.float32 if against_openvino else DTYPES[words.dtype]
        ours, theirs, asked = works(what, words.side, made, words.width)
        if against_openvino:
            theirs = converted(ours, asked, words.dtype)
            ours = ours.to(DTYPES[words.dtype])
            kept = asked
            asked = tuple(
                each.to(DTYPES[words.dtype]) if each.is_floating_point() else each for each in kept
            )
        one, other = ours(*asked).float(), theirs(*asked).float()
        calls = {
            "ours": lambda ours=ours, asked=asked: processor_seconds(lambda: ours(*asked)),
            words.against: lambda theirs=theirs, asked=asked: processor_seconds(
                lambda: theirs(*asked)
            ),
        }
        times = alternate(calls, words.rounds)
        ratio = Ratio.of(times["ours"], times[words.against])
        seconds = {name: min(each) for name, each in times.items()}
        differ = float((one - other).abs().max() / other.std())
        wide = f", {words.width} wide" if what == "unet" else ""
        print(
            f"{what}{wide}, {words.side} px, {words.dtype}: ours {seconds['ours']:.2f} CPU s, "
            f"{words.against} {seconds[words.against]:.2f}; ours / theirs {ratio}; they differ by "
            f"{differ:.1e} of the spread",
            flush=True,
        )


if __name__ == "__main__":
    main()
