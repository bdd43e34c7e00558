"""What only a real GPU shows: that it computes what the CPU does, twice the same, in little memory.

Each test runs on the CPU too, against itself, so that its own code is tried on every machine. A GPU
adds up in another order than a CPU and rounds its exponentials otherwise, so results are compared
to the bit only where nothing is rounded. Where it waits for its host is in ``test_no_sync.py``.
"""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks.machine import has_bf16
from ssd_lite import fast, matching, train
from ssd_lite.augment import UNIFORMS_PER_IMAGE, augment_batch, mirror_batch
from ssd_lite.boxes import iou
from ssd_lite.data import Batch, collate
from ssd_lite.default_boxes import make_default_boxes
from ssd_lite.encoding import decode, encode
from ssd_lite.loss import multibox_loss
from ssd_lite.mining import hard_negatives
from ssd_lite.model import SSD
from ssd_lite.nms import batched_nms
from ssd_lite.postprocessing import postprocess
from ssd_lite.recipe import LITE_RECIPE, make_optimizer
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE, SSD300_VOC, SSD512_VOC
from ssd_lite.train import faster_loss, fit, train_step
from tests.helpers import oracles
from tests.helpers.scenes import command, folder_of_scenes, refused, weights

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
on_each_device = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
RECIPE = replace(
    LITE_RECIPE, steps=6, batch_size=4, evaluate_every=6, save_every=3, warmup=0, augment="paper"
)


@pytest.fixture(autouse=True)
def no_tf32(monkeypatch):
    """As many digits as a CPU has; ``fit`` itself is tested as it is."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def there(device, function, *args, **options):
    """A function's results on the CPU, of arguments that were sent to a device."""
    sent = (x.to(device) if isinstance(x, Tensor) else x for x in args)
    results = function(*sent, **options)
    results = (results,) if isinstance(results, Tensor) else results
    assert {x.device.type for x in results} == {device}
    return [x.detach().cpu() for x in results]


def random_boxes(generator, *shape):
    low, side = torch.rand(2, *shape, 2, generator=generator)
    return torch.cat([low * 0.7, low * 0.7 + 0.02 + side * 0.28], dim=-1)


def lite(device, precision="fp32", spec=LITE):
    """A model, a recipe and a batch."""
    torch.manual_seed(0)
    model = SSD(spec, Shapes.classes).to(device, memory_format=torch.channels_last)
    scenes = Shapes(4, 0, spec.image_size)
    batch = collate([scenes[i] for i in range(4)]).to(torch.device(device))
    return model, replace(RECIPE, precision=precision), batch


def needs_bf16(device):
    if device == "cuda" and not has_bf16(torch.device(device)):
        pytest.skip("needs a GPU that multiplies in bf16")


# The pieces, as on a CPU. -------------------------------------------------------------------------


@on_each_device
@pytest.mark.parametrize("match", [matching.match, fast.match], ids=["match", "fast.match"])
@pytest.mark.parametrize("objects", [0, 1, 5, 12, 30])
def test_targets_are_the_cpus_ties_included(device, match, objects):
    """Corners on a grid: nothing is rounded before the one division of an IoU."""
    generator = torch.Generator().manual_seed(objects)
    for _ in range(10):
        scene = oracles.grid_scenes(generator, 3, objects, 40)
        expected = matching.match(*scene)
        for ours, cpus in zip(there(device, match, *scene), expected, strict=True):
            assert torch.equal(ours, cpus)


@on_each_device
def test_targets_of_real_default_boxes_are_the_cpus(device):
    generator = torch.Generator().manual_seed(0)
    defaults, boxes = make_default_boxes(SSD300_VOC), random_boxes(generator, 8, 20)
    labels = torch.randint(0, 21, (8, 20), generator=generator)
    labels_there, boxes_there = there(device, fast.match, defaults, boxes, labels)
    target_labels, target_boxes = matching.match(defaults, boxes, labels)
    alike = labels_there == target_labels  # an IoU within rounding of the threshold may differ
    assert alike.float().mean() > 0.9999
    torch.testing.assert_close(boxes_there[alike], target_boxes[alike])
    torch.testing.assert_close(
        there(device, encode, target_boxes, defaults)[0], encode(target_boxes, defaults)
    )
    offsets = torch.randn(8, len(defaults), 4, generator=generator)
    torch.testing.assert_close(
        there(device, decode, offsets, defaults)[0], decode(offsets, defaults)
    )


