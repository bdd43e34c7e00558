"""What the machine is, and what it could do at best: matrix products, and bytes moved."""

import platform
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import median_time

ROOT = Path(__file__).parent.parent


def describe_machine(device: torch.device) -> dict:
    """Names and versions, for the record."""
    models = re.findall(r"^model name\s*: (.+)", cpuinfo(), re.M)
    return {
        "device": device.type,
        "processor": models[0] if models else platform.processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16": has_bf16(device),
        "tf32": device.type == "cuda" and torch.backends.cudnn.allow_tf32,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": version("torchvision"),
        "commit": commit(),
    }


def cpuinfo() -> str:
    """What Linux knows of the processor; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def commit() -> str | None:
    """Of the code that is measured, if it is a clone and git is there."""
    if not shutil.which("git"):
        return None
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT
    )
    return found.stdout.strip() or None


def has_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies in bfloat16, and does not only pretend to."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return any(flag in cpuinfo() for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def limits(device: torch.device, rounds: int) -> dict[str, float]:
    """Operations and bytes a second that the machine manages at best.

    Operations are those of large matrix products and of a direct convolution, which PyTorch takes
    from different libraries; bytes are those of a copy. A multiplication and an addition count
    as two operations. A GPU's convolutions in fp32 are TF32 as PyTorch is set, and its matrix
    products are not: theirs in TF32 are measured, too.
    """
    size = 8192 if device.type == "cuda" else 2048
    found = {}
    kinds = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if has_bf16(device) else {})
    for name, dtype in kinds.items():
        a, b = torch.randn(2, size, size, device=device, dtype=dtype)
        found[f"matrix_{name}"] = 2 * size**3 / median_time(lambda a=a, b=b: a @ b, rounds)
        x = torch.randn(8, 256, 64, 64, device=device, dtype=dtype).contiguous(
            memory_format=torch.channels_last
        )
        layer = torch.nn.Conv2d(256, 256, 3, padding=1, device=device, dtype=dtype).to(
            memory_format=torch.channels_last
        )
        with torch.inference_mode():
            found[f"convolution_{name}"] = (
                2 * x.numel() * 256 * 9 / median_time(lambda x=x, layer=layer: layer(x), rounds)
            )
    if device.type == "cuda":
        a, b = torch.randn(2, size, size, device=device)
        matmul = torch.backends.cuda.matmul
        before, matmul.allow_tf32 = matmul.allow_tf32, True
        found["matrix_tf32"] = 2 * size**3 / median_time(lambda: a @ b, rounds)
        matmul.allow_tf32 = before
    source = torch.ones(2**26, device=device)
    target = torch.empty_like(source)
    found["memory"] = 2 * source.nbytes / median_time(lambda: target.copy_(source), rounds)
    return found


class Bytes(TorchDispatchMode):
    """Bytes that the operators inside a ``with`` read and write.

    Nothing counts as kept in a cache, and views are free.
    """

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            self.count += sum(
                x.nbytes for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)
            )
        return result


def counted(function) -> dict[str, int]:
    """Operations of matrix products and convolutions, and bytes of all operators, of one call."""
    with FlopCounterMode(display=False) as operations:
        function()
    with Bytes() as moved:
        function()
    return {"operations": operations.get_total_flops(), "bytes": moved.count}
