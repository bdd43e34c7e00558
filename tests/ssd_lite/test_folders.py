"""Appendix B: any folder of annotated pictures is read right, or refused by name."""

import json
import os
import re
import warnings
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from ssd_lite import check
from ssd_lite.annotations import Annotation, examine, read_annotation, read_yolo
from ssd_lite.data import collate, read_image
from ssd_lite.datasets import data_root, open_data
from ssd_lite.folders import by_kind, open_folder, survey_folder
from ssd_lite.formats import read_coco
from ssd_lite.layout import Files, hash_halves, read_names

ODD = data_root() / "odd_folders"
CARDS = data_root() / "cards"


def xml(*objects, size=None, extra=""):
    """VOC's XML; an object is a name and four corners."""
    parts = [
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{s}>{v}</{s}>" for s, v in zip(("xmin", "ymin", "xmax", "ymax"), box))
        + "</bndbox></object>"
        for name, *box in objects
    ]
    tag = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"<annotation>{tag}{extra}{''.join(parts)}</annotation>"


STAR = ("star", 10, 5, 30, 25)


def picture(path, size=(60, 40), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 60)).save(path, **options)


def flat(root, names, annotation=None):
    """Pictures with their XML beside them."""
    for name in names:
        picture(root / f"{name}.png")
        (root / f"{name}.xml").write_text(annotation or xml(STAR), encoding="utf-8")
    return root


def names_of(pictures):
    return {path.name for path, *_ in pictures.items}


# Every habit of real data that was collected. -----------------------------------------------------

READ = {  # folder: pictures to train on, held out, and a word of what is said about it
    "JPG_upper": (2, 1, "trainval and test"),
    "box_outside_by_a_fraction": (2, 1, ""),
    "box_outside_minus_1": (2, 1, ""),
    "box_outside_plus_1_5": (2, 1, "cut at the picture's edge by up to 1.5 px"),
    "class_only_in_test": (2, 1, "never learned and never found: cross"),
    "cvat_default_txt": (2, 1, "by a hash of its name"),
    "difficult_unspecified": (2, 1, ""),
    "exif3_labelled_unrotated": (2, 1, ""),  # cannot be known: appendix B
    "exif6_labelled_unrotated": (2, 1, "turned with its picture (EXIF 6)"),
    "flat_labelimg": (2, 1, "by a hash of its name"),
    "images_annotations": (2, 1, "by a hash of its name"),
    "jpeg_ext": (2, 1, ""),
    "list_with_bom": (2, 1, ""),
    "list_with_extension": (2, 1, ""),
    "names_with_blanks": (2, 1, ""),
    "png": (2, 1, ""),
    "roboflow": (2, 2, "the folders train and test"),
    "sixteen_bit": (2, 1, ""),
    "size_tag_differs": (2, 1, "scaled from 320 × 240 to 640 × 480"),
    "subset_of_classes": (2, 1, ""),
    "truncated_in_test": (4, 8, ""),  # a whole look finds it: ``check``
    "voc2012_lists_leak": (4, 2, "the lists train and val"),
    "xml_gb2312": (2, 1, "猫"),
}
REFUSED = {  # folder: what the error says
    "all_other_dialect": "3 problems: .*im000.xml: not VOC's XML: it begins with <annotations>",
    "coco": "1 annotated picture: too few to train on some and hold one out; add more",
    "empty_class_name": "3 problems: .*object 1 has an empty name; write its class there",
    "normalised_coordinates": "3 problems: .*these look like fractions of the picture",
    "only_negatives": "no object on any picture: nothing to learn; annotate some",
    "other_xml_dialect": "2 problems: .*it begins with <html>.*it begins with <annotations>",
    "xml_unknown_encoding": "3 problems: .*declares the encoding 'utf8mb4', which nobody knows",
    "yolo": "1 annotated picture: too few",
}


@pytest.mark.skipif(not ODD.is_dir(), reason="needs the odd folders in data/ or SSD_LITE_DATA")
def test_every_odd_folder_has_its_outcome():
    assert {path.name for path in ODD.iterdir() if path.is_dir()} == READ.keys() | REFUSED.keys()


