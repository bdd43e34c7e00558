"""Appendix D: where implementations disagree.

torchvision's side is run; of others, a few lines that follow their rule.

A rule that other tests hold already is not held again here; the appendix names them.
"""

import colorsys
import inspect
import math
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils import parameters_to_vector
from torchvision.models import vgg16
from torchvision.models.detection import ssd300_vgg16
from torchvision.models.detection._utils import BoxCoder, SSDMatcher
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.backbone_utils import _validate_trainable_layers
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD as TorchvisionSSD
from torchvision.models.detection.ssd import SSDFeatureExtractorVGG, _vgg_extractor
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes, Image

from ssd_lite.augment import CROP_UNIFORMS, MIN_OVERLAPS, TRIALS, crop
from ssd_lite.bases import L2Norm
from ssd_lite.boxes import cxcywh_to_xyxy, iou
from ssd_lite.data import collate
from ssd_lite.default_boxes import make_default_boxes, sizes_by_rule
from ssd_lite.detection import Detections
from ssd_lite.encoding import encode
from ssd_lite.loss import MultiBoxLoss, multibox_loss
from ssd_lite.matching import assign, bipartite
from ssd_lite.metrics import GroundTruth, average_precision, match_voc, precision_recall
from ssd_lite.mining import all_negatives, hard_negatives
from ssd_lite.model import SSD, initialize
from ssd_lite.nms import batched_nms
from ssd_lite.photometric import distort
from ssd_lite.postprocessing import compact, decode_boxes, postprocess
from ssd_lite.recipe import LITE_RECIPE, PAPER, learning_rate, make_optimizer
from ssd_lite.shapes import Shapes
from ssd_lite.spec import (
    LITE,
    SSD300_COCO,
    SSD300_TORCHVISION,
    SSD300_VOC,
    SSD512_VOC,
)
from ssd_lite.train import train_step
from ssd_lite.windows import boxes_in_window


@cache
def torchvisions_ssd300():
    """As a reader gets it, but without numbers in its weights."""
    with torch.device("meta"):
        return ssd300_vgg16(weights=None, weights_backbone=None, num_classes=91)


# Default boxes. -----------------------------------------------------------------------------------

# Scales of SSD300's six levels, and at how many levels they differ from the reference's for VOC.
OTHER_SCALES = {
    "the paper's equation 4": ([0.2 + 0.7 * k / 5 for k in range(6)], 6),
    "sgrvinod": ([0.1, 0.2, 0.375, 0.55, 0.725, 0.9], 4),
    "torchvision": ([0.07, 0.15, 0.33, 0.51, 0.69, 0.87], 6),
    "torchvision's generator by itself": ([0.15, 0.3, 0.45, 0.6, 0.75, 0.9], 6),
}


@pytest.mark.parametrize("scales, count", OTHER_SCALES.values(), ids=OTHER_SCALES)
def test_four_other_sets_of_scales_differ_at_most_levels(scales, count):
    ours = sizes_by_rule(300, 10, 20, 90, levels=6)
    assert sum(abs(300 * scale - size) > 1e-6 for scale, size in zip(scales, ours)) == count


def test_torchvisions_ssd300_carries_cocos_scales_and_the_references_steps():
    generator = torchvisions_ssd300().anchor_generator
    assert [300 * scale for scale in generator.scales] == pytest.approx(SSD300_COCO.sizes)
    assert tuple(generator.steps) == SSD300_VOC.steps


def test_torchvisions_generator_has_scales_of_its_own_unless_told():
    assert DefaultBoxGenerator([[2]] * 6).scales == pytest.approx(
        [0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1]
    )


def generated(spec, **options):
    """torchvision's default boxes of a spec, as it gives them: xyxy in pixels."""
    scales = [size / spec.image_size for size in spec.sizes]
    generator = DefaultBoxGenerator([[*r] for r in spec.ratios], scales=scales, **options)
    size, maps = spec.image_size, [torch.zeros(1, 1, m, m) for m in spec.maps]
    return generator(ImageList(torch.zeros(1, 3, size, size), [(size, size)]), maps)[0]


def test_without_steps_centers_lie_up_to_19_pixels_elsewhere():
    """As in the paper's text, (i + 0.5) / f.

    So in sgrvinod's tutorial, and in torchvision's generator unless told.
    """
    theirs = generated(SSD300_VOC, clip=False).view(-1, 2, 2).mean(dim=1)  # (8732, 2)
    away = (300 * make_default_boxes(SSD300_VOC)[:, :2] - theirs).abs().amax(dim=1)
    assert away.max().item() == pytest.approx(19, abs=1e-3)
    evenly = replace(SSD300_VOC, steps=tuple(300 / m for m in SSD300_VOC.maps))
    torch.testing.assert_close(
        300 * cxcywh_to_xyxy(make_default_boxes(evenly)), generated(SSD300_VOC, clip=False)
    )


