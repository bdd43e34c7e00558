"""What helps when photographs are few? Questions about fine-tuning, asked of playing cards.

``python figures/cards.py`` trains MobileNetV2 on 224-pixel pictures, a run for each answer, and
keeps all results in figures/records/. A run takes two or three minutes on two CPU cores. Each
result is written as soon as it is there, and a recording that was interrupted goes on.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch.utils.data import Subset
from tqdm import tqdm

from book.recording import Recording
from ssd_lite.datasets import Data, data_root, open_data
from ssd_lite.design import make_spec
from ssd_lite.distributed import choose_device
from ssd_lite.evaluation import evaluate_model
from ssd_lite.model import SSD
from ssd_lite.recipe import TRANSFER_RECIPE, Recipe
from ssd_lite.torchvision_weights import load_imagenet_weights
from ssd_lite.train import fit

RECORDS = Path(__file__).parent / "records"
RECIPE = replace(
    TRANSFER_RECIPE, steps=300, augment="distort+crop", evaluate_every=10**9, save_every=10**9
)
SIZE = 224


@dataclass(frozen=True)
class Variant:
    """One way of training, and on how many photographs."""

    group: str
    name: str
    recipe: Recipe
    pictures: int = 296
    pretrained: bool = True


def variants() -> Iterator[Variant]:
    """The baseline, and everything that differs from it in one thing; the first question first."""
    baseline = Variant("baseline", "baseline", RECIPE)
    yield baseline
    yield replace(baseline, group="start", name="random weights", pretrained=False)
    yield replace(baseline, group="frozen", name="the base", recipe=replace(RECIPE, freeze=4))
    for pictures in (30, 75, 150):
        yield replace(baseline, group="pictures", name=str(pictures), pictures=pictures)
    yield replace(baseline, group="frozen", name="nothing", recipe=replace(RECIPE, freeze=0))
    norms = replace(RECIPE, freeze_norms=True)
    yield replace(baseline, group="frozen", name="stage 1 and all batch norms", recipe=norms)
    slower = replace(RECIPE, base_rate=0.1)
    yield replace(baseline, group="rate", name="a tenth for the base", recipe=slower)
    mirrored = replace(RECIPE, augment="distort+crop+mirror")
    yield replace(baseline, group="augmentation", name="with mirror", recipe=mirrored)
    yield replace(
        baseline, group="augmentation", name="paper", recipe=replace(RECIPE, augment="paper")
    )


def train_and_measure(variant: Variant, seed: int, data: Data, device: torch.device) -> dict:
    """One run's result."""
    # 1. The network, and some of the photographs, the same for all runs of a seed.
    torch.manual_seed(seed)
    model = SSD(make_spec("mobilenet", SIZE), data.classes)
    if variant.pretrained:
        load_imagenet_weights(model)
    recipe = replace(variant.recipe, seed=seed)
    if not variant.pretrained:
        recipe = replace(recipe, freeze=0)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))
    some = Subset(data.train, order[: variant.pictures].tolist())  # type: ignore[arg-type]

    # 2. Train; one progress bar is enough.
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w") as null,
        redirect_stdout(null),
        redirect_stderr(null),
    ):
        fit(model, some, data.test, recipe, folder, device)  # type: ignore[arg-type]
    seconds = time.monotonic() - began
    evaluation = evaluate_model(model, data.test)
    return {
        "group": variant.group,
        "variant": variant.name,
        "seed": seed,
        "pictures": variant.pictures,
        "seconds": round(seconds, 1),
        "map50": evaluation.map50,
        "per_class": evaluation.per_class,
    }


def main() -> None:
    """Do all runs that the record does not hold yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of every variant")
    parser.add_argument("--only", help="one group of variants")
    args = parser.parse_args()
    device = choose_device()
    name = f"cards_experiments_{'gpu' if device.type == 'cuda' else 'cpu'}.json"
    protocol = {"spec": make_spec("mobilenet", SIZE).name, "recipe": asdict(RECIPE)}
    recording = Recording(RECORDS / name, protocol, device)
    todo = [
        (v, seed)
        for seed in range(args.seeds)
        for v in variants()
        if args.only in (None, v.group)
        and not recording.holds(group=v.group, variant=v.name, seed=seed)
    ]
    data = open_data("cards", data_root(), SIZE, download=True)
    for variant, seed in tqdm(todo, unit="run"):
        recording.add(train_and_measure(variant, seed, data, device))


if __name__ == "__main__":
    main()
