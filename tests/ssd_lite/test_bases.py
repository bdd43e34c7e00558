"""Bases from torchvision's classifiers, and specs for any picture size."""

import re
from dataclasses import replace

import pytest
import torch
import torchvision

from ssd_lite.bases import BASES
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.design import make_spec
from ssd_lite.loss import multibox_loss
from ssd_lite.model import SSD
from ssd_lite.recipe import LITE_RECIPE, freeze, make_optimizer
from ssd_lite.spec import SSD300_COCO, SSD300_VOC, SSD512_VOC
from ssd_lite.torchvision_weights import load_imagenet_weights, read_state_dict
from tests.conftest import DATA

CLASSIFIERS = {
    "mobilenet": torchvision.models.mobilenet_v2,
    "resnet18": torchvision.models.resnet18,
}
PLACES = {  # what of the classifier gives each map
    "mobilenet": ("features.7.conv.0", "features.14.conv.0", "features.18"),
    "resnet18": ("layer2", "layer3", "layer4"),
}


def small(base="mobilenet", classes=("a", "b")):
    torch.manual_seed(0)
    return SSD(make_spec(base, 64), classes)


@pytest.mark.parametrize("base", CLASSIFIERS)
def test_a_base_gives_the_classifiers_own_features(base):
    """With weights that are not the ones it began with, and in the eyes of a classifier's user."""
    torch.manual_seed(0)
    theirs = CLASSIFIERS[base]().eval()
    for norm in (m for m in theirs.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 2)
    seen = {}
    for place in PLACES[base]:
        theirs.get_submodule(place).register_forward_hook(
            lambda module, inputs, output, place=place: seen.update({place: output})
        )
    model = small(base).eval()
    load_imagenet_weights(model, theirs.state_dict())
    images = torch.randn(2, 3, 64, 96)
    theirs(images)
    maps = model.base(images)
    assert [x.shape[1] for x in maps] == list(model.base.channels)
    for ours, place in zip(maps, PLACES[base]):
        torch.testing.assert_close(ours, seen[place], atol=1e-5, rtol=0)


def test_the_published_weights_of_mobilenet_fit(do_without):
    path = DATA / "mobilenet_v2" / "mobilenet_v2-b0353104.pth"
    if not path.is_file():
        do_without(f"MobileNetV2's weights are not in {path}; torchvision downloads them")
    weights = read_state_dict(path)
    theirs = torchvision.models.mobilenet_v2()
    theirs.load_state_dict(weights)
    model = small()
    load_imagenet_weights(model, weights)
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = theirs.eval().features(image)
        torch.testing.assert_close(model.eval().base(image)[-1], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("size", [64, 97, 224, 300, 320, 512])
def test_a_spec_for_any_base_and_size_is_what_the_network_does(base, size):
    spec = make_spec(base, size)
    with torch.device("meta"):
        logits, offsets = SSD(spec, ["a"])(torch.empty(1, 3, size, size))
    assert logits.shape[1] == offsets.shape[1] == len(make_default_boxes(spec))
    assert spec.maps[-1] == 1
    assert spec.steps[: len(BASES[base][0].strides)] == BASES[base][0].strides
    assert list(spec.sizes) == sorted(spec.sizes)
    outside = [step * (side - 0.5) - size for side, step in zip(spec.maps, spec.steps)]
    assert max(outside) <= 0.5 * spec.steps[2]  # no cell's center lies far out


@pytest.mark.parametrize(
    "spec, percents",
    [(SSD300_VOC, (10, 20, 90)), (SSD300_COCO, (7, 15, 90)), (SSD512_VOC, (7, 15, 90))],
    ids=lambda x: getattr(x, "name", ""),
)
def test_with_the_papers_numbers_it_gives_the_papers_boxes(spec, percents):
    ours = make_spec("vgg16", spec.image_size, percents, spec.extras, spec.steps)
    assert (ours.maps, ours.sizes, ours.ratios) == (spec.maps, spec.sizes, spec.ratios)
    assert torch.equal(make_default_boxes(ours), make_default_boxes(spec))


@pytest.mark.parametrize(
    "base, size, message",
    [
        ("vgg19", 300, "base: expected one of vgg16, lite, mobilenet, resnet18, got 'vgg19'"),
        ("mobilenet", 8, "image_size: 8 pixels leave mobilenet too few maps"),
        ("vgg16", 4, "image_size: 4 pixels leave vgg16 too few maps"),
    ],
)
def test_what_cannot_be_made_is_refused(base, size, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_spec(base, size)


# ---- freezing


def one_step(model, recipe):
    """Train one step on noise; returns the names of what has changed, buffers too."""
    before = {name: x.clone() for name, x in model.state_dict().items()}
    optimizer = make_optimizer(model, recipe)
    model.train()
    logits, offsets = model(torch.randn(2, 3, 64, 64))
    labels = torch.randint(0, 3, logits.shape[:2])
    multibox_loss(
        logits,
        offsets,
        labels,
        torch.randn_like(offsets),
        choose_negatives=lambda losses, labels: labels == 0,
    ).total.backward()
    optimizer.step()
    return {name for name, x in model.state_dict().items() if not torch.equal(x, before[name])}


@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("stages", [0, 2, 4])
def test_frozen_stages_and_norms_keep_every_number(stages, norms):
    model = small("resnet18")
    changed = one_step(model, replace(LITE_RECIPE, freeze=stages, freeze_norms=norms))
    first = tuple(f"base.stride{2**k}." for k in range(2, 2 + stages))
    assert not any(name.startswith(first) for name in changed if first)
    moved_norms = {name for name in changed if re.search(r"base.*(bn\d|downsample\.1)\.", name)}
    assert bool(moved_norms) == (not norms and stages < 4)
    others = {n for n, p in model.named_parameters() if not n.startswith(("base.",))}
    assert others <= changed
    open_convolutions = {
        name
        for name, p in model.named_parameters()
        if p.dim() == 4 and name.startswith("base.") and not (first and name.startswith(first))
    }
    assert open_convolutions <= changed
    model.eval()
    model.train()
    frozen = [m for m in model.base.modules() if isinstance(m, torch.nn.BatchNorm2d) and norms]
    assert not any(norm.training for norm in frozen)


def test_more_stages_than_there_are_cannot_be_frozen():
    with pytest.raises(ValueError, match="freeze: the base has 4 stages, not 5"):
        freeze(small().base, replace(LITE_RECIPE, freeze=5))


def test_the_base_has_its_own_rate():
    model = small()
    optimizer = make_optimizer(model, replace(LITE_RECIPE, base_rate=0.1, freeze=1))
    scale = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    for name, p in model.named_parameters():
        if name.startswith("base.stride4."):
            assert id(p) not in scale
        else:
            assert scale[id(p)] == (0.1 if name.startswith("base.") else 1), name
    assert len(scale) == sum(len(group["params"]) for group in optimizer.param_groups)
