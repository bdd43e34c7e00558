"""Chapter 8. From many predictions to a few, one step after the other, and scenes to try it on."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from ssd_lite.boxes import iou
from ssd_lite.shapes import OUTLINES, Shapes


def are_rivals(
    overlap: Float[Tensor, "K K"],
    labels: Int[Tensor, " K"],
    threshold: float = 0.45,
) -> Bool[Tensor, "K K"]:
    """Which pairs say the same class and overlap by more than the threshold."""
    return (overlap > threshold) & (labels[:, None] == labels)


def greedy(rivals: Bool[Tensor, "K K"]) -> list[bool]:
    """Which of K boxes survive. They come best first."""
    keep = [True] * len(rivals)
    for i, row in enumerate(rivals.tolist()):
        if keep[i]:  # no box above has struck it out, so it survives
            for j in range(i + 1, len(row)):
                if row[j]:
                    keep[j] = False
    return keep


def all_rounds(rivals: Bool[Tensor, "K K"]) -> Bool[Tensor, "rounds K"]:
    """Who is thought to survive: at first, and after each round of changes."""
    above = rivals.triu(diagonal=1)  # row i, column j: only i < j
    guesses = [torch.ones(len(rivals), dtype=torch.bool)]
    while True:
        struck_out = (above & guesses[-1][:, None]).any(dim=0)  # (K,)
        if torch.equal(~struck_out, guesses[-1]):
            return torch.stack(guesses)
        guesses.append(~struck_out)


class Candidates(NamedTuple):
    """Of one picture, best first."""

    boxes: Float[Tensor, "K 4"]
    scores: Float[Tensor, " K"]
    labels: Int[Tensor, " K"]


def slow_candidates(
    logits: Float[Tensor, "A classes"],
    boxes: Float[Tensor, "A 4"],
    score_threshold: float = 0.01,
    per_class: int = 400,
) -> Candidates:
    probabilities = logits.softmax(dim=1)  # (A, C + 1)
    found = []
    for label in range(1, probabilities.shape[1]):  # 0 is background
        scores = probabilities[:, label]  # (A,)
        order = scores.argsort(descending=True, stable=True)
        order = order[scores[order] > score_threshold][:per_class]
        found.append((boxes[order], scores[order], torch.full_like(order, label)))
    boxes, scores, labels = map(torch.cat, zip(*found))
    order = scores.argsort(descending=True, stable=True)
    return Candidates(boxes[order], scores[order], labels[order])


def slow_postprocess(
    logits: Float[Tensor, "A classes"],
    boxes: Float[Tensor, "A 4"],
    score_threshold: float = 0.01,
    iou_threshold: float = 0.45,
    per_class: int = 400,
    per_image: int = 200,
) -> Candidates:
    found = slow_candidates(logits, boxes, score_threshold, per_class)  # cuts 1 and 2
    overlap = iou(found.boxes, found.boxes)  # (K, K)
    keep = greedy(are_rivals(overlap, found.labels, iou_threshold))  # cut 3
    keep = torch.tensor(keep, dtype=torch.bool)  # (K,)
    return Candidates(*(x[keep][:per_image] for x in found))  # cut 4


def drawn(
    things: list[tuple], height: int = 96, width: int = 96
) -> tuple[UInt8[Tensor, "3 H W"], Float[Tensor, "G 4"], Int[Tensor, " G"]]:
    """A picture of things (class, center, size, color); their boxes and labels."""
    picture = Image.new("RGB", (4 * width, 4 * height), "#d9d4c7")
    pen, boxes, labels = ImageDraw.Draw(picture), [], []
    for name, center, size, color in things:
        outline = OUTLINES[name]  # (points, 2)
        outline = outline - (outline.min(axis=0) + outline.max(axis=0)) / 2
        outline = outline / np.ptp(outline, axis=0) * size + center
        pen.polygon([tuple(p) for p in outline * (4 * width, 4 * height)], fill=color)
        boxes.append([*outline.min(axis=0), *outline.max(axis=0)])
        labels.append(Shapes.classes.index(name) + 1)
    image = torch.from_numpy(np.array(picture.reduce(4)))  # (H, W, 3)
    image = image.permute(2, 0, 1).contiguous()  # (3, H, W)
    return image, torch.tensor(np.array(boxes)).float(), torch.tensor(labels)


def is_found(
    found: Candidates, boxes: Float[Tensor, "G 4"], labels: Int[Tensor, " G"]
) -> Bool[Tensor, " G"]:
    """Which objects have a prediction of their class with an IoU of one half or more."""
    right = (iou(boxes, found.boxes) >= 0.5) & (labels[:, None] == found.labels)  # (G, K)
    return right.any(dim=1)
