"""Which errors a detector makes, in words and as files."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssd_lite.checkpoint import write_atomically
from ssd_lite.data import Samples
from ssd_lite.error_pictures import confusion_picture, error_sheet
from ssd_lite.errors import Errors, Reliability
from ssd_lite.layout import count
from ssd_lite.runs import number_or_none
from ssd_lite.verdicts import KINDS, MISSED, MISTAKES, Verdict


def in_words(errors: Errors) -> str:
    """The table of errors, the classes that are confused most, and what the scores are worth."""
    least = errors.score_threshold
    pairs = [f"{real} taken for {said}, {n}" for real, said, n in errors.confused()]
    missed = [v.missed(least) for v in errors.verdicts]
    low = sum(int((m & (v.finders >= 0)).sum()) for m, v in zip(missed, errors.verdicts))
    everywhere = sum(int(m.sum()) for m in missed)
    edge = math.ceil(least * 10 - 1e-9) / 10  # the first whole bin
    error = errors.reliability.error(edge)
    lines = [
        f"errors at a score of {least:g} or more and an IoU of {errors.iou_threshold:g}",
        errors.table(),
        f"confused most: {'; '.join(pairs) or 'no class with another'}",
        f"{low} of {count(everywhere, 'missed object')} would be found at a lower score",
    ]
    if not math.isnan(error):
        lines.append(f"expected calibration error of scores from {edge:g} on: {error:.3f}")
    return "\n".join(lines)


def write_errors(errors: Errors, data: Samples, names: Sequence[str], folder: Path) -> list[Path]:
    """Write all verdicts, the confusion matrix, and a sheet of crops for each kind of error.

    Files of an earlier call are replaced, and the sheet of a kind that no longer occurs is removed.

    Args:
        errors: from :func:`~ssd_lite.errors.find_errors`.
        data: the pictures in which they were made, of which those on a sheet are read again.
        names: of the pictures.
        folder: where to write; created at need.

    Returns the files that were written.
    """
    written = [folder / "errors.json", folder / "confusion.png"]
    content = as_json(errors, names)
    write_atomically(written[0], json.dumps(content, indent=1, allow_nan=False).encode())
    confusion_picture(errors.confusion, errors.classes).save(written[1])
    for kind in (*MISTAKES, MISSED):
        path = folder / f"{kind.replace(' ', '_')}.jpg"
        path.unlink(missing_ok=True)
        if errors.worst(kind):
            error_sheet(errors, data, kind).save(path, quality=92)
            written.append(path)
    return written


def as_json(errors: Errors, names: Sequence[str]) -> dict[str, Any]:
    """Everything as plain data: boxes in pixels, of each picture every detection and object."""
    counts = zip((*errors.classes, "all"), [*errors.counts(), errors.counts().sum(axis=0)])
    return {
        "score_threshold": errors.score_threshold,
        "iou_threshold": errors.iou_threshold,
        "counts": {name: dict(zip(KINDS, row.tolist())) for name, row in counts},
        "confusion": {
            "rows_are_truth_columns_are_detections": ["background", *errors.classes],
            "matrix": errors.confusion.tolist(),
        },
        "reliability": _bins(errors.reliability),
        "calibration_error": _number(errors.reliability.error()),
        "pictures": [
            {"picture": name, **_picture(verdict, errors)}
            for name, verdict in zip(names, errors.verdicts, strict=True)
        ],
    }


def _picture(verdict: Verdict, errors: Errors) -> dict[str, list[dict[str, Any]]]:
    """One picture's detections from the threshold on, and all of its objects."""
    sure = (verdict.detections.scores >= errors.score_threshold).tolist()
    detections = [
        {"label": errors.classes[label - 1], "score": round(score, 4), "box": _rounded(box)}
        | {"verdict": str(kind), "object": int(about) if about >= 0 else None}
        for box, score, label, kind, about, is_sure in zip(
            *(x.tolist() for x in verdict.detections), verdict.kinds, verdict.objects, sure
        )
        if is_sure
    ]
    missed, ignored = verdict.missed(errors.score_threshold), verdict.truth.ignored.numpy()
    words = np.select([ignored, missed], ["not counted", "missed"], "found")
    objects = [
        {"label": errors.classes[label - 1], "box": _rounded(box), "verdict": str(word)}
        | {"found_at": round(score, 4) if finder >= 0 else None}
        for box, label, word, finder, score in zip(
            verdict.truth.boxes.tolist(),
            verdict.truth.labels.tolist(),
            words,
            verdict.finders,
            verdict.found_at().tolist(),
        )
    ]
    return {"detections": detections, "objects": objects}


def _bins(reliability: Reliability) -> list[dict[str, Any]]:
    columns = reliability.counts, reliability.scores, reliability.hits
    return [
        {"from": round(low, 6), "to": round(high, 6), "detections": number}
        | {"mean_score": _number(score), "hits": _number(share)}
        for low, high, number, score, share in zip(
            reliability.edges.tolist(),
            reliability.edges[1:].tolist(),
            *(c.tolist() for c in columns),
        )
    ]


def _number(value: float) -> float | None:
    return number_or_none(round(value, 6))


def _rounded(box: list[float]) -> list[float]:
    return [round(x, 2) for x in box]
