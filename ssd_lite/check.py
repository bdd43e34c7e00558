"""Appendix B. What is in a folder, in words and as a sheet of pictures with their boxes."""

import argparse
from collections import Counter

import torch
from PIL import Image
from tqdm import tqdm

from ssd_lite.data import Sample
from ssd_lite.detection import Detections
from ssd_lite.drawing import draw
from ssd_lite.folders import Pictures, Survey, survey_folder

SHEET = 12  # pictures on a contact sheet
THUMBNAIL = 320  # longest side of each, in pixels


def check_command(args: argparse.Namespace) -> None:
    """Print what a folder holds, and draw a contact sheet of its pictures with their boxes."""
    survey = survey_folder(args.folder, args.classes)
    # Only a whole look finds a picture that ends too soon.
    seen: list[Sample] = []
    for half in (survey.train, survey.test):
        for i in tqdm(range(len(half)), unit="picture", leave=False, desc="reading"):
            try:
                sample = half[i]
            except ValueError as error:
                survey.problems.append(str(error))
                continue
            if len(seen) < SHEET:
                seen.append(sample)
    print(long_form(survey))
    if seen:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(seen, survey.train.classes).save(args.out)
        print(f"{len(seen)} of them with their boxes: {args.out}. Look at it: swapped axes or")
        print("shifted boxes show nowhere else.")
    if survey.problems:
        raise SystemExit(1)


def short_form(survey: Survey) -> str:
    """A folder in a few lines: what ``train`` says before it begins."""
    lines = [
        f"{survey.root}: {survey.form}; held out: {survey.split}",
        table(survey.train, survey.test),
        *(f"note: {note}" for note in survey.notes),
    ]
    return "\n".join(lines)  # of repairs, open_folder has warned


def long_form(survey: Survey) -> str:
    """Everything about a folder: also the objects' sizes, every repair and every problem."""
    lines = [
        f"{survey.root}: {survey.form}; held out: {survey.split}",
        table(survey.train, survey.test),
        sizes(survey.train),
        *(f"note: {note}" for note in survey.notes),
        *(f"repaired: {repair}" for repair in survey.repairs),
        *(f"to be mended: {problem}" for problem in survey.problems),
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
    """Pictures with their boxes and classes, four in a row."""
    drawn = []
    for sample in samples:
        height, width = sample.image.shape[1:]
        boxes = sample.boxes * torch.tensor([width, height, width, height])
        truth = Detections(boxes, torch.ones(len(boxes)), sample.labels)
        picture = draw(sample.image, truth, classes)
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        drawn.append(picture)
    rows = -(-len(drawn) // 4)
    sheet = Image.new("RGB", (4 * (THUMBNAIL + 8), rows * (THUMBNAIL + 8)), "white")
    for i, picture in enumerate(drawn):
        sheet.paste(picture, (i % 4 * (THUMBNAIL + 8), i // 4 * (THUMBNAIL + 8)))
    return sheet
