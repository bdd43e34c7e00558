"""Two ideas that came after SSD, each against the plain small model.

``python figures/afterword.py`` trains three models with three seeds each and keeps all results in
figures/records/. On one CPU core that takes about a quarter of an hour. Each result is written as
soon as it is there, and a recording that was interrupted goes on.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

from book.recording import Recording
from book.slow.afterword import add_top_down, loss_without_mining, make_objects_rare
from ssd_lite.data import Resized
from ssd_lite.evaluation import evaluate_model
from ssd_lite.model import SSD
from ssd_lite.recipe import LITE_RECIPE, Recipe
from ssd_lite.runs import number_or_none
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE
from ssd_lite.train import faster_loss, fit

RECORD = Path(__file__).parent / "records" / "afterword_lite_cpu.json"
RECIPE = replace(LITE_RECIPE, steps=1500, batch_size=8, evaluate_every=10**9, save_every=10**9)
SCENES, TEST_SCENES = 4000, 200
# What is done to the model before training, and the loss; the rest is the same for all.
VARIANTS: dict[str, tuple[Callable[[SSD], None] | None, Callable]] = {
    "plain": (None, faster_loss),
    "focal loss": (make_objects_rare, partial(faster_loss, multibox=loss_without_mining)),
    "top-down path": (add_top_down, faster_loss),
}


def train_and_measure(name: str, recipe: Recipe, train: Resized, test: Resized) -> dict:
    """One run's result."""
    change, loss_fn = VARIANTS[name]
    torch.manual_seed(recipe.seed)  # the same first weights for all, where they share them
    model = SSD(LITE, Shapes.classes)
    if change:
        change(model)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        one = Shapes(1, 1, LITE.image_size)  # fit looks at one scene only
        fit(model, train, one, recipe, folder, "cpu", loss_fn=loss_fn)
    seconds = time.monotonic() - began
    found = evaluate_model(model, test, coco=True)
    about = {
        "variant": name,
        "seed": recipe.seed,
        "steps": recipe.steps,
        "seconds": round(seconds, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    scores = {"map50": found.map50} | found.coco
    return about | {key: number_or_none(value) for key, value in scores.items()}


def main(*options: str) -> None:
    """Do all runs that the record does not hold yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of every variant")
    parser.add_argument("--steps", type=int, default=RECIPE.steps, help="of every run")
    parser.add_argument("--test-scenes", type=int, default=TEST_SCENES, help="to measure on")
    parser.add_argument("--out", type=Path, default=RECORD, help="the record")
    args = parser.parse_args(options)

    recipe = replace(RECIPE, steps=args.steps)
    protocol = {"spec": LITE.name, "recipe": asdict(recipe), "scenes": SCENES}
    protocol["test_scenes"] = args.test_scenes
    recording = Recording(args.out, protocol, torch.device("cpu"))

    size = LITE.image_size
    train = Resized(Shapes(SCENES, 0, size), size, antialias=True, keep=True)
    test = Resized(Shapes(args.test_scenes, 1, size), size, antialias=True, keep=True)
    for seed in range(args.seeds):
        for name in VARIANTS:
            if not recording.holds(variant=name, seed=seed):
                recording.add(train_and_measure(name, replace(recipe, seed=seed), train, test))


if __name__ == "__main__":
    main(*sys.argv[1:])
