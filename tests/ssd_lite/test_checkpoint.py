"""Chapter 11, first half: checkpoints are whole or absent, and never run code."""

import contextlib
import errno
import json
import os
import pickle
import random
import re
import resource
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest
import safetensors.torch
import torch
import torchvision

from ssd_lite import checkpoint
from ssd_lite.checkpoint import (
    load_checkpoint,
    load_model,
    save_checkpoint,
    spec_from,
    write_atomically,
)
from ssd_lite.model import SSD
from ssd_lite.spec import LITE, SSD300_TORCHVISION, SSD300_VOC, SSD512_COCO
from ssd_lite.torchvision_weights import load_imagenet_weights
from tests.helpers.scenes import ROOT

CLASSES = ("disc", "square")


def lite(seed=0):
    torch.manual_seed(seed)
    return SSD(LITE, CLASSES)


def saved(folder, name="best.safetensors", **provenance):
    save_checkpoint(folder / name, lite(), **provenance)
    return folder / name


def with_metadata(path, about):
    """The file again, with other metadata."""
    tensors = safetensors.torch.load_file(path)
    path.write_bytes(
        safetensors.torch.save(tensors, about if about is None else {"ssd_lite": json.dumps(about)})
    )
    return path


def equal_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# There and back. ----------------------------------------------------------------------------------


def test_a_checkpoint_gives_back_model_extras_and_provenance(tmp_path):
    model = lite()
    save_checkpoint(
        tmp_path / "deep" / "a.safetensors",
        model,
        {"momentum.0": torch.arange(3.0)},
        step=7,
        note="a test",
    )
    found, extra, provenance = load_checkpoint(tmp_path / "deep" / "a.safetensors")
    assert equal_weights(found, model)
    assert found.spec == model.spec
    assert found.classes == CLASSES
    assert extra.keys() == {"momentum.0"}
    assert extra["momentum.0"].tolist() == [0, 1, 2]
    assert provenance == {"step": 7, "note": "a test"}


def test_a_model_in_channels_last_is_saved_like_any_other(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", lite().to(memory_format=torch.channels_last))
    assert equal_weights(load_model(tmp_path / "a.safetensors"), lite())


@pytest.mark.parametrize(
    "spec", [LITE, SSD300_VOC, SSD512_COCO, SSD300_TORCHVISION], ids=lambda s: s.name
)
def test_a_spec_survives_json(spec):
    assert spec_from(json.loads(json.dumps(asdict(spec)))) == spec


def test_load_gives_a_model_ready_to_detect(tmp_path):
    model = load_model(saved(tmp_path))
    assert not model.training
    assert equal_weights(model, lite())


def test_load_of_a_runs_folder_takes_the_best_else_the_last(tmp_path):
    save_checkpoint(tmp_path / "last.safetensors", lite(seed=1))
    assert equal_weights(load_model(tmp_path), lite(seed=1))
    save_checkpoint(tmp_path / "best.safetensors", lite(seed=2))
    assert equal_weights(load_model(tmp_path), lite(seed=2))


# Files that are not what they should be. ----------------------------------------------------------


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"a\.safetensors: no such file; a run's checkpoints are best\.safetensors"
    ):
        load_model(tmp_path / "a.safetensors")
    with pytest.raises(
        ValueError,
        match="no checkpoint in this folder; expected best.safetensors or last.safetensors",
    ):
        load_model(tmp_path)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, 2000, 0.3, 0.9, -1], ids=str)
def test_a_truncated_checkpoint_is_named(tmp_path, length):
    path = saved(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(length * len(content)) if isinstance(length, float) else length])
    with pytest.raises(
        ValueError, match=r"best\.safetensors: not a whole safetensors file .*truncated"
    ):
        load_model(path)


def test_any_byte_of_the_header_may_be_damaged_and_still_the_error_names_the_file(tmp_path):
    path = saved(tmp_path)
    content, rng = path.read_bytes(), random.Random(0)
    header = 8 + int.from_bytes(content[:8], "little")
    refused = 0
    for _ in range(60):
        place = rng.randrange(header)
        path.write_bytes(content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :])
        try:
            load_model(path)
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 30


def test_a_safetensors_file_of_somebody_else_is_named(tmp_path):
    path = with_metadata(saved(tmp_path), None)
    with pytest.raises(
        ValueError,
        match="a safetensors file, but not one of ssd_lite's: it names no spec and classes",
    ):
        load_model(path)


