"""Chapter 9, second half: augmentation against colorsys and against what can be seen."""

import colorsys
from dataclasses import replace

import pytest
import torch

from ssd_lite import fast
from ssd_lite.augment import (
    CROP_UNIFORMS,
    MIN_OVERLAPS,
    PARTS,
    TRIALS,
    UNIFORMS_PER_IMAGE,
    augment_batch,
    crop,
    expand,
    longest_side,
    mirror_batch,
    parse_augment,
)
from ssd_lite.boxes import iou, paired_iou
from ssd_lite.data import Sample, collate
from ssd_lite.photometric import distort, shift_color
from ssd_lite.recipe import PAPER, training_pictures
from ssd_lite.spec import SSD300_VOC
from ssd_lite.windows import boxes_in_window, compose_windows, sample_windows
from tests.helpers import oracles

SIZE = 96
MEAN = torch.tensor([123.0, 117, 104]).view(3, 1, 1)
WHOLE = torch.tensor([[0.0, 0, 1, 1]])
NO, YES = torch.tensor([[False]]), torch.tensor([[True]])


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def scenes(count, seed=0, size=SIZE, objects=3):
    """Pictures of noise, boxes anywhere, and the last object of each is padding."""
    low, side = random(count, objects, 2, seed=seed), random(count, objects, 2, seed=seed + 1)
    boxes = torch.cat([low * 0.8, low * 0.8 + 0.02 + side * 0.18], dim=2)
    labels = torch.arange(1, objects + 1).repeat(count, 1)
    labels[:, -1] = 0
    return (
        255 * random(count, 3, size, size, seed=seed + 2),
        torch.where(labels[:, :, None] > 0, boxes, 0),
        labels,
    )


def still(uniforms):
    """The same uniform numbers, but the colors stay: distortions are off at 0.5 and above."""
    uniforms = uniforms.clone()
    uniforms[:, :4] = 0.9
    return uniforms


def nothing_happens(count):
    """Uniform numbers at which every part of the augmentation leaves the picture as it is."""
    uniforms = torch.full((count, UNIFORMS_PER_IMAGE), 0.9)  # all is off at 0.5 and above
    uniforms[:, -2] = 0  # the first kind of crop is the whole window
    return uniforms


# A function of uniform numbers. -------------------------------------------------------------------


