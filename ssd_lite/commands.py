"""What ``train`` does on the command line."""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch

from ssd_lite.check import short_form
from ssd_lite.checkpoint import load_model, write_atomically
from ssd_lite.choices import choose_spec, new_recipe, resumed_recipe
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
from ssd_lite.run_folder import (
    Config,
    check_split,
    hold_run,
    how_to_go_on,
    new_run,
    run_at,
    write_config,
    write_split,
)
from ssd_lite.runs import make_record
from ssd_lite.torchvision_weights import load_imagenet_weights
from ssd_lite.train import fit
from ssd_lite.transfer import take_over


def train_command(
    args: argparse.Namespace, on_step: Callable[[int, SSD], None] | None = None
) -> None:
    """Train a model, or go on with a run that was interrupted.

    ``on_step`` is what :func:`~ssd_lite.train.fit` takes by that name.
    """
    # 1. What to train, on what, where.
    device = choose_device(args.device)
    join_processes(device)
    recipe = resumed_recipe(args) if args.resume else new_recipe(args)
    source = main_first(lambda: load_model(_start(args))) if args.weights else None
    spec = source.spec if source else choose_spec(args.model, args.data, args.size)
    data = main_first(lambda: _open(args, spec.image_size))
    if args.resume and data.survey:
        check_split(args.resume, data.survey)
    torch.manual_seed(recipe.seed)
    model = SSD(spec, data.classes)
    if source:
        taken = take_over(model, source)
    elif args.pretrained:
        main_first(lambda: load_imagenet_weights(model))

    # 2. Its folder, in which no other training may write. Process 0 takes it for all.
    is_main = rank() == 0
    with ExitStack() as held:
        run = from_main(lambda: _take_folder(args, held))
        if is_main:
            about = (args.data, args.model, args.root, args.classes, recipe)
            write_config(run, Config(*about, args.size, args.pretrained, args.weights))
            if data.survey:
                write_split(run, data.survey)
                print(short_form(data.survey))
            print(
                f"{spec.name} on {args.data}: {len(data.train)} pictures to train on, "
                f"{len(data.test)} held out, {recipe.steps} steps of {recipe.batch_size} on "
                f"{describe_device(device)}. Results go to {run}/",
                flush=True,
            )
            if source and not args.resume:
                print(f"from {args.weights}: {taken}", flush=True)

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


def _start(args: argparse.Namespace) -> Path:
    """The detector that a run starts from: its own, once it has saved one."""
    if args.resume and (args.resume / "last.safetensors").exists():
        return args.resume / "last.safetensors"
    return Path(args.weights)


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