def test_clamping_all_four_numbers_moves_114_boxes_and_shrinks_20():
    """amdegroot, lufficc, qfgaohao, sgrvinod and NVIDIA clamp center and size.

    What moves is the last row and column of the 10 × 10.
    """
    boxes = make_default_boxes(SSD300_VOC)
    clamped = boxes.clamp(0, 1)
    moved = (boxes[:, :2] != clamped[:, :2]).any(dim=1)
    assert moved.sum() == 19 * SSD300_VOC.boxes_per_cell[2] == 114
    assert (300 * (boxes - clamped)[:, :2]).max().item() == pytest.approx(4, abs=1e-4)
    assert (boxes[:, 2:] != clamped[:, 2:]).any(dim=1).sum() == 20


def test_sgrvinods_last_extra_square_is_the_whole_picture_and_ours_is_not():
    """There the last size, 0.9, has no next one, and 1 is taken for the square's side."""
    square, extra = 300 * make_default_boxes(SSD300_VOC)[-4:-2, 2]
    assert (square.item(), extra.item()) == pytest.approx((264, (264 * 315) ** 0.5), abs=1e-3)
    theirs = replace(SSD300_VOC, sizes=(*SSD300_VOC.sizes[:5], 270, 300 / 0.9), clip_sizes=True)
    widths = 300 * make_default_boxes(theirs)[-4:, 2]
    assert widths.tolist() == pytest.approx([270, 300, 300, 270 / 2**0.5], abs=1e-3)


def test_sgrvinod_orders_ratios_otherwise_and_nvidia_takes_shape_by_shape():
    """Weights from there answer for other boxes here."""
    boxes = make_default_boxes(SSD300_VOC)
    counts = [m * m * k for m, k in zip(SSD300_VOC.maps, SSD300_VOC.boxes_per_cell)]
    sgrvinods, nvidias = [], []
    for m, k, level in zip(SSD300_VOC.maps, SSD300_VOC.boxes_per_cell, boxes.split(counts)):
        ratio = (level[:, 2] / level[:, 3]).view(m * m, k)
        expected = torch.tensor([1, 1, 2, 1 / 2, 3, 1 / 3])[:k].expand(m * m, k)
        torch.testing.assert_close(ratio, expected)
        theirs = [0, 1, 2, 4, 3, 5] if k == 6 else [0, 1, 2, 3]
        sgrvinods.append(level.view(m * m, k, 4)[:, theirs].flatten(0, 1))
        nvidias.append(level.view(m * m, k, 4).transpose(0, 1).flatten(0, 1))
    moved = [int((torch.cat(order) != boxes).any(dim=1).sum()) for order in (sgrvinods, nvidias)]
    assert moved == [2 * (19**2 + 10**2 + 5**2), 8712]  # of 8732


def test_torchvision_gives_corners_in_pixels_and_makes_them_at_every_call():
    first, second = (generated(SSD300_TORCHVISION, steps=SSD300_VOC.steps) for _ in range(2))
    assert first.data_ptr() != second.data_ptr()
    torch.testing.assert_close(
        first, 300 * cxcywh_to_xyxy(make_default_boxes(SSD300_TORCHVISION)), rtol=0, atol=1e-3
    )


# Matching. ----------------------------------------------------------------------------------------