@pytest.mark.skipif(not ODD.is_dir(), reason="needs the odd folders in data/ or SSD_LITE_DATA")
@pytest.mark.parametrize("name", READ)
def test_an_odd_folder_that_is_read(name):
    train, test, said = READ[name]
    survey = survey_folder(ODD / name)
    assert not survey.problems
    assert (len(survey.train), len(survey.test)) == (train, test)
    assert said in check.long_form(survey)
    assert not names_of(survey.train) & names_of(survey.test) or name == "roboflow"  # by folder
    collate([survey.train[0]])


@pytest.mark.skipif(not ODD.is_dir(), reason="needs the odd folders in data/ or SSD_LITE_DATA")
@pytest.mark.parametrize("name", REFUSED)
def test_an_odd_folder_that_is_refused_with_all_its_problems(name):
    with pytest.raises(ValueError, match="(?s)" + REFUSED[name]):
        open_folder(ODD / name)


@pytest.mark.skipif(not CARDS.is_dir(), reason="needs the cards in data/ or SSD_LITE_DATA")
def test_the_playing_cards_are_read_as_published():
    survey = open_folder(CARDS)
    assert (len(survey.train), len(survey.test)) == (296, 67)
    assert survey.train.classes == ("ace", "jack", "king", "nine", "queen", "ten")
    assert (
        sum(len(labels) for half in (survey.train, survey.test) for _, _, labels, _ in half.items)
        == 670
    )


# The same objects in three forms. -----------------------------------------------------------------


def three_forms(root, count=6):
    """VOC, COCO and YOLO copies of the same pictures and boxes."""
    rng = np.random.default_rng(0)
    images, objects, number = [], [], 0
    for i in range(count):
        width, height = int(rng.integers(40, 200)), int(rng.integers(40, 200))
        low = rng.uniform(0, 0.5, (2, 2)) * [width, height]
        boxes = np.concatenate([low, low + rng.uniform(5, 18, (2, 2))], axis=1).round(1)
        named = [("cat", *boxes[0]), ("dog", *boxes[1])]
        for form in ("voc", "coco", "yolo/images"):
            picture(root / form / f"p{i}.png", (width, height))
        (root / "voc" / f"p{i}.xml").write_text(xml(*named, size=(width, height)))
        lines = []
        for k, box in enumerate(boxes):
            number += 1
            corner, side = box[:2], box[2:] - box[:2]
            bbox = [*corner, *side]
            objects.append({"id": number, "image_id": i, "category_id": k + 1, "bbox": bbox})
            center = (box[:2] + box[2:]) / 2 / [width, height]
            lines.append(" ".join(map(str, [k, *center, *(side / [width, height])])))
        images.append({"id": i, "file_name": f"p{i}.png", "width": width, "height": height})
        (root / "yolo/labels").mkdir(parents=True, exist_ok=True)
        (root / "yolo/labels" / f"p{i}.txt").write_text("\n".join(lines))
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": objects, "categories": categories}
    (root / "coco" / "instances.json").write_text(json.dumps(content))
    (root / "yolo/data.yaml").write_text("names: {0: cat, 1: dog}\n")


def test_voc_coco_and_yolo_give_the_same_boxes_and_halves(tmp_path):
    three_forms(tmp_path)
    voc, coco, yolo = (open_folder(tmp_path / form) for form in ("voc", "coco", "yolo"))
    assert [s.form for s in (voc, coco, yolo)] == ["VOC's XML", "COCO's JSON", "YOLO's text"]
    for other in (coco, yolo):
        for half in ("train", "test"):
            ours, theirs = getattr(voc, half), getattr(other, half)
            assert ours.classes == theirs.classes == ("cat", "dog")
            assert [p.name for p, *_ in ours.items] == [p.name for p, *_ in theirs.items]
            for a, b in zip(ours.items, theirs.items):
                np.testing.assert_allclose(a[1], b[1], atol=1e-6)
                assert a[2:] == b[2:]


