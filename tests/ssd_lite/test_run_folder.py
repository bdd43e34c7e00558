"""A run's folder: one training in it, longer at need, found again after a move."""

import json
import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssd_lite import commands, train
from ssd_lite.checkpoint import load_checkpoint, save_checkpoint
from ssd_lite.labels import Relabeled
from ssd_lite.model import SSD
from ssd_lite.recipe import LITE_RECIPE, learning_rate
from ssd_lite.run_folder import Config, hold_run, new_run, read_config, run_at, write_config
from ssd_lite.runs import read_log
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE
from tests.helpers.scenes import (
    ROOT,
    annotation,
    command,
    few_scenes,
    folder_of_scenes,
    plain,
    refused,
    without_a_gpu,
    write_folder,
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder of its own, no GPU, and data sets of a few drawn scenes."""
    few_scenes(monkeypatch)
    without_a_gpu(tmp_path, monkeypatch)


def learn(*arguments):
    command("train", "--steps", 2, "--batch-size", 2, *arguments)


@pytest.fixture(scope="module")
def a_run(tmp_path_factory):
    """A finished run of two steps."""
    folder = tmp_path_factory.mktemp("finished") / "mine"
    with pytest.MonkeyPatch.context() as patched:
        few_scenes(patched)
        learn("--out", folder, "--device", "cpu")
    return folder


@pytest.fixture
def mine(a_run, tmp_path):
    """A copy of it, named mine."""
    return shutil.copytree(a_run, tmp_path / "mine")


# Longer than planned. -----------------------------------------------------------------------------


def test_a_finished_run_goes_on_to_more_steps_at_the_rates_of_a_longer_run(mine, tmp_path, capsys):
    command("train", "--resume", "mine", "--steps", 4)
    said = capsys.readouterr().out
    longer = read_config(tmp_path / "mine").recipe
    assert (longer.steps, longer.learning_rate) == (4, LITE_RECIPE.learning_rate)
    assert "--steps 4: 2 of 2 planned steps are done" in said
    assert f"run of 4: {learning_rate(2, longer):.2g} next" in said
    rows = read_log(tmp_path / "mine" / "log.csv")
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[2]["learning_rate"] == pytest.approx(learning_rate(2, longer), rel=1e-4)
    assert load_checkpoint(tmp_path / "mine" / "last.safetensors")[2]["step"] == 4
    record = json.loads((tmp_path / "mine" / "record.json").read_text())
    assert record["config"]["recipe"]["steps"] == 4


def test_steps_that_are_done_already_are_refused(mine, capsys):
    message = refused(capsys, "train", "--resume", "mine", "--steps", 1)
    assert "--steps 1: mine has been trained for 2 steps already; name more" in message


@pytest.mark.parametrize(
    "words, named",
    [
        (["--seed", 1], "--seed: cannot be changed beside --resume, which takes it"),
        (["--data", "shapes"], "--data: cannot"),  # even if it is what the run has
        (["--no-compile"], "--compile: cannot"),
        (["--pretrained"], "--pretrained: cannot"),
        (["--batch", 4, "--out", "x", "--model", "lite"], "--batch-size, --model, --out: cannot"),
        (["--classes", "a,b"], "--classes: cannot"),
        (["--steps", 9, "--learning-rate", 1], "--learning-rate: cannot"),
    ],
    ids=str,
)
def test_other_options_beside_resume_are_refused_all_by_name(words, named, capsys):
    message = refused(capsys, "train", "--resume", "mine", *words)
    assert named in message
    assert "or train anew without --resume" in message


def test_what_the_machine_decides_may_be_said_beside_resume(mine):
    command("train", "--resume", "mine", "--device", "cpu", "--workers", 0, "--download")


# One training in a folder. ------------------------------------------------------------------------


def take(folder, ready, names):
    """What a training does first, at the same moment as others."""
    import os

    os.chdir(folder)
    ready.wait()
    names.put(str(new_run("mine")))


def test_runs_that_start_at_the_same_moment_get_folders_of_their_own(tmp_path):
    several = multiprocessing.get_context("fork")
    ready, names = several.Barrier(4), several.Queue()
    processes = [several.Process(target=take, args=(tmp_path, ready, names)) for _ in range(4)]
    for process in processes:
        process.start()
    taken = {Path(names.get(timeout=60)).name for _ in processes}
    for process in processes:
        process.join()
    assert taken == {"mine", "mine-2", "mine-3", "mine-4"}


HOLDER = """
import sys
from pathlib import Path
from ssd_lite.run_folder import hold_run
with hold_run(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_a_training_writes_into_is_refused_until_that_ends(mine, tmp_path, capsys):
    (tmp_path / "new").mkdir()
    for folder in ("mine", "new"):
        other = subprocess.Popen(
            [sys.executable, "-c", HOLDER, folder],
            env={"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert other.stdout.readline() == b"held\n"
        words = ["--resume", "mine"] if folder == "mine" else ["--out", "new"]
        message = refused(capsys, "train", *words)
        assert f"{folder}: another training is writing into this folder; wait for" in message
        other.kill()
        other.communicate()
    command("train", "--resume", "mine")  # the lock that the kill left is nobody's
    assert not (tmp_path / "mine" / "training.lock").exists()


def test_a_folder_that_holds_a_run_is_refused_and_an_empty_one_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    assert run_at(tmp_path / "empty") == tmp_path / "empty"
    save_checkpoint(tmp_path / "full" / "last.safetensors", SSD(LITE, ["disc"]))
    with pytest.raises(ValueError, match="holds a run already; go on with --resume"):
        run_at(tmp_path / "full")


def test_an_error_leaves_no_lock(tmp_path):
    with pytest.raises(RuntimeError), hold_run(tmp_path):
        raise RuntimeError
    with hold_run(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


# Saved before a look. -----------------------------------------------------------------------------


def test_a_broken_picture_that_was_held_out_costs_no_step(tmp_path, capsys, monkeypatch):
    real = train.evaluate_model

    def broken(*_, **__):
        raise ValueError("x.jpg: not a picture that can be read")

    monkeypatch.setattr(train, "evaluate_model", broken)
    message = refused(capsys, "train", "--steps", 2, "--batch-size", 2, "--out", "mine")
    assert "x.jpg: not a picture that can be read" in message
    assert "go on with: python -m ssd_lite train --resume mine" in message
    assert load_checkpoint(tmp_path / "mine" / "last.safetensors")[2]["step"] == 1

    # Mended, it takes the look that it owes, and goes on.
    monkeypatch.setattr(train, "evaluate_model", real)
    command("train", "--resume", "mine")
    rows = read_log(tmp_path / "mine" / "log.csv")
    assert [row["step"] for row in rows if "map50" in row] == [1, 2]
    assert all("loss" in row for row in rows)


def test_a_kill_between_the_best_checkpoint_and_the_log_changes_nothing(
    mine, tmp_path, monkeypatch
):
    """The best mAP then stands in the best checkpoint alone."""
    from ssd_lite.runs import Log

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Log, "add_map50", killed)
        with pytest.raises(SystemExit):
            learn("--out", "torn")
    command("train", "--resume", "torn")
    for name in ("best.safetensors", "last.safetensors"):
        whole, torn = (load_checkpoint(tmp_path / run / name)[0] for run in ("mine", "torn"))
        for a, b in zip(whole.parameters(), torn.parameters(), strict=True):
            assert torch.equal(a, b)
    numbers = [
        [(row["step"], row["map50"], row["loss"]) for row in read_log(tmp_path / run / "log.csv")]
        for run in ("mine", "torn")
    ]
    assert numbers[0] == numbers[1]


# Its own data. ------------------------------------------------------------------------------------


def test_evaluate_measures_a_run_on_its_own_data(tmp_path, capsys):
    data = folder_of_scenes(tmp_path / "scenes", 3, 2)
    learn("--data", data)
    capsys.readouterr()
    command("evaluate")
    assert f"LITE_192 on {data}, 3 pictures" in capsys.readouterr().out
    command("evaluate", "--weights", "runs/scenes-lite/last.safetensors")
    assert f"LITE_192 on {data}, 3 pictures" in capsys.readouterr().out


def test_a_model_from_elsewhere_needs_data(tmp_path, capsys):
    save_checkpoint(tmp_path / "m.safetensors", SSD(LITE, Shapes.classes))
    message = refused(capsys, "evaluate", "--weights", "m.safetensors")
    assert "--weights m.safetensors: no run's config.json beside them" in message
    assert "with --data shapes for example" in message


def test_the_classes_that_model_and_folder_share_are_measured_and_the_others_named(
    tmp_path, capsys
):
    boxes = annotation(("star", (1, 1, 20, 20)), ("comet", (20, 5, 50, 30)))
    for image_set in ("trainval", "test"):
        write_folder(tmp_path / "sky", {image_set: (plain(), boxes)}, image_set)
    save_checkpoint(tmp_path / "m.safetensors", SSD(LITE, ["star", "moon"]))
    command("evaluate", "--weights", "m.safetensors", "--data", "sky")
    said = capsys.readouterr().out
    assert "not measured, because the model does not know them: comet" in said
    assert "not measured, because the data does not know them: moon" in said
    assert "1 pictures, 1 objects" in said
    assert "moon " not in said.splitlines()[-3]


def test_a_model_that_knows_some_classes_in_another_order_is_measured_in_its_own_labels():
    scenes = Shapes(3, 0, 64)
    ours = ("triangle", "star")
    relabeled = Relabeled(scenes, Shapes.classes, ours)
    assert len(relabeled) == 3
    for i in range(3):
        before, after = scenes[i], relabeled[i]
        names = [Shapes.classes[label - 1] for label in before.labels.tolist()]
        kept = [name for name in names if name in ours]
        assert [ours[label - 1] for label in after.labels.tolist()] == kept
        assert len(after.boxes) == len(after.difficult) == len(kept)


def test_train_and_evaluate_on_some_of_the_classes(tmp_path, capsys):
    data = folder_of_scenes(tmp_path / "scenes", 4, 2)
    learn("--data", data, "--classes", "star, cross")
    assert load_checkpoint("runs/scenes-lite/last.safetensors")[0].classes == ("star", "cross")
    capsys.readouterr()
    command("evaluate")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "star",
        "cross",
        "mAP@0.5",
    ]
    command("train", "--resume", "runs/scenes-lite")
    with pytest.raises(SystemExit):
        command("train", "--classes", "a,,b")
    assert "'a,,b': expected names with commas between" in capsys.readouterr().err


def test_the_split_is_kept_and_no_picture_of_a_run_may_change_sides(tmp_path, capsys):
    data = folder_of_scenes(tmp_path / "scenes", 3, 2)
    learn("--data", data)
    kept = json.loads((tmp_path / "runs/scenes-lite/split.json").read_text(encoding="utf-8"))
    names = [*(f"trainval{i}" for i in range(3)), "trainvalall"]
    assert kept["train"] == [f"JPEGImages/{name}.jpg" for name in names]
    assert len(kept["test"]) == 3
    assert kept["held out"] == "the lists trainval and test"
    (data / "ImageSets/Main/trainval.txt").write_text("trainval0\ntrainvalall\n")
    command("evaluate")  # fewer to train on: nothing wrong with that
    (data / "ImageSets/Main/test.txt").write_text("test0\ntestall\ntrainval1\n")
    for words in (("evaluate",), ("train", "--resume", "runs/scenes-lite", "--steps", 4)):
        message = refused(capsys, *words)
        assert "1 pictures that runs/scenes-lite was trained on are held out now" in message
        assert "JPEGImages/trainval1.jpg; put them back" in message
    (tmp_path / "runs/scenes-lite/split.json").write_text("{}")
    assert "not what a run writes there" in refused(capsys, "evaluate")


# Moves. -------------------------------------------------------------------------------------------


def test_a_run_and_its_data_may_be_moved_together_or_the_run_alone(tmp_path, monkeypatch, capsys):
    project = tmp_path / "project"
    folder_of_scenes(project / "scenes", 3, 1)
    monkeypatch.chdir(project / "scenes")
    learn("--data", ".")
    assert (project / "scenes" / "runs" / "scenes-lite").is_dir()  # not runs/-lite
    run = tmp_path / "run"
    shutil.copytree(project / "scenes" / "runs" / "scenes-lite", run)
    monkeypatch.chdir(tmp_path)
    assert read_config(run).data == str(project / "scenes")

    project.rename(tmp_path / "elsewhere")
    moved = tmp_path / "elsewhere" / "scenes" / "runs" / "scenes-lite"
    assert read_config(moved).data == str(tmp_path / "elsewhere" / "scenes")
    command("train", "--resume", moved)
    message = refused(capsys, "train", "--resume", run)
    assert "config.json: the run's data are not in" in message
    assert "put them back, or write their place into this file" in message


def test_a_config_comes_back_as_it_was_written(tmp_path):
    (tmp_path / "Bilder größer").mkdir()
    for data in ("shapes", str(tmp_path / "Bilder größer")):
        config = Config(data, "lite", tmp_path, ("Äpfel", "梨"), LITE_RECIPE)
        write_config(tmp_path, config)
        assert read_config(tmp_path) == config
        assert "Äpfel" in (tmp_path / "config.json").read_text(encoding="utf-8")
    (tmp_path / "old").mkdir()  # as 0.2.0 wrote it
    about = {"data": "my/folder", "model": "lite", "root": "data", "recipe": vars(LITE_RECIPE)}
    (tmp_path / "old" / "config.json").write_text(json.dumps(about))
    expected = Config("my/folder", "lite", Path("data"), None, LITE_RECIPE)
    assert read_config(tmp_path / "old") == expected
    assert read_config(tmp_path / "none") is None


def test_only_one_process_takes_a_folder(monkeypatch):
    monkeypatch.setattr(commands, "from_main", lambda function: Path("as process 0 says"))
    monkeypatch.setattr(commands, "rank", lambda: 1)
    monkeypatch.setattr(
        commands, "fit", lambda model, a, b, recipe, run, *_, **__: seen.append(run)
    )
    seen: list[Path] = []
    learn()
    assert seen == [Path("as process 0 says")]
    assert not Path("runs").exists()
