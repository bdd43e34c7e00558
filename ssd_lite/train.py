"""Chapter 11, second half. Training: all the pieces in one loop, on one device or several."""

import csv
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ssd_lite.augment import NOISE, PARTS, augment_by_parts, mirror_batch, parts_of
from ssd_lite.checkpoint import read, save, write_atomically
from ssd_lite.data import Batch, Resized, batches, collate
from ssd_lite.encoding import encode
from ssd_lite.loss import MultiBoxLoss, multibox_loss
from ssd_lite.matching import match
from ssd_lite.metrics import Evaluation, measure
from ssd_lite.mining import hard_negatives
from ssd_lite.model import SSD
from ssd_lite.winograd import arithmetic


@dataclass(frozen=True)
class Recipe:
    """All that decides how a model is trained, and with the data what its weights will be."""

    steps: int
    batch_size: int = 32  # of all processes together
    optimiser: str = "sgd"  # or "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "multistep"  # ÷ 10 at each milestone; or "cosine", down to 0
    milestones: tuple[float, ...] = (2 / 3, 5 / 6)  # in fractions of the steps
    warmup: int = 0  # steps in which the learning rate climbs from 0
    clip_norm: float = math.inf  # largest length of the gradient
    augment: str = "paper"  # or "none", or some of its parts, joined: "distort+mirror"
    threshold: float = 0.5  # matching
    negative_ratio: float = 3  # mining
    precision: str = "fp32"  # or "bf16": autocast of the network, boxes and loss stay fp32
    compile: bool = False
    seed: int = 0
    evaluate_every: int = 1000
    save_every: int = 500

    def __post_init__(self):
        allowed = {"optimiser": ("sgd", "adamw"), "schedule": ("multistep", "cosine"), "precision": ("fp32", "bf16")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name}: expected one of {', '.join(values)}, got {getattr(self, name)!r}")
        for name in ("steps", "batch_size", "learning_rate", "clip_norm", "evaluate_every", "save_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")
        if not set(parts_of(self.augment)) <= set(PARTS):
            raise ValueError(
                f"augment: expected paper, none, or some of {', '.join(PARTS)} joined by +, got {self.augment!r}"
            )
        if self.seed < 0:
            raise ValueError(f"seed: expected 0 or more, got {self.seed}")


PAPER = Recipe(steps=120_000, evaluate_every=5_000, save_every=1_000)  # VOC07+12, section 3.1 and the authors' code
LITE_RECIPE = Recipe(  # drawn scenes: minutes on two CPU cores
    steps=3_000,
    batch_size=16,
    optimiser="adamw",
    learning_rate=2e-3,
    weight_decay=0.01,
    schedule="cosine",
    warmup=100,
    clip_norm=10,
    augment="mirror",
    evaluate_every=750,
    save_every=375,
)
REAL_RECIPE = replace(  # a few hundred photographs: augmentation makes them many
    LITE_RECIPE,
    steps=1_000,
    augment="paper",
    evaluate_every=200,
    save_every=100,
)
GPU_RECIPE = replace(  # minutes on one GPU
    LITE_RECIPE,
    steps=12_000,
    batch_size=64,
    warmup=500,
    precision="bf16",
    evaluate_every=3_000,
    save_every=3_000,
)


def recipe_from(fields: Mapping[str, Any]) -> Recipe:
    """A recipe from its JSON form, in which the tuple has become a list."""
    return Recipe(**{**fields, "milestones": tuple(fields["milestones"])})


def learning_rate(step: int, recipe: Recipe) -> float:
    """Learning rate of a step, a function of its number alone."""
    warm = min(1, (step + 1) / recipe.warmup) if recipe.warmup else 1
    if recipe.schedule == "cosine":
        return recipe.learning_rate * warm * (1 + math.cos(math.pi * step / recipe.steps)) / 2
    return recipe.learning_rate * warm * 0.1 ** sum(step >= m * recipe.steps for m in recipe.milestones)