def test_a_crowd_is_difficult_and_a_polygon_becomes_its_box(tmp_path):
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1}
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [entry],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_coco(tmp_path / "a.json")["a.png"]().difficult == [True]
    (tmp_path / "a.txt").write_text("0 0.1 0.2 0.5 0.2 0.3 0.6\n")
    assert read_yolo(tmp_path / "a.txt", ["cat"]).boxes.tolist() == [[0.1, 0.2, 0.5, 0.6]]


@pytest.mark.parametrize(
    "line, message",
    [
        ("5 0.5 0.5 0.1 0.1", "class 5, but there are 2 names"),
        ("0 0.5 0.5 0.1", "line 1: '0 0.5 0.5 0.1' is not a class's number and four fractions"),
        ("cat 0.5 0.5 0.1 0.1", "is not a class's number"),
        ("0 30 40 12 12", "is in pixels; YOLO's numbers are fractions"),
        ("0 nan 0.5 0.1 0.1", "must be finite"),
    ],
)
def test_a_wrong_line_of_yolos_text_is_named(tmp_path, line, message):
    (tmp_path / "a.txt").write_text(line)
    with pytest.raises(ValueError, match=r"a\.txt: .*" + message):
        read_yolo(tmp_path / "a.txt", ["cat", "dog"])


# Pictures and their boxes. ------------------------------------------------------------------------


@pytest.mark.parametrize("turn", range(1, 9))
def test_boxes_of_a_picture_as_stored_are_turned_with_it(tmp_path, turn):
    """The bright place of a photograph that lies on its side, or in the mirror."""
    pixels = np.zeros((30, 50, 3), dtype=np.uint8)
    pixels[6:11, 20:34] = 255  # y, x
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    as_stored = Annotation(np.array([[20.0, 6, 34, 11]]), ["star"], [False], (50, 30))
    seen = read_image(tmp_path / "a.png")[0] > 127
    y, x = seen.nonzero().unbind(1)
    there = [x.min(), y.min(), x.max() + 1, y.max() + 1]
    if turn >= 5:
        found = examine(as_stored, tmp_path / "a.png", tmp_path / "a.xml")
        assert found.annotation.boxes[0].tolist() == [int(v) for v in there]
        assert found.repairs == [f"turned with its picture (EXIF {turn})"]
    upright = as_stored._replace(
        boxes=np.array([[float(v) for v in there]]), size=(seen.shape[1], seen.shape[0])
    )
    found = examine(upright, tmp_path / "a.png", tmp_path / "a.xml")
    assert found.annotation.boxes.tolist() == upright.boxes.tolist()
    assert not found.repairs


def test_another_pictures_size_is_refused(tmp_path):
    picture(tmp_path / "a.png", (60, 40))
    with pytest.raises(ValueError, match="for a picture of 40 × 40 pixels, but a.png has 60 × 40"):
        examine(
            Annotation(np.zeros((0, 4)), [], [], (40, 40)), tmp_path / "a.png", tmp_path / "a.xml"
        )


@pytest.mark.parametrize("side, slack", [(60, 3), (150, 3), (400, 8)])
def test_a_box_may_reach_outside_by_3_pixels_or_2_percent_and_is_cut(tmp_path, side, slack):
    picture(tmp_path / "a.png", (side, side))
    found = Annotation(np.array([[5.0, 5, side + slack, 30]]), ["star"], [False])
    where = tmp_path / "a.png", tmp_path / "a.xml"
    assert examine(found, *where).annotation.boxes.tolist() == [[5, 5, side, 30]]
    with pytest.raises(ValueError, match="reaches outside the picture"):
        examine(found._replace(boxes=found.boxes + [0, 0, 0.1, 0]), *where)


@pytest.mark.parametrize("dtype, low, high", [("uint16", 900, 1900), ("float32", -0.5, 2.5)])
def test_more_than_8_bits_of_gray_are_scaled_from_darkest_to_brightest(tmp_path, dtype, low, high):
    levels = np.linspace(low, high, 64).reshape(8, 8).astype(dtype)
    Image.fromarray(levels).save(tmp_path / "a.tif")
    image = read_image(tmp_path / "a.tif")
    assert (image.min(), image.max()) == (0, 255)
    expected = (levels.astype(float) - levels.min()) / (float(levels.max()) - levels.min()) * 255
    assert np.abs(image[0].numpy() - expected).max() <= 0.5


