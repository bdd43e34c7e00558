"""What the words of ``train`` on the command line mean: which network, and which recipe."""

import argparse
from dataclasses import replace
from pathlib import Path

from ssd_lite.checkpoint import load_checkpoint
from ssd_lite.design import make_spec
from ssd_lite.distributed import rank
from ssd_lite.recipe import (
    GPU_RECIPE,
    LITE_RECIPE,
    PAPER,
    REAL_RECIPE,
    TRANSFER_RECIPE,
    Recipe,
    learning_rate,
)
from ssd_lite.run_folder import read_config
from ssd_lite.runs import MAY_CHANGE
from ssd_lite.spec import LITE, LITE_192, LITE_300, SSD300_VOC, SSD512_VOC, SSDSpec

CLASSIFIERS = ("mobilenet", "resnet18")  # bases that take pictures of any size
# What may be said when a run goes on: the rest is read from it.
BESIDE_RESUME = {"--resume", "--steps", "--device", "--workers", "--download"}


def choose_spec(model: str, data: str, size: int | None = None) -> SSDSpec:
    """The spec that a model's name means for a data set.

    The lite model sees drawn scenes at 96 pixels and photographs at 192; lite300 is the same
    network at 300. On torchvision's classifiers, ``size`` says how large the pictures are.
    """
    if model in CLASSIFIERS:
        return make_spec(model, 320 if size is None else size)
    if size is not None:
        raise ValueError(f"--size {size}: for {' and '.join(CLASSIFIERS)}, not for {model}")
    lite = LITE if data == "shapes" else LITE_192
    return {"lite": lite, "lite300": LITE_300, "ssd300": SSD300_VOC, "ssd512": SSD512_VOC}[model]


def choose_recipe(args: argparse.Namespace) -> Recipe:
    """The model's recipe, changed by what the command line says."""
    if args.weights or (args.model in CLASSIFIERS and args.pretrained is not False):
        recipe = TRANSFER_RECIPE
    elif args.model == "lite300":
        recipe = GPU_RECIPE if args.data == "shapes" else replace(GPU_RECIPE, augment="paper")
    elif args.model in ("lite", *CLASSIFIERS):
        recipe = LITE_RECIPE if args.data == "shapes" else REAL_RECIPE
    else:
        recipe = PAPER
    if args.data == "cards":  # no mirror: cards have letters; no expansion: they are large
        recipe = replace(recipe, augment="distort+crop")
    names = (
        *("steps", "batch_size", "learning_rate", "seed", "precision", "compile", "augment"),
        *("freeze", "freeze_norms", "base_rate"),
    )
    overrides = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    recipe = replace(recipe, **overrides)
    if args.steps:  # as many evaluations and checkpoints as before
        interval = max(1, recipe.steps // 5)
        return replace(
            recipe,
            evaluate_every=min(interval, recipe.evaluate_every),
            save_every=min(interval, recipe.save_every),
        )
    return recipe


def new_recipe(args: argparse.Namespace) -> Recipe:
    """A new run's recipe; in ``args``, what its start means is made complete."""
    if args.weights and (said := args.given & {"--model", "--size", "--pretrained"}):
        raise ValueError(
            f"{', '.join(sorted(said))}: decided by the detector of --weights; leave one out"
        )
    if args.pretrained is None:
        args.pretrained = args.model in CLASSIFIERS
    if args.weights and Path(args.weights).exists():
        args.weights = str(Path(args.weights).resolve())
    return choose_recipe(args)


def resumed_recipe(args: argparse.Namespace) -> Recipe:
    """An interrupted run's recipe; its data and model are put into ``args``."""
    # 1. Nothing that the run has decided may be said again.
    others = sorted(args.given - BESIDE_RESUME)
    if others:
        raise ValueError(
            f"{', '.join(others)}: cannot be changed beside --resume, which takes "
            f"{'it' if len(others) == 1 else 'them'} from the run; leave "
            f"{'it' if len(others) == 1 else 'them'} out, or train anew without --resume"
        )
    run = args.resume
    config = read_config(run)
    if config is None:
        raise ValueError(
            f"--resume {run}: no config.json in it; name a run's folder, runs/shapes-lite for "
            "example"
        )
    args.data, args.model, args.root, args.classes, recipe, *start = config
    args.size, args.pretrained, args.weights = start
    if args.steps in (None, recipe.steps):
        return recipe

    # 2. Another number of steps: the schedule is stretched, and looked at as often as a new one's.
    done = 0
    if (run / "last.safetensors").exists():
        done = load_checkpoint(run / "last.safetensors")[2].get("step", 0)
    longer = replace(choose_recipe(args), steps=args.steps)
    longer = replace(recipe, **{name: getattr(longer, name) for name in MAY_CHANGE})
    if args.steps <= done:
        raise ValueError(
            f"--steps {args.steps}: {run} has been trained for {done} steps already; name more, "
            "which counts from its beginning"
        )
    if rank() == 0:
        rates = (
            learning_rate(done, r)
            for r in (longer, replace(recipe, steps=max(recipe.steps, done + 1)))
        )
        print(
            f"--steps {args.steps}: {done} of {recipe.steps} planned steps are done; from here on "
            f"each has the learning rate that it has in a run of {args.steps}: "
            "{:.2g} next, instead of {:.2g}".format(*rates)
        )
    return longer
