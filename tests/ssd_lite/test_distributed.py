"""Two processes under torchrun train as one does with the same batch."""

import re
import socket
from dataclasses import replace

import pytest
import torch
from torch.distributed.run import get_args_parser

from ssd_lite import commands, distributed
from ssd_lite import train as training
from ssd_lite.checkpoint import load_checkpoint
from ssd_lite.cli import make_parser
from ssd_lite.model import SSD
from ssd_lite.recipe import LITE_RECIPE
from ssd_lite.runs import read_log
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE
from tests.helpers.scenes import folder_of_scenes, run

STEPS = 4


def train(data):
    return ["train", "--data", data, "--steps", STEPS, "--batch-size", 4, "--augment", "paper"]


def torchrun(*arguments, cwd, device="cpu", **options):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--master_addr=127.0.0.1",
        f"--master_port={port}",
    ]
    return run(*arguments, "--device", device, cwd=cwd, before=launcher, **options)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of two runs, alone and together, and what the processes of the second said."""
    alone, together = (tmp_path_factory.mktemp(name) for name in ("alone", "together"))
    data = folder_of_scenes(tmp_path_factory.mktemp("data") / "scenes")
    code, _, errors = run(*train(data), "--device", "cpu", cwd=alone)
    assert code == 0, errors
    code, output, errors = torchrun(*train(data), cwd=together)
    assert code == 0, errors
    return alone / "runs" / "scenes-lite", together / "runs" / "scenes-lite", output


def test_two_processes_end_with_the_weights_of_one(runs):
    """What the steps changed is the same but for rounding.

    Adam, which divides by gradients near 0, enlarges that.
    """
    (alone, _, about), (together, _, _) = (
        load_checkpoint(folder / "last.safetensors") for folder in runs[:2]
    )
    torch.manual_seed(about["recipe"]["seed"])
    first = SSD(alone.spec, alone.classes)
    flat = [
        torch.nn.utils.parameters_to_vector(model.parameters())
        for model in (first, alone, together)
    ]
    change, difference = (flat[1] - flat[0]).norm(), (flat[2] - flat[1]).norm()
    assert change > 0.01
    assert difference < 0.01 * change


def test_two_processes_see_the_gradients_of_one(runs):
    """Their length, at every step: a wrong normalizer, which Adam would hide, shows here."""
    lengths = [
        [row["gradient_norm"] for row in read_log(folder / "log.csv")] for folder in runs[:2]
    ]
    assert len(lengths[0]) == STEPS
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-3)


def test_only_one_process_speaks_and_writes(runs):
    alone, together, output = runs
    assert output.count("pictures to train on") == 1
    assert output.count("mAP@0.5") == STEPS + 1  # at every step, and in the table at the end
    assert {path.name for path in together.iterdir()} == {path.name for path in alone.iterdir()}


def test_a_batch_that_cannot_be_shared_is_refused_before_training(tmp_path):
    data = folder_of_scenes(tmp_path / "scenes", train=3, test=1)
    code, _, errors = torchrun(*train(data), "--batch-size", 3, cwd=tmp_path)
    assert code != 0
    assert "error: batch_size: 3 cannot be shared by 2 processes" in errors
    assert not list(tmp_path.rglob("*.safetensors"))


def test_torchrun_takes_none_of_our_options_for_its_own(capsys):
    """It does take abbreviations of its own, wherever they stand."""
    with pytest.raises(SystemExit):
        make_parser().parse_args(["train", "--help"])
    output = capsys.readouterr().out
    for option in sorted(set(re.findall(r"--[a-z-]+", output)) - {"--nproc"}):
        ours = ["train", option, "x"]
        assert (
            get_args_parser()
            .parse_args(["--nproc_per_node=2", "-m", "ssd_lite", *ours])
            .training_script_args
            == ours
        )


@pytest.mark.parametrize(
    ("device", "backend", "own"), [("cuda:1", "nccl", "cuda:1"), ("cpu", "gloo", None)]
)
def test_each_process_is_bound_to_its_own_gpu_before_anything_is_exchanged(
    device, backend, own, monkeypatch
):
    """Else what they exchange lies on the first GPU, for all of them."""
    calls = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(str(device)))
    monkeypatch.setattr(
        distributed.dist,
        "init_process_group",
        lambda backend, device_id: calls.append((backend, device_id and str(device_id))),
    )
    distributed.join_processes(torch.device(device))
    assert calls == [*([own] if own else []), (backend, own)]


def test_one_process_alone_is_bound_to_the_gpu_that_was_asked_for_too(monkeypatch):
    calls = []
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    distributed.join_processes(torch.device("cuda:1"))
    assert calls == [torch.device("cuda:1")]


def test_processes_exchange_gradients_and_no_constants(tmp_path, monkeypatch):
    """The buffers are the same everywhere; sending them in every step would be for nothing."""
    asked = []

    def distribute(network, **options):
        asked.append(options)
        return network

    monkeypatch.setattr(training, "world_size", lambda: 2)
    monkeypatch.setattr(torch.nn.parallel, "DistributedDataParallel", distribute)
    recipe = replace(LITE_RECIPE, steps=1, batch_size=4)
    training.fit(SSD(LITE, Shapes.classes), Shapes(8, 0), Shapes(1, 1), recipe, tmp_path, "cpu")
    assert asked == [{"broadcast_buffers": False, "gradient_as_bucket_view": True}]


@pytest.mark.parametrize("main", [True, False])
def test_process_0_is_done_before_the_others_begin(main, monkeypatch):
    """Each calls once; where process 0 failed, the others fail without calling."""
    calls, fate = [], [(None, None)]

    def broadcast(value):
        calls.append("broadcast")
        return value if main else fate[0]

    monkeypatch.setattr(distributed, "rank", lambda: 0 if main else 1)
    monkeypatch.setattr(distributed, "broadcast_from_main", broadcast)
    assert distributed.main_first(lambda: calls.append("call") or "data") == "data"
    assert calls == (["call", "broadcast"] if main else ["broadcast", "call"])
    if not main:
        fate[0] = (None, ValueError("no network"))
        with pytest.raises(ValueError, match="no network"):
            distributed.main_first(pytest.fail)


def test_training_opens_its_data_in_process_0_first(monkeypatch):
    opened = []
    monkeypatch.setattr(commands, "main_first", lambda function: opened.append(function) or 1 / 0)
    arguments = make_parser().parse_args(["train", "--device", "cpu"])
    with pytest.raises(ZeroDivisionError):
        commands.train_command(arguments)
    assert len(opened[0]().train) == 8000


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_processes_train_on_two_gpus(runs, tmp_path):
    """Each on its own: NCCL refuses to be on one twice."""
    data = folder_of_scenes(tmp_path / "scenes")
    code, _, errors = torchrun(*train(data), cwd=tmp_path, device="cuda", gpus="0,1")
    assert code == 0, errors
    lengths = [
        [row["gradient_norm"] for row in read_log(folder / "log.csv")]
        for folder in (runs[0], tmp_path / "runs" / "scenes-lite")
    ]
    assert lengths[0][0] == pytest.approx(lengths[1][0], rel=0.05)  # TF32, and another crop
