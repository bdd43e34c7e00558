"""Checks of chapter 11's exercises."""

import math

from book.checks import Check, same_as


def first_loss() -> Check:
    return same_as(
        right=lambda classes, ratio: (1 + ratio) * math.log(classes + 1),
        cases=[(5, 3), (20, 3), (90, 1), (20, 0)],
        mistakes={
            "Background is an answer too: "
            "there is one more than there are classes.": lambda classes, ratio: (
                (1 + ratio) * math.log(classes)
            ),
            "The negatives take part as well, "
            "and the sum is divided by the positives alone.": lambda classes, ratio: math.log(
                classes + 1
            ),
            "You counted the negatives only.": lambda classes, ratio: ratio * math.log(classes + 1),
        },
        praise=f"For VOC's 20 classes it is {4 * math.log(21):.1f}. "
        "Far above that, a network is sure of itself and wrong.",
    )


def _rate(step, steps, warmup, peak, shift=1, cosine=True, cap=True):
    climb = (step + shift) / warmup
    return (
        peak
        * (min(1, climb) if cap else climb)
        * ((1 + math.cos(math.pi * step / steps)) / 2 if cosine else 1)
    )


def rate() -> Check:
    return same_as(
        right=_rate,
        cases=[(0, 100, 10, 1.0), (5, 100, 10, 1.0), (50, 100, 10, 0.003), (99, 100, 10, 1.0)],
        mistakes={
            "Step 0 gets nothing, so it is wasted. Count from 1 while warming up.": lambda *a: (
                _rate(*a, shift=0)
            ),
            "It never falls. Where is the cosine?": lambda *a: _rate(*a, cosine=False),
            "It climbs for ever. After the warm-up the line has to stop at 1.": lambda *a: _rate(
                *a, cap=False
            ),
        },
        praise="The package's `learning_rate` does the same. "
        "It needs the step alone, so nothing has to be saved.",
    )


def normalizer() -> Check:
    return same_as(
        right=lambda positives: max(1, sum(positives)) / len(positives),
        cases=[([12, 4],), ([7],), ([5, 0, 1],), ([0, 0],)],
        mistakes={
            "The average divides by the number of processes once more, "
            "which your number leaves out.": lambda p: max(1, sum(p)),
            "Each would divide by its own, "
            "and a picture with few objects would count for more.": lambda p: p[0],
            "Without an object in any process this is a division by zero.": lambda p: (
                sum(p) / len(p)
            ),
        },
        praise="The package's loop does it with one `all_reduce`, "
        "and a test holds two processes to the weights of one.",
    )
