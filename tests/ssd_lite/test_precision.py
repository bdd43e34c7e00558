"""Chapter 11: the precision of the network's arithmetic."""

import pytest
import torch

from ssd_lite.precision import autocast


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_products_have_the_precision_that_was_asked_for(precision, dtype):
    with autocast(torch.device("cpu"), precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_an_unknown_precision_is_an_error():
    with pytest.raises(ValueError, match="precision: expected fp32 or bf16, got 'fp16'"):
        autocast(torch.device("cpu"), "fp16")
