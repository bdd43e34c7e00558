"""The command line: ``python -m ssd_lite train | evaluate | detect | check | export``."""

import argparse
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ssd_lite.check import check_command
from ssd_lite.commands import train_command
from ssd_lite.datasets import data_root
from ssd_lite.export import export_command
from ssd_lite.help_texts import (
    DATA_HELP,
    DETECT_EPILOG,
    EXPORT_EPILOG,
    MODEL_HELP,
    PRECISION_HELP,
    START_HELP,
    TRAIN_EPILOG,
    WEIGHTS_HELP,
)
from ssd_lite.measure import evaluate_command
from ssd_lite.picture_files import detect_command

PRECISIONS = ("fp32", "bf16")
SWITCH = {"nargs": 0, "const": True, "default": False}  # an option without a value


class _Noted(argparse.Action):
    """Stores a value, and notes in ``args.given`` that it was given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if isinstance(self, argparse.BooleanOptionalAction):
            values = not str(option_string).startswith("--no-")
        setattr(namespace, self.dest, self.const if self.nargs == 0 and self.const else values)
        namespace.given = namespace.given | {self.option_strings[0]}


class _NotedSwitch(_Noted, argparse.BooleanOptionalAction):
    """The same for --option and --no-option."""


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Tells an option's default where it has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m ssd_lite",
        description="The Single Shot MultiBox Detector: train it, measure it, use it.",
        epilog="Start with: python -m ssd_lite train. No download, minutes on a laptop.",
    )
    words = "train | evaluate | detect | check | export"
    commands = parser.add_subparsers(required=True, metavar=words)

    def command(name: str, function: Callable, summary: str, epilog: str = "") -> Callable:
        added = commands.add_parser(
            name, help=summary, description=summary, epilog=epilog, formatter_class=_Help
        )
        added.set_defaults(function=function, given=frozenset())

        def option(*names: str, **about: Any) -> None:
            if names[0].startswith("--"):
                about.setdefault("action", _Noted)
            added.add_argument(*names, **about)

        if name not in ("check", "export"):
            option("--device", help="cuda, mps or cpu; by default the best there is")
        return option

    _add_train(command("train", train_command, "train a detector", TRAIN_EPILOG))
    summary = "measure a detector's average precision on held-out pictures"
    _add_evaluate(command("evaluate", evaluate_command, summary))
    _add_detect(
        command("detect", detect_command, "find objects in pictures and videos", DETECT_EPILOG)
    )
    summary = "say what is in a folder of annotated pictures, and draw some with their boxes"
    _add_check(command("check", check_command, summary))
    summary = "write a detector as an ONNX file, for other languages and devices"
    _add_export(command("export", export_command, summary, EXPORT_EPILOG))
    return parser


def _names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r}: expected names with commas between, as in a,b")
    return names


def _add_data(option: Callable, default: str | None, what: str) -> None:
    option("--data", default=default, help=what + DATA_HELP)
    option("--root", type=Path, default=data_root(), help="folder for bccd, cards and voc")
    option("--download", **SWITCH, help="let voc be downloaded")
    classes = "only these classes of the data, as in a,b; by default all"
    option("--classes", type=_names, help=classes)


def _add_train(option: Callable) -> None:
    _add_data(option, "shapes", "")
    models = ("lite", "lite300", "ssd300", "ssd512", "mobilenet", "resnet18")
    option("--model", choices=models, default="lite", help=MODEL_HELP)
    size = "side of the pictures that mobilenet or resnet18 sees, 224 to 512; by default 320"
    option("--size", type=int, help=size)
    pretrained = (
        "start the base from torchvision's classifier, as trained on ImageNet; by default so for "
        "mobilenet (14 MB, downloaded) and resnet18 (45 MB), but not for ssd300 and ssd512 (528 MB)"
    )
    option("--pretrained", action=_NotedSwitch, help=pretrained)
    option("--weights", help=START_HELP)
    # Not --run: torchrun takes that for an abbreviation of its own, wherever it stands.
    option("--out", type=Path, help="folder for the results; by default a new one below runs/")
    resume = (
        "go on with this run, from which all options are read but --steps, --device, --workers "
        "and --download"
    )
    option("--resume", type=Path, metavar="RUN", help=resume)
    steps = "batches to train on, counted from the beginning; by default the model's recipe"
    option("--steps", type=int, help=steps)
    option("--batch-size", type=int, help="pictures in a batch, of all processes together")
    option("--learning-rate", type=float, help="the largest of the schedule")
    option("--seed", type=int, help="another seed, other weights, order and augmentation")
    augment = "how training pictures are varied: paper, none, or parts, as in distort+mirror"
    option("--augment", help=augment)
    freeze = "so many of the base's stages, from the first, keep their weights"
    option("--freeze", type=int, metavar="N", help=freeze)
    norms = "the base's batch norms keep the mean, variance and scale that they come with"
    option("--freeze-norms", action=_NotedSwitch, help=norms)
    option("--base-rate", type=float, help="the base's learning rate, as a share of the others'")
    option(
        "--precision",
        choices=PRECISIONS,
        help="of the network; bf16 pays for ssd300 on recent GPUs",
    )
    option("--compile", action=_NotedSwitch, help="torch.compile the network")
    workers = "processes that read pictures; 0 keeps them in memory"
    option("--workers", type=int, default=0, help=workers)


def _add_evaluate(option: Callable) -> None:
    _add_data(option, None, "by default the data of the run that the weights are from. ")
    option("--weights", help=WEIGHTS_HELP)
    methods = ("area", "11-point")
    option("--method", choices=methods, default="area", help="11-point is VOC 2007's")
    option("--coco", **SWITCH, help="also COCO's six figures; takes longer")
    errors = (
        "also say which errors are made, and write into this folder errors.json, the confusion "
        "matrix and crops of the errors"
    )
    option("--errors", type=Path, metavar="FOLDER", help=errors)
    option("--threshold", type=float, default=0.5, help="smallest score that --errors looks at")
    option("--precision", choices=PRECISIONS, default="fp32", help=PRECISION_HELP)


def _add_detect(option: Callable) -> None:
    images = (
        "picture files, folders of them, or patterns, as in '*.jpg'; or videos, which in a folder "
        "are passed over (needs: pip install ssd_lite[video])"
    )
    option("images", nargs="+", type=Path, metavar="IMAGE", help=images)
    option("--weights", help=WEIGHTS_HELP)
    option("--threshold", type=float, default=0.5, help="smallest score that is drawn and listed")
    option("--precision", choices=PRECISIONS, default="fp32", help=PRECISION_HELP)
    out = "folder for drawings and detections.json"
    option("--out", type=Path, default=Path("detections"), help=out)


def _add_check(option: Callable) -> None:
    option("folder", type=Path, metavar="FOLDER", help="what --data would name")
    option("--classes", type=_names, help="only these classes, as in a,b; by default all")
    out = "where to draw the contact sheet"
    option("--out", type=Path, default=Path("check.jpg"), help=out)


def _add_export(option: Callable) -> None:
    option("weights", nargs="?", metavar="RUN", help=WEIGHTS_HELP)
    to = "the file to write, which replaces one of that name"
    option("--to", type=Path, default=Path("model.onnx"), help=to)
    inside = (
        "put post-processing into the file: boxes (left, top, right, bottom, from 0 to 1), scores "
        "and labels come out, 200 a picture, padded with label 0. Else logits, offsets and default "
        "boxes do, to be decoded outside"
    )
    option("--detections", **SWITCH, help=inside)
    threshold = "smallest score that a detection in the file may have"
    option("--threshold", type=float, default=0.01, help=threshold)


def print_anything(stream: object) -> None:
    """Keep letters from ending a command: what a terminal or file cannot show is written as a code.

    Output into files and other programs is in UTF-8, unless ``PYTHONIOENCODING`` says otherwise.
    """
    if not isinstance(stream, io.TextIOWrapper):
        return  # a notebook's, or a test's: these take everything
    redirected = not stream.isatty() and "PYTHONIOENCODING" not in os.environ
    stream.reconfigure(encoding="utf-8" if redirected else None, errors="backslashreplace")


def main(arguments: list[str] | None = None) -> None:
    """Run a command; what the user can fix ends in one line, not in a traceback."""
    for stream in (sys.stdout, sys.stderr):
        print_anything(stream)
    args = make_parser().parse_args(arguments)
    try:
        args.function(args)
    except torch.OutOfMemoryError:
        print(
            "error: --device: the GPU's memory is full; end what else uses it, or add --device cpu",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    except (ValueError, OSError, FloatingPointError) as error:
        message = " ".join(str(error).split())
        if "Original Traceback" in message:  # of a process that reads pictures: its own comes last
            message = message.rpartition("Error: ")[2]
        print("error:", message, file=sys.stderr)
        raise SystemExit(2) from None
