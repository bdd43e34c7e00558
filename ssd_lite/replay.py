"""A training run to look at: what the network found in a few pictures, at a dozen moments on the way.

:class:`Replay` records them while :func:`~ssd_lite.train.fit` trains; :func:`show` makes a picture with a slider.
"""

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from ssd_lite.checkpoint import write_atomically
from ssd_lite.model import SSD
from ssd_lite.nms import detect
from ssd_lite.plot import colour, ink_on


def moments(steps: int, count: int = 12) -> list[int]:
    """Steps at which to look, the first and the last among them: ever further apart, as most is learned early."""
    first = max(1, steps / 100)
    later = [round(first * (steps / first) ** (k / (count - 2))) for k in range(count - 1)]
    return sorted({0, *later})


class Replay:
    """What a model finds in ``images`` at a dozen moments of ``steps``, kept in a JSON file of some kilobytes.

    Give it to :func:`~ssd_lite.train.fit` as ``watch``. A run that goes on after an interruption goes on with the file.

    Args:
        path: the file.
        images: a few held-out pictures.
        steps: of the whole run.
        threshold: smallest score that is kept.
        most: so many answers of a picture are kept; random weights are sure of hundreds.
    """

    def __init__(
        self,
        path: str | Path,
        images: Sequence[UInt8[Tensor, "3 _ _"]],
        steps: int,
        threshold: float = 0.3,
        most: int = 20,
    ):
        self.path, self.images, self.threshold, self.most = Path(path), images, threshold, most
        self.moments = moments(steps)
        self.frames = read_replay(self.path)

    def __call__(self, step: int, model: SSD) -> None:
        """Look, if it is time to."""
        if step not in self.moments:
            return
        found = [
            [
                [label, round(score, 3), *(round(side, 1) for side in box)]
                for box, score, label in zip(*(x.tolist() for x in detections))
            ]
            for detections in detect(model, self.images, self.threshold, per_image=self.most)
        ]
        self.frames = [frame for frame in self.frames if frame["step"] < step]
        self.frames.append({"step": step, "found": found})
        write_atomically(self.path, json.dumps(self.frames).encode())


def read_replay(path: str | Path) -> list[dict]:
    """The moments of a replay, in order: each a step, and for each picture what was found: label, score, box (xyxy)."""
    return json.loads(Path(path).read_text()) if Path(path).exists() else []


class Page(str):
    """HTML source, which a notebook shows as what it says."""

    def _repr_html_(self) -> str:
        return str(self)


def show(frames: Sequence[dict], images: Sequence[UInt8[Tensor, "3 _ _"]], classes: Sequence[str]) -> Page:
    """The pictures with what was found in them, and a slider that moves through the moments; without scripts, the last.

    Args:
        frames: from :func:`read_replay`.
        images: the pictures that were looked at.
        classes: names; label i + 1 means ``classes[i]``.
    """
    pictures = "".join(
        _picture(image, [frame["found"][i] for frame in frames], classes) for i, image in enumerate(images)
    )
    steps = [frame["step"] for frame in frames]
    last = len(steps) - 1
    return Page(
        f"""<figure class="replay" style="margin:0">
<label style="display:flex;gap:.8em;align-items:center;margin-bottom:.5em">
<span>Moment of training</span>
<input type="range" min="0" max="{last}" value="{last}" style="flex:1" aria-valuetext="step {steps[-1]}">
<output style="min-width:6em;font-variant-numeric:tabular-nums">step {steps[-1]}</output></label>
<div style="display:grid;grid-template-columns:repeat(auto-fill,minmax(max(30%,130px),1fr));gap:6px">{pictures}</div>
<script>
(() => {{
  const figure = document.currentScript.closest("figure"), steps = {steps};
  const slider = figure.querySelector("input"), output = figure.querySelector("output");
  const turn = () => {{
    output.textContent = "step " + steps[slider.value];
    slider.setAttribute("aria-valuetext", output.textContent);
    for (const moment of figure.querySelectorAll("[data-moment]"))
      moment.style.display = moment.dataset.moment === slider.value ? "" : "none";
  }};
  slider.addEventListener("input", turn);
}})();
</script></figure>"""
    )


def _picture(image: UInt8[Tensor, "3 H W"], moments: list[list], classes: Sequence[str]) -> str:
    """One picture as SVG, with the boxes of all moments in it, those of the last to be seen."""
    height, width = image.shape[1:]
    drawn = ""
    for k, found in enumerate(moments):
        hidden = "" if k == len(moments) - 1 else ' style="display:none"'
        boxes = "".join(_box(line, classes, width, height) for line in reversed(found))  # the best on top
        drawn += f'<g data-moment="{k}"{hidden}>{boxes}</g>'
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="a held-out picture and what was found in it" '
        f'style="width:100%;display:block"><image href="{_data_uri(image)}" width="{width}" height="{height}"/>'
        f"{drawn}</svg>"
    )


def _box(line: list, classes: Sequence[str], width: int, height: int) -> str:
    """One detection: its box, and its class and score above it or, at the top, below its edge."""
    label, score, left, top, right, bottom = line
    ground, unit = colour(label), max(width, height)
    words, high = f"{classes[label - 1]} {score:.2f}", 0.065 * unit
    wide = 0.5 * high * len(words)
    x, y = max(0, min(left, width - wide)), top - high if top > high else max(top, 0)
    return (
        f'<rect x="{left}" y="{top}" width="{right - left:.1f}" height="{bottom - top:.1f}" fill="none" '
        f'stroke="{ground}" stroke-width="{0.015 * unit:.2f}"/>'
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}" fill="{ground}"/>'
        f'<text x="{x + wide / 2:.1f}" y="{y + 0.77 * high:.1f}" font-size="{0.82 * high:.1f}" text-anchor="middle" '
        f'font-family="sans-serif" fill="{ink_on(ground)}">{escape(words)}</text>'
    )


def _data_uri(image: UInt8[Tensor, "3 H W"]) -> str:
    """A picture as text that a page can hold."""
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
