"""The scripts that record what pages quote: the variants, and each command at small size."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from book.replay import read_replay
from book.slow.afterword import (
    TopDown,
    add_top_down,
    focal_loss,
    loss_without_mining,
    make_objects_rare,
)
from figures import ablate, afterword, record
from figures.ablate import MODELS, fewer_maps, match_by_threshold, match_overwriting, variants
from ssd_lite.boxes import cxcywh_to_xyxy, iou
from ssd_lite.checkpoint import load_model
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.loss import cross_entropy, multibox_loss
from ssd_lite.matching import match
from ssd_lite.mining import all_negatives
from ssd_lite.model import SSD
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE, LITE_300
from tests.helpers import oracles
from tests.helpers.scenes import folder_of_scenes

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "figures" / "records"


@pytest.mark.parametrize("spec", [LITE, LITE_300], ids=["LITE", "LITE_300"])
def test_with_fewer_maps_there_are_about_as_many_boxes_from_the_smallest_size_to_the_largest(spec):
    for count in range(1, len(spec.maps)):
        fewer = fewer_maps(spec, count)
        assert 0.9 < len(make_default_boxes(fewer)) / len(make_default_boxes(spec)) < 1.25
        assert (fewer.sizes[0], fewer.sizes[-1]) == (spec.sizes[0], spec.sizes[-1])
        model = SSD(fewer, ("a",))
        logits, _ = model(
            torch.zeros(1, 3, spec.image_size, spec.image_size)
        )  # raises if maps and network differ
        assert logits.shape[1] == len(model.default_boxes)


@pytest.mark.parametrize("model", MODELS)
def test_every_variant_differs_from_the_baseline_in_one_thing(model):
    baseline, *others = variants(*MODELS[model])
    names = [(v.group, v.name) for v in others]
    assert len(set(names)) == len(names)
    for variant in others:
        changed = {
            f.name for f in fields(variant) if getattr(variant, f.name) != getattr(baseline, f.name)
        }
        changed -= {"group", "name"}
        assert len(changed - {"scenes"}) <= 1, variant
        assert changed or (variant.group, variant.name) == ("augmentation", "mirror")
        assert ("scenes" in changed) == (variant.group == "augmentation")
    of_recipe = [v.recipe for v in others if v.recipe != baseline.recipe]
    for recipe in of_recipe:
        changed = {
            f.name
            for f in fields(recipe)
            if getattr(recipe, f.name) != getattr(baseline.recipe, f.name)
        }
        assert len(changed) == 1


def crowds(count=40):
    """Scenes with up to 6 objects among LITE's default boxes, the last rows padding."""
    low, side = torch.rand(count, 6, 2), torch.rand(count, 6, 2) * 0.5 + 0.02
    boxes = torch.cat([low * (1 - side), low * (1 - side) + side], dim=2)
    labels = torch.randint(1, 6, (count, 6)) * (torch.arange(6) < torch.randint(0, 7, (count, 1)))
    return make_default_boxes(LITE), torch.where(labels[:, :, None] > 0, boxes, 0), labels


def test_matching_by_threshold_is_the_rule_without_the_forced_matches():
    torch.manual_seed(0)
    default_boxes, boxes, labels = crowds()
    found, target_boxes = match_by_threshold(default_boxes, boxes, labels)
    forced, forced_boxes = match(default_boxes, boxes, labels)
    overlap = iou(boxes, cxcywh_to_xyxy(default_boxes).expand(len(boxes), -1, -1))
    reached = (torch.where(labels[:, :, None] > 0, overlap, -1) >= 0.5).any(dim=1)
    assert torch.equal(found > 0, reached)
    assert (found != forced).any() and (found > 0).any()
    same = found == forced
    agree = (target_boxes == forced_boxes).all(dim=2)
    assert agree[same & (found == 0)].all() and agree[same].float().mean() > 0.99


