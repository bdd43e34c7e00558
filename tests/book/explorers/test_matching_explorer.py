"""The matching explorer says what the package says, on the page and in Python."""

import pytest
import torch

from book import explorers
from book.explorers.explorer import layout
from ssd_lite.boxes import cxcywh_to_xyxy, iou
from ssd_lite.matching import assign, bipartite
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE
from tests.helpers.examples import EXAMPLES, MATCHING_SCENES, PICTURE, TOY
from tests.helpers.javascript import call


def crowd(count, seed):
    """Boxes (xyxy) of all sizes.

    Some are small ones that lie inside many default boxes, which tie for them.
    """
    generator = torch.Generator().manual_seed(seed)
    size = 0.04 + 0.6 * torch.rand(count, 2, generator=generator, dtype=torch.float64) ** 3
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * (1 - size)
    return torch.cat([corner, corner + size], dim=1).round(decimals=4).tolist()


@pytest.mark.parametrize(
    ("forced", "assigned", "lost"),
    [
        ("none", [-1, -1, -1, -1, 0, -1, -1, -1], [1]),
        ("overwrite", [-1, -1, -1, -1, 1, -1, -1, -1], [0]),
        ("bipartite", [-1, -1, -1, 1, 0, -1, -1, -1], []),
    ],
)
def test_the_toy_scene_as_chapter_3_tells_it(forced, assigned, lost):
    explorer = EXAMPLES["MatchingExplorer"]()
    explorer.forced = forced
    assert explorer.assigned.tolist() == assigned
    assert explorer.lost == lost
    boxes = explorer.default_boxes.tolist()
    [found] = call(
        explorer._esm, [("answers", [boxes, explorer.objects, explorer.threshold, forced])]
    )
    assert found["assigned"] == assigned
    assert [g for g, of in enumerate(found["found"]) if not of["boxes"]] == lost


@pytest.mark.parametrize("forced", explorers.matching.FORCED)
@pytest.mark.parametrize("spec", [TOY, LITE], ids=lambda spec: spec.name)
def test_python_and_the_page_agree_to_the_last_tie(spec, forced):
    explorer = explorers.MatchingExplorer(MATCHING_SCENES, (spec,), forced=forced)
    states = [(crowd(1 + k % 4, k), (0.1, 0.35, 0.5, 0.9)[k % 4 - 1]) for k in range(40)]
    of_spec = layout(spec)
    [boxes] = call(explorer._esm, [("defaultBoxesOf", [of_spec])])
    assert torch.tensor(boxes).equal(explorer.default_boxes)
    pages = call(
        explorer._esm,
        [("answers", [boxes, objects, threshold, forced]) for objects, threshold in states],
    )
    lost = 0
    for (explorer.objects, explorer.threshold), page in zip(states, pages):
        assigned = explorer.assigned
        assert page["assigned"] == assigned.tolist()
        assert [of["boxes"] for of in page["found"]] == [
            (assigned == g).nonzero()[:, 0].tolist() for g in range(len(explorer.objects))
        ]
        assert explorer.lost == [g for g, of in enumerate(page["found"]) if not of["boxes"]]
        lost += len(explorer.lost)
    assert (
        lost or forced != "none"
    )  # and in these scenes some objects do have no box by the threshold


def test_an_object_s_own_box_is_the_package_s():
    explorer = EXAMPLES["MatchingExplorer"]()
    explorer.spec, explorer.forced = "LITE", "bipartite"
    boxes = explorer.default_boxes.double()
    for seed in range(5):
        explorer.objects = crowd(4, seed)
        overlap = iou(torch.tensor(explorer.objects, dtype=torch.float64), cxcywh_to_xyxy(boxes))
        [page] = call(
            explorer._esm, [("answers", [boxes.tolist(), explorer.objects, 0.5, "bipartite"])]
        )
        assert [of["own"] for of in page["found"]] == bipartite(overlap[None])[0].tolist()
        assert [of["bestIoU"] for of in page["found"]] == pytest.approx(
            overlap.amax(dim=1).tolist()
        )
        labels = torch.ones(1, 4, dtype=torch.int64)
        objects = torch.tensor(explorer.objects, dtype=torch.float64)
        assert explorer.assigned.equal(assign(boxes, objects[None], labels)[0])


