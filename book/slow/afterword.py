"""Afterword. Two ideas that came after SSD, in the few lines that the small model needs."""

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ssd_lite.bases import Base
from ssd_lite.loss import MultiBoxLoss, cross_entropy, multibox_loss
from ssd_lite.mining import all_negatives
from ssd_lite.model import SSD, initialize


def focal_loss(
    logits: Float[Tensor, "B A classes"],
    target_labels: Int[Tensor, "B A"],
    gamma: float = 2,
) -> Float[Tensor, "B A"]:
    losses = cross_entropy(logits, target_labels)  # (B, A)
    p = (-losses).exp()  # of the right answer
    return (1 - p) ** gamma * losses


def loss_without_mining(*predictions_and_targets: Tensor, **options: Any) -> MultiBoxLoss:
    """The MultiBox loss over all of the background, with easy boxes turned down."""
    options |= {
        "choose_negatives": all_negatives,
        "classification_loss": focal_loss,
    }
    return multibox_loss(*predictions_and_targets, **options)


@torch.no_grad()
def make_objects_rare(model: SSD, share: float = 0.01) -> None:
    """Let each box begin with the belief that an object is rare."""
    classes = len(model.classes)
    for head in model.logits:
        background = head.bias.view(-1, classes + 1)[:, 0]  # (K,)
        background.fill_(math.log(classes * (1 - share) / share))


class TopDown(Base):
    """A model's base and extra layers, and then a road back.

    Each map is given what the next coarser one knows.
    """

    def __init__(self, model: SSD) -> None:
        super().__init__()
        self.base, self.extras = model.base, model.extras
        self.channels = tuple(head.in_channels for head in model.logits)
        self.down = nn.ModuleList(
            nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(self.channels)
        )
        self.down.apply(initialize)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        maps = self.base(images)
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        for k in reversed(range(len(self.down))):  # coarse to fine
            news = self.down[k](maps[k + 1])
            maps[k] = maps[k] + F.interpolate(news, maps[k].shape[2:])
        return maps


def add_top_down(model: SSD) -> None:
    """Give a model the road back; its heads and default boxes stay."""
    model.base, model.extras = TopDown(model), nn.ModuleList()
