"""Appendix F. The same results, sooner.

Everything here has a plain counterpart in a chapter, with the same signature, which is its oracle
in the tests. Taught functions never use it; ``detect``, ``fit`` and the commands do:

- ``accelerate(network)`` for ``network``: 3 × 3 convolutions by Winograd's method, on a CPU;
- ``postprocess`` for :func:`ssd_lite.postprocessing.postprocess`: fewer candidates;
- ``match`` for :func:`ssd_lite.matching.match`: many forced matches in one round;
- ``multibox_loss`` for :func:`ssd_lite.loss.multibox_loss`: the softmax of many classes by rows;
- ``augment_batch`` for :func:`ssd_lite.augment.augment_batch`: as many pictures as the cache holds.

``keep_memory()`` has no counterpart: it tells a CPU's memory that the next step is like the last.
"""

from ssd_lite.fast.augment import augment_batch
from ssd_lite.fast.candidates import postprocess
from ssd_lite.fast.loss import multibox_loss
from ssd_lite.fast.matching import match
from ssd_lite.fast.memory import keep_memory
from ssd_lite.fast.winograd import accelerate

__all__ = ["accelerate", "augment_batch", "keep_memory", "match", "multibox_loss", "postprocess"]
