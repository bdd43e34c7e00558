"""Chapter 11. Checkpoints that explain themselves, never run code, and are never half written."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ssd_lite.downloads import download_weights
from ssd_lite.model import SSD
from ssd_lite.spec import ExtraLayer, SSDSpec
from ssd_lite.torchvision_weights import from_torchvision, read_state_dict


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at any moment either the old one or the new one is there, whole.

    Raises:
        OSError: the disk is full or the folder cannot be written; the old file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(
            f"{path}: cannot be written ({error.strerror}), what was there before is untouched; "
            "make room or choose another folder, then resume"
        ) from None


def save_checkpoint(
    path: str | Path, model: SSD, extra: Mapping[str, Tensor] | None = None, **provenance: Any
) -> None:
    """Write a model's weights with its spec, its classes and its ``provenance``.

    ``extra`` tensors, an optimizer's for example, travel beside the weights; their names must not
    begin with "model.".
    """
    tensors = {
        f"model.{name}": x.detach().cpu().contiguous() for name, x in model.state_dict().items()
    }
    tensors |= {name: x.detach().cpu().contiguous() for name, x in (extra or {}).items()}
    about = {"spec": asdict(model.spec), "classes": model.classes, "provenance": provenance}
    metadata = {"ssd_lite": json.dumps(about)}
    write_atomically(Path(path), safetensors.torch.save(tensors, metadata))


def load_checkpoint(path: str | Path) -> tuple[SSD, dict[str, Tensor], dict[str, Any]]:
    """A checkpoint's model, its extra tensors and its provenance.

    Raises a ``ValueError`` that names the file.
    """
    path = Path(path)
    try:
        # Read, not mapped into memory: Windows replaces no file that is mapped.
        content = path.read_bytes()
        tensors = safetensors.torch.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header.get("__metadata__", {})
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such file; a run's checkpoints are best.safetensors and last.safetensors"
        ) from None
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: not a whole safetensors file ({error}). It may be truncated, or a pickle, "
            "which could run code "
            "and is never loaded as a checkpoint"
        ) from None
    try:
        about = json.loads(metadata["ssd_lite"])
        model = SSD(spec_from(about["spec"]), about["classes"])
        model.load_state_dict(
            {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        )
        provenance = about["provenance"]
    except KeyError:
        raise ValueError(
            f"{path}: a safetensors file, but not one of ssd_lite's: it names no spec and classes"
        ) from None
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path}: weights and spec do not belong together, or come from another version: "
            f"{error}"
        ) from None
    return model, {k: v for k, v in tensors.items() if not k.startswith("model.")}, provenance


def spec_from(fields: Mapping[str, Any]) -> SSDSpec:
    """A spec from its JSON form, in which tuples have become lists."""

    def tuples(x: Any) -> Any:
        return tuple(map(tuples, x)) if isinstance(x, list) else x

    fields = {name: tuples(x) for name, x in fields.items()}
    return SSDSpec(**{**fields, "extras": tuple(ExtraLayer(*extra) for extra in fields["extras"])})


def load_model(weights: str | Path, device: str | torch.device = "cpu") -> SSD:
    """A trained model, ready to detect.

    Args:
        weights: a run's folder (its best checkpoint, else its last), a ``.safetensors`` file, a
            torchvision SSD300 state dict (``.pth``, read without running code), or "coco",
            torchvision's weights, downloaded if needed.
        device: where to put it.
    """
    path = Path(weights)
    if str(weights) == "coco":
        from torchvision.models.detection import SSD300_VGG16_Weights

        coco = SSD300_VGG16_Weights.COCO_V1
        model = from_torchvision(download_weights(coco), coco.meta["categories"][1:])
    elif path.suffix in (".pth", ".pt"):
        model = from_torchvision(read_state_dict(path))
    elif path.is_dir():
        found = [
            path / name
            for name in ("best.safetensors", "last.safetensors")
            if (path / name).is_file()
        ]
        if not found:
            raise ValueError(
                f"{path}: no checkpoint in this folder; expected best.safetensors or "
                "last.safetensors"
            )
        model, _, _ = load_checkpoint(found[0])
    else:
        model, _, _ = load_checkpoint(path)
    return model.to(device).eval()
