"""Chapter 7: the network, and the order in which it answers."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models.detection import ssd300_vgg16
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from ssd_lite import model as model_module
from ssd_lite import spec as spec_module
from ssd_lite.bases import L2Norm, LiteBase, VGG16Base
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.model import SSD, flatten_head, resize
from ssd_lite.spec import LITE, SSD300_COCO, SSD300_TORCHVISION, SSD300_VOC, SSD512_VOC, SSDSpec

SPECS = [value for value in vars(spec_module).values() if isinstance(value, SSDSpec)]
SIZE = LITE.image_size


def on_meta(spec, classes):
    """A network without weights: shapes only, at no cost."""
    with torch.device("meta"):
        return SSD(spec, classes)


def lite(classes=("disc", "square")):
    torch.manual_seed(0)
    return SSD(LITE, classes)


class SaysItsDefaultBox(nn.Module):
    """Stands in for the offsets head of a level.

    In box k's four channels it writes default box k of each cell.
    """

    def __init__(self, spec, level):
        super().__init__()
        self.step = spec.steps[level]
        size, next_size = spec.sizes[level : level + 2]
        self.shapes = [(size, size), ((size * next_size) ** 0.5,) * 2]
        for ratio in spec.ratios[level]:
            wide = (size * ratio**0.5, size / ratio**0.5)
            self.shapes += [wide, wide[::-1]]
        self.image_size = spec.image_size

    def forward(self, x):
        height, width = x.shape[2:]
        channels = torch.zeros(len(x), 4 * len(self.shapes), height, width)
        for k, (w, h) in enumerate(self.shapes):
            channels[:, 4 * k + 0] = (torch.arange(width) + 0.5) * self.step
            channels[:, 4 * k + 1] = (torch.arange(height)[:, None] + 0.5) * self.step
            channels[:, 4 * k + 2] = w
            channels[:, 4 * k + 3] = h
        return channels / self.image_size


def test_one_mark_in_one_channel_at_one_cell_arrives_at_its_default_box():
    boxes, values, height, width = 4, 3, 5, 6
    for k, value, row, column in [
        (0, 0, 0, 0),
        (1, 2, 0, 3),
        (2, 1, 4, 0),
        (3, 2, 4, 5),
        (0, 1, 2, 2),
    ]:
        x = torch.zeros(2, boxes * values, height, width)
        x[1, k * values + value, row, column] = 1
        place = (row * width + column) * boxes + k
        assert flatten_head(x, values).nonzero().tolist() == [[1, place, value]]


def test_bug_the_heads_permute_and_view_in_the_wrong_order():
    """A bare view has the right shape and mixes the values of different cells.

    Nothing fails, and nothing learns.
    """
    x = torch.arange(2 * 3 * 4 * 4).view(1, 6, 4, 4).float()  # 2 boxes of 3 values, 4 × 4 cells
    assert flatten_head(x, 3)[0, 0].tolist() == x[0, :3, 0, 0].tolist()
    assert flatten_head(x, 3)[0, 1].tolist() == x[0, 3:, 0, 0].tolist()
    assert flatten_head(x, 3)[0, 2].tolist() == x[0, :3, 0, 1].tolist()
    assert not torch.equal(flatten_head(x, 3), x.view(1, 32, 3))


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_a_head_that_says_its_own_default_box_says_it_at_that_boxs_place(spec):
    spec = replace(spec, clip_sizes=False)
    model = on_meta(spec, ["disc"])
    model.offsets = nn.ModuleList(SaysItsDefaultBox(spec, level) for level in range(len(spec.maps)))
    offsets = model(torch.zeros(1, 3, spec.image_size, spec.image_size, device="meta"))[1]
    torch.testing.assert_close(offsets[0], make_default_boxes(spec))


def test_the_logits_have_the_order_of_the_offsets():
    """Both heads of a level copy the same channel; the same default boxes must hear of it."""
    model = lite(["disc", "square", "ring"])  # with background 4 logits, as many as offsets
    for logits, offsets in zip(model.logits, model.offsets):
        logits.load_state_dict(offsets.state_dict())
    logits, offsets = model(torch.randn(2, 3, SIZE, SIZE))
    assert torch.equal(logits, offsets)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_every_map_has_the_size_that_the_spec_says(spec):
    model = on_meta(spec, ["disc"])
    maps = model.base(torch.zeros(1, 3, spec.image_size, spec.image_size, device="meta"))
    for extra in model.extras:
        maps.append(extra(maps[-1]))
    assert [tuple(x.shape[2:]) for x in maps] == [(m, m) for m in spec.maps]


@pytest.mark.parametrize(
    "spec, count", [(SSD300_VOC, 8732), (SSD512_VOC, 24564)], ids=["SSD300", "SSD512"]
)
def test_output_shapes(spec, count):
    model = on_meta(spec, [f"class {i}" for i in range(20)])
    logits, offsets = model(torch.zeros(2, 3, spec.image_size, spec.image_size, device="meta"))
    assert logits.shape == (2, count, 21)
    assert offsets.shape == model.default_boxes.expand(2, -1, -1).shape == (2, count, 4)


def test_with_torchvisions_weights_the_network_answers_as_torchvisions():
    with torch.device("meta"):  # their own initial weights take ten seconds
        theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=3)
    theirs.to_empty(device="cpu").requires_grad_(False)
    torch.manual_seed(0)
    for weight in theirs.parameters():
        weight.uniform_(-1, 1).mul_((6 / weight[0].numel()) ** 0.5 if weight.dim() == 4 else 1)
    ours = on_meta(SSD300_TORCHVISION, ["disc", "square"])
    weights = dict(theirs.named_parameters())
    norm = weights.pop("backbone.scale_weight")
    rest = [
        name for name, _ in ours.named_parameters() if name != "base.norm.weight"
    ]  # both in order of use
    ours.load_state_dict(
        {"base.norm.weight": norm, **dict(zip(rest, weights.values(), strict=True))}, assign=True
    )

    images = torch.randn(1, 3, 300, 300)
    with torch.inference_mode():
        logits, offsets = ours(images)
        expected = theirs.head(list(theirs.backbone(images).values()))
    torch.testing.assert_close(logits, expected["cls_logits"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(offsets, expected["bbox_regression"], rtol=1e-3, atol=1e-4)
    assert logits.std() > 0.01


def test_as_many_parameters_as_torchvisions_ssd300():
    with torch.device("meta"):
        theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=91)
    ours = on_meta(SSD300_COCO, [f"class {i}" for i in range(90)])
    shapes = [sorted(tuple(p.shape) for p in model.parameters()) for model in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert sum(p.numel() for p in ours.parameters()) == pytest.approx(35.6e6, rel=0.01)


def test_bug_background_off_by_one_amdegroot_17():
    """Two classes make three logits; background is not named, and is class 0."""
    model = lite(["disc", "square"])
    assert model.classes == ("disc", "square")
    assert model(torch.zeros(1, 3, SIZE, SIZE))[0].shape[2] == 3


def test_bug_priors_on_the_wrong_device_or_rebuilt_at_every_call_qfgaohao_8(monkeypatch):
    model = lite()
    monkeypatch.setattr(model_module, "make_default_boxes", None)  # a second call would fail
    before = model.default_boxes.data_ptr()
    model(torch.zeros(1, 3, SIZE, SIZE))
    assert model.default_boxes.data_ptr() == before
    model.to("meta")
    assert {buffer.device.type for buffer in model.buffers()} == {"meta"}


def test_default_boxes_and_colors_are_not_stored_with_the_weights():
    model = lite()
    assert {"default_boxes", "mean", "std"} == {name for name, _ in model.named_buffers()}
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


def test_bug_epsilon_outside_the_root_amdegroot_419():
    """The gradient at an all-zero pixel was NaN."""
    x = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    x[:, :, 0, 0] = 0
    x.requires_grad_()
    y = L2Norm(4)(x)
    y.sum().backward()
    assert (y[:, :, 0, 0] == 0).all()
    assert x.grad.isfinite().all()


def test_l2norm_gives_every_pixel_the_length_20_at_first():
    x = torch.randn(2, 64, 3, 3, generator=torch.Generator().manual_seed(0)) * 100
    torch.testing.assert_close(L2Norm(64)(x).norm(dim=1), torch.full((2, 3, 3), 20.0))


def test_l2norm_scales_each_channel_by_itself():
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    norm = L2Norm(3)
    norm.weight.data = torch.tensor([1.0, 2, 3])
    expected = nn.functional.normalize(x, dim=1) * torch.tensor([1.0, 2, 3]).view(1, 3, 1, 1)
    torch.testing.assert_close(norm(x), expected)


def test_l2norm_of_half_precision_does_not_overflow():
    """512 · 300² is above the largest float16, 65,504."""
    y = L2Norm(512)(torch.full((1, 512, 1, 1), 300, dtype=torch.float16))
    assert y.dtype == torch.float16
    torch.testing.assert_close(
        y.float(), torch.full((1, 512, 1, 1), 20 / 512**0.5), rtol=1e-3, atol=0
    )


def test_initial_scores_do_not_depend_on_the_neighbors_in_the_batch():
    """Not even in training: the lite model normalizes groups of channels, not batches."""
    model = lite().train()
    images = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(images)[0][1:2], model(images[1:2])[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("base, size", [(VGG16Base, 300), (LiteBase, SIZE)])
def test_a_base_announces_its_channels(base, size):
    with torch.device("meta"):
        maps = base()(torch.zeros(1, 3, size, size))
    assert tuple(x.shape[1] for x in maps) == base.channels


def test_vgg16s_first_map_is_normalized_and_the_second_comes_from_before_the_norm():
    base = VGG16Base()
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first, second = base(images)
        torch.testing.assert_close(first, base.norm(base.conv4_3(images)))
        torch.testing.assert_close(second, base.fc7(base.conv4_3(images)))


def test_preprocess_of_a_picture_of_the_right_size_only_normalizes():
    picture = torch.randint(
        0, 256, (3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (LITE.mean, LITE.std))
    torch.testing.assert_close(lite().preprocess([picture])[0], (picture / 255 - mean) / std)


def test_the_vgg_specs_normalize_to_gray_levels_minus_the_mean():
    """As the authors' weights expect them, but in the order red, green, blue."""
    picture = torch.full((3, 300, 300), 200, dtype=torch.uint8)
    model = SSD(replace(SSD300_VOC, base="lite"), ["disc"])
    expected = torch.tensor([200 - 123.0, 200 - 117, 200 - 104])
    torch.testing.assert_close(
        model.preprocess([picture])[0, :, 150, 150], expected, rtol=0, atol=1e-3
    )


