"""The command line: ``python -m ssd_lite train | evaluate | detect``."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from ssd_lite.commands import detect_command, evaluate_command, train_command
from ssd_lite.datasets import data_root

DATA_HELP = (
    "shapes: drawn scenes, nothing to download. bccd: 364 photographs of blood cells, 9 MB, "
    "downloaded at need. voc: PASCAL VOC 2007 and 2012, about 3 GB, downloaded with --download. "
    "Else a folder in VOC layout: JPEGImages/, Annotations/ and ImageSets/Main/ with the lists "
    "trainval (or train) and test (or val)"
)
MODEL_HELP = (
    "lite: small, minutes on two CPU cores. lite300: the same at 300 pixels, with a recipe for "
    "minutes on a GPU. ssd300, ssd512: the paper's, with VGG16"
)
PRECISION_HELP = "in which the network computes; bf16 pays where the processor has it"
WEIGHTS_HELP = (
    "a run's folder, a .safetensors file, torchvision's SSD300 as a .pth file, or coco for "
    "torchvision's weights (136 MB, downloaded at need). By default the newest run below runs/"
)
TRAIN_EPILOG = (
    "Results go to a folder below runs/: log.csv, best.safetensors, last.safetensors, "
    "record.json. An interrupted run goes on exactly with --resume. Several GPUs: "
    "torchrun --nproc_per_node=N -m ssd_lite train ..."
)
DETECT_EPILOG = (
    "Writes each picture's drawing, and detections.json: label, score, box (left, top, right, "
    "bottom; pixels)."
)
PRECISIONS = ("fp32", "bf16")


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
    commands = parser.add_subparsers(required=True, metavar="train | evaluate | detect")

    def command(name: str, function: Callable, summary: str, epilog: str = ""):
        added = commands.add_parser(
            name, help=summary, description=summary, epilog=epilog, formatter_class=_Help
        )
        added.set_defaults(function=function)
        option = added.add_argument
        option("--device", help="cuda, mps or cpu; by default the best there is")
        return option

    _add_train(command("train", train_command, "train a detector", TRAIN_EPILOG))
    summary = "measure a detector's average precision on held-out pictures"
    _add_evaluate(command("evaluate", evaluate_command, summary))
    _add_detect(command("detect", detect_command, "find objects in your pictures", DETECT_EPILOG))
    return parser


def _add_data(option: Callable) -> None:
    option("--data", default="shapes", help=DATA_HELP)
    option("--root", type=Path, default=data_root(), help="folder for bccd and voc")
    option("--download", action="store_true", help="let voc be downloaded")


def _add_train(option: Callable) -> None:
    _add_data(option)
    models = ("lite", "lite300", "ssd300", "ssd512")
    option("--model", choices=models, default="lite", help=MODEL_HELP)
    # Not --run: torchrun takes that for an abbreviation of its own, wherever it stands.
    option("--out", type=Path, help="folder for the results; by default a new one below runs/")
    resume = "go on with this run; other options are read from it"
    option("--resume", type=Path, metavar="RUN", help=resume)
    option("--steps", type=int, help="batches to train on; by default the model's recipe")
    option("--batch-size", type=int, help="pictures in a batch, of all processes together")
    option("--learning-rate", type=float, help="the largest of the schedule")
    option("--seed", type=int, help="another seed, other weights, order and augmentation")
    augment = "how training pictures are varied: paper, none, or parts, as in distort+mirror"
    option("--augment", help=augment)
    pretrained = "VGG16 as trained on ImageNet (528 MB, downloaded)"
    option("--pretrained", action="store_true", help=pretrained)
    option("--precision", choices=PRECISIONS, help="of the network; bf16 pays on recent GPUs")
    option("--compile", action=argparse.BooleanOptionalAction, help="torch.compile the network")
    workers = "processes that read pictures; 0 keeps them in memory"
    option("--workers", type=int, default=0, help=workers)


def _add_evaluate(option: Callable) -> None:
    _add_data(option)
    option("--weights", help=WEIGHTS_HELP)
    methods = ("area", "11-point")
    option("--method", choices=methods, default="area", help="11-point is VOC 2007's")
    option("--coco", action="store_true", help="also COCO's six figures; takes longer")
    option("--precision", choices=PRECISIONS, default="fp32", help=PRECISION_HELP)


def _add_detect(option: Callable) -> None:
    option("images", nargs="+", type=Path, metavar="IMAGE", help="picture files")
    option("--weights", help=WEIGHTS_HELP)
    option("--threshold", type=float, default=0.5, help="smallest score that is drawn and listed")
    option("--precision", choices=PRECISIONS, default="fp32", help=PRECISION_HELP)
    out = "folder for drawings and detections.json"
    option("--out", type=Path, default=Path("detections"), help=out)


def main(arguments: list[str] | None = None) -> None:
    """Run a command; what the user can fix ends in one line, not in a traceback."""
    args = make_parser().parse_args(arguments)
    try:
        args.function(args)
    except (ValueError, OSError, FloatingPointError) as error:
        message = " ".join(str(error).split())
        if "Original Traceback" in message:  # of a process that reads pictures: its own comes last
            message = message.rpartition("Error: ")[2]
        print("error:", message, file=sys.stderr)
        raise SystemExit(2) from None
