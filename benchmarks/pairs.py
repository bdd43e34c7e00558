"""What is timed: the same work, done by ssd_lite and by torchvision.

Each function makes the inputs and both ways to work on them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.models.detection import ssd300_vgg16
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou
from torchvision.transforms import v2

from ssd_lite import fast
from ssd_lite.augment import UNIFORMS_PER_IMAGE
from ssd_lite.boxes import cxcywh_to_xyxy, iou
from ssd_lite.data import Batch, Sample, collate
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.detection import detect
from ssd_lite.encoding import encode
from ssd_lite.mining import hard_negatives
from ssd_lite.model import SSD
from ssd_lite.precision import autocast
from ssd_lite.recipe import PAPER, Recipe, make_optimizer, training_pictures
from ssd_lite.shapes import Shapes
from ssd_lite.spec import SSD300_TORCHVISION, SSD300_VOC, SSDSpec
from ssd_lite.torchvision_weights import from_torchvision
from ssd_lite.train import faster_loss, train_step

HEIGHT, WIDTH = 375, 500  # of most photographs of PASCAL VOC


class Pair(NamedTuple):
    """Two functions without arguments that do the same work, and how far their results agree."""

    ours: Callable[[], object]
    theirs: Callable[[], object]
    same: float | None = None  # share of their results that are ours too, if it is known


def pictures(count: int, height: int = HEIGHT, width: int = WIDTH) -> list[Tensor]:
    """Drawn scenes in a photograph's size."""
    scenes = Shapes(count, 0, 300)
    return list(
        v2.functional.resize(torch.stack([scenes[i].image for i in range(count)]), [height, width])
    )


