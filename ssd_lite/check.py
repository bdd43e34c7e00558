"""Appendix B. What is in a folder, in words and as a sheet of pictures with their boxes."""

import argparse
import hashlib
from collections import Counter
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from ssd_lite.data import Sample
from ssd_lite.detection import Detections
from ssd_lite.drawing import draw
from ssd_lite.folders import Pictures, Survey, by_kind, survey_folder
from ssd_lite.fonts import Font, font_file
from ssd_lite.layout import count, few, same_text

SHEET = 12  # pictures on a contact sheet
THUMBNAIL, MARGIN, CAPTION = 320, 8, 18  # a picture's longest side there, and around it; pixels


def check_command(args: argparse.Namespace) -> None:
    """Print what a folder holds, and draw a contact sheet of its pictures with their boxes."""
    survey = survey_folder(args.folder, args.classes)
    seen = read_all(survey)
    survey.notes += copies(survey)
    print(long_form(survey))
    if seen:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(seen, survey.train.classes).save(args.out)
        print(f"{len(seen)} of them with their boxes: {args.out}. Look at it: swapped axes or")
        print("shifted boxes show nowhere else.")
    if survey.problems:
        raise SystemExit(1)


def read_all(survey: Survey) -> list[Sample]:
    """Read every picture, since only that finds truncated ones; return some of both halves."""
    places = [(half, i) for half in (survey.train, survey.test) for i in range(len(half))]
    shown = {round(k * (len(places) - 1) / (SHEET - 1)) for k in range(SHEET)}
    seen = []
    reading = tqdm(places, unit="picture", leave=False, desc="reading")
    for place, (half, i) in enumerate(reading):
        try:
            sample = half[i]
        except ValueError as error:
            survey.problems.append(str(error))
            continue
        if place in shown:
            seen.append(sample)
    return seen


def copies(survey: Survey) -> list[str]:
    """A note about held-out pictures that are also trained on, under another name."""

    def digest(path: Path) -> bytes:
        return hashlib.sha256(path.read_bytes()).digest()

    # Only files of one length can be equal, so few are read once more.
    held_out = [path for path, *_ in survey.test.items]
    lengths = {path.stat().st_size for path in held_out}
    trained = {
        digest(path): path for path, *_ in survey.train.items if path.stat().st_size in lengths
    }
    twins = [
        f"{path.relative_to(survey.root)} is {trained[found].relative_to(survey.root)}"
        for path in held_out
        if trained and (found := digest(path)) in trained
    ]
    if not twins:
        return []
    pictures = count(len(twins), "held-out picture is", "held-out pictures are")
    return [f"{pictures} also trained on, byte for byte; remove the copies: {few(twins)}"]


def short_form(survey: Survey) -> str:
    """A folder in a few lines: what ``train`` says before it begins."""
    lines = [
        f"{survey.root}: {survey.form}; held out: {survey.split}",
        table(survey.train, survey.test),
        *(f"note: {note}" for note in survey.notes),
    ]
    return "\n".join(lines)  # of repairs, open_folder has warned


def long_form(survey: Survey) -> str:
    """Everything about a folder, with the objects' sizes, every repair and every problem."""
    lines = [
        f"{survey.root}: {survey.form}; held out: {survey.split}",
        table(survey.train, survey.test),
        sizes(survey.train),
        *(f"note: {note}" for note in survey.notes),
        *(f"repaired: {repair}" for repair in by_kind(survey.repairs)),
        *(f"to be fixed: {problem}" for problem in by_kind(survey.problems)),
    ]
    return "\n".join(line for line in lines if line)


def table(train: Pictures, test: Pictures) -> str:
    """Pictures and objects of each class in both halves."""
    learned, measured = (
        Counter(label for _, _, labels, _ in half.items for label in labels)
        for half in (train, test)
    )
    width = max([8, *(len(name) for name in train.classes)])
    rows = [("pictures", len(train), len(test))]
    rows += [(name, learned[i], measured[i]) for i, name in enumerate(train.classes, start=1)]
    lines = [f"{'':{width}}  to train on  held out"]
    return "\n".join([*lines, *(f"{name:{width}}  {a:11}  {b:8}" for name, a, b in rows)])


def sizes(pictures: Pictures) -> str:
    """How large the objects are, as a share of their pictures' sides."""
    shares = []
    for path, boxes, _, _ in pictures.items:
        if len(boxes):
            with Image.open(path) as picture:  # the head alone
                side = (picture.width * picture.height) ** 0.5
            shares += ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) ** 0.5 / side).tolist()
    if not shares:
        return ""
    low, middle, high = torch.tensor(shares).quantile(torch.tensor([0.05, 0.5, 0.95])).tolist()
    return (
        f"objects are {middle:.0%} of their picture's side, most between {low:.0%} and {high:.0%}"
    )


def contact_sheet(samples: list[Sample], classes: tuple[str, ...]) -> Image.Image:
    """Pictures with their boxes, classes and file names, four in a row."""
    rows, wide, high = -(-len(samples) // 4), THUMBNAIL + MARGIN, THUMBNAIL + CAPTION + MARGIN
    sheet = Image.new("RGB", (4 * wide, rows * high), "white")
    pen = ImageDraw.Draw(sheet)
    for i, sample in enumerate(samples):
        x, y = i % 4 * wide, i // 4 * high
        picture = thumbnail(sample, classes)
        sheet.paste(picture, (x, y))
        name, font = caption(sample)
        pen.text((x, y + picture.height + 2), name, fill="black", font=font)
    return sheet


def caption(sample: Sample) -> tuple[str, Font]:
    """As much of a picture's file name as there is room for, and a font that has its letters."""
    name = same_text(Path(sample.name).name)
    file = font_file(name)
    font = ImageFont.truetype(file, 12) if file else ImageFont.load_default(12)
    fits = sum(font.getlength(name[:end]) <= THUMBNAIL for end in range(1, len(name) + 1))
    return name[:fits], font


def thumbnail(sample: Sample, classes: tuple[str, ...]) -> Image.Image:
    """A small picture with its boxes and their classes."""
    height, width = sample.image.shape[1:]
    boxes = sample.boxes * torch.tensor([width, height, width, height])
    truth = Detections(boxes, torch.full((len(boxes),), torch.inf), sample.labels)
    picture = draw(sample.image, truth, classes)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    return picture
