"""The page's detector computes what the package's does: every step, and the detections."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from book.explorers.explorer import sources
from book.explorers.weights import eight_bits, small_checkpoint, weights_script
from ssd_lite.checkpoint import load_model, save_checkpoint
from ssd_lite.detection import detect
from ssd_lite.model import SSD, resize
from ssd_lite.postprocessing import decode_boxes
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE, LITE_300, SSD300_VOC
from ssd_lite.voc import bccd
from tests.helpers.javascript import call
from tests.helpers.page_detector import (
    IN_NODE,
    SOURCE,
    answers_in_javascript,
    disagreements,
    largest_difference,
    steps_in_torch,
)

RECORDS = Path(__file__).parents[3] / "figures" / "records"
SHAPES, CELLS = RECORDS / "shapes_lite_cpu.safetensors", RECORDS / "bccd_lite_cpu.safetensors"
GRAY_LEVEL = 1 / (255 * LITE.std[0])


def check(weights, images, folder, **limits):
    """Compare the detections, and every step on the way to them."""
    model = load_model(weights)
    python = {re.sub("[A-Z]", lambda c: f"_{c[0].lower()}", key): limits[key] for key in limits}
    wanted = detect(model, images, **python)
    answers = answers_in_javascript(weights, images, folder, **limits)
    assert sum(len(w.scores) for w in wanted) > len(images)
    for image, answer, want in zip(images, answers, wanted):
        assert disagreements(answer.found, want) == 0
        steps = steps_in_torch(model, image)
        assert answer.steps.keys() == steps.keys()
        assert largest_difference(answer.steps["image"], steps.pop("image")) < GRAY_LEVEL / 50
        for name, x in steps.items():
            assert largest_difference(answer.steps[name], x) < 1e-4, name


def random_model(folder, spec, classes=("one", "two")):
    torch.manual_seed(0)
    save_checkpoint(folder / "best.safetensors", SSD(spec, classes))
    return folder / "best.safetensors"


def test_drawn_scenes(tmp_path):
    check(SHAPES, [Shapes(500, seed=1)[i].image for i in range(24)], tmp_path)


def test_photographs_of_blood_cells(tmp_path, bccd_folder):
    cells = bccd(bccd_folder, "test", download=False)
    check(CELLS, [cells[i].image for i in range(5)], tmp_path)


@pytest.mark.parametrize(
    "limits",
    [
        {"scoreThreshold": 0.3, "iouThreshold": 0.1},
        {"perClass": 3},
        {"perImage": 2},
    ],
    ids=lambda limits: next(iter(limits)),
)
def test_limits_mean_what_they_mean_in_the_package(tmp_path, limits):
    check(SHAPES, [Shapes(500, seed=1)[i].image for i in range(3)], tmp_path, **limits)


@pytest.mark.parametrize(
    "spec",
    [
        LITE,  # 2 boxes × 3 classes = 6 channels, so the last tile of four sticks out
        replace(LITE, clip_detections=True, max_log_size=0.1),
        replace(LITE_300, antialias=False, extra_square=False),
    ],
    ids=["LITE", "clipped", "LITE_300"],
)
@pytest.mark.parametrize("shape", [(61, 140), (300, 433)], ids=["small", "large"])
def test_other_specs_and_pictures_of_any_size(tmp_path, spec, shape):
    weights = random_model(tmp_path, spec)
    image = resize(255 * torch.rand(1, 3, 20, 20), shape, antialias=True)[0].byte()
    check(weights, [image], tmp_path, perImage=20)


def test_small_weights_find_the_same(tmp_path):
    """Not score by score, for they are rounded: mAP has been measured on the whole test set."""
    (tmp_path / "small.safetensors").write_bytes(small_checkpoint(SHAPES))
    images = [Shapes(500, seed=1)[i].image for i in range(24)]
    found = answers_in_javascript(
        tmp_path / "small.safetensors", images, tmp_path, scoreThreshold=0.5
    )
    wanted = detect(load_model(SHAPES), images, score_threshold=0.5)
    lonely = sum(disagreements(a.found, w, score=0.2, overlap=0.8) for a, w in zip(found, wanted))
    assert lonely <= 2 < sum(len(w.scores) for w in wanted)


def test_eight_bits_are_off_by_half_a_step_at_most():
    weight = torch.randn(6, 4, 3, 3) * torch.tensor([1, 9, 1e-3, 0, 1, 1]).view(-1, 1, 1, 1)
    whole, step = eight_bits(weight)
    assert ((whole * step.view(-1, 1, 1, 1) - weight).abs() <= step.view(-1, 1, 1, 1) / 2).all()
    assert whole.abs().max() == 127


def test_weights_for_a_page_are_light():
    for path in (SHAPES, CELLS):
        assert len(weights_script("shapes", small_checkpoint(path))) < 1.2e6


def test_numbers_of_sixteen_bits():
    given = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.float16)
    found = call(SOURCE, [("half", [bits]) for bits in range(2**16)])
    finite = given.isfinite()
    assert torch.equal(torch.tensor([v or 0 for v in found])[finite], given[finite].float())
    assert {found[bits] for bits in (0x7C00, 0xFC00, 0x7E00)} == {None}  # JSON's word for all three


def test_sixteen_bits_in_a_file(tmp_path):
    halves = {k: x.half() for k, x in safetensors.torch.load_file(SHAPES).items()}
    path = tmp_path / "half.safetensors"
    path.write_bytes(safetensors.torch.save(halves, metadata_of(SHAPES)))
    [image] = images = [Shapes(500, seed=1)[0].image]
    [answer] = answers_in_javascript(path, images, tmp_path)
    logits = steps_in_torch(load_model(SHAPES), image)["logits"]
    assert largest_difference(answer.steps["logits"], logits) < 0.05


# ---- files that are refused


def metadata_of(path):
    content = path.read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]


def changed(about=None, **tensors):
    """The record with other words in its header, or other tensors; None leaves one out."""
    metadata = metadata_of(SHAPES)
    metadata["ssd_lite"] = (about or (lambda text: text))(metadata["ssd_lite"])
    named = {f"model.{name.replace('__', '.')}": x for name, x in tensors.items()}
    all_ = safetensors.torch.load_file(SHAPES) | named
    return safetensors.torch.save({k: x for k, x in all_.items() if x is not None}, metadata)


def saved(folder, spec, classes=("one",)):
    return random_model(folder, spec, classes).read_bytes()


BROKEN = {
    "empty": (lambda _: b"", "no safetensors file"),
    "foreign": (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(5000), "no safetensors file"),
    "pickle": (lambda _: b"PK\x03\x04" + bytes(3000), "no safetensors file"),
    "text": (lambda _: b"Lorem ipsum dolor sit amet", "no safetensors file"),
    "truncated in its header": (lambda _: SHAPES.read_bytes()[:3000], "ends too early"),
    "truncated in its weights": (lambda _: SHAPES.read_bytes()[:-9], "ends too early"),
    "header of noise": (
        lambda _: (600).to_bytes(8, "little") + b"{" + bytes(range(256)) * 4,
        "cannot make sense",
    ),
    "somebody else's": (
        lambda _: safetensors.torch.save({"weight": torch.ones(3)}),
        "names no spec and classes",
    ),
    "another base": (lambda tmp_path: saved(tmp_path, SSD300_VOC), "base is vgg16"),
    "a giant's pictures": (
        lambda _: changed(lambda text: text.replace('"image_size": 96', '"image_size": 9600')),
        "pictures of 9600 × 9600 pixels",
    ),
    "maps of another size": (
        lambda _: changed(lambda text: text.replace('"image_size": 96', '"image_size": 192')),
        "cannot make sense",
    ),
    "no JSON": (lambda _: changed(lambda text: text[:-20]), "cannot make sense"),
    "a class too many": (
        lambda _: changed(lambda text: text.replace('"star"', '"star", "moon"')),
        "logits.0.weight has shape 12 × 48 × 3 × 3, but 14 × 48 × 3 × 3",
    ),
    "a tensor too few": (lambda _: changed(logits__0__bias=None), "logits.0.bias is missing"),
    "NaN": (
        lambda _: changed(logits__0__bias=torch.full((12,), torch.nan)),
        "logits.0.bias holds NaN",
    ),
    "doubles": (lambda _: changed(logits__0__bias=torch.zeros(12).double()), "stored as F64"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_use_is_refused_in_words(tmp_path, name):
    make, words = BROKEN[name]
    path = tmp_path / "broken.safetensors"
    path.write_bytes(make(tmp_path))
    [said] = call(SOURCE, [("refusal", [str(path)])])
    assert said and words in said


def test_a_huge_file_is_refused_before_it_is_read():
    [said] = call(SOURCE, [("tooLarge", [512_000_000])])
    assert said.startswith("This file has 512 MB.")


def test_a_class_may_be_called_infinity(tmp_path):
    path = random_model(tmp_path, LITE, ["Infinity", 'a "NaN" \\'])
    [model] = call(SOURCE, [("modelIn", [str(path)])])
    assert model["classes"] == ["Infinity", 'a "NaN" \\']


# ---- follow one answer

WAYS_IN_NODE = """
export function ways(weights, picture, width, height, count) {
  const model = modelIn(weights);
  const given = { width, height, data: new Uint8ClampedArray(bytesOf(picture)) };
  const answers = forward(model, preprocess(model, given));
  const all = candidates(model, answers, { scoreThreshold: 0.1 });
  return all.slice(0, count).map(({ anchor }, i) => {
    const { patch, weights, logits, scores, offsets, ...way } = explain(model, answers, all, i);
    const numbers = Object.entries({ patch, weights, logits, scores, offsets });
    const lists = Object.fromEntries(numbers.map(([name, x]) => [name, Array.from(x)]));
    return { anchor, ...way, ...lists };
  });
}
"""


def test_the_way_to_an_answer_is_the_way_that_pytorch_goes(tmp_path):
    image, model = Shapes(500, seed=1)[3].image, load_model(SHAPES)
    maps = steps_in_torch(model, image)
    rgba = torch.cat([image, torch.full_like(image[:1], 255)]).permute(1, 2, 0).contiguous()
    (tmp_path / "picture").write_bytes(rgba.numpy().tobytes())
    source = "".join(sources("worker.js").values()).partition("const MANY")[0]
    source = source.replace("export ", "") + IN_NODE + WAYS_IN_NODE
    [ways] = call(source, [("ways", [str(SHAPES), str(tmp_path / "picture"), 96, 96, 12])])
    assert len(ways) > 4
    boxes = decode_boxes(maps["offsets"][None], model.default_boxes, model.spec)[0]
    last = ["base.stride4.8", "base.stride8.5", "base.stride16.5"]
    last += [f"extras.{i}.5" for i in range(3)]
    for i, way in enumerate(ways):
        level, row, column, anchor = (way[k] for k in ("level", "row", "column", "anchor"))
        padded = F.pad(maps[last[level]], (1, 1, 1, 1))
        patch = padded[:, row : row + 3, column : column + 3].flatten()
        same = torch.testing.assert_close
        same(torch.tensor(way["patch"]), patch, atol=1e-4, rtol=1e-4)
        dot = torch.tensor(way["patch"]) @ torch.tensor(way["weights"]) + way["bias"]
        logits = maps["logits"][anchor]
        same(dot, logits[way["label"]], atol=1e-3, rtol=1e-4)
        assert sum(way["sums"]) + way["bias"] == pytest.approx(dot.item(), abs=1e-3)
        same(torch.tensor(way["logits"]), logits, atol=1e-4, rtol=1e-4)
        same(torch.tensor(way["scores"]), logits.softmax(dim=0), atol=1e-4, rtol=1e-4)
        same(torch.tensor(way["offsets"]), maps["offsets"][anchor], atol=1e-4, rtol=1e-4)
        same(torch.tensor(way["defaultBox"]), model.default_boxes[anchor])
        same(torch.tensor(way["box"]), boxes[anchor], atol=1e-4, rtol=1e-4)
        assert all(ways[j]["by"] == i for j in way["struckOut"] if j < len(ways))
        assert way["by"] < 0 or i in ways[way["by"]]["struckOut"]
    assert {way["by"] < 0 for way in ways} == {True, False}