def test_the_same_uniforms_give_the_same_result_and_the_inputs_stay():
    inputs, uniforms = scenes(4), random(4, UNIFORMS_PER_IMAGE)
    before = [x.clone() for x in inputs]
    first, second = (augment_batch(*inputs, uniforms, MEAN, SIZE) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    assert all(torch.equal(a, b) for a, b in zip(inputs, before))
    assert not torch.equal(
        first[0], augment_batch(*inputs, random(4, UNIFORMS_PER_IMAGE, seed=9), MEAN, SIZE)[0]
    )


def test_an_image_is_augmented_as_if_it_were_alone():
    inputs, uniforms = scenes(8), random(8, UNIFORMS_PER_IMAGE)
    together = augment_batch(*inputs, uniforms, MEAN, SIZE)
    for i in range(8):
        alone = augment_batch(*(x[i : i + 1] for x in inputs), uniforms[i : i + 1], MEAN, SIZE)
        for a, b in zip(alone, together):
            torch.testing.assert_close(a[0], b[i], rtol=1e-4, atol=1e-3)  # of gray levels


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_left_out_is_one_that_never_happens(part):
    """Every other part reads its own uniform numbers and does what it did."""
    inputs, uniforms = scenes(8), random(8, UNIFORMS_PER_IMAGE)
    rest = [p for p in PARTS if p != part]
    without = augment_batch(*inputs, uniforms, MEAN, SIZE, rest)
    off = uniforms.clone()
    off[
        :,
        {
            "distort": slice(0, 4),
            "expand": slice(9, 10),
            "crop": slice(-2, -1),
            "mirror": slice(-1, None),
        }[part],
    ] = 0 if part == "crop" else 0.9
    for a, b in zip(without, augment_batch(*inputs, off, MEAN, SIZE)):
        torch.testing.assert_close(a, b, rtol=0, atol=5e-3)  # of gray levels
    assert not torch.equal(without[0], augment_batch(*inputs, uniforms, MEAN, SIZE)[0])


def test_mirror_alone_is_what_mirror_batch_does():
    inputs, uniforms = scenes(8), random(8, UNIFORMS_PER_IMAGE)
    for a, b in zip(
        augment_batch(*inputs, uniforms, MEAN, SIZE, parse_augment("mirror")),
        mirror_batch(*inputs, uniforms),
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=5e-3)  # of gray levels


def test_parts_have_names():
    assert parse_augment("paper") == PARTS
    assert parse_augment("none") == ()
    assert parse_augment("mirror") == ("mirror",)
    assert parse_augment("distort+mirror") == ("distort", "mirror")


def test_global_random_state_is_neither_read_nor_changed():
    inputs, uniforms, state = scenes(2), random(2, UNIFORMS_PER_IMAGE), torch.get_rng_state()
    augment_batch(*inputs, uniforms, MEAN, SIZE)
    assert torch.equal(torch.get_rng_state(), state)


def test_with_everything_off_the_picture_and_its_boxes_come_back():
    images, boxes, labels = scenes(3)
    found, moved, kept = augment_batch(images, boxes, labels, nothing_happens(3), MEAN, SIZE)
    torch.testing.assert_close(found, images, rtol=0, atol=0.01)
    torch.testing.assert_close(moved, boxes)
    assert torch.equal(kept, labels)


def test_the_result_has_the_size_that_is_asked_for_and_no_number_out_of_range():
    images, boxes, labels = scenes(20)
    found, moved, kept = augment_batch(
        images, boxes, labels, random(20, UNIFORMS_PER_IMAGE), MEAN, 40
    )
    assert found.shape == (20, 3, 40, 40)
    assert (found >= -1e-3).all()
    assert (found <= 255 + 1e-3).all()
    real = moved[kept > 0]
    assert (real[:, 2:] > real[:, :2]).all()
    assert (real >= 0).all()
    assert (real <= 1).all()
    assert not moved[kept == 0].any()


# Boxes and pictures move together. ----------------------------------------------------------------


def extent(image):
    """Left, top, right and bottom, in pixels, of what is brighter than half."""
    y, x = (image[0] > 127).nonzero().unbind(1)
    return torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()


def test_a_box_is_where_its_object_is_seen_in_300_augmentations():
    """One white rectangle on black: wherever it went, its box is its visible part, to a pixel."""
    low, side = random(300, 1, 2, seed=1), random(300, 1, 2, seed=2)
    corner = (low * 0.7 * SIZE).round()
    boxes = (
        torch.cat([corner, (corner + 4 + side * 0.3 * SIZE).round().clamp(max=SIZE)], dim=2) / SIZE
    )
    ticks = (torch.arange(SIZE) + 0.5) / SIZE
    covers = (ticks > boxes[..., :2].transpose(1, 2)) & (
        ticks < boxes[..., 2:].transpose(1, 2)
    )  # (300, 2, SIZE)
    images = 255.0 * (covers[:, 0, None] & covers[:, 1, :, None])[:, None].expand(-1, 3, -1, -1)

    uniforms = still(random(300, UNIFORMS_PER_IMAGE, seed=3))
    found, moved, labels = augment_batch(
        images, boxes, torch.ones(300, 1).long(), uniforms, torch.zeros(3, 1, 1), SIZE
    )
    kept = labels[:, 0] > 0
    assert kept.sum() > 200
    errors = torch.stack(
        [(extent(found[i]) - moved[i, 0] * SIZE).abs().max() for i in kept.nonzero()[:, 0]]
    )
    assert errors.max() <= 1.1


def test_boxes_are_seen_in_fractions_of_the_window():
    window = torch.tensor([[0.5, 0.0, 1.0, 1.0]])
    boxes, labels = torch.tensor([[[0.5, 0.2, 0.75, 0.4]]]), torch.tensor([[3]])
    moved, kept = boxes_in_window(boxes, labels, window, NO)
    torch.testing.assert_close(moved[0, 0], torch.tensor([0, 0.2, 0.5, 0.4]))
    assert kept.tolist() == [[3]]


def test_objects_are_cut_at_the_windows_edge_and_go_if_their_center_is_outside():
    window = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    boxes = torch.tensor(
        [[[0.0, 0.25, 0.6, 0.5], [0.0, 0.25, 0.4, 0.5], [0.3, 0.7, 0.4, 0.9], [0.0, 0.0, 1.0, 1.0]]]
    )
    moved, kept = boxes_in_window(boxes, torch.tensor([[1, 2, 3, 4]]), window, NO)
    assert kept.tolist() == [[1, 0, 0, 4]]
    torch.testing.assert_close(moved[0, 0], torch.tensor([0.0, 0.0, 0.7, 0.5]))
    assert moved[0, 1].tolist() == moved[0, 2].tolist() == [0, 0, 0, 0]
    assert moved[0, 3].tolist() == [0, 0, 1, 1]


def test_an_object_whose_center_is_on_the_windows_edge_stays():
    window = torch.tensor([[0.25, 0.25, 0.75, 0.75]])
    boxes = torch.tensor([[[0.125, 0.5, 0.375, 0.625], [0.5, 0.625, 0.625, 0.875]]])
    moved, kept = boxes_in_window(boxes, torch.tensor([[1, 2]]), window, NO)
    assert kept.tolist() == [[1, 2]]
    assert moved[0].tolist() == [[0, 0.5, 0.25, 0.75], [0.5, 0.75, 0.75, 1]]


def test_padding_stays_padding():
    """Also where the padded box, four zeros, would have its center inside."""
    window = torch.tensor([[-0.5, -0.5, 0.5, 0.5]])
    _, kept = boxes_in_window(torch.zeros(1, 2, 4), torch.tensor([[0, 0]]), window, NO)
    assert not kept.any()


def test_mirrored_twice_is_not_mirrored():
    images, boxes, labels = scenes(1)
    once, labels_once = boxes_in_window(boxes, labels, WHOLE, YES)
    twice, labels_twice = boxes_in_window(once, labels_once, WHOLE, YES)
    torch.testing.assert_close(twice, boxes)
    assert torch.equal(labels_twice, labels)
    assert not torch.allclose(once, boxes)
    mirrored = sample_windows(images, WHOLE, YES, MEAN, SIZE)
    torch.testing.assert_close(mirrored, images.flip(3), rtol=0, atol=0.01)


def test_mirroring_alone_is_the_mirror_of_the_whole():
    images, boxes, labels = scenes(8)
    uniforms = nothing_happens(8)
    uniforms[::2, -1] = 0
    for a, b in zip(
        mirror_batch(images, boxes, labels, uniforms),
        augment_batch(images, boxes, labels, uniforms, MEAN, SIZE),
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=0.01 if a.dim() == 4 else 1e-6)
    assert torch.equal(mirror_batch(images, boxes, labels, uniforms)[0][0], images[0].flip(2))


def test_what_lies_outside_a_picture_is_the_mean():
    images = torch.full((1, 3, SIZE, SIZE), 255.0)
    found = sample_windows(images, torch.tensor([[-1.0, -1, 1, 1]]), NO, MEAN, SIZE)
    half = SIZE // 2
    assert (found[0, :, half + 2 :, half + 2 :] > 254.9).all()
    torch.testing.assert_close(found[0, :, : half - 2], MEAN.expand(3, half - 2, SIZE))
    torch.testing.assert_close(found[0, :, :, : half - 2], MEAN.expand(3, SIZE, half - 2))


def test_thin_lines_turn_gray_when_seen_from_afar_and_do_not_flicker():
    stripes = torch.tensor([0.0, 255]).repeat(SIZE // 2).expand(1, 3, SIZE, SIZE)
    found = sample_windows(stripes, torch.tensor([[-1.5, -1.5, 2.5, 2.5]]), NO, MEAN, SIZE)[
        ..., 40:55, 40:55
    ]
    assert (found - 127.5).abs().max() < 1


def test_thin_lines_survive_where_the_window_has_a_pixel_for_each_of_them():
    """No copy is taken that has fewer pixels than the window."""
    stripes = torch.tensor([0.0, 255]).repeat(SIZE // 2).expand(1, 3, SIZE, SIZE)
    found = sample_windows(stripes, WHOLE, NO, MEAN, SIZE)
    torch.testing.assert_close(found, stripes, rtol=0, atol=0.01)


# Pictures of many sizes in one batch. -------------------------------------------------------------

# Height and width: odd, larger and smaller than the result, wide and tall.
MANY_SIZES = [(40, 40), (97, 33), (31, 150), (20, 22), (200, 171), (64, 48)]


def padded_batch(seed=0):
    """Noise of many sizes, rubbish where it is padded, and what collate would say of it."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor(MANY_SIZES)
    high, wide = sizes.amax(dim=0).tolist()
    images = torch.randint(0, 256, (len(sizes), 3, high, wide), generator=generator)
    _, boxes, labels = scenes(len(sizes), seed=seed)
    return images.to(torch.uint8), boxes, labels, sizes


@pytest.mark.parametrize("seed", range(4))
def test_windows_of_a_padded_batch_are_the_plain_loops(seed):
    images, _, _, sizes = padded_batch(seed)
    count = len(sizes)
    side = torch.tensor([0.3, 1.03, 1.9, 3.9, 3.7, 0.7]).roll(seed)[:, None]
    side = side * torch.tensor([[1.0, 0.7]])
    corner = (1 - side) * random(count, 2, seed=seed)
    window = torch.cat([corner, corner + side], dim=1)
    mirrored = random(count, 1, seed=seed + 1) < 0.5
    found = sample_windows(images.float(), window, mirrored, MEAN, 20, sizes)
    for i, (high, wide) in enumerate(MANY_SIZES):
        alone = images[i, :, :high, :wide]
        expected = oracles.window_view(alone, window[i], mirrored[i].item(), MEAN, 20)
        torch.testing.assert_close(found[i].double(), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("method", [augment_batch, fast.augment_batch])
def test_a_picture_does_not_notice_what_its_batch_pads_it_with(method):
    images, boxes, labels, sizes = padded_batch()
    uniforms = random(len(sizes), UNIFORMS_PER_IMAGE, seed=3)
    together = method(images, boxes, labels, uniforms, MEAN, 40, sizes=sizes)
    for i, (high, wide) in enumerate(MANY_SIZES):
        one = slice(i, i + 1)
        alone = augment_batch(
            images[one, :, :high, :wide], boxes[one], labels[one], uniforms[one], MEAN, 40
        )
        torch.testing.assert_close(together[0][i], alone[0][0], rtol=0, atol=0.05)
        assert torch.equal(together[1][i], alone[1][0])
        assert torch.equal(together[2][i], alone[2][0])


def test_bug_pictures_were_warped_before_they_were_cropped():
    """A crop of side 0.3 of a 500-pixel picture shows its 150 pixels, not 90 of 300."""
    stripes = torch.tensor([0, 255], dtype=torch.uint8).repeat(250).expand(3, 375, 500)
    photograph = Sample(stripes, torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0), "a.jpg")
    window = torch.tensor([[0.35, 0.35, 0.65, 0.65]])

    def edges(recipe):
        batch = collate([training_pictures([photograph], SSD300_VOC, recipe, keep=False)[0]])
        view = sample_windows(batch.images.float(), window, NO, MEAN, 300, batch.sizes)
        bright = view[0, 0, 150] > 127.5
        return int((bright[1:] != bright[:-1]).sum())

    assert edges(PAPER) == 149  # between 150 stripes
    assert edges(replace(PAPER, augment="mirror")) < 50  # warped first, for it is never cropped


def test_no_crop_shows_more_detail_than_the_longest_side_has():
    """The narrowest crop still has a pixel of the picture for each of its own."""
    _, boxes, labels = scenes(1000)
    width, height = (lambda w: w[:, 2:] - w[:, :2])(cropped(boxes, labels)).unbind(1)
    narrowest = torch.minimum(width, height).min().item()
    assert longest_side(300) == 1415
    assert 300 <= 1415 * 0.3 / 2**0.5 < 1415 * narrowest


# Expand and crop. ---------------------------------------------------------------------------------


def test_half_of_the_windows_are_expanded_up_to_4_times_with_the_picture_inside():
    windows = expand(random(2000, 4))
    side = windows[:, 2:] - windows[:, :2]
    torch.testing.assert_close(side[:, 0], side[:, 1])
    larger = side[:, 0] > 1.0001
    assert 0.45 < larger.float().mean() < 0.55
    assert torch.equal(windows[~larger], WHOLE.expand(int((~larger).sum()), 4))
    assert side.max() <= 4
    assert side.max() > 3.9
    assert 2.4 < side[larger].mean() < 2.6
    assert (windows[:, :2] <= 0).all()
    assert (windows[:, 2:] >= 1).all()


def cropped(boxes, labels, seed=0, choice=None):
    count = len(boxes)
    choice = random(count, 1, seed=seed + 1) if choice is None else torch.full((count, 1), choice)
    return crop(
        WHOLE.expand(count, 4), boxes, labels, random(count, CROP_UNIFORMS, seed=seed), choice
    )


def test_crops_are_inside_with_sides_of_03_to_1_and_ratios_of_a_half_to_2():
    _, boxes, labels = scenes(1000)
    windows = cropped(boxes, labels)
    width, height = (windows[:, 2:] - windows[:, :2]).unbind(1)
    assert (windows >= -1e-6).all()
    assert (windows <= 1 + 1e-6).all()
    assert (width / height).min() >= 0.499
    assert (width / height).max() <= 2.002
    assert (width * height).sqrt().min() > 0.299
    assert (width / height).min() < 0.6
    assert (width / height).max() > 1.7
    assert (width * height).sqrt().min() < 0.35


def first_good_trial(box, uniforms, smallest):
    """The plain loop: the first trial whose IoU with the box reaches ``smallest``, or None."""
    for a, b, c, d in uniforms.tolist():
        scale = 0.3 + 0.7 * a
        low, high = max(0.5, scale**2), min(2, 1 / scale**2)
        ratio = (low + (high - low) * b) ** 0.5
        width, height = scale * ratio, scale / ratio
        left, top = (1 - width) * c, (1 - height) * d
        trial = [left, top, left + width, top + height]
        if oracles.iou(trial, box.tolist()) >= smallest:
            return torch.tensor(trial)
    return None


def test_bug_the_crop_iou_test_that_can_never_fire_amdegroot_68():
    """Each kind of crop is the first trial that reaches its IoU.

    A kind without one is out of the lot.
    """
    failed = 0
    for seed in range(30):
        _, boxes, labels = scenes(1, seed=10 * seed, objects=2)
        boxes = torch.cat(
            [boxes[..., :2] * 0.6, boxes[..., :2] * 0.6 + 0.1 + 0.03 * seed % 0.5], dim=2
        ).clamp(max=1)
        uniforms = random(1, CROP_UNIFORMS, seed=seed)
        trials = uniforms.view(len(MIN_OVERLAPS), TRIALS, 4)
        expected = [WHOLE[0]] + [
            first_good_trial(boxes[0, 0], t, m) for t, m in zip(trials, MIN_OVERLAPS)
        ]
        possible = [window for window in expected if window is not None]
        failed += len(expected) - len(possible)
        for place, window in enumerate(possible):
            choice = torch.tensor([[(place + 0.5) / len(possible)]])
            torch.testing.assert_close(
                crop(WHOLE, boxes, labels, uniforms, choice)[0], window, rtol=0, atol=1e-5
            )
    assert failed > 20


def test_some_object_is_enough_for_a_crop():
    """A tiny object, that no crop overlaps by 0.3, beside one that fills the picture."""
    boxes = torch.tensor([[[0.1, 0.1, 0.11, 0.11], [0.0, 0.0, 1.0, 1.0]]])
    last_of_two = cropped(boxes[:, :1], torch.tensor([[1]]), choice=0.99)
    strictest = cropped(boxes, torch.tensor([[1, 1]]), choice=5.5 / 7)
    assert iou(strictest, boxes[0, 1:]).item() >= 0.9
    assert iou(last_of_two, boxes[0, :1]).item() < 0.3


def test_pictures_without_objects_are_never_cropped():
    windows = cropped(random(200, 3, 4), torch.zeros(200, 3, dtype=torch.int64))
    assert torch.equal(windows, WHOLE.expand(200, 4))


def test_every_kind_of_crop_is_drawn_equally_often():
    boxes = torch.tensor([[[0.05, 0.05, 0.95, 0.95]]]).expand(1400, 1, 4)
    windows = cropped(boxes, torch.ones(1400, 1, dtype=torch.int64))
    whole = (windows == WHOLE).all(dim=1).float().mean()
    assert 1 / 7 - 0.04 < whole < 1 / 7 + 0.04
    reached = paired_iou(windows, boxes[:, 0])
    assert (
        reached >= 0.9
    ).float().mean() < 3 / 7  # the strictest, and by chance some of the others
    assert (reached < 0.5).float().mean() > 1 / 7


def test_a_crop_of_an_expanded_picture_is_given_in_the_pictures_own_units():
    outer = torch.tensor([[-1.0, -1.0, 3.0, 3.0]])
    assert compose_windows(outer, torch.tensor([[0.25, 0.25, 0.5, 1.0]])).tolist() == [[0, 0, 1, 3]]
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])
    window = crop(
        outer, boxes, torch.tensor([[1]]), random(1, CROP_UNIFORMS), torch.tensor([[0.99]])
    )
    assert (window[0] >= -1).all()
    assert (window[0] <= 3).all()


# Colors. ------------------------------------------------------------------------------------------


def test_shift_color_is_colorsys_own_conversion_there_and_back():
    images = torch.cat(
        [255 * random(40, 3, 2, 2), torch.full((1, 3, 2, 2), 77.0), torch.zeros(1, 3, 2, 2)]
    )
    saturation, hue = 0.5 + random(42, 1, 1, 1, seed=1), 0.2 * random(42, 1, 1, 1, seed=2) - 0.1
    found = shift_color(images, saturation, hue)
    for i in range(42):
        for y, x in ((0, 0), (1, 1)):
            h, s, v = colorsys.rgb_to_hsv(*(images[i, :, y, x] / 255).tolist())
            s = min(1, s * saturation[i].item())
            expected = torch.tensor(colorsys.hsv_to_rgb((h + hue[i].item()) % 1, s, v))
            torch.testing.assert_close(found[i, :, y, x] / 255, expected, rtol=0, atol=1e-3)


def colors(**parts):
    """Uniforms for distort: each of its parts at an amount in [0, 1], all else off.

    The parts are brightness, contrast, saturation and hue.
    """
    names = ("brightness", "contrast", "saturation", "hue")
    on = [0.0 if name in parts else 0.9 for name in names]
    return torch.tensor([on + [parts.get(name, 0.5) for name in names] + [parts.get("order", 0.0)]])


PIXEL = torch.tensor([100.0, 60, 30]).view(1, 3, 1, 1)


@pytest.mark.parametrize("amount, shift", [(0, -32), (0.5, 0), (1, 32)])
def test_brightness_is_32_levels_at_most(amount, shift):
    expected = (PIXEL + shift).clamp(0, 255)
    torch.testing.assert_close(
        distort(PIXEL, colors(brightness=amount)), expected, rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("order", [0.0, 0.9])
@pytest.mark.parametrize("amount, factor", [(0, 0.5), (1, 1.5)])
def test_contrast_is_a_factor_of_a_half_to_one_and_a_half(amount, factor, order):
    found = distort(PIXEL, colors(contrast=amount, order=order))
    torch.testing.assert_close(found, PIXEL * factor, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "part, amount", [("saturation", 0), ("saturation", 1), ("hue", 0), ("hue", 1)]
)
def test_saturation_by_a_half_and_hue_by_36_degrees(part, amount):
    h, s, v = colorsys.rgb_to_hsv(*(PIXEL.flatten() / 255).tolist())
    h, s = (h, s * (0.5 + amount)) if part == "saturation" else ((h + (0.2 * amount - 0.1)) % 1, s)
    expected = 255 * torch.tensor(colorsys.hsv_to_rgb(h, min(s, 1), v)).view(1, 3, 1, 1)
    torch.testing.assert_close(distort(PIXEL, colors(**{part: amount})), expected, rtol=0, atol=0.1)


def test_every_distortion_happens_with_probability_one_half():
    """By itself: all other parts are off."""
    for part in range(4):
        uniforms = torch.full((400, 9), 0.9)
        uniforms[:, part] = random(400, seed=part)
        changed = (distort(PIXEL.expand(400, 3, 1, 1), uniforms) - PIXEL).abs().amax(
            dim=(1, 2, 3)
        ) > 0.1
        assert torch.equal(changed, uniforms[:, part] < 0.5)


def test_contrast_comes_before_or_after_the_other_colors():
    """Only where levels are cut at 255 does the order show."""
    bright = torch.tensor([250.0, 120, 30]).view(1, 3, 1, 1)
    early, late = (
        distort(bright, colors(contrast=1.0, saturation=0.0, order=o)) for o in (0.0, 0.9)
    )
    assert (early - late).abs().max() > 10
    for found in (early, late):
        assert (found <= 255).all()


def test_colors_leave_boxes_alone_and_moves_leave_colors_alone():
    images, boxes, labels = scenes(2)
    uniforms = nothing_happens(2)
    uniforms[:, :4] = 0
    found, moved, _ = augment_batch(images, boxes, labels, uniforms, MEAN, SIZE)
    assert not torch.allclose(found, images, atol=1)
    torch.testing.assert_close(moved, boxes)
