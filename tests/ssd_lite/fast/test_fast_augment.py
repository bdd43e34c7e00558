"""Appendix F: augmentation a few pictures at a time, against the plain one."""

import pytest
import torch

from ssd_lite import fast
from ssd_lite.augment import PARTS, UNIFORMS_PER_IMAGE, augment_batch
from ssd_lite.fast import augment as fast_augment
from ssd_lite.shapes import Shapes

MEAN, SIZE = torch.tensor([123.0, 117.0, 104.0]).view(3, 1, 1), 40


def scenes(count, size=160):
    """Scenes four times as wide as what is wanted, so that some windows need a shrunk copy."""
    samples = [Shapes(count, 0, size)[i] for i in range(count)]
    boxes = torch.nn.utils.rnn.pad_sequence([sample.boxes for sample in samples], True)
    labels = torch.nn.utils.rnn.pad_sequence([sample.labels for sample in samples], True)
    uniforms = torch.rand(count, UNIFORMS_PER_IMAGE, generator=torch.Generator().manual_seed(count))
    return torch.stack([sample.image for sample in samples]), boxes, labels, uniforms


@pytest.mark.parametrize("images_at_once", [1, 3, 8, 100])
@pytest.mark.parametrize("parts", [PARTS, ("crop", "mirror"), ()])
def test_in_chunks_or_at_once_the_result_is_the_same(images_at_once, parts, monkeypatch):
    inputs = scenes(8)
    elements = images_at_once * inputs[0][0].numel()
    monkeypatch.setattr(fast_augment, "CHUNK_ELEMENTS", elements)
    ours = fast.augment_batch(*inputs, MEAN, SIZE, parts)
    plain = augment_batch(*inputs, MEAN, SIZE, parts)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)  # of gray levels


@pytest.mark.parametrize("images_at_once", [1, 4])
@pytest.mark.parametrize("seed", range(10))
def test_what_no_window_shows_is_not_missed(seed, images_at_once, monkeypatch):
    """Pictures of many sizes, of which only the part that is seen is worked on."""
    generator = torch.Generator().manual_seed(seed)
    images, boxes, labels, _ = scenes(8)
    sizes = torch.randint(20, 161, (8, 2), generator=generator)
    uniforms = torch.rand(8, UNIFORMS_PER_IMAGE, generator=generator)
    inputs = images, boxes, labels, uniforms, MEAN, SIZE
    monkeypatch.setattr(fast_augment, "CHUNK_ELEMENTS", images_at_once * images[0].numel())
    ours, plain = (f(*inputs, sizes=sizes) for f in (fast.augment_batch, augment_batch))
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=0.02)  # of gray levels


def test_a_batch_of_no_images():
    images, boxes, labels = fast.augment_batch(*(x[:0] for x in scenes(1)), MEAN, SIZE)
    assert (len(images), len(boxes), len(labels)) == (0, 0, 0)