def test_preprocess_makes_one_batch_of_pictures_of_any_size():
    pictures = [
        torch.full((3, h, w), 10 * i, dtype=torch.uint8)
        for i, (h, w) in enumerate([(50, 200), (SIZE, SIZE), (1, 1)])
    ]
    batch = lite().preprocess(pictures)
    assert batch.shape == (3, 3, SIZE, SIZE)
    assert [len(image.unique()) for image in batch] == [1, 1, 1]
    assert lite().preprocess([]).shape == (0, 3, SIZE, SIZE)


def test_normalize_takes_bytes_and_floats_of_0_to_255():
    picture = torch.randint(
        0, 256, (2, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(lite().normalize(picture), lite().normalize(picture.float()))


def test_resize_warps_whatever_the_shape():
    """The left half is black and the right half white, in a wide picture and in its square."""
    picture = torch.zeros(1, 1, 20, 80)
    picture[..., 40:] = 255
    square = resize(picture, 16, antialias=True)
    assert square.shape == (1, 1, 16, 16)
    assert (square[..., :6] < 0.01).all()
    assert (square[..., 10:] > 254.99).all()


@pytest.mark.parametrize("antialias", [True, False])
def test_stripes_of_one_pixel_turn_gray_only_with_antialiasing(antialias):
    stripes = torch.tensor([0.0, 255]).repeat(48).expand(1, 1, 96, 96)
    gray = resize(stripes, 32, antialias)[..., 4:-4, 4:-4]
    assert (gray.std() < 50) == antialias


def test_preprocess_of_the_torchvision_spec_is_torchvisions_own():
    mean, std = ([*v] for v in (SSD300_TORCHVISION.mean, SSD300_TORCHVISION.std))
    theirs = GeneralizedRCNNTransform(300, 300, mean, std, size_divisible=1, fixed_size=(300, 300))
    pictures = [
        torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in ((200, 333), (640, 427))
    ]
    model = on_meta(SSD300_TORCHVISION, ["disc"])
    model.mean, model.std = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))
    expected = theirs([picture / 255 for picture in pictures])[0].tensors
    torch.testing.assert_close(model.preprocess(pictures), expected, rtol=0, atol=0.01)  # of 255


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(3, 8, 8),
        torch.zeros(1, 8, 8).byte(),
        torch.zeros(8, 8, 3).byte(),
        torch.zeros(1, 3, 8, 8).byte(),
    ],
)
def test_preprocess_names_the_picture_of_the_wrong_shape_or_type(wrong):
    good = torch.zeros(3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"images\[1\]: expected uint8 of shape \(3, H, W\)"):
        undecorated(SSD.preprocess)(lite(), [good, wrong])


