"""Appendix G. Out of Python: a detector as an ONNX file, which many languages and devices run."""

import argparse
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

import ssd_lite
from ssd_lite.checkpoint import load_model, write_atomically
from ssd_lite.model import SSD
from ssd_lite.postprocessing import decode_boxes, postprocess
from ssd_lite.runs import newest_run
from ssd_lite.shapes import Shapes

OPSET = 18  # of ONNX's operators: old enough for most runtimes, and what PyTorch writes best
TOLERANCE = 1e-4  # largest difference from PyTorch, of logits, offsets, scores, sides of a picture

# An operator that only the exported file computes, out of three of ONNX's: see _in_onnx.
torch.library.define(
    "ssd_lite::suppress",
    "(Tensor boxes, Tensor scores, float iou_threshold, float score_threshold, int per_class)"
    " -> Tensor",
)
torch.library.register_fake("ssd_lite::suppress", lambda boxes, scores, *_: scores.clone())


def _in_onnx(
    boxes: Any, scores: Any, iou_threshold: float, score_threshold: float, per_class: int
) -> Any:
    """Scores (B, C, A) in which all but the survivors of NMS, per image and class, are zero.

    ONNX's operator gives the survivors as a list of (image, class, box), whose length nobody
    knows beforehand. Written back to where they come from, they have a fixed shape again.
    """
    from onnxscript import opset18

    op: Any = opset18  # its annotations know of no constants
    floats = [op.Constant(value_floats=[x]) for x in (iou_threshold, score_threshold)]
    most = op.Constant(value_ints=[per_class])
    survivors = op.NonMaxSuppression(boxes, scores, most, *floats)
    return op.ScatterND(op.Sub(scores, scores), survivors, op.GatherND(scores, survivors))


class PixelsToLogits(nn.Module):
    """The network with normalization before it: what an exported file holds by default."""

    outputs: tuple[str, ...] = ("logits", "offsets", "default_boxes")

    def __init__(self, model: SSD) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, pixels: Float[Tensor, "B 3 S S"]
    ) -> tuple[Float[Tensor, "B A classes"], Float[Tensor, "B A 4"], Float[Tensor, "A 4"]]:
        """Logits, offsets and default boxes (cxcywh) of pictures in RGB, levels from 0 to 255."""
        return *self.model(self.model.normalize(pixels)), self.model.default_boxes