@on_each_device
def test_mining_takes_the_cpus_boxes_ties_included(device):
    generator = torch.Generator().manual_seed(0)
    losses = torch.randint(0, 9, (8, 8732), generator=generator) / 8
    positive = torch.rand(8, 8732, generator=generator) < 0.01
    positive[0] = False
    ours = there(device, hard_negatives, losses, positive)[0]
    assert torch.equal(ours, hard_negatives(losses, positive))
    assert ours.any()


@on_each_device
@pytest.mark.parametrize("classes", [5, 21])
@pytest.mark.parametrize("loss", [multibox_loss, fast.multibox_loss], ids=["loss", "fast.loss"])
def test_the_loss_and_its_gradient_are_the_cpus(device, classes, loss):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 2000, classes, generator=generator)
    offsets, wanted = torch.randn(2, 4, 2000, 4, generator=generator)
    labels = torch.randint(0, classes, (4, 2000), generator=generator)
    labels[torch.rand(4, 2000, generator=generator) > 0.02] = 0

    def with_gradients(logits, offsets, labels, wanted):
        logits, offsets = logits.requires_grad_(), offsets.requires_grad_()
        parts = loss(logits, offsets, labels, wanted, hard_negatives)
        return [*parts, *torch.autograd.grad(parts.total, (logits, offsets))]

    args = (logits, offsets, labels, wanted)
    on_cpu = there("cpu", with_gradients, *(x.clone() for x in args))
    for ours, cpus in zip(there(device, with_gradients, *args), on_cpu, strict=True):
        torch.testing.assert_close(ours, cpus, rtol=1e-4, atol=1e-6)


@on_each_device
@pytest.mark.parametrize("padded", [False, True])
def test_augmentation_shows_what_the_cpus_shows(device, padded):
    """But for a crop in sixteen: one that overlaps an object just enough there may not here."""
    generator = torch.Generator().manual_seed(0)
    drawn = Shapes(16, 0, 120)
    images, boxes, labels, sizes = collate([drawn[i] for i in range(16)])
    if padded:
        sizes[::2] = 100
    uniforms = torch.rand(16, UNIFORMS_PER_IMAGE, generator=generator)
    mean = torch.full((3, 1, 1), 123.0)
    args = (images, boxes, labels, uniforms, mean, 96)
    views, seen, names = there(device, fast.augment_batch, *args, sizes=sizes.to(device))
    views_cpu, seen_cpu, names_cpu = augment_batch(*args, sizes=sizes)
    alike = (names == names_cpu).all(dim=1) & ((seen - seen_cpu).abs().amax(dim=(1, 2)) < 1e-4)
    alike &= (views - views_cpu).abs().mean(dim=(1, 2, 3)) < 0.5  # of 255 levels
    assert alike.sum() >= 15
    for ours, cpus in zip(there(device, mirror_batch, *args[:4]), mirror_batch(*args[:4])):
        torch.testing.assert_close(ours, cpus)


@on_each_device
def test_suppression_keeps_what_the_cpus_keeps(device):
    """Another method than on the CPU: all boxes at once, until nothing changes."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        boxes = oracles.grid_boxes(generator, 8, 300)
        labels = torch.randint(1, 4, (8, 300), generator=generator)
        labels[torch.arange(300) >= torch.randint(0, 301, (8, 1), generator=generator)] = 0
        kept = there(device, batched_nms, boxes, labels, 0.45)[0]
        assert torch.equal(kept, batched_nms(boxes, labels, 0.45))
    chain = torch.arange(40.0) * 3  # each suppresses the next, if that is not suppressed itself
    zero = torch.zeros(40)
    chain = torch.stack([chain, zero, chain + 8, zero + 1], dim=1)[None]
    kept = there(device, batched_nms, chain, torch.ones(1, 40, dtype=torch.int64))[0]
    assert kept[0].tolist() == [True, False] * 20


@on_each_device
@pytest.mark.parametrize("crowded", [False, True])
def test_detections_are_the_cpus_also_after_many_looks(device, crowded):
    """In a crowd the surest candidates are all in one place, so that it must look further."""
    generator = torch.Generator().manual_seed(0)
    defaults = make_default_boxes(LITE)
    logits = 3 * torch.randn(3, len(defaults), 6, generator=generator)
    offsets = torch.randn(3, len(defaults), 4, generator=generator)
    if crowded:
        logits[:, :1500, 1:] += 4
        place = torch.tensor([0.4, 0.4, 0.6, 0.6]) + 0.01 * torch.rand(1500, 4, generator=generator)
        offsets[:, :1500] = encode(place, defaults[:1500])
    args = (logits, offsets, defaults, LITE, 0.01, 0.45, 400, 50)
    ours, cpus = there(device, fast.postprocess, *args), postprocess(*args)
    alike = (iou(ours[0], cpus[0]) > 0.99) & (ours[2][:, :, None] == cpus[2][:, None])
    alike &= (ours[1][:, :, None] - cpus[1][:, None]).abs() < 1e-4
    real = ours[2] > 0
    assert real.sum() > 20
    assert alike.any(dim=2)[real].float().mean() >= 0.98
    assert (real.sum() - (cpus[2] > 0).sum()).abs() <= 3


# The same, twice. ---------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for a kill: nothing in ``fit`` handles it."""


