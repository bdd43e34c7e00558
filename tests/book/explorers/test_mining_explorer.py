"""The mining explorer chooses what the package chooses, in Python and on the page."""

import pytest
import torch

from book.explorers import MiningExplorer
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.mining import hard_negatives
from ssd_lite.spec import LITE
from tests.helpers.javascript import call

A = len(make_default_boxes(LITE))
STEPS = [0, 20, 60]


def made(ratio=3):
    """Three moments in two scenes; among the losses many ties."""
    generator = torch.Generator().manual_seed(0)
    losses = (5 * torch.rand(3, 2, A, generator=generator)).round(decimals=2)
    positive = torch.rand(2, A, generator=generator) < torch.tensor([[0.004], [0.01]])
    pictures = torch.zeros(2, 3, 96, 96, dtype=torch.uint8)
    return MiningExplorer(LITE, pictures, losses, positive, STEPS, ratio), losses, positive


@pytest.mark.parametrize("ratio", [0, 0.5, 3, A])
def test_python_and_the_page_choose_what_the_package_does(ratio):
    explorer, losses, positive = made()
    explorer.ratio = ratio
    for scene in (0, 1):
        for moment in (0, 1, 2):
            explorer.scene, explorer.moment = scene, moment
            assert torch.equal(explorer.losses, losses[moment, scene])
            assert torch.equal(explorer.positive, positive[scene])
            wanted = hard_negatives(losses[moment], positive, ratio)[scene]
            assert torch.equal(explorer.chosen, wanted)
            given = [explorer.losses.tolist(), explorer.positive.tolist(), ratio]
            [found] = call(explorer._esm, [("ranking", given)])
            assert sorted(found["ranked"][: found["count"]]) == wanted.nonzero()[:, 0].tolist()
            assert sorted(found["ranked"]) == (~positive[scene]).nonzero()[:, 0].tolist()
            assert found["positives"] == positive[scene].sum()
            share = (
                losses[moment, scene, wanted].sum() / losses[moment, scene, ~positive[scene]].sum()
            )
            assert found["share"] == pytest.approx(share.item(), abs=1e-5)


def test_scenes_without_positives_or_background_or_loss():
    explorer, _, _ = made()
    calls = [
        ("ranking", [[1.0, 2.0], [False, False], 3]),
        ("ranking", [[1.0, 2.0], [True, True], 3]),
        ("ranking", [[1.0, 0.0], [True, False], 3]),
    ]
    empty, full, easy = call(explorer._esm, calls)
    assert empty == {"ranked": [1, 0], "count": 0, "positives": 0, "share": 0}
    assert full == {"ranked": [], "count": 0, "positives": 2, "share": 0}
    assert easy == {"ranked": [1], "count": 1, "positives": 1, "share": 0}


def test_dots_count_the_boxes_that_share_a_center():
    explorer, _, _ = made()
    boxes = make_default_boxes(LITE).tolist()
    [dots] = call(explorer._esm, [("atCenters", [boxes])])
    places, counts = make_default_boxes(LITE)[:, :2].unique(dim=0, return_counts=True)
    assert sum(n for *_, n in dots) == A
    assert sorted(n for *_, n in dots) == sorted(counts.tolist())
    assert len(dots) == len(places)


def test_what_does_not_fit_together_is_refused():
    _, losses, positive = made()
    pictures = torch.zeros(2, 3, 96, 96, dtype=torch.uint8)
    with pytest.raises(
        ValueError, match="losses: LITE has 2018 default boxes, got losses for 2017"
    ):
        MiningExplorer(LITE, pictures, losses[..., 1:], positive[:, 1:], STEPS)
    with pytest.raises(ValueError, match="steps: expected one for each of 3 moments, got 2"):
        MiningExplorer(LITE, pictures, losses, positive, STEPS[:2])
    losses[1, 0, 7] = torch.nan
    with pytest.raises(ValueError, match="losses: not all are finite"):
        MiningExplorer(LITE, pictures, losses, positive, STEPS)
