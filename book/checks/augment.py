"""Checks of chapter 9's exercises."""

import torch

from book.checks import Check, same_as


def _mirror(b, flip=(1, 0, 1, 0), order=(2, 1, 0, 3)):
    return torch.stack([(1 - b[:, k]) if f else b[:, k] for k, f in enumerate(flip)], dim=1)[
        :, list(order)
    ]


def mirror() -> Check:
    return same_as(
        right=_mirror,
        cases=[
            (torch.tensor([[0.1, 0.2, 0.5, 0.3], [0.0, 0.0, 1.0, 1.0], [0.25, 0.3, 0.75, 0.9]]),)
        ],
        mistakes={
            "The boxes' left edges are now right of their right ones: "
            "x0 and x1 must change places.": lambda b: _mirror(b, order=(0, 1, 2, 3)),
            "You turned it upside down. A mirror changes x.": lambda b: _mirror(
                b, (0, 1, 0, 1), (0, 3, 2, 1)
            ),
            "You changed places and forgot to measure from the other side: 1 − x.": lambda b: (
                _mirror(b, (0, 0, 0, 0))
            ),
            "That's half a turn. In a mirror, y stays as it is.": lambda b: _mirror(
                b, (1, 1, 1, 1), (2, 3, 0, 1)
            ),
            "Negative fractions: measure from the right edge, which is at 1.": lambda b: (
                b[:, [2, 1, 0, 3]] * torch.tensor([-1, 1, -1, 1])
            ),
            "A mirror changes x alone: y stays as it is, also in its order.": lambda b: 1 - b,
            "These are the boxes as they were.": lambda b: b,
        },
        praise="Mirrored twice, they are back where they were: try it.",
    )


def _parts(b, w):
    low, high = torch.maximum(b[:, :2], w[:2]), torch.minimum(b[:, 2:], w[2:])
    return low, high, (high > low).all(dim=1)


def _half(b, w):
    low, high, meet = _parts(b, w)
    return meet & ((high - low).prod(dim=1) >= 0.5 * (b[:, 2:] - b[:, :2]).prod(dim=1))


def _middle(b, w, low=torch.ge, high=torch.le, join=torch.all):
    c = (b[:, :2] + b[:, 2:]) / 2
    return join(low(c, w[:2]) & high(c, w[2:]), dim=1)


def stays() -> Check:
    return same_as(
        right=_middle,
        cases=[
            (
                torch.tensor(
                    [
                        [0.2, 0.3, 0.6, 0.5],
                        [0.1, 0.3, 0.5, 0.5],
                        [0.125, 0.3, 0.375, 0.5],
                        [0.3, 0.3, 0.7, 0.5],
                        [0.0, 0.0, 1.0, 1.0],
                        [0.3, 0.8, 0.4, 0.9],
                        [0.0, 0.0, 0.2, 0.2],
                        [0.3, 0.15, 0.5, 0.25],
                        [0.1, 0.3, 0.35, 0.5],
                    ]
                ),
                torch.tensor([0.25, 0.25, 0.75, 0.75]),
            )
        ],
        mistakes={
            "You kept everything that can be seen (or cut the boxes before you "
            "asked for their centers).": (lambda b, w: _parts(b, w)[2]),
            "You kept only what's seen whole.": lambda b, w: (
                (b[:, :2] >= w[:2]) & (b[:, 2:] <= w[2:])
            ).all(dim=1),
            "You asked for half of the area. The rule asks for the center.": _half,
            "A center on the edge counts as in the window.": lambda b, w: _middle(
                b, w, torch.gt, torch.lt
            ),
            "In x *and* in y: one of the two is not enough.": lambda b, w: _middle(
                b, w, join=torch.any
            ),
            "That looks at x alone.": lambda b, w: (
                ((b[:, 0] + b[:, 2]) / 2 >= w[0]) & ((b[:, 0] + b[:, 2]) / 2 <= w[2])
            ),
        },
        praise="That's the line `seen` in `boxes_in_window`, in the picture's units.",
    )


