"""Where host and GPU synchronize: in a training step only for many objects, and in detection.

To synchronize is to make the host wait until the GPU has finished what was given to it. The first
tests need no GPU. They run the pieces on tensors that have shapes and claim to be on a GPU, but
hold no numbers, and list every operator that would synchronize: one whose result's shape or the
program's course depends on numbers, and every copy between host and GPU that is not asynchronous,
such as the one hidden in ``tensor.new_tensor([1, 2])``. They cannot see what happens inside an
operator on a real GPU, nor bf16, nor how long a wait is; the last tests need a GPU, and are
skipped without one.
"""

from collections import defaultdict
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from ssd_lite import fast
from ssd_lite.augment import (
    PARTS,
    UNIFORMS_PER_IMAGE,
    augment_batch,
    mirror_batch,
)
from ssd_lite.bases import L2Norm
from ssd_lite.boxes import check_boxes, iou
from ssd_lite.data import Batch, collate
from ssd_lite.detection import detect
from ssd_lite.encoding import decode, encode
from ssd_lite.fast import matching as fast_matching
from ssd_lite.loss import multibox_loss
from ssd_lite.matching import match
from ssd_lite.mining import all_negatives, hard_negatives
from ssd_lite.model import SSD
from ssd_lite.nms import nms_parallel
from ssd_lite.recipe import Recipe, make_optimizer
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE, SSD300_VOC
from ssd_lite.train import train_step, training_loss

DEPENDS_ON_NUMBERS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
INDEXING = {"index", "index_put", "index_put_"}


class Syncs(TorchDispatchMode):
    """Lists what would synchronize; a question about numbers is answered with 1, or yes."""

    def __init__(self):
        super().__init__()
        self.found = []
        self.pinned = WeakIdKeyDictionary()  # host memory from which a copy can be asynchronous

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, function.overloadpacket.__name__
        if torch.is_inference_mode_enabled() and function.namespace == "aten":
            with self:  # else composite operators have been taken apart already
                if (result := function.decompose(*args, **kwargs)) is not NotImplemented:
                    return result
        if what := self.why(function, name, args, kwargs):
            self.found.append(what)
        if name in ("equal", "_local_scalar_dense"):
            return True if name == "equal" else 1
        if name == "_fused_sgd_":  # in place; FakeTensorMode does not know it
            return None
        result = args[0].clone() if name == "_pin_memory" else function(*args, **kwargs)
        if name == "_pin_memory" or kwargs.get("pin_memory"):
            self.pinned[result] = True
        return result

    def why(self, function, name, args, kwargs):
        """Why an operator synchronizes, in a word or two; None if it does not."""
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if name in ("_to_copy", "copy_"):
            source, target = (
                (args[1], args[0].device) if name == "copy_" else (args[0], kwargs.get("device"))
            )
            asynchronous = kwargs.get("non_blocking") or args[2:] == (True,)
            there = (target or source.device).type == "cuda"
            if there == source.is_cuda:
                return None
            if there:
                return None if asynchronous and source in self.pinned else "copy to the GPU"
            return None if asynchronous else "copy to the host"
        if not any(x.is_cuda for x in tensors):
            return None
        if name in INDEXING | {"where"} and not all(x.is_cuda for x in tensors):
            # Other operators accept a single number on the host at most, which they read there.
            return "copy to the GPU"
        if name in INDEXING:
            mask = any(x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1])
            return "mask as an index" if mask else None
        return name if DEPENDS_ON_NUMBERS & set(function.tags) else None


