"""Chapter 11. How exactly a network computes: in which precision, and whether always alike."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch


def autocast(device: torch.device, precision: str = "fp32") -> AbstractContextManager:
    """A context in which networks compute in fp32, or in bfloat16 for "bf16".

    On a GPU, fp32 is TF32 in convolutions: their factors are rounded to 11 binary digits, unless
    ``torch.backends.cudnn.allow_tf32`` is switched off.
    """
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision: expected fp32 or bf16, got {precision!r}")
    if precision == "fp32":
        return nullcontext()
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(
            "precision: bf16 would only be imitated by this GPU, and be slow; choose fp32"
        )
    return torch.autocast(device.type, torch.bfloat16)


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
