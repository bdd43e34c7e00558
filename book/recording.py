"""A record of many runs: each is written as soon as it is there, and an interrupted one goes on."""

import json
import platform
from dataclasses import asdict
from pathlib import Path

import torch

from ssd_lite.checkpoint import write_atomically
from ssd_lite.distributed import describe_device
from ssd_lite.recipe import recipe_from


def complete(protocol: dict) -> dict:
    """A protocol whose recipe has all its fields: one added since it was recorded is at rest."""
    if "recipe" not in protocol:
        return protocol
    return {**protocol, "recipe": asdict(recipe_from(protocol["recipe"]))}


class Recording:
    """The runs that a file holds, all made by one protocol."""

    def __init__(self, path: Path, protocol: dict, device: torch.device):
        """Go on with the file at ``path``, or begin it.

        Raises:
            SystemExit: the file was recorded by another protocol.
        """
        protocol = json.loads(json.dumps(protocol))  # as a file gives it back: lists, no tuples
        self.path = path
        self.record = {
            "device": describe_device(device),
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "protocol": protocol,
            "runs": [],
        }
        if path.exists():
            self.record = json.loads(path.read_text(encoding="utf-8"))
            if complete(self.record["protocol"]) != complete(protocol):
                raise SystemExit(
                    f"{path}: was recorded with {self.record['protocol']}, not {protocol}; "
                    "move it away first"
                )

    def holds(self, **about) -> bool:
        """Whether some run has these values."""
        return any(about.items() <= run.items() for run in self.record["runs"])

    def add(self, *runs: dict) -> None:
        """Write the runs to the file, behind those that it holds."""
        self.record["runs"] += runs
        write_atomically(self.path, (json.dumps(self.record, indent=1) + "\n").encode())