@pytest.fixture
def no_gpu(monkeypatch):
    """Hide a GPU that is there: constants made on it would pass by unseen."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Tensor, "backward", backward)


def backward(loss):
    """``loss.backward()``, node by node, in this thread.

    PyTorch's own looks for the GPU itself.
    """
    users, seen = defaultdict(int), {loss.grad_fn}
    waiting = [loss.grad_fn]
    while waiting:
        for node, _ in waiting.pop().next_functions:
            users[node] += 1
            if node is not None and node not in seen:
                seen.add(node)
                waiting.append(node)
    received, ready = defaultdict(dict), [loss.grad_fn]
    with torch.no_grad():
        received[loss.grad_fn][0] = torch.ones_like(loss)
        while ready:
            node = ready.pop()
            gradients, results = received.pop(node, {}), ()
            if hasattr(node, "variable"):
                node.variable.grad = gradients[0]
            elif gradients:
                results = node(*map(gradients.get, range(len(node._input_metadata))))
                results = results if isinstance(results, tuple) else (results,)
            for i, (target, place) in enumerate(node.next_functions):
                if target is None:
                    continue
                if i < len(results) and results[i] is not None:
                    like = target._input_metadata[place]
                    result = (
                        results[i].sum_to_size(like.shape).to(like.dtype)
                    )  # undoes broadcasting
                    others = received[target].get(place)
                    received[target][place] = result if others is None else others + result
                users[target] -= 1
                if not users[target]:
                    ready.append(target)


def syncs(function, *args):
    """All synchronizations of a call, up to the first result without a shape.

    A result whose shape depends on numbers has none here, so the call ends with it.
    """
    with Syncs() as seen:
        try:
            function(*args)
        except DynamicOutputShapeException:
            assert seen.found
    return seen.found


def on_gpu(batch=2, size=96, objects=5):
    """A batch that claims to be on a GPU."""
    with torch.device("cuda"):
        images = torch.zeros(batch, 3, size, size, dtype=torch.uint8)
        return Batch(
            images,
            torch.rand(batch, objects, 4),
            torch.ones(batch, objects, dtype=torch.int64),
            torch.full((batch, 2), size),
        )


def model_on_gpu(spec=LITE):
    with torch.device("cuda"):
        return SSD(spec, Shapes.classes)


def syncs_of_steps(spec=LITE, loss_fn=training_loss, **recipe):
    """Synchronizations of the first two training steps; the first makes the optimizer's state."""
    with FakeTensorMode():
        model, batch = model_on_gpu(spec), on_gpu(size=spec.image_size)
        recipe = Recipe(steps=10, batch_size=2, **recipe)
        optimizer = make_optimizer(model, recipe)
        return [
            syncs(train_step, model, model, optimizer, batch, step, recipe, loss_fn)
            for step in range(2)
        ]


@pytest.mark.parametrize("varied", ["paper", "mirror", "none", "distort", "expand+crop"])
def test_a_training_step_never_synchronizes(varied, no_gpu):
    """From augmentation to optimizer, though its uniform numbers are sent from the host."""
    assert syncs_of_steps(optimizer="adamw", clip_norm=10, augment=varied) == [[], []]


def test_a_training_step_of_ssd300_never_synchronizes(no_gpu):
    assert syncs_of_steps(SSD300_VOC, augment="paper") == [[], []]


@pytest.mark.parametrize("objects, looks", [(0, 0), (8, 0), (9, 1), (30, 3)])
def test_faster_matching_synchronizes_at_most_after_every_eighth_round(objects, looks, no_gpu):
    """With few objects never; all rounds of many would take longer than the wait.

    Here a look never finds that it was the last.
    """
    with FakeTensorMode():
        overlap = numbers(2, objects, 50)
        assert syncs(fast_matching.bipartite, overlap) == ["_local_scalar_dense"] * looks


def test_the_backward_pass_of_these_steps_gives_autograds_own_gradients():
    torch.manual_seed(0)
    model, norm, gradients = SSD(LITE, Shapes.classes).double(), L2Norm(3).double(), []
    parameters = [*model.parameters(), *norm.parameters()]
    for by in (Tensor.backward, backward):
        for p in parameters:
            p.grad = None
        logits, offsets = model(norm(torch.ones(1, 3, 96, 96, dtype=torch.float64)))
        by(logits.square().sum() + offsets.sum() * logits.mean())
        gradients.append([p.grad for p in parameters])
    torch.testing.assert_close(*gradients)


def item(loss):
    loss.total.item()


def constants(loss):
    loss.total.new_tensor([1.0, 2.0])


def mask(loss):
    loss.total.expand(2)[loss.total.expand(2) > 0]


@pytest.mark.parametrize(
    "careless, found",
    [(item, "_local_scalar_dense"), (constants, "copy to the GPU"), (mask, "mask as an index")],
)
def test_a_synchronization_that_slips_into_a_step_is_found(careless, found, no_gpu):
    def loss_fn(*args):
        loss = training_loss(*args)
        careless(loss)
        return loss

    assert [of_step[:1] for of_step in syncs_of_steps(loss_fn=loss_fn)] == [[found], [found]]


def test_uniforms_that_are_not_in_pinned_memory_are_found(monkeypatch, no_gpu):
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    assert syncs_of_steps() == [["copy to the GPU"]] * 2


def numbers(*shape):
    return torch.rand(shape, device="cuda")


