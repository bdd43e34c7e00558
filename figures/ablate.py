"""What is each part worth? The paper's tables 2 and 3 in small.

One thing of the detector is changed at a time.

``python figures/ablate.py`` trains every variant with three seeds and keeps all results in
figures/records/. On two CPU cores that takes about two hours with the small model. Each result is
written as soon as it is there, and a recording that was interrupted goes on. ``--model lite300``
does the same at SSD300's size, for a GPU.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import nn
from tqdm import tqdm

from book.recording import Recording
from ssd_lite.bases import L2Norm
from ssd_lite.boxes import cxcywh_to_xyxy, iou
from ssd_lite.data import Resized
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.detection import Detections, detect
from ssd_lite.distributed import choose_device
from ssd_lite.evaluation import Evaluation, evaluate, evaluate_model, ground_truth
from ssd_lite.matching import match
from ssd_lite.model import SSD
from ssd_lite.recipe import GPU_RECIPE, LITE_RECIPE, Recipe
from ssd_lite.runs import number_or_none
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE, LITE_300, SSDSpec
from ssd_lite.train import fit, training_loss

RECORDS = Path(__file__).parent / "records"
MODELS = {  # spec, recipe, scenes to train on, and so few that augmentation must help
    "lite": (LITE, replace(LITE_RECIPE, steps=1400, batch_size=4, learning_rate=1.5e-3), 4000, 200),
    "lite300": (LITE_300, replace(GPU_RECIPE, steps=3000), 8000, 400),
}


@dataclass(frozen=True)
class Variant:
    """One detector and how it is trained."""

    group: str
    name: str
    spec: SSDSpec
    recipe: Recipe
    scenes: int
    matcher: Callable = match
    normed: bool = False  # L2Norm on the finest map


def fewer_maps(spec: SSDSpec, count: int) -> SSDSpec:
    """The ``count`` finest maps alone, as in the paper's table 3 down to two maps.

    The table's one map is conv7, the second finest; here the finest stays to the end. The sizes
    are spread over the maps that stay, and there are about as many default boxes.
    """
    levels = len(spec.maps)
    sizes = np.interp(np.linspace(0, levels, count + 1), np.arange(levels + 1), spec.sizes)
    extras = spec.extras[: max(0, count - (levels - len(spec.extras)))]
    fewer = replace(
        spec,
        name=f"{spec.name}_{count}_MAPS",
        maps=spec.maps[:count],
        steps=spec.steps[:count],
        sizes=tuple(sizes.round(2).tolist()),
        ratios=spec.ratios[:count],
        extras=extras,
    )
    for richer in ((2,), (2, 3)):
        if len(make_default_boxes(fewer)) < 0.9 * len(make_default_boxes(spec)):
            fewer = replace(fewer, ratios=(*fewer.ratios[:-1], richer))
    return fewer


def variants(spec: SSDSpec, recipe: Recipe, scenes: int, few: int) -> Iterator[Variant]:
    """The baseline, and everything that differs from it in one thing."""
    baseline = Variant("baseline", "baseline", spec, recipe, scenes)
    yield baseline
    change = partial(replace, baseline)
    for count in range(1, len(spec.maps)):
        yield change(group="maps", name=str(count), spec=fewer_maps(spec, count))
    squares = tuple(() for _ in spec.ratios)
    without_3 = tuple(tuple(r for r in ratios if r != 3) for ratios in spec.ratios)
    yield change(group="shapes", name="no 3 : 1", spec=replace(spec, ratios=without_3))
    yield change(group="shapes", name="squares only", spec=replace(spec, ratios=squares))
    yield change(group="shapes", name="no extra square", spec=replace(spec, extra_square=False))
    for augment in ("none", "mirror", "mirror+distort", "mirror+crop", "mirror+expand", "paper"):
        yield change(
            group="augmentation", name=augment, recipe=replace(recipe, augment=augment), scenes=few
        )
    for ratio in (1, 10, 10_000):
        name = f"{ratio} : 1" if ratio < 100 else "all"
        yield change(group="mining", name=name, recipe=replace(recipe, negative_ratio=ratio))
    yield change(group="matching", name="own boxes only", recipe=replace(recipe, threshold=1.01))
    yield change(group="matching", name="threshold only", matcher=match_by_threshold)
    yield change(group="matching", name="overwriting", matcher=match_overwriting)
    yield change(group="variances", name="1 and 1", spec=replace(spec, variances=(1, 1)))
    yield change(group="L2Norm", name="on the finest map", normed=True)


def match_by_threshold(default_boxes, boxes, labels, threshold=0.5):
    """Match by threshold alone: no box is forced.

    Every default box answers for the object it overlaps most, if their IoU reaches the threshold.
    """
    overlap = iou(boxes, cxcywh_to_xyxy(default_boxes).expand(len(boxes), -1, -1))  # (B, G, A)
    best, assigned = torch.where(labels[:, :, None] > 0, overlap, -1).max(dim=1)  # (B, A)
    return targets(default_boxes, boxes, labels, assigned, best >= threshold)


def match_overwriting(default_boxes, boxes, labels, threshold=0.5):
    """Force each object's best box; of two that want the same, the later one gets it.

    Many implementations do it like this.
    """
    overlap = iou(boxes, cxcywh_to_xyxy(default_boxes).expand(len(boxes), -1, -1))  # (B, G, A)
    overlap = torch.where(labels[:, :, None] > 0, overlap, -1)
    best, assigned = overlap.max(dim=1)  # (B, A)
    positive = best >= threshold
    favorite = overlap.argmax(dim=2)  # (B, G)
    for g in range(boxes.shape[1]):
        real = labels[:, g : g + 1] > 0  # (B, 1)
        mine = favorite[:, g : g + 1]  # (B, 1)
        assigned.scatter_(1, mine, torch.where(real, g, assigned.gather(1, mine)))
        positive.scatter_(1, mine, real | positive.gather(1, mine))
    return targets(default_boxes, boxes, labels, assigned, positive)


def targets(default_boxes, boxes, labels, assigned, positive):
    """Labels and boxes for the default boxes, as :func:`ssd_lite.matching.match` returns them."""
    default_xyxy = cxcywh_to_xyxy(default_boxes).expand(*assigned.shape, 4)  # (B, A, 4)
    target_labels = torch.where(positive, labels.gather(1, assigned), 0)  # (B, A)
    target_boxes = boxes.gather(1, assigned[:, :, None].expand(-1, -1, 4))  # (B, A, 4)
    return target_labels, torch.where(positive[:, :, None], target_boxes, default_xyxy)


class NormedBase(nn.Module):
    """A base whose finest map is L2-normalized for its head, as conv4_3 is in the paper."""

    def __init__(self, base: nn.Module):
        super().__init__()
        self.base, self.norm = base, L2Norm(base.channels[0])

    def forward(self, images):
        finest, *others = self.base(images)
        return [self.norm(finest), *others]


@cache
def scenes(count: int, seed: int, size: int) -> Resized:
    """Drawn scenes, kept in memory for every run of this process."""
    return Resized(Shapes(count, seed, size), size, antialias=True, keep=True)


def train_and_measure(variant: Variant, seed: int, device: str, test_scenes: int) -> list[dict]:
    """One run's result: a line; of the baseline a second, measured with class-blind NMS."""
    torch.manual_seed(seed)
    model = SSD(variant.spec, Shapes.classes)
    if variant.normed:
        model.base = NormedBase(model.base)
    recipe = replace(variant.recipe, seed=seed, evaluate_every=10**9, save_every=10**9)
    size, began = variant.spec.image_size, time.monotonic()
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as null:
        loss_fn = partial(training_loss, matcher=variant.matcher)
        train, unseen = (
            scenes(variant.scenes, 0, size),
            Shapes(1, 1, size),
        )  # fit looks at one scene only
        with (
            redirect_stdout(null),
            redirect_stderr(null),
        ):  # several runs at a time: one bar is enough
            fit(model, train, unseen, recipe, folder, device, loss_fn=loss_fn)
    seconds = time.monotonic() - began
    test = scenes(test_scenes, 1, size)
    about = {
        "group": variant.group,
        "variant": variant.name,
        "seed": seed,
        "boxes": len(model.default_boxes),
    }
    lines = [
        about | {"seconds": round(seconds, 1)} | figures(evaluate_model(model, test, coco=True))
    ]
    if variant.group == "baseline":
        blind = about | {"group": "NMS", "variant": "class-blind"}
        lines.append(blind | figures(measure_class_blind(model, test)))
    return lines