def test_overwriting_is_the_plain_loop():
    torch.manual_seed(1)
    default_boxes, boxes, labels = (x.double() if x.is_floating_point() else x for x in crowds(20))
    found, target_boxes = match_overwriting(default_boxes, boxes, labels)
    corners = [oracles.corners(d) for d in default_boxes.tolist()]
    for b in range(len(boxes)):
        real = [g for g in range(6) if labels[b, g] > 0]
        overlap = [[oracles.iou(boxes[b, g].tolist(), d) for d in corners] for g in real]
        assigned = {}
        for a in range(len(corners)):
            best = max(range(len(real)), key=lambda i: overlap[i][a], default=None)
            if best is not None and overlap[best][a] >= 0.5:
                assigned[a] = real[best]
        for i, g in enumerate(real):
            assigned[max(range(len(corners)), key=lambda a: overlap[i][a])] = g  # whoever had it
        expected = [
            int(labels[b, assigned[a]]) if a in assigned else 0 for a in range(len(corners))
        ]
        assert found[b].tolist() == expected
        for a, g in assigned.items():
            assert torch.equal(target_boxes[b, a], boxes[b, g])


def test_ablations_are_recorded_one_by_one_and_go_on(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    small = ["--steps", "2", "--test-scenes", "3", "--out", str(path), "--processes", "1"]

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["ablate.py", *small, *options])
        ablate.main()

    command = [
        sys.executable,
        str(ROOT / "figures" / "ablate.py"),
        *small,
        "--only",
        "baseline",
        "--seeds",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    first = json.loads(path.read_text())
    assert [(r["group"], r["variant"], r["seed"]) for r in first["runs"]] == [
        ("baseline", "baseline", 0),
        ("NMS", "class-blind", 0),
    ]
    assert all(
        0 <= r["map50"] <= 1 and r["boxes"] == len(make_default_boxes(LITE)) for r in first["runs"]
    )
    run("--only", "variances", "--seeds", "1")
    second = json.loads(path.read_text())
    assert second["runs"][:2] == first["runs"]
    assert [r["group"] for r in second["runs"][2:]] == ["variances"]
    with pytest.raises(SystemExit, match="move it away first"):
        run("--steps", "3")


def test_focal_loss_is_the_formula():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 9, 4), torch.randint(0, 4, (2, 9))
    p = logits.softmax(dim=2).gather(2, labels[:, :, None])[..., 0]
    torch.testing.assert_close(focal_loss(logits, labels), -((1 - p) ** 2) * p.log())
    torch.testing.assert_close(focal_loss(logits, labels, gamma=0), cross_entropy(logits, labels))


def test_without_mining_every_box_takes_part_and_localization_stays():
    torch.manual_seed(0)
    logits, offsets, wanted = torch.randn(2, 9, 4), torch.randn(2, 9, 4), torch.randn(2, 9, 4)
    labels = torch.randint(0, 2, (2, 9))
    found = loss_without_mining(logits, offsets, labels, wanted, choose_negatives=None)
    plain = multibox_loss(logits, offsets, labels, wanted, all_negatives)
    torch.testing.assert_close(
        found.classification, focal_loss(logits, labels).sum() / (labels > 0).sum()
    )
    assert found.localization == plain.localization
    assert found.negatives == plain.negatives == (labels == 0).sum()


def test_objects_are_as_rare_at_first_as_one_says():
    model = SSD(LITE, Shapes.classes)
    for head in model.logits:
        torch.nn.init.zeros_(head.weight)
    make_objects_rare(model, share=0.02)
    p = model(torch.zeros(1, 3, 96, 96))[0].softmax(dim=2)
    torch.testing.assert_close(1 - p[..., 0], torch.full((1, 2018), 0.02))
    torch.testing.assert_close(p[..., 1:], torch.full((1, 2018, 5), 0.004))


def test_a_road_back_adds_to_each_map_what_the_coarser_ones_know():
    torch.manual_seed(0)
    model, images = SSD(LITE, Shapes.classes), torch.randn(1, 3, 96, 96)
    before = model(images)
    add_top_down(model)
    assert isinstance(model.base, TopDown)
    after = model(images)
    assert [x.shape for x in before] == [x.shape for x in after]
    last = LITE.boxes_per_level[-1]
    assert before[0][:, -last:].equal(after[0][:, -last:])  # none is coarser than the coarsest
    assert not torch.isclose(before[0][:, :-last], after[0][:, :-last]).all(dim=2).any()
    for road in model.base.down:  # nothing comes down: the model that it was
        torch.nn.init.zeros_(road.weight)
    assert all(x.equal(y) for x, y in zip(before, model(images)))


