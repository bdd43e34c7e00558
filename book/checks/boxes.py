"""Checks of chapter 1's exercises."""

import math

import torch
from torch import nn

from book.checks import BLANK, Check, same_as
from ssd_lite.boxes import area, cxcywh_to_xyxy, intersection, iou


def count_windows() -> Check:
    return same_as(
        right=lambda h, w, window, step: ((h - window) // step + 1) * ((w - window) // step + 1),
        cases=[(128, 128, 32, 4), (33, 47, 32, 4), (480, 640, 64, 8), (64, 100, 32, 5)],
        mistakes={
            "The first window is missing: "
            "after it the window can move (height - window) // step times.": (
                lambda h, w, window, step: ((h - window) // step) * ((w - window) // step)
            ),
            "Your last windows stick out of the picture. "
            "A window must begin at least its own size before the end.": (
                lambda h, w, window, step: (h // step) * (w // step)
            ),
            "You round up. A window that would stick out doesn't count.": (
                lambda h, w, window, step: (
                    (math.ceil((h - window) / step) + 1) * (math.ceil((w - window) / step) + 1)
                )
            ),
            "You tile the picture without overlap, but the windows begin `step` pixels apart.": (
                lambda h, w, window, step: (h // window) * (w // window)
            ),
        },
        praise="It's also the number of cells of the map, as long as no layer pads.",
    )


def _window_of(layers, early=False, plain=False, add=False, start=1, less=1):
    window, step = start, 1
    for kernel, stride in layers:
        after = step + stride - 1 if add else step * stride
        window += (kernel - less) * (1 if plain else after if early else step)
        step = after
    return window, step


VGG = [(3, 1), (3, 1), (2, 2)] * 2 + [(3, 1)] * 3 + [(2, 2)] + [(3, 1)] * 3  # up to conv4_3


def window_of() -> Check:
    return same_as(
        right=_window_of,
        cases=[
            ([(6, 2), (2, 2), (3, 1), (5, 1), (1, 1)],),
            ([(3, 1)],),
            ([(7, 2), (3, 2)],),
            (VGG,),
        ],
        mistakes={
            "You add up kernels as if every layer read pixels. "
            "A layer after a stride of 2 reads cells two pixels apart.": (
                lambda layers: _window_of(layers, plain=True)
            ),
            "A layer's own stride moves its window but doesn't widen it. "
            "It counts from the next layer on.": lambda layers: _window_of(layers, early=True),
            "Strides multiply: two cells of a layer with stride 2 after one with "
            "stride 4 are 8 pixels apart.": lambda layers: _window_of(layers, add=True),
            "Before the first layer a cell sees one pixel, not none.": (
                lambda layers: _window_of(layers, start=0)
            ),
            "A kernel of k widens the window by k − 1 steps, "
            "because one of its k cells is seen already.": (
                lambda layers: _window_of(layers, start=0, less=0)
            ),
        },
        praise="The last case was VGG16 up to conv4_3, whose map is SSD's finest: "
        "a cell there sees 92 pixels, and cells are 8 pixels apart.",
    )


def _from_coco(boxes, height, width):
    x, y, w, h = boxes.unbind(-1)
    return torch.stack([x / width, y / height, (x + w) / width, (y + h) / height], dim=-1)


def from_coco() -> Check:
    return same_as(
        right=_from_coco,
        cases=[
            (torch.tensor([[64.0, 48, 128, 96], [0, 0, 640, 480]]), 480, 640),
            (torch.tensor([[10.0, 20, 5, 40]]), 100, 50),
            (torch.zeros(0, 4), 480, 640),
        ],
        mistakes={
            "These are still pixels. Divide by the size of the picture.": (
                lambda b, h, w: _from_coco(b, 1, 1)
            ),
            "The last two numbers are still a size. In xyxy they are the right and bottom edges.": (
                lambda b, h, w: b / torch.tensor([w, h, w, h])
            ),
            "COCO's first two numbers are the corner, not the center.": (
                lambda b, h, w: cxcywh_to_xyxy(b) / torch.tensor([w, h, w, h])
            ),
            "All four are divided by the width, but y is a fraction of the height.": (
                lambda b, h, w: _from_coco(b, w, w)
            ),
            "Height and width are swapped: x belongs to the width.": (
                lambda b, h, w: _from_coco(b, w, h)
            ),
        },
        praise="The box that covers the whole picture becomes 0, 0, 1, 1, as it should.",
    )


def _covered(objects, crop, by="object", guard=True):
    shared = intersection(objects, crop[None])[:, 0]
    whole = {"object": area(objects), "crop": area(crop)}.get(by)
    share = iou(objects, crop[None])[:, 0] if by == "iou" else shared / whole
    return share.nan_to_num(0) if guard else share


def covered() -> Check:
    return same_as(
        right=_covered,
        cases=[
            (
                torch.tensor([[4.0, 6, 12, 12], [4, 8, 14, 12], [0, 0, 2, 2]]),
                torch.tensor([0.0, 0, 8, 16]),
            ),
            (torch.tensor([[3.0, 3, 3, 3], [1, 1, 2, 2]]), torch.tensor([0.0, 0, 8, 8])),
            (torch.zeros(0, 4), torch.tensor([0.0, 0, 1, 1])),
        ],
        mistakes={
            "This is the IoU. A small object that lies wholly in the crop should get 1.": (
                lambda o, c: _covered(o, c, "iou")
            ),
            "You divide by the crop's area. The question is how much of the object is left.": (
                lambda o, c: _covered(o, c, "crop")
            ),
            "It's right except for an object without area, where 0/0 is NaN.": (
                lambda o, c: _covered(o, c, guard=False)
            ),
        },
        praise="COCO uses this share for crowds (chapter 10).",
    )


def _network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 6, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 5, 5),
        nn.ReLU(),
        nn.Conv2d(5, 3, 1),
    ).requires_grad_(False)


def _denser(network, pool=1, dilations=(2, 2), copied=("weight", "bias")):
    layers = []
    for k, layer in enumerate(network):
        if k in (3, 5):
            old, layer = layer, nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size)
            for name in copied:
                setattr(layer, name, getattr(old, name))
            layer.dilation = (dilations[(k - 3) // 2],) * 2
        layers.append(nn.MaxPool2d(2, stride=pool) if k == 2 else layer)
    return nn.Sequential(*layers)


# What a map's size says about its maker, on a picture of 60 × 52 pixels.
SIZES = {
    (8, 6): "That's still one answer every 4 pixels. "
    "Which layer after the first throws every other place away?",
    (21, 17): "There are more places now, but neighbors lie half as far apart, so every kernel "
    "after the layer that you changed sees half of what it saw. These have to reach twice as far, "
    "with the same weights.",
}
SIZES[19, 15] = SIZES[17, 13] = (
    "One convolution reaches twice as far now, but *every* kernel after the pooling needs it."
)


def judge_denser(answer):
    network, scene = _network(), torch.rand(1, 3, 60, 52) - 0.5
    if (fine := answer(network)) is None:
        return BLANK
    with torch.no_grad():
        got = fine(scene)
        loop = [
            [_network()(scene[..., y : y + 32, x : x + 32]) for x in range(0, 21, 2)]
            for y in range(0, 29, 2)
        ]
    wanted = torch.cat([torch.cat(row, dim=3) for row in loop], dim=2)  # (1, 3, 15, 11)
    if got.shape == wanted.shape and torch.allclose(got, wanted, atol=1e-5):
        return ""
    if got.shape == wanted.shape:
        return (
            "The places are right, but the numbers aren't. Does every new layer have the old "
            "weight *and* the old bias? And does each layer before them still read the same pixels?"
        )
    by_default = f"A loop gives a map of {tuple(wanted.shape)}; yours has {tuple(got.shape)}."
    return SIZES.get(tuple(got.shape[2:]), by_default)


def denser() -> Check:
    return Check(
        judge_denser,
        mistakes={
            "That's still one answer every 4 pixels": lambda network: network,
            "These have to reach twice as far": lambda network: _denser(network, dilations=(1, 1)),
            "*every* kernel after the pooling needs it": (
                lambda network: _denser(network, dilations=(2, 1))
            ),
            "The places are right, but the numbers aren't": (
                lambda network: _denser(network, copied=("weight",))
            ),
            "A loop gives a map of": lambda network: _denser(network, pool=2, dilations=(2, 1)),
        },
        praise="A kernel that skips cells is called *dilated*, or *à trous*: with holes.",
    )
