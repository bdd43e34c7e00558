"""Chapter 11. Fine-tuning: what a detector for other classes already knows."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

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
    rows = [0] + [model.classes.index(name) + 1 for name in shared]
    their_rows = [0] + [source.classes.index(name) + 1 for name in shared]
    done = Taken([], [], [], shared)
    for name, ours in model.state_dict().items():
        old = theirs.get(name)
        if name.startswith("logits.") and model.classes != source.classes and old is not None:
            new, old = _by_class(ours, model), _by_class(old, source)
            fits, where = new.shape[1:] == old.shape[1:], done.partly
            if fits:
                new[rows] = old[their_rows].to(new.device)
        else:
            fits, where = old is not None and old.shape == ours.shape, done.taken
            if fits:
                ours.copy_(old)
        (where if fits else done.fresh).append(name)
    return done


def _by_class(head: Float[Tensor, "KC ..."], model: SSD) -> Float[Tensor, "C K ..."]:
    """A view of a head that scores classes: its outputs are sorted by default box, then class."""
    return head.unflatten(0, (-1, len(model.classes) + 1)).movedim(1, 0)