# Who is held out. ---------------------------------------------------------------------------------


def test_more_pictures_never_make_one_change_sides(tmp_path):
    names = [f"photo {i}" for i in range(60)]
    few, many = (
        hash_halves([tmp_path / f"{name}.jpg" for name in some], []) for some in (names[:40], names)
    )
    assert set(few[0]) <= set(many[0])
    assert set(few[1]) <= set(many[1])
    thousand = hash_halves([tmp_path / f"{i}.jpg" for i in range(1000)], [])
    assert 170 < len(thousand[1]) < 230  # a fifth


def test_overlaps_are_held_out_and_named(tmp_path):
    flat(tmp_path, "abc")
    (tmp_path / "train.txt").write_text("a\nb\nc\n")
    (tmp_path / "test.txt").write_text("c\nb\n")
    survey = open_folder(tmp_path)
    assert names_of(survey.train) == {"a.png"}
    assert any("2 pictures are in train and in test" in note for note in survey.notes)


def test_the_same_list_for_both_halves_is_refused(tmp_path):
    flat(tmp_path, "abc")
    for part in ("train", "val"):
        (tmp_path / f"{part}.txt").write_text("a\nb\nc\n")
    with pytest.raises(ValueError, match="train and val name the same pictures"):
        open_folder(tmp_path)


