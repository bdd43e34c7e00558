"""Fine-tuning: what is taken over from a detector that knows other classes."""

from dataclasses import replace

import pytest
import torch

from ssd_lite.checkpoint import load_checkpoint, save_checkpoint
from ssd_lite.design import make_spec
from ssd_lite.model import SSD
from ssd_lite.recipe import TRANSFER_RECIPE
from ssd_lite.run_folder import read_config
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE, LITE_192, SSD300_COCO, SSD300_VOC
from ssd_lite.train import fit
from ssd_lite.transfer import take_over
from tests.helpers.scenes import command, few_scenes, refused, without_a_gpu


def seeded(spec, classes, seed):
    torch.manual_seed(seed)
    return SSD(spec, classes)


def test_the_same_classes_are_taken_over_whole():
    source, model = seeded(LITE, ("a", "b"), 0), seeded(LITE, ("a", "b"), 1)
    taken = take_over(model, source)
    assert taken.fresh == taken.partly == []
    assert all(torch.equal(x, source.state_dict()[name]) for name, x in model.state_dict().items())


def test_scores_go_class_by_class():
    """In whatever order the two name them; new classes keep their random weights."""
    source, model = seeded(LITE, ("a", "b", "c"), 0), seeded(LITE, ("c", "new", "a"), 1)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    taken = take_over(model, source)
    assert taken.classes == ["c", "a"] and taken.fresh == []
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        ours, our_offsets = model.eval()(images)
        theirs, their_offsets = source.eval()(images)
    torch.testing.assert_close(ours[..., [0, 1, 3]], theirs[..., [0, 3, 1]])
    torch.testing.assert_close(our_offsets, their_offsets)
    for name in taken.partly:
        now, then = (x[name].unflatten(0, (-1, 4))[:, 2] for x in (model.state_dict(), before))
        assert torch.equal(now, then)


def test_what_does_not_fit_stays_and_is_named():
    """SSD300's levels have other heads than the lite model's; its base is another."""
    source, model = seeded(LITE, ("a",), 0), seeded(make_spec("mobilenet", 64), ("a",), 1)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    taken = take_over(model, source)
    assert {*taken.taken, *taken.partly, *taken.fresh} == {*before}
    for name in taken.fresh:
        assert torch.equal(model.state_dict()[name], before[name])
    assert "new:" in str(taken)


def test_another_picture_size_takes_all_over():
    """The lite model's maps grow with its picture, its weights don't."""
    taken = take_over(seeded(LITE_192, ("a",), 1), seeded(LITE, ("a",), 0))
    assert taken.fresh == taken.partly == []


def test_from_cocos_weights_every_weight_that_fits_is_kept():
    """torchvision's SSD300 knows 90 classes; VOC's cat is its cat."""
    with torch.device("meta"):
        coco = SSD(SSD300_COCO, [f"c{i}" for i in range(89)] + ["cat"])
        voc = SSD(SSD300_VOC, ["cat", "dog"])
    coco, voc = coco.to_empty(device="cpu"), voc.to_empty(device="cpu")
    with torch.no_grad():
        for i, p in enumerate(coco.parameters()):
            p.fill_(i)
        for p in voc.parameters():
            p.fill_(-1)
    taken = take_over(voc, coco)
    heads = [name for name in voc.state_dict() if name.startswith("logits.")]
    assert taken.partly == heads and taken.fresh == [] and taken.classes == ["cat"]
    assert all(torch.equal(voc.state_dict()[name], coco.state_dict()[name]) for name in taken.taken)
    assert str(taken).endswith("the scores of background, cat, in 12 tensors")


def test_a_fine_tuned_run_goes_on_exactly(tmp_path):
    """With a frozen stage, frozen norms and a slower base: two and two steps are four."""
    data = Shapes(8, seed=0, size=64)
    recipe = replace(
        TRANSFER_RECIPE, steps=4, batch_size=2, base_rate=0.5, evaluate_every=2, save_every=2
    )

    class Interrupted(Exception):
        pass

    def interrupt(step, evaluation):
        if step == 2:
            raise Interrupted

    states = []
    for stop in (True, False):
        model = seeded(make_spec("mobilenet", 64), data.classes, 0)
        if stop:
            with pytest.raises(Interrupted):
                fit(model, data, data, recipe, tmp_path / "a", "cpu", on_evaluation=interrupt)
            model = seeded(make_spec("mobilenet", 64), data.classes, 9)
        fit(model, data, data, recipe, tmp_path / ("a" if stop else "b"), "cpu")
        states.append(model.state_dict())
        stop = False
    assert all(torch.equal(x, states[1][name]) for name, x in states[0].items())


# ---- on the command line


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of its own, no GPU, and data sets of a few drawn scenes."""
    few_scenes(monkeypatch)
    without_a_gpu(tmp_path, monkeypatch)
    return tmp_path


def test_a_network_on_a_classifier_trains_from_the_command_line(here, capsys):
    words = ["train", "--model", "mobilenet", "--size", 64, "--no-pretrained", "--steps", 2]
    command(*words, "--batch-size", 2, "--out", "mine")
    assert "MOBILENET_64 on shapes" in capsys.readouterr().out
    model, _, _ = load_checkpoint(here / "mine" / "last.safetensors")
    assert model.spec == make_spec("mobilenet", 64)
    assert read_config(here / "mine").size == 64
    command("train", "--resume", "mine", "--steps", 3)


def test_a_detector_for_other_classes_starts_a_run(here, capsys):
    """It says what it took over; a killed run goes on, even when its start is gone."""
    save_checkpoint("start.safetensors", seeded(LITE, ("star", "ship"), 5))
    words = ["train", "--weights", "start.safetensors", "--steps", 2, "--batch-size", 2]
    command(*words, "--out", "mine")
    said = capsys.readouterr().out
    assert "the scores of background, star, in 12 tensors" in said
    (here / "start.safetensors").unlink()
    command("train", "--resume", "mine", "--steps", 4)
    assert "taken over" not in capsys.readouterr().out  # it has its own weights by now
    assert read_config(here / "mine").weights == str(here / "start.safetensors")
    assert load_checkpoint(here / "mine" / "last.safetensors")[2]["step"] == 4


@pytest.mark.parametrize(
    "words, message",
    [
        (["--size", 300], "--size 300: for mobilenet and resnet18, not for lite"),
        (["--model", "mobilenet", "--size", 0], "image_size: 0 pixels leave mobilenet too few"),
        (["--model", "mobilenet", "--size", -9], "image_size: -9 pixels leave mobilenet too few"),
        (["--size", 0], "--size 0: for mobilenet and resnet18, not for lite"),
        (["--weights", "coco", "--size", 300], "--size: decided by the detector of --weights"),
        (["--weights", "a.safetensors"], "a.safetensors: no such file"),
        (["--freeze", 9], "freeze: the base has 3 stages, not 9"),
        (["--base-rate", 0], "base_rate: expected more than 0, got 0"),
    ],
    ids=str,
)
def test_starts_that_cannot_be_are_refused(words, message, here, capsys):
    assert message in refused(capsys, "train", *words)
