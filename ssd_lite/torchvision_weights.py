"""Chapter 7. Weights from torchvision: its SSD300 as ours and back, and its classifiers'."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torchvision
from torch import Tensor

from ssd_lite.downloads import download_weights
from ssd_lite.model import SSD
from ssd_lite.spec import SSD300_TORCHVISION


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
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and isinstance(x, Tensor) for k, x in state.items()
    ):
        raise ValueError(f"{path}: expected a state dict, names and tensors only")
    return state


# --- torchvision ----------------------------------------------------------------------------------
# ------------------

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


def _convert_key(name: str, backwards: bool = False) -> str:
    """torchvision's name of a weight of SSD300 to ours, or back.

    Raises ``KeyError`` for a name that is neither's.
    """
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
    """Our SSD300 with torchvision's weights; it gives torchvision's own detections.

    Args:
        state_dict: of ``torchvision.models.detection.ssd300_vgg16``.
        classes: names of the classes without background; by default "1", "2", ...
    """
    try:
        weights = {_convert_key(name): x for name, x in state_dict.items()}
    except KeyError as error:
        raise ValueError(
            f"state_dict: {error} has no place in torchvision's ssd300_vgg16; is it another "
            "model's?"
        ) from None
    outputs = (
        weights.get("logits.0.bias", torch.zeros(0)).numel() // SSD300_TORCHVISION.boxes_per_cell[0]
    )
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
    return {_convert_key(name, backwards=True): x for name, x in model.state_dict().items()}


NOTHING = r"(?!)"  # a pattern that no name has
IMAGENET = {  # base: torchvision's weights, and what we leave random
    "vgg16": ("VGG16_Weights.IMAGENET1K_FEATURES", r"norm|fc7\.(8|10)\."),  # fc6 and fc7 differ
    "mobilenet": ("MobileNet_V2_Weights.IMAGENET1K_V1", NOTHING),
    "resnet18": ("ResNet18_Weights.IMAGENET1K_V1", NOTHING),
}


def load_imagenet_weights(model: SSD, state_dict: Mapping[str, Tensor] | None = None) -> None:
    """Start the base from a classifier's weights, as trained on ImageNet.

    The paper's starting point; downloaded if needed. VGG16's fc6 and fc7 keep their random
    weights: torchvision's file has none of the right shape.

    Args:
        model: an SSD on ``vgg16``, ``mobilenet`` or ``resnet18``; changed in place.
        state_dict: torchvision's, of the same classifier; by default its ImageNet weights.
    """
    base = model.spec.base
    if base not in IMAGENET:
        raise ValueError(
            f"model: {model.spec.name}'s base, {base}, was never trained on ImageNet; train it "
            f"from random weights, or take one of {', '.join(IMAGENET)}"
        )
    weights, random = IMAGENET[base]
    if state_dict is None:
        state_dict = download_weights(torchvision.models.get_weight(weights))
    # Both name the same layers in the same order.
    ours = {name: x for name, x in model.base.state_dict().items() if not re.match(random, name)}
    theirs = [x for name, x in state_dict.items() if not name.startswith(("classifier.", "fc."))]
    if [x.shape for x in theirs] != [x.shape for x in ours.values()]:
        raise ValueError(
            f"state_dict: not torchvision's {base}; its features do not have {base}'s shapes"
        )
    model.base.load_state_dict(dict(zip(ours, theirs)), strict=False)
