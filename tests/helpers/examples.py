"""An explorer of every kind, and a page with nothing else on it."""

import json
from pathlib import Path

import torch
from ipywidgets.embed import embed_data

from book import explorers
from book.explorers.explorer import Explorer
from book.toy import SPEC as TOY
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.detection import Detections
from ssd_lite.metrics import GroundTruth
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE, SSD300_VOC

PICTURE = torch.full((3, 96, 96), 200, dtype=torch.uint8)
OBJECTS = torch.cat(
    [scene.boxes for scene, _ in zip(Shapes(count=60, seed=0), range(60))]
)  # (G, 4)
HOST = Path(__file__).parents[2] / "book" / "site" / "_static" / "explorers.js"

MATCHING_SCENES = {
    "toy": (PICTURE, torch.tensor([[4, 6, 12, 12], [4, 8, 14, 12]]) / 16, ("house", "car")),
    "crowd": (
        PICTURE,
        torch.tensor([[0.1, 0.1, 0.5, 0.6], [0.3, 0.2, 0.6, 0.7], [0.7, 0.7, 0.74, 0.74]]),
        ("one", "two", "three"),
    ),
}
REPLAY_FRAMES = [  # as read_replay has them
    {"step": 0, "found": [[], [[1, 0.4, 0, 0, 9, 9]]]},
    {"step": 3, "found": [[[1, 0.6, 4, 8, 50, 60]], []]},
    {
        "step": 7,
        "found": [
            [[2, 0.912, 10.5, 20, 40, 50], [1, 0.42, 1, 2, 30, 40]],
            [[2, 0.31, 0, 1, 9, 90]],
        ],
    },
    {
        "step": 9,
        "found": [[[2, 0.95, 11, 20, 40, 50], [1, 0.33, 1, 2, 30, 40]], [[2, 0.71, 0, 1, 9, 90]]],
    },
]


def precision_recall() -> Explorer:
    """Two pictures of four objects each.

    In each the first and the fourth detection take one class for the other.
    """
    corners = torch.tensor([[4.0, 4], [4, 52], [52, 4], [52, 52]])
    boxes = torch.cat([corners, corners + 40], dim=1)  # (4, 4)
    labels, none = torch.tensor([1, 1, 2, 1]), torch.zeros(4, dtype=torch.bool)
    found = Detections(
        boxes[[2, 0, 1, 3, 2, 3]], torch.linspace(0.9, 0.2, 6), torch.tensor([1, 1, 1, 2, 2, 1])
    )
    fainter = found._replace(scores=found.scores - 0.05)
    real = [GroundTruth(boxes, labels, none)] * 2
    return explorers.PrecisionRecallExplorer([PICTURE] * 2, [found, fainter], real, ("one", "two"))


def mining() -> Explorer:
    """Two moments in two scenes, of which one has a positive more than the other."""
    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(
        2, 2, len(make_default_boxes(LITE)), generator=generator
    )  # (moments, scenes, A)
    positive = torch.zeros_like(losses[0], dtype=torch.bool)
    positive[0, 1000], positive[1, 1000:1002] = True, True
    return explorers.MiningExplorer(LITE, torch.stack([PICTURE] * 2), losses, positive, [0, 100])


def nms() -> Explorer:
    """A chain of boxes, of which each overlaps the next by more than half, of two classes."""
    left = torch.arange(12) / 40
    boxes = torch.stack([left, left, left + 0.3, left + 0.4], dim=1)  # (12, 4)
    scores = torch.linspace(0.95, 0.1, 12)
    return explorers.NMSExplorer(
        PICTURE, boxes, scores, 1 + torch.arange(12) // 2 % 2, ("one", "two")
    )


EXAMPLES = {
    "DefaultBoxExplorer": lambda: explorers.DefaultBoxExplorer(SSD300_VOC, PICTURE, OBJECTS),
    "EncodingExplorer": lambda: explorers.EncodingExplorer(
        PICTURE, (0.7, 0.7, 0.5, 0.5), (0.25, 0.5, 0.875, 0.75), squares=16
    ),
    "IoUExplorer": lambda: explorers.IoUExplorer(PICTURE, (4, 6, 12, 12), (4, 8, 14, 12)),
    "MatchingExplorer": lambda: explorers.MatchingExplorer(MATCHING_SCENES, (TOY, LITE)),
    "MiningExplorer": mining,
    "NMSExplorer": nms,
    "PrecisionRecallExplorer": precision_recall,
    "ReplayExplorer": lambda: explorers.ReplayExplorer(
        REPLAY_FRAMES, [PICTURE] * 2, ("one", "two")
    ),
}


def bare_page(explorer: Explorer) -> str:
    """HTML that holds an explorer as the book's pages do: its state and its script."""
    data = embed_data(views=[explorer], drop_defaults=False)

    def embedded(kind: str, content: dict) -> str:
        text = json.dumps(content).replace("<", "\\u003c")
        return f'<script type="application/vnd.jupyter.widget-{kind}+json">{text}</script>'

    view, state = embedded("view", data["view_specs"][0]), embedded("state", data["manager_state"])
    return f"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>An explorer</title><style>* {{ box-sizing: border-box }}</style>
<script>{HOST.read_text(encoding="utf-8")}</script>
<main><h1>An explorer</h1>{view}</main>{state}"""
