"""What all explorers are: anywidgets that run from their own source, wherever shown."""

import base64
import io
import re
from pathlib import Path

import anywidget
import traitlets
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from ssd_lite.spec import SSDSpec

_HERE = Path(__file__).parent
_IMPORT = re.compile(r'^import [^;]*? from "\./([\w.]+)";\n', re.MULTILINE)


def bundle(module: str) -> str:
    """An explorer's ES module and all that it imports as a single module.

    It runs from an address of its own, beside which there are no files.
    """
    *shared, own = sources(module).values()
    return "\n".join([*(re.sub(r"^export ", "", s, flags=re.MULTILINE) for s in shared), own])


def sources(module: str, found: dict[str, str] | None = None) -> dict[str, str]:
    """A module and those that it imports, each after those that it needs, without the imports."""
    found = {} if found is None else found
    source = (_HERE / module).read_text(encoding="utf-8")
    for name in _IMPORT.findall(source):
        if name not in found:
            sources(name, found)
    found[module] = _IMPORT.sub("", source)
    return found


def layout(spec: SSDSpec) -> dict:
    """What maths.js must know of a spec to lay out its default boxes."""
    names = ("image_size", "maps", "steps", "sizes", "ratios", "extra_square", "clip_sizes")
    return {name: getattr(spec, name) for name in names}


class Explorer(anywidget.AnyWidget):
    """A drawing with knobs, which Python and the reader turn alike.

    ``explorer.threshold`` is where the slider stands, and assigning to it moves the slider.

    A subclass names its ES module and its knobs, which are traits.
    """

    module = ""
    knobs = ()
    name = traitlets.Unicode().tag(sync=True)
    start = traitlets.Dict().tag(sync=True)  # the knobs' first values, for reset
    _css = (_HERE / "explorer.css").read_text(encoding="utf-8")

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "module" in vars(
            cls
        ):  # and not in the class that anywidget makes of it for each explorer
            cls._esm = bundle(cls.module)

    def __init__(self, **traits):
        super().__init__(name=type(self).__name__, **traits)
        self.start = self.state()

    def state(self) -> dict:
        """Where the knobs stand."""
        return {knob: getattr(self, knob) for knob in self.knobs}

    def reset(self) -> None:
        """Turn all knobs back to where they were at first."""
        with self.hold_trait_notifications():
            for knob, value in self.start.items():
                setattr(self, knob, value)

    def __repr__(self) -> str:
        knobs = ", ".join(f"{knob}={value!r}" for knob, value in self.state().items())
        return f"{type(self).__name__}({knobs})"


def data_uri(image: UInt8[Tensor, "3 H W"], side: int = 400, lossless: bool = False) -> str:
    """A picture as text that a page can hold, at most ``side`` pixels wide and high."""
    picture = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    if max(picture.size) > side:
        picture.thumbnail((side, side))
    file = io.BytesIO()
    kind = "png" if lossless else "jpeg"
    picture.save(file, kind, quality=88)
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode()