def make_optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD or AdamW. Biases and norms are not decayed; with SGD both learn twice as fast, as the authors' biases do."""
    weights = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay, "factor": 1},
        {"params": others, "weight_decay": 0, "factor": 2 if recipe.optimiser == "sgd" else 1},
    ]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def training_loss(
    network: nn.Module,
    model: SSD,
    batch: Batch,
    noise: Float[Tensor, "B noise"],
    recipe: Recipe,
    matcher: Callable = match,
) -> MultiBoxLoss:
    """One batch through all the pieces: augment, network, match, encode, loss with mining.

    ``network`` is ``model``, or ``model`` compiled or spread over processes.
    """
    images, boxes, labels = batch
    parts = parts_of(recipe.augment)
    if parts == ("mirror",):  # nothing to warp
        images, boxes, labels = mirror_batch(images, boxes, labels, noise)
    elif parts:
        ground, size = model.mean * 255, model.spec.image_size
        images, boxes, labels = augment_by_parts(images, boxes, labels, noise, ground, size, parts)
    images = model.normalise(images).contiguous(memory_format=torch.channels_last)
    with arithmetic(images.device, recipe.precision):
        logits, offsets = network(images)
    target_labels, target_boxes = matcher(model.default_boxes, boxes, labels, recipe.threshold)
    target_offsets = encode(target_boxes, model.default_boxes, model.spec.variances)
    return multibox_loss(
        logits,
        offsets,
        target_labels,
        target_offsets,
        choose_negatives=partial(hard_negatives, ratio=recipe.negative_ratio),
        normaliser=positives_per_process(target_labels),
    )


def positives_per_process(target_labels: Tensor) -> Tensor:
    """The loss's normaliser: positives of the whole batch, at least 1, divided by the number of
    processes.

    DistributedDataParallel averages gradients over processes. Were each to divide by its own
    positives, the mean of those quotients would not be the quotient of the whole batch; divided
    by this, it is.
    """
    positives = (target_labels > 0).sum().float()
    if dist.is_initialized():
        dist.all_reduce(positives)
    return positives.clamp(min=1) / world_size()


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number among them; number 0 writes, speaks and evaluates."""
    return dist.get_rank() if dist.is_initialized() else 0


def choose_device(name: torch.device | str | None = None) -> torch.device:
    """The device asked for, or the best there is: cuda, mps, cpu. Each process under torchrun has its own GPU."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device: {name!r} is unknown; try cuda, mps or cpu") from None
    available = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available, "cpu": lambda: True}
    if not available.get(device.type, lambda: False)():
        raise ValueError(f"device: {name!r} was asked for, but PyTorch finds none here; use cpu or leave it out")
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return device


def join_processes(device: torch.device) -> None:
    """Under torchrun, make this process one of those that train together; alone, do nothing."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def agree(value):
    """Process 0's value, in every process."""
    values = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(values)
    return values[0]


def loader(data: Dataset, recipe: Recipe, start: int, workers: int, classes: int | None = None) -> Iterator[Batch]:
    """This process's share of every batch from step ``start`` on: every ``world_size``-th sample.

    With ``classes``, the number that the network knows, labels beyond it are refused.
    """
    if recipe.batch_size % world_size():
        raise ValueError(f"batch_size: {recipe.batch_size} cannot be shared by {world_size()} processes")
    indices = batches(len(data), recipe.batch_size, recipe.seed, start, recipe.steps)
    mine = [batch[rank() :: world_size()] for batch in indices]
    return iter(
        DataLoader(
            data,
            batch_sampler=mine,
            collate_fn=partial(collate, classes=classes),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
    )


def noise_of(step: int, recipe: Recipe) -> Float[Tensor, "B noise"]:
    """This process's share of a step's random numbers, a function of the seed and the step alone."""
    generator = torch.Generator().manual_seed(int(np.random.default_rng([recipe.seed, step]).integers(2**62)))
    return torch.rand(recipe.batch_size, NOISE, generator=generator)[rank() :: world_size()]


class Log:
    """``log.csv``: one line for every look at the numbers, kept through interruptions."""

    columns = (
        *("step", "learning_rate", "loss", "classification", "localisation"),
        *("gradient_norm", "images_per_second", "map50"),
    )

    def __init__(self, path: Path, step: int):
        """Go on after ``step``: lines of later steps, and one that a kill has torn, are dropped."""
        self.path = path
        self.rows = [row for row in read_log(path) if row["step"] <= step]
        lines = [",".join(self.columns)] + [self._line(row) for row in self.rows]
        write_atomically(path, ("\n".join(lines) + "\n").encode())

    def add(self, row: dict[str, float]) -> None:
        """Append a line; a column that is missing stays empty."""
        self.rows.append(row)
        try:
            with open(self.path, "a") as file:
                file.write(self._line(row) + "\n")
        except OSError as error:
            raise OSError(f"{self.path}: cannot be written ({error.strerror}); make room, then resume") from None

    def _line(self, row: dict[str, float]) -> str:
        return ",".join(f"{row[name]:.6g}" if name in row else "" for name in self.columns)


def read_log(path: str | Path) -> list[dict[str, float]]:
    """The lines of a ``log.csv``, empty columns left out; none if there is no file."""
    if not Path(path).exists():
        return []
    whole, _, _ = Path(path).read_text().rpartition("\n")  # what follows the last line's end has been torn by a kill
    return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(whole.splitlines())]


