"""The benchmarks compare what can be compared. How fast anything is, no test asks."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import machine, memory, pairs, suite, timing

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models():
    return pairs.models(21, CPU)


def test_the_two_are_timed_in_turn_and_neither_is_always_first(monkeypatch):
    monkeypatch.setattr(timing, "ENOUGH", 0)  # no repeats
    calls = []
    result = timing.time_pair(lambda: calls.append("o"), lambda: calls.append("t"), rounds=4)
    assert "".join(calls[-8:]) == "toottoot"
    assert len(result["ours"]) == len(result["theirs"]) == 4


def test_the_ratio_is_that_of_every_round(monkeypatch):
    """On a machine whose speed halves with every round; theirs takes three times as long."""
    calls = {1: 0, 3: 0}

    def time_call(function, repeats):
        calls[function.factor] += 1
        return function.factor * 2.0 ** calls[function.factor]

    class Work:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self):
            pass

    monkeypatch.setattr(timing, "time_call", time_call)
    assert timing.time_pair(Work(1), Work(3), rounds=4)["ratio"] == {
        "median": 3,
        "low": 3,
        "high": 3,
    }


def test_quartiles_hold_the_middle_half():
    assert timing.quartiles([4, 1, 3, 2, 5]) == {"median": 3, "low": 2, "high": 4}
    assert timing.quartiles([7.0]) == {"median": 7, "low": 7, "high": 7}


def test_operations_and_bytes_are_counted():
    a, b = torch.ones(10, 20), torch.ones(20, 30)
    found = machine.counted(lambda: (a @ b).t())
    assert found == {"operations": 2 * 10 * 20 * 30, "bytes": 4 * (10 * 20 + 20 * 30 + 10 * 30)}


def test_the_machine_is_named():
    about = machine.describe_machine(CPU)
    assert about["torch"] == torch.__version__
    assert about["threads"] == torch.get_num_threads()
    assert about["processor"]


def test_the_machine_is_named_where_neither_linux_nor_git_is(monkeypatch):
    monkeypatch.setattr(machine, "cpuinfo", lambda: "")
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    about = machine.describe_machine(CPU)
    assert about["commit"] is None
    assert about["bf16"] is False


@pytest.mark.parametrize(
    ("flags", "found"), [("avx2 avx512_bf16", True), ("amx_bf16", True), ("avx2 fma", False)]
)
def test_bf16_is_looked_for_among_the_processors_flags(monkeypatch, flags, found):
    monkeypatch.setattr(
        machine, "cpuinfo", lambda: f"model name\t: A Chip 9000\nflags\t\t: fpu {flags} sse"
    )
    about = machine.describe_machine(CPU)
    assert (about["bf16"], about["processor"]) == (found, "A Chip 9000")


def test_networks_of_equal_weights_answer_in_the_same_form(models):
    pair = pairs.network(*models, 1, "fp32")
    (logits, offsets), theirs = pair.ours(), pair.theirs()
    assert logits.shape == theirs["cls_logits"].shape
    assert offsets.shape == theirs["bbox_regression"].shape


def test_detections_are_equal_and_neither_none_nor_all(models):
    pair = pairs.detection(*models, 2, "fp32")
    counts = [len(found.labels) for found in pair.ours()]
    assert pair.same == 1
    assert all(0 < count <= 200 for count in counts)


@pytest.mark.parametrize("kind", ["trained", "early", "flat"])
def test_post_processing_is_equal_for_all_kinds_of_scores(models, kind):
    pair = pairs.postprocessing(models[1], kind, models[0].default_boxes, 2, 21)
    assert pair.same > 0.995


def test_the_kinds_of_scores_are_what_they_are_called():
    passing = {}
    for kind in ("trained", "early", "flat"):
        logits, _ = pairs.scores(kind, 2, 8732, 21, CPU)
        passing[kind] = float((logits.softmax(dim=2)[:, :, 1:] > 0.01).float().mean())
    assert passing["trained"] < 0.01 < 0.5 < passing["early"] < passing["flat"]
    with pytest.raises(ValueError, match="kind: expected flat, early or trained, got 'sharp'"):
        pairs.scores("sharp", 1, 10, 3, CPU)


def test_agreement_needs_the_same_class_place_and_score():
    boxes, scores, labels = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([0.5]), torch.tensor([1])
    there = {"boxes": boxes, "scores": scores, "labels": labels}
    assert pairs.agreement([(boxes, scores, labels)], [there]) == 1
    assert pairs.agreement([(boxes + 1, scores, labels)], [there]) == 0
    assert pairs.agreement([(boxes, scores + 0.1, labels)], [there]) == 0
    assert pairs.agreement([(boxes, scores, labels + 1)], [there]) == 0


def test_both_losses_are_about_the_same_thing(models):
    pair = pairs.matching_and_loss(models[1], pairs.scenes(2), models[0].default_boxes, 21)
    torch.testing.assert_close(pair.ours().total, sum(pair.theirs().values()), rtol=0.2, atol=0)


def test_both_prepare_the_same_pictures(models):
    pair = pairs.preprocessing(*models, 2)
    torch.testing.assert_close(
        pair.ours(), pair.theirs()[0].tensors[:, :, :300, :300], rtol=1e-3, atol=1e-2
    )


def test_both_make_8732_default_boxes(models):
    pair = pairs.default_boxes(models[1], 2, CPU)
    assert len(pair.ours()) == len(pair.theirs()[0]) == 8732


@pytest.mark.parametrize("kept", [True, False])
def test_augmentation_makes_training_pictures(kept):
    pair = pairs.augmentation(2, CPU, kept)
    images, _, labels = pair.ours()
    assert images.shape == (2, 3, 300, 300)
    assert 0 <= images.min() < images.max() <= 255 + 1e-3
    assert len(labels) == 2
    pair.theirs()


def test_scenes_have_as_many_objects_as_are_asked_for():
    assert pairs.scenes(3, 40).labels.gt(0).sum(dim=1).tolist() == [40, 40, 40]


def run(*arguments):
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_record_keeps_what_is_not_measured_again(tmp_path):
    out = tmp_path / "record.json"
    out.write_text(json.dumps({"memory": ["as it was"]}))
    result = run("benchmarks", "accuracy", "--quick", "--device", "cpu", "--out", out)
    assert result.returncode == 0, result.stderr
    record = json.loads(out.read_text())
    assert record["memory"] == ["as it was"]
    assert record["machine"]["device"] == "cpu"
    assert record["accuracy"]["bf16"] == pytest.approx(record["accuracy"]["fp32"], abs=0.02)


def test_an_unknown_part_is_refused():
    result = run("benchmarks", "color")
    assert result.returncode == 2
    assert "'color' is unknown; expected some of limits, comparisons" in result.stderr


def test_memory_is_measured_in_a_process_of_its_own():
    weights = 4 * 26_285_486  # SSD300's parameters for 20 classes
    for who in ("ours", "theirs"):
        found = json.loads(run("benchmarks.memory", who, "SSD300_VOC", 1, "cpu", "fp32").stdout)
        # Weights, gradients and momentum at least; and activations.
        assert 3 * weights < found["bytes"] < 30 * weights


def out_of_memory(*args):
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_what_does_not_fit_into_a_gpu_is_left_out_of_the_memory_record(monkeypatch, capsys):
    monkeypatch.setattr(pairs, "our_step", out_of_memory)
    memory.main("ours", "SSD300_VOC", "128", "cpu", "fp32")
    said = capsys.readouterr().out
    assert json.loads(said) == {"who": "ours", "spec": "SSD300_VOC", "batch": 128, "bytes": None}
    answers = iter([said, said.replace("null", "12"), said])
    monkeypatch.setattr(
        memory.subprocess,
        "run",
        lambda command, **options: subprocess.CompletedProcess(command, 0, next(answers)),
    )
    assert [point["bytes"] for point in memory.peaks(CPU, "fp32", quick=True)] == [12]
    assert capsys.readouterr().out.count("does not fit into the GPU's memory") == 2


def test_a_comparison_that_does_not_fit_costs_no_other_and_each_is_kept_at_once(monkeypatch):
    monkeypatch.setattr(timing, "ENOUGH", 0)
    makers = {
        "one": lambda: pairs.Pair(int, int),
        "two": out_of_memory,
        "three": lambda: pairs.Pair(out_of_memory, int),
        "four": lambda: pairs.Pair(int, int),
    }
    monkeypatch.setattr(
        suite,
        "comparisons",
        lambda *_: (({"what": name, "batch": 1}, 1, make) for name, make in makers.items()),
    )
    kept = []
    found = suite.compare(CPU, 2, True, keep=lambda so_far: kept.append(len(so_far)))
    assert [comparison["what"] for comparison in found] == ["one", "four"]
    assert kept == [1, 2]


def test_their_step_is_not_charged_for_taking_our_padding_off(monkeypatch):
    """On a GPU that would wait twice for each picture."""
    seen = []

    class Theirs(torch.nn.Linear):
        def forward(self, images, targets):
            seen.append(targets)
            return {"loss": super().forward(torch.ones(1)).sum()}

    monkeypatch.setattr(pairs, "ssd300_vgg16", lambda **options: Theirs(1, 1))
    step = pairs.their_step(20, 2, CPU)
    step()
    step()
    assert seen[0] is seen[1]
    assert all((target["labels"] > 0).all() for target in seen[0])


def test_some_comparisons_alone_keep_the_others_records(monkeypatch):
    monkeypatch.setattr(timing, "ENOUGH", 0)
    known = [
        {"what": "preprocessing", "batch": 2, "ratio": "as it was"},
        {"what": "preprocessing", "batch": 8},
    ]
    found = suite.compare(CPU, 1, quick=True, only="default", known=known)
    assert [comparison["what"] for comparison in found] == ["preprocessing", "default boxes"]
    assert found[0] == known[0]
    assert found[1]["ratio"]["median"] > 0


def test_every_comparison_and_sweep_runs(monkeypatch):
    """All comparisons are made, at their small size, and all points of the sweeps are run."""
    found = list(suite.comparisons(CPU, quick=True))
    seen = {about["what"] for about, _, _ in found}
    for _, _, make in found:
        assert isinstance(make(), pairs.Pair)
    assert seen >= {
        "network",
        "detection",
        "training step",
        "matching and loss",
        "post-processing",
        "preprocessing",
    }
    assert seen >= {"default boxes", "augmentation", "augmentation, pictures kept"}
    threads = torch.get_num_threads()
    monkeypatch.setattr(timing, "ENOUGH", 0)
    points = suite.sweep(CPU, 1, quick=True)
    assert {point["against"] for point in points} == {"objects", "boxes", "classes", "images"}
    assert torch.get_num_threads() == threads