def test_a_list_that_names_a_missing_picture_and_one_name_twice(tmp_path):
    flat(tmp_path, "abc")
    (tmp_path / "train.txt").write_text("a\na\nz\n")
    (tmp_path / "test.txt").write_text("c\n")
    survey = survey_folder(tmp_path)
    assert any("names 'z', but there is no such picture" in p for p in survey.problems)
    assert any("named twice: a" in note for note in survey.notes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_names_with_blanks_in_any_alphabet_and_encoding(tmp_path, encoding):
    names = ["photo", "photo 1", "photo (1)", "第一 张", "Ärger -1", "train"]
    flat(tmp_path, names)
    path = tmp_path / "ImageSets/Main/train.txt"
    path.parent.mkdir(parents=True)
    lines = ["photo", "photo 1", "photo (1).png", "images/第一 张", "Ärger -1.png", "train  1"]
    path.write_bytes("\r\n".join(lines).encode(encoding))
    files = Files(tmp_path)
    found = [files.picture(name, near=path).stem for name in read_names(path, files)]
    assert found == names


def test_two_pictures_of_one_name_belong_to_the_folders_they_are_in(tmp_path):
    for part, box in (("train", (1, 2, 20, 21)), ("valid", (5, 6, 30, 31))):
        picture(tmp_path / part / "images" / "a.png")
        (tmp_path / part / "labels").mkdir()
        (tmp_path / part / "labels" / "a.xml").write_text(xml(("star", *box)))
    survey = open_folder(tmp_path)
    assert survey.train.items[0][1].tolist() == [[1, 2, 20, 21]]
    assert survey.test.items[0][1].tolist() == [[5, 6, 30, 31]]


def test_what_is_alone_is_named(tmp_path):
    flat(tmp_path, "abcd")
    os.remove(tmp_path / "a.png")
    os.remove(tmp_path / "b.xml")
    notes = open_folder(tmp_path).notes
    assert "1 annotation has no picture, so left out: a.xml" in notes
    assert any("1 picture has no annotation, so left out" in note for note in notes)


def test_a_folder_without_pictures_or_without_annotations_says_what_belongs_there(tmp_path):
    with pytest.raises(ValueError, match="no pictures in it; expected pictures with annotations"):
        open_folder(tmp_path)
    picture(tmp_path / "a.png")
    with pytest.raises(ValueError, match="pictures, but no annotations; expected VOC's XML"):
        open_folder(tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        open_folder(tmp_path / "b")


# What labeling tools' exports have shown. ---------------------------------------------------------

CAT = {"id": 1, "name": "cat"}


def coco(path, names, entries):
    """A COCO file; an entry is a picture's number, from 1 on, and a box."""
    images = [{"id": i, "file_name": name} for i, name in enumerate(names, start=1)]
    objects = [
        {"id": i, "image_id": image, "category_id": 1, "bbox": box}
        for i, (image, box) in enumerate(entries, start=1)
    ]
    content = {"images": images, "annotations": objects, "categories": [CAT]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path.parent


def yolo(root, names, line="0 0.5 0.5 0.2 0.2", classes="cat\n"):
    """Pictures with YOLO's text beside them."""
    for name in names:
        picture(root / f"{name}.png")
        (root / f"{name}.txt").write_text(line)
    (root / "classes.txt").write_text(classes)
    return root


BOX = [10, 5, 20, 15]


def test_a_yolo_label_without_a_picture_is_named(tmp_path):
    yolo(tmp_path, "abcd")
    os.remove(tmp_path / "d.png")
    (tmp_path / "train.txt").write_text("a.png\nb.png\nc.png\n")
    notes = open_folder(tmp_path).notes
    assert "1 annotation has no picture, so left out: d.txt" in notes


def test_names_as_in_an_address(tmp_path):
    names = ["Müller größe.png", "100%.png", "a%20b.png"]
    for name in names:
        picture(tmp_path / "images" / name)
    encoded = ["images/M%C3%BCller%20gr%C3%B6%C3%9Fe.png", "100%25.png", "a%20b.png"]
    coco(tmp_path / "a.json", encoded, [(1, BOX), (2, BOX), (3, BOX)])
    survey = open_folder(tmp_path)
    assert names_of(survey.train) | names_of(survey.test) == set(names)


@pytest.mark.parametrize(
    "versions",
    [
        ["{}_jpg.rf.00aaBB11", "{}_jpg.rf.7c9d5e6b"],
        ["{}", "0069b66a-{}", "c0067101-{}"],
        ["{}", "{} (1)"],
    ],
)
def test_versions_of_one_photograph_stay_in_one_half(versions):
    paths = [Path(version.format(f"IMG_{i}") + ".jpg") for i in range(60) for version in versions]
    train, test = hash_halves(paths, [])
    assert len(train) + len(test) == len(paths)
    numbers = [{re.search(r"IMG_\d+", path.stem)[0] for path in half} for half in (train, test)]
    assert not numbers[0] & numbers[1]
    assert len(numbers[0]) > len(numbers[1]) > 1


def test_numbered_downloads_and_dates_are_different_photographs():
    names = [f"images ({i}).jpg" for i in range(2, 60)] + [
        f"202405{i}-a.jpg" for i in range(10, 40)
    ]
    train, test = hash_halves(map(Path, names), [])
    assert len(train) > 50 and len(test) > 5


def test_check_names_pictures_that_are_byte_for_byte_in_both_halves(tmp_path):
    for part in ("train", "test"):
        flat(tmp_path / part, ["a" + part, "b" + part])
    Image.new("RGB", (60, 40)).save(tmp_path / "train" / "atrain.png")
    (note,) = check.copies(open_folder(tmp_path))
    assert note.startswith("2 held-out pictures are also trained on, byte for byte")
    assert f"{Path('test/atest.png')} is {Path('train/btrain.png')}" in note


def test_an_annotation_without_objects_is_named(tmp_path):
    yolo(tmp_path, "abcd")
    (tmp_path / "b.txt").write_text("")
    notes = open_folder(tmp_path).notes
    assert "1 picture has an annotation without objects and counts as background: b.png" in notes


@pytest.mark.parametrize(
    "name, said",
    [("a/IMG_1.png", True), ("b/IMG_1.png", False), (r"C:\cards\pictures\IMG_1.png", False)],
)
def test_a_picture_that_is_found_in_another_folder_is_named(tmp_path, name, said):
    for path in ("a/x.png", "a/y.png", "b/IMG_1.png"):
        picture(tmp_path / path)
    coco(tmp_path / "a.json", [name, "a/x.png", "y.png"], [(1, BOX), (2, BOX)])
    notes = open_folder(tmp_path).notes
    assert said == any("1 picture was found by name alone, in other folders" in n for n in notes)


def test_what_pillow_cannot_read_is_named(tmp_path):
    for name in ("a.HEIC", "b.heic", "c.mp4"):
        (tmp_path / name).write_bytes(b"no picture")
    message = r"2 \.heic files: Pillow cannot read such pictures here; convert them.*1 \.mp4 file: "
    with pytest.raises(ValueError, match="no pictures in it; " + message):
        open_folder(tmp_path)
    notes = open_folder(flat(tmp_path, "xyz")).notes
    assert any(note.startswith("2 .heic files: ") for note in notes)


def test_pictures_outside_cocos_json_are_counted(tmp_path):
    for name in "abcd":
        picture(tmp_path / f"{name}.png")
    coco(tmp_path / "a.json", ["a.png", "b.png"], [(1, BOX), (2, BOX)])
    assert any(
        "2 pictures have no annotation, so left out" in n for n in open_folder(tmp_path).notes
    )


def test_one_stray_xml_hides_no_other_labels(tmp_path):
    yolo(tmp_path, "abc")
    (tmp_path / "annotations.xml").write_text("<annotations/>")
    survey = open_folder(tmp_path)
    assert survey.form == "YOLO's text"
    assert any("not 1 file with labels in another form: annotations.xml" in n for n in survey.notes)
    (tmp_path / "a.xml").write_text(xml(STAR))
    (tmp_path / "b.xml").write_text(xml(STAR))
    survey = open_folder(tmp_path)
    assert survey.form == "VOC's XML"
    assert any("not 3 files with labels in another form: a.txt" in n for n in survey.notes)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("annotations.xml", "<annotations/>", "begins with <annotations>.*as 'PASCAL VOC'"),
        ("b.xml", "<annotation/>", "b.xml: no picture has its name"),
        ("b.json", '[{"data": {}, "annotations": []}]', "b.json: that is Label Studio's own JSON"),
        ("b.json", '[{"image_id": 1, "bbox": []}]', "b.json: that is COCO's list of results"),
        ("a.json", '{"shapes": []}', "a.json: that is LabelMe's own JSON; export"),
        ("b.json", '{"images": [], "categories": []}', "b.json: not COCO's JSON.*: it lacks annot"),
        ("b.json", '{"images": [{"id"', "b.json: not a whole JSON file .*; export it again"),
        ("b.json", "7", "b.json: not COCO's JSON.*: it lacks images, annotations, categories"),
    ],
)
def test_what_is_no_annotation_is_named_with_what_it_lacks(tmp_path, name, content, message):
    picture(tmp_path / "a.png")
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"pictures, but no annotations; .*there is .*{message}"):
        open_folder(tmp_path)


