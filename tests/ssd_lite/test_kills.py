"""A short training killed at random moments: nothing torn, no work lost beyond the last save."""

import json
import os
import random
import signal
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch
from tqdm import tqdm

from ssd_lite.checkpoint import load_checkpoint
from ssd_lite.model import SSD
from ssd_lite.recipe import LITE_RECIPE
from ssd_lite.runs import read_log
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE
from ssd_lite.train import fit
from tests.helpers.scenes import weights

RECIPE = replace(LITE_RECIPE, steps=6, batch_size=2, evaluate_every=3, save_every=2, warmup=0)
KILLS = int(os.environ.get("SSD_LITE_KILLS", 8))


def train(run):
    torch.manual_seed(RECIPE.seed)
    model = SSD(LITE, Shapes.classes)
    fit(model, Shapes(8, 0, 96), Shapes(2, 1, 96), RECIPE, run, "cpu")


def killed(run, rng):
    """Train in a process of its own, and kill it after a random time; False if it ended before.

    A fork needs no second of imports, so that the kill meets the training.
    """
    process = os.fork()
    if process == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            tqdm.set_lock(threading.RLock())  # its own: killed with the shared one, we would wait
            train(run)
        finally:
            os._exit(0)
    before, deadline = files(run), time.monotonic() + 60
    for _ in range(rng.randrange(1, 4)):  # some writes later
        while files(run) == before and time.monotonic() < deadline:
            if os.waitpid(process, os.WNOHANG)[0]:
                return False
            time.sleep(0.004)
        before = files(run)
    time.sleep(rng.choice([0, rng.uniform(0, 0.01), rng.uniform(0, 0.3)]))
    os.kill(process, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def files(run):
    """What is in the folder now: names and times of writing."""
    return {(entry.name, entry.stat().st_mtime_ns) for entry in os.scandir(run) if exists(entry)}


def exists(entry):
    return os.path.exists(entry.path)


def step_of(run, name="last.safetensors"):
    """The step of a checkpoint, which must be whole; 0 if there is none."""
    return load_checkpoint(run / name)[2]["step"] if (run / name).exists() else 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork, after PyTorch has been used")
def test_killed_at_random_moments_nothing_is_torn_and_no_saved_step_is_lost(tmp_path):
    whole, run, rng = tmp_path / "whole", tmp_path / "run", random.Random(5)
    train(whole)
    run.mkdir()
    reached, kills = 0, 0
    while kills < KILLS:
        kills += killed(run, rng)
        step, best = step_of(run), step_of(run, "best.safetensors")
        rows = [int(row["step"]) for row in read_log(run / "log.csv")]
        assert step >= reached, "a saved step was lost"
        assert best <= step
        assert rows == sorted(set(rows))
        assert {k for k in (*range(2, step + 1, 2), *range(3, step + 1, 3)) if k < step} <= {*rows}
        reached = step
        if step == RECIPE.steps:  # once more from the beginning
            finish_and_compare(run, whole)
            for path in run.iterdir():
                path.unlink()
            reached = 0
    finish_and_compare(run, whole)


def finish_and_compare(run, whole):
    """Let a run come to its end: it must be what it would have been without any kill."""
    train(run)
    for name in ("last.safetensors", "best.safetensors"):
        if not (whole / name).exists():
            continue
        a, b = weights(whole / name), weights(run / name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), name
    logs = [
        [{**row, "images_per_second": 0} for row in read_log(folder / "log.csv")]
        for folder in (whole, run)
    ]
    assert json.dumps(logs[0]) == json.dumps(logs[1])
    assert not list(run.glob("*.partial"))
