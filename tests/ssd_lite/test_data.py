"""Chapter 9, first half: drawn scenes, folders in VOC's layout, and batches of either."""

import io
import os
import warnings
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from ssd_lite import data, shapes
from ssd_lite.data import Resized, Sample, batches, collate, read_image
from ssd_lite.downloads import BCCD, content_sha256, download_data
from ssd_lite.shapes import Shapes
from ssd_lite.voc import VOC_CLASSES, VOCFolder, bccd, pascal_voc
from tests.helpers.scenes import annotation, plain, write_folder

GOOD = ("cell", (10, 5, 30, 25))


def same(a, b):
    return all(x == y if isinstance(x, str) else torch.equal(x, y) for x, y in zip(a, b))


def one_picture(root, xml, picture=None, name="a"):
    return write_folder(root, {name: (picture or plain(), xml)})


def jpeg(picture, **options):
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


def sample(boxes, name="a picture"):
    count = len(boxes)
    labels, difficult = torch.ones(count, dtype=torch.int64), torch.zeros(count, dtype=torch.bool)
    return Sample(
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.tensor(boxes).view(-1, 4),
        labels,
        difficult,
        name,
    )


# Drawn scenes. ------------------------------------------------------------------------------------


def test_a_scene_depends_on_seed_and_index_alone():
    few, many = Shapes(5, seed=3), Shapes(500, seed=3)
    backwards = [many[i] for i in reversed(range(5))][::-1]
    assert all(same(few[i], backwards[i]) for i in range(5))
    assert not any(torch.equal(few[i].image, Shapes(5, seed=4)[i].image) for i in range(5))
    assert len({few[i].image.numpy().tobytes() for i in range(5)}) == 5


@pytest.mark.parametrize("index", [-1, 5])
def test_a_scene_beyond_the_count_is_an_index_error(index):
    with pytest.raises(IndexError, match=f"scene {index}: there are 5"):
        Shapes(5)[index]


def test_2000_scenes_have_all_that_is_promised():
    """Every class, empty scenes, sizes from 5 % to 90 %, wide and tall boxes inside the image."""
    scenes = [Shapes(2000, seed=5, size=16)[i] for i in range(2000)]
    boxes = torch.cat([scene.boxes for scene in scenes])
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    longer = torch.maximum(width, height)
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()
    assert (width * height > 0).all()
    assert {0, 1, 6} <= {len(scene.boxes) for scene in scenes}
    assert {label for scene in scenes for label in scene.labels.tolist()} == set(
        range(1, len(Shapes.classes) + 1)
    )
    assert 0.049 <= longer.min() < 0.08
    assert 0.8 < longer.max() <= 0.901
    assert (width > 1.6 * height).any()
    assert (height > 1.6 * width).any()


def test_a_box_is_tight_around_what_is_drawn(monkeypatch):
    """Compare the canvas before and after each object.

    Every side of what changed is the box's, to 2 of 256 pixels.
    """
    drawn, paint = [], shapes._paint

    def watched(rng, canvas, corners):
        before = np.asarray(canvas, dtype=int)
        paint(rng, canvas, corners)
        y, x = (np.abs(np.asarray(canvas, dtype=int) - before).max(axis=2) > 0).nonzero()
        drawn.append([x.min(), y.min(), x.max() + 1, y.max() + 1])

    monkeypatch.setattr(shapes, "_paint", watched)
    boxes = torch.cat([Shapes(60, seed=6, size=256)[i].boxes for i in range(60)]) * 256
    assert len(boxes) == len(drawn) > 60
    assert np.abs(boxes.numpy() - np.array(drawn)).max() < 2


# Batches. -----------------------------------------------------------------------------------------


def test_every_epoch_is_a_permutation_with_an_order_of_its_own():
    stream = list(batches(12, 4, seed=0, steps=9))
    epochs = [sum(stream[k : k + 3], []) for k in (0, 3, 6)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(12))] * 3
    assert epochs[0] != epochs[1] != epochs[2]


