"""The door between z and pictures: whether all values are numbers."""

import pytest
import torch

from sd.data.space import is_finite

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_one_value_that_is_no_number_is_found(dtype: torch.dtype, value: float) -> None:
    x = torch.randn(2, 3, 5, 5).to(dtype).contiguous(memory_format=torch.channels_last)
    assert is_finite(x)
    x[1, 2, 0, 4] = value
    assert not is_finite(x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_numbers_are_finite_though_their_sum_is_not(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    assert is_finite(torch.tensor([largest, largest, -largest, 0.0], dtype=dtype))
    assert is_finite(torch.zeros(0, dtype=dtype))
