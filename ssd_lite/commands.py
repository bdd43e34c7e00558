"""What ``train`` does on the command line."""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from ssd_lite.check import short_form
from ssd_lite.checkpoint import load_checkpoint, write_atomically
from ssd_lite.datasets import Data, open_data
from ssd_lite.distributed import (
    choose_device,
    describe_device,
    from_main,
    join_processes,
    main_first,
    rank,
)
from ssd_lite.evaluation import evaluate_model
from ssd_lite.model import SSD
from ssd_lite.recipe import GPU_RECIPE, LITE_RECIPE, PAPER, REAL_RECIPE, Recipe, learning_rate
from ssd_lite.run_folder import (
    Config,
    check_split,
    hold_run,
    how_to_go_on,
    new_run,
    read_config,
    run_at,
    write_config,
    write_split,
)
from ssd_lite.runs import MAY_CHANGE, make_record
from ssd_lite.spec import LITE, LITE_192, LITE_300, SSD300_VOC, SSD512_VOC, SSDSpec
from ssd_lite.torchvision_weights import load_vgg16_features
from ssd_lite.train import fit

# What may be said when a run goes on: the rest is read from it.
BESIDE_RESUME = {"--resume", "--steps", "--device", "--workers", "--download"}


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
    recipe = _interrupted(args) if args.resume else choose_recipe(args)
    spec = choose_spec(args.model, args.data)
    data = main_first(lambda: _open(args, spec.image_size))
    if args.resume and data.survey:
        check_split(args.resume, data.survey)
    torch.manual_seed(recipe.seed)
    model = SSD(spec, data.classes)
    if args.pretrained:
        load_vgg16_features(model)

    # 2. Its folder, in which no other training may write. Process 0 takes it for all.
    is_main = rank() == 0
    with ExitStack() as held:
        run = from_main(lambda: _take_folder(args, held))
        if is_main:
            config = Config(args.data, args.model, args.root, args.classes, recipe)
            write_config(run, config)
            if data.survey:
                write_split(run, data.survey)
                print(short_form(data.survey))
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
        except torch.OutOfMemoryError:
            raise ValueError(
                f"--batch-size {recipe.batch_size}: too many for the GPU's memory; end what else "
                f"uses it, train with fewer, or try --precision bf16{how_to_go_on(run)}"
            ) from None
        except (ValueError, OSError) as error:
            raise ValueError(f"{error}{how_to_go_on(run)}") from None

        # 4. The record.
        if is_main:
            seconds = time.monotonic() - began
            evaluation = evaluate_model(model, data.test, coco=True)  # once more, by size too
            record = make_record(run, model, evaluation, device, seconds)
            write_atomically(run / "record.json", json.dumps(record, indent=1).encode())
            print(evaluation.table())
            print(f"{seconds:.0f} s. Try it: python -m ssd_lite detect PICTURE.jpg --weights {run}")


def _open(args: argparse.Namespace, size: int) -> Data:
    """The data that were asked for."""
    return open_data(args.data, args.root, size, args.download, args.classes)


def _take_folder(args: argparse.Namespace, held: ExitStack) -> Path:
    """The run's folder, ours until ``held`` is closed."""
    if args.resume or args.out:
        run = args.resume or run_at(args.out)
        held.enter_context(hold_run(run))
        if args.out and not args.resume:
            run_at(run)  # once more: another training may have ended since
        return run
    run = new_run(f"{Path(args.data).resolve().name or 'data'}-{args.model}")
    held.enter_context(hold_run(run))
    return run


def _interrupted(args: argparse.Namespace) -> Recipe:
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
    args.data, args.model, args.root, args.classes, recipe = config
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
