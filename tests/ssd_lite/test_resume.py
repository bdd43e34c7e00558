"""A run that is killed at any moment goes on to the weights of one that was left alone."""

import contextlib
import random
import time

import torch

from ssd_lite.runs import read_log
from tests.helpers.scenes import folder_of_scenes, run, start, weights

STEPS = 15


def train(*arguments, data):
    return [
        "train",
        "--data",
        data,
        "--steps",
        STEPS,
        "--batch-size",
        4,
        "--device",
        "cpu",
        *arguments,
    ]


def newest(folder):
    """When something in a run's folder was last written, in nanoseconds.

    It is 0 if there is nothing.
    """
    times = [0]
    for path in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # a partial file, renamed since
            times.append(path.stat().st_mtime_ns)
    return max(times)


def killed(arguments, folder, cwd, rng):
    """Start training and kill it at a random moment, soon after a random file was written.

    Returns the exit code.
    """
    process = start(*arguments, cwd=cwd)
    for _ in range(rng.randrange(2, 7)):
        before = newest(folder)
        while newest(folder) == before and process.poll() is None:
            time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.1))
    process.kill()
    process.communicate()
    return process.returncode


def numbers(folder):
    """The log's rows, without how fast they were made."""
    return [
        {name: v for name, v in row.items() if name != "images_per_second"}
        for row in read_log(folder / "log.csv")
    ]


def test_a_run_killed_again_and_again_ends_like_one_left_alone(tmp_path):
    data, rng = folder_of_scenes(tmp_path / "scenes"), random.Random(1)
    code, _, errors = run(*train("--out", "whole", data=data), cwd=tmp_path)
    assert code == 0, errors

    codes = [killed(train("--out", "torn", data=data), tmp_path / "torn", tmp_path, rng)]
    for _ in range(2):
        codes.append(
            killed(
                ["train", "--resume", "torn", "--device", "cpu"], tmp_path / "torn", tmp_path, rng
            )
        )
    assert codes.count(-9) >= 2, "the others had ended by themselves"
    code, _, errors = run("train", "--resume", "torn", "--device", "cpu", cwd=tmp_path)
    assert code == 0, errors

    for name in ("last.safetensors", "best.safetensors"):
        whole, torn = weights(tmp_path / "whole" / name), weights(tmp_path / "torn" / name)
        assert whole.keys() == torn.keys()
        assert all(torch.equal(whole[key], torn[key]) for key in whole), name
    assert numbers(tmp_path / "whole") == numbers(tmp_path / "torn")
    assert [row["step"] for row in numbers(tmp_path / "torn")] == [3, 6, 9, 12, 15]
    assert not list(tmp_path.glob("torn/*.partial"))
