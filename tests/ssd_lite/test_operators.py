"""How many operators the pieces run: fewer than torchvision's, however large the input.

They are not more with more images, objects or classes.

Each operator is a kernel to be launched: on a GPU, small ones cost the same however little they do.
"""

from functools import cache, partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models.detection import ssd300_vgg16
from torchvision.ops import box_iou

from ssd_lite import fast, nms
from ssd_lite.augment import UNIFORMS_PER_IMAGE, augment_batch, mirror_batch
from ssd_lite.boxes import cxcywh_to_xyxy
from ssd_lite.data import Batch, collate
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.encoding import encode
from ssd_lite.fast import candidates
from ssd_lite.loss import multibox_loss
from ssd_lite.mining import hard_negatives
from ssd_lite.model import SSD
from ssd_lite.recipe import Recipe, make_optimizer
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE, SSD300_VOC
from ssd_lite.train import train_step


class Counter(TorchDispatchMode):
    """Counts every operator that is dispatched inside a ``with``.

    The backward pass's are included; views are free.
    """

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


def operators(function, *args):
    with Counter() as counter:
        function(*args)
    return counter.count


@cache
def scene(copies, size=300):
    """The same crowded scene, so often; a data-dependent loop runs equally often for all."""
    scenes = Shapes(100, 0, size)
    fullest = max((scenes[i] for i in range(20)), key=lambda sample: len(sample.boxes))
    return collate([fullest] * copies)


def predictions(images, classes, boxes=8732):
    """Logits in which the best 1000 candidates hold far more than 200 objects; and offsets."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(1, boxes, classes, generator=generator)
    offsets = torch.randn(1, boxes, 4, generator=generator)
    return logits.expand(images, -1, -1).clone(), offsets.expand(images, -1, -1).clone()


DEFAULTS = make_default_boxes(SSD300_VOC)


def targets_and_loss(batch, logits, offsets):
    """What a training step of SSD300 does after the network."""
    labels, boxes = fast.match(DEFAULTS, batch.boxes, batch.labels)
    encoded = encode(boxes, DEFAULTS)
    return multibox_loss(logits, offsets, labels, encoded, partial(hard_negatives, ratio=3))


@cache
def theirs(classes):
    """torchvision's SSD300 without numbers.

    Its loss and its post-processing use none of its weights.
    """
    with torch.device("meta"):
        return ssd300_vgg16(weights=None, weights_backbone=None, num_classes=classes)


def their_targets_and_loss(batch, logits, offsets):
    """As in the second half of their ``forward`` in training."""
    model, anchors = theirs(logits.shape[2]), cxcywh_to_xyxy(DEFAULTS) * 300
    targets = [
        {"boxes": b[k > 0] * 300, "labels": k[k > 0]} for b, k in zip(batch.boxes, batch.labels)
    ]
    matched = [model.proposal_matcher(box_iou(target["boxes"], anchors)) for target in targets]
    outputs = {"cls_logits": logits, "bbox_regression": offsets}
    return model.compute_loss(targets, outputs, [anchors] * len(targets), matched)


def counted(images, classes=21):
    """Operators of targets and loss, ours and theirs."""
    inputs = (scene(images), *predictions(images, classes))
    return operators(targets_and_loss, *inputs), operators(their_targets_and_loss, *inputs)


def test_targets_and_loss_run_as_many_operators_for_32_images_as_for_one():
    (ours, theirs_for_one), (ours_for_32, theirs_for_32) = counted(1), counted(32)
    assert ours_for_32 == ours
    assert ours < theirs_for_one
    assert 10 * ours < theirs_for_32


def test_the_targets_and_the_loss_of_both_are_about_the_same_thing():
    """Else counting them side by side would say nothing."""
    inputs = (scene(2), *predictions(2, 21))
    ours, their = targets_and_loss(*inputs), their_targets_and_loss(*inputs)
    torch.testing.assert_close(ours.total, sum(their.values()), rtol=0.2, atol=0)


@pytest.mark.parametrize("varied", ["paper", "mirror"])
def test_augmentation_runs_as_many_operators_for_32_images_as_for_one(varied):
    def augment(images):
        batch, uniforms = (
            scene(images),
            torch.rand(images, UNIFORMS_PER_IMAGE, generator=torch.Generator().manual_seed(0)),
        )
        inputs = (batch.images.float(), batch.boxes, batch.labels, uniforms)
        return (
            augment_batch(*inputs, torch.zeros(3, 1, 1), 300)
            if varied == "paper"
            else mirror_batch(*inputs)
        )

    assert operators(augment, 32) == operators(augment, 1) < 400


@pytest.mark.parametrize("varied", ["paper", "mirror", "none"])
def test_a_whole_training_step_runs_as_many_operators_for_32_images_as_for_one(varied):
    """Augmentation, network, matching, loss, backward pass and optimizer."""
    torch.manual_seed(0)
    counts = []
    for images in (1, 32):
        model = SSD(LITE, Shapes.classes)
        recipe = Recipe(steps=10, batch_size=images, optimizer="adamw", augment=varied)
        optimizer, batch = make_optimizer(model, recipe), scene(images, LITE.image_size)
        train_step(
            model, model, optimizer, batch, 0, recipe
        )  # the first makes the optimizer's state
        counts.append(operators(train_step, model, model, optimizer, batch, 1, recipe))
    assert counts[0] == counts[1]


def test_more_padding_means_no_more_operators():
    batch, inputs = scene(2), predictions(2, 21)
    padded = Batch(
        batch.images,
        torch.nn.functional.pad(batch.boxes, (0, 0, 0, 40)),
        torch.nn.functional.pad(batch.labels, (0, 40)),
        batch.sizes,
    )
    assert operators(targets_and_loss, padded, *inputs) == operators(
        targets_and_loss, batch, *inputs
    )


def post_processed(images, classes):
    """Operators of post-processing."""
    return operators(fast.postprocess, *predictions(images, classes), DEFAULTS, SSD300_VOC)


def post_processed_by_torchvision(images, classes):
    logits, offsets = predictions(images, classes)
    outputs, anchors = (
        {"cls_logits": logits, "bbox_regression": offsets},
        [cxcywh_to_xyxy(DEFAULTS) * 300] * images,
    )
    return operators(
        theirs(classes).postprocess_detections, outputs, anchors, [(300, 300)] * images
    )


def test_post_processing_on_a_gpu_grows_neither_with_images_nor_with_classes(monkeypatch):
    """The GPU's method of suppression, run here on a CPU.

    Eight rounds are enough for these predictions.
    """
    monkeypatch.setattr(candidates, "batched_nms", nms.nms_parallel)
    one = post_processed(1, 21)
    assert post_processed(8, 21) == post_processed(1, 91) == one
    assert 2 * one < post_processed_by_torchvision(1, 21)


def test_post_processing_on_a_cpu_does_not_grow_with_classes_and_little_with_images():
    """There the kernel that suppresses is called once for each image."""
    one, eight = post_processed(1, 21), post_processed(8, 21)
    assert post_processed(1, 91) == one
    assert eight - one < 7 * 10
    assert 2 * one < post_processed_by_torchvision(1, 21)
    assert 10 * one < post_processed_by_torchvision(1, 91)
    assert 10 * eight < post_processed_by_torchvision(8, 21)
