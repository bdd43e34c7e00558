"""Appendix G. Detection through a video: a clip with the boxes drawn in, and a line a frame."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ssd_lite.detection import detect
from ssd_lite.drawing import draw, plain_detections
from ssd_lite.layout import count
from ssd_lite.model import SSD

BATCH = 4  # frames at once: on a CPU half again as fast as one by one


class _Frame(NamedTuple):
    """One picture of a video, and when it is shown, counted from the first."""

    image: UInt8[Tensor, "3 H W"]
    seconds: Fraction


def detect_in_video(
    model: SSD, path: Path, target: Path, threshold: float = 0.5, precision: str = "fp32"
) -> str:
    """Draw what is found in a video's frames into another video, ``target``; say how it went.

    ``target``.jsonl has a line a frame: number, seconds, detections. Frame rate and size stay; an
    odd side grows by a pixel, and tiny frames are enlarged, as pictures are. Sound is left out.

    Raises:
        ValueError: no PyAV, no video, or a damaged one, of which the frames before that are kept.
    """
    frames, working, lines = 0, 0.0, target.with_name(f"{target.name}.jsonl")
    with (
        _opened(path) as (stream, reading),
        _written(target, lines, stream) as (show, note),
        tqdm(total=stream.frames or None, unit="frame", leave=False, disable=None) as bar,
    ):
        while several := list(islice(reading, BATCH)):
            began = time.perf_counter()
            results = detect(model, [image for image, _ in several], precision=precision)
            working += time.perf_counter() - began
            for (image, seconds), found in zip(several, results):
                show(draw(image, found, model.classes, threshold), seconds)
                plain = plain_detections(found, model.classes, threshold)
                note({"frame": frames, "seconds": float(seconds), "detections": plain})
                frames += 1
                bar.update()
    return (
        f"{count(frames, 'frame')}, {frames / working:.1f} a second in the detector, drawn in "
        f"{target}, listed in {lines}"
    )


def _pyav() -> Any:
    try:
        import av
    except ImportError:
        raise ValueError("videos need PyAV: pip install ssd_lite[video]") from None
    av.logging.set_level(av.logging.PANIC)  # what is wrong with a file comes as an error, once
    return av


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Iterator[_Frame]]]:
    """A video's stream of pictures, and its frames, closed at the end."""
    av = _pyav()
    try:
        container = av.open(str(path))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except av.FFmpegError as error:
        why = f"not a video that can be read ({error.strerror}); replace or remove the file"
        raise ValueError(f"{path}: {why}") from None
    with container:
        if not container.streams.video:
            raise ValueError(f"{path}: no pictures in it, only sound or text")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield stream, _frames(container, stream, path)


def _frames(container: Any, stream: Any, path: Path) -> Iterator[_Frame]:
    """Frames upright and in their order; a ``ValueError`` where the video is damaged."""
    read, first, problem = 0, None, ""
    try:
        for frame in container.decode(stream):
            if frame.pts is None:  # a bare stream of pictures tells no times
                seconds = read / Fraction(stream.average_rate or 25)
            else:
                first = frame.pts if first is None else first
                seconds = (frame.pts - first) * frame.time_base
            # A phone held upright writes frames that lie on their side, and says so.
            pixels = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)
            yield _Frame(torch.from_numpy(pixels.copy()).permute(2, 0, 1).contiguous(), seconds)
            read += 1
    except _pyav().FFmpegError as error:
        problem = error.strerror
    if not problem and (not read or read < 0.9 * stream.frames):  # it may be off by a few
        problem = f"it says that it has {count(stream.frames, 'frame')}"
    if problem:
        raise ValueError(f"{path}: damaged after {count(read, 'frame')} ({problem})")


@contextmanager
def _written(
    target: Path, lines: Path, source: Any
) -> Iterator[tuple[Callable[[Image.Image, Fraction], None], Callable[[dict], None]]]:
    """Functions that add a picture, and a line, to what is written of a video.

    Both files are finished even if an error comes, and none stays if it comes before a frame.
    """
    av, stream, last = _pyav(), None, -1
    step = source.time_base or Fraction(1, 90000)

    def show(picture: Image.Image, seconds: Fraction) -> None:
        nonlocal stream, last
        pixels = np.asarray(picture)
        odd = [(0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)]
        pixels = np.pad(pixels, odd, mode="edge")  # H.264 halves the colors' resolution
        if stream is None:
            stream = video.add_stream("h264", rate=source.average_rate or 25, pix_fmt="yuv420p")
            stream.height, stream.width = pixels.shape[:2]
            stream.codec_context.time_base = step
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = max(round(seconds / step), last + 1), step
        last = frame.pts
        video.mux(stream.encode(frame))

    try:
        with av.open(str(target), "w") as video, open(lines, "w", encoding="utf-8") as file:
            try:
                yield show, lambda line: print(json.dumps(line), file=file, flush=True)
            finally:
                if stream is not None:
                    video.mux(stream.encode())  # what the encoder still holds
    finally:
        for path in (target, lines) if stream is None else ():
            path.unlink(missing_ok=True)