def trained(run, device, recipe=RECIPE, spec=LITE, until=None):
    """A run's last checkpoint, the optimizer's state included; killed after a step, if asked to."""

    def on_step(step, model):
        if step == until:
            raise Killed

    torch.manual_seed(recipe.seed)
    model, size = SSD(spec, Shapes.classes), spec.image_size
    data = Shapes(16, 0, size), Shapes(2, 1, size)
    try:
        evaluation = fit(model, *data, recipe, run, device, on_step=on_step)
        assert evaluation is not None
    except Killed:
        assert until is not None
    assert model.mean.device.type == device
    return weights(run / "last.safetensors")


SMALL = [LITE, "adamw", "fp32"], [LITE, "adamw", "bf16"]
LARGE = [SSD300_VOC, "sgd", "fp32"], [SSD300_VOC, "sgd", "bf16"]  # minutes on a CPU


@pytest.mark.parametrize(
    "device, spec, optimizer, precision",
    [
        *(["cpu", *kind] for kind in SMALL[:1]),
        *(pytest.param("cuda", *kind, marks=needs_gpu) for kind in SMALL + LARGE),
    ],
    ids=lambda x: getattr(x, "name", x),
)
def test_two_runs_and_one_that_was_killed_end_with_the_same_bits(
    device, spec, optimizer, precision, tmp_path
):
    """TF32 included, which is how a GPU trains."""
    needs_bf16(device)
    torch.backends.cudnn.allow_tf32 = True
    recipe = replace(RECIPE, optimizer=optimizer, precision=precision, learning_rate=1e-4)
    once, twice = (trained(tmp_path / name, device, recipe, spec) for name in ("once", "twice"))
    trained(tmp_path / "torn", device, recipe, spec, until=5)
    torn = trained(tmp_path / "torn", device, recipe, spec)
    assert once.keys() == twice.keys() == torn.keys()
    assert any(name.startswith("optimizer.") for name in once)
    for name, x in once.items():
        assert torch.equal(x, twice[name]), name
        assert torch.equal(x, torn[name]), name


# Faster ways, the same loss. ----------------------------------------------------------------------


def loss_and_length(network, model, recipe, batch):
    optimizer = make_optimizer(model, recipe)
    loss, length = train_step(network, model, optimizer, batch, 0, recipe, faster_loss)
    return torch.stack([loss.total, loss.classification, loss.localization, length]).detach().cpu()


@on_each_device
def test_a_training_steps_loss_and_gradient_are_the_cpus(device):
    """Without augmentation, of which a crop in sixteen may differ."""
    model, recipe, batch = lite(device)
    recipe = replace(recipe, augment="none")
    ours = loss_and_length(model, model, recipe, batch)
    model, _, batch = lite("cpu")
    torch.testing.assert_close(
        ours, loss_and_length(model, model, recipe, batch), rtol=1e-3, atol=0
    )


@on_each_device
def test_the_loss_in_bf16_is_close(device):
    needs_bf16(device)
    losses = {}
    for precision in ("fp32", "bf16"):
        model, recipe, batch = lite(device, precision)
        losses[precision] = loss_and_length(model, model, recipe, batch)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not torch.equal(losses["bf16"], losses["fp32"])
    torch.testing.assert_close(losses["bf16"], losses["fp32"], rtol=0.05, atol=0)