class PixelsToDetections(PixelsToLogits):
    """The same with post-processing behind it. It cannot be run in PyTorch, only exported."""

    outputs = ("boxes", "scores", "labels")

    def __init__(self, model: SSD, limits: dict[str, Any]) -> None:
        super().__init__(model)
        self.limits = limits

    def forward(
        self, pixels: Float[Tensor, "B 3 S S"]
    ) -> tuple[Float[Tensor, "B K 4"], Float[Tensor, "B K"], Int[Tensor, "B K"]]:
        """Boxes (xyxy, in fractions of the picture), scores and labels, as postprocess has them."""
        logits, offsets, default_boxes = super().forward(pixels)
        boxes = decode_boxes(offsets, default_boxes, self.model.spec)  # (B, A, 4)
        scores = logits.softmax(dim=2)[:, :, 1:].transpose(1, 2)  # (B, C, A)
        count = scores.shape[2]
        # 1. NMS among the best of each class.
        per_class, per_image = self.limits["per_class"], self.limits["per_image"]
        lowest = scores.topk(min(per_class, count), dim=2).values[:, :, -1:]  # (B, C, 1)
        scores = torch.ops.ssd_lite.suppress(
            boxes,
            torch.where(scores >= lowest, scores, 0),
            self.limits["iou_threshold"],
            self.limits["score_threshold"],
            per_class,
        )  # (B, C, A)
        # 2. The best of each image. What is zero is padding.
        scores = scores.flatten(1)  # (B, C·A)
        scores, index = scores.topk(min(per_image, scores.shape[1]), dim=1)  # (B, K)
        labels = torch.where(scores > 0, index // count + 1, 0)
        boxes = boxes.gather(1, (index % count)[:, :, None].expand(-1, -1, 4))  # (B, K, 4)
        return boxes.clamp(0, 1) * (labels > 0)[:, :, None], scores, labels


def export_onnx(
    model: SSD,
    path: str | Path,
    detections: bool = False,
    score_threshold: float = 0.01,
    iou_threshold: float = 0.45,
    per_class: int = 400,
    per_image: int = 200,
) -> float:
    """Write a detector as one ONNX file; return its largest difference from PyTorch.

    The input, ``pixels``, is a batch of any length: float (B, 3, S, S), RGB, levels from 0 to
    255, warped to the network's size. Outputs are ``logits``, ``offsets`` and ``default_boxes``,
    or with ``detections`` what :func:`~ssd_lite.postprocessing.postprocess` returns under the
    same limits. The file's metadata hold classes, spec, limits and version, each as JSON.

    Raises:
        ValueError: a path that does not end in .onnx, a missing package, or a file that differs
            from PyTorch, which is then not written.
    """
    path, runtime = _checked(Path(path)), _packages()
    model = deepcopy(model).cpu().eval()
    limits = {
        "score_threshold": score_threshold,
        "iou_threshold": iou_threshold,
        "per_class": per_class,
        "per_image": per_image,
    }
    module = PixelsToDetections(model, limits) if detections else PixelsToLogits(model)
    content = _to_onnx(module.eval(), limits)

    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    pixels = check_pictures(model)
    answers = [torch.from_numpy(x) for x in session.run(None, {"pixels": pixels.numpy()})]
    difference = largest_difference(model, pixels, answers, limits if detections else None)
    if not difference <= TOLERANCE:  # NaN is no equality either
        raise ValueError(
            f"{path}: not written, since onnxruntime's answers differ from PyTorch's by "
            f"{difference:.1e}, more than {TOLERANCE:.0e}; are all weights finite, and trained?"
        )
    write_atomically(path, content)
    return difference


def check_pictures(model: SSD) -> Float[Tensor, "2 3 S S"]:
    """Two pictures on which an exported file must agree: a drawn scene, and noise."""
    size = model.spec.image_size
    noise = torch.rand(3, size, size, generator=torch.Generator().manual_seed(0)) * 255
    return torch.stack([Shapes(1, seed=1, size=size)[0].image.float(), noise])


@torch.inference_mode()
def largest_difference(
    model: SSD, pixels: Tensor, answers: list[Tensor], limits: dict[str, Any] | None
) -> float:
    """How far a file's answers are from PyTorch's.

    Without ``limits`` these are numbers of the network, else detections: then it is the distance
    from one to the nearest of its label, whichever file it is in, in box or score. Those that
    tie with what was left out do not count.
    """
    logits, offsets, default_boxes = PixelsToLogits(model)(pixels)
    if limits is None:
        ours = (logits, offsets, default_boxes)
        return max(float((a - b).abs().max()) for a, b in zip(ours, answers))
    boxes, scores, labels = postprocess(logits, offsets, default_boxes, model.spec, **limits)
    ours, theirs = (boxes.clamp(0, 1), scores, labels), tuple(answers)
    distances = [0.0]
    for own, other in [*zip(zip(*ours), zip(*theirs)), *zip(zip(*theirs), zip(*ours))]:
        values, others = (torch.cat([b, s[:, None]], dim=1) for b, s, _ in (own, other))  # (K, 5)
        apart = torch.cdist(values, others, p=torch.inf)  # (K, K)
        apart = torch.where(own[2][:, None] == other[2], apart, torch.inf)
        floor = max(limits["score_threshold"], float(own[1][-1])) + TOLERANCE
        distances += apart.amin(dim=1)[own[1] > floor].tolist()
    return max(distances)


def _to_onnx(module: PixelsToLogits, limits: dict[str, Any]) -> bytes:
    """The file's content: the graph that PyTorch traces, and what one has to know to use it."""
    size = module.model.spec.image_size
    translations: dict[Callable, Callable] = {torch.ops.ssd_lite.suppress.default: _in_onnx}
    with _quiet():
        program = torch.onnx.export(
            module,
            (torch.zeros(2, 3, size, size),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=list(module.outputs),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            custom_translation_table=translations,
        )
    assert program is not None  # it would be, were it written to a file
    fields = asdict(module.model.spec).items()
    spec = {name: value for name, value in fields if value != torch.inf}  # JSON has none
    about = {"classes": module.model.classes, "spec": spec, **limits}
    graph = program.model_proto
    for name, value in {**about, "ssd_lite": ssd_lite.__version__}.items():
        graph.metadata_props.add(key=name, value=json.dumps(value, allow_nan=False))
    return graph.SerializeToString()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporting says of its own passes, which nobody can act upon."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _packages() -> Any:
    """onnxruntime, if that and what else exporting needs is installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"export needs onnx, onnxruntime and onnxscript, and {error.name} is missing here: "
            "pip install ssd_lite[export]"
        ) from None
    return onnxruntime


def _checked(path: Path) -> Path:
    """Where to write, if that can be a file of this kind."""
    if path.is_dir():
        raise ValueError(f"--to {path}: a folder; name a file in it, {path / 'model.onnx'} say")
    if path.suffix.lower() != ".onnx":
        raise ValueError(f"--to {path}: expected a name that ends in .onnx")
    return path


def export_command(args: argparse.Namespace) -> None:
    """Write a detector as an ONNX file, compared with PyTorch before it is there."""
    _checked(args.to)  # before anything is loaded, or downloaded
    _packages()
    model = load_model(args.weights or newest_run())
    difference = export_onnx(model, args.to, args.detections, args.threshold)
    outputs = (PixelsToDetections if args.detections else PixelsToLogits).outputs
    size = model.spec.image_size
    print(
        f"{args.to}: {args.to.stat().st_size / 1e6:.1f} MB, pixels (batch, 3, {size}, {size}) to "
        f"{', '.join(outputs)}\n"
        f"onnxruntime's answers differ from PyTorch's by {difference:.1e} at most"
    )