def test_the_afterword_is_recorded_one_by_one_and_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    monkeypatch.setattr(afterword, "SCENES", 8)
    small = ["--steps", "2", "--test-scenes", "3", "--out", str(path), "--seeds", "1"]
    afterword.main(*small)
    first = json.loads(path.read_text())
    assert [(run["variant"], run["seed"]) for run in first["runs"]] == [
        (name, 0) for name in afterword.VARIANTS
    ]
    plain, focal, top_down = first["runs"]
    assert plain["parameters"] == focal["parameters"] < top_down["parameters"]
    afterword.main(*small[:-1], "2")
    assert json.loads(path.read_text())["runs"][:3] == first["runs"]
    with pytest.raises(SystemExit, match="move it away first"):
        afterword.main(*small, "--steps", "3")


def test_the_afterwords_record_is_whole():
    about = json.loads(afterword.RECORD.read_text())
    assert about["protocol"]["recipe"]["steps"] == afterword.RECIPE.steps
    assert about["protocol"]["spec"] == LITE.name
    expected = {(name, seed) for name in afterword.VARIANTS for seed in range(3)}
    assert {(run["variant"], run["seed"]) for run in about["runs"]} == expected
    assert len(about["runs"]) == len(expected)


def test_the_gpus_record_can_be_made_at_small_size(tmp_path, monkeypatch):
    """On any machine: two steps of the four runs, on drawn scenes instead of BCCD."""
    folder = str(folder_of_scenes(tmp_path / "bccd", train=3, test=1))
    monkeypatch.setattr(record, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(record, "GPU_DATA", (folder,))
    record.main("gpu", "--steps", "2", "--batch-size", "2", "--device", "cpu")
    names = {path.name for path in (tmp_path / "records").iterdir()}
    ends = (".json", "_replay.json", ".safetensors", ".jpg", "_fp32.json", "_fp32_replay.json")
    kept = {name for name in names if any(name.endswith(end) for end in ends)}
    assert names == kept and len(names) == 8
    [path] = (
        p for p in (tmp_path / "records").glob("bccd_lite300_*.safetensors") if "fp32" not in p.name
    )
    assert load_model(path).spec == LITE_300
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["config"]["recipe"]["precision"] == "bf16"
    assert about["config"]["recipe"]["augment"] == "paper"
    assert about["device"] and set(about["coco"]) >= {"APs", "APm", "APl"}
    assert read_replay(path.with_name(path.stem + "_replay.json"))[-1]["step"] == 2


@pytest.mark.parametrize("name", ["shapes_lite_cpu", "bccd_lite_cpu"])
def test_a_kept_checkpoint_is_small_and_of_its_record(name):
    about = json.loads((RECORDS / f"{name}.json").read_text())
    path = RECORDS / f"{name}.safetensors"
    assert path.stat().st_size < 5e6
    model = load_model(path)
    assert model.spec.name == about["spec"]
    assert sum(p.numel() for p in model.parameters()) == about["parameters"]
    assert set(about["per_class"]) == set(model.classes)


def test_the_ablations_record_is_whole():
    """Every variant with three seeds, of the protocol that the script has now."""
    about = json.loads((RECORDS / "ablations_lite_cpu.json").read_text())
    spec, recipe, many, few = MODELS["lite"]
    assert about["protocol"]["spec"] == spec.name
    assert about["protocol"]["recipe"]["steps"] == recipe.steps
    expected = {
        (v.group, v.name, seed) for v in variants(spec, recipe, many, few) for seed in range(3)
    }
    expected |= {("NMS", "class-blind", seed) for seed in range(3)}
    assert {(r["group"], r["variant"], r["seed"]) for r in about["runs"]} == expected
    assert len(about["runs"]) == len(expected)


def test_classes_of_the_recorded_model_are_those_of_the_scenes():
    assert load_model(RECORDS / "shapes_lite_cpu.safetensors").classes == Shapes.classes
