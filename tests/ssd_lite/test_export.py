"""Appendix G: ONNX files that answer as PyTorch does, with all that one needs to use them."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import ssd_lite
from ssd_lite import detect, export
from ssd_lite.checkpoint import load_model, save_checkpoint, spec_from
from ssd_lite.export import export_onnx, largest_difference
from ssd_lite.model import SSD
from ssd_lite.postprocessing import postprocess
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE, SSD300_VOC
from tests.helpers.scenes import ROOT, command, refused, without_a_gpu

onnxruntime = pytest.importorskip("onnxruntime", reason="pip install ssd_lite[export]")
RECORDED = ROOT / "figures/records/shapes_lite_cpu.safetensors"
SMALL_VGG = replace(  # VGG16 with its L2Norm and a pooling that rounds up, on pictures of 36 pixels
    SSD300_VOC,
    name="SMALL_VGG",
    image_size=36,
    maps=(5, 2),
    steps=(8, 18),
    sizes=(6, 12, 24),
    ratios=((2,), (2, 3)),
    extras=(),
    clip_detections=True,
    max_log_size=4.0,
)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    without_a_gpu(tmp_path, monkeypatch)


def seeded(spec, classes=("disc", "ring")):
    torch.manual_seed(0)
    return SSD(spec, classes).eval()


def session_of(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def answers(session, pixels):
    return [torch.from_numpy(x) for x in session.run(None, {"pixels": pixels.numpy()})]


def noise(batch, size):
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(batch)) * 255


@pytest.fixture(scope="module")
def with_detections(tmp_path_factory):
    """The recorded detector with NMS inside, written by the command; and what that said."""
    path = tmp_path_factory.mktemp("onnx") / "detector.onnx"
    command("export", RECORDED, "--to", path, "--detections")
    return path


@pytest.mark.parametrize("spec", [LITE, SMALL_VGG], ids=lambda spec: spec.name)
def test_the_network_answers_as_in_pytorch_for_any_batch(spec, tmp_path):
    model = seeded(spec).train()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    assert export_onnx(model, tmp_path / "m.onnx") <= 1e-4
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    session = session_of(tmp_path / "m.onnx")
    for batch in (1, 3):
        pixels = noise(batch, spec.image_size)
        found = answers(session, pixels)
        with torch.inference_mode():
            logits, offsets = model(model.normalize(pixels))
        for a, b in zip(found, (logits, offsets, model.default_boxes), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_detections_are_those_of_detect(with_detections):
    """Pictures as a user has them: class, box and score, from several scenes in one batch."""
    model, session = load_model(RECORDED), session_of(with_detections)
    scenes = [scene.image for scene in Shapes(6, seed=3, size=96)]
    expected = detect(model, scenes)
    assert sum(len(one.labels) for one in expected) > 20
    boxes, scores, labels = answers(session, torch.stack(scenes).float())
    for i, one in enumerate(expected):
        n = len(one.labels)
        assert (labels[i, n:] == 0).all() and (boxes[i, n:] == 0).all()
        assert labels[i, :n].tolist() == one.labels.tolist()
        torch.testing.assert_close(scores[i, :n], one.scores, rtol=0, atol=1e-4)
        torch.testing.assert_close(boxes[i, :n] * 96, one.boxes, rtol=0, atol=0.01)


def test_a_batch_is_one_picture_after_the_other(with_detections):
    session, pixels = session_of(with_detections), noise(3, 96)
    together = answers(session, pixels)
    for i in range(3):
        for a, b in zip(answers(session, pixels[i : i + 1]), together):
            torch.testing.assert_close(a[0], b[i], rtol=0, atol=1e-5)


def test_every_limit_is_inside(tmp_path):
    """Of another network, and other limits than the usual, each of which leaves something out."""
    model, pixels = seeded(SMALL_VGG), noise(3, 36)
    limits = {"score_threshold": 0.55, "iou_threshold": 0.1, "per_class": 20, "per_image": 400}
    export_onnx(model, tmp_path / "m.onnx", detections=True, **limits)
    found = answers(session_of(tmp_path / "m.onnx"), pixels)
    assert found[0].shape == (3, 248, 4)  # 124 default boxes, two classes: there are no 400
    assert largest_difference(model, pixels, found, limits) <= 1e-4

    count = (found[2] > 0).sum()
    with torch.inference_mode():
        raw = model(model.normalize(pixels))
    for looser in ({"score_threshold": 0.3}, {"iou_threshold": 0.9}, {"per_class": 400}):
        *_, more = postprocess(*raw, model.default_boxes, SMALL_VGG, **limits | looser)
        assert (more > 0).sum() > count > 0, looser


def test_a_file_says_what_it_is(with_detections):
    session, model = session_of(with_detections), load_model(RECORDED)
    [pixels] = session.get_inputs()
    assert (pixels.name, pixels.shape, pixels.type) == (
        *("pixels", ["batch", 3, 96, 96], "tensor(float)"),
    )
    outputs = {output.name: output.shape for output in session.get_outputs()}
    assert list(outputs) == ["boxes", "scores", "labels"]
    assert outputs["boxes"] == ["batch", 200, 4]
    words = session.get_modelmeta().custom_metadata_map
    assert "Infinity" not in words["spec"] and "NaN" not in words["spec"]  # no JSON elsewhere
    about = {key: json.loads(text) for key, text in words.items()}
    assert spec_from(about["spec"]) == model.spec
    assert tuple(about["classes"]) == model.classes
    assert about["ssd_lite"] == ssd_lite.__version__
    limits = ("score_threshold", "iou_threshold", "per_class", "per_image")
    assert [about[name] for name in limits] == [0.01, 0.45, 400, 200]


def test_the_command_says_how_close_it_is_and_the_file_is_all_that_decoding_needs(capfd):
    command("export", RECORDED, "--to", "new/m.onnx")
    said = capfd.readouterr()
    assert said.err == ""  # nothing of the exporter's passes
    first, second = said.out.splitlines()
    assert first.startswith(f"{Path('new/m.onnx')}: ")
    assert first.endswith("pixels (batch, 3, 96, 96) to logits, offsets, default_boxes")
    assert float(second.split()[-3]) <= 1e-4

    session = session_of("new/m.onnx")
    spec = spec_from(json.loads(session.get_modelmeta().custom_metadata_map["spec"]))
    scene = Shapes(1, seed=3)[0].image
    logits, offsets, default_boxes = answers(session, scene[None].float())
    _, scores, labels = postprocess(logits, offsets, default_boxes, spec)
    [expected] = detect(load_model(RECORDED), [scene])
    assert labels[labels > 0].tolist() == expected.labels.tolist()
    torch.testing.assert_close(scores[labels > 0], expected.scores, rtol=0, atol=1e-4)


def test_what_differs_from_pytorch_is_not_written(with_detections, monkeypatch, capsys):
    """A file traced from other weights than PyTorch has."""
    content = with_detections.read_bytes()
    monkeypatch.setattr(export, "_to_onnx", lambda module, limits: content)
    model = load_model(RECORDED)
    with torch.no_grad():
        model.logits[0].bias += torch.linspace(-0.1, 0.1, len(model.logits[0].bias))
    save_checkpoint(Path("m.safetensors"), model)
    message = refused(capsys, "export", "m.safetensors", "--detections", "--to", "m.onnx")
    assert "m.onnx: not written" in message and "more than 1e-04" in message
    assert [path.name for path in Path().iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_its_remedy(package, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, package, None)  # importing it now fails
    message = refused(capsys, "export", RECORDED, "--to", "m.onnx")
    assert f"and {package} is missing here: pip install ssd_lite[export]" in message
    assert not Path("m.onnx").exists()


def test_targets_that_cannot_be_are_refused(capsys):
    Path("models.onnx").mkdir()
    assert "--to models.onnx: a folder; name a file in it" in refused(
        capsys, "export", RECORDED, "--to", "models.onnx"
    )
    assert "--to model.pt: expected a name that ends in .onnx" in refused(
        capsys, "export", RECORDED, "--to", "model.pt"
    )


def test_the_best_are_returned_where_more_are_found(tmp_path):
    """Also with fewer default boxes than NMS may look at: 50, of one class."""
    model = seeded(replace(SMALL_VGG, maps=(5,), steps=(8,), sizes=(6, 12), ratios=((),)), ["disc"])
    export_onnx(model, tmp_path / "m.onnx", detections=True, per_image=20)
    pixels = noise(2, 36)
    _, scores, labels = answers(session_of(tmp_path / "m.onnx"), pixels)
    assert (labels == 1).all() and labels.shape == (2, 20)
    with torch.inference_mode():
        raw = model(model.normalize(pixels))
    _, expected, _ = postprocess(*raw, model.default_boxes, model.spec, per_image=20)
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-4)
