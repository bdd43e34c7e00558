"""Checks of chapter 7's exercises."""

import torch
import torch.nn.functional as F

from book.checks import BLANK, Check, same_as
from book.toy import toy
from ssd_lite.spec import LITE, SSD300_VOC, SSD512_VOC


def channels() -> Check:
    return same_as(
        right=lambda spec, classes: [k * (classes + 1 + 4) for k in spec.boxes_per_cell],
        cases=[(SSD300_VOC, 20), (LITE, 5), (SSD512_VOC, 1), (toy.spec, 2)],
        mistakes={
            "Background has a score, too.": lambda spec, classes: [
                k * (classes + 4) for k in spec.boxes_per_cell
            ],
            "A channel is a whole grid, one number for every cell. "
            "Don't multiply by the cells.": lambda spec, classes: [
                k * (classes + 1 + 4) for k in spec.boxes_per_level
            ],
            "Each ratio gives two shapes, wide and tall. "
            "`boxes_per_cell` counts them.": lambda spec, classes: [
                (2 + len(ratios)) * (classes + 1 + 4) for ratios in spec.ratios
            ],
            "The toy's cells have no extra square. `boxes_per_cell` knows.": lambda spec, classes: [
                (2 + 2 * len(ratios)) * (classes + 1 + 4) for ratios in spec.ratios
            ],
            "You counted one box for each cell, but there are several shapes.": (
                lambda spec, classes: [classes + 5 for _ in spec.maps]
            ),
            "Four offsets for each shape, not for each shape and class.": lambda spec, classes: [
                k * (classes + 1) * 5 for k in spec.boxes_per_cell
            ],
            "Where are the four offsets?": lambda spec, classes: [
                k * (classes + 1) for k in spec.boxes_per_cell
            ],
        },
        praise="SSD300 for VOC has 100, then 150 three times, then 100 twice.",
    )


def _per_cell(predictions, height, width):
    return predictions.reshape(len(predictions), height, width, -1).permute(0, 3, 1, 2)


def per_cell() -> Check:
    listed = torch.arange(2.0 * 6 * 4 * 3).view(2, 24, 3)  # 2 pictures, 2 × 3 cells, 4 shapes
    return same_as(
        right=_per_cell,
        cases=[(listed, 2, 3), (listed, 3, 2), (listed, 1, 6)],
        mistakes={
            "The shape is right, but the channels have to be last when you cut.": (
                lambda x, h, w: x.reshape(len(x), -1, h, w)
            ),
            "Rows and columns are exchanged.": lambda x, h, w: x.reshape(len(x), w, h, -1).permute(
                0, 3, 2, 1
            ),
            "The values come first here, and the shapes are left among the cells.": (
                lambda x, h, w: x.transpose(1, 2).reshape(len(x), -1, h, w)
            ),
            "This reads the list shape by shape, but it's written cell by cell.": lambda x, h, w: (
                x.reshape(len(x), -1, h, w, x.shape[2]).permute(0, 1, 4, 2, 3).flatten(1, 2)
            ),
            "The values of a shape come before those of the next: "
            "shape by shape within the channels.": lambda x, h, w: (
                x.reshape(len(x), h, w, -1, x.shape[2]).permute(0, 4, 3, 1, 2).flatten(1, 2)
            ),
        },
        praise="And `flatten_head` turns it into the list again.",
    )


def _sees(layers, dilated=True, reach=1, strided=True, late=True):
    side, jump = 1, 1
    for kernel, stride, dilation in layers:
        jump = jump if late else jump * stride
        side += (kernel - reach) * (dilation if dilated else 1) * (jump if strided else 1)
        jump = jump * stride if late else jump
    return side


