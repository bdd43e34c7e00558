"""What is measured: which of the two is faster, how the cost grows, what accuracy suffers."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median

import torch
from tqdm import tqdm

from benchmarks import machine, pairs
from benchmarks.timing import time_pair
from ssd_lite import fast
from ssd_lite.checkpoint import load_model
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.evaluation import evaluate_model
from ssd_lite.shapes import Shapes
from ssd_lite.spec import SSD300_VOC, SSD512_VOC

RECORDS = machine.ROOT / "figures" / "records"


def precisions(device: torch.device) -> list[str]:
    """Those in which the processor computes."""
    return ["fp32", "bf16"] if machine.has_bf16(device) else ["fp32"]


def comparisons(
    device: torch.device, quick: bool
) -> Iterator[tuple[dict, int, Callable[[], pairs.Pair]]]:
    """Every comparison: what it is, for how many images, and how to make the pair."""
    batches = (1,) if quick else (1, 8, 32)
    few = 2 if quick else 8
    for classes in (21, 91):
        ours, theirs = pairs.models(classes, device)
        defaults = ours.default_boxes
        for kind in ("trained", "early", "flat"):
            about = {"what": "post-processing", "classes": classes, "scores": kind, "batch": few}
            yield about, few, partial(pairs.postprocessing, theirs, kind, defaults, few, classes)
        about = {"what": "matching and loss", "classes": classes, "batch": few}
        yield (
            about,
            few,
            partial(pairs.matching_and_loss, theirs, pairs.scenes(few), defaults, classes),
        )
    yield (
        {"what": "preprocessing", "batch": few},
        few,
        partial(pairs.preprocessing, ours, theirs, few),
    )
    yield (
        {"what": "default boxes", "batch": few},
        1,
        partial(pairs.default_boxes, theirs, few, device),
    )
    for precision in precisions(device):
        for batch in (*batches, 128) if device.type == "cuda" else batches:
            about = {"what": "network", "batch": batch, "precision": precision}
            yield about, batch, partial(pairs.network, ours, theirs, batch, precision)
        for batch in batches:
            about = {"what": "detection", "batch": batch, "precision": precision}
            yield about, batch, partial(pairs.detection, ours, theirs, batch, precision)
        batch = 1 if quick else 32 if device.type == "cuda" else 8
        about = {"what": "training step", "batch": batch, "precision": precision}
        yield about, batch, partial(pairs.training_step, batch, device, precision)
    many = 2 if quick else 32
    # On a CPU a second core is used by a second process, not by a second thread.
    threads = 1 if device.type == "cpu" else torch.get_num_threads()
    for what, kept in {"augmentation": False, "augmentation, pictures kept": True}.items():
        about = {"what": what, "batch": many, "threads": threads}
        yield about, many, partial(pairs.augmentation, many, device, kept)


def compare(
    device: torch.device,
    rounds: int,
    quick: bool,
    only: str = "",
    known: Sequence[dict] = (),
    keep: Callable[[list[dict]], object] = lambda found: None,
) -> list[dict]:
    """Seconds an image, ours and theirs, and the ratios; what needs too much memory is left out.

    With ``only``, comparisons with that in their name; the others stay as they are known. ``keep``
    is given what is known so far, after each.
    """
    found, threads = [], torch.get_num_threads()
    tqdm.write(f"{'ms an image':64}{'ours':>10}{'theirs':>10}{'ratio':>8}  middle half")
    todo = tqdm(comparisons(device, quick), desc="comparisons", unit=" comparisons")
    for about, images, make in todo:
        if only not in about["what"]:
            found += [comparison for comparison in known if about.items() <= comparison.items()]
            continue
        torch.set_num_threads(about.get("threads", threads))
        long = about["what"] in ("network", "detection", "training step") and about["batch"] > 1
        try:
            pair = make()
            result = time_pair(pair.ours, pair.theirs, max(3, rounds // 2) if long else rounds)
        except torch.OutOfMemoryError:
            tqdm.write(f"{name_of(about):64}does not fit into the GPU's memory")
            continue
        for who in ("ours", "theirs"):
            result[who] = [seconds / images for seconds in result[who]]
        found.append(about | result | ({} if pair.same is None else {"same": pair.same}))
        keep(found)
        tqdm.write(line(about, result))
    torch.set_num_threads(threads)
    return found


def name_of(about: dict) -> str:
    """A comparison in words."""
    return ", ".join(
        str(value) if key == "what" else f"{key} {value}" for key, value in about.items()
    )


def line(about: dict, result: dict) -> str:
    """A comparison and its result, for the terminal."""
    ours, theirs = (1e3 * median(result[who]) for who in ("ours", "theirs"))
    middle, low, high = (result["ratio"][key] for key in ("median", "low", "high"))
    return f"{name_of(about):64}{ours:10.3f}{theirs:10.3f}{middle:8.2f}  {low:.2f} to {high:.2f}"


def sweeps(device: torch.device, quick: bool) -> Iterator[tuple[str, str, int, pairs.Pair]]:
    """Pieces whose cost should grow in proportion to objects, boxes, classes or images."""
    _, theirs = pairs.models(21, device)
    many = make_default_boxes(SSD512_VOC)
    many = many[torch.randperm(len(many), generator=torch.Generator().manual_seed(0))].to(device)
    usual = make_default_boxes(SSD300_VOC).to(device)
    loss, nms = pairs.matching_and_loss, pairs.postprocessing
    for number in (1, 10) if quick else (1, 5, 10, 20, 40, 70, 100):
        yield (
            "matching and loss",
            "objects",
            number,
            loss(theirs, pairs.scenes(4, number), usual, 21),
        )
    for number in (1024, 2048) if quick else (1024, 2048, 4096, 8732, 16384, 24564):
        yield "matching and loss", "boxes", number, loss(theirs, pairs.scenes(4), many[:number], 21)
        yield "post-processing", "boxes", number, nms(theirs, "early", many[:number], 4, 21)
    for number in (3, 5) if quick else (3, 6, 11, 21, 41, 61, 91):
        yield "matching and loss", "classes", number, loss(theirs, pairs.scenes(4), usual, number)
        yield "post-processing", "classes", number, nms(theirs, "early", usual, 4, number)
    for number in (1, 2) if quick else (1, 2, 4, 8, 16, 32):
        yield "matching and loss", "images", number, loss(theirs, pairs.scenes(number), usual, 21)
        yield "post-processing", "images", number, nms(theirs, "early", usual, number, 21)


def sweep(device: torch.device, rounds: int, quick: bool) -> list[dict]:
    """Seconds a batch of pieces, against what they grow with."""
    found = []
    for what, against, number, pair in tqdm(sweeps(device, quick), desc="sweeps", unit=" points"):
        times = time_pair(pair.ours, pair.theirs, max(3, rounds // 2))
        middles = {who: median(times[who]) for who in ("ours", "theirs")}
        found.append({"what": what, "against": against, "number": number} | middles)
    return found


def operations(device: torch.device) -> dict[str, dict]:
    """Operations and bytes of SSD300's network for one picture, counted.

    Of the network as it is written and, for a CPU, by Winograd's way.
    """
    ours, _ = pairs.models(91, torch.device("cpu"))
    images = torch.randn(8, 3, 300, 300)

    @torch.inference_mode()
    def plainly():
        ours(images)

    @torch.inference_mode()
    def by_winograd():
        fast.accelerate(ours)(images)

    by_winograd()  # transforms the weights, which is done once
    ways = {"network": plainly} | (
        {"network by Winograd": by_winograd} if device.type == "cpu" else {}
    )
    return {
        name: {k: v / len(images) for k, v in machine.counted(way).items()}
        for name, way in ways.items()
    }


def accuracy(device: torch.device, quick: bool) -> dict[str, float]:
    """mAP of the recorded small model on its held-out scenes, in each precision."""
    model = load_model(RECORDS / "shapes_lite_cpu.safetensors", device)
    data = Shapes(20 if quick else 500, 1)
    return {
        precision: evaluate_model(model, data, precision=precision).map50
        for precision in ("fp32", "bf16")
    }