def test_an_incomplete_last_batch_is_left_out():
    stream = list(batches(11, 4, seed=0, steps=4))
    assert [len(batch) for batch in stream] == [4] * 4
    assert len(set(sum(stream[:2], []))) == 8


@pytest.mark.parametrize("start", [0, 1, 2, 3, 7, 20])
def test_a_resumed_stream_is_the_tail_of_the_whole_one(start):
    assert list(batches(11, 4, 5, start, steps=20)) == list(batches(11, 4, 5, steps=20))[start:]


def test_another_seed_gives_another_order():
    assert list(batches(12, 4, seed=0, steps=3)) != list(batches(12, 4, seed=1, steps=3))


def test_without_a_number_of_steps_batches_never_end():
    stream = batches(8, 4, seed=0)
    assert [next(stream) for _ in range(9)] == list(batches(8, 4, seed=0, steps=9))


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(
        ValueError, match="batch_size: 5 is more than the 4 pictures there are; make it smaller"
    ):
        next(batches(4, 5, seed=0))


def test_collate_pads_with_label_0():
    batch = collate(
        [sample([[0.1, 0.2, 0.3, 0.4]]), sample([]), sample([[0.5, 0.5, 1, 1], [0, 0, 1, 1]])]
    )
    assert batch.labels.tolist() == [[1, 0], [0, 0], [1, 1]]
    assert torch.equal(batch.boxes[0], torch.tensor([[0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0]]))
    assert batch.images.shape == (3, 3, 8, 8)


def test_pictures_of_many_sizes_are_padded_at_the_right_and_below():
    wide, tall = (torch.full((3, *size), 9, dtype=torch.uint8) for size in ((4, 8), (6, 5)))
    batch = collate([sample([])._replace(image=wide), sample([])._replace(image=tall)])
    assert batch.images.shape == (2, 3, 6, 8)
    assert batch.sizes.tolist() == [[4, 8], [6, 5]]
    for image, (height, width) in zip(batch.images, batch.sizes):
        assert (image[:, :height, :width] == 9).all()
        assert image.sum() == 9 * 3 * height * width  # zero beside it


def test_a_batch_in_which_nobody_has_an_object_has_room_for_one():
    batch = collate([sample([]), sample([])])
    assert batch.boxes.shape == (2, 1, 4)
    assert not batch.labels.any()


@pytest.mark.parametrize(
    "bad", [[0.5, 0.1, 0.5, 0.4], [0.5, 0.1, 0.2, 0.4], [0.1, float("nan"), 0.2, 0.4]]
)
def test_collate_names_the_sample_with_a_bad_box(bad):
    with pytest.raises(
        ValueError, match="scene 7: boxes: 1 of 2 boxes have no area or are not finite.*drop such"
    ):
        collate(
            [sample([[0.1, 0.1, 0.2, 0.2]]), sample([[0.1, 0.1, 0.2, 0.2], bad], name="scene 7")]
        )


def test_collate_refuses_pixels_where_fractions_belong():
    with pytest.raises(
        ValueError, match="scene 7: boxes: expected fractions of the picture.*divide pixels"
    ):
        collate([sample([[10.0, 20.0, 30.0, 40.0]], name="scene 7")])


def test_a_box_beyond_1_is_refused_however_little():
    with pytest.raises(ValueError, match="expected fractions of the picture"):
        collate([sample([[0.5, 0.5, 1.001, 0.9]])])


@pytest.mark.parametrize("labels", [[0], [-1], [1, 2]])
def test_collate_refuses_labels_that_do_not_go_with_the_boxes(labels):
    one = sample([[0.1, 0.1, 0.2, 0.2]], name="scene 7")
    with pytest.raises(ValueError, match="scene 7: labels: expected 1 numbers from 1 on"):
        collate([one._replace(labels=torch.tensor(labels))])


