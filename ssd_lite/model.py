"""Chapter 7, second half. The network: a base, extra layers, and heads on every map."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ssd_lite.bases import BASES
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.spec import SSDSpec


def flatten_head(x: Float[Tensor, "B KV H W"], values: int) -> Float[Tensor, "B HWK values"]:
    """Head outputs in the order of the default boxes, ``values`` each.

    That is: rows, columns, then the K boxes of a cell. Channels must come last *before* they are
    counted off; a bare ``view`` would mix the values of different cells.
    """
    return x.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, values))


class SSD(nn.Module):
    """The network of a spec for given classes.

    Background is added by itself, as class 0; never name it.

    Args:
        spec: one of the instances in :mod:`ssd_lite.spec`, or your own.
        classes: names of the C classes; label i + 1 means ``classes[i]``.
    """

    # Its buffers: (A, 4), cxcywh; and (3, 1, 1) each.
    default_boxes: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, spec: SSDSpec, classes: Sequence[str]):
        super().__init__()
        if not classes or isinstance(classes, str | int):
            raise ValueError(
                f"classes: expected a list or tuple of names, one or more, got {classes!r}"
            )
        self.spec, self.classes = spec, tuple(classes)
        base, layer = BASES[spec.base]
        self.base = base()

        channels = list(base.channels)
        self.extras = nn.ModuleList()
        for squeezed, outputs, kernel, stride, padding in spec.extras:
            squeeze = layer(channels[-1], squeezed, 1)
            widen = layer(squeezed, outputs, kernel, stride, padding)
            self.extras.append(nn.Sequential(*squeeze, *widen))
            channels.append(outputs)

        shapes = spec.boxes_per_cell
        self.logits = nn.ModuleList(
            nn.Conv2d(c, k * (len(classes) + 1), 3, padding=1) for c, k in zip(channels, shapes)
        )
        self.offsets = nn.ModuleList(
            nn.Conv2d(c, k * 4, 3, padding=1) for c, k in zip(channels, shapes)
        )

        self.register_buffer("default_boxes", make_default_boxes(spec), persistent=False)  # (A, 4)
        self.register_buffer("mean", torch.tensor(spec.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(3, 1, 1), persistent=False)
        self.apply(initialize)

    def forward(
        self, images: Float[Tensor, "B 3 S S"]
    ) -> tuple[Float[Tensor, "B A classes"], Float[Tensor, "B A 4"]]:
        """Logits (class 0 is background) and offsets of every default box.

        For images made by :meth:`preprocess`.
        """
        size = self.spec.image_size
        if images.shape[1:] != (3, size, size):
            raise ValueError(
                f"images: {self.spec.name} expects shape (B, 3, {size}, {size}), got "
                f"{tuple(images.shape)}; preprocess() makes it from pictures of any size"
            )
        maps = self.base(images)[: len(self.spec.maps)]
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        if (sides := tuple(x.shape[-1] for x in maps)) != self.spec.maps:
            raise ValueError(
                f"{self.spec.name}: its maps are said to have {self.spec.maps} cells a side, "
                f"but the network's have {sides}; write these into the spec, and their steps"
            )
        classes = len(self.classes) + 1
        logits = [flatten_head(head(x), classes) for head, x in zip(self.logits, maps)]
        offsets = [flatten_head(head(x), 4) for head, x in zip(self.offsets, maps)]
        return torch.cat(logits, dim=1), torch.cat(offsets, dim=1)

    def normalize(
        self, images: UInt8[Tensor, "B 3 S S"] | Float[Tensor, "B 3 S S"]
    ) -> Float[Tensor, "B 3 S S"]:
        """Gray levels 0..255, as bytes or floats, to the network's units."""
        return (images - self.mean * 255) / (self.std * 255)

    def preprocess(self, images: Sequence[UInt8[Tensor, "3 _ _"]]) -> Float[Tensor, "B 3 S S"]:
        """Pictures of any size to one batch: warped to S × S, then normalized."""
        size, device = self.spec.image_size, self.mean.device
        for i, image in enumerate(images):
            if image.dtype != torch.uint8 or image.dim() != 3 or len(image) != 3:
                raise ValueError(
                    f"images[{i}]: expected uint8 of shape (3, H, W), got {image.dtype} of "
                    f"{tuple(image.shape)}; read_image() gives that"
                )
        warped = [
            resize(image.to(device)[None].float(), size, self.spec.antialias) for image in images
        ]
        return (
            self.normalize(torch.cat(warped)) if warped else self.mean.new_zeros(0, 3, size, size)
        )


def resize(
    images: Float[Tensor, "B C _ _"], size: int | tuple[int, int], antialias: bool
) -> Float[Tensor, "B C H W"]:
    """Warp images to ``size`` × ``size``, whatever their shape: SSD's way.

    ``size`` may also be a height and a width.
    """
    size = (size, size) if isinstance(size, int) else size
    return F.interpolate(images, size, mode="bilinear", antialias=antialias)


def initialize(module: nn.Module) -> None:
    """Weights for training from scratch: He's before a norm, Xavier's elsewhere.

    As in the paper. Caffe's Xavier counts inputs only, PyTorch's inputs and outputs.
    """
    if isinstance(module, nn.Conv2d):
        if module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