def _undo(w, scale=True, sign=-1, far=1.0, axes=(0, 1)):
    o, s = w[:, :2], (w[:, 2:] - w[:, :2])[:, list(axes)]
    s = s if scale else torch.ones_like(s)
    return torch.cat([sign * o / s, (far + sign * o) / s], dim=1)


def undo() -> Check:
    return same_as(
        right=_undo,
        cases=[
            (torch.tensor([[0.25, 0.5, 0.75, 0.75], [-1.0, -0.5, 2.0, 1.5], [0.0, 0.0, 1.0, 1.0]]),)
        ],
        mistakes={
            "It's shifted back, but not scaled back: count in the window's own size.": lambda w: (
                _undo(w, scale=False)
            ),
            "The picture begins left of a crop: at minus the window's corner.": lambda w: _undo(
                w, sign=1
            ),
            "Width and height each have their own size.": lambda w: _undo(w, axes=(0, 0)),
            "The picture is 1 wide in its own units, but 1/s in the window's.": lambda w: (
                _undo(w)[:, [0, 1, 0, 1]] + torch.tensor([0, 0, 1, 1])
            ),
            "That's the same window.": lambda w: w,
        },
        praise="It's the picture as a box, seen through the window, without the cut at the edge.",
    )


def _turn(b, way="left", sort=True):
    x0, y0, x1, y1 = b.unbind(dim=1)
    sides = {
        "left": (y0, 1 - x1, y1, 1 - x0) if sort else (y0, 1 - x0, y1, 1 - x1),
        "right": (1 - y1, x0, 1 - y0, x1),
        "half": (1 - x1, 1 - y1, 1 - x0, 1 - y0),
        "swap": (y0, x0, y1, x1),
    }
    return torch.stack(sides[way], dim=1)


def quarter_turn() -> Check:
    return same_as(
        right=_turn,
        cases=[
            (torch.tensor([[0.1, 0.2, 0.5, 0.3], [0.0, 0.0, 0.25, 0.75], [0.6, 0.6, 1.0, 0.9]]),)
        ],
        mistakes={
            "That's a turn to the right.": lambda b: _turn(b, "right"),
            "The new top is below the new bottom: what was right is now on top.": lambda b: _turn(
                b, sort=False
            ),
            "You exchanged x and y, which mirrors at the diagonal instead of turning.": lambda b: (
                _turn(b, "swap")
            ),
            "That's half a turn.": lambda b: _turn(b, "half"),
        },
        praise="Four of them change nothing. Check one against a picture, as the solution does.",
    )


def _mosaic(b, half=0.5, corners=((0, 0), (1, 0), (0, 1), (1, 1)), step=0.5):
    start = torch.tensor(corners) * step
    return (b * half + start.repeat(1, 2)[:, None]).reshape(-1, 4)


def mosaic() -> Check:
    half = torch.tensor([0, 0, 0.5, 0.5])
    return same_as(
        right=_mosaic,
        cases=[
            (torch.tensor([0.1, 0.2, 0.5, 0.8]).expand(4, 1, 4),),
            (
                0.5
                * torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(0)).repeat(1, 1, 2)
                + half,
            ),
        ],
        mistakes={
            "Each picture is shown at half its size: halve the boxes too.": lambda b: _mosaic(
                b, half=1
            ),
            "They are halved, but all lie in the first quarter.": lambda b: _mosaic(b, step=0),
            "The second picture goes top right, the third bottom left.": lambda b: _mosaic(
                b, corners=((0, 0), (0, 1), (1, 0), (1, 1))
            ),
            "You moved by a half first and halved then, so they moved by a quarter.": lambda b: (
                _mosaic(b, step=0.25)
            ),
            "Flatten the first two dimensions: (4 G, 4).": lambda b: _mosaic(b).view(b.shape),
            "The order: all boxes of the first picture, then all of the second.": lambda b: (
                _mosaic(b).view(b.shape).transpose(0, 1).reshape(-1, 4)
            ),
            "Both corners of a box move, each in x and y.": lambda b: (
                _mosaic(b) - (_mosaic(b) - b.reshape(-1, 4) / 2) * torch.tensor([0, 0, 1, 1])
            ),
        },
        praise="`compose_windows(quarters[:, None], boxes)` does the same: "
        "a mosaic is four windows, seen from outside.",
    )