def save_progress(
    run: Path, model: SSD, optimiser: torch.optim.Optimizer, recipe: Recipe, step: int, best: float
) -> None:
    """Write ``last.safetensors``: all that a resumed run needs."""
    state = optimiser.state_dict()["state"]
    extra = {f"optimiser.{i}.{name}": x for i, values in state.items() for name, x in values.items() if x is not None}
    save(run / "last.safetensors", model, extra, step=step, best=best, recipe=asdict(recipe), torch=torch.__version__)


def resume(run: Path, model: SSD, optimiser: torch.optim.Optimizer, recipe: Recipe) -> tuple[int, float]:
    """Load ``last.safetensors``, if there is one, into model and optimiser. Returns its step and best mAP so far."""
    path = run / "last.safetensors"
    if not path.exists():
        return 0, -1.0
    saved, extra, about = read(path)
    try:
        recipe_then = recipe_from(about["recipe"])
        step, best = about["step"], about["best"]
    except (KeyError, TypeError):
        raise ValueError(f"{path}: not left by a run, or by another version's; name another run folder") from None
    for name, theirs, ours in (
        ("spec", saved.spec, model.spec),
        ("classes", saved.classes, model.classes),
        ("recipe", recipe_then, recipe),
    ):
        if theirs != ours:
            raise ValueError(f"{path}: was trained with {name} {theirs}, not {ours}; name another run folder")
    model.load_state_dict(saved.state_dict())
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state = {i: {} for i in range(len(parameters))}
    for key, x in extra.items():
        _, i, name = key.split(".")
        like = parameters[int(i)]
        state[int(i)][name] = torch.empty_like(like).copy_(x) if x.shape == like.shape else x
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return step, best


def train_step(
    network: nn.Module,
    model: SSD,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    step: int,
    recipe: Recipe,
    objective: Callable[..., MultiBoxLoss] = training_loss,
) -> tuple[MultiBoxLoss, Float[Tensor, ""]]:
    """One step of training: its loss and the gradient's length, on the device, without waiting."""
    for group in optimiser.param_groups:
        group["lr"] = group["factor"] * learning_rate(step, recipe)
    noise = noise_of(step, recipe)
    if batch.images.is_cuda:
        noise = noise.pin_memory()  # as the batch is: from other memory, sending it may make the host wait
    noise = noise.to(batch.images.device, non_blocking=True)
    loss = objective(network, model, batch, noise, recipe)
    optimiser.zero_grad(set_to_none=True)
    loss.total.backward()
    length = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    optimiser.step()
    return loss, length


def numbers(model: SSD, loss: MultiBoxLoss, length: Tensor, step: int, recipe: Recipe, run: Path) -> dict[str, float]:
    """A step's numbers for the log, read from the device. Raises ``FloatingPointError`` if one is not a number."""
    largest = torch.stack([p.detach().abs().max() for p in model.parameters()]).max()  # as the step has left them
    values = torch.stack([loss.total, loss.classification, loss.localisation, length, largest]).tolist()
    row = dict(zip(("loss", "classification", "localisation", "gradient_norm"), values))
    row = {"step": step, "learning_rate": learning_rate(step - 1, recipe), **row}
    if not all(map(math.isfinite, values)):
        path = run / "last.safetensors"
        saved = f"the last good checkpoint is {path}" if path.exists() else "no checkpoint had been saved yet"
        raise FloatingPointError(
            f"step {step}: the loss or a weight is not finite any more ({row}). Lower the learning rate, lengthen the "
            f"warm-up or clip the gradient, and look at the data; {saved}"
        )
    return row


