"""Appendix F: Winograd's convolution against the plain one, and when it is taken."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ssd_lite import fast
from ssd_lite.fast import winograd
from ssd_lite.fast.winograd import Winograd, winograd_conv2d
from ssd_lite.model import SSD
from ssd_lite.precision import autocast
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE, SSD300_VOC


def inputs(
    batch, channels, outputs, height, width, dtype=torch.float64, layout=torch.contiguous_format
):
    """A picture, a weight of which He would approve, and a bias."""
    torch.manual_seed(0)
    x = torch.randn(batch, channels, height, width, dtype=dtype).to(memory_format=layout)
    weight = torch.randn(outputs, channels, 3, 3, dtype=dtype) * (2 / (9 * channels)) ** 0.5
    tensors = x, weight.to(memory_format=layout), torch.randn(outputs, dtype=dtype)
    return [tensor.requires_grad_() for tensor in tensors]


def plain(x, weight, bias=None):
    return F.conv2d(x, weight, bias, padding=1)


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.tuples(*[st.integers(1, n) for n in (4, 5, 5, 14, 14)]),
    columns=st.integers(1, 200),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_it_is_the_plain_convolution_and_so_are_its_gradients(sizes, columns, layout):
    """In any size, cut into bands of any height, of one image or several."""
    tensors = inputs(*sizes, layout=layout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "TILE_BUDGET", columns)
        ours, theirs = winograd_conv2d(*tensors), plain(*tensors)
        torch.testing.assert_close(ours, theirs)
        gradient = torch.randn_like(theirs)
        for mine, yours in zip(
            torch.autograd.grad(ours, tensors, gradient),
            torch.autograd.grad(theirs, tensors, gradient),
        ):
            torch.testing.assert_close(mine, yours)


def test_without_a_bias():
    x, weight, _ = inputs(2, 3, 4, 9, 7)
    ours, theirs = winograd_conv2d(x, weight), plain(x, weight)
    torch.testing.assert_close(ours, theirs)
    of_ours = torch.autograd.grad(ours.sum(), (x, weight))
    torch.testing.assert_close(of_ours, torch.autograd.grad(theirs.sum(), (x, weight)))


def test_its_rounding_errors_are_small():
    """Measured against 64 bits, at the width of VGG16's last layers.

    TF32, which a GPU may use, is off by 1e-3.
    """
    tensors = inputs(1, 512, 512, 19, 19)
    exact = plain(*tensors)
    x, weight, bias = (tensor.float() for tensor in tensors)
    assert (winograd_conv2d(x, weight, bias) - exact).abs().max() < 2e-4 * exact.std()


def test_the_result_may_be_changed_in_place():
    """As VGG16's ReLU does; and channels come last in memory, for the next convolution."""
    tensors = inputs(1, 3, 4, 8, 8)
    result = winograd_conv2d(*tensors).relu_()
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        torch.autograd.grad(result.sum(), tensors),
        torch.autograd.grad(plain(*tensors).relu().sum(), tensors),
    )


@pytest.fixture
def calls(monkeypatch):
    """Shapes of the weights that went Winograd's way."""
    seen = []

    def spy(x, weight, bias=None):
        seen.append(tuple(weight.shape))
        return winograd_conv2d(x, weight, bias)

    monkeypatch.setattr(winograd, "winograd_conv2d", spy)
    return seen


@pytest.mark.parametrize(
    ("layer", "size", "goes"),
    [
        (nn.Conv2d(128, 128, 3, padding=1), 60, True),
        (nn.Conv2d(128, 128, 3, padding="same"), 60, False),  # not what networks here write
        (nn.Conv2d(128, 128, 3), 60, False),
        (nn.Conv2d(128, 128, 3, stride=2, padding=1), 60, False),
        (nn.Conv2d(128, 128, 3, padding=2, dilation=2), 60, False),
        (nn.Conv2d(128, 128, 3, padding=1, groups=2), 60, False),
        (nn.Conv2d(128, 128, 1), 60, False),
        (nn.Conv2d(64, 128, 3, padding=1), 60, False),
        (nn.Conv2d(64, 64, 3, padding=1), 130, True),  # large maps in training
        (nn.Conv2d(128, 128, 3, padding=1), 20, False),  # one small map
        (nn.Conv2d(128, 128, 3, padding=1, dtype=torch.bfloat16), 60, False),
    ],
)
def test_which_convolutions_it_takes_while_learning(calls, layer, size, goes):
    x = torch.randn(1, layer.in_channels, size, size, dtype=layer.weight.dtype)
    with Winograd():
        result = layer(x)
    assert bool(calls) == goes
    torch.testing.assert_close(result, layer(x), rtol=1e-3, atol=1e-3)