@on_each_device
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_loss_of_a_compiled_network_is_close(device, precision):
    """On the CPU only traced, which takes no compiler."""
    needs_bf16(device)
    if device == "cuda" and not (shutil.which("gcc") or shutil.which("cc")):
        pytest.skip("needs a C compiler")
    backend = "inductor" if device == "cuda" else "aot_eager"
    model, recipe, batch = lite(device, precision)
    eager = loss_and_length(model, model, recipe, batch)
    model, recipe, batch = lite(device, precision)
    compiled = loss_and_length(torch.compile(model, backend=backend), model, recipe, batch)
    tolerance = 1e-3 if precision == "fp32" else 0.05
    torch.testing.assert_close(compiled, eager, rtol=tolerance, atol=0)


# Whole runs, and what they need. ------------------------------------------------------------------


@on_each_device
def test_a_whole_run_by_the_command_line_leaves_a_record_of_its_device(
    device, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    data = folder_of_scenes(tmp_path / "scenes")
    options = ["--steps", 3, "--batch-size", 4, "--device", device, "--out", "run"]
    command("train", "--data", data, *options)
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    peak = record["peak_gpu_memory_bytes"]
    assert peak is None if device == "cpu" else 2**20 < peak < 4 * 2**30
    assert len(record["curve"]) == 3
    command("evaluate", "--weights", "run", "--device", device)
    assert "mAP@0.5" in capsys.readouterr().out.splitlines()[-1]
    picture = next((data / "JPEGImages").glob("*.jpg"))
    command("detect", picture, "--weights", "run", "--device", device, "--threshold", 0.001)
    assert json.loads((tmp_path / "detections" / "detections.json").read_text())


def peak_of(device, function):
    """Most bytes that a call needs above what is there; 0 on a CPU, which does not count them."""
    if device == "cpu":
        function()
        return 0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


@pytest.mark.parametrize(
    "device, images, boxes, classes",
    [("cpu", 2, 300, 31), pytest.param("cuda", 32, 24_564, 91, marks=needs_gpu)],
)
def test_suppression_needs_little_memory_however_many_candidates_there_are(
    device, images, boxes, classes
):
    """All boxes are the same place and no class is likely: one box of each class survives.

    So all 36,000 candidates must be looked at. Comparing all pairs would take 650 GiB.
    """
    defaults = make_default_boxes(SSD512_VOC)[:boxes]
    corners = torch.tensor([0.4, 0.4, 0.6, 0.6]).expand(boxes, 4)
    offsets = encode(corners, defaults).expand(images, -1, -1).to(device)
    generator = torch.Generator(device).manual_seed(0)
    logits = torch.randn(images, boxes, classes, generator=generator, device=device)
    defaults, found = defaults.to(device), []

    def suppress():
        found.append(fast.postprocess(logits, offsets, defaults, SSD512_VOC, score_threshold=1e-4))

    assert peak_of(device, suppress) < 3 * 2**30
    assert (found[0][2] > 0).sum(dim=1).tolist() == [classes - 1] * images


@on_each_device
def test_a_batch_that_does_not_fit_ends_in_one_line(device, tmp_path, monkeypatch, capsys):
    """A GPU is made small; on a CPU, which would swap, the error is made."""
    monkeypatch.chdir(tmp_path)
    data = folder_of_scenes(tmp_path / "scenes")
    arguments = ("train", "--data", data, "--model", "ssd300", "--batch-size", 8, "--steps", 1)
    if device == "cpu":

        def full(*_):
            raise torch.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(train, "resume", full)
        message = refused(capsys, *arguments, "--device", device)
    else:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(0.001)
        try:
            message = refused(capsys, *arguments, "--device", device)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
            torch.cuda.empty_cache()
    assert "--batch-size 8: too many for the GPU's memory" in message
    assert "train with fewer, or try --precision bf16" in message


@on_each_device
def test_a_gpu_that_is_not_there_ends_in_one_line(device, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    message = refused(capsys, "train", "--device", "cuda:99")
    assert "cuda:99" in message and "was asked for, but PyTorch finds" in message
    assert ("counted from cuda:0" in message) == torch.cuda.is_available()


@on_each_device
def test_a_batch_arrives_as_it_was_sent(device):
    """Without waiting, from pinned memory; the kernel that reads it queues up behind it."""
    scenes = Shapes(4, 0, 96)
    batch = collate([scenes[i] for i in range(4)])
    sent = Batch(*(x.pin_memory() for x in batch)) if device == "cuda" else batch
    for ours, theirs in zip(sent.to(torch.device(device)), batch, strict=True):
        assert ours.device.type == device
        assert torch.equal(ours.cpu(), theirs)
