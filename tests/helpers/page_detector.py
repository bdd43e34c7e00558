"""The page's detector in Node and the package's in PyTorch: the same pictures through both."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from book.explorers.explorer import bundle
from ssd_lite.boxes import paired_iou
from ssd_lite.detection import Detections
from ssd_lite.model import SSD
from tests.helpers.javascript import call

# Files for what is too much for JSON: pictures as RGBA bytes, maps as floats.
IN_NODE = """
import { readFileSync, writeFileSync } from "node:fs";
const bytesOf = (path) => {
  const { buffer, byteOffset, length } = readFileSync(path);
  return buffer.slice(byteOffset, byteOffset + length);
};
export function modelIn(path) {
  return readCheckpoint(bytesOf(path));
}
export function refusal(path) {
  try {
    modelIn(path);
  } catch (error) {
    if (error instanceof Refusal) return error.message;
    throw error;
  }
}
export function answer(weights, picture, width, height, out, limits) {
  const model = modelIn(weights);
  const given = { width, height, data: new Uint8ClampedArray(bytesOf(picture)) };
  const image = preprocess(model, given);
  const { logits, offsets, maps, steps } = forward(model, image);
  const all = { image, logits, offsets, ...steps };
  const shapes = Object.entries(all).map(([name, { shape }]) => [name, shape]);
  writeFileSync(out, Buffer.concat(Object.values(all).map(({ data }) => Buffer.from(data.buffer))));
  const found = detections(candidates(model, { logits, offsets }, limits), given, limits.perImage);
  return { shapes, found };
}
"""
SOURCE = bundle("checkpoint.js") + IN_NODE


class Answer(NamedTuple):
    """What the page's detector computed for one picture."""

    steps: dict[str, Tensor]  # image, logits, offsets, and each module's output by its name
    found: Detections


def answers_in_javascript(
    weights: Path, images: Sequence[UInt8[Tensor, "3 _ _"]], folder: Path, **limits: float
) -> list[Answer]:
    """The answers to some pictures; ``folder`` is for the files on the way."""
    calls = []
    for i, image in enumerate(images):
        rgba = torch.cat([image, torch.full_like(image[:1], 255)])  # (4, H, W)
        rgba.permute(1, 2, 0).contiguous().numpy().tofile(folder / f"{i}.rgba")
        _, height, width = image.shape
        files = [str(folder / f"{i}.{kind}") for kind in ("rgba", "steps")]
        calls += [("answer", [str(weights), files[0], width, height, files[1], limits])]
    answers = []
    for i, said in enumerate(call(SOURCE, calls)):
        numbers = torch.from_numpy(np.fromfile(folder / f"{i}.steps", np.float32))
        lengths = [int(np.prod(shape)) for _, shape in said["shapes"]]
        parts = zip(said["shapes"], numbers.split(lengths))
        steps = {name: part.view(shape) for (name, shape), part in parts}
        rows = torch.tensor([[*d["box"], d["score"], d["label"]] for d in said["found"]])
        rows = rows.view(-1, 6)  # (D, 6)
        answers += [Answer(steps, Detections(rows[:, :4], rows[:, 4], rows[:, 5].long()))]
    return answers


@torch.inference_mode()
def steps_in_torch(model: SSD, image: UInt8[Tensor, "3 _ _"]) -> dict[str, Tensor]:
    """The same steps, as PyTorch computes them."""
    steps = {"image": model.preprocess([image])}
    hooks = [
        module.register_forward_hook(
            # A copy, for ReLU works in place.
            lambda _, __, output, name=name: steps.update({name: output.clone()})
        )
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    steps["logits"], steps["offsets"] = model(steps["image"])
    for hook in hooks:
        hook.remove()
    return {name: x[0] for name, x in steps.items()}


def disagreements(a: Detections, b: Detections, score: float = 1e-3, overlap: float = 0.99) -> int:
    """How many detections of ``a`` and ``b`` have no partner in the other.

    A partner has the same class, nearly the same score and nearly the same box; each has one.
    """
    lonely, left = 0, list(range(len(b.scores)))
    for box, s, label in zip(a.boxes, a.scores, a.labels):
        ious = paired_iou(b.boxes, box.expand_as(b.boxes))
        partners = [
            j
            for j in left
            if b.labels[j] == label and abs(b.scores[j] - s) < score and ious[j] > overlap
        ]
        if partners:
            left.remove(max(partners, key=ious.__getitem__))
        else:
            lonely += 1
    return lonely + len(left)


def largest_difference(a: Float[Tensor, "*n"], b: Float[Tensor, "*n"]) -> float:
    return (a - b).abs().max().item()