# What synchronizes, given a 3 × 4 tensor on the GPU; and how it is found.
SYNCHRONIZING = {
    "item": (lambda x: x.sum().item(), "_local_scalar_dense"),
    "if": (lambda x: 1 if x.sum() > 0 else 0, "_local_scalar_dense"),
    "tolist": (lambda x: x.tolist(), "_local_scalar_dense"),
    "a tensor of one number as an index": (
        lambda x: [1, 2, 3][x.sum().long() * 0],
        "_local_scalar_dense",
    ),
    "equal": (lambda x: torch.equal(x, x + 1), "equal"),
    "nonzero": (lambda x: x.nonzero(), "nonzero"),
    "where": (lambda x: torch.where(x > 0), "nonzero"),
    "unique": (lambda x: x.unique(), "_unique2"),
    "masked_select": (lambda x: x.masked_select(x > 0), "masked_select"),
    "reading through a mask": (lambda x: x[x > 0], "mask as an index"),
    "writing through a mask": (lambda x: x.__setitem__(x > 0, x[x > 0]), "mask as an index"),
    "tensor": (lambda x: torch.tensor([1, 2], device=x.device), "copy to the GPU"),
    "new_tensor": (lambda x: x.new_tensor([1, 2]), "copy to the GPU"),
    "a list as an index": (lambda x: x[:, [2, 1, 0, 3]], "copy to the GPU"),
    "an index on the host": (lambda x: x[torch.tensor([0, 1])], "copy to the GPU"),
    "a choice on the host": (lambda x: torch.where(x > 0, x, torch.tensor(0.0)), "copy to the GPU"),
    "to": (lambda x: torch.rand(3).to(x.device), "copy to the GPU"),
    "copy_": (lambda x: x.copy_(torch.rand(3, 4)), "copy to the GPU"),
    "cpu": (lambda x: x.cpu(), "copy to the host"),
    "checked boxes": (lambda x: check_boxes(x), "_local_scalar_dense"),
}
# What looks similar, but is asynchronous.
ASYNCHRONOUS = {
    "where with numbers": lambda x: torch.where(x > 0, 0, 1),
    "masked_fill": lambda x: x.masked_fill(x > 0, 0),
    "arange and full": lambda x: (
        torch.arange(4, device=x.device) + torch.full((4,), 2, device=x.device)
    ),
    "an index on the GPU": lambda x: x[torch.arange(2, device=x.device)],
    "a single number on the host": lambda x: x + torch.tensor(1.0),
    "stack": lambda x: torch.stack([x[:, 0], 1 - x[:, 1]], dim=1),
    "from pinned memory": lambda x: torch.rand(3).pin_memory().to(x.device, non_blocking=True),
    "to the host without blocking": lambda x: x.to("cpu", non_blocking=True),
}


@pytest.mark.parametrize("way", SYNCHRONIZING)
def test_every_way_to_synchronize_is_found(way, no_gpu):
    function, found = SYNCHRONIZING[way]
    with FakeTensorMode():
        assert syncs(function, numbers(3, 4))[0] == found


@pytest.mark.parametrize("way", ASYNCHRONOUS)
def test_what_is_asynchronous_is_not_taken_for_a_synchronization(way, no_gpu):
    with FakeTensorMode():
        assert syncs(ASYNCHRONOUS[way], numbers(3, 4)) == []


def pieces():
    """Every piece that works on whole batches, ready to be called."""
    images, boxes, labels, sizes = on_gpu()
    images, uniforms, defaults = images.float(), numbers(2, UNIFORMS_PER_IMAGE), numbers(100, 4)
    augmented = (images, boxes, labels, uniforms, numbers(3, 1, 1), 96)
    padded = {"sizes": sizes}
    target_labels = torch.ones(2, 100, dtype=torch.int64, device="cuda")
    loss = partial(
        multibox_loss, numbers(2, 100, 3), numbers(2, 100, 4), target_labels, numbers(2, 100, 4)
    )
    yield "iou", partial(iou, boxes, boxes)
    yield from ((f"augment: {part}", partial(augment_batch, *augmented, (part,))) for part in PARTS)
    yield "mirror_batch", partial(mirror_batch, *augmented[:4])
    yield "match", partial(match, defaults, boxes, labels)
    yield "fast.match", partial(fast.match, defaults, boxes, labels)
    yield "augment, padded", partial(augment_batch, *augmented, **padded)
    yield "fast.augment_batch", partial(fast.augment_batch, *augmented, **padded)
    yield "match without objects", partial(match, defaults, boxes[:, :0], labels[:, :0])
    yield "encode", partial(encode, numbers(2, 100, 4), defaults)
    yield "decode", partial(decode, numbers(2, 100, 4), defaults)
    yield "loss with mining", partial(loss, hard_negatives)
    yield "loss without mining", partial(loss, all_negatives)