@pytest.mark.parametrize("shape", [(1, 3, 300, 300), (1, 3, SIZE, SIZE // 2), (1, 1, SIZE, SIZE)])
def test_the_network_refuses_images_of_another_size_and_says_what_makes_them(shape):
    with pytest.raises(
        ValueError, match=rf"images: LITE expects shape \(B, 3, {SIZE}, {SIZE}\), got .*preprocess"
    ):
        undecorated(SSD.forward)(lite(), torch.zeros(shape))


@pytest.mark.parametrize("classes", [[], (), "disc", "", 20, 0])
def test_classes_must_be_a_list_of_names(classes):
    with pytest.raises(
        ValueError, match="classes: expected a list or tuple of names, one or more, got"
    ):
        undecorated(SSD.__init__)(SSD.__new__(SSD), LITE, classes)


def test_a_spec_with_other_maps_than_the_networks_is_told_the_networks():
    wrong = replace(LITE, maps=(24, 12, 6, 3, 1, 1))
    with pytest.raises(
        ValueError,
        match=r"LITE: its maps are said to have \(24, .*the network's have \(24, 12, 6, 3, 2, 1\)",
    ):
        SSD(wrong, ["disc"])(torch.zeros(1, 3, SIZE, SIZE))


def test_no_images_give_no_answers():
    logits, offsets = lite()(torch.zeros(0, 3, SIZE, SIZE))
    assert logits.shape == (0, len(lite().default_boxes), logits.shape[2]) and offsets.shape[0] == 0


def undecorated(function):
    """The function without the shape checks of the test run, which would speak first.

    A reader's program has it like this.
    """
    return getattr(function, "__wrapped__", function)
