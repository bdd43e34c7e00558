"""Chapter 11. The folder that a run leaves: log, checkpoints, record."""

import csv
import json
import math
import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ssd_lite.checkpoint import load_checkpoint, save_checkpoint, write_atomically
from ssd_lite.distributed import describe_device
from ssd_lite.evaluation import Evaluation
from ssd_lite.loss import MultiBoxLoss
from ssd_lite.model import SSD
from ssd_lite.recipe import Recipe, learning_rate, recipe_from

MAY_CHANGE = ("steps", "evaluate_every", "save_every")  # of a recipe, when a run goes on


class Log:
    """``log.csv``: one line for each time the numbers are read, kept through interruptions."""

    columns = (
        *("step", "learning_rate", "loss", "classification", "localization"),
        *("gradient_norm", "images_per_second", "map50"),
    )

    def __init__(self, path: Path, step: int):
        """Go on after ``step``: lines of later steps, and one that a kill has torn, are dropped."""
        self.path = path
        self.rows = [row for row in read_log(path) if row["step"] <= step]
        self._rewrite()

    def add(self, row: dict[str, float]) -> None:
        """Append a line; a column that is missing stays empty."""
        self.rows.append(row)
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(self._line(row) + "\n")
        except OSError as error:
            raise OSError(
                f"{self.path}: cannot be written ({error.strerror}); make room, then resume"
            ) from None

    def add_map50(self, step: int, map50: float) -> None:
        """Write an evaluation's mAP into the line of its step."""
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append({"step": step})
        self.rows[-1]["map50"] = map50
        self._rewrite()

    def lacks_map50(self, step: int) -> bool:
        """Whether the run ended between its last checkpoint and the evaluation due after it."""
        return not any("map50" in row for row in self.rows if row["step"] == step)

    def _rewrite(self) -> None:
        lines = [",".join(self.columns)] + [self._line(row) for row in self.rows]
        write_atomically(self.path, ("\n".join(lines) + "\n").encode())

    def _line(self, row: dict[str, float]) -> str:
        return ",".join(f"{row[name]:.6g}" if name in row else "" for name in self.columns)


def read_log(path: str | Path) -> list[dict[str, float]]:
    """The lines of a ``log.csv``, empty columns left out; none if there is no file."""
    if not Path(path).exists():
        return []
    # What follows the last line's end has been torn by a kill.
    whole, _, _ = Path(path).read_text(encoding="utf-8").rpartition("\n")
    return [
        {name: float(value) for name, value in row.items() if value}
        for row in csv.DictReader(whole.splitlines())
    ]


def save_progress(
    run: Path, model: SSD, optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, best: float
) -> None:
    """Write ``last.safetensors``: all that a resumed run needs.

    The optimizer's state travels as plain tensors, because ``torch.save`` would pickle it, and a
    pickle can run code when it is read.
    """
    state = optimizer.state_dict()["state"]
    extra = {
        f"optimizer.{i}.{name}": x
        for i, values in state.items()
        for name, x in values.items()
        if x is not None
    }
    about = {"step": step, "best": best, "recipe": asdict(recipe), "torch": torch.__version__}
    save_checkpoint(run / "last.safetensors", model, extra, **about)


def keep_evaluation(
    run: Path,
    log: Log,
    model: SSD,
    recipe: Recipe,
    step: int,
    evaluation: Evaluation,
    best: float,
) -> float:
    """Print and log an evaluation's result, and keep the best model.

    Returns the best mAP so far.
    """
    tqdm.write(f"step {step}: mAP@0.5 {evaluation.map50:.4f}")
    if evaluation.map50 > best:  # never with NaN
        best = evaluation.map50
        path, about = run / "best.safetensors", asdict(recipe)
        save_checkpoint(path, model, step=step, map50=best, recipe=about)
    log.add_map50(step, evaluation.map50)
    return best


