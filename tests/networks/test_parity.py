"""Our U-Net against outputs of the reference latent-diffusion code."""

import pytest
import torch

from tests.helpers.parity import fixture

SMALL = ["unet_seed", "unet_class_conditional", "unet_cross_attention", "unet_avgpool"]
FULL = "unet_sd_v1"


@pytest.mark.parametrize("name", [*SMALL, FULL])
def test_names_shapes_and_counts_equal_the_reference(name):
    reference = fixture(name)
    state = reference.network().state_dict()
    wanted = {key: list(shape) for key, shape in reference.spec["state_dict"].items()}
    assert {key: list(tensor.shape) for key, tensor in state.items()} == wanted
    assert sum(tensor.numel() for tensor in state.values()) == reference.spec["parameters"]


def test_the_full_v1_network_has_its_published_size():
    state = fixture(FULL).network().state_dict()
    assert len(state) == 686
    assert sum(tensor.numel() for tensor in state.values()) == 859_520_964


@pytest.mark.parametrize("name", [*SMALL, pytest.param(FULL, marks=pytest.mark.slow)])
def test_outputs_equal_the_reference(name):
    reference = fixture(name)
    with torch.no_grad():
        out = reference.filled()(**reference.inputs())
    torch.testing.assert_close(out, reference.output(), rtol=0, atol=1e-4)
