"""Slow, plain-loop versions of what the package computes.

Numbers are in lists, one box at a time, without tensor tricks.

Nothing here imports ``ssd_lite``. Scenes on a grid have corners at multiples of 1/16, so that
areas and IoUs are exact in any precision and ties are real ties.
"""

import math

import torch


def iou(a, b):
    """Of two xyxy boxes."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [max(0, x1 - x0) * max(0, y1 - y0) for x0, y0, x1, y1 in (a, b)]
    union = areas[0] + areas[1] - width * height
    return width * height / union if union > 0 else 0


def corners(box):
    """cxcywh to xyxy."""
    cx, cy, w, h = box
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


def decode(offsets, default_box, variances):
    """The xyxy box that four offsets stand for."""
    tx, ty, tw, th = offsets
    cx, cy, w, h = default_box
    center = [cx + tx * variances[0] * w, cy + ty * variances[0] * h]
    return corners([*center, w * math.exp(tw * variances[1]), h * math.exp(th * variances[1])])


def bipartite(overlap):
    """Default box of each object, or -1: take the largest pair left, again and again.

    Ties go to the first row, then to the first column.
    """
    pairs = [(-v, g, a) for g, row in enumerate(overlap) for a, v in enumerate(row) if v > 1e-6]
    own, taken = [-1] * len(overlap), set()
    for _, g, a in sorted(pairs):
        if own[g] < 0 and a not in taken:
            own[g] = a
            taken.add(a)
    return own


def match(default_boxes, boxes, labels, threshold=0.5):
    """Label and box of every default box, for one image."""
    real = [g for g, label in enumerate(labels) if label > 0]
    overlap = [[iou(boxes[g], corners(d)) for d in default_boxes] for g in real]
    target_labels, target_boxes = [0] * len(default_boxes), [corners(d) for d in default_boxes]
    for a in range(len(default_boxes)):
        best = max(
            range(len(real)), key=lambda i: overlap[i][a], default=None
        )  # the first of equals
        if best is not None and overlap[best][a] >= threshold:
            target_labels[a], target_boxes[a] = labels[real[best]], boxes[real[best]]
    for g, a in zip(real, bipartite(overlap)):
        if a >= 0:
            target_labels[a], target_boxes[a] = labels[g], boxes[g]
    return target_labels, target_boxes


def cross_entropy(logits, label):
    top = max(logits)
    return top + math.log(sum(math.exp(v - top) for v in logits)) - logits[label]


def smooth_l1(a, b):
    return sum(0.5 * d * d if d < 1 else d - 0.5 for d in (abs(x - y) for x, y in zip(a, b)))


def hard_negatives(losses, positive, ratio=3):
    """Mask of one image's hardest background boxes, the first of equals first."""
    quota = min(int(ratio * sum(positive)), len(positive) - sum(positive))
    hardest = sorted((a for a, p in enumerate(positive) if not p), key=lambda a: -losses[a])[:quota]
    return [a in hardest for a in range(len(positive))]


def multibox_loss(logits, offsets, target_labels, target_offsets, ratio=3):
    """Classification and localization parts of a batch, divided by its positives."""
    classification = localization = positives = 0
    for image in zip(logits, offsets, target_labels, target_offsets):
        losses = [cross_entropy(z, label) for z, label in zip(image[0], image[2])]
        positive = [label > 0 for label in image[2]]
        chosen = hard_negatives(losses, positive, ratio)
        classification += sum(v for v, p, n in zip(losses, positive, chosen) if p or n)
        localization += sum(smooth_l1(x, y) for x, y, p in zip(image[1], image[3], positive) if p)
        positives += sum(positive)
    return classification / max(1, positives), localization / max(1, positives)


def suppress(boxes, labels, threshold):
    """Indices that greedy NMS keeps in one image; boxes come best first."""
    kept = []
    for i, (box, label) in enumerate(zip(boxes, labels)):
        if label > 0 and not any(
            labels[j] == label and iou(boxes[j], box) > threshold for j in kept
        ):
            kept.append(i)
    return kept


def grid_boxes(generator, *shape):
    """Random xyxy boxes with an area whose corners lie on a grid of 16 × 16 cells over [0, 1]."""
    a = torch.randint(0, 16, (*shape, 2), generator=generator)
    b = torch.randint(0, 16, (*shape, 2), generator=generator)
    low, high = torch.minimum(a, b), torch.maximum(a, b) + 1
    return torch.cat([low, high], dim=-1) / 16


def grid_scenes(generator, images, objects, default_boxes, classes=3):
    """Default boxes (cxcywh), and the objects of each image.

    Some objects are padding, some are exact duplicates of others.
    """
    low, high = grid_boxes(generator, default_boxes).split(2, dim=1)
    defaults = torch.cat([(low + high) / 2, high - low], dim=1)
    boxes = grid_boxes(generator, images, objects)
    copies = torch.randint(0, max(objects, 1), (images, objects), generator=generator)
    copied = torch.rand(images, objects, generator=generator) < 0.2
    boxes = torch.where(
        copied[..., None], boxes.gather(1, copies[..., None].expand_as(boxes)), boxes
    )
    labels = torch.randint(
        0, classes + 1, (images, objects), generator=generator
    )  # 0 is padding, anywhere
    return defaults, boxes, labels


def window_view(image, window, mirrored, mean, size):
    """What a window shows of one picture, pixel by pixel; gray levels, (3, size, size).

    The picture (3, H, W) stands on the mean. Where the window takes in twice as many pixels as it
    is wide, or more, the picture is halved by means of 2 × 2 pixels, and again.
    """
    height, width = image.shape[1:]
    levels = image.double() - mean.double()
    left, top, right, bottom = window.tolist()
    zoom = max((right - left) * width, (bottom - top) * height) / size
    shrunk = 1
    while zoom >= 2 * shrunk and shrunk < 16:
        _, high, wide = levels.shape
        even = torch.zeros(3, high + high % 2, wide + wide % 2, dtype=torch.float64)
        even[:, :high, :wide] = levels
        levels = (
            even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]
        ) / 4
        shrunk *= 2

    view = torch.zeros(3, size, size, dtype=torch.float64)
    for i in range(size):
        y = (top + (i + 0.5) / size * (bottom - top)) * height / shrunk - 0.5
        for j in range(size):
            u = (j + 0.5) / size
            x = (left + (1 - u if mirrored else u) * (right - left)) * width / shrunk - 0.5
            for row in (math.floor(y), math.floor(y) + 1):
                for column in (math.floor(x), math.floor(x) + 1):
                    if 0 <= row < levels.shape[1] and 0 <= column < levels.shape[2]:
                        near = (1 - abs(y - row)) * (1 - abs(x - column))
                        view[:, i, j] += near * levels[:, row, column]
    return view + mean.double()


def cut(box):
    """A box's part inside the picture, whose corners are (0, 0) and (1, 1)."""
    return [min(max(value, 0), 1) for value in box]
