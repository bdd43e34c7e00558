"""Chapter 11, first half. Checkpoints that explain themselves, never run code and are never half written."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ssd_lite.default_boxes import SSD300_TORCHVISION, ExtraLayer, SSDSpec
from ssd_lite.model import SSD


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


def save(path: str | Path, model: SSD, extra: Mapping[str, Tensor] | None = None, **provenance: Any) -> None:
    """Write a model's weights with its spec and classes, and whatever else is worth knowing (``provenance``).

    ``extra`` tensors, an optimiser's for example, travel beside the weights; their names must not begin with "model.".
    """
    tensors = {f"model.{name}": x.detach().cpu().contiguous() for name, x in model.state_dict().items()}
    tensors |= {name: x.detach().cpu().contiguous() for name, x in (extra or {}).items()}
    about = {"spec": asdict(model.spec), "classes": model.classes, "provenance": provenance}
    metadata = {"ssd_lite": json.dumps(about)}
    write_atomically(Path(path), safetensors.torch.save(tensors, metadata))


def read(path: str | Path) -> tuple[SSD, dict[str, Tensor], dict[str, Any]]:
    """A checkpoint's model, its extra tensors and its provenance. Raises ``ValueError`` that names the file."""
    path = Path(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such file; a run's checkpoints are best.safetensors and last.safetensors"
        ) from None
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: not a whole safetensors file ({error}). It may be truncated, or a pickle, which could run code "
            "and is never loaded as a checkpoint"
        ) from None
    try:
        about = json.loads(metadata["ssd_lite"])
        model = SSD(spec_from(about["spec"]), about["classes"])
        model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        provenance = about["provenance"]
    except KeyError:
        raise ValueError(
            f"{path}: a safetensors file, but not one of ssd_lite's: it names no spec and classes"
        ) from None
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path}: weights and spec do not belong together, or come from another version: {error}"
        ) from None
    return model, {k: v for k, v in tensors.items() if not k.startswith("model.")}, provenance


def spec_from(fields: Mapping[str, Any]) -> SSDSpec:
    """A spec from its JSON form, in which tuples have become lists."""

    def tuples(x):
        return tuple(map(tuples, x)) if isinstance(x, list) else x

    fields = {name: tuples(x) for name, x in fields.items()}
    return SSDSpec(**{**fields, "extras": tuple(ExtraLayer(*extra) for extra in fields["extras"])})


def load(weights: str | Path, device: str | torch.device = "cpu") -> SSD:
    """A trained model, ready to detect.

    Args:
        weights: a run's folder (its best checkpoint, else its last), a ``.safetensors`` file, a torchvision SSD300
            state dict (``.pth``, read without running code), or "coco", torchvision's weights, downloaded at need.
        device: where to put it.
    """
    path = Path(weights)
    if str(weights) == "coco":
        from torchvision.models.detection import SSD300_VGG16_Weights

        coco = SSD300_VGG16_Weights.COCO_V1
        model = from_torchvision(coco.get_state_dict(check_hash=True), coco.meta["categories"][1:])
    elif path.suffix in (".pth", ".pt"):
        model = from_torchvision(read_state_dict(path))
    elif path.is_dir():
        found = [path / name for name in ("best.safetensors", "last.safetensors") if (path / name).is_file()]
        if not found:
            raise ValueError(f"{path}: no checkpoint in this folder; expected best.safetensors or last.safetensors")
        model, _, _ = read(found[0])
    else:
        model, _, _ = read(path)
    return model.to(device).eval()


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """A PyTorch state dict, read with ``weights_only``: a file that would run code is refused."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except Exception as error:  # torch raises many kinds; none may show its depths
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{path}: not a plain PyTorch state dict, truncated, or it would run code ({reason})"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(x, Tensor) for k, x in state.items()):
        raise ValueError(f"{path}: expected a state dict, names and tensors only")
    return state


# --- torchvision ----------------------------------------------------------------------------------------------------

TORCHVISION_NAMES = (  # theirs, ours; {} is a layer's number
    ("backbone.scale_weight", "base.norm.weight"),
    ("backbone.features.{}", "base.conv4_3.{}"),
    ("backbone.extra.0.7.1", "base.fc7.8"),
    ("backbone.extra.0.7.3", "base.fc7.10"),
    ("backbone.extra.0.{}", "base.fc7.{}"),
    ("backbone.extra.{}", "extras.{}"),  # counted from 1 there, from 0 here
    ("head.classification_head.module_list.{}", "logits.{}"),
    ("head.regression_head.module_list.{}", "offsets.{}"),
)


def rename(name: str, backwards: bool = False) -> str:
    """torchvision's name of a weight of SSD300 to ours, or back. Raises ``KeyError`` for a name that is neither's."""
    for theirs, ours in TORCHVISION_NAMES:
        old, new = (ours, theirs) if backwards else (theirs, ours)
        found = re.fullmatch(re.escape(old).replace(r"\{\}", r"(\d+)") + r"(\..+)?", name)
        if found:
            *number, rest = found.groups()
            if number and "extras" in ours:
                number = [str(int(number[0]) + (1 if backwards else -1))]
            return new.format(*number) + (rest or "")
    raise KeyError(name)


def from_torchvision(state_dict: Mapping[str, Tensor], classes: list[str] | None = None) -> SSD:
    """Our SSD300 with the weights of torchvision's ``ssd300_vgg16``; it gives torchvision's own detections.

    Args:
        state_dict: of ``torchvision.models.detection.ssd300_vgg16``.
        classes: names of the classes without background; by default "1", "2", ...
    """
    try:
        weights = {rename(name): x for name, x in state_dict.items()}
    except KeyError as error:
        raise ValueError(
            f"state_dict: {error} has no place in torchvision's ssd300_vgg16; is it another model's?"
        ) from None
    outputs = weights.get("logits.0.bias", torch.zeros(0)).numel() // SSD300_TORCHVISION.boxes_per_cell[0]
    model = SSD(SSD300_TORCHVISION, classes or [str(i) for i in range(1, max(outputs, 2))])
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"state_dict: not torchvision's ssd300_vgg16 for {len(model.classes)} classes: {error}"
        ) from None
    return model.eval()


def to_torchvision(model: SSD) -> dict[str, Tensor]:
    """The inverse of :func:`from_torchvision`."""
    if model.spec.maps != SSD300_TORCHVISION.maps or model.spec.base != "vgg16":
        raise ValueError(f"model: {model.spec.name} is not an SSD300, and torchvision has no other")
    return {rename(name, backwards=True): x for name, x in model.state_dict().items()}


def load_vgg16_features(model: SSD, state_dict: Mapping[str, Tensor] | None = None) -> None:
    """Start the base from VGG16's convolutions as trained on ImageNet, downloaded at need: the paper's starting point.

    fc6 and fc7 keep their random weights: torchvision's file has none of the right shape.
    """
    if model.spec.base != "vgg16":
        raise ValueError(f"model: {model.spec.name} has no VGG16 base to load weights into; train it from random ones")
    if state_dict is None:
        from torchvision.models import VGG16_Weights

        state_dict = VGG16_Weights.IMAGENET1K_FEATURES.get_state_dict(check_hash=True)
    ours = {name: x for name, x in model.base.state_dict().items() if not re.match(r"norm|fc7\.(8|10)\.", name)}
    theirs = [x for name, x in state_dict.items() if name.startswith("features.")]
    if [x.shape for x in theirs] != [x.shape for x in ours.values()]:
        raise ValueError("state_dict: not torchvision's vgg16; its features do not have VGG16's shapes")
    model.base.load_state_dict({**model.base.state_dict(), **dict(zip(ours, theirs))})
