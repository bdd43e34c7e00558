"""Chapter 11. One device or several: where to train, and what processes share."""

import os
import re
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number among them; number 0 writes, prints and evaluates."""
    return dist.get_rank() if dist.is_initialized() else 0


def choose_device(name: torch.device | str | None = None) -> torch.device:
    """The device asked for, or the best there is: cuda, mps, cpu.

    Under torchrun each process gets a GPU of its own.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name is None:
        available["cuda"] = available["cuda"] and _can_drive_gpu()
        name = next(kind for kind, is_here in available.items() if is_here)
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device: {name!r} is unknown; try cuda, mps or cpu") from None
    if not available.get(device.type, False):
        raise ValueError(
            f"device: {name!r} was asked for, but PyTorch finds none here; use cpu or leave it out"
        )
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if device.type == "cuda" and device.index >= (count := torch.cuda.device_count()):
        raise ValueError(
            f"device: {device} was asked for, but PyTorch finds {count} GPUs here, counted from "
            "cuda:0; name one of them, or start no more processes than that"
        )
    return device


def _can_drive_gpu() -> bool:
    """Whether this PyTorch has code for the GPU; if it is too old for that, a warning says so."""
    kinds = [re.fullmatch(r"sm_(\d+)\w?", kind) for kind in torch.cuda.get_arch_list()]
    major, minor = torch.cuda.get_device_capability()
    oldest = min((int(kind[1]) for kind in kinds if kind), default=0)
    if 10 * major + minor >= oldest:
        return True
    warnings.warn(
        f"device: {torch.cuda.get_device_name()} is too old for this PyTorch (compute capability "
        f"{major}.{minor}, needs {oldest / 10}), so it is not used; an older PyTorch may",
        stacklevel=3,
    )
    return False


def join_processes(device: torch.device) -> None:
    """Under torchrun, make this process one of those that train together.

    Its own GPU becomes the one that is meant wherever none is named: NCCL refuses two processes
    on one.
    """
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        backend, own = ("nccl", device) if on_gpu else ("gloo", None)
        dist.init_process_group(backend, device_id=own)


def broadcast_from_main(value: Any) -> Any:
    """Process 0's value, in every process."""
    values = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(values)
    return values[0]


def from_main(function: Callable[[], T]) -> T:
    """A function's result in process 0, for every process; what it raises there, all raise."""
    result: Any = None
    if rank() == 0:
        try:
            result = (function(), None)
        except (ValueError, OSError) as error:
            result = (None, error)
    value, error = broadcast_from_main(result)
    if error is not None:
        raise error
    return value


def main_first(function: Callable[[], T]) -> T:
    """A function's result in each process; process 0 is done before the others begin.

    What it downloads is there for them.
    """
    done: list[T] = []
    from_main(lambda: done.append(function()))
    return done[0] if done else function()


def positives_per_process(target_labels: Tensor) -> Tensor:
    """The loss's normalizer: positives of the whole batch, at least 1, per process.

    DistributedDataParallel averages gradients over processes. Were each to divide by its own
    positives, the mean of those quotients would not be the quotient of the whole batch; divided
    by this, it is.
    """
    positives = (target_labels > 0).sum().float()
    if dist.is_initialized():
        dist.all_reduce(positives)
    return positives.clamp(min=1) / world_size()


def describe_device(device: torch.device) -> str:
    """A device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} CPU threads" if device.type == "cpu" else str(device)