def test_samples_whose_boxes_and_labels_fit_only_in_sum_are_named_too():
    box = [0.1, 0.1, 0.2, 0.2]
    few, many = sample([box, box], name="scene 6"), sample([box, box], name="scene 7")
    few, many = few._replace(labels=few.labels[:1]), many._replace(labels=torch.tensor([1, 1, 1]))
    with pytest.raises(ValueError, match="scene 6: labels: expected 2 numbers"):
        collate([few, many])
    whole = sample([box], name="scene 8")
    whole = whole._replace(boxes=torch.ones(1, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="scene 8: boxes: expected floats"):
        collate([few._replace(labels=torch.tensor([1, 1])), whole])


def test_good_samples_are_looked_at_all_together(monkeypatch):
    """One by one that took longer than all else that a batch of 64 needs."""
    looks, check = [], data.check_boxes
    monkeypatch.setattr(
        data, "check_boxes", lambda boxes, name: looks.append(len(boxes)) or check(boxes, name)
    )
    collate([sample([[0.1, 0.1, 0.2, 0.2]]), sample([]), sample([[0.5, 0.5, 1, 1]] * 2)])
    assert looks == [3]


def test_labels_beyond_the_networks_classes_are_named():
    sample = Sample(
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.tensor([[0.1, 0.1, 0.5, 0.5]]),
        torch.tensor([4]),
        torch.zeros(1, dtype=torch.bool),
        "a.jpg",
    )
    assert collate([sample], classes=4).labels.tolist() == [[4]]
    with pytest.raises(
        ValueError,
        match=r"a\.jpg: labels: the network knows 3 classes, 1\.\.3, got 4; give the model",
    ):
        collate([sample], classes=3)


def test_resized_warps_pictures_and_leaves_boxes():
    scenes = Shapes(3, size=64)
    small = Resized(scenes, 32, antialias=True)
    assert len(small) == 3
    assert small[1].image.shape == (3, 32, 32)
    assert small[1].image.dtype == torch.uint8
    assert torch.equal(small[1].boxes, scenes[1].boxes)
    halves = scenes[1].image.float().unflatten(1, (32, 2)).unflatten(3, (32, 2)).mean(dim=(2, 4))
    assert (small[1].image - halves).abs().mean() < 4


def test_at_most_shrinks_only_the_sides_that_are_longer():
    image = Shapes(1, size=64)[0].image
    for cut, expected in (((64, 40), (32, 32)), ((20, 64), (20, 32)), ((20, 30), (20, 30))):
        one = sample([])._replace(image=image[:, : cut[0], : cut[1]])
        small = Resized([one], 32, antialias=True, at_most=True)[0]
        assert small.image.shape[1:] == expected
        if expected == cut:
            assert same(small, one)


def test_resized_leaves_pictures_of_the_right_size_alone():
    assert same(Resized(Shapes(1, size=64), 64, antialias=True)[0], Shapes(1, size=64)[0])


@pytest.mark.parametrize("keep, reads", [(True, 1), (False, 3)])
def test_resized_reads_once_if_it_keeps(keep, reads):
    class Counting(Shapes):
        count_of_reads = 0

        def __getitem__(self, index):
            Counting.count_of_reads += 1
            return super().__getitem__(index)

    small = Resized(Counting(2, size=64), 32, antialias=True, keep=keep)
    assert same(small[0], small[0])
    assert same(small[0], Resized(Shapes(2, size=64), 32, antialias=True)[0])
    assert Counting.count_of_reads == reads


# Pictures. ----------------------------------------------------------------------------------------


def test_a_picture_is_read_as_rgb_with_channels_first(tmp_path):
    plain((60, 40), (10, 20, 30)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.shape == (3, 40, 60)
    assert image[:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16", "CMYK"])
def test_pictures_of_every_mode_become_rgb(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new(mode, (6, 4)).save(path)
    assert read_image(path).shape == (3, 4, 6)


def test_a_photograph_that_lies_on_its_side_is_turned_upright(tmp_path):
    """Red on the left, stored with the EXIF mark "turn by 90°".

    Boxes are those of the upright picture.
    """
    picture = plain((60, 40), "blue")
    picture.paste("red", (0, 0, 30, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    one_picture(
        tmp_path, annotation(("cell", (0, 0, 40, 30)), size=(40, 60)), jpeg(picture, exif=exif)
    )
    (upright,) = VOCFolder(tmp_path, "trainval")
    assert upright.image.shape == (3, 60, 40)
    assert upright.image[0, 5].float().mean() > 200  # red is on top now
    assert upright.boxes.tolist() == [[0, 0, 1, 0.5]]


BAD_PICTURES = {
    "not a picture": b"Once upon a time",
    "empty": b"",
    "truncated": jpeg(Image.effect_noise((200, 200), 50))[:3000],
    "cut in its header": jpeg(plain())[:15],
}


@pytest.mark.parametrize("content", BAD_PICTURES.values(), ids=BAD_PICTURES)
def test_a_file_that_is_no_whole_picture_is_named(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"a\.jpg: not a picture that can be read .*replace or remove the file"
    ):
        read_image(tmp_path / "a.jpg")


def test_a_missing_picture_and_a_folder_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"a\.jpg: no such file"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="a folder, not a picture"):
        read_image(tmp_path)


def test_a_picture_so_large_that_it_would_fill_the_memory_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    folder = one_picture(tmp_path, annotation(GOOD))
    with pytest.raises(ValueError, match=r"a\.jpg: not a picture that can be read"):
        read_image(folder / "JPEGImages" / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg: not a picture that can be read"):
        VOCFolder(folder, "trainval")


def test_500_damaged_files_give_a_picture_or_an_error_that_names_them(tmp_path):
    """No damage, wherever it is, may show Pillow's depths."""
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 3
    whole = jpeg(Image.effect_noise((40, 30), 50).convert("RGB"), exif=exif)
    refused = 0
    for _ in range(500):
        content = bytearray(whole)
        for place in rng.integers(0, len(whole) if rng.random() < 0.3 else 80, 3):
            content[place] = rng.integers(256)
        folder = one_picture(tmp_path, annotation(size=(40, 30)), bytes(content))
        try:
            with warnings.catch_warnings(action="ignore"):
                VOCFolder(folder, "trainval", ["cell"])[0]
        except ValueError as error:
            assert "a.jpg" in str(error)
            refused += 1
    assert 50 < refused < 450


# Folders in VOC's layout. -------------------------------------------------------------------------


def test_boxes_become_fractions_and_classes_numbers(tmp_path):
    folder = one_picture(
        tmp_path, annotation(("dog", (6, 4, 30, 40)), ("cat", (0, 0, 60, 20)), size=(60, 40))
    )
    (found,) = VOCFolder(folder, "trainval")
    torch.testing.assert_close(found.boxes, torch.tensor([[0.1, 0.1, 0.5, 1.0], [0, 0, 1, 0.5]]))
    assert found.labels.tolist() == [2, 1]  # classes are sorted: cat, dog
    assert found.name.endswith("a.jpg")
    assert VOCFolder(folder, "trainval", ["dog", "cat"])[0].labels.tolist() == [1, 2]


def test_only_the_pictures_of_the_image_set_are_used(tmp_path):
    write_folder(
        tmp_path, {"a": (plain(), annotation(GOOD)), "b": (plain(), annotation())}, "trainval"
    )
    write_folder(tmp_path, {"c": (plain(), annotation(GOOD))}, "test")
    assert len(VOCFolder(tmp_path, "trainval")) == 2
    assert len(VOCFolder(tmp_path, "test")) == 1


def test_a_picture_without_objects_is_kept(tmp_path):
    (found,) = VOCFolder(one_picture(tmp_path, annotation()), "trainval", ["cell"])
    assert found.boxes.shape == (0, 4)
    assert found.labels.shape == found.difficult.shape == (0,)


def test_difficult_objects_are_marked_or_left_out(tmp_path):
    folder = one_picture(tmp_path, annotation((*GOOD, False), (*GOOD, True), GOOD))
    assert VOCFolder(folder, "trainval")[0].difficult.tolist() == [False, True, False]
    with warnings.catch_warnings(action="error"):
        assert VOCFolder(folder, "trainval", difficult=False)[0].difficult.tolist() == [
            False,
            False,
        ]


def test_a_box_without_area_is_dropped_with_a_warning_that_names_the_file(tmp_path):
    flat = annotation(GOOD, ("cell", (20, 5, 20, 25)), ("cell", (5, 7, 9, 7)))
    write_folder(tmp_path, {"fine": (plain(), annotation(GOOD)), "flat": (plain(), flat)})
    with pytest.warns(UserWarning, match=r"repaired: .*flat\.xml: 2 without area dropped$"):
        folder = VOCFolder(tmp_path, "trainval")
    assert [len(s.boxes) for s in folder] == [1, 1]


def test_a_box_whose_whole_area_is_beyond_the_edge_never_reaches_training(tmp_path):
    """VOC counts pixels from 1, so a box may end one pixel beyond the edge.

    One that also begins there has no area left.
    """
    with pytest.warns(UserWarning, match=r"a\.xml"):
        folder = VOCFolder(
            one_picture(tmp_path, annotation(GOOD, ("cell", (60, 5, 61, 25)))), "trainval"
        )
    collate([folder[0]])


BAD_ANNOTATIONS = {
    "broken": ("<annotation><object>", "not well-formed XML"),
    "empty": ("", "not well-formed XML"),
    "binary": (bytes(range(256)), "not well-formed XML"),
    "without a name": (
        "<annotation><object><bndbox/></object></annotation>",
        "object 1 lacks a name or a bndbox",
    ),
    "without a box": (
        "<annotation><object><name>cell</name></object></annotation>",
        "object 1 lacks a name or a bnd",
    ),
    "without a side": (
        annotation(GOOD, GOOD).replace(
            "<ymax>25</ymax></bndbox></object></a", "</bndbox></object></a"
        ),
        "object 2 lacks .*xmin, ymin, xmax and ymax",
    ),
    "words for numbers": (annotation(("cell", ("left", 5, 30, 25))), "object 1 lacks .* numbers"),
    "NaN": (annotation(("cell", (10, "nan", 30, 25))), "must be finite numbers"),
    "infinite": (annotation(("cell", (10, 5, "inf", 25))), "must be finite numbers"),
    "reversed": (
        annotation(GOOD, ("cell", (30, 5, 10, 25))),
        "object 2 .* corners reversed; swap min and max",
    ),
    "negative": (
        annotation(("cell", (-4, 5, 30, 25))),
        "outside the picture of 60 × 40 pixels; fix the box",
    ),
    "outside": (
        annotation(("cell", (10, 5, 30, 50))),
        "outside the picture of 60 × 40 pixels; fix the box",
    ),
    "of an unknown class": (
        annotation(("dog", (10, 5, 30, 25))),
        "unknown class 'dog'; the classes are cell, ring",
    ),
}


@pytest.mark.parametrize("xml, message", BAD_ANNOTATIONS.values(), ids=BAD_ANNOTATIONS)
def test_a_bad_annotation_is_named_with_what_is_wrong(tmp_path, xml, message):
    write_folder(tmp_path, {"fine": (plain(), annotation(GOOD)), "bad": (plain(), xml)})
    with pytest.raises(ValueError, match=r"(?s)Annotations/bad\.xml: .*" + message):
        VOCFolder(tmp_path, "trainval", ["cell", "ring"])


LAUGHS = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
BOMBS = {
    "billion laughs": "<!DOCTYPE annotation [<!ENTITY a0 "
    f'"ha">{LAUGHS}]><annotation>&a9;</annotation>',
    "quadratic": "<!DOCTYPE x [<!ENTITY a "
    f'"{"ha" * 50_000}">]><annotation>{"&a;" * 50_000}</annotation>',
    "external entity": "<!DOCTYPE x [<!ENTITY a SYSTEM "
    '"file:///etc/passwd">]><annotation>&a;</annotation>',
    "external document type": '<!DOCTYPE annotation SYSTEM "http://localhost/a.dtd"><annotation/>',
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_an_xml_bomb_is_refused_unread(tmp_path, bomb, encoding):
    folder = one_picture(tmp_path, bomb.encode(encoding))
    with pytest.raises(ValueError, match=r"a\.xml: declares a document type or entities.*refused"):
        VOCFolder(folder, "trainval", ["cell"])


def test_an_annotation_may_have_another_encoding(tmp_path):
    xml = f'<?xml version="1.0" encoding="utf-16"?>{annotation(("Zelle", (1, 2, 3, 4)))}'.encode(
        "utf-16"
    )
    assert VOCFolder(one_picture(tmp_path, xml), "trainval").classes == ("Zelle",)


@pytest.mark.parametrize("part", ["JPEGImages/a.jpg", "Annotations/a.xml"])
def test_a_file_that_the_image_set_names_and_that_is_missing_is_named(tmp_path, part):
    one_picture(tmp_path, annotation(GOOD))
    (tmp_path / part).unlink()
    with pytest.raises(ValueError, match=f"{part}: no such file, but the image set names it"):
        VOCFolder(tmp_path, "trainval")


def test_a_file_that_is_no_picture_shows_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"a\.jpg: not a picture that can be read"):
        VOCFolder(one_picture(tmp_path, annotation(GOOD), b"Once upon a time"), "trainval")


def test_an_empty_folder_says_what_belongs_there(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"trainval\.txt: no such file; a folder in VOC layout has JPEGImages/, Annot",
    ):
        VOCFolder(tmp_path, "trainval")


def test_an_empty_image_set_is_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"trainval\.txt: empty; write the names of the pictures into it"
    ):
        VOCFolder(write_folder(tmp_path, {}), "trainval")


# PASCAL VOC and BCCD. -----------------------------------------------------------------------------


def test_voc_is_read_through_torchvisions_layout(tmp_path):
    year = tmp_path / "VOCdevkit" / "VOC2007"
    write_folder(year, {"000001": (plain(), annotation(("dog", (1, 1, 30, 30), True)))})
    found = pascal_voc(tmp_path, "trainval")
    assert found.classes == VOC_CLASSES
    assert len(VOC_CLASSES) == 20
    assert found[0].labels.tolist() == [VOC_CLASSES.index("dog") + 1]
    assert len(pascal_voc(tmp_path, "trainval", difficult=False)[0].boxes) == 0


def test_voc_that_is_not_there_is_named_with_its_folder(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: no PASCAL VOC 2007 trainval here"):
        pascal_voc(tmp_path, "trainval")


def test_bccd_has_292_and_72_pictures_and_two_boxes_without_area(bccd_folder):
    with pytest.warns(UserWarning, match="without area") as caught:
        halves = [
            bccd(bccd_folder, image_set, download=False) for image_set in ("trainval", "test")
        ]
    assert [len(half) for half in halves] == [292, 72]
    assert sum(len(labels) for half in halves for _, _, labels, _ in half.items) == 4888 - 2
    flat = {word.strip(",:;") for w in caught for word in str(w.message).split() if ".xml" in word}
    assert len(flat) == 2
    for name in flat:
        text = (bccd_folder / "Annotations" / name).read_text()
        assert any(len(set(pair)) == 1 for pair in sides(text)), name


def sides(xml):
    """Minimum and maximum of every object, in x and in y."""
    numbers = [xml.split(f"<{side}>")[1:] for side in ("xmin", "xmax", "ymin", "ymax")]
    numbers = [[part.split("<")[0] for part in parts] for parts in numbers]
    return [*zip(*numbers[:2]), *zip(*numbers[2:])]


def test_bccd_is_what_was_published(bccd_folder):
    assert content_sha256(bccd_folder, BCCD.patterns) == BCCD.sha256


def zipped(folder, change=None):
    """A folder as GitHub would send it; ``change`` may alter a file's content, given its name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name, content = path.relative_to(folder), path.read_bytes()
                content = change(str(name), content) if change else content
                archive.writestr(f"BCCD_Dataset-master/BCCD/{name}", content)
        archive.writestr("BCCD_Dataset-master/README.md", "not part of the data")
    return file.getvalue()


def test_bccd_is_downloaded_and_verified(tmp_path, bccd_folder):
    asked = []
    root = tmp_path / "deep" / "bccd"
    download_data(BCCD, root, lambda url: asked.append(url) or zipped(bccd_folder))
    assert asked == [BCCD.url]
    assert content_sha256(root, BCCD.patterns) == BCCD.sha256
    assert not (tmp_path / "deep" / "bccd" / "README.md").exists()
    with warnings.catch_warnings(action="ignore"):
        assert len(bccd(tmp_path / "deep" / "bccd", "test", download=False)) == 72


@pytest.mark.parametrize(
    "part", ["Annotations/BloodImage_00000.xml", "JPEGImages/BloodImage_00001.jpg"]
)
def test_a_download_with_other_content_is_refused_and_the_folder_does_not_appear(
    tmp_path, bccd_folder, part
):
    tampered = zipped(
        bccd_folder, lambda name, content: content + b" " if name == part else content
    )
    with pytest.raises(ValueError, match="content is not that of BCCD as published"):
        download_data(BCCD, tmp_path / "bccd", lambda url: tampered)
    assert not (tmp_path / "bccd").exists()


def damaged(archive):
    """A zip whose directory is whole and whose first picture is not."""
    place = archive.index(b"\xff\xd8\xff") + 100
    return archive[:place] + bytes([archive[place] ^ 1]) + archive[place + 1 :]


@pytest.mark.parametrize(
    "damage", [lambda a: b"<html>not found</html>", lambda a: a[:1000], damaged]
)
def test_a_damaged_download_is_an_error_that_says_what_to_do(tmp_path, damage):
    picture = jpeg(Image.effect_noise((200, 200), 50))
    archive = zipped(one_picture(tmp_path / "source", annotation(GOOD), picture))
    with pytest.raises(ValueError, match="cannot be downloaded .*try again where .*unpack"):
        download_data(BCCD, tmp_path / "bccd", lambda url: damage(archive))
    assert not (tmp_path / "bccd").exists()


def test_no_network_is_an_error_that_says_what_to_do(tmp_path):
    def offline(url):
        raise OSError("Network is unreachable")

    with pytest.raises(
        ValueError, match="cannot be downloaded .*unreachable.*try again where .*unpack"
    ):
        download_data(BCCD, tmp_path / "bccd", offline)


def test_a_downloaded_archive_writes_nowhere_but_into_its_folder(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("BCCD_Dataset-master/BCCD/../../../escaped", "")
        archive.writestr("BCCD_Dataset-master/BCCD/Annotations/a.xml", "")
    with pytest.raises(ValueError, match="not that of BCCD as published"):
        download_data(BCCD, tmp_path / "deep" / "bccd", lambda url: file.getvalue())
    assert not [name for _, _, names in os.walk(tmp_path) for name in names if name == "escaped"]


def test_bccd_is_not_downloaded_if_that_is_not_allowed(tmp_path):
    with pytest.raises(
        ValueError, match="no BCCD here; allow the download, or put the data set there"
    ):
        bccd(tmp_path, "test", download=False)
