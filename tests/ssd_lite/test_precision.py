"""Chapter 11: the precision of the network's arithmetic."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.machine import Bytes, has_bf16
from ssd_lite.model import SSD
from ssd_lite.precision import autocast
from ssd_lite.recipe import GPU_RECIPE
from ssd_lite.spec import LITE_300, SSD300_VOC


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_products_have_the_precision_that_was_asked_for(precision, dtype):
    with autocast(torch.device("cpu"), precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize("units", [True, False])
def test_bf16_is_refused_on_a_gpu_that_would_imitate_it(units, monkeypatch):
    """As a T4 does; it takes fp32, and a GPU that multiplies in bf16 takes both."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation or units,
    )
    gpu = torch.device("cuda")
    autocast(gpu, "fp32")
    assert has_bf16(gpu) == units
    if units:
        autocast(gpu, "bf16")
    else:
        with pytest.raises(ValueError, match="precision: bf16 would only be imitated.*fp32"):
            autocast(gpu, "bf16")


def test_an_unknown_precision_is_an_error():
    with pytest.raises(ValueError, match="precision: expected fp32 or bf16, got 'fp16'"):
        autocast(torch.device("cpu"), "fp16")


@pytest.mark.parametrize(
    ("spec", "cheapest"), [(LITE_300, GPU_RECIPE.precision), (SSD300_VOC, "bf16")]
)
def test_the_precision_that_moves_fewest_bytes_through_a_gpus_memory(spec, cheapest, monkeypatch):
    """Counted on tensors that claim to be on a GPU: the lite network's norms compute in fp32.

    So in bf16 each of its layers is cast there and back.
    """
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: True)
    moved = {}
    with FakeTensorMode(), torch.device("cuda"):
        model, images = SSD(spec, ["thing"]), torch.rand(8, 3, 300, 300)
        for precision in ("fp32", "bf16"):
            with autocast(torch.device("cuda"), precision), Bytes() as moving:
                model(images)
            moved[precision] = moving.count
    assert min(moved, key=moved.__getitem__) == cheapest, moved
