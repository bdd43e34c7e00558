"""Peak memory of training, by model and batch size.

Each is measured in a process of its own, because the peaks would mix otherwise.
"""

import json
import re
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks import pairs
from ssd_lite import spec as specs
from ssd_lite.shapes import Shapes

BATCHES = {"SSD300_VOC": (1, 2, 4, 8, 16), "SSD512_VOC": (1, 2, 4, 8)}
ON_A_GPU = {"SSD300_VOC": (8, 16, 32, 64, 128), "SSD512_VOC": (4, 8, 16, 32)}


def peaks(device: torch.device, precision: str, quick: bool) -> list[dict]:
    """Bytes of training steps of SSD300, ours and torchvision's, and of SSD512, ours."""
    found = []
    for spec, batches in (ON_A_GPU if device.type == "cuda" else BATCHES).items():
        for batch in batches[:1] if quick else batches:
            for who in ("ours", "theirs") if spec == "SSD300_VOC" else ("ours",):
                arguments = [who, spec, str(batch), str(device), precision]
                command = [sys.executable, "-m", "benchmarks.memory", *arguments]
                result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                point = json.loads(result.stdout)
                if point["bytes"] is None:
                    tqdm.write(f"{who}, {spec}, batch {batch}: does not fit into the GPU's memory")
                else:
                    found.append(point)
    return found


def main(who: str, spec: str, batch: str, device: str, precision: str) -> None:
    """Train two steps, and print the peak above what was used before there was a model.

    Two, because only the second has the optimizer's state. Null if the GPU's memory is too small.
    """
    before = peak(device)
    spec = getattr(specs, spec)
    used = None
    with suppress(torch.OutOfMemoryError):
        if who == "ours":
            step = pairs.our_step(spec, Shapes.classes, int(batch), torch.device(device), precision)
        else:
            step = pairs.their_step(len(Shapes.classes), int(batch), torch.device(device))
        step()
        step()
        used = peak(device) - before
    print(json.dumps({"who": who, "spec": spec.name, "batch": int(batch), "bytes": used}))


def peak(device: str) -> int:
    """Most bytes so far, of this process or of this process on the GPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says there begins with the parent's
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(*sys.argv[1:])
