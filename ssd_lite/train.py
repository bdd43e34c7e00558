"""Chapter 11. Training: all the pieces in one loop."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ssd_lite import fast
from ssd_lite.augment import UNIFORMS_PER_IMAGE, augment_batch, mirror_batch, parse_augment
from ssd_lite.data import Batch, Samples, batches, collate
from ssd_lite.distributed import (
    choose_device,
    join_processes,
    positives_per_process,
    rank,
    world_size,
)
from ssd_lite.encoding import encode
from ssd_lite.evaluation import Evaluation, evaluate_model
from ssd_lite.loss import MultiBoxLoss, multibox_loss
from ssd_lite.matching import match
from ssd_lite.mining import hard_negatives
from ssd_lite.model import SSD
from ssd_lite.precision import autocast, repeatable
from ssd_lite.recipe import Recipe, evaluates, learning_rate, make_optimizer, training_pictures
from ssd_lite.runs import Log, keep_evaluation, read_metrics, resume, save_progress


def training_loss(
    network: Callable,
    model: SSD,
    batch: Batch,
    uniforms: Float[Tensor, "B uniforms"],
    recipe: Recipe,
    augment: Callable = augment_batch,
    matcher: Callable = match,
    multibox: Callable[..., MultiBoxLoss] = multibox_loss,
) -> MultiBoxLoss:
    """One batch through all the pieces: augment, network, match, encode, loss with mining.

    ``network`` is ``model``, or ``model`` compiled or spread over processes.
    """
    # 1. Other pictures than last time.
    images, boxes, labels, sizes = batch
    parts = parse_augment(recipe.augment)
    if parts == ("mirror",):  # nothing to warp
        images, boxes, labels = mirror_batch(images, boxes, labels, uniforms)
    elif parts:
        mean, size = model.mean * 255, model.spec.image_size
        images, boxes, labels = augment(images, boxes, labels, uniforms, mean, size, parts, sizes)

    # 2. What the network says.
    images = model.normalize(images).contiguous(memory_format=torch.channels_last)
    with autocast(images.device, recipe.precision):
        logits, offsets = network(images)

    # 3. What it should have said, and how far it is from that.
    target_labels, target_boxes = matcher(model.default_boxes, boxes, labels, recipe.threshold)
    target_offsets = encode(target_boxes, model.default_boxes, model.spec.variances)
    return multibox(
        logits,
        offsets,
        target_labels,
        target_offsets,
        choose_negatives=partial(hard_negatives, ratio=recipe.negative_ratio),
        normalizer=positives_per_process(target_labels),
    )


# The same loss, sooner: appendix F.
faster_loss = partial(
    training_loss,
    augment=fast.augment_batch,
    matcher=fast.match,
    multibox=fast.multibox_loss,
)


def loader(
    data: Samples,
    recipe: Recipe,
    start: int,
    workers: int,
    classes: int | None = None,
    pinned: bool = False,
) -> Iterator[Batch]:
    """This process's share of every batch from step ``start`` on.

    That is every ``world_size``-th sample. With ``classes``, the number that the network knows,
    labels beyond it are refused. ``pinned`` memory is for a GPU that will read the batch.
    """
    if recipe.batch_size % world_size():
        raise ValueError(
            f"batch_size: {recipe.batch_size} cannot be shared by {world_size()} processes"
        )
    indices = batches(len(data), recipe.batch_size, recipe.seed, start, recipe.steps)
    mine = [batch[rank() :: world_size()] for batch in indices]
    return iter(
        DataLoader(
            data,  # type: ignore[arg-type]  # any object with a length and samples will do
            batch_sampler=mine,
            collate_fn=partial(collate, classes=classes),
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pinned,
        )
    )


def uniforms_of_step(step: int, recipe: Recipe) -> Float[Tensor, "B uniforms"]:
    """This process's share of a step's random numbers.

    A function of the seed and the step alone.
    """
    seed = int(np.random.default_rng([recipe.seed, step]).integers(2**62))
    generator = torch.Generator().manual_seed(seed)
    uniforms = torch.rand(recipe.batch_size, UNIFORMS_PER_IMAGE, generator=generator)
    return uniforms[rank() :: world_size()].contiguous()


def train_step(
    network: Callable,
    model: SSD,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    step: int,
    recipe: Recipe,
    loss_fn: Callable[..., MultiBoxLoss] = training_loss,
) -> tuple[MultiBoxLoss, Float[Tensor, ""]]:
    """One step of training: its loss and the gradient's norm.

    Both stay on the device: reading them would synchronize.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["lr_scale"] * learning_rate(step, recipe)
    uniforms, device = uniforms_of_step(step, recipe), batch.images.device
    if on_gpu := device.type == "cuda":
        uniforms = uniforms.pin_memory()  # like the batch, so that the copy is asynchronous
    uniforms = uniforms.to(device, non_blocking=on_gpu)
    loss = loss_fn(network, model, batch, uniforms, recipe)
    optimizer.zero_grad(set_to_none=True)
    loss.total.backward()
    grad_norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    optimizer.step()
    return loss, grad_norm


