"""Chapter 11. The precision in which a network computes."""

from contextlib import AbstractContextManager, nullcontext

import torch


def autocast(device: torch.device, precision: str = "fp32") -> AbstractContextManager:
    """A context in which networks compute in fp32, or in bfloat16 for "bf16"."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision: expected fp32 or bf16, got {precision!r}")
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