def test_an_object_that_overlaps_nothing_is_lost_and_steals_nothing():
    explorer = EXAMPLES["MatchingExplorer"]()
    explorer.objects = [[2.0, 2.0, 3.0, 3.0]]
    for explorer.forced in explorers.matching.FORCED:
        assert explorer.assigned.tolist() == [-1] * 8
        [page] = call(
            explorer._esm,
            [
                (
                    "answers",
                    [explorer.default_boxes.tolist(), explorer.objects, 0.5, explorer.forced],
                )
            ],
        )
        assert page["assigned"] == [-1] * 8


def test_another_scene_brings_its_objects():
    explorer = EXAMPLES["MatchingExplorer"]()
    assert (
        explorer.objects
        == explorer.scenes["toy"]["objects"]
        == [[0.25, 0.375, 0.75, 0.75], [0.25, 0.5, 0.875, 0.75]]
    )
    assert len(explorer.scenes["crowd"]["objects"]) == 3


def test_numbers_of_boxes_do_not_cover_each_other():
    explorer = EXAMPLES["MatchingExplorer"]()
    corners = 400 * cxcywh_to_xyxy(explorer.default_boxes)
    [places] = call(explorer._esm, [("numberPlaces", [corners.tolist(), 20])])
    places = torch.tensor(places)
    apart = (places[:, None] - places).abs().amax(dim=-1)  # (8, 8)
    assert (apart + 20 * torch.eye(8) >= 20).all()
    assert ((places >= corners[:, :2]) & (places + 20 <= corners[:, 2:])).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scenes": {}}, "scenes, specs: got 0 and 1"),
        ({"specs": ()}, "scenes, specs: got 2 and 0"),
        (
            {"scenes": {"five": (PICTURE, torch.rand(5, 4), "abcde")}},
            "'five' has 5 objects and 5 names",
        ),
        ({"scenes": {"one": (PICTURE, torch.rand(1, 4), ())}}, "'one' has 1 objects and 0 names"),
        ({"threshold": 0}, "threshold: got 0"),
        ({"forced": "both"}, "forced: got 'both'; expected one of none, overwrite, bipartite"),
    ],
)
def test_bad_arguments_are_named(change, words):
    given = {"scenes": MATCHING_SCENES, "specs": (TOY,)} | change
    with pytest.raises(ValueError, match=words):
        explorers.MatchingExplorer(**given)


def test_what_chapter_3_says_to_try_is_so():
    explorer = EXAMPLES["MatchingExplorer"]()
    house, car = explorer.objects
    for explorer.threshold in (
        0.4,
        0.35,
    ):  # the house gets a second box before the car gets its first
        assert explorer.assigned.tolist() == [-1, -1, -1, -1, 0, 0, -1, -1]
    explorer.threshold = 0.3
    assert explorer.assigned[[3, 4]].tolist() == [1, 0]
    explorer.threshold, explorer.forced = 0.5, "overwrite"
    for steps, lost in ((0, [0]), (4, []), (8, [])):  # away from the house
        explorer.objects = [house, [edge + steps / 80 for edge in car]]
        assert explorer.lost == lost

    scene = Shapes(count=500, seed=0)[438]
    explorer = explorers.MatchingExplorer({"drawn": (scene.image, scene.boxes, "1234")}, (LITE,))
    assert explorer.lost == [1]
    x0, y0, x1, y1 = explorer.objects[1]
    explorer.objects = [
        explorer.objects[0],
        [x0 - 1 / 80, y0, x1 - 1 / 80, y1],
        *explorer.objects[2:],
    ]
    assert explorer.lost == []
