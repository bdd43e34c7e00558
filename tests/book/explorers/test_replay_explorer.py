"""The replay explorer shows all that a Replay has kept, at the moment it belongs to."""

import pytest
import torch

from book.explorers import ReplayExplorer
from book.replay import Replay, read_replay
from ssd_lite.detection import detect
from ssd_lite.drawing import color, ink_on
from ssd_lite.model import SSD
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE
from tests.helpers.examples import PICTURE, REPLAY_FRAMES
from tests.helpers.javascript import call

CLASSES = ("one", "two")


def made(frames=REPLAY_FRAMES, images=(PICTURE, PICTURE), **knobs):
    return ReplayExplorer(frames, images, CLASSES, **knobs)


def test_it_begins_with_step_0_and_holds_all():
    explorer = made()
    assert explorer.moment == 0
    assert explorer.frames == REPLAY_FRAMES
    assert explorer.colors == [[color(label), ink_on(color(label))] for label in (1, 2)]


@pytest.mark.parametrize("threshold", [0.3, 0.42, 0.5, 0.99])
def test_page_and_python_show_the_same(threshold):
    explorer = made()
    explorer.threshold = threshold
    for moment, frame in enumerate(REPLAY_FRAMES):
        explorer.moment = moment
        kept = call(explorer._esm, [("reaching", [lines, threshold]) for lines in frame["found"]])
        for lines, found, recorded in zip(kept, explorer.found, frame["found"], strict=True):
            rows = torch.cat(
                [found.labels[:, None], found.scores[:, None], found.boxes], dim=1
            )  # (N, 6)
            torch.testing.assert_close(
                torch.tensor(lines[::-1]).view(-1, 6), rows
            )  # the best is drawn last, on top
            assert len(lines) == sum(line[1] >= threshold for line in recorded)
        [counts] = call(explorer._esm, [("countOfClasses", [frame["found"], CLASSES, threshold])])
        labels = torch.cat([found.labels for found in explorer.found])
        assert counts == [(labels == label).sum().item() for label in (1, 2)]


def test_it_shows_what_the_model_finds(tmp_path):
    torch.manual_seed(0)
    model, images = (
        SSD(LITE, Shapes.classes),
        [Shapes(2, 1, LITE.image_size)[i].image for i in range(2)],
    )
    Replay(tmp_path / "replay.json", images, steps=10, threshold=0.2)(10, model)
    explorer = ReplayExplorer(
        read_replay(tmp_path / "replay.json"), images, Shapes.classes, threshold=0.2
    )
    for shown, found in zip(explorer.found, detect(model, images, 0.2, per_image=20), strict=True):
        assert shown.labels.tolist() == found.labels.tolist() != []
        torch.testing.assert_close(shown.boxes, found.boxes, atol=0.06, rtol=0)


def test_words_stay_in_the_picture_and_make_way_for_better_ones():
    boxes = [
        [10, 60, 40, 90],
        [20, 60, 60, 95],
        [12, 62, 50, 90],
        [150, 2, 169, 168],
        [0, 0, 170, 170],
    ]
    places = call(made()._esm, [("placesFor", [boxes, [8, 8, 8, 8, 8], 170])])[0]
    assert places[4][1] == 0  # no room above it
    for left, top, right, bottom in places:
        assert left >= 0 and top >= 0 and right <= 170 and bottom <= 170
    for i, a in enumerate(places):
        for b in places[:i]:
            assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1])
    crowd = call(made()._esm, [("placesFor", [[[10, 60, 40, 100]] * 6, [8] * 6, 170])])[0]
    assert crowd[:2] == [None, None]  # above, below and twice in it: the best four have their words
    assert None not in crowd[2:]


def test_names_of_classes_are_words_and_never_markup():
    assert "innerHTML" not in made()._esm


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match="frames: expected one moment or more, got none"):
        made(frames=[])
    with pytest.raises(ValueError, match="images: expected the 2 that the replay looked at, got 1"):
        made(images=[PICTURE])