def test_all_wrong_entries_of_coco_come_at_once(tmp_path):
    for name in "abcd":
        picture(tmp_path / f"{name}.png")
    entries = [(1, [1, 2, 3]), (2, BOX), (3, [1, 2, "x", 4]), (4, BOX)]
    coco(tmp_path / "a.json", [f"{name}.png" for name in "abcd"], entries)
    survey = survey_folder(tmp_path)
    assert [p.split(": ")[1] for p in survey.problems] == [
        "annotation 1 lacks a known category_id or a bbox of four numbers",
        "annotation 3 lacks a known category_id or a bbox of four numbers",
    ]
    assert len(survey.train) + len(survey.test) == 2
    coco(tmp_path / "a.json", ["a.png"], [(1, BOX), (7, BOX), (9, BOX)])
    with pytest.raises(ValueError, match="annotations of images 7, 9, but no such images"):
        open_folder(tmp_path)


def test_the_contact_sheet_shows_both_halves_with_names_and_without_scores(tmp_path, monkeypatch):
    for part, count in (("train", 30), ("test", 10)):
        flat(tmp_path / part, [f"{part}{i}" for i in range(count)])
    survey = open_folder(tmp_path)
    seen = check.read_all(survey)
    names = [Path(sample.name).name for sample in seen]
    assert len(names) == 12
    assert sum(name.startswith("test") for name in names) == 3
    written, text = [], ImageDraw.ImageDraw.text

    def spy(pen, where, words, *arguments, **options):
        written.append(words.strip())
        return text(pen, where, words, *arguments, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    check.contact_sheet(seen, survey.train.classes)
    assert sorted(written) == sorted([*names, *["star"] * 12])


def test_another_pictures_name_inside_is_named(tmp_path):
    flat(tmp_path, "abc")
    inside = {"a": "b.JPG", "b": "b.png", "c": "IMG_7.JPG"}  # IMG_7 is not here any more
    for name, other in inside.items():
        (tmp_path / f"{name}.xml").write_text(xml(STAR, extra=f"<filename>{other}</filename>"))
    notes = open_folder(tmp_path).notes
    assert any("1 annotation names another file inside (a.xml: b.JPG)" in n for n in notes)


@pytest.mark.parametrize(
    "name, message",
    [("a.xml", "a.xml: a file, not a folder; name"), ("a.zip", "a.zip: .*; unpack it first")],
)
def test_a_file_instead_of_a_folder(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=message):
        open_folder(tmp_path / name)
    with pytest.raises(ValueError, match=message):
        open_data(str(tmp_path / name), tmp_path, 96, False)
    if name == "a.zip":
        with pytest.raises(ValueError, match="no pictures in it; a.zip: unpack it first"):
            open_folder(tmp_path)


def test_one_cause_is_told_in_few_lines():
    lines = [f"my/{c}.txt: line {i}: '0 {i}.5' is wrong" for i, c in enumerate("abcdef")]
    shown = by_kind([*lines, "my/g.txt: odd"])
    assert shown == [*lines[:3], "3 more of this kind, in d.txt, e.txt, f.txt", "my/g.txt: odd"]


def test_corners_instead_of_sizes_are_guessed(tmp_path):
    for name in "abc":
        picture(tmp_path / "coco" / f"{name}.png")
    corners = [30, 20, 55, 35]  # of pictures of 60 × 40
    entries = [(1, corners), (2, corners), (3, BOX)]
    coco(tmp_path / "coco" / "a.json", ["a.png", "b.png", "c.png"], entries)
    yolo(tmp_path / "yolo", "abc", "0 0.1 0.1 0.9 0.9")
    for form in ("coco", "yolo"):
        problems = survey_folder(tmp_path / form).problems
        assert any("are they corners x, y, x, y?" in problem for problem in problems)


def test_names_of_classes_from_1_on_are_refused(tmp_path):
    yolo(tmp_path, "abc")
    (tmp_path / "data.yaml").write_text("names: {1: cat, 2: dog}")
    with pytest.raises(ValueError, match="data.yaml: names must be numbered from 0, not 1, 2"):
        open_folder(tmp_path)


def test_label_studios_notes_name_the_classes(tmp_path):
    yolo(tmp_path, "abc", "1 0.5 0.5 0.2 0.2")
    os.remove(tmp_path / "classes.txt")
    categories = [{"id": 1, "name": "dog"}, {"id": 0, "name": "cat"}]
    (tmp_path / "notes.json").write_text(json.dumps({"categories": categories}))
    assert open_folder(tmp_path).train.classes == ("dog",)


# Classes. -----------------------------------------------------------------------------------------


def test_some_of_the_classes(tmp_path):
    flat(tmp_path, "abc", xml(STAR, ("dog", 1, 1, 9, 9), ("cat", 2, 2, 9, 9)))
    data = open_data(str(tmp_path), tmp_path, 96, False, ("cat", "star"))
    assert data.classes == ("cat", "star")
    assert data.train.items[0][2] == [2, 1]
    assert any("count as background: dog" in note for note in data.survey.notes)
    with pytest.raises(ValueError, match="no object is called cow; there are cat, dog, star"):
        open_folder(tmp_path, ("cow",))


def test_odd_names_of_classes(tmp_path):
    flat(tmp_path, "abc", xml(STAR, ("Star", 1, 1, 9, 9)))
    assert any(
        "'Star' and 'star' are taken for different" in n for n in open_folder(tmp_path).notes
    )
    (tmp_path / "a.xml").write_text(xml(("background", 1, 1, 9, 9)))
    with pytest.raises(ValueError, match="a class is called 'background'"):
        open_folder(tmp_path)


# Check. -------------------------------------------------------------------------------------------


def test_check_prints_all_and_draws_a_sheet(tmp_path, capsys):
    flat(tmp_path / "mine", "abcde")
    (tmp_path / "mine" / "a.png").write_bytes((tmp_path / "mine" / "a.png").read_bytes()[:-30])
    (tmp_path / "mine" / "b.xml").write_text(xml(("star", 10, 5, 130, 25)))
    args = Namespace(folder=tmp_path / "mine", classes=None, out=tmp_path / "s.jpg")
    with pytest.raises(SystemExit):
        check.check_command(args)
    said = capsys.readouterr().out
    assert "to be fixed: " in said
    assert "a.png: not a picture that can be read" in said
    assert "b.xml: the box [10.0, 5.0, 130.0, 25.0] reaches outside" in said
    assert Image.open(tmp_path / "s.jpg").width > 1000


# Anything at all. ---------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-5, 70), st.floats(-5, 70), st.sampled_from(["", "x", "nan", "1e9", "-0.0", "½"])
)
objects = st.lists(
    st.tuples(
        st.sampled_from(["star", "", " Star", "猫", "<b/>"]), numbers, numbers, numbers, numbers
    ),
    max_size=3,
)
sizes = st.one_of(st.none(), st.tuples(st.integers(0, 90), st.integers(0, 90)), st.just((60, 40)))


