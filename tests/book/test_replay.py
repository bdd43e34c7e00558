"""The replay of a run: when it looks, what it keeps, and that watching changes nothing."""

from dataclasses import replace

import pytest
import torch

from book.replay import Replay, moments, read_replay
from ssd_lite.detection import detect
from ssd_lite.model import SSD
from ssd_lite.recipe import LITE_RECIPE
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE
from ssd_lite.train import fit

IMAGES = [Shapes(3, 1, LITE.image_size)[i].image for i in range(3)]


def lite(seed=0):
    torch.manual_seed(seed)
    return SSD(LITE, Shapes.classes)


@pytest.mark.parametrize("steps", [1, 2, 7, 12])
def test_a_run_of_a_few_steps_has_its_first_and_last_moment(steps):
    looks = moments(steps)
    assert (looks[0], looks[-1]) == (0, steps)
    assert looks == sorted(set(looks))


@pytest.mark.parametrize("steps", [100, 480, 3000, 120_000])
def test_a_dozen_moments_from_the_first_step_to_the_last_ever_further_apart(steps):
    looks = moments(steps)
    assert (looks[0], looks[-1], len(looks)) == (0, steps, 12)
    gaps = [b - a for a, b in zip(looks[1:], looks[2:])]
    assert gaps == sorted(gaps)


def test_what_is_kept_is_what_the_model_finds(tmp_path):
    model = lite()
    Replay(tmp_path / "replay.json", IMAGES, steps=10, threshold=0.2)(10, model)
    [frame] = read_replay(tmp_path / "replay.json")
    assert frame["step"] == 10
    for lines, found in zip(frame["found"], detect(model, IMAGES, 0.2, per_image=20), strict=True):
        assert len(lines) == len(found.boxes) > 0
        assert [line[0] for line in lines] == found.labels.tolist()
        torch.testing.assert_close(
            torch.tensor([line[1] for line in lines]), found.scores, atol=6e-4, rtol=0
        )
        torch.testing.assert_close(
            torch.tensor([line[2:] for line in lines]), found.boxes, atol=0.06, rtol=0
        )


def test_random_weights_do_not_fill_the_file(tmp_path):
    Replay(tmp_path / "replay.json", IMAGES, steps=10, threshold=0, most=5)(0, lite())
    [frame] = read_replay(tmp_path / "replay.json")
    assert [len(lines) for lines in frame["found"]] == [5, 5, 5]


def test_it_looks_at_its_moments_only_and_starts_again_where_a_run_does(tmp_path):
    path, model = tmp_path / "replay.json", lite()
    replay = Replay(path, IMAGES, steps=100)
    for step in range(101):
        replay(step, model)
    assert [frame["step"] for frame in read_replay(path)] == moments(100)
    later = lite(seed=1)
    again = Replay(
        path, IMAGES, steps=100
    )  # a run that was interrupted after step 25, but not at once
    for step in range(20, 101):
        again(step, later)
    assert [frame["step"] for frame in read_replay(path)] == moments(100)
    by_first, by_second = ([f for f in r.frames if f["step"] < 20] for r in (replay, again))
    assert by_first == by_second
    assert replay.frames[-1] != again.frames[-1]


def test_training_is_watched_before_the_first_step_and_after_each_and_not_changed_by_it(tmp_path):
    recipe = replace(LITE_RECIPE, steps=4, batch_size=2, evaluate_every=4, save_every=4)
    data, seen, models = Shapes(4, 0, LITE.image_size), [], [lite(), lite()]
    fit(models[0], data, data, recipe, tmp_path / "a", "cpu")
    replay = Replay(tmp_path / "replay.json", IMAGES, recipe.steps)
    on_step = lambda step, model: (seen.append(step), replay(step, model))  # noqa: E731
    fit(models[1], data, data, recipe, tmp_path / "b", "cpu", on_step=on_step)
    assert seen == [0, 1, 2, 3, 4]
    assert [frame["step"] for frame in replay.frames] == moments(4)
    assert all(torch.equal(a, b) for a, b in zip(*(model.parameters() for model in models)))
