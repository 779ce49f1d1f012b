"""The ways of running a preset's network, each answering for a process of its own.

Ours is the network as the page runs it; plain is its plain form; the others are inference engines
that get the same network with the same weights, converted for one batch at a time.
"""

import io
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from sd.common import device
from sd.config import Config
from sd.networks.unet import UNetModel
from tests.benchmarks import timing
from tests.benchmarks.network.plain import filled, forward_flops, inputs, plain_attention

Forward = Callable[[Tensor, Tensor], Tensor]
Maker = Callable[[UNetModel, Tensor, Tensor], Forward]


def ours(network: UNetModel, x: Tensor, t: Tensor) -> Forward:
    """Return the network laid out as it likes it; its process has been set up."""
    return network.to(memory_format=torch.channels_last)


def plain(network: UNetModel, x: Tensor, t: Tensor) -> Forward:
    """Return the network with its attention written out at every call."""

    def forward(x: Tensor, t: Tensor) -> Tensor:
        with plain_attention():
            return network(x, t)

    return forward


def as_onnx(network: UNetModel, x: Tensor, t: Tensor) -> bytes:
    """Return the network in the form of ONNX, for inputs of these shapes."""
    file = io.BytesIO()
    torch.onnx.export(network, (x, t), file, dynamo=False)
    return file.getvalue()


def openvino(network: UNetModel, x: Tensor, t: Tensor, precision: str = "f32") -> Forward:
    """Return the network as OpenVINO runs it on the CPU.

    It reads it as ONNX: what it makes of torch's own graph of `tiny` ends its process.
    """
    package = import_module("openvino")
    model = package.Core().read_model(as_onnx(network, x, t))
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    made = package.Core().compile_model(model, "CPU", settings)
    return lambda x, t: torch.from_numpy(made([x.numpy(), t.numpy()])[0])


def onnxruntime(network: UNetModel, x: Tensor, t: Tensor) -> Forward:
    """Return the network as ONNX Runtime runs it on the CPU."""
    package = import_module("onnxruntime")
    options = package.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    providers = ["CPUExecutionProvider"]
    session = package.InferenceSession(as_onnx(network, x, t), options, providers=providers)
    names = [each.name for each in session.get_inputs()]

    def forward(x: Tensor, t: Tensor) -> Tensor:
        given = dict(zip(names, (x.numpy(), t.numpy()), strict=True))
        return torch.from_numpy(session.run(None, given)[0])

    return forward


MAKERS: dict[str, Maker] = {
    "ours": ours,
    "plain": plain,
    "openvino": openvino,
    "openvino-bf16": partial(openvino, precision="bf16"),
    "onnxruntime": onnxruntime,
}


class Variant:
    """One way of running a preset's network, made ready for one batch at a time."""

    def __init__(self, preset: str, name: str) -> None:
        self.label = ""
        if name == "ours":
            machine = device.choose("cpu").apply()
            self.label = f"{machine.label}, matrix products by {machine.matmul}"
        self.preset, self.maker = preset, MAKERS[name]
        self.network = filled(UNetModel.from_config(Config.preset(preset).unet)).eval()

    @torch.no_grad()
    def ready(self, batch: int) -> float:
        """Make ready for a batch; return the seconds that it took."""
        self.given, began = inputs(self.preset, batch), time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of those who trace the network
            self.made = self.maker(self.network, *self.given)
        return time.perf_counter() - began

    @torch.no_grad()
    def forward(self) -> float:
        """Return the seconds of one pass."""
        return timing.seconds(lambda: self.made(*self.given))

    @torch.no_grad()
    def output(self) -> list[float]:
        """Return all that the network answers, the first picture's first."""
        return self.made(*self.given).flatten().tolist()

    def answers(self) -> Mapping[str, Callable[..., Any]]:
        """Return what it can be asked."""
        return {
            "label": lambda: self.label,
            "ready": self.ready,
            "forward": self.forward,
            "output": self.output,
            "peak": timing.peak,
            "flops": lambda: forward_flops(self.preset),
        }