@settings(max_examples=1500, deadline=None)
@given(objects, sizes, st.sampled_from(["", "<part>", "<object/>", "<difficult>9</difficult>"]))
def test_any_annotation_is_read_right_or_refused(tmp_path_factory, found, size, extra):
    """Never a box that lies elsewhere, never an error from the depths."""
    root = tmp_path_factory.getbasetemp() / "fuzz"
    if not root.exists():
        picture(root / "a.png")
    source = root / "a.xml"
    source.write_text(xml(*found, size=size, extra=extra), encoding="utf-8")
    try:
        examined = examine(read_annotation(source), root / "a.png", source)
    except ValueError as error:
        assert str(source) in str(error) or "a.png" in str(error)
        return
    boxes = examined.annotation.boxes
    assert len(boxes) == len(examined.annotation.names) == len(examined.annotation.difficult)
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes >= 0).all()
    assert (boxes <= [60, 40, 60, 40]).all()
    scale = 60 / size[0] if size and 0 not in size and size != (60, 40) else 1
    written = [[float(v) * scale for v in box] for _, *box in found]
    for box in boxes:  # each is where one was written, but for the edge
        assert any(np.abs(np.clip(w, 0, [60, 40, 60, 40]) - box).max() < 1e-6 for w in written)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_as_a_list_give_names_of_pictures_or_of_none(tmp_path_factory, content):
    root = tmp_path_factory.getbasetemp() / "lists"
    if not root.exists():
        flat(root, "ab")
    (root / "train.txt").write_bytes(content)
    with warnings.catch_warnings(action="ignore"):
        survey = survey_folder(root)
    assert names_of(survey.train) | names_of(survey.test) <= {"a.png", "b.png"}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([".json", ".xml", ".txt"]))
def test_any_bytes_as_an_annotation_are_read_or_refused_by_name(tmp_path_factory, content, ending):
    path = Path(tmp_path_factory.getbasetemp()) / f"fuzzed{ending}"
    path.write_bytes(content)
    read = {
        ".json": read_coco,
        ".xml": read_annotation,
        ".txt": lambda path: read_yolo(path, ["a"]),
    }[ending]
    try:
        read(path)
    except ValueError as error:
        assert str(path) in str(error)