ABOUT = {"spec": asdict(LITE), "classes": CLASSES, "provenance": {}}
BAD_METADATA = {
    "no object": [],
    "a number": 3,
    "no spec": {"classes": CLASSES, "provenance": {}},
    "no provenance": {"spec": asdict(LITE), "classes": CLASSES},
    "spec is a list": {**ABOUT, "spec": []},
    "spec with an unknown field": {**ABOUT, "spec": {**asdict(LITE), "color": "red"}},
    "spec without a field": {
        **ABOUT,
        "spec": {k: v for k, v in asdict(LITE).items() if k != "steps"},
    },
    "spec with words for numbers": {**ABOUT, "spec": {**asdict(LITE), "sizes": "large"}},
    "spec of an unknown base": {**ABOUT, "spec": {**asdict(LITE), "base": "vgg19"}},
    "classes are a word": {**ABOUT, "classes": "disc"},
    "other classes": {**ABOUT, "classes": ["disc"]},
    "extras are numbers": {**ABOUT, "spec": {**asdict(LITE), "extras": [1, 2]}},
}


@pytest.mark.parametrize("about", BAD_METADATA.values(), ids=BAD_METADATA)
def test_metadata_that_make_no_sense_are_an_error_that_names_the_file(tmp_path, about):
    path = with_metadata(saved(tmp_path), about)
    with pytest.raises(ValueError, match=r"best\.safetensors: "):
        load_model(path)


def test_weights_of_another_shape_or_spec_are_refused(tmp_path):
    path = with_metadata(saved(tmp_path), {**ABOUT, "classes": ["disc", "square", "ring"]})
    with pytest.raises(
        ValueError, match=r"(?s)best\.safetensors: weights and spec do not belong together.*logits"
    ):
        load_model(path)
    shorter = {
        name: getattr(LITE, name)[:-1] for name in ("extras", "maps", "steps", "sizes", "ratios")
    }
    spec = asdict(replace(LITE, **shorter))
    with pytest.raises(
        ValueError, match=r"(?s)best\.safetensors: weights and spec do not belong together.*extras"
    ):
        load_model(with_metadata(path, {**ABOUT, "spec": spec}))


