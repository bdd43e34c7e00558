"""Chapter 11. Recipes: all that decides how a model is trained."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ssd_lite.augment import PARTS, longest_side, parse_augment
from ssd_lite.data import Resized, Samples
from ssd_lite.spec import SSDSpec


@dataclass(frozen=True)
class Recipe:
    """All that decides how a model is trained, and with the data what its weights will be."""

    steps: int
    batch_size: int = 32  # of all processes together
    optimizer: str = "sgd"  # or "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "multistep"  # ÷ 10 at each milestone; or "cosine", down to 0
    milestones: tuple[float, ...] = (2 / 3, 5 / 6)  # in fractions of the steps
    warmup: int = 0  # steps in which the learning rate climbs from 0
    clip_norm: float = math.inf  # largest length of the gradient
    freeze: int = 0  # so many of the base's stages, from the first, keep their weights
    freeze_norms: bool = False  # the base's batch norms keep all that they know
    base_rate: float = 1  # learning rate of the base, as a share of that of the other layers
    augment: str = "paper"  # or "none", or some of its parts, joined: "distort+mirror"
    threshold: float = 0.5  # matching
    negative_ratio: float = 3  # mining
    precision: str = "fp32"  # or "bf16": autocast of the network, boxes and loss stay fp32
    compile: bool = False
    seed: int = 0
    evaluate_every: int = 1000
    save_every: int = 500

    def __post_init__(self) -> None:
        allowed = {
            "optimizer": ("sgd", "adamw"),
            "schedule": ("multistep", "cosine"),
            "precision": ("fp32", "bf16"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(
                    f"{name}: expected one of {', '.join(values)}, got {getattr(self, name)!r}"
                )
        positive = ("steps", "batch_size", "learning_rate", "clip_norm", "base_rate")
        for name in (*positive, "evaluate_every", "save_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")
        if not set(parse_augment(self.augment)) <= set(PARTS):
            raise ValueError(
                f"augment: expected paper, none, or some of {', '.join(PARTS)} joined by +, got "
                f"{self.augment!r}"
            )
        for name in ("seed", "freeze"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected 0 or more, got {getattr(self, name)}")


# VOC07+12. Paper: section 3.1, and the authors' code.
PAPER = Recipe(steps=120_000, evaluate_every=5_000, save_every=1_000)
LITE_RECIPE = Recipe(  # drawn scenes: minutes on two CPU cores
    steps=3_000,
    batch_size=16,
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=0.01,
    schedule="cosine",
    warmup=100,
    clip_norm=10,
    augment="mirror",
    evaluate_every=750,
    save_every=375,
)
REAL_RECIPE = replace(  # a few hundred photographs: augmentation makes them many
    LITE_RECIPE,
    steps=1_000,
    augment="paper",
    evaluate_every=200,
    save_every=100,
)
TRANSFER_RECIPE = replace(  # photographs, from weights that know others
    REAL_RECIPE,
    steps=900,
    learning_rate=1e-3,
    warmup=50,
    freeze=1,
    evaluate_every=150,
    save_every=150,
)
GPU_RECIPE = replace(  # minutes on one GPU; not in bf16: norms would cast to fp32 and back
    LITE_RECIPE,
    steps=12_000,
    batch_size=64,
    warmup=500,
    evaluate_every=3_000,
    save_every=3_000,
)


def recipe_from(fields: Mapping[str, Any]) -> Recipe:
    """A recipe from its JSON form, in which the tuple has become a list."""
    return Recipe(**{**fields, "milestones": tuple(fields["milestones"])})


def training_pictures(data: Samples, spec: SSDSpec, recipe: Recipe, keep: bool) -> Resized:
    """Training data, their pictures in the size that the recipe's augmentation needs.

    A crop is cut out of the picture as it was read, or it would have little detail; pictures are
    only shrunk where no crop could show it. Those that are at most mirrored are warped here.
    """
    if parse_augment(recipe.augment) in ((), ("mirror",)):
        return Resized(data, spec.image_size, spec.antialias, keep)
    return Resized(data, longest_side(spec.image_size), spec.antialias, keep, at_most=True)


def learning_rate(step: int, recipe: Recipe) -> float:
    """Learning rate of a step, a function of its number alone."""
    warm = min(1, (step + 1) / recipe.warmup) if recipe.warmup else 1
    if recipe.schedule == "cosine":
        return recipe.learning_rate * warm * (1 + math.cos(math.pi * step / recipe.steps)) / 2
    passed = sum(step >= milestone * recipe.steps for milestone in recipe.milestones)
    return recipe.learning_rate * warm * 0.1**passed


def evaluates(step: int, recipe: Recipe) -> bool:
    """Whether a step is followed by a look at held-out pictures, as the last one always is."""
    return step == recipe.steps or step % recipe.evaluate_every == 0


def freeze(base: nn.Module, recipe: Recipe) -> None:
    """Take from a base's first stages, and from its batch norms, what the recipe will not train.

    What has no gradient is not changed; a norm without one uses the mean and variance that it has.

    Raises:
        ValueError: the base has fewer stages.
    """
    stages = list(base.children())
    if recipe.freeze > len(stages):
        raise ValueError(f"freeze: the base has {len(stages)} stages, not {recipe.freeze}")
    norms = [m for m in base.modules() if isinstance(m, nn.BatchNorm2d) and recipe.freeze_norms]
    for module in (*stages[: recipe.freeze], *norms):
        module.requires_grad_(False)


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD or AdamW, for all that the recipe trains; the rest of the base is frozen.

    Biases and norms are not decayed; with SGD both learn twice as fast, as the authors' biases do.
    """
    if recipe.freeze or recipe.freeze_norms:
        freeze(model.get_submodule("base"), recipe)
    rate, bias_scale = recipe.learning_rate, 2 if recipe.optimizer == "sgd" else 1
    groups: list[dict[str, Any]] = []
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    # At one rate there are two groups, as in the checkpoints of runs that knew no other way.
    parts = {"": 1.0} if recipe.base_rate == 1 else {"base.": recipe.base_rate, "": 1.0}
    for prefix, scale in parts.items():
        here = [p for name, p in named if name.startswith(prefix)]
        named = [(name, p) for name, p in named if not name.startswith(prefix)]
        weights, others = [p for p in here if p.dim() > 1], [p for p in here if p.dim() <= 1]
        groups += [
            {"params": weights, "weight_decay": recipe.weight_decay, "lr_scale": scale},
            {"params": others, "weight_decay": 0, "lr_scale": scale * bias_scale},
        ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=recipe.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=rate, fused=True)
