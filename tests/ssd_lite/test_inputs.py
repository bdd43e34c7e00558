"""What people have in hand when they call ``detect`` from Python."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssd_lite.detection import detect
from ssd_lite.inputs import as_tensors
from ssd_lite.model import SSD
from ssd_lite.spec import LITE


@pytest.fixture(scope="module")
def array():
    """A picture that is no square, with three different channels."""
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SSD(LITE, ["disc", "square"])


def kinds(array, folder):
    """The same picture as everything that it may come as."""
    path = folder / "a.png"
    Image.fromarray(array).save(path)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    flipped = np.ascontiguousarray(array[:, :, ::-1])[:, :, ::-1]  # of OpenCV's, turned to RGB
    return {
        "path": path,
        "its name": str(path),
        "PIL": Image.fromarray(array),
        "PIL with alpha": Image.fromarray(array).convert("RGBA"),
        "array": array,
        "array with strides": flipped,
        "tensor": tensor.contiguous(),
        "tensor with strides": tensor,
    }


def test_one_picture_of_any_kind_and_a_list_of_all_give_the_same(model, array, tmp_path):
    given = kinds(array, tmp_path)
    together = detect(model, list(given.values()), score_threshold=0.3)
    assert len(together[0].boxes) > 0
    for name, picture, found in zip(given, given.values(), together, strict=True):
        (alone,) = detect(model, picture, score_threshold=0.3)
        for a, b, c in zip(alone, found, together[0]):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4, msg=name)
            torch.testing.assert_close(a, c, atol=1e-4, rtol=1e-4, msg=name)


def test_every_kind_becomes_the_same_tensor(array, tmp_path):
    expected = torch.from_numpy(array).permute(2, 0, 1)
    for picture in kinds(array, tmp_path).values():
        (tensor,) = as_tensors(picture)
        assert torch.equal(tensor, expected)
    stacked = torch.stack([expected, expected])
    assert [torch.equal(x, expected) for x in as_tensors(stacked)] == [True, True]
    assert as_tensors(()) == []


def test_a_tensor_is_not_copied(array):
    tensor = torch.from_numpy(array).permute(2, 0, 1).contiguous()
    assert as_tensors([tensor])[0] is tensor


WRONG = {
    "floats": (torch.rand(3, 4, 5), r"float32 of \(3, 4, 5\); scale it to 0..255 and convert"),
    "gray": (np.zeros((4, 5), np.uint8), r"uint8 of \(4, 5\); repeat its gray levels"),
    "channels first": (np.zeros((3, 4, 5), np.uint8), r"\(3, 4, 5\); tensors have their channels"),
    "channels last": (torch.zeros(4, 5, 3, dtype=torch.uint8), r"\(4, 5, 3\); tensors have"),
    "16 bits": (Image.new("I;16", (5, 4)), "a PIL image of mode I;16 has more than 8 bits; pass"),
    "a number": (7, "expected a path, a PIL image, .* or a list of such pictures, got int"),
    "None": (None, "got NoneType"),
    "no file": ("none.jpg", r"none\.jpg: no such file"),
}


def untyped(function):
    """A function without the checks that only the tests have."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


@pytest.mark.parametrize("picture, message", WRONG.values(), ids=WRONG)
def test_anything_else_is_told_with_a_remedy(picture, message):
    with pytest.raises(ValueError, match=message):
        untyped(as_tensors)(picture)
    with pytest.raises(ValueError, match=message):
        untyped(as_tensors)([picture])


def test_a_list_names_the_picture_that_is_wrong(array):
    with pytest.raises(ValueError, match=r"images\[1\]: expected a path, .*, got int"):
        untyped(as_tensors)([array, 3])


def test_a_pil_image_is_taken_as_it_stands_and_a_file_is_turned(array, tmp_path):
    picture = Image.fromarray(array)
    picture.getexif()[0x0112] = 6
    picture.save(tmp_path / "a.png", exif=picture.getexif())
    assert as_tensors(Image.open(tmp_path / "a.png"))[0].shape == (3, 40, 60)
    assert as_tensors(Path(tmp_path / "a.png"))[0].shape == (3, 60, 40)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_model_of_16_bits_is_refused_in_words(array, kind):
    model = SSD(LITE, ["disc"]).to(kind)
    with pytest.raises(ValueError, match=r'model: .*16, too coarse for a box.*precision="bf16"'):
        detect(model, array)
