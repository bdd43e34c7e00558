"""Chapter 11, second half: recipes, schedules, one step, and a whole run."""

import math
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from ssd_lite import recipe as recipe_module
from ssd_lite import train
from ssd_lite.augment import UNIFORMS_PER_IMAGE
from ssd_lite.checkpoint import load_checkpoint, load_model, save_checkpoint
from ssd_lite.data import collate
from ssd_lite.distributed import choose_device, positives_per_process
from ssd_lite.model import SSD
from ssd_lite.recipe import LITE_RECIPE, PAPER, Recipe, learning_rate, make_optimizer
from ssd_lite.runs import Log, read_log, resume, save_progress
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE
from ssd_lite.train import fit, loader, train_step, training_loss, uniforms_of_step
from tests.helpers.scenes import weights

SMALL = replace(
    LITE_RECIPE, steps=6, batch_size=4, evaluate_every=3, save_every=2, warmup=0, augment="paper"
)


def lite(seed=0, classes=Shapes.classes):
    torch.manual_seed(seed)
    return SSD(LITE, classes)


def trained(run, recipe=SMALL, **options):
    """A run on drawn scenes; the model and the last evaluation."""
    model = lite(recipe.seed)
    size = LITE.image_size
    evaluation = fit(model, Shapes(16, 0, size), Shapes(4, 1, size), recipe, run, "cpu", **options)
    return model, evaluation


def batch(count=4):
    return collate([Shapes(count, 0, LITE.image_size)[i] for i in range(count)])


def same_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


# Recipes and schedules. ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, value",
    [
        *(
            ("optimizer", "adam"),
            ("schedule", "linear"),
            ("augment", "all"),
            ("augment", "mirror+all"),
            ("precision", "fp16"),
            ("steps", 0),
            ("batch_size", -1),
        ),
        *(
            ("learning_rate", 0),
            ("learning_rate", math.nan),
            ("clip_norm", 0),
            ("save_every", 0),
            ("seed", -1),
        ),
        *(("evaluate_every", 0),),
    ],
)
def test_a_recipe_names_what_is_wrong_with_it(name, value):
    with pytest.raises(ValueError, match=f"^{name}: expected .*, got {re.escape(repr(value))}"):
        Recipe(**{"steps": 10, name: value})


def test_the_papers_recipe_is_the_papers():
    rates = [learning_rate(step, PAPER) for step in (0, 79_999, 80_000, 99_999, 100_000, 119_999)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])
    assert (PAPER.batch_size, PAPER.momentum, PAPER.weight_decay, PAPER.optimizer) == (
        32,
        0.9,
        5e-4,
        "sgd",
    )
    assert (PAPER.threshold, PAPER.negative_ratio, PAPER.warmup) == (0.5, 3, 0)


def test_the_cosine_schedule_goes_down_to_0():
    recipe = Recipe(steps=100, schedule="cosine", learning_rate=2.0)
    rates = [learning_rate(step, recipe) for step in (0, 25, 50, 75, 100)]
    assert rates == pytest.approx([2, 1 + math.sqrt(0.5), 1, 1 - math.sqrt(0.5), 0])


def test_the_warm_up_climbs_from_0_and_is_over_after_its_steps():
    recipe = Recipe(steps=1000, warmup=10, learning_rate=1.0)
    assert [learning_rate(step, recipe) for step in (0, 4, 9, 10, 500)] == pytest.approx(
        [0.1, 0.5, 1, 1, 1]
    )


