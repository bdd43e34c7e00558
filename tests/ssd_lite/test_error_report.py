"""``evaluate --errors``: what it says, what it writes, and pictures that show what they should."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ssd_lite import load_model
from ssd_lite.checkpoint import save_checkpoint
from ssd_lite.data import Sample
from ssd_lite.detection import Detections, detect
from ssd_lite.drawing import color
from ssd_lite.error_pictures import CELL, _condensed, confusion_picture, error_sheet
from ssd_lite.error_report import in_words, write_errors
from ssd_lite.errors import find_errors
from ssd_lite.evaluation import detect_all, ground_truth
from ssd_lite.folders import open_folder
from ssd_lite.metrics import GroundTruth
from ssd_lite.model import SSD
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE
from ssd_lite.verdicts import KINDS, MISSED, MISTAKES
from tests.helpers.scenes import (
    ROOT,
    annotation,
    command,
    folder_of_scenes,
    plain,
    refused,
    without_a_gpu,
    write_folder,
)

WEIGHTS = ROOT / "figures" / "records" / "shapes_lite_cpu.safetensors"
SHEETS = [f"{kind.replace(' ', '_')}.jpg" for kind in (*MISTAKES, MISSED)]
CLASSES = ("disc", "square")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    without_a_gpu(tmp_path, monkeypatch)


def scene(boxes=(), labels=(), difficult=None, size=(80, 120), name="a.jpg"):
    """A gray picture with objects, boxes in pixels."""
    height, width = size
    fractions = torch.tensor(boxes).view(-1, 4) / torch.tensor([width, height] * 2)
    marks = torch.tensor(difficult or [False] * len(labels), dtype=torch.bool)
    image = torch.full((3, height, width), 120, dtype=torch.uint8)
    return Sample(image, fractions, torch.tensor(labels, dtype=torch.int64), marks, name)


def said(boxes=(), scores=(), labels=()):
    return Detections(
        torch.tensor(boxes).view(-1, 4).float(),
        torch.tensor(scores).view(-1).float(),
        torch.tensor(labels, dtype=torch.int64),
    )


def every_kind():
    """Two pictures with each kind of error, and their verdicts."""
    boxes = [(10.0, 10, 40, 40), (60.0, 10, 90, 40), (100.0, 60, 118, 78), (2.0, 60, 20, 78)]
    data = [scene(boxes, [1, 2, 1, 1], [False, False, False, True]), scene(name="below/ü.png")]
    claims = [
        *((boxes[0], 0.95, 1), ((10, 14, 40, 44), 0.9, 1), (boxes[1], 0.8, 1)),
        *(((60, 30, 90, 60), 0.7, 2), ((10, 32, 40, 62), 0.6, 2), (boxes[3], 0.9, 1)),
        *((boxes[2], 0.3, 1), ((40, 60, 58, 78), 0.2, 1)),
    ]
    found = [said(*zip(*claims)), said([(70, 50, 119, 79)], [0.99], [2])]
    return data, find_errors(found, [ground_truth(sample) for sample in data], CLASSES)


# The files. ---------------------------------------------------------------------------------------


def test_all_files_are_written_and_say_the_same(tmp_path):
    data, errors = every_kind()
    written = write_errors(errors, data, [s.name for s in data], tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["errors.json", "confusion.png", *SHEETS]
    content = json.loads(written[0].read_text())
    assert content["counts"]["all"] == {
        **dict.fromkeys(KINDS, 1),
        "missed": 2,
    }
    first, second = content["pictures"]
    assert (first["picture"], second["picture"]) == ("a.jpg", "below/ü.png")
    assert [d["verdict"] for d in first["detections"]] == [
        *("hit", "double", "not counted", "wrong class", "badly placed", "both")
    ]
    assert [d["object"] for d in first["detections"]] == [0, 0, None, 1, 1, 0]
    assert [o["verdict"] for o in first["objects"]] == ["found", "missed", "missed", "not counted"]
    assert [o["found_at"] for o in first["objects"]] == [0.95, None, 0.3, None]
    assert second["detections"][0]["box"] == [70, 50, 119, 79]
    assert content["confusion"]["matrix"] == errors.confusion.tolist()
    assert sum(b["detections"] for b in content["reliability"]) == 8  # all but the uncounted one


def test_a_sheet_of_an_earlier_call_does_not_stay(tmp_path):
    data, errors = every_kind()
    write_errors(errors, data, ["a", "b"], tmp_path)
    nothing = find_errors([said(), said()], [ground_truth(scene())] * 2, CLASSES)
    written = write_errors(nothing, data, ["a", "b"], tmp_path)
    assert [path.name for path in written] == ["errors.json", "confusion.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.png", "errors.json"]


@pytest.mark.parametrize("kind", [*MISTAKES, MISSED])
def test_a_sheet_shows_the_object_white_and_the_detection_in_its_color(kind):
    data, errors = every_kind()
    sheet = error_sheet(errors, data, kind)
    colors = {pixel for _, pixel in sheet.getcolors(1 << 24)}
    i, k = errors.worst(kind)[0]
    if kind != MISSED:
        label = int(errors.verdicts[i].detections.labels[k])
        assert tuple(bytes.fromhex(color(label)[1:])) in colors
    crop = np.asarray(sheet)[40:220, 14:196].reshape(-1, 3)  # inside the first tile
    assert (crop == 255).all(axis=1).any() == (kind != "background")
    assert ((154, 164, 173) in colors) == (kind == "double")


def test_a_sheet_holds_24_crops_and_reads_no_other_picture():
    class Counted(list):
        read = 0

        def __getitem__(self, index):
            Counted.read += 1
            return super().__getitem__(index)

    data = Counted(scene([(5.0, 5, 30, 30)], [1]) for _ in range(40))
    errors = find_errors([said()] * 40, [ground_truth(s) for s in list(data)], CLASSES)
    few, many = (error_sheet(errors, data, MISSED, most) for most in (7, 24))
    assert Counted.read == 7 + 24
    assert many.height > 1.7 * few.height and many.width == few.width


@pytest.mark.parametrize(
    "size, box",
    [
        ((4, 4), (0.0, 0, 4, 4)),
        ((3, 900), (0.0, 0, 900, 3)),
        ((900, 3), (0.0, 0, 3, 900)),
        ((300, 300), (299.0, 299, 300, 300)),
        ((300, 300), (0.0, 0, 300, 300)),
    ],
)
def test_any_picture_and_any_object_fit_on_a_sheet(size, box):
    data = [scene([box], [1], size=size)]
    errors = find_errors([said()], [ground_truth(data[0])], CLASSES)
    assert error_sheet(errors, data, MISSED).width > 200


@pytest.mark.parametrize("classes", [1, 3, 20, 21, 80])
def test_the_confusion_matrix_is_a_table_of_at_most_20_classes(classes):
    names = [f"class {k}" for k in range(1, classes + 1)]
    matrix = np.diag(np.arange(classes + 1))
    matrix[classes, 1] = 7
    picture = confusion_picture(matrix, names)
    rows = min(classes, 20) + 1 + (classes > 20)
    assert rows * CELL < picture.height < rows * CELL + 220
    assert {(255, 255, 255)} < {pixel for _, pixel in picture.getcolors(1 << 24)}


def test_the_others_are_summed_and_no_number_is_lost():
    generator = np.random.default_rng(0)
    matrix = generator.integers(0, 5, (81, 81))
    matrix[17], matrix[0, 0] = 40, 0  # the class with the most errors
    small, names = _condensed(matrix, [f"class {k}" for k in range(1, 81)])
    assert small.sum() == matrix.sum() and small.shape == (22, 22)
    words = [name for name, _ in names]
    assert (words[0], words[-1], len(words)) == ("background", "others", 22)
    at = words.index("class 17")
    assert small[at, at] == 40 and small[at, 0] == 40
    assert small[at].sum() == matrix[17].sum()


# The command. -------------------------------------------------------------------------------------


def test_evaluate_says_and_writes_which_errors_are_made(tmp_path, capsys):
    folder = folder_of_scenes(tmp_path / "scenes", 1, 12, size=96)
    words = ["evaluate", "--weights", WEIGHTS, "--data", folder]
    command(*words)
    plain_words = capsys.readouterr().out
    command(*words, "--errors", "wrong", "--threshold", 0.3)
    told = capsys.readouterr().out
    assert told.startswith(plain_words)
    assert "errors at a score of 0.3 or more and an IoU of 0.5" in told
    content = json.loads((tmp_path / "wrong" / "errors.json").read_text())
    assert (content["score_threshold"], len(content["pictures"])) == (0.3, 13)

    # The same as in two steps by hand.
    model = load_model(WEIGHTS)
    survey = open_folder(folder)
    test = survey.test
    order = [survey.test.classes.index(name) + 1 for name in model.classes]
    renumbered = torch.tensor([0, *order])
    found = [
        d._replace(labels=renumbered[d.labels]) for d in detect(model, [s.image for s in test])
    ]
    errors = find_errors(found, [ground_truth(s) for s in test], test.classes, 0.3)
    ours = {
        name: dict(zip(KINDS, row.tolist())) for name, row in zip(test.classes, errors.counts())
    }
    assert {name: content["counts"][name] for name in test.classes} == ours
    assert sum(ours[name]["hit"] for name in ours) > 10
    for path in (tmp_path / "wrong").glob("*.jpg"):
        assert path.name in told and Image.open(path).width > 1000


def test_classes_that_the_data_do_not_know_are_no_errors(tmp_path, capsys):
    """A model that says star everywhere, on data that label squares alone."""
    model = SSD(LITE, ("star", "square"))
    model.logits[0].bias.data.view(-1, 3)[:, 1] = 9
    save_checkpoint(tmp_path / "m.safetensors", model)
    picture = (plain(), annotation(("square", (1, 1, 30, 30)), ("square", (40, 1, 59, 20), True)))
    for image_set in ("trainval", "test"):
        write_folder(tmp_path / "a", {image_set: picture}, image_set)
    command("evaluate", "--weights", "m.safetensors", "--data", "a", "--errors", "out")
    assert "the data does not know them: star" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert set(content["counts"]) == {"square", "all"}
    assert content["counts"]["all"]["missed"] + content["counts"]["all"]["hit"] == 1
    [picture] = content["pictures"]
    assert [o["verdict"] for o in picture["objects"]][1] == "not counted"


@pytest.mark.parametrize(
    "words, message",
    [
        (["--threshold", 0.4], "--threshold: is for --errors alone"),
        (["--errors", "x", "--threshold", 1.5], "--threshold 1.5: expected a score, 0 to 1"),
        (["--errors", "a.txt"], "--errors a.txt: a file; name a folder"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_the_work(words, message, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("")
    arguments = ["evaluate", "--weights", "not read", "--data", "shapes", *words]
    assert message in refused(capsys, *arguments)


def test_words_when_there_is_nothing_to_say():
    told = in_words(find_errors([], [], CLASSES))
    assert "confused most: no class with another" in told
    assert "0 of 0 missed objects would be found at a lower score" in told
    assert "calibration" not in told


def test_detect_all_gives_each_sample_its_detections():
    model, data = load_model(WEIGHTS), Shapes(5, seed=3)
    pairs = list(detect_all(model, data, batch_size=2))
    assert [sample.name for sample, _ in pairs] == [data[i].name for i in range(5)]
    for sample, found in pairs:
        [alone] = detect(model, [sample.image])
        torch.testing.assert_close(found.boxes, alone.boxes, atol=1e-3, rtol=0)
    assert isinstance(ground_truth(pairs[0][0]), GroundTruth)
