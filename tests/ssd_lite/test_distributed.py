"""Two processes under torchrun train as one does with the same batch."""

import socket

import pytest
import torch
from scenes import folder_of_scenes, run

from ssd_lite.checkpoint import read
from ssd_lite.model import SSD
from ssd_lite.train import read_log

STEPS = 4


def train(name, data):
    return ["train", "--data", data, "--steps", STEPS, "--batch-size", 4, "--augment", "paper", "--run", name]


def torchrun(*arguments, cwd):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_addr=127.0.0.1", f"--master_port={port}"]
    return run(*arguments, "--device", "cpu", cwd=cwd, before=launcher)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with two runs, "alone" and "together", and what the processes of the second said."""
    folder = tmp_path_factory.mktemp("runs")
    data = folder_of_scenes(folder / "scenes")
    code, _, errors = run(*train("alone", data), "--device", "cpu", cwd=folder)
    assert code == 0, errors
    code, output, errors = torchrun(*train("together", data), cwd=folder)
    assert code == 0, errors
    return folder, output


def test_two_processes_end_with_the_weights_of_one(runs):
    """What the steps changed is the same but for rounding; Adam, which divides by gradients near 0, enlarges that."""
    folder, _ = runs
    alone, _, about = read(folder / "alone" / "last.safetensors")
    together, _, _ = read(folder / "together" / "last.safetensors")
    torch.manual_seed(about["recipe"]["seed"])
    first = SSD(alone.spec, alone.classes)
    flat = [torch.nn.utils.parameters_to_vector(model.parameters()) for model in (first, alone, together)]
    change, difference = (flat[1] - flat[0]).norm(), (flat[2] - flat[1]).norm()
    assert change > 0.01
    assert difference < 0.01 * change


def test_two_processes_see_the_gradients_of_one(runs):
    """Their length, at every step: a wrong normaliser, which Adam would hide, shows here."""
    folder, _ = runs
    lengths = [[row["gradient_norm"] for row in read_log(folder / name / "log.csv")] for name in ("alone", "together")]
    assert len(lengths[0]) == STEPS
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-3)


def test_only_one_process_speaks_and_writes(runs):
    folder, output = runs
    assert output.count("pictures to train on") == 1
    assert output.count("mAP@0.5") == STEPS + 1  # at every step, and in the table at the end
    assert {path.name for path in (folder / "together").iterdir()} == {
        path.name for path in (folder / "alone").iterdir()
    }


def test_a_batch_that_cannot_be_shared_is_refused_before_training(tmp_path):
    data = folder_of_scenes(tmp_path / "scenes", train=3, test=1)
    code, _, errors = torchrun(*train("odd", data), "--batch-size", 3, cwd=tmp_path)
    assert code != 0
    assert "error: batch_size: 3 cannot be shared by 2 processes" in errors
    assert not (tmp_path / "odd" / "last.safetensors").exists()