def test_biases_and_norms_are_not_decayed():
    model = lite()
    decayed, others = make_optimizer(model, replace(SMALL, weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0)
    assert {id(p) for p in decayed["params"]} == {
        id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Conv2d)
    }
    assert len(decayed["params"]) + len(others["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize("optimizer, factor", [("sgd", 2), ("adamw", 1)])
def test_biases_learn_twice_as_fast_with_sgd(optimizer, factor):
    model, recipe = lite(), replace(SMALL, optimizer=optimizer, learning_rate=0.25)
    groups = make_optimizer(model, recipe)
    train_step(model, model, groups, batch(), 0, recipe)
    assert [group["lr"] for group in groups.param_groups] == [0.25, 0.25 * factor]


def test_the_gradient_is_clipped_and_its_own_length_is_told():
    model, recipe = lite(), replace(SMALL, clip_norm=1e-3)
    _, length = train_step(model, model, make_optimizer(model, recipe), batch(), 0, recipe)
    left = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    assert length > 0.01
    torch.testing.assert_close(left, torch.tensor(1e-3), rtol=1e-2, atol=0)


# One step. ----------------------------------------------------------------------------------------


def test_30_steps_on_one_batch_learn_it():
    model, recipe = (
        lite(),
        replace(SMALL, steps=60, augment="none", learning_rate=3e-3, schedule="multistep"),
    )
    optimizer, scenes = make_optimizer(model, recipe), batch()
    losses = [
        train_step(model, model, optimizer, scenes, step, recipe)[0].total.item()
        for step in range(30)
    ]
    assert losses[-1] < losses[0] / 3


def test_the_loss_does_not_depend_on_how_objects_are_padded():
    model, scenes, uniforms = (
        lite(),
        batch(),
        torch.rand(4, UNIFORMS_PER_IMAGE, generator=torch.Generator().manual_seed(0)),
    )
    padded = scenes._replace(
        boxes=torch.nn.functional.pad(scenes.boxes, (0, 0, 0, 3)),
        labels=torch.nn.functional.pad(scenes.labels, (0, 3)),
    )
    a, b = (training_loss(model, model, x, uniforms, SMALL) for x in (scenes, padded))
    torch.testing.assert_close(a.total, b.total)
    assert a.positives > 0


def test_pictures_without_objects_train_without_nan():
    scenes, model = batch(), lite()
    empty = scenes._replace(boxes=torch.zeros(4, 1, 4), labels=torch.zeros(4, 1, dtype=torch.int64))
    loss, length = train_step(model, model, make_optimizer(model, SMALL), empty, 0, SMALL)
    assert loss.total == 0
    assert length == 0
    assert all(p.isfinite().all() for p in model.parameters())


def test_bf16_changes_the_loss_a_little_and_the_weights_stay_fp32():
    model, scenes, uniforms = (
        lite(),
        batch(),
        torch.rand(4, UNIFORMS_PER_IMAGE, generator=torch.Generator().manual_seed(0)),
    )
    full, half = (
        training_loss(model, model, scenes, uniforms, replace(SMALL, precision=p))
        for p in ("fp32", "bf16")
    )
    assert half.total.dtype == torch.float32
    assert 0 < (full.total - half.total).abs() < 0.05 * full.total


def test_the_normalizer_counts_positives_and_is_never_0():
    assert positives_per_process(torch.tensor([[0, 2, 0], [1, 1, 0]])) == 3
    assert positives_per_process(torch.zeros(2, 3, dtype=torch.int64)) == 1


def test_a_steps_uniforms_depend_on_seed_and_step_alone():
    first = uniforms_of_step(3, SMALL)
    torch.rand(5)
    assert torch.equal(uniforms_of_step(3, SMALL), first)
    assert first.shape == (4, UNIFORMS_PER_IMAGE)
    assert not torch.equal(uniforms_of_step(4, SMALL), first)
    assert not torch.equal(uniforms_of_step(3, replace(SMALL, seed=1)), first)


def test_the_loader_begins_where_it_is_told():
    scenes = Shapes(8, 0, 32)
    whole = [b.images for b in loader(scenes, SMALL, 0, workers=0)]
    tail = [b.images for b in loader(scenes, SMALL, 4, workers=0)]
    assert len(whole) == 6
    assert all(torch.equal(a, b) for a, b in zip(whole[4:], tail, strict=True))


@pytest.mark.parametrize(("device", "at_once"), [("cuda", False), ("mps", True), ("cpu", True)])
def test_only_a_gpu_with_pinned_memory_may_read_a_batch_later(device, at_once, monkeypatch):
    """Elsewhere a batch that nobody holds any more could be overwritten before it is read."""
    waits, scenes = [], batch()
    monkeypatch.setattr(
        torch.Tensor, "to", lambda x, device, non_blocking=False: waits.append(not non_blocking)
    )
    scenes.to(torch.device(device))
    assert waits == [at_once] * len(scenes)


def test_a_training_step_waits_until_its_uniforms_are_sent_where_they_are_not_pinned(monkeypatch):
    model, sent, to = lite(), [], torch.Tensor.to

    def spy(x, *args, **options):
        sent.append(options.get("non_blocking"))
        return to(x, *args, **options)

    monkeypatch.setattr(torch.Tensor, "to", spy)
    train_step(model, model, make_optimizer(model, SMALL), batch(), 0, SMALL)
    assert True not in sent
    assert False in sent


@pytest.mark.parametrize("there", [True, False])
def test_memory_is_pinned_for_the_gpu_that_trains_not_for_one_that_is_there(
    there, tmp_path, monkeypatch
):
    """Pinning would wake a GPU that ``--device cpu`` has told to sleep."""
    pinned = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(
        train, "DataLoader", lambda *data, pin_memory, **o: pinned.append(pin_memory) or []
    )
    trained(tmp_path)
    assert pinned == [False]
    loader(Shapes(8, 0, 32), SMALL, 0, workers=0, pinned=True)
    assert pinned == [False, True]


def test_each_processs_uniforms_lie_in_a_row(monkeypatch):
    """Pinning would keep the gaps between them, and the copy would be made twice."""
    whole = uniforms_of_step(0, SMALL)
    monkeypatch.setattr(train, "world_size", lambda: 2)
    monkeypatch.setattr(train, "rank", lambda: 1)
    mine = uniforms_of_step(0, SMALL)
    assert mine.is_contiguous()
    assert torch.equal(mine, whole[1::2])


def test_a_batch_must_be_divisible_by_the_number_of_processes(monkeypatch):
    monkeypatch.setattr(train, "world_size", lambda: 3)
    with pytest.raises(ValueError, match="batch_size: 4 cannot be shared by 3 processes"):
        loader(Shapes(8, 0, 32), SMALL, 0, workers=0)


# Devices. -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpu", "", "cpu:one", "12"])
def test_an_unknown_device_is_named(name):
    with pytest.raises(ValueError, match=f"device: '{name}' is unknown; try cuda, mps or cpu"):
        choose_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "xpu", "meta"])
