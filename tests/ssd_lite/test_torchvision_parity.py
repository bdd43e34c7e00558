"""With torchvision's SSD300 weights the package gives torchvision's answers, to rounding."""

from contextlib import contextmanager
from functools import cache

import pytest
import torch
from torchvision.models.detection import SSD300_VGG16_Weights, ssd300_vgg16

from ssd_lite.checkpoint import load_model
from ssd_lite.detection import Detections, detect
from ssd_lite.model import SSD
from ssd_lite.spec import LITE, SSD300_VOC, SSD512_VOC
from ssd_lite.torchvision_weights import from_torchvision, to_torchvision

SIZES = [
    (300, 300),
    (200, 333),
    (640, 427),
    (480, 640),
    (97, 51),
    (300, 500),
    (31, 280),
    (375, 250),
]
CLASSES = 91  # with background


@cache
def models():
    """torchvision's SSD300 with random weights, and ours with the same."""
    torch.manual_seed(0)
    theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=CLASSES).eval()
    for module in theirs.head.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.data /= 2  # logits of ordinary size
            torch.nn.init.normal_(module.bias, std=0.1)
    ours = from_torchvision(theirs.state_dict())
    return [
        model.to(memory_format=torch.channels_last) for model in (theirs, ours)
    ]  # which is faster


@cache
def pictures():
    """Shaded pictures of eight sizes: unlike noise, they survive being resized."""
    generator, images = torch.Generator().manual_seed(0), []
    for size in SIZES:
        coarse = 255 * torch.rand(1, 3, 6, 6, generator=generator)
        images.append(
            torch.nn.functional.interpolate(coarse, size, mode="bicubic")[0].clamp(0, 255).byte()
        )
    return images


@cache
@torch.inference_mode()
def features():
    """What the heads look at, in both networks; computed once, for it takes most of the time."""
    theirs, ours = models()
    images = theirs.transform([image / 255 for image in pictures()])[0]
    maps = ours.base(ours.preprocess(pictures()))
    for extra in ours.extras:
        maps.append(extra(maps[-1]))
    return theirs.backbone(images.tensors), maps


def only_heads(monkeypatch):
    """Both networks; what comes before the heads is remembered."""
    theirs, ours = models()
    by_theirs, by_ours = features()
    monkeypatch.setattr(theirs.backbone, "forward", lambda _: by_theirs)
    monkeypatch.setattr(ours.base, "forward", lambda _: by_ours[:2])
    for extra, answer in zip(ours.extras, by_ours[2:], strict=True):
        monkeypatch.setattr(extra, "forward", lambda _, answer=answer: answer)
    return theirs, ours


@torch.inference_mode()
def test_logits_and_offsets_are_torchvisions(monkeypatch):
    theirs, ours = only_heads(monkeypatch)
    expected = theirs.head(list(theirs.backbone(None).values()))
    logits, offsets = ours(torch.zeros(8, 3, 300, 300))
    torch.testing.assert_close(logits, expected["cls_logits"], rtol=0, atol=1e-4)
    torch.testing.assert_close(offsets, expected["bbox_regression"], rtol=0, atol=1e-4)
    assert min(logits.std(), offsets.std()) > 0.01


def without_partner(a, b):
    """Detections of ``a`` for which ``b`` has no equal.

    An equal has the same label, the box to 0.01 pixels, and the score to 1e-4.
    """
    near = (a.boxes[:, None] - b.boxes).abs().amax(dim=2) <= 0.01
    alike = near & (a.labels[:, None] == b.labels) & ((a.scores[:, None] - b.scores).abs() <= 1e-4)
    return ~alike.any(dim=1)


@contextmanager
def other_logits(layers, factor, background):
    """For a while, let layers give ``factor`` times their logits, and more for background."""
    before = [(layer.weight.clone(), layer.bias.clone()) for layer in layers]
    for layer in layers:
        layer.weight.data *= factor
        layer.bias.data *= factor
        layer.bias.data[::CLASSES] += background
    yield
    for layer, (weight, bias) in zip(layers, before):
        layer.weight.data, layer.bias.data = weight, bias


HEADS = {  # factor of all logits, addition to that of background
    "flat scores, near 1/91": (0.04, 0),
    "sure of something everywhere": (2, 0),
    "sure of a few boxes": (2, 20),
}


@pytest.mark.parametrize("factor, background", HEADS.values(), ids=HEADS)
@torch.inference_mode()
def test_detections_are_torchvisions(factor, background, monkeypatch):
    """In eight pictures of different sizes, as sets, for scores may tie.

    At most 200 are kept, so a tie at the 200th place may be broken in either way: only there may
    the sets differ.
    """
    theirs, ours = only_heads(monkeypatch)
    with other_logits(
        (*theirs.head.classification_head.module_list, *ours.logits), factor, background
    ):
        expected = [Detections(**found) for found in theirs([image / 255 for image in pictures()])]
        answers = detect(ours, pictures())
    for a, b in zip(expected, answers, strict=True):
        assert len(a.scores) == len(b.scores) > 0
        for one, other in ((a, b), (b, a)):
            strangers = one.scores[without_partner(one, other)]
            assert (strangers - one.scores[199:].sum()).abs().le(1e-6).all()


def test_a_state_dict_there_and_back_is_the_same():
    theirs, ours = models()
    expected, found = theirs.state_dict(), to_torchvision(ours)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_load_reads_a_state_dict_from_a_file(tmp_path):
    theirs, ours = models()
    torch.save(theirs.state_dict(), tmp_path / "ssd300.pth")
    found = load_model(tmp_path / "ssd300.pth")
    assert all(
        torch.equal(a, b) for a, b in zip(found.parameters(), ours.parameters(), strict=True)
    )
    assert found.classes == tuple(str(i) for i in range(1, 91))
    assert not found.training


def test_load_coco_takes_torchvisions_download_and_its_class_names(monkeypatch):
    asked, theirs = [], models()[0].state_dict()
    download = lambda self, **options: asked.append((self, options)) or theirs  # noqa: E731
    monkeypatch.setattr(SSD300_VGG16_Weights, "get_state_dict", download)
    model = load_model("coco")
    assert asked == [(SSD300_VGG16_Weights.COCO_V1, {"check_hash": True})]
    assert len(model.classes) == 90
    assert model.classes[:3] == ("person", "bicycle", "car")


def test_a_state_dict_with_other_classes_than_were_named_is_refused():
    with pytest.raises(
        ValueError, match="state_dict: not torchvision's ssd300_vgg16 for 2 classes"
    ):
        from_torchvision(models()[0].state_dict(), ["disc", "square"])


def test_a_state_dict_with_a_weight_too_few_is_refused():
    state = models()[0].state_dict()
    del state["backbone.extra.2.0.weight"]
    with pytest.raises(
        ValueError, match=r"(?s)state_dict: not torchvision's ssd300_vgg16.*extras\.1\.0\.weight"
    ):
        from_torchvision(state)


@pytest.mark.parametrize("spec", [LITE, SSD512_VOC], ids=lambda spec: spec.name)
def test_only_an_ssd300_goes_to_torchvision(spec):
    with torch.device("meta"):
        model = SSD(spec, ["disc"])
    with pytest.raises(
        ValueError, match=f"model: {spec.name} is not an SSD300, and torchvision has no other"
    ):
        to_torchvision(model)


def test_an_ssd300_with_other_default_boxes_goes_there_too():
    """Its weights have the same names and shapes; a reader may train with the paper's boxes."""
    with torch.device("meta"):
        names = to_torchvision(SSD(SSD300_VOC, ["disc"])).keys()
    assert names == models()[0].state_dict().keys()
