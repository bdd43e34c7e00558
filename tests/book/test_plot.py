"""Drawing: what is promised can be seen in the picture."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import ImageColor

from book import plot
from ssd_lite.detection import Detections
from ssd_lite.drawing import draw
from tests.helpers.wcag import contrast

GRAY = torch.full((3, 500, 600), 128, dtype=torch.uint8)


def detections(*boxes, scores=None):
    n = len(boxes)
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        torch.tensor(scores or [0.9] * n),
        torch.arange(1, n + 1),
    )


def pixel_counts(picture, color):
    """How many pixels of a picture have exactly this color."""
    return int((np.asarray(picture) == ImageColor.getrgb(color)).all(axis=-1).sum())


def test_each_class_is_drawn_in_its_own_color():
    picture = draw(GRAY, detections((50, 60, 200, 300), (300, 100, 500, 400)), ["a", "b"])
    assert picture.size == (600, 500)
    assert all(pixel_counts(picture, plot.color(label)) > 500 for label in (1, 2))


def test_what_scores_below_the_threshold_is_not_drawn():
    found = detections((50, 60, 200, 300), (300, 100, 500, 400), scores=[0.9, 0.3])
    assert pixel_counts(draw(GRAY, found, ["a", "b"], threshold=0.5), plot.color(2)) == 0


def test_nothing_found_leaves_the_picture_as_it_is():
    assert (np.asarray(draw(GRAY, detections(), ["a"])) == 128).all()


def test_a_label_stays_in_the_picture_even_if_its_box_does_not():
    picture = draw(GRAY, detections((-50, -40, 700, 600)), ["a"])
    assert picture.size == (600, 500)
    assert pixel_counts(picture, plot.color(1)) > 100  # the box is outside: this is the label


def test_small_pictures_come_back_enlarged():
    assert draw(GRAY[:, :90, :100], detections((10, 10, 50, 50)), ["a"]).size == (400, 360)


def test_ink_can_be_read_on_every_color_of_the_palette():
    for color in plot.PALETTE:
        assert contrast(color, plot.ink_on(color)) >= 4.5


def test_boxes_are_drawn_where_they_are():
    figure, ax = plt.subplots()
    plot.show_boxes(ax, torch.tensor([[0.1, 0.2, 0.4, 0.8]]), GRAY, unit=300, labels=["a"])
    [box] = ax.patches
    assert np.allclose(
        [box.get_x(), box.get_y(), box.get_width(), box.get_height()], [30, 60, 90, 180]
    )
    plt.close(figure)