class Malicious:
    """A pickle of this runs code as soon as it is loaded without care."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.pt"])
@pytest.mark.parametrize(
    "write",
    [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x, protocol=2))],
    ids=["torch", "raw"],
)
def test_a_pickle_with_code_in_it_is_refused_and_the_code_never_runs(tmp_path, name, write):
    marker = tmp_path / "the code ran"
    write({"weight": Malicious(marker)}, tmp_path / name)
    with pytest.raises(ValueError, match=f"{re.escape(name)}: not a .*run code"):
        load_model(tmp_path / name)
    assert not marker.exists()
    pickle.loads(
        pickle.dumps(Malicious(marker))
    ).close()  # such code does run where nobody takes care
    assert marker.exists()


# State dicts of torchvision. ----------------------------------------------------------------------

BAD_STATES = {
    "of another model": (
        {"layer1.weight": torch.zeros(2)},
        "'layer1.weight' has no place in torchvision's ssd300",
    ),
    "empty": ({}, "not torchvision's ssd300_vgg16"),
    "incomplete": (
        {"head.classification_head.module_list.0.bias": torch.zeros(12)},
        "not torchvision's ssd300_vgg16",
    ),
    "without a class": (
        {"head.classification_head.module_list.0.bias": torch.zeros(4)},
        "not torchvision's ssd300_vgg16",
    ),
    "with numbers for names": (
        {1: torch.zeros(2)},
        "expected a state dict, names and tensors only",
    ),
    "with words for tensors": ({"name": "value"}, "expected a state dict, names and tensors only"),
    "a tensor": (torch.zeros(2), "expected a state dict, names and tensors only"),
    "a training checkpoint": (
        {"model": {"a": torch.zeros(2)}, "epoch": 3},
        "expected a state dict, names and tensors",
    ),
}


@pytest.mark.parametrize("state, message", BAD_STATES.values(), ids=BAD_STATES)
def test_a_wrong_state_dict_is_a_clear_error(tmp_path, state, message):
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path / "a.pth")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0, 1, 10, 0.1, 0.5, 0.99])
def test_a_truncated_state_dict_is_named(tmp_path, part, zipped):
    path = tmp_path / "a.pth"
    torch.save(
        {f"layer {i}": torch.randn(50) for i in range(5)},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content)) if isinstance(part, float) else part])
    with pytest.raises(
        ValueError, match=r"a\.pth: not a plain PyTorch state dict, truncated, or it would run code"
    ):
        load_model(path)


def test_a_missing_state_dict_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"a\.pth: no such file"):
        load_model(tmp_path / "a.pth")


def on_meta(spec):
    with torch.device("meta"):
        return SSD(spec, CLASSES)


def vgg16_features():
    """Names and shapes of torchvision's VGG16.

    Each convolution is filled with its place in the network.
    """
    features, place, inputs = {}, 0, 3
    for outputs, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            features[f"features.{place}.weight"] = torch.full((outputs, inputs, 3, 3), float(place))
            features[f"features.{place}.bias"] = torch.full((outputs,), place + 0.5)
            place, inputs = place + 2, outputs
        place += 1
    return features


def test_vgg16s_convolutions_arrive_in_order_and_nothing_else_changes():
    """Batches of numbers that say where they come from.

    fc6, fc7 and the norm keep what they had.
    """
    model = SSD(SSD300_VOC, CLASSES)
    others = r"base\.(norm|fc7\.(8|10))\.|extras|logits|offsets"
    before = {name: x.clone() for name, x in model.state_dict().items() if re.match(others, name)}
    load_imagenet_weights(model, {**vgg16_features(), "classifier.0.weight": torch.zeros(1)})
    after = model.state_dict()
    assert all(torch.equal(after[name], x) for name, x in before.items())
    filled = [x for name, x in after.items() if not re.match(others, name)]
    places = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert [x.unique().tolist() for x in filled] == [[v] for p in places for v in (p, p + 0.5)]


def test_torchvisions_own_vgg16_has_the_names_and_shapes_of_these():
    with torch.device("meta"):
        theirs = torchvision.models.vgg16(weights=None).features
    assert {f"features.{k}": v.shape for k, v in theirs.state_dict().items()} == {
        k: v.shape for k, v in vgg16_features().items()
    }


def test_features_of_another_network_or_for_another_base_are_refused():
    with pytest.raises(ValueError, match="LITE's base, lite, was never trained on ImageNet"):
        load_imagenet_weights(lite(), vgg16_features())
    with pytest.raises(
        ValueError, match="not torchvision's vgg16; its features do not have vgg16's shapes"
    ):
        load_imagenet_weights(
            on_meta(SSD300_VOC), {"features.0.weight": torch.zeros(64, 3, 11, 11)}
        )


def test_without_a_state_dict_vgg16s_features_are_torchvisions_download(monkeypatch):
    asked = []
    monkeypatch.setattr(
        torchvision.models.VGG16_Weights,
        "get_state_dict",
        lambda self, **k: asked.append((self, k)) or {},
    )
    with pytest.raises(ValueError, match="not torchvision's vgg16"):
        load_imagenet_weights(on_meta(SSD300_VOC))
    assert asked == [(torchvision.models.VGG16_Weights.IMAGENET1K_FEATURES, {"check_hash": True})]


# Never half written. ------------------------------------------------------------------------------

WRITER = """
import sys, torch
from ssd_lite.checkpoint import save_checkpoint
from ssd_lite.spec import LITE
from ssd_lite.model import SSD
model = SSD(LITE, ["disc"])
for step in range(10**6):
    for p in model.parameters():
        p.data.fill_(step)
    save_checkpoint(sys.argv[1], model, step=step)
    print(step, flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    """A process does nothing but write checkpoints.

    Wherever it is stopped or killed, a whole one is there.
    """
    path, rng = tmp_path / "last.safetensors", random.Random(0)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    seen = []
    for _ in range(2):
        command = [sys.executable, "-c", WRITER, str(path)]
        writer = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        written = int(writer.stdout.readline())
        for _ in range(8):
            time.sleep(rng.uniform(0, 0.05))
            os.kill(writer.pid, signal.SIGSTOP)  # a kill here and now would leave what is there now
            seen.append(whole_step(path))
            assert seen[-1] >= written
            os.kill(writer.pid, signal.SIGCONT)
        time.sleep(rng.uniform(0, 0.05))
        writer.kill()
        writer.communicate()
        seen.append(whole_step(path))
    assert len(set(seen)) > 3


def whole_step(path):
    """The step of a checkpoint, all of whose weights say the same step."""
    model, _, about = load_checkpoint(path)
    assert {value for p in model.parameters() for value in p.unique().tolist()} == {about["step"]}
    return about["step"]


@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_a_failure_before_the_rename_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, place):
    write_atomically(tmp_path / "a", b"old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint.os, place, full)
    with pytest.raises(
        OSError,
        match=r"a: cannot be written \(No space left on device\).*untouched; make room or choo",
    ):
        write_atomically(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


@contextlib.contextmanager
def no_file_larger_than(size):
    """What a full disk does to a write: it stops in the middle."""
    before, handler = (
        resource.getrlimit(resource.RLIMIT_FSIZE),
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_is_full_in_the_middle_of_a_write_leaves_the_old_checkpoint(tmp_path):
    path = saved(tmp_path, step=1)
    with (
        no_file_larger_than(50_000),
        pytest.raises(OSError, match=r"best\.safetensors: cannot be written .*make room"),
    ):
        save_checkpoint(path, lite(seed=1), step=2)
    assert [file.name for file in tmp_path.iterdir()] == ["best.safetensors"]
    assert load_checkpoint(path)[2] == {"step": 1}


def test_what_a_killed_writer_left_is_in_nobodys_way(tmp_path):
    (tmp_path / "a.partial").write_bytes(b"half a fi")
    write_atomically(tmp_path / "a", b"whole")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"whole")]
