"""Explorers: drawings with knobs, for the book's pages and for JupyterLab.

On a page they need no kernel. In JupyterLab their knobs are Python's: read them, set them, compute
with them.
"""

from book.explorers.default_boxes import DefaultBoxExplorer
from book.explorers.encoding import EncodingExplorer
from book.explorers.iou import IoUExplorer
from book.explorers.matching import MatchingExplorer
from book.explorers.mining import MiningExplorer
from book.explorers.nms import NMSExplorer
from book.explorers.precision_recall import PrecisionRecallExplorer
from book.explorers.replay import ReplayExplorer

__all__ = [
    "DefaultBoxExplorer",
    "EncodingExplorer",
    "IoUExplorer",
    "MatchingExplorer",
    "MiningExplorer",
    "NMSExplorer",
    "PrecisionRecallExplorer",
    "ReplayExplorer",
]