def sees() -> Check:
    vgg = [(3, 1, 1), (3, 1, 1), (2, 2, 1), (3, 1, 1), (3, 1, 1), (2, 2, 1)]
    return same_as(
        right=_sees,
        cases=[
            ([(3, 1, 1)],),
            ([(3, 2, 1), (3, 1, 1)],),
            (vgg,),
            ([(2, 2, 1), (3, 1, 6)],),
            ([(6, 4, 1), (3, 1, 1)],),
        ],
        mistakes={
            "Taps that are d cells apart reach d times as far. Where is the dilation?": (
                lambda x: _sees(x, dilated=False)
            ),
            "A kernel of k reaches k − 1 cells farther, because its first tap adds nothing.": (
                lambda x: _sees(x, reach=0)
            ),
            "After a stride the cells are farther apart, and every tap reaches farther.": (
                lambda x: _sees(x, strided=False)
            ),
            "Before the first layer, a cell is one pixel and sees one: begin with 1.": (
                lambda x: _sees(x) - 1
            ),
            "A layer's own stride matters to the layers after it, not to itself.": (
                lambda x: _sees(x, late=False)
            ),
        },
        praise="VGG16's first two blocks, with their poolings, see 16 pixels.",
    )


def judge_norm(answer):
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    got = answer(x, 20)
    if got is None:
        return BLANK
    if got.shape != x.shape:
        return f"The shape should stay {tuple(x.shape)}, and is {tuple(got.shape)}."
    lengths = got.norm(dim=1)  # (2, 4, 5)
    if not torch.allclose(lengths, torch.full_like(lengths, 20), rtol=1e-3):
        if torch.allclose(got.flatten(1).norm(dim=1), torch.tensor(20.0), rtol=1e-3):
            return (
                "The whole picture has length 20. It should be the vector of channels at each cell."
            )
        return (
            "A cell's vector should have length 20; "
            f"some have {lengths.min():.2f}, some {lengths.max():.2f}."
        )
    x[:, :, 0, 0] = 0
    x.requires_grad_()
    answer(x, 20).sum().backward()
    if not x.grad.isfinite().all():
        return "Going back through a cell of zeros gives NaN. Put something small inside the root."
    half = answer(torch.full((1, 512, 1, 1), 300, dtype=torch.float16), 20)
    if half.float().isinf().any() or (half == 0).all() or half.isnan().any():
        return "In 16 bits the sum of squares is infinite. Compute the length in 32 bits."
    if half.dtype != torch.float16:
        return f"16 bits came in, and {half.dtype} went out."
    return ""


def _norm(x, length, wide=True, back=True, inside=1e-10, dim=1):
    y = x.float() if wide else x
    scale = (y.square().sum(dim=dim, keepdim=True) + inside).sqrt() + (0 if inside else 1e-10)
    y = y / scale * length
    return y.to(x.dtype) if back else y


def norm() -> Check:
    return Check(
        judge_norm,
        mistakes={
            "It should be the vector of channels at each cell": lambda x, length: _norm(
                x, length, dim=(1, 2, 3)
            ),
            "Put something small inside the root": lambda x, length: _norm(x, length, inside=0),
            "Compute the length in 32 bits": lambda x, length: _norm(x, length, wide=False),
            "16 bits came in": lambda x, length: _norm(x, length, back=False),
        },
        praise="The package's `L2Norm` does the same, with a learned number for each channel.",
    )


def thin() -> Check:
    weight = torch.arange(8.0 * 5 * 49).view(8, 5 * 49)
    return same_as(
        right=lambda w: w.view(len(w), -1, 7, 7)[::4, :, ::3, ::3],
        cases=[(weight,), (weight[:4, :98],)],
        mistakes={
            "All outputs are still there. Keep every fourth.": lambda w: w.view(len(w), -1, 7, 7)[
                :, :, ::3, ::3
            ],
            "That's the first quarter of the outputs. Keep every fourth.": lambda w: w.view(
                len(w), -1, 7, 7
            )[: len(w) // 4, :, ::3, ::3],
            "These are the middle taps. The kernel should still reach as far as seven did.": (
                lambda w: w.view(len(w), -1, 7, 7)[::4, :, 2:5, 2:5]
            ),
            "Averaging blurs the taps; the authors picked some and dropped the others.": (
                lambda w: F.adaptive_avg_pool2d(w.view(len(w), -1, 7, 7)[::4], 3)
            ),
            "A flattened map is ordered channel by channel: "
            "channels first, then rows and columns.": lambda w: w.view(len(w), 7, 7, -1).permute(
                0, 3, 1, 2
            )[::4, :, ::3, ::3],
        },
        praise="Its bias is thinned out in the same way, by keeping every fourth number.",
    )