def fit(
    model: SSD,
    train_data: Dataset,
    test_data: Dataset,
    recipe: Recipe,
    run: str | Path,
    device: torch.device | str | None = None,
    workers: int = 0,
    after_evaluation: Callable[[int, Evaluation], None] | None = None,
    watch: Callable[[int, SSD], None] | None = None,
    objective: Callable[..., MultiBoxLoss] = training_loss,
) -> Evaluation | None:
    """Train ``model`` and leave ``log.csv``, ``last.safetensors`` and ``best.safetensors`` in the folder ``run``.

    Where the folder already holds a last checkpoint, training goes on from it, to the very weights that it would have
    reached uninterrupted: order, augmentation and learning rate depend on the step alone.

    Args:
        model: changed in place.
        train_data: data set of :class:`~ssd_lite.data.Sample`.
        test_data: the same, held out; chooses the best checkpoint.
        recipe: how.
        run: folder for the results.
        device: by default the best there is.
        workers: processes that read pictures; with 0 this one reads them, and keeps them in memory once read.
        after_evaluation: called with the step and the result of each evaluation.
        watch: called with the step and the model before the first step and after each, as
            :class:`ssd_lite.replay.Replay` is.
        objective: what a step makes smaller, called as :func:`training_loss` is; experiments put their own here.

    Returns:
        The last evaluation, of process 0; None in the others.

    Raises:
        FloatingPointError: the loss is NaN or infinite; the last good checkpoint stays.
    """
    run, device = Path(run), choose_device(device)
    join_processes(device)
    model.to(device, memory_format=torch.channels_last)
    optimiser = make_optimiser(model, recipe)
    step, best = resume(run, model, optimiser, recipe)
    network = torch.compile(model) if recipe.compile else model
    if world_size() > 1:
        network = nn.parallel.DistributedDataParallel(network)
    train_data = Resized(train_data, model.spec.image_size, model.spec.antialias, keep=workers == 0)

    leads = rank() == 0  # one process writes, speaks and evaluates
    log = Log(run / "log.csv", step) if leads else None
    evaluation, looked_at, clock = None, step, time.monotonic()
    model.train()
    watch = watch if leads and watch else lambda step, model: None
    watch(step, model)
    with tqdm(total=recipe.steps, initial=step, unit="step", disable=not leads, dynamic_ncols=True) as progress:
        for batch in loader(train_data, recipe, step, workers, len(model.classes)):
            loss, length = train_step(network, model, optimiser, batch.to(device), step, recipe, objective)
            step += 1
            watch(step, model)
            progress.update()
            evaluating, saving = (
                step % n == 0 or step == recipe.steps for n in (recipe.evaluate_every, recipe.save_every)
            )
            if not (evaluating or saving or step % 20 == 0):
                continue  # looking at numbers makes the host wait for the device: not at every step
            row = numbers(model, loss, length, step, recipe, run)
            if not leads:
                continue
            row["images_per_second"] = (step - looked_at) * recipe.batch_size / (time.monotonic() - clock)
            progress.set_postfix({name: f"{row[name]:.2f}" for name in ("classification", "localisation")})
            if evaluating:
                evaluation = measure(model, test_data)
                row["map50"] = evaluation.map50
                progress.write(f"step {step}: mAP@0.5 {evaluation.map50:.4f}")
                if evaluation.map50 > best:
                    best = evaluation.map50
                    save(run / "best.safetensors", model, step=step, map50=best, recipe=asdict(recipe))
                if after_evaluation:
                    after_evaluation(step, evaluation)
            log.add(row)
            if saving:
                save_progress(run, model, optimiser, recipe, step, best)
            looked_at, clock = step, time.monotonic()
    return evaluation