def measure_class_blind(model: SSD, data: Resized) -> Evaluation:
    """Evaluate a model with an NMS that is blind to classes.

    It is :func:`~ssd_lite.evaluation.evaluate_model`, but a box also suppresses those of other
    classes.
    """
    samples = [data[i] for i in range(len(data))]
    found = []
    for sample in samples:
        [candidates] = detect(
            model, [sample.image], iou_threshold=1, per_image=2000
        )  # no IoU is above 1
        kept = torchvision.ops.nms(candidates.boxes, candidates.scores, 0.45)[:200]
        found.append(Detections(*(x[kept] for x in candidates)))
    return evaluate(found, [ground_truth(sample) for sample in samples], model.classes, coco=True)


def figures(evaluation: Evaluation) -> dict:
    """What is kept of an evaluation."""
    values = {"map50": evaluation.map50} | evaluation.coco
    return {name: number_or_none(value) for name, value in values.items()}


def main() -> None:
    """Do all runs that the record does not hold yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="lite")
    parser.add_argument("--seeds", type=int, default=3, help="runs of every variant")
    parser.add_argument("--steps", type=int, help="of every run; by default the model's")
    parser.add_argument(
        "--test-scenes", type=int, default=200, help="held-out scenes to measure on"
    )
    parser.add_argument("--only", help="one group of variants")
    parser.add_argument(
        "--processes", type=int, help="runs at a time; by default one a core, or one on a GPU"
    )
    parser.add_argument("--out", type=Path, help="the record; by default one in figures/records/")
    args = parser.parse_args()
    device = choose_device()
    on_gpu = device.type != "cpu"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processes = args.processes or (1 if on_gpu else cores)
    path = args.out or RECORDS / f"ablations_{args.model}_{'gpu' if on_gpu else 'cpu'}.json"

    spec, recipe, many, few = MODELS[args.model]
    recipe = replace(recipe, steps=args.steps or recipe.steps)
    protocol = {"spec": spec.name, "recipe": asdict(recipe), "scenes": many, "few_scenes": few}
    protocol["test_scenes"] = args.test_scenes
    recording = Recording(path, protocol, device)
    chosen = [v for v in variants(spec, recipe, many, few) if args.only in (None, v.group)]
    todo = [
        (v, seed)
        for seed in range(args.seeds)
        for v in chosen
        if not recording.holds(group=v.group, variant=v.name, seed=seed)
    ]

    threads = max(1, cores // processes)
    with ProcessPoolExecutor(
        processes, get_context("spawn"), torch.set_num_threads, (threads,)
    ) as pool:
        runs = [
            pool.submit(train_and_measure, v, seed, str(device), args.test_scenes)
            for v, seed in todo
        ]
        for run in tqdm(as_completed(runs), total=len(runs), unit="run"):
            recording.add(*run.result())


if __name__ == "__main__":
    main()
