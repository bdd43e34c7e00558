"""Chapter 11. Fine-tuning: what a detector for other classes already knows."""

from typing import NamedTuple

import torch

from ssd_lite.layout import count, few
from ssd_lite.model import SSD


class Taken(NamedTuple):
    """What :func:`take_over` did: names of the weights, and of the classes known before."""

    taken: list[str]  # as they are
    partly: list[str]  # heads of the scores, for the classes that both know
    fresh: list[str]  # of another shape, or not there: random as before
    classes: list[str]

    def __str__(self) -> str:
        """One line for the command's user."""
        parts = [f"{count(len(self.taken), 'tensor')} taken over"]
        if self.partly:
            known = f"background, {', '.join(self.classes)}" if self.classes else "background"
            parts.append(f"the scores of {known}, in {count(len(self.partly), 'tensor')}")
        if self.fresh:
            parts.append(f"{count(len(self.fresh), 'tensor')} new: {few(self.fresh)}")
        return "; ".join(parts)


@torch.no_grad()
def take_over(model: SSD, source: SSD) -> Taken:
    """Copy into ``model`` all weights of ``source`` that fit.

    The heads that score classes are taken class by class: background and every class that both
    know, by its name; the others keep their random weights.

    Args:
        model: changed in place; its spec is best ``source.spec``, so that everything else fits.
        source: a trained detector, of other classes perhaps.
    """
    theirs = source.state_dict()
    shared = [name for name in model.classes if name in source.classes]
    rows = [(0, 0)] + [
        (model.classes.index(name) + 1, source.classes.index(name) + 1) for name in shared
    ]
    ours_at, theirs_at = (torch.tensor(places) for places in zip(*rows))
    done = Taken([], [], [], shared)
    for name, weight in model.state_dict().items():
        other = theirs.get(name)
        by_class = name.startswith("logits.") and model.classes != source.classes
        if by_class and other is not None and _boxes(weight, model) == _boxes(other, source):
            # Outputs are sorted by default box, then by class.
            new = weight.unflatten(0, (-1, len(model.classes) + 1))
            old = other.unflatten(0, (-1, len(source.classes) + 1)).to(weight.device)
            if new.shape[2:] == old.shape[2:]:
                new[:, ours_at] = old[:, theirs_at]
                done.partly.append(name)
                continue
        elif other is not None and other.shape == weight.shape and not by_class:
            weight.copy_(other)
            done.taken.append(name)
            continue
        done.fresh.append(name)
    return done


def _boxes(head: torch.Tensor, model: SSD) -> int:
    """Default boxes of a cell, from the outputs of the head that scores them."""
    return len(head) // (len(model.classes) + 1)
