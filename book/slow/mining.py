"""Chapter 6. Hard negatives one picture at a time, and a training that is small enough to watch."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from ssd_lite.boxes import iou
from ssd_lite.data import collate
from ssd_lite.encoding import decode, encode
from ssd_lite.loss import multibox_loss
from ssd_lite.matching import match
from ssd_lite.mining import hard_negatives
from ssd_lite.model import SSD
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE


def slow_hard_negatives(
    losses: Float[Tensor, "B A"], positive: Bool[Tensor, "B A"], ratio: float = 3
) -> Bool[Tensor, "B A"]:
    chosen = torch.zeros_like(positive)  # (B, A)
    for picture in range(len(losses)):
        loss = losses[picture].tolist()
        background = (~positive[picture]).nonzero()[:, 0].tolist()
        positives = len(loss) - len(background)
        quota = min(int(ratio * positives), len(background))
        ranked = sorted(background, key=lambda a: loss[a], reverse=True)
        chosen[picture, ranked[:quota]] = True
    return chosen


def two_sorts(
    losses: Float[Tensor, "B A"], positive: Bool[Tensor, "B A"], ratio: float = 3
) -> Bool[Tensor, "B A"]:
    positives = positive.sum(dim=1, keepdim=True)  # (B, 1)
    quota = (ratio * positives).floor().clamp(max=positive.shape[1] - positives)
    losses = losses.masked_fill(positive, -torch.inf)  # (B, A)
    order = losses.argsort(dim=1, descending=True, stable=True)  # rank → box
    rank = order.argsort(dim=1)  # box → rank
    return rank < quota


def random_negatives(
    losses: Float[Tensor, "B A"], positive: Bool[Tensor, "B A"], ratio: float = 3
) -> Bool[Tensor, "B A"]:
    """As many as :func:`hard_negatives` takes, whatever their losses."""
    return hard_negatives(torch.rand_like(losses), positive, ratio)


class Lesson(NamedTuple):
    """Sixteen drawn scenes with their targets, and LITE's default boxes."""

    images: UInt8[Tensor, "16 3 H W"]
    pictures: Float[Tensor, "16 3 H W"]  # as the network takes them
    boxes: Float[Tensor, "16 G 4"]
    labels: Int[Tensor, "16 G"]
    default_boxes: Float[Tensor, "A 4"]
    target_labels: Int[Tensor, "16 A"]
    target_offsets: Float[Tensor, "16 A 4"]
    positive: Bool[Tensor, "16 A"]


class Look(NamedTuple):
    """What a network says of all scenes at some step."""

    step: int
    losses: Float[Tensor, "16 A"]  # cross-entropy of every box
    scores: Float[Tensor, "16 A"]  # the highest probability of any object
    accuracy: float  # share of boxes whose most likely class is the right one
    cost: float  # mean cross-entropy of a positive
    depends: float  # mean standard deviation of a logit over the scenes
    recall: float  # share of objects that some box names and fits
    claims: float  # background boxes of a scene that give more than half to an object


@dataclass
class Run:
    """A network in training, and what was seen of it every 20 steps."""

    lesson: Lesson
    model: SSD
    optimizer: torch.optim.Optimizer
    random: torch.Generator
    step: int = 0
    lengths: list[float] = field(default_factory=list)  # of every gradient
    looks: list[Look] = field(default_factory=list)

    def next_scenes(self) -> Int[Tensor, "4"]:
        """Which four scenes come next: shuffled anew when all sixteen have been seen."""
        if self.step % 4 == 0:
            self.order = torch.randperm(16, generator=self.random)
        return self.order[4 * (self.step % 4) :][:4]


def make_lesson() -> Lesson:
    network = SSD(LITE, Shapes.classes)
    scenes = collate([Shapes(count=16, seed=0)[i] for i in range(16)])
    pictures = network.normalize(scenes.images)  # (16, 3, 96, 96)
    pictures = pictures.contiguous(memory_format=torch.channels_last)  # faster on CPUs
    labels, boxes = match(network.default_boxes, scenes.boxes, scenes.labels)
    return Lesson(
        images=scenes.images,
        pictures=pictures,
        boxes=scenes.boxes,
        labels=scenes.labels,
        default_boxes=network.default_boxes,
        target_labels=labels,
        target_offsets=encode(boxes, network.default_boxes, LITE.variances),
        positive=labels > 0,
    )


@torch.no_grad()
def look(run: Run) -> Look:
    lesson = run.lesson
    logits, offsets = run.model(lesson.pictures)
    p = logits.softmax(dim=-1)  # (16, A, 6)
    losses = F.cross_entropy(logits.transpose(1, 2), lesson.target_labels, reduction="none")
    scores, best = p[..., 1:].max(dim=-1)  # (16, A)
    fits = iou(lesson.boxes, decode(offsets, lesson.default_boxes)) >= 0.5  # (16, G, A)
    named = (best[:, None] + 1 == lesson.labels[:, :, None]) & (scores[:, None] > 0.5)
    found = (fits & named).any(dim=2)[lesson.labels > 0]  # (objects,)
    right = p.argmax(dim=-1) == lesson.target_labels  # (16, A)
    claims = ((scores > 0.5) & ~lesson.positive).sum(dim=1)  # (16,)
    numbers = (right, losses[lesson.positive], logits.std(dim=0), found, claims)
    return Look(run.step, losses, scores, *(x.float().mean().item() for x in numbers))


def new_adamw(model: SSD) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)  # fused: faster


def start(lesson: Lesson, seed: int = 0) -> Run:
    """A new network; the same seed gives the same weights and the same order of scenes."""
    torch.manual_seed(seed)
    model = SSD(LITE, Shapes.classes)
    run = Run(lesson, model, new_adamw(model), torch.Generator().manual_seed(seed))
    run.looks.append(look(run))
    return run


def train(run: Run, choose_negatives: Callable, steps: int, longest: float = math.inf) -> None:
    lesson = run.lesson
    for _ in range(steps):
        four = run.next_scenes()  # (4,)
        logits, offsets = run.model(lesson.pictures[four])
        targets = lesson.target_labels[four], lesson.target_offsets[four]
        loss = multibox_loss(logits, offsets, *targets, choose_negatives)
        run.optimizer.zero_grad()
        loss.total.backward()
        length = nn.utils.clip_grad_norm_(run.model.parameters(), longest)
        run.optimizer.step()
        run.step += 1
        run.lengths.append(length.item())
        if run.step % 20 == 0:
            run.looks.append(look(run))