def test_what_detection_keeps_follows_the_parameter():
    layer, x = nn.Conv2d(128, 128, 3, padding=1), torch.randn(1, 128, 20, 20)
    with torch.no_grad(), Winograd():
        before, again = layer(x), layer(x)
        first = winograd._kept[layer.weight][1]
        assert torch.equal(before, again)
        assert winograd._product_weights(layer.weight) is first
        layer.weight.mul_(2)  # as an optimizer or load_state_dict would change it
        torch.testing.assert_close(
            layer(x), plain(x, layer.weight, layer.bias), rtol=1e-3, atol=1e-3
        )
        layer.weight.data = torch.randn_like(layer.weight)
        torch.testing.assert_close(
            layer(x), plain(x, layer.weight, layer.bias), rtol=1e-3, atol=1e-2
        )
    held = weakref.ref(winograd._kept[layer.weight][1])
    del layer, first
    gc.collect()
    assert held() is None


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
def test_what_is_kept_follows_a_fused_optimizer_too(optimizer):
    """It changes parameters without their version counter.

    Detection would go on with the first weights.
    """
    layer, x = nn.Conv2d(128, 128, 3, padding=1), torch.randn(1, 128, 20, 20)
    fused = optimizer(layer.parameters(), lr=0.1, fused=True)
    for _ in range(3):
        with torch.inference_mode(), Winograd():
            torch.testing.assert_close(
                layer(x), plain(x, layer.weight, layer.bias), rtol=1e-3, atol=1e-3
            )
            assert layer.weight in winograd._kept
        layer(x).square().mean().backward()
        fused.step()


def test_parameters_made_for_inference_only():
    with torch.inference_mode(), Winograd():
        layer, x = nn.Conv2d(128, 128, 3, padding=1), torch.randn(4, 128, 40, 40)
        torch.testing.assert_close(
            layer(x), plain(x, layer.weight, layer.bias), rtol=1e-3, atol=1e-3
        )


def test_a_whole_network_answers_and_learns_the_same(calls):
    """SSD300: most of its work goes Winograd's way, the heads' too.

    No answer or gradient shows it.
    """
    torch.manual_seed(0)
    model, images = SSD(SSD300_VOC, Shapes.classes), torch.randn(2, 3, 300, 300)

    def answers_and_gradients(network):
        model.zero_grad()
        logits, offsets = network(images)
        (logits.square().mean() + offsets.square().mean()).backward()
        return (
            logits.detach(),
            offsets.detach(),
            [parameter.grad.clone() for parameter in model.parameters()],
        )

    logits, offsets, gradients = answers_and_gradients(model)
    assert not calls
    same_logits, same_offsets, same_gradients = answers_and_gradients(fast.accelerate(model))
    assert len(calls) >= 9
    assert (same_logits - logits).abs().max() < 1e-3 * logits.std()
    assert (same_offsets - offsets).abs().max() < 1e-3 * offsets.std()
    for name, mine, yours in zip(dict(model.named_parameters()), same_gradients, gradients):
        # More than rounding: a ReLU whose input is next to 0 may let a gradient through for one
        # and not for the other.
        assert (mine - yours).norm() < 5e-3 * yours.norm(), name


def test_a_narrow_network_comes_back_as_it_is():
    model = SSD(LITE, Shapes.classes)
    assert fast.accelerate(model) is model


def test_under_autocast_a_network_computes_as_ever(calls):
    layer, x = nn.Conv2d(256, 256, 3, padding=1), torch.randn(1, 256, 60, 60)
    with autocast(x.device, "bf16"):
        assert fast.accelerate(layer)(x).dtype == torch.bfloat16
    assert not calls
    fast.accelerate(layer)(x)
    assert calls