def models(classes: int, device: torch.device) -> tuple[SSD, torch.nn.Module]:
    """Ours and torchvision's, with the same weights, which answer as after training.

    They are scaled so that the answers are a class here and there, and background elsewhere.
    Random weights as they are drawn answer alike everywhere; thousands of answers would then pass
    the score threshold, which is another case, measured by itself (:func:`scores`).
    """
    torch.manual_seed(0)
    theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=classes).eval()
    with torch.inference_mode():
        images = [picture / 255 for picture in pictures(2)]
        features = list(theirs.backbone(theirs.transform(images)[0].tensors).values())
        logits = theirs.head(features)["cls_logits"]
    scale = 2 / logits.std()
    lead = (logits[:, :, 1:].amax(dim=2) - logits[:, :, 0]).flatten() * scale
    few = lead.sort(descending=True).values[len(lead) // 100]  # 1 answer in 100
    for layer in theirs.head.classification_head.module_list:
        with torch.no_grad():
            layer.weight.mul_(scale)
            layer.bias.view(-1, classes)[:, 0] += few + 3
    theirs.to(device)
    ours = from_torchvision(theirs.state_dict())
    return ours.to(device, memory_format=torch.channels_last), theirs


def network(our_model: SSD, their_model: torch.nn.Module, batch: int, precision: str) -> Pair:
    """Pictures of the right size to logits and offsets."""
    device = our_model.mean.device
    images = torch.randn(batch, 3, 300, 300, device=device)
    last = images.contiguous(memory_format=torch.channels_last)
    sooner = fast.accelerate(our_model)

    @torch.inference_mode()
    def ours():
        with autocast(device, precision):
            return sooner(last)

    @torch.inference_mode()
    def theirs():
        return their_model.head(list(their_model.backbone(images).values()))

    return Pair(ours, theirs)


def preprocessing(our_model: SSD, their_model: torch.nn.Module, batch: int) -> Pair:
    """Photographs as they are read, in bytes, to what the network reads."""
    images = pictures(batch)
    device = our_model.mean.device
    return Pair(
        lambda: our_model.preprocess(images),
        lambda: their_model.transform([image.to(device) / 255 for image in images]),
    )


def scores(
    kind: str, batch: int, boxes: int, classes: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Logits and offsets as networks give them.

    ``kind`` is "flat" for before training, "early" for early in it and "trained" for after it.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, boxes, classes, generator=generator)
    offsets = torch.randn(batch, boxes, 4, generator=generator) / 2
    if kind == "flat":
        logits /= 20
    elif kind == "early":
        logits[:, :, 0] += 2
    elif kind == "trained":  # 30 objects, each seen by two boxes
        logits[:, :, 0] += 9
        hot, seen = (
            torch.randint(boxes, (batch, 60), generator=generator),
            torch.randint(1, classes, (60,)),
        )
        logits[torch.arange(batch)[:, None], hot, seen] += 10
    else:
        raise ValueError(f"kind: expected flat, early or trained, got {kind!r}")
    return logits.to(device), offsets.to(device)


def postprocessing(
    their_model: torch.nn.Module, kind: str, defaults: Tensor, batch: int, classes: int
) -> Pair:
    """Logits and offsets to detections.

    torchvision's method takes the number of classes from the logits.
    """
    device = defaults.device
    logits, offsets = scores(kind, batch, len(defaults), classes, device)
    anchors = [cxcywh_to_xyxy(defaults) * 300] * batch
    raw = {"cls_logits": logits, "bbox_regression": offsets}

    @torch.inference_mode()
    def ours():
        return fast.postprocess(logits, offsets, defaults, SSD300_TORCHVISION)

    @torch.inference_mode()
    def theirs():
        return their_model.postprocess_detections(raw, anchors, [(300, 300)] * batch)

    found = [(b[k > 0] * 300, s[k > 0], k[k > 0]) for b, s, k in zip(*ours())]
    return Pair(ours, theirs, agreement(found, theirs()))


def agreement(
    ours: Sequence[tuple[Tensor, Tensor, Tensor]], theirs: Sequence[dict[str, Tensor]]
) -> float:
    """Share of their detections that are among ours: same class, same place, same score."""
    found = total = 0
    for (boxes, scores, labels), there in zip(ours, theirs):
        same = iou(there["boxes"].cpu().double(), boxes.cpu().double()) > 0.99
        same &= there["labels"].cpu()[:, None] == labels.cpu()
        same &= (there["scores"].cpu()[:, None] - scores.cpu()).abs() < 1e-3
        found += int(same.any(dim=1).sum())
        total += len(there["boxes"])
    return found / total if total else 1.0


def detection(our_model: SSD, their_model: torch.nn.Module, batch: int, precision: str) -> Pair:
    """Photographs to detections on the host, from end to end."""
    images, device = pictures(batch), our_model.mean.device

    @torch.inference_mode()
    def theirs():
        found = their_model([image.to(device) / 255 for image in images])
        return [{name: x.cpu() for name, x in each.items()} for each in found]

    def ours():
        return detect(our_model, images, precision=precision)

    return Pair(ours, theirs, agreement(ours(), theirs()))


def scenes(batch: int, objects: int | None = None) -> Batch:
    """Drawn scenes at SSD300's size.

    With ``objects``, so many boxes are in each, wherever they fall.
    """
    data = Shapes(batch, 0, 300)
    batch = collate([data[i] for i in range(batch)])
    if objects is None:
        return batch
    generator = torch.Generator().manual_seed(0)
    corner, side = torch.rand(2, len(batch.labels), objects, 2, generator=generator)
    boxes = torch.cat([corner * 0.7, corner * 0.7 + 0.05 + 0.25 * side], dim=2)
    labels = torch.randint(1, 21, boxes.shape[:2], generator=generator)
    return batch._replace(boxes=boxes, labels=labels)


def matching_and_loss(
    their_model: torch.nn.Module, batch: Batch, defaults: Tensor, classes: int
) -> Pair:
    """Objects and predictions to a loss: matching, encoding, mining and the sums."""
    count, device = len(batch.labels), defaults.device
    batch = batch.to(device)
    labels = batch.labels.clamp(max=classes - 1)
    logits, offsets = scores("early", count, len(defaults), classes, device)
    anchors = cxcywh_to_xyxy(defaults) * 300
    targets = [{"boxes": b[k > 0] * 300, "labels": k[k > 0]} for b, k in zip(batch.boxes, labels)]
    raw = {"cls_logits": logits, "bbox_regression": offsets}

    def ours():
        target_labels, target_boxes = fast.match(defaults, batch.boxes, labels)
        return fast.multibox_loss(
            logits, offsets, target_labels, encode(target_boxes, defaults), hard_negatives
        )

    def theirs():
        matched = [
            their_model.proposal_matcher(box_iou(target["boxes"], anchors)) for target in targets
        ]
        return their_model.compute_loss(targets, raw, [anchors] * count, matched)

    return Pair(ours, theirs)


def default_boxes(their_model: torch.nn.Module, batch: int, device: torch.device) -> Pair:
    """All 8732: ours are made once, theirs for every batch anew."""
    images = ImageList(torch.zeros(batch, 3, 300, 300, device=device), [(300, 300)] * batch)
    maps = [torch.zeros(batch, 1, n, n, device=device) for n in SSD300_VOC.maps]
    return Pair(
        lambda: make_default_boxes(SSD300_VOC).to(device),
        lambda: their_model.anchor_generator(images, maps),
    )


def our_step(
    spec: SSDSpec, classes: Sequence[str], batch: int, device: torch.device, precision: str
) -> Callable:
    """A training step as in the paper, without augmentation: SGD with momentum, weight decay."""
    torch.manual_seed(0)
    model = SSD(spec, classes).to(device, memory_format=torch.channels_last)
    recipe = Recipe(
        steps=1000, batch_size=batch, augment="none", precision=precision, learning_rate=1e-5
    )
    optimizer, data = make_optimizer(model, recipe), Shapes(batch, 0, spec.image_size)
    seen = collate([data[i] for i in range(batch)]).to(device)
    network = fast.accelerate(model)
    return lambda: train_step(network, model, optimizer, seen, 0, recipe, faster_loss)


def their_step(classes: int, batch: int, device: torch.device) -> Callable:
    """The same, as torchvision's reference script writes it."""
    torch.manual_seed(0)
    model = (
        ssd300_vgg16(weights=None, weights_backbone=None, num_classes=classes + 1)
        .to(device)
        .train()
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9, weight_decay=5e-4)
    seen = scenes(batch)
    targets = [  # as its loader gives them: on a GPU, taking the padding off would synchronize
        {"boxes": (b[k > 0] * 300).to(device), "labels": k[k > 0].to(device)}
        for b, k in zip(seen.boxes, seen.labels)
    ]
    shown = seen.images.to(device)

    def step():
        images = [image / 255 for image in shown]
        loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def training_step(batch: int, device: torch.device, precision: str) -> Pair:
    """Network, targets, loss, gradients and update."""
    names = [str(i) for i in range(1, 21)]
    return Pair(
        our_step(SSD300_VOC, names, batch, device, precision), their_step(len(names), batch, device)
    )


class Photographs(Dataset):
    """Pictures, boxes and labels as a data set."""

    def __init__(self, data: list[tuple[Tensor, Tensor, Tensor]]):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        image, boxes, labels = self.data[index]
        return Sample(
            image, boxes, labels, torch.zeros_like(labels, dtype=torch.bool), f"picture {index}"
        )


def augmentation(batch: int, device: torch.device, kept: bool) -> Pair:
    """Photographs in memory to training pictures that are not yet normalized.

    Theirs is torchvision's reference recipe for SSD, which goes picture by picture. Both crop out
    of the whole picture and warp last. With ``kept``, ours has its samples from an earlier epoch,
    as :func:`~ssd_lite.train.fit` has.
    """
    images = pictures(batch)
    boxes, labels = (x for x in scenes(batch)[1:3])
    data = [(image, b[k > 0], k[k > 0]) for image, b, k in zip(images, boxes, labels)]
    transform = v2.Compose(
        [
            v2.RandomPhotometricDistort(),
            v2.RandomZoomOut(fill={tv_tensors.Image: (123, 117, 104), "others": 0}),
            v2.RandomIoUCrop(),
            v2.RandomHorizontalFlip(),
            v2.SanitizeBoundingBoxes(),
            v2.Resize((300, 300), antialias=True),
            v2.ToDtype(torch.float32),
        ]
    )

    def theirs():
        for image, b, k in data:
            scale = torch.tensor([WIDTH, HEIGHT] * 2)
            there = tv_tensors.BoundingBoxes(b * scale, format="XYXY", canvas_size=(HEIGHT, WIDTH))
            transform({"image": tv_tensors.Image(image), "boxes": there, "labels": k})

    mean = 255 * torch.tensor(SSD300_VOC.mean).view(3, 1, 1).to(device)
    uniforms = torch.rand(batch, UNIFORMS_PER_IMAGE, generator=torch.Generator().manual_seed(0)).to(
        device
    )
    resized = training_pictures(Photographs(data), SSD300_VOC, PAPER, keep=kept)

    def ours():
        images, boxes, labels, sizes = collate([resized[i] for i in range(batch)]).to(device)
        return fast.augment_batch(images, boxes, labels, uniforms, mean, 300, sizes=sizes)

    return Pair(ours, theirs)