def test_no_piece_synchronizes(no_gpu):
    with FakeTensorMode():
        assert {name: found for name, piece in pieces() if (found := syncs(piece))} == {}


CHECKS = ["equal", "_local_scalar_dense"]  # has suppression ended? do enough survive?


def test_post_processing_on_a_gpu_synchronizes_twice_whatever_the_batch(no_gpu):
    """Once if eight rounds of suppression are enough, once if a thousand candidates are."""
    with FakeTensorMode():
        boxes, labels = numbers(2, 50, 4), torch.ones(2, 50, dtype=torch.int64, device="cuda")
        assert syncs(nms_parallel, boxes, labels) == CHECKS[:1]
        for images in (1, 8):
            inputs = (
                numbers(images, 8732, 21),
                numbers(images, 8732, 4),
                numbers(8732, 4),
                SSD300_VOC,
            )
            assert syncs(fast.postprocess, *inputs) == CHECKS


def test_detection_synchronizes_for_its_two_checks_and_once_for_the_answers(no_gpu):
    """Pictures come from wherever the caller has them, so sending them is not counted."""
    with FakeTensorMode():
        model, images = model_on_gpu(), [torch.zeros(3, 60, 80, dtype=torch.uint8)] * 3
        found = [sync for sync in syncs(detect, model, images) if sync != "copy to the GPU"]
    assert found == [*CHECKS, "_local_scalar_dense"]


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@contextmanager
def watched():
    """Make every synchronization an error, but for copies from memory that is not pinned."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(0)


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("varied", ["paper", "mirror", "none"])
@pytest.mark.parametrize(
    "spec, optimizer", [(LITE, "adamw"), (SSD300_VOC, "sgd")], ids=["lite", "ssd300"]
)
def test_pytorch_finds_no_synchronization_in_training_steps_on_a_gpu(
    spec, optimizer, varied, precision
):
    torch.manual_seed(0)
    model = SSD(spec, Shapes.classes).to("cuda", memory_format=torch.channels_last)
    recipe = Recipe(
        10, batch_size=4, optimizer=optimizer, augment=varied, precision=precision, clip_norm=10
    )
    scenes, optimizer = Shapes(4, 0, spec.image_size), make_optimizer(model, recipe)
    batch = Batch(*(x.pin_memory() for x in collate([scenes[i] for i in range(4)])))
    torch.cuda.synchronize()
    with watched():
        for step in range(3):
            loss, grad_norm = train_step(
                model, model, optimizer, batch.to(torch.device("cuda")), step, recipe
            )
    assert loss.total.isfinite()
    assert grad_norm > 0


@needs_gpu
@pytest.mark.parametrize("way", SYNCHRONIZING)
def test_pytorch_too_finds_every_synchronization(way):
    x = numbers(3, 4)
    with watched(), pytest.raises(RuntimeError, match="synchronizing"):
        SYNCHRONIZING[way][0](x)


@needs_gpu
@pytest.mark.parametrize("way", ASYNCHRONOUS)
def test_pytorch_too_finds_none_in_what_is_asynchronous(way):
    x = numbers(3, 4)
    with watched():
        ASYNCHRONOUS[way](x)


@needs_gpu
def test_detection_on_a_gpu_finds_what_it_finds_on_a_cpu(monkeypatch):
    """Within rounding: the order of the sums differs."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    model = SSD(LITE, Shapes.classes)
    images = [Shapes(4, 0, 200)[i].image for i in range(4)]
    expected = detect(model, images, score_threshold=0.5)
    for ours, theirs in zip(detect(model.to("cuda"), images, score_threshold=0.5), expected):
        assert {x.device.type for x in ours} == {"cpu"}
        assert len(theirs.boxes) > 0
        assert len(ours.boxes) == pytest.approx(len(theirs.boxes), abs=2)
        # Each has its like there, of the same label; at most one in fifty crosses a threshold.
        alike = (iou(ours.boxes, theirs.boxes) > 0.99) & (ours.labels[:, None] == theirs.labels)
        alike &= (ours.scores[:, None] - theirs.scores).abs() < 1e-2
        assert alike.any(dim=1).float().mean() >= 0.98