def test_a_device_that_is_not_there_is_named(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(
        ValueError, match=f"device: '{name}' was asked for, but PyTorch finds none here; use cpu"
    ):
        choose_device(name)


def gpus(monkeypatch, count, capability=(9, 0)):
    """So many GPUs of one kind, for a PyTorch with code for 7.5 and up."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90a", "compute_90"])


@pytest.mark.parametrize(
    "cuda, mps, best", [(True, True, "cuda:2"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_best_device_there_is_and_each_processs_own_gpu(cuda, mps, best, monkeypatch):
    gpus(monkeypatch, 3 if cuda else 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert choose_device() == torch.device(best)


@pytest.mark.parametrize(("name", "local_rank"), [("cuda:2", 0), ("cuda", 2), (None, 2)])
def test_a_gpu_that_is_not_among_those_there_is_named(name, local_rank, monkeypatch):
    gpus(monkeypatch, 2)
    monkeypatch.setenv("LOCAL_RANK", str(local_rank))
    with pytest.raises(ValueError, match="device: cuda:2 was asked for, but PyTorch finds 2 GPUs"):
        choose_device(name)


def test_a_gpu_that_this_pytorch_cannot_drive_is_not_chosen(monkeypatch):
    gpus(monkeypatch, 1, capability=(6, 1))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "GTX 1080")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.warns(UserWarning, match=r"GTX 1080 is too old .* 6\.1, needs 7\.5.*older PyTorch"):
        assert choose_device() == torch.device("cpu")


def test_a_device_that_is_named_wakes_no_other(monkeypatch):
    gpus(monkeypatch, 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", pytest.fail)
    assert choose_device("cpu") == torch.device("cpu")


# The log. -----------------------------------------------------------------------------------------

ROWS = [{"step": 20.0, "loss": 3.5}, {"step": 40.0, "loss": 3.25, "map50": 1.25e-5}]


def write_log(path, step=0):
    log = Log(path, step)
    for row in ROWS:
        log.add(row)
    return path


def test_a_log_gives_back_its_rows_without_empty_columns(tmp_path):
    path = write_log(tmp_path / "log.csv")
    assert path.read_text().splitlines()[0] == ",".join(Log.columns)
    assert read_log(path) == ROWS
    assert read_log(tmp_path / "none.csv") == []


def test_a_last_line_torn_anywhere_is_left_out(tmp_path):
    path = write_log(tmp_path / "log.csv")
    content = path.read_text()
    begin = content.rindex("\n40,") + 1
    for end in range(begin, len(content)):
        path.write_text(content[:end])
        assert read_log(path) == ROWS[:1], content[begin:end]


def test_a_resumed_log_forgets_the_lines_after_its_step(tmp_path):
    path = write_log(tmp_path / "log.csv")
    with open(path, "a") as file:
        file.write("60,0.0")
    log = Log(path, step=20)
    log.add({"step": 40.0, "loss": 9.0})
    assert read_log(path) == [ROWS[0], {"step": 40.0, "loss": 9.0}]


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="only Linux has a device that is always full"
)
def test_a_full_disk_is_told_with_the_logs_name(tmp_path):
    log = Log(tmp_path / "log.csv", 0)
    (tmp_path / "log.csv").unlink()
    (tmp_path / "log.csv").symlink_to("/dev/full")
    with pytest.raises(
        OSError, match=r"log\.csv: cannot be written \(No space left on device\).*make room"
    ):
        log.add(ROWS[0])


# Whole runs. --------------------------------------------------------------------------------------


def test_a_run_leaves_its_log_and_two_checkpoints(tmp_path):
    seen = []
    model, evaluation = trained(
        tmp_path, on_evaluation=lambda step, e: seen.append((step, e.map50))
    )
    rows = read_log(tmp_path / "log.csv")
    assert [row["step"] for row in rows] == [2, 3, 4, 6]
    assert [row["step"] for row in rows if "map50" in row] == [step for step, _ in seen] == [3, 6]
    assert all(set(row) >= set(Log.columns) - {"map50"} for row in rows)
    assert rows[0]["learning_rate"] == pytest.approx(learning_rate(1, SMALL), rel=1e-5)
    assert all(
        row["loss"] == pytest.approx(row["classification"] + row["localization"], rel=1e-4)
        for row in rows
    )
    assert evaluation.map50 == seen[-1][1]
    assert {path.name for path in tmp_path.iterdir()} == {
        "log.csv",
        "last.safetensors",
        "best.safetensors",
    }
    last, extra, about = load_checkpoint(tmp_path / "last.safetensors")
    assert same_weights(last, model)
    # Saved before the last look, whose result stands in the best checkpoint.
    assert (about["step"], about["best"], about["torch"]) == (6, seen[0][1], torch.__version__)
    assert resume(tmp_path, model, make_optimizer(model, SMALL), SMALL) == (
        6,
        max(m for _, m in seen),
    )
    assert about["recipe"] == {**asdict(SMALL), "milestones": list(SMALL.milestones)}
    assert len(extra) == 3 * len(
        list(model.parameters())
    )  # Adam's two moments and its count of steps


def test_the_best_checkpoint_is_the_one_that_measured_best(tmp_path, monkeypatch):
    scores, real = iter([0.1, 0.3, 0.2]), train.evaluate_model
    monkeypatch.setattr(train, "evaluate_model", lambda *a: replace(real(*a), map50=next(scores)))
    states = {}
    model = lite()
    recipe = replace(SMALL, evaluate_every=2)

    def keep(step, _):
        states[step] = {name: x.clone() for name, x in model.state_dict().items()}

    fit(
        model,
        Shapes(16, 0, LITE.image_size),
        Shapes(2, 1, LITE.image_size),
        recipe,
        tmp_path,
        "cpu",
        0,
        keep,
    )
    best, _, about = load_checkpoint(tmp_path / "best.safetensors")
    assert (about["step"], about["map50"]) == (4, 0.3)
    assert all(torch.equal(x, states[4][name]) for name, x in best.state_dict().items())
    assert not same_weights(best, model)


def test_two_runs_with_one_seed_are_equal_bit_for_bit_and_another_seed_differs(tmp_path):
    runs = [
        trained(tmp_path / str(i), replace(SMALL, seed=seed))[0] for i, seed in enumerate((3, 3, 4))
    ]
    states = [weights(tmp_path / str(i) / "last.safetensors") for i in range(3)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not same_weights(runs[0], runs[2])
    logs = [
        [{**row, "images_per_second": 0} for row in read_log(tmp_path / str(i) / "log.csv")]
        for i in range(3)
    ]
    assert logs[0] == logs[1] != logs[2]


def test_a_gpu_would_choose_convolutions_that_repeat_and_only_while_training(tmp_path, monkeypatch):
    """cuDNN's switches, set here as somebody might have set them; on a CPU they do nothing."""
    cudnn, seen = torch.backends.cudnn, []
    monkeypatch.setattr(cudnn, "benchmark", True)

    def loss_fn(*args):
        seen.append((cudnn.deterministic, cudnn.benchmark))
        return training_loss(*args)

    trained(tmp_path, replace(SMALL, steps=1), loss_fn=loss_fn)
    assert seen == [(True, False)]
    assert (cudnn.deterministic, cudnn.benchmark) == (False, True)


def test_the_seed_decides_order_and_augmentation_too(tmp_path):
    """The same first weights, another seed in the recipe."""
    models = []
    for seed in (0, 1):
        models.append(lite())
        scenes = Shapes(16, 0, LITE.image_size)
        fit(
            models[-1],
            scenes,
            Shapes(1, 1, LITE.image_size),
            replace(SMALL, steps=1, seed=seed),
            tmp_path / str(seed),
            "cpu",
        )
    assert not same_weights(*models)


def test_processes_that_read_pictures_change_nothing(tmp_path):
    here, _ = trained(tmp_path / "here", replace(SMALL, steps=2))
    there, _ = trained(tmp_path / "there", replace(SMALL, steps=2), workers=1)
    assert same_weights(here, there)


def test_a_finished_run_has_nothing_to_resume(tmp_path):
    model, _ = trained(tmp_path)
    again, evaluation = trained(tmp_path)
    assert evaluation is None
    assert same_weights(model, again)
    assert [row["step"] for row in read_log(tmp_path / "log.csv")] == [2, 3, 4, 6]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_resume_restores_weights_and_optimizer_to_the_bit(tmp_path, optimizer):
    recipe = replace(SMALL, optimizer=optimizer)
    model, scenes = lite(), batch()
    model.to(memory_format=torch.channels_last)
    first = make_optimizer(model, recipe)
    for step in range(2):
        train_step(model, model, first, scenes, step, recipe)
    save_progress(tmp_path, model, first, recipe, 2, 0.25)

    other = lite(seed=9).to(memory_format=torch.channels_last)
    second = make_optimizer(other, recipe)
    assert resume(tmp_path, other, second, recipe) == (2, 0.25)
    for m, o in ((model, first), (other, second)):
        train_step(m, m, o, scenes, 2, recipe)
    assert same_weights(model, other)


def test_without_a_checkpoint_a_run_begins_at_the_beginning(tmp_path):
    model = lite()
    assert resume(tmp_path, model, make_optimizer(model, SMALL), SMALL) == (0, -1.0)


@pytest.mark.parametrize(
    "name, change",
    [
        ("spec", {"spec": replace(LITE, name="MINE")}),
        ("classes", {"classes": ["other"]}),
        ("recipe", {"recipe": replace(SMALL, learning_rate=0.5)}),
    ],
)
def test_resume_refuses_another_spec_other_classes_and_another_recipe(tmp_path, name, change):
    model = lite()
    save_progress(tmp_path, model, make_optimizer(model, SMALL), SMALL, 2, 0.0)
    other = SSD(change.get("spec", LITE), change.get("classes", Shapes.classes))
    with pytest.raises(
        ValueError,
        match=rf"(?s)last\.safetensors: was trained with {name} .*name another run folder",
    ):
        resume(tmp_path, other, make_optimizer(other, SMALL), change.get("recipe", SMALL))


@pytest.mark.parametrize(
    "provenance", [{}, {"step": 1, "best": 0.0, "recipe": {"steps": 3, "color": "red"}}]
)
def test_resume_refuses_a_checkpoint_that_no_training_left(tmp_path, provenance):
    model = lite()
    save_checkpoint(tmp_path / "last.safetensors", model, **provenance)
    with pytest.raises(ValueError, match=r"last\.safetensors: "):
        resume(tmp_path, model, make_optimizer(model, SMALL), SMALL)


def test_a_loss_that_explodes_is_told_and_the_last_good_checkpoint_stays(tmp_path, monkeypatch):
    usual = recipe_module.learning_rate
    monkeypatch.setattr(
        train, "learning_rate", lambda step, recipe: 1e30 if step == 2 else usual(step, recipe)
    )
    with pytest.raises(
        FloatingPointError, match=r"step 4: .*Lower the learning rate.*last\.safetensors"
    ):
        trained(tmp_path, replace(SMALL, evaluate_every=6))
    last, _, about = load_checkpoint(tmp_path / "last.safetensors")
    assert about["step"] == 2
    assert all(p.isfinite().all() for p in last.parameters())


def test_a_checkpoint_is_good_even_if_its_own_step_broke_the_weights(tmp_path, monkeypatch):
    """The loss of a step is computed before the step is taken.

    It may be fine, and the weights after it not.
    """
    usual = recipe_module.learning_rate
    monkeypatch.setattr(
        train, "learning_rate", lambda step, recipe: math.inf if step == 3 else usual(step, recipe)
    )
    with pytest.raises((FloatingPointError, ValueError)):
        trained(tmp_path, replace(SMALL, evaluate_every=6))
    assert all(p.isfinite().all() for p in load_model(tmp_path / "last.safetensors").parameters())