def fit(
    model: SSD,
    train_data: Samples,
    test_data: Samples,
    recipe: Recipe,
    run: str | Path,
    device: torch.device | str | None = None,
    workers: int = 0,
    on_evaluation: Callable[[int, Evaluation], None] | None = None,
    on_step: Callable[[int, SSD], None] | None = None,
    loss_fn: Callable[..., MultiBoxLoss] = faster_loss,
) -> Evaluation | None:
    """Train ``model``; leave log and checkpoints in the folder ``run``.

    These are ``log.csv``, ``last.safetensors`` and ``best.safetensors``. Where the folder already
    holds a last checkpoint, training goes on from it, to the very weights that it would have
    reached uninterrupted: order, augmentation and learning rate depend on the step alone. That
    takes the same kind of processor or GPU and the same PyTorch. A recipe with more ``steps`` than
    the folder's trains longer, from there on at that recipe's rates.

    Args:
        model: changed in place.
        train_data: data set of :class:`~ssd_lite.data.Sample`.
        test_data: the same, held out; chooses the best checkpoint.
        recipe: how.
        run: folder for the results.
        device: by default the best there is.
        workers: processes that read pictures; with 0 this one reads them, and keeps them in
            memory once read.
        on_evaluation: called with the step and the result of each evaluation.
        on_step: called with the step and the model before the first step and after each.
        loss_fn: what a step makes smaller, called as :func:`training_loss` is; experiments put
            their own here.

    Returns:
        The last evaluation, of process 0; None in the others.

    Raises:
        FloatingPointError: the loss is NaN or infinite; the last good checkpoint stays.
    """
    # 1. Where to train, and what an interrupted run has left.
    run, device = Path(run), choose_device(device)
    join_processes(device)
    is_main = rank() == 0  # one process writes, speaks and evaluates
    model.to(device).to(memory_format=torch.channels_last)
    if device.type == "cpu":
        fast.keep_memory()  # appendix F
    optimizer = make_optimizer(model, recipe)
    step, best = resume(run, model, optimizer, recipe)
    network: Any = torch.compile(model) if recipe.compile else model
    if world_size() > 1:
        network = nn.parallel.DistributedDataParallel(
            network, broadcast_buffers=False, gradient_as_bucket_view=True
        )
    network = fast.accelerate(network)  # the same answers, sooner: appendix F
    train_data = training_pictures(train_data, model.spec, recipe, keep=workers == 0)

    # 2. What to tell whom. A run may have ended between a checkpoint and the look after it.
    log = Log(run / "log.csv", step) if is_main else None
    on_step = on_step if is_main and on_step else lambda step, model: None
    on_evaluation = on_evaluation or (lambda step, evaluation: None)
    evaluation = None
    if log is not None and step and evaluates(step, recipe) and log.lacks_map50(step):
        evaluation = evaluate_model(model, test_data)
        best = keep_evaluation(run, log, model, recipe, step, evaluation, best)
        on_evaluation(step, evaluation)
    last_look, clock = step, time.monotonic()
    progress = tqdm(
        total=recipe.steps, initial=step, unit="step", disable=not is_main, dynamic_ncols=True
    )

    # 3. Step by step.
    model.train()
    on_step(step, model)
    with progress, repeatable():
        classes, pinned = len(model.classes), device.type == "cuda"
        for batch in loader(train_data, recipe, step, workers, classes, pinned):
            batch = batch.to(device)
            loss, grad_norm = train_step(network, model, optimizer, batch, step, recipe, loss_fn)
            step += 1
            on_step(step, model)
            progress.update()

            # 4. Now and then, a look at the numbers: it synchronizes.
            evaluating = evaluates(step, recipe)
            saving = evaluating or step % recipe.save_every == 0
            if not (saving or step % 20 == 0):
                continue
            row = read_metrics(model, loss, grad_norm, step, recipe, run)
            if log is None:
                continue
            pictures = (step - last_look) * recipe.batch_size
            row["images_per_second"] = pictures / (time.monotonic() - clock)
            shown = ("classification", "localization")
            progress.set_postfix({name: f"{row[name]:.2f}" for name in shown})
            log.add(row)
            if saving:  # before a look, which a broken picture may end
                save_progress(run, model, optimizer, recipe, step, best)
            if evaluating:
                evaluation = evaluate_model(model, test_data)
                best = keep_evaluation(run, log, model, recipe, step, evaluation, best)
                on_evaluation(step, evaluation)
            last_look, clock = step, time.monotonic()
    return evaluation
