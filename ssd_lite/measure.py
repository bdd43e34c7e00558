"""What ``evaluate`` does on the command line: average precision, and which errors are made."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from ssd_lite.checkpoint import load_model
from ssd_lite.datasets import open_data
from ssd_lite.detection import Detections
from ssd_lite.distributed import choose_device
from ssd_lite.error_report import in_words, write_errors
from ssd_lite.errors import find_errors
from ssd_lite.evaluation import detect_all, evaluate, ground_truth
from ssd_lite.labels import Relabeled
from ssd_lite.metrics import GroundTruth
from ssd_lite.run_folder import check_split, read_config
from ssd_lite.runs import newest_run

MANY = 100  # pictures, from which on a bar shows the progress


def evaluate_command(args: argparse.Namespace) -> None:
    """Print a model's average precision on the held-out half of a data set, and its errors."""
    # 1. The model, and what to measure it on: by default what its run has held out.
    _check_options(args)
    weights = args.weights or newest_run()
    model = load_model(weights, choose_device(args.device))
    own = None if args.data else _data_of_run(args, Path(weights))
    data = open_data(args.data, args.root, model.spec.image_size, args.download, args.classes)
    if own and data.survey:
        check_split(own, data.survey)

    # 2. The classes that both know.
    shared = [name for name in model.classes if name in data.classes]
    if not shared:
        raise ValueError(
            f"--data {args.data} has the classes {', '.join(data.classes)}; "
            f"the model knows {', '.join(model.classes)}: none in common"
        )
    for who, names in (
        ("the model", sorted(set(data.classes) - set(shared))),
        ("the data", sorted(set(model.classes) - set(shared))),
    ):
        if names:
            print(f"not measured, because {who} does not know them: {', '.join(names)}")

    # 3. Measure.
    test = data.test
    if data.classes != model.classes:
        test = Relabeled(test, data.classes, model.classes)
    names, found, real = [], [], []
    looking = detect_all(model, test, precision=args.precision)
    few = len(test) < MANY
    for sample, detections in tqdm(looking, total=len(test), unit="picture", disable=few):
        names.append(sample.name)
        found.append(detections)
        real.append(ground_truth(sample))
    evaluation = evaluate(found, real, model.classes, args.method, args.coco)
    per_class = {name: evaluation.per_class[name] for name in shared}
    evaluation = replace(evaluation, classes=tuple(shared), per_class=per_class)
    print(
        f"{model.spec.name} on {args.data}, {evaluation.images} pictures, "
        f"{evaluation.objects} objects"
    )
    print(evaluation.table())

    # 4. What is wrong.
    if args.errors:
        known = [_known(d, t, model.classes, shared) for d, t in zip(found, real)]
        errors = find_errors([d for d, _ in known], [t for _, t in known], shared, args.threshold)
        print(f"\n{in_words(errors)}")
        written = write_errors(errors, test, names, args.errors)
        print(f"written into {args.errors}: {', '.join(path.name for path in written)}")


def _check_options(args: argparse.Namespace) -> None:
    """What can be seen to be wrong before any picture is looked at."""
    if "--threshold" in args.given and not args.errors:
        raise ValueError(
            "--threshold: is for --errors alone, because average precision looks at all scores; "
            "add --errors FOLDER, or leave it out"
        )
    if not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold {args.threshold:g}: expected a score, 0 to 1")
    if args.errors and args.errors.exists() and not args.errors.is_dir():
        raise ValueError(f"--errors {args.errors}: a file; name a folder for what is found")


def _known(
    detections: Detections, truth: GroundTruth, classes: Sequence[str], shared: Sequence[str]
) -> tuple[Detections, GroundTruth]:
    """One picture's detections and objects of the classes that are measured, numbered anew.

    What is said of other classes is neither right nor wrong, since nobody has labeled them.
    """
    numbers = torch.tensor([0, *(shared.index(n) + 1 if n in shared else 0 for n in classes)])
    said, real = numbers[detections.labels], numbers[truth.labels]
    kept = said > 0
    boxes, scores, _ = detections
    return Detections(boxes[kept], scores[kept], said[kept]), truth._replace(labels=real)


def _data_of_run(args: argparse.Namespace, weights: Path) -> Path:
    """The run that left these weights; its data are put into ``args``."""
    run = weights if weights.is_dir() else weights.parent
    config = read_config(run)
    if config is None or weights.suffix in (".pth", ".pt"):
        raise ValueError(
            f"--weights {weights}: no run's config.json beside them tells on what they were "
            "trained; say on what to measure them, with --data shapes for example"
        )
    args.data = config.data
    args.root = args.root if "--root" in args.given else config.root
    args.classes = args.classes or config.classes
    return run
