"""Every constant is held here by a number that was written down from its source.

Nothing is computed as the package computes it, so whoever changes a number there must change it
here, too, and look at what stands beside it. Sources: the paper (arXiv:1512.02325v5) by its
sections; the authors' code (weiliu89/caffe, branch ssd) by script or layer; torchvision, COCOeval
and VOC's devkit by their names; or a choice of this book, with the chapter that explains it.
"""

import importlib
import inspect
from dataclasses import asdict
from math import inf
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn

from ssd_lite import commands, datasets, fast, matching, recipe, spec
from ssd_lite.bases import L2Norm, LiteBase, VGG16Base
from ssd_lite.boxes import iou
from ssd_lite.cli import make_parser
from ssd_lite.data import collate
from ssd_lite.loss import multibox_loss
from ssd_lite.mining import all_negatives
from ssd_lite.model import SSD
from ssd_lite.photometric import distort
from ssd_lite.train import training_loss

FIELDS = {  # what a spec does not say itself
    "extra_square": True,  # 2.2: "for the aspect ratio of 1, we also add a default box"
    "variances": (0.1, 0.2),  # ssd_pascal.py: prior_variance
    "mean": (0.4823529411764706, 0.4588235294117647, 0.40784313725490196),  # ssd_pascal.py:
    "std": (0.00392156862745098,) * 3,  # mean_value 123, 117, 104 (RGB) of 255, and no scale
    "antialias": False,  # ssd_pascal.py: interp_mode LINEAR at test time
    "clip_sizes": False,  # ssd_pascal.py: clip
    "clip_detections": False,  # DetectionOutputLayer decodes without clipping
    "max_log_size": inf,  # DecodeBBox caps nothing
}
SSD300 = {  # ssd_pascal.py
    **{"image_size": 300, "base": "vgg16"},
    **{"maps": (38, 19, 10, 5, 3, 1), "steps": (8, 16, 32, 64, 100, 300)},
    "ratios": ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    "extras": ((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0)),
}
SSD512 = {  # 3.1: one more layer, conv12_2; the rest from the authors' SSD512 model
    **{"image_size": 512, "base": "vgg16"},
    **{"maps": (64, 32, 16, 8, 4, 2, 1), "steps": (8, 16, 32, 64, 128, 256, 512)},
    "ratios": ((2,), (2, 3), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    "extras": ((256, 512, 3, 2, 1), *[(128, 256, 3, 2, 1)] * 3, (128, 256, 4, 1, 1)),
}
LITE = {  # this book's own, chapters 2 and 7
    **{"image_size": 96, "base": "lite"},
    **{"maps": (24, 12, 6, 3, 2, 1), "steps": (4, 8, 16, 32, 48, 96)},
    "ratios": ((), (2,), (2, 3), (2, 3), (2,), (2,)),
    "extras": ((64, 128, 3, 2, 1),) * 3,
    **{"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25), "antialias": True},
}
LITE_192 = {"image_size": 192, "maps": (48, 24, 12, 6, 3, 2), "steps": (4, 8, 16, 32, 64, 96)}
LITE_300 = {
    **{"image_size": 300, "maps": (75, 38, 19, 10, 5, 3, 1)},
    "steps": (4, 8, 16, 32, 64, 100, 300),
    "ratios": ((), (2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
    "extras": (*[(64, 128, 3, 2, 1)] * 3, (64, 128, 3, 1, 0)),
}
TORCHVISION = {  # ssd300_vgg16: image_mean; its scales are COCO's
    "mean": (0.48235, 0.45882, 0.40784),
    "clip_sizes": True,  # DefaultBoxGenerator: clip
    "clip_detections": True,  # SSD.postprocess_detections: clip_boxes_to_image
    "max_log_size": 4.135166556742356,  # BoxCoder: bbox_xform_clip
}
SPECS = {  # and sizes: 3.1, 3.4, the scripts' min_ratio; PriorBoxLayer drops fractions of a pixel
    "SSD300_VOC": (SSD300, (30, 60, 111, 162, 213, 264, 315)),
    "SSD300_COCO": (SSD300, (21, 45, 99, 153, 207, 261, 315)),
    "SSD512_VOC": (SSD512, (35, 76, 153, 230, 307, 384, 460, 537)),
    "SSD512_COCO": (SSD512, (20, 51, 133, 215, 296, 378, 460, 542)),
    "SSD300_TORCHVISION": (SSD300 | TORCHVISION, (21, 45, 99, 153, 207, 261, 315)),
    "LITE": (LITE, (8, 18, 34, 54, 72, 86, 104)),
    "LITE_192": (LITE | LITE_192, (12, 24, 48, 84, 120, 156, 192)),
    "LITE_300": (LITE | LITE_300, (15, 30, 60, 111, 162, 213, 264, 315)),
}
RECIPES = [  # Recipe's default, PAPER, LITE_RECIPE, REAL_RECIPE, GPU_RECIPE, TRANSFER_RECIPE
    ("steps", None, 120_000, 3000, 1000, 12_000, 900),  # ssd_pascal.py; the others: chapter 11, B
    ("batch_size", 32, 32, 16, 16, 64, 16),  # 3, "Base network", as are rate, momentum and decay
    ("optimizer", "sgd", "sgd", "adamw", "adamw", "adamw", "adamw"),
    ("learning_rate", 0.001, 0.001, 0.002, 0.002, 0.002, 0.001),
    ("momentum", 0.9, 0.9, 0.9, 0.9, 0.9, 0.9),
    ("weight_decay", 0.0005, 0.0005, 0.01, 0.01, 0.01, 0.01),
    ("schedule", "multistep", "multistep", "cosine", "cosine", "cosine", "cosine"),
    ("milestones", *[(0.6666666666666666, 0.8333333333333334)] * 6),  # 80k, 100k: ssd_pascal.py
    ("warmup", 0, 0, 100, 100, 500, 50),
    ("clip_norm", inf, inf, 10, 10, 10, 10),
    ("freeze", 0, 0, 0, 0, 0, 1),
    ("freeze_norms", False, False, False, False, False, False),
    ("base_rate", 1, 1, 1, 1, 1, 1),
    ("augment", "paper", "paper", "mirror", "paper", "mirror", "paper"),  # 2.2
    ("threshold", 0.5, 0.5, 0.5, 0.5, 0.5, 0.5),  # 2.2, "Matching strategy"
    ("negative_ratio", 3, 3, 3, 3, 3, 3),  # 2.2, "Hard negative mining"
    ("precision", "fp32", "fp32", "fp32", "fp32", "fp32", "fp32"),
    ("compile", False, False, False, False, False, False),
    ("seed", 0, 0, 0, 0, 0, 0),
    ("evaluate_every", 1000, 5000, 750, 200, 3000, 150),
    ("save_every", 500, 1000, 375, 100, 3000, 150),
]
PARTS = ("distort", "expand", "crop", "mirror")  # 2.2, 3.6
DETECT = "detection.detect postprocessing.postprocess fast.candidates.postprocess"
DEFAULTS = [  # argument, its default, the functions that have it
    ("threshold", 0.5, "matching.assign matching.match fast.matching.match"),  # 2.2
    ("threshold", 0.5, "metrics.match_voc"),  # devkit: minoverlap
    ("threshold", 0.5, "drawing.draw drawing.plain_detections"),  # this book's, chapter 8
    ("ratio", 3, "mining.hard_negatives"),  # 2.2
    ("score_threshold", 0.01, DETECT),  # 3.7; ssd_pascal.py: confidence_threshold
    ("iou_threshold", 0.45, DETECT),  # 3.7; ssd_pascal.py: nms_threshold
    ("iou_threshold", 0.45, "nms.batched_nms nms.nms_parallel nms.nms_sequential"),
    ("per_class", 400, DETECT),  # ssd_pascal.py: top_k
    ("per_image", 200, DETECT),  # 3.7; ssd_pascal.py: keep_top_k
    ("variances", (0.1, 0.2), "encoding.encode encoding.decode"),  # ssd_pascal.py
    ("max_log_size", inf, "encoding.decode"),
    ("length", 20, "bases.L2Norm"),  # 3.1
    ("stride", 1, "bases.conv_relu bases.conv_gn_relu fast.winograd.is_worthwhile"),  # PyTorch's
    ("padding", 0, "bases.conv_relu bases.conv_gn_relu fast.winograd.is_worthwhile"),
    ("dilation", 1, "bases.conv_relu fast.winograd.is_worthwhile"),
    *[("groups", 1, "fast.winograd.is_worthwhile"), ("name", "boxes", "boxes.check_boxes")],
    ("method", "area", "metrics.average_precision evaluation.evaluate evaluation.evaluate_model"),
    ("coco", False, "evaluation.evaluate evaluation.evaluate_model"),
    ("size", (0, 1e10), "metrics.match_coco"),  # COCOeval: areaRng of "all"
    ("precision", "fp32", "detection.detect precision.autocast"),
    ("precision", "fp32", "evaluation.detect_all evaluation.evaluate_model"),
    ("iou_threshold", 0.5, "errors.find_errors verdicts.judge verdicts.confusion"),  # TIDE's t_f
    *[("score_threshold", 0.5, "errors.find_errors"), ("bins", 10, "errors.reliability")],
    *[("workers", 0, "train.fit"), ("start", 0, "data.batches"), ("seed", 0, "shapes.Shapes")],
    *[("size", 96, "shapes.Shapes"), ("keep", False, "data.Resized")],
    ("pinned", False, "train.loader"),
    ("batch_size", 32, "evaluation.detect_all evaluation.evaluate_model"),
    ("at_most", False, "data.Resized"),
    ("difficult", True, "voc.VOCFolder voc.pascal_voc"),  # ssd_pascal.py: train_on_diff_gt
    *[("year", "2007", "voc.pascal_voc"), ("download", False, "voc.pascal_voc")],
    *[("download", True, "voc.bccd"), ("device", "cpu", "checkpoint.load_model")],
    ("parts", PARTS, "augment.augment_batch augment.draw_windows fast.augment.augment_batch"),
]
CONSTANTS = {
    # ssd_pascal.py, batch_sampler: max_trials, min_scale, max_aspect_ratio, min_jaccard_overlap.
    **{"augment.TRIALS": 50, "augment.MIN_SCALE": 0.3, "augment.MAX_RATIO": 2},
    "augment.MIN_OVERLAPS": (0.1, 0.3, 0.5, 0.7, 0.9, 0.0),  # and 4 numbers a trial of each of 6:
    "augment.UNIFORMS": {"distort": 9, "expand": 4, "crop": 1200, "choice": 1, "mirror": 1},
    "metrics.COCO_THRESHOLDS": [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95],
    "metrics.COCO_RECALLS": [k * 0.01 for k in range(101)],  # COCOeval: iouThrs, recThrs, areaRng
    "metrics.COCO_SIZES": {
        **{"all": (0, 1e10), "small": (0, 1024), "medium": (1024, 9216), "large": (9216, 1e10)}
    },
    "verdicts.NEAR": 0.1,  # TIDE's t_b; Hoiem et al., 2012, too
    "windows.SHRUNK": (2, 4, 8, 16),  # this book's, chapter 9
    **{"fast.augment.CHUNK_ELEMENTS": 1_048_576, "fast.loss.MANY": 16},  # measured, appendix F
    **{"fast.winograd.TILE_BUDGET": 131_072, "fast.winograd.WIDE": 256},
}


@pytest.mark.parametrize("name", [n for n, x in vars(spec).items() if isinstance(x, spec.SSDSpec)])
def test_a_spec(name):
    ours, (fields, sizes) = getattr(spec, name), SPECS[name]
    assert asdict(ours) == {"name": name, "sizes": sizes} | FIELDS | fields
    for side, step in zip(ours.maps, ours.steps):  # cells cover the picture, and each begins in it
        assert (side - 1) * step < ours.image_size <= side * step


def test_every_recipe():
    ours = {name: asdict(x) for name, x in vars(recipe).items() if isinstance(x, recipe.Recipe)}
    names = ("PAPER", "LITE_RECIPE", "REAL_RECIPE", "GPU_RECIPE", "TRANSFER_RECIPE")
    assert ours == {name: {row[0]: row[i] for row in RECIPES} for i, name in enumerate(names, 2)}


def test_the_default_of_every_argument():
    """Numbers and words, of all public functions and classes of the modules in the table."""
    table = {(f, argument): value for argument, value, names in DEFAULTS for f in names.split()}
    table |= {("recipe.Recipe", name): default for name, default, *_ in RECIPES[1:]}
    table |= {("spec.SSDSpec", name): default for name, default in FIELDS.items()}
    found = {}
    for module_name in {name.rpartition(".")[0] for name, _ in table}:
        module = importlib.import_module(f"ssd_lite.{module_name}")
        for name, thing in vars(module).items():
            if not callable(thing) or name[0] == "_" or thing.__module__ != module.__name__:
                continue
            for argument, parameter in inspect.signature(thing).parameters.items():
                if isinstance(parameter.default, int | float | str | tuple):
                    found[f"{module_name}.{name}", argument] = parameter.default
    assert found == table


@pytest.mark.parametrize("name, value", CONSTANTS.items())
def test_a_constant_of_a_module(name, value):
    module, _, name = name.rpartition(".")
    ours = getattr(importlib.import_module(f"ssd_lite.{module}"), name)
    assert np.allclose(ours, value, 1e-12, 0) if isinstance(value, list) else ours == value


def test_the_defaults_of_the_command_line_and_the_drawn_data():
    """This book's, chapters 9 and 11."""
    assert make_parser().parse_args(["train"]).workers == 0
    assert make_parser().parse_args(["detect", "picture.jpg"]).threshold == 0.5
    specs = {"lite": "LITE", "lite300": "LITE_300", "ssd300": "SSD300_VOC", "ssd512": "SSD512_VOC"}
    assert {model: commands.choose_spec(model, "shapes").name for model in specs} == specs
    assert commands.choose_spec("lite", "bccd").name == "LITE_192"
    data = datasets.open_data("shapes", Path(), 300, download=False)[:2]
    assert [(len(x), x.seed, x.size) for x in data] == [(8000, 0, 300), (500, 1, 300)]


def test_drawn_scenes_stay_the_same():
    """This book's, chapter 9: recorded runs speak of these scenes."""
    scenes = [datasets.Shapes(100)[i] for i in range(100)]
    boxes, labels = (torch.cat([scene[k] for scene in scenes]) for k in (1, 2))
    pixels = torch.stack([scene.image for scene in scenes]).double()
    assert labels.bincount().tolist() == [0, 55, 52, 55, 57, 73]
    assert boxes.sum(0).tolist() == pytest.approx([99.683, 101.154, 195.181, 196.547], abs=1e-3)
    assert pixels.mean().item() == pytest.approx(132.191, abs=1e-3)
    assert pixels.diff(dim=3).abs().mean().item() == pytest.approx(5.742, abs=1e-3)


SMALL = [  # this book's, chapter 7: channels, kernel, stride, padding; then groups, of 8 channels
    *[(3, 32, 6, 4, 1), 4, (32, 48, 3, 1, 1), 6, (48, 48, 3, 1, 1), 6],
    *[(48, 64, 3, 2, 1), 8, (64, 64, 3, 1, 1), 8, (64, 128, 3, 2, 1), 16, (128, 128, 3, 1, 1), 16],
]


def test_the_bases():
    (paper, lite), rows = (VGG16Base(), LiteBase()), []
    for x in lite.modules():
        if isinstance(x, nn.Conv2d):
            options = x.kernel_size[0], x.stride[0], x.padding[0]
            rows.append((x.in_channels, x.out_channels, *options))
        elif isinstance(x, nn.GroupNorm):
            rows.append(x.num_groups)
    assert rows == SMALL
    # VGG16's layers are torchvision's (test_model).
    assert [sum(x.numel() for x in net.parameters()) for net in (paper, lite)] == [20484416, 324736]


def test_what_the_tests_of_the_modules_would_not_miss():
    for bipartite in (matching.bipartite, fast.matching.bipartite):  # FindMatches: > 1e-6
        assert bipartite(torch.tensor([[[1e-6]]])).item() == -1
        assert bipartite(torch.tensor([[[1.01e-6]]])).item() == 0
    # Boxes in fractions are no smaller than boxes in pixels; a small picture stays as it was read.
    assert iou(torch.tensor([[0, 0, 0.5, 0.5]]), torch.tensor([[0, 0, 0.5, 0.25]])).item() == 0.5
    same = recipe.training_pictures(datasets.Shapes(1, 0, 40), spec.SSD300_VOC, recipe.PAPER, False)
    assert same[0].image.shape == (3, 40, 40)
    # What lies outside a picture has the mean's gray levels, of 255 (ExpandImage).
    model, augment = SSD(spec.LITE, ["cat"]), Mock(side_effect=StopIteration)
    with pytest.raises(StopIteration):
        batch = collate([datasets.Shapes(1)[0]])
        training_loss(model, model, batch, torch.zeros(1, 1215), recipe.PAPER, augment)
    assert augment.call_args.args[4].flatten().tolist() == [127.5, 127.5, 127.5]
    # NormalizeLayer: eps 1e-10, inside the root.
    assert L2Norm(1)(torch.full((1, 1, 1, 1), 1e-5)).item() == pytest.approx(14.1421, rel=1e-4)
    # Smooth L1 bends at 1 (Girshick, 2015, eq. 3); both parts of the loss weigh the same (eq. 1).
    offsets, wanted = torch.zeros(1, 1, 4), torch.tensor([[[0.5, 2, -1, 0]]])
    label = torch.ones(1, 1, dtype=torch.int64)
    loss = multibox_loss(torch.zeros(1, 1, 2), offsets, label, wanted, all_negatives)
    assert loss.total.item() == pytest.approx(0.6931 + 0.125 + 1.5 + 0.5, abs=1e-4)
    # DistortImage: contrast comes early with probability 1/2, and no level is above 255.
    uniforms = torch.tensor([[1.0, 0, 0, 1, 0, 1, 1, 0, late] for late in (0.4999, 0.5)])
    uniforms = torch.cat([uniforms, torch.tensor([[0, 0, 1, 1, 1, 0, 0, 0, 0.4999]])])
    colors = torch.tensor([240.0, 100, 100]).view(1, 3, 1, 1).expand(3, 3, 1, 1)
    expected = [[255, 97.5, 97.5], [255, 45, 45], [127.5, 66, 66]]
    assert distort(colors, uniforms)[..., 0, 0].tolist() == expected