def resume(
    run: Path, model: SSD, optimizer: torch.optim.Optimizer, recipe: Recipe
) -> tuple[int, float]:
    """Load ``last.safetensors``, if there is one, into model and optimizer.

    The recipe may have other ``steps``, ``evaluate_every`` and ``save_every`` than before: its
    schedule then holds from this step on. Returns the step and the best mAP so far.
    """
    path = run / "last.safetensors"
    if not path.exists():
        return 0, -1.0
    saved, extra, about = load_checkpoint(path)
    try:
        recipe_then = recipe_from(about["recipe"])
        step, best = about["step"], about["best"]
    except (KeyError, TypeError):
        raise ValueError(
            f"{path}: not left by a run, or by another version's; name another run folder"
        ) from None
    for name, theirs, ours in (
        ("spec", saved.spec, model.spec),
        ("classes", saved.classes, model.classes),
        (
            "recipe",
            replace(recipe_then, **{name: getattr(recipe, name) for name in MAY_CHANGE}),
            recipe,
        ),
    ):
        if theirs != ours:
            raise ValueError(
                f"{path}: was trained with {name} {theirs}, not {ours}; name another run folder"
            )
    model.load_state_dict(saved.state_dict())

    # The optimizer's tensors, in the memory layout of the parameters that they belong to.
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {i: {} for i in range(len(parameters))}
    for key, x in extra.items():
        _, i, name = key.split(".")
        like = parameters[int(i)]
        state[int(i)][name] = torch.empty_like(like).copy_(x) if x.shape == like.shape else x
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    # A look comes after its step's checkpoint, so its result may stand in best.safetensors alone.
    if (path := run / "best.safetensors").exists():
        best = max(best, load_checkpoint(path)[2].get("map50", best))
    return step, best


def read_metrics(
    model: SSD, loss: MultiBoxLoss, grad_norm: Tensor, step: int, recipe: Recipe, run: Path
) -> dict[str, float]:
    """A step's numbers for the log, read from the device.

    Raises ``FloatingPointError`` if one of them is not finite.
    """
    # The weights are looked at as the step has left them: it may have broken them.
    largest = torch.stack([p.detach().abs().max() for p in model.parameters()]).max()
    parts = [loss.total, loss.classification, loss.localization, grad_norm, largest]
    values = torch.stack(parts).tolist()  # synchronizes: all five in one copy
    row = dict(zip(("loss", "classification", "localization", "gradient_norm"), values))
    row = {"step": step, "learning_rate": learning_rate(step - 1, recipe), **row}
    if not all(map(math.isfinite, values)):
        saved = "no checkpoint had been saved yet"
        if (path := run / "last.safetensors").exists():
            saved = f"the last good checkpoint is {path}"
        raise FloatingPointError(
            f"step {step}: the loss or a weight is not finite any more ({row}). Lower the learning "
            "rate, lengthen the "
            f"warm-up or clip the gradient, and look at the data; {saved}"
        )
    return row


def newest_run() -> Path:
    """The run below runs/ that was written to last."""
    found = sorted(Path("runs").glob("*/*.safetensors"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ValueError(
            "--weights: no run below runs/ yet; train one with: python -m ssd_lite train"
        )
    return found[-1].parent


def make_record(
    run: Path, model: SSD, evaluation: Evaluation, device: torch.device, seconds: float
) -> dict:
    """The record of a finished run, which pages plot and quote."""
    log = read_log(run / "log.csv")
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    speeds = sorted(row["images_per_second"] for row in log if "images_per_second" in row)
    on_gpu = device.type == "cuda"
    return {
        "device": describe_device(device),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "spec": model.spec.name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "config": {name: config[name] for name in ("data", "model", "recipe")},
        "seconds": round(seconds, 1),
        "images_per_second": speeds[len(speeds) // 2] if speeds else None,
        "tf32": on_gpu and torch.backends.cudnn.allow_tf32,  # what "fp32" is in convolutions
        # Of training and the looks in between.
        "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated(device) if on_gpu else None,
        "curve": [{"step": row["step"], "map50": row["map50"]} for row in log if "map50" in row],
        "test_images": evaluation.images,
        "test_objects": evaluation.objects,
        "map50": number_or_none(evaluation.map50),
        "per_class": {name: number_or_none(ap) for name, ap in evaluation.per_class.items()},
        "coco": {name: number_or_none(ap) for name, ap in evaluation.coco.items()},
    }


def number_or_none(value: float) -> float | None:
    """JSON has no NaN: the AP of a class that does not occur is null."""
    return None if math.isnan(value) else value
