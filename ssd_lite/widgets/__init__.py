"""Explorers: drawings with knobs, for the pages of the book and for JupyterLab, from one implementation.

On a page they need no kernel. In JupyterLab their knobs are Python's: read them, set them, compute with them.
"""

from ssd_lite.widgets.default_boxes import DefaultBoxExplorer
from ssd_lite.widgets.encoding import EncodingExplorer
from ssd_lite.widgets.iou import IoUExplorer
from ssd_lite.widgets.matching import MatchingExplorer
from ssd_lite.widgets.mining import MiningExplorer
from ssd_lite.widgets.nms import NMSExplorer
from ssd_lite.widgets.precision_recall import PrecisionRecallExplorer
from ssd_lite.widgets.replay import ReplayExplorer

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
