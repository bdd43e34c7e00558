"""Chapter 11. How exactly a network computes: in which precision, and whether always alike."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch


def autocast(device: torch.device, precision: str = "fp32") -> AbstractContextManager:
    """A context in which networks compute in fp32, or in bfloat16 for "bf16"."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision: expected fp32 or bf16, got {precision!r}")
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


@contextmanager
def repeatable() -> Iterator[None]:
    """A context in which a GPU computes the same convolution to the same bits, run after run.

    Left to itself, cuDNN may add up a weight's gradient in whatever order its threads come by, or
    choose its way by how long each took.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