def two_that_want_one_box():
    """Two objects with the same best default box, and none but that reaches an IoU of a half."""
    corners = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.125, 0.125]])
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.4375], [0.0, 0.0, 0.5, 0.46875]]])
    return torch.cat(
        [(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], dim=1
    ), boxes


@pytest.mark.parametrize("turned", [False, True])
def test_torchvisions_matcher_lets_the_later_object_overwrite_and_loses_the_other(turned):
    defaults, boxes = two_that_want_one_box()
    boxes = boxes.flip(1) if turned else boxes
    theirs = SSDMatcher(0.5)(iou(boxes[0], cxcywh_to_xyxy(defaults)))
    assert theirs.tolist() == [1, -1]  # whoever comes last
    ours = assign(defaults, boxes, torch.tensor([[1, 2]]))
    assert ours.tolist() == [[0, 1] if turned else [1, 0]]  # both, in either order the same


def test_torchvisions_matcher_gives_the_first_box_to_an_object_that_overlaps_none():
    """So does everybody who lets the later object overwrite: a row of zeros has its maximum there.

    These are amdegroot, lufficc, qfgaohao, sgrvinod and NVIDIA.
    """
    nothing = torch.zeros(1, 4)
    assert SSDMatcher(0.5)(nothing).tolist() == [0, -1, -1, -1]
    assert bipartite(nothing[None]).tolist() == [[-1]]


def test_torchvisions_matcher_refuses_an_image_without_objects():
    with pytest.raises(ValueError, match="No ground-truth boxes"):
        SSDMatcher(0.5)(torch.zeros(0, 4))
    defaults, _ = two_that_want_one_box()
    assert assign(defaults, torch.zeros(1, 0, 4), torch.zeros(1, 0).long()).tolist() == [[-1, -1]]


# Encoding. ----------------------------------------------------------------------------------------


def test_d2ls_small_number_in_the_logarithm_hides_a_box_without_area():
    """-69 where ours says -inf and the loader refuses.

    For real boxes there is no difference to speak of.
    """
    theirs = lambda ratio: 5 * math.log(1e-6 + ratio)  # noqa: E731
    assert theirs(0) == pytest.approx(-69.08, abs=0.01)
    defaults = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    assert encode(torch.tensor([[0.5, 0.25, 0.5, 0.75]]), defaults)[0, 2] == -math.inf
    for ratio in (0.1, 1, 10):
        boxes = cxcywh_to_xyxy(torch.tensor([[0.5, 0.5, 0.5 * ratio, 0.5]]))
        assert encode(boxes, defaults)[0, 2].item() == pytest.approx(theirs(ratio), abs=1e-4)


# Loss and mining. ---------------------------------------------------------------------------------


def answers(images=4, boxes=24, classes=5, share=0.1, seed=0):
    """Logits, offsets, objects, and which default box answers for which.

    The first image has no object.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, boxes, classes, generator=generator)
    offsets = torch.randn(images, boxes, 4, generator=generator)
    corner, size = torch.rand(2, images, 3, 2, generator=generator)
    objects = torch.cat([corner, corner + 0.1 + size], dim=2)
    labels = torch.randint(1, classes, (images, 3), generator=generator)
    defaults = 0.1 + torch.rand(boxes, 4, generator=generator)
    assigned = torch.randint(0, 3, (images, boxes), generator=generator)
    assigned = torch.where(torch.rand(images, boxes, generator=generator) < share, assigned, -1)
    assigned[0] = -1
    return logits, offsets, objects, labels, defaults, assigned


def torchvisions_loss(logits, offsets, objects, labels, defaults, assigned):
    """From ``self`` it reads a box coder and a ratio, and nothing else."""
    stand_in = SimpleNamespace(box_coder=BoxCoder((10.0, 10.0, 5.0, 5.0)), neg_to_pos_ratio=3)
    return TorchvisionSSD.compute_loss(
        stand_in,
        targets=[{"boxes": b, "labels": c} for b, c in zip(objects, labels)],
        head_outputs={"bbox_regression": offsets, "cls_logits": logits},
        anchors=[cxcywh_to_xyxy(defaults)] * len(logits),
        matched_idxs=list(assigned),
    )


def our_loss(logits, offsets, objects, labels, defaults, assigned):
    target, whose = (
        torch.where(assigned < 0, 0, labels.gather(1, assigned.clamp(min=0))),
        assigned.clamp(min=0),
    )
    boxes = objects.gather(1, whose[:, :, None].expand(-1, -1, 4))
    return target, multibox_loss(logits, offsets, target, encode(boxes, defaults), hard_negatives)


@pytest.mark.parametrize("seed", range(20))
def test_loss_and_mining_are_torchvisions_where_the_negatives_suffice(seed):
    case = answers(seed=seed)
    assert (4 * (case[-1] >= 0).sum(dim=1) <= 24).all()
    theirs, (_, ours) = torchvisions_loss(*case), our_loss(*case)
    torch.testing.assert_close(theirs["classification"], ours.classification)
    torch.testing.assert_close(theirs["bbox_regression"], ours.localization)


@pytest.mark.parametrize("positives", [7, 10])
def test_torchvision_counts_positives_twice_when_four_times_they_exceed_the_boxes(positives):
    """Of 24 boxes: with 7 positives the quota, 21, is 4 more than the background.

    With 10 it is more than all boxes.
    """
    case = answers(share=0)
    case[-1][1:, :positives] = 0
    theirs, (target, ours) = torchvisions_loss(*case)["classification"], our_loss(*case)
    each = F.cross_entropy(case[0].transpose(1, 2), target, reduction="none")
    all_twice = (each[target > 0].sum() / ours.positives).item()
    excess = (theirs - ours.classification).item()
    if positives == 7:
        assert 0 < excess < all_twice
    else:
        assert excess == pytest.approx(all_twice, rel=1e-4)


def push(loss_of, *, positives, boxes=50):
    """How much each box's loss counts, image by image: the gradient by it."""
    positive = torch.arange(boxes) < torch.tensor(positives)[:, None]  # (images, boxes)
    losses = torch.zeros(positive.shape, requires_grad=True)
    loss_of(losses, positive).backward()
    return losses.grad


def per_batch(losses, positive):
    """What multibox_loss does with them."""
    return torch.where(positive, losses, 0).sum() / positive.sum().clamp(min=1)


def per_image(losses, positive):
    """NVIDIA's: each image by its own positives, then the mean over images."""
    return (torch.where(positive, losses, 0).sum(dim=1) / positive.sum(dim=1).clamp(min=1)).mean()


def test_divided_per_image_a_lone_positive_counts_forty_times_one_in_a_crowd():
    ours, nvidias = (push(rule, positives=[1, 40])[:, 0] for rule in (per_batch, per_image))
    assert (ours[0] / ours[1]).item() == 1
    assert (nvidias[0] / nvidias[1]).item() == pytest.approx(40)

    # And per_batch is what the package does: a positive pushes its logits equally in both images.
    logits = torch.zeros(2, 50, 3, requires_grad=True)
    labels = (torch.arange(50) < torch.tensor([1, 40])[:, None]).long()
    nothing = torch.zeros(2, 50, 4)
    multibox_loss(logits, nothing, labels, nothing, hard_negatives).total.backward()
    assert logits.grad[0, 0, 1].item() == pytest.approx(logits.grad[1, 0, 1].item())
    assert logits.grad[0, 0, 1].item() == pytest.approx((1 / 3 - 1) * ours[0].item())


def test_without_at_least_1_a_batch_without_positives_is_nan():
    """amdegroot, lufficc, qfgaohao and sgrvinod divide by what there is."""
    positive, losses = torch.zeros(2, 8, dtype=torch.bool), torch.zeros(2, 8)
    assert (losses[positive].sum() / positive.sum()).isnan()
    nothing = torch.zeros(2, 8, 4)
    assert (
        multibox_loss(torch.zeros(2, 8, 3), nothing, positive.long(), nothing, hard_negatives).total
        == 0
    )


def test_sgrvinods_localization_is_plain_l1_and_a_mean_over_four_times_the_positives():
    """So far from the target it pushes a quarter as hard, near it as hard as far."""
    pushes = {}
    for distance in (0.1, 0.5, 5.0):
        offsets = torch.full((1, 1, 4), distance, requires_grad=True)
        target, label = torch.zeros(1, 1, 4), torch.ones(1, 1).long()
        multibox_loss(
            torch.zeros(1, 1, 3), offsets, label, target, all_negatives
        ).localization.backward()
        theirs = torch.full((1, 4), distance, requires_grad=True)
        F.l1_loss(theirs, target[0]).backward()
        pushes[distance] = offsets.grad[0, 0, 0].item(), theirs.grad[0, 0].item()
    assert pushes[0.1] == pytest.approx((0.1, 0.25))
    assert pushes[0.5] == pytest.approx((0.5, 0.25))
    assert pushes[5.0] == pytest.approx((1, 0.25))


# Network. -----------------------------------------------------------------------------------------


def test_torchvisions_highres_ends_with_maps_of_6_4_and_1():
    with torch.device("meta"):
        high = SSDFeatureExtractorVGG(vgg16(weights=None).features, highres=True)
        sides = tuple(x.shape[2] for x in high(torch.zeros(1, 3, 512, 512)).values())
    assert sides == (64, 32, 16, 8, 6, 4, 1)
    assert SSD512_VOC.maps == (64, 32, 16, 8, 4, 2, 1)


def test_torchvision_freezes_conv1_under_pretrained_weights_and_here_nothing_is_frozen():
    layers = _validate_trainable_layers(True, None, 5, 4)  # pretrained, and nothing said
    with torch.device("meta"):
        theirs = _vgg_extractor(vgg16(weights=None), False, layers)
        ours = SSD(SSD300_VOC, ["disc"])
    frozen = [name for name, p in theirs.named_parameters() if not p.requires_grad]
    assert frozen == [
        "features.0.weight",
        "features.0.bias",
        "features.2.weight",
        "features.2.bias",
    ]
    assert all(p.requires_grad for p in ours.parameters())


def test_torchvision_too_begins_fc6_and_fc7_at_random():
    """It needs no classifier to make them: the reference thins out VGG16's."""
    with torch.device("meta"):
        backbone = vgg16(weights=None)
        backbone.classifier = None
        fc6, fc7 = (_vgg_extractor(backbone, False, 5).extra[0][-1][i] for i in (1, 3))
    assert (tuple(fc6.weight.shape), tuple(fc7.weight.shape)) == (
        (1024, 512, 3, 3),
        (1024, 1024, 1, 1),
    )


def test_xaviers_bound_counts_inputs_and_outputs_where_caffes_counts_inputs():
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(
        512, 84, 3
    )  # a head: the bounds differ by a factor of nearly √(2 · 512 / 596)
    initialize(layer)
    largest, inputs, outputs = layer.weight.abs().max().item(), 512 * 9, 84 * 9
    assert largest == pytest.approx((6 / (inputs + outputs)) ** 0.5, rel=1e-3)
    assert largest / (3 / inputs) ** 0.5 == pytest.approx((2 * 512 / 596) ** 0.5, rel=1e-3)


def test_torchvisions_norm_has_a_lower_bound_and_so_has_ours_inside_the_root():
    x = torch.randn(1, 4, 1, 2, generator=torch.Generator().manual_seed(0))
    x[..., 0] = 0  # a pixel without anything

    def gradient(norm):
        inputs = x.clone().requires_grad_()
        out = norm(inputs)
        assert out[0, :, 0, 1].norm().item() == pytest.approx(20)
        assert (out[..., 0] == 0).all()
        out.sum().backward()
        return inputs.grad

    for norm in (lambda v: 20 * F.normalize(v), L2Norm(4)):
        assert gradient(norm).isfinite().all()
    outside = gradient(
        lambda v: 20 * v / (v.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
    )  # amdegroot's
    assert outside[..., 0].isnan().all()


def test_torchvisions_mean_is_the_references_to_a_thousandth_of_a_gray_level():
    theirs, ours = (255 * torch.tensor(spec.mean) for spec in (SSD300_TORCHVISION, SSD300_VOC))
    assert 0 < (theirs - ours).abs().max() < 1e-3
    assert torchvisions_ssd300().transform.image_mean == pytest.approx(SSD300_TORCHVISION.mean)


# Augmentation. ------------------------------------------------------------------------------------

PIXEL = torch.tensor([0.4, 0.24, 0.12]).view(3, 1, 1)  # red, green, blue


def ours(pixel=PIXEL, **parts):
    """distort() with parts at amounts in [0, 1], all others off; in [0, 1] as torchvision's."""
    names = ("brightness", "contrast", "saturation", "hue")
    uniforms = torch.tensor(
        [[0.0 if n in parts else 0.9 for n in names] + [parts.get(n, 0.5) for n in names] + [0.0]]
    )
    return distort(255 * pixel[None], uniforms)[0] / 255


def test_torchvision_turns_the_hue_half_as_far():
    theirs = v2.RandomPhotometricDistort()
    assert theirs.hue == (-0.05, 0.05)  # turns: ±18°, and ±36° in the reference
    torch.testing.assert_close(
        ours(hue=0.75), v2.functional.adjust_hue(PIXEL, 0.05), rtol=0, atol=1e-4
    )
    torch.testing.assert_close(
        ours(hue=1.0), v2.functional.adjust_hue(PIXEL, 0.1), rtol=0, atol=1e-4
    )


def test_the_references_hue_stops_at_red_where_ours_turns_on():
    """There it is a byte, half the degrees, that cannot fall below 0; above 180 it wraps."""
    for degrees in (4, 20, 34, 36, 60, 200, 340):
        pixel = torch.tensor(colorsys.hsv_to_rgb(degrees / 360, 0.6, 0.8)).view(3, 1, 1)
        for amount, turn in ((0.0, -36), (1.0, 36)):
            theirs = max(0, degrees // 2 + turn // 2) * 2 % 360
            found = colorsys.rgb_to_hsv(*ours(pixel, hue=amount).flatten().tolist())[0] * 360
            apart = (found - theirs + 180) % 360 - 180
            short = min(0, degrees + turn)  # what is missing of the turn
            assert apart == pytest.approx(short, abs=0.1)


def bytes_of(levels):
    """Rounded and cut, as OpenCV stores them."""
    return levels.round().clamp(0, 255)


def in_hsv_of_bytes(image, saturation=1, turn=0):
    """Changed in HSV and brought back: hue counts 0 to 179, saturation and value 0 to 255."""
    red, green, blue = image
    value, least = image.amax(dim=0), image.amin(dim=0)
    chroma = (value - least).clamp(min=1)
    hue = torch.where(value == green, 2 + (blue - red) / chroma, 4 + (red - green) / chroma)
    hue = torch.where(value == red, (green - blue) / chroma % 6, hue)
    hue = bytes_of(bytes_of(30 * hue) % 180 + turn)
    share = bytes_of(saturation * bytes_of(255 * (value - least) / value.clamp(min=1))) / 255
    places = [(n + hue / 30) % 6 for n in (5, 3, 1)]
    lacking = torch.stack([torch.minimum(x, 4 - x).clamp(0, 1) for x in places])
    return bytes_of(value - value * share * lacking)


def references_distort(image, uniforms):
    """The authors' distortion of one picture, with whole numbers after every step."""
    on, (brightness, contrast, saturation, hue) = uniforms[:4] < 0.5, uniforms[4:8]
    steps = [
        lambda x: bytes_of(x + 64 * brightness - 32),
        lambda x: bytes_of(x * (0.5 + contrast)),
        lambda x: in_hsv_of_bytes(x, saturation=0.5 + saturation),
        lambda x: in_hsv_of_bytes(x, turn=36 * hue - 18),
    ]
    for part in (0, 1, 2, 3) if uniforms[8] < 0.5 else (0, 2, 3, 1):
        image = steps[part](image) if on[part] else image
    return image


def test_colors_in_bytes_differ_from_ours_by_less_than_a_gray_level_on_average():
    """By up to ten in vivid colors, whose hue there has steps of two degrees."""
    generator = torch.Generator().manual_seed(0)
    apart = []
    for _ in range(100):
        image = torch.randint(0, 256, (3, 32, 32), generator=generator).float()
        uniforms = torch.rand(9, generator=generator)
        uniforms[7] = 0.5 + uniforms[7] / 2  # the hue only upwards: see above
        apart.append(distort(image[None], uniforms[None])[0] - references_distort(image, uniforms))
    apart = torch.stack(apart).abs()
    assert 0.1 < apart.mean() < 1
    assert 3 < apart.max() < 12


def test_torchvision_multiplies_brightness_where_the_reference_adds():
    """By 32 / 256 at most, so the two agree only for white."""
    assert v2.RandomPhotometricDistort().brightness == (1 - 32 / 256, 1 + 32 / 256)
    dark, bright = (level * torch.ones(3, 1, 1) for level in (0.1, 0.8))
    for pixel in (dark, bright):
        assert (ours(pixel, brightness=1.0) - pixel).mean().item() == pytest.approx(
            32 / 255, abs=1e-4
        )
        theirs = v2.functional.adjust_brightness(pixel, 1.125) - pixel
        assert theirs.mean().item() == pytest.approx(0.125 * pixel.mean().item(), abs=1e-4)


def test_torchvisions_contrast_and_saturation_mix_with_gray():
    """Ours multiplies all levels, and HSV's saturation."""
    picture = torch.cat([PIXEL, 2 * PIXEL], dim=2)  # (3, 1, 2)
    torch.testing.assert_close(ours(picture, contrast=0.0), picture / 2, rtol=0, atol=1e-4)
    theirs = v2.functional.adjust_contrast(picture, 0.5)
    gray = v2.functional.rgb_to_grayscale(picture).mean()
    torch.testing.assert_close(theirs, 0.5 * picture + 0.5 * gray, rtol=0, atol=1e-4)
    half = ours(saturation=0.0)
    torch.testing.assert_close(
        half, (PIXEL + PIXEL.max()) / 2, rtol=0, atol=1e-4
    )  # towards its largest
    theirs = v2.functional.adjust_saturation(PIXEL, 0.5)
    torch.testing.assert_close(
        theirs, (PIXEL + v2.functional.rgb_to_grayscale(PIXEL)) / 2, rtol=0, atol=1e-4
    )


def test_torchvision_shuffles_the_channels_with_probability_one_half():
    torch.manual_seed(0)
    only_shuffle = v2.RandomPhotometricDistort((1, 1), (1, 1), (1, 1), (0, 0), p=0.5)
    shuffled = sum(not torch.allclose(only_shuffle(PIXEL), PIXEL, atol=1e-4) for _ in range(400))
    assert shuffled / 400 == pytest.approx(
        0.5 * 5 / 6, abs=0.07
    )  # one permutation of six changes nothing
    everything = torch.cat([torch.zeros(4), torch.full((5,), 0.5)])[
        None
    ]  # all parts on, at their middles
    torch.testing.assert_close(
        distort(255 * PIXEL[None], everything)[0] / 255, PIXEL, rtol=0, atol=1e-4
    )


def test_a_crop_may_lose_every_object_here_and_never_does_in_torchvision():
    """One small object in a corner.

    Its kinds are drawn first there, and tried 40 times each; here all, 50 times.
    """
    theirs = v2.RandomIoUCrop()
    assert (theirs.min_scale, theirs.trials, theirs.options) == (
        0.3,
        40,
        [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0],
    )
    torch.manual_seed(0)
    picture = Image(torch.zeros(3, 100, 100, dtype=torch.uint8))
    box = BoundingBoxes([[2, 2, 12, 12]], format="XYXY", canvas_size=(100, 100))
    clean = v2.SanitizeBoundingBoxes(labels_getter=None)
    for _ in range(40):
        assert len(clean(*theirs(picture, box))[1]) == 1

    boxes, labels = (
        torch.tensor([[[0.02, 0.02, 0.12, 0.12]]]).repeat(300, 1, 1),
        torch.ones(300, 1).long(),
    )
    generator = torch.Generator().manual_seed(0)
    uniforms, choice = (
        torch.rand(300, CROP_UNIFORMS, generator=generator),
        torch.rand(300, 1, generator=generator),
    )
    whole = torch.tensor([0.0, 0, 1, 1]).expand(300, 4)
    window = crop(whole, boxes, labels, uniforms, choice)
    kept = (boxes_in_window(boxes, labels, window, torch.zeros(300, 1).bool())[1] > 0).sum()
    assert 0 < kept < 300


def crops_of_kind(place, count):
    """Crops of one kind, and the uniforms behind them. One object fills the picture.

    ``place`` is the kind's among all, if none has failed; the whole picture is the first.
    """
    uniforms = torch.rand(count, CROP_UNIFORMS, generator=torch.Generator().manual_seed(0))
    whole, labels = torch.tensor([0.0, 0, 1, 1]).expand(count, 4), torch.ones(count, 1).long()
    choice = torch.full((count, 1), (place + 0.5) / 7)
    windows = crop(whole, whole[:, None], labels, uniforms, choice)
    return windows, uniforms.view(count, len(MIN_OVERLAPS), TRIALS, 4)


def test_a_crops_ratio_is_drawn_from_what_fits_and_rarely_spans_a_full_side():
    """As by the authors' code until April 2017; since then it is drawn from 1/2 to 2, and clamped.

    Then nearly a quarter of the trials span a full side.
    """
    windows, uniforms = crops_of_kind(6, 4000)  # any crop: its first trial
    width, height = (windows[:, 2:] - windows[:, :2]).unbind(1)
    scale, drawn = 0.3 + 0.7 * uniforms[:, -1, 0, 0], uniforms[:, -1, 0, 1]
    fits = [scale.square().clamp(min=0.5), (1 / scale.square()).clamp(max=2)]
    clamped = (0.5 + 1.5 * drawn).clamp(scale.square(), 1 / scale.square())
    torch.testing.assert_close(
        width / height, fits[0] + (fits[1] - fits[0]) * drawn, rtol=1e-3, atol=0
    )
    full = [
        (torch.maximum(w, h) > 1 - 1e-4).float().mean().item()
        for w, h in ((width, height), (scale * clamped.sqrt(), scale / clamped.sqrt()))
    ]
    assert full[0] < 0.01
    assert full[1] == pytest.approx(0.23, abs=0.02)


def test_amdegroots_kinds_of_crop_lack_the_one_with_an_iou_of_a_half():
    """So do lufficc's and qfgaohao's: 0.1, 0.3, 0.7, 0.9, any, and the whole picture."""
    least = []
    for place in range(1, 7):
        windows, uniforms = crops_of_kind(place, 300)
        strictest_worked = ((0.3 + 0.7 * uniforms[:, 4, :, 0]).square() > 0.9).any(dim=1)
        reached = iou(windows[strictest_worked], torch.tensor([[0.0, 0, 1, 1]])).min().item()
        least.append(max(k for k in (0, 0.1, 0.3, 0.5, 0.7, 0.9) if k <= reached))
    theirs = [0.1, 0.3, 0.7, 0.9, 0]
    assert sorted(least) == sorted([*theirs, 0.5])


# Inference. ---------------------------------------------------------------------------------------


def test_torchvisions_thresholds_are_the_references():
    theirs, mine = (inspect.signature(f).parameters for f in (TorchvisionSSD.__init__, postprocess))
    names = {
        "score_thresh": "score_threshold",
        "nms_thresh": "iou_threshold",
        "topk_candidates": "per_class",
        "detections_per_img": "per_image",
    }
    assert (
        [theirs[a].default for a in names]
        == [mine[b].default for b in names.values()]
        == [0.01, 0.45, 400, 200]
    )


def random_answers(spec):
    """Logits of five classes, offsets, and the default boxes they are about."""
    generator = torch.Generator().manual_seed(0)
    defaults = make_default_boxes(spec)
    logits, offsets = (torch.randn(1, len(defaults), n, generator=generator) for n in (6, 4))
    return 2 * logits, offsets, defaults


@pytest.mark.parametrize("limits", [{"per_class": 200}, {"per_image": 100}])
def test_others_candidates_change_only_the_end_of_the_list(limits):
    """amdegroot: 200 of a class; lufficc: 100 kept. What stays, stays in its order."""
    answers = random_answers(LITE)
    whole, few = (postprocess(*answers, LITE, **more)[1][0] for more in ({}, limits))
    first = int((few > 0).sum())
    assert 0 < first <= int((whole > 0).sum())
    torch.testing.assert_close(few[: min(first, 100)], whole[: min(first, 100)])


def test_mmdetection_chooses_pairs_of_box_and_class_on_each_map():
    """The 1000 best above 0.02, whatever their class, where we take 400 of each class of all maps.

    Down to the score of the first pair that one of the rules leaves out, both say the same.
    """
    logits, offsets, defaults = random_answers(SSD300_VOC)
    boxes, scores = decode_boxes(offsets, defaults, SSD300_VOC)[0], logits[0].softmax(dim=1)[:, 1:]
    pairs, left_out, start = [], 0.02, 0
    for m, k in zip(SSD300_VOC.maps, SSD300_VOC.boxes_per_cell):
        end = start + m * m * k
        here = [
            (s, a, c)
            for a, row in enumerate(scores[start:end].tolist(), start)
            for c, s in enumerate(row, 1)
        ]
        here.sort(reverse=True)
        pairs += [pair for pair in here[:1000] if pair[0] > 0.02]
        left_out, start = max([left_out, *(s for s, _, _ in here[1000:1001])]), end
    left_out = max(left_out, scores.sort(dim=0, descending=True).values[400].max().item())  # by us
    pairs.sort(reverse=True)
    best, index, labels = (torch.tensor([column]) for column in zip(*pairs))
    keep = batched_nms(boxes[index], labels, 0.45)
    _, theirs, _ = compact(boxes[index], best, labels, keep, per_image=200)
    mine = postprocess(logits, offsets, defaults, SSD300_VOC, per_image=200)[1]
    same = int((mine > left_out).sum())
    assert 0 < same == (theirs > left_out).sum()
    torch.testing.assert_close(theirs[0, :same], mine[0, :same])
    assert (index[0] < 38 * 38 * 4).sum() == 1000  # the finest map has more to say


# Evaluation. --------------------------------------------------------------------------------------


def test_to_count_the_last_pixel_too_makes_a_hit_of_a_miss():
    """VOC's own program: x1 - x0 + 1. Two boxes of a public example, whose bar is 0.3."""
    found, real = torch.tensor([[109.0, 15, 186, 54]]), torch.tensor([[123.0, 30, 172, 74]])
    verdicts = []
    for more, expected in ((0, 0.2953), (1, 0.3034)):
        a, b = (torch.cat([box[:, :2], box[:, 2:] + more], dim=1) for box in (found, real))
        assert iou(a, b).item() == pytest.approx(expected, abs=1e-4)
        seen = Detections(a, torch.tensor([0.18]), torch.tensor([1]))
        truth = GroundTruth(b, torch.tensor([1]), torch.tensor([False]))
        verdicts += match_voc(seen, truth, threshold=0.3).tolist()
    assert verdicts == [0, 1]


@pytest.mark.parametrize("found", range(1, 11))
def test_the_references_recalls_of_7_and_9_tenths_miss_their_level(found):
    """There recall is a float32, and 7/10 and 9/10 are then below 0.7 and 0.9."""
    recall = float(np.float32(found) / np.float32(10))
    theirs = sum(recall >= j / 10 for j in range(11)) / 11  # precision is 1 throughout
    mine = average_precision(*precision_recall(np.array([True] * found), 10), "11-point")
    assert mine == pytest.approx((found + 1) / 11)
    assert mine - theirs == pytest.approx(1 / 11 if found in (7, 9) else 0)


# Training. ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipe, left", [(PAPER, 100), (LITE_RECIPE, 10)], ids=["PAPER", "LITE_RECIPE"]
)
def test_the_lite_recipe_clips_the_gradient_and_the_papers_does_not(recipe, left):
    """With a loss whose gradient has the length 100."""
    torch.manual_seed(0)
    model, batch = SSD(LITE, Shapes.classes), collate([Shapes(1, 0, LITE.image_size)[0]])

    def objective(*_):
        total, none = 100 * parameters_to_vector(model.parameters()).norm(), torch.zeros(())
        return MultiBoxLoss(total, total, none, none, none)

    train_step(model, model, make_optimizer(model, recipe), batch, 0, recipe, objective)
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert gradient.norm().item() == pytest.approx(left, rel=1e-3)


def test_momentum_differs_only_in_the_steps_after_the_rate_falls():
    """Caffe keeps rate times gradient in its velocity; PyTorch multiplies the velocity by the rate.

    So there the old rate acts on for a while: nine times too much at first, after 60 steps by 2%.
    """
    recipe = replace(PAPER, steps=400, milestones=(0.5,), weight_decay=0)
    weight = torch.nn.Linear(1, 1, bias=False)
    optimizer = make_optimizer(weight, recipe)
    pytorchs = caffes = 0.0
    share = []
    for step in range(300):
        rate = learning_rate(step, recipe)
        for group in optimizer.param_groups:
            group["lr"] = group["lr_scale"] * rate
        before = weight.weight.item()
        weight.weight.grad = torch.ones(1, 1)
        optimizer.step()
        pytorchs = 0.9 * pytorchs + 1
        caffes = 0.9 * caffes + rate
        assert before - weight.weight.item() == pytest.approx(rate * pytorchs, rel=0.02)
        share.append(caffes / (rate * pytorchs))
    assert share[:200] == pytest.approx([1] * 200)
    assert share[200] == pytest.approx(9.1, abs=0.05)
    assert share[259] == pytest.approx(1.016, abs=0.002)
    assert share[299] == pytest.approx(1, abs=1e-3)
