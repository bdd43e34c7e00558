"""What the command line does: train a detector, measure one, use one."""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch

from ssd_lite.checkpoint import load_model, write_atomically
from ssd_lite.data import read_image
from ssd_lite.datasets import open_data
from ssd_lite.detection import Detections, detect
from ssd_lite.distributed import (
    broadcast_from_main,
    choose_device,
    describe_device,
    join_processes,
    rank,
)
from ssd_lite.drawing import draw
from ssd_lite.evaluation import evaluate_model
from ssd_lite.model import SSD
from ssd_lite.recipe import GPU_RECIPE, LITE_RECIPE, PAPER, REAL_RECIPE, Recipe, recipe_from
from ssd_lite.runs import make_record, new_run, newest_run
from ssd_lite.spec import LITE, LITE_192, LITE_300, SSD300_VOC, SSD512_VOC, SSDSpec
from ssd_lite.torchvision_weights import load_vgg16_features
from ssd_lite.train import fit


def choose_spec(model: str, data: str) -> SSDSpec:
    """The spec that a model's name means for a data set.

    The lite model sees drawn scenes at 96 pixels and photographs at 192; lite300 is the same
    network at 300.
    """
    lite = LITE if data == "shapes" else LITE_192
    return {"lite": lite, "lite300": LITE_300, "ssd300": SSD300_VOC, "ssd512": SSD512_VOC}[model]


def choose_recipe(args: argparse.Namespace) -> Recipe:
    """The model's recipe, changed by what the command line says."""
    if args.model == "lite300":
        recipe = GPU_RECIPE if args.data == "shapes" else replace(GPU_RECIPE, augment="paper")
    elif args.model == "lite":
        recipe = LITE_RECIPE if args.data == "shapes" else REAL_RECIPE
    else:
        recipe = PAPER
    names = ("steps", "batch_size", "learning_rate", "seed", "precision", "compile", "augment")
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


def train_command(
    args: argparse.Namespace, on_step: Callable[[int, SSD], None] | None = None
) -> None:
    """Train a model, or go on with a run that was interrupted.

    ``on_step`` is what :func:`~ssd_lite.train.fit` takes by that name.
    """
    # 1. What to train, on what, where.
    device = choose_device(args.device)
    join_processes(device)
    run, recipe = _interrupted(args) if args.resume else (_fresh(args), choose_recipe(args))
    spec = choose_spec(args.model, args.data)
    data = open_data(args.data, args.root, spec.image_size, args.download)
    torch.manual_seed(recipe.seed)
    model = SSD(spec, data.classes)
    if args.pretrained and not args.resume:
        load_vgg16_features(model)

    # 2. Say so, in words and in the run's folder.
    is_main = rank() == 0
    if is_main:
        config = {"data": args.data, "model": args.model, "root": str(args.root)}
        config["recipe"] = asdict(recipe)
        write_atomically(run / "config.json", json.dumps(config, indent=1).encode())
        print(
            f"{spec.name} on {args.data}: {len(data.train)} pictures to train on, "
            f"{len(data.test)} held out, {recipe.steps} steps of {recipe.batch_size} on "
            f"{describe_device(device)}. Results go to {run}/",
            flush=True,
        )

    # 3. Train.
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    began = time.monotonic()
    try:
        fit(model, data.train, data.test, recipe, run, device, args.workers, on_step=on_step)
    except KeyboardInterrupt:
        raise SystemExit(
            f"\ninterrupted; go on with: python -m ssd_lite train --resume {run}"
        ) from None

    # 4. The record.
    if is_main:
        seconds = time.monotonic() - began
        evaluation = evaluate_model(model, data.test, coco=True)  # once more, by size too
        record = make_record(run, model, evaluation, device, seconds)
        write_atomically(run / "record.json", json.dumps(record, indent=1).encode())
        print(evaluation.table())
        print(f"{seconds:.0f} s. Try it: python -m ssd_lite detect PICTURE.jpg --weights {run}")


def _fresh(args: argparse.Namespace) -> Path:
    """The folder of a new run: the one asked for, or one that does not exist yet."""
    if args.out and (args.out / "last.safetensors").exists():
        raise ValueError(
            f"--out {args.out}: holds a run already; go on with --resume {args.out}, "
            "or name another"
        )
    return args.out or broadcast_from_main(new_run(f"{Path(args.data).name}-{args.model}"))


def _interrupted(args: argparse.Namespace) -> tuple[Path, Recipe]:
    """An interrupted run's folder and recipe; its data and model are put into ``args``."""
    path = args.resume / "config.json"
    if not path.exists():
        raise ValueError(
            f"--resume {args.resume}: no config.json in it; name a run's folder, "
            "runs/shapes-lite for example"
        )
    try:
        config = json.loads(path.read_text())
        args.data, args.model, args.root = config["data"], config["model"], Path(config["root"])
        return args.resume, recipe_from(config["recipe"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not what a run writes there ({error}); train anew") from None


def evaluate_command(args: argparse.Namespace) -> None:
    """Print a model's average precision on the held-out half of a data set."""
    model = load_model(args.weights or newest_run(), choose_device(args.device))
    data = open_data(args.data, args.root, model.spec.image_size, args.download)
    if data.classes != model.classes:
        raise ValueError(
            f"--data {args.data} has the classes {', '.join(data.classes)}; "
            f"the model knows {', '.join(model.classes)}"
        )
    evaluation = evaluate_model(
        model, data.test, method=args.method, coco=args.coco, precision=args.precision
    )
    print(f"{model.spec.name}, {evaluation.images} pictures, {evaluation.objects} objects")
    print(evaluation.table())


def detect_command(args: argparse.Namespace) -> None:
    """Detect objects in picture files: a drawing of each, and one JSON file for all."""
    model = load_model(args.weights or newest_run(), choose_device(args.device))
    args.out.mkdir(parents=True, exist_ok=True)
    results = {}
    used = {path.resolve() for path in args.images}  # a drawing never replaces a picture
    for path in args.images:
        image = read_image(path)
        [found] = detect(model, [image], precision=args.precision)
        target, number = args.out / f"{path.stem}.png", 0
        while target.resolve() in used:
            number += 1
            target = args.out / f"{path.stem}-{number}.png"
        used.add(target.resolve())
        draw(image, found, model.classes, args.threshold).save(target)
        detections = _to_json(found, model.classes, args.threshold)
        results[str(path)] = {"drawing": target.name, "detections": detections}
        print(f"{path}: {len(detections)} objects, drawn in {target}")
    write_atomically(args.out / "detections.json", json.dumps(results, indent=1).encode())


def _to_json(found: Detections, classes: tuple[str, ...], threshold: float) -> list[dict]:
    """Detections as plain data: label, score and box (xyxy, pixels), best first."""
    return [
        {"label": classes[label - 1], "score": round(score, 4), "box": [round(x, 2) for x in box]}
        for box, score, label in zip(*(x.tolist() for x in found))
        if score >= threshold
    ]
