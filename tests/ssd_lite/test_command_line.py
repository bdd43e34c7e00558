"""The command line: it teaches, it works, and its errors are one line with a remedy."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from urllib.error import URLError

import pytest
import torch
from PIL import Image

from ssd_lite import checkpoint, commands, datasets, detect, draw, load_model, measure, read_image
from ssd_lite.checkpoint import save_checkpoint
from ssd_lite.choices import choose_recipe, choose_spec
from ssd_lite.cli import main, make_parser
from ssd_lite.design import make_spec
from ssd_lite.model import SSD
from ssd_lite.recipe import (
    GPU_RECIPE,
    LITE_RECIPE,
    PAPER,
    REAL_RECIPE,
    TRANSFER_RECIPE,
    Recipe,
)
from ssd_lite.runs import read_log
from ssd_lite.shapes import Shapes
from ssd_lite.spec import LITE, LITE_300, SSD300_VOC, SSD512_VOC
from tests.helpers.scenes import (
    ROOT,
    annotation,
    command,
    folder_of_scenes,
    plain,
    refused,
    run,
    without_a_gpu,
    write_folder,
)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    without_a_gpu(tmp_path, monkeypatch)


def parsed(*arguments):
    return make_parser().parse_args(["train", *map(str, arguments)])


def a_model(path, classes=Shapes.classes, seed=0):
    torch.manual_seed(seed)
    save_checkpoint(path, SSD(LITE, classes))
    return path


def tiny(data):
    """Arguments for a short run on a small folder."""
    return [
        "train",
        "--data",
        folder_of_scenes(data, train=6, test=2),
        "--steps",
        2,
        "--batch-size",
        2,
    ]


# Help and defaults. -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, promised",
    [
        ([], ["train", "evaluate", "detect", "No download"]),
        (
            ["train"],
            [
                "default: shapes",
                "--resume",
                "default: lite",
                "torchrun",
                "log.csv",
                "bccd",
                "recipe",
            ],
        ),
        (
            ["evaluate"],
            ["by default the data of the run", "default: area", "newest run", "coco", "11-point"],
        ),
        (
            ["detect"],
            ["default: 0.5", "default: detections", "detections.json", "newest run", "pixels"],
        ),
    ],
)
def test_help_teaches(words, promised, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--help"])
    assert stopped.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in promised:
        assert words in said
    assert "default: None" not in said


@pytest.mark.parametrize(
    "words", [[], ["dance"], ["train", "--model", "yolo"], ["detect"], ["train", "--steps", "x"]]
)
def test_words_that_make_no_sense_are_answered_with_the_usage(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert "usage: python -m ssd_lite" in capsys.readouterr().err


def test_without_arguments_the_lite_model_learns_drawn_scenes():
    args = parsed()
    assert (args.data, args.model) == ("shapes", "lite")
    assert choose_recipe(args) == LITE_RECIPE
    assert choose_spec(args.model, args.data) == LITE


def test_model_and_data_choose_spec_and_recipe():
    assert choose_recipe(parsed("--data", "bccd")) == REAL_RECIPE
    assert choose_recipe(parsed("--data", "voc", "--model", "ssd300")) == PAPER
    assert choose_spec("ssd300", "voc") == SSD300_VOC
    assert choose_spec("ssd512", "bccd") == SSD512_VOC
    assert choose_spec("lite", "bccd").image_size > LITE.image_size
    assert choose_spec("lite300", "bccd") == choose_spec("lite300", "shapes") == LITE_300
    assert choose_recipe(parsed("--model", "lite300")) == GPU_RECIPE
    assert choose_recipe(parsed("--model", "lite300", "--data", "bccd")).augment == "paper"
    assert choose_spec("mobilenet", "bccd") == make_spec("mobilenet", 320)
    assert choose_spec("resnet18", "bccd", 224) == make_spec("resnet18", 224)


def test_what_knows_other_pictures_has_a_recipe_of_its_own():
    for start in (["--model", "mobilenet"], ["--weights", "coco"]):
        assert choose_recipe(parsed("--data", "bccd", *start)) == TRANSFER_RECIPE
    anew = parsed("--data", "bccd", "--model", "mobilenet", "--no-pretrained")
    assert choose_recipe(anew) == REAL_RECIPE
    cards = choose_recipe(parsed("--data", "cards", "--model", "resnet18"))
    assert cards == replace(TRANSFER_RECIPE, augment="distort+crop")
    free = parsed("--weights", "coco", "--freeze", 0, "--freeze-norms", "--base-rate", 0.1)
    assert choose_recipe(free) == replace(
        TRANSFER_RECIPE, freeze=0, freeze_norms=True, base_rate=0.1
    )


def test_the_command_line_changes_a_recipe():
    said = [
        "--steps",
        50,
        "--batch-size",
        8,
        "--learning-rate",
        0.5,
        "--seed",
        3,
        "--precision",
        "bf16",
        "--compile",
    ]
    recipe = choose_recipe(parsed(*said, "--augment", "none"))
    expected = replace(
        LITE_RECIPE,
        steps=50,
        batch_size=8,
        learning_rate=0.5,
        seed=3,
        precision="bf16",
        compile=True,
    )
    assert recipe == replace(expected, augment="none", evaluate_every=10, save_every=10)


# Commands that work. ------------------------------------------------------------------------------


def test_train_evaluate_and_detect_on_drawn_scenes(monkeypatch, capsys, tmp_path):
    """The first commands of a reader, on fewer scenes."""
    few = lambda count, seed, size: Shapes(count // 100, seed, size)  # noqa: E731
    few.classes = Shapes.classes
    monkeypatch.setattr(datasets, "Shapes", few)
    command("train", "--steps", 5, "--batch-size", 4)
    said = capsys.readouterr().out
    assert "Results go to runs/shapes-lite" in said
    assert "python -m ssd_lite detect" in said
    run_folder = tmp_path / "runs" / "shapes-lite"
    names = {
        "best.safetensors",
        "config.json",
        "last.safetensors",
        "log.csv",
        "record.json",
    }
    assert {path.name for path in run_folder.iterdir()} == names
    check_record(run_folder)

    command("evaluate", "--coco")
    said = capsys.readouterr().out
    for name in (*Shapes.classes, "mAP@0.5", "AP75"):
        assert name in said
    command("train", "--steps", 1, "--batch-size", 4)
    assert (tmp_path / "runs" / "shapes-lite-2" / "last.safetensors").exists()


def check_record(folder):
    """record.json has what is promised, and it is what the log says."""
    record, log = json.loads((folder / "record.json").read_text()), read_log(folder / "log.csv")
    assert record["spec"] == "LITE"
    assert record["parameters"] == sum(p.numel() for p in SSD(LITE, Shapes.classes).parameters())
    assert record["versions"]["torch"] == torch.__version__
    assert record["config"]["data"] == "shapes"
    config = record["config"]["recipe"]
    assert Recipe(**{**config, "milestones": tuple(config["milestones"])}).steps == 5
    assert [point["step"] for point in record["curve"]] == [1, 2, 3, 4, 5]
    assert record["curve"][-1]["map50"] == pytest.approx(record["map50"], rel=1e-4)
    assert set(record["per_class"]) == set(Shapes.classes)
    assert (record["test_images"], record["test_objects"]) == (
        5,
        sum(len(Shapes(5, seed=1)[i].boxes) for i in range(5)),
    )
    assert set(record["coco"]) == {"AP", "AP50", "AP75", "APs", "APm", "APl"}
    assert record["images_per_second"] in [row["images_per_second"] for row in log]
    assert record["seconds"] > 0
    assert "CPU" in record["device"]
    assert (record["tf32"], record["peak_gpu_memory_bytes"]) == (False, None)


def test_detect_writes_drawings_and_a_list(tmp_path, capsys):
    (tmp_path / "more").mkdir()
    paths = [tmp_path / "a.png", tmp_path / "more" / "a.jpg", tmp_path / "b.png"]
    for path, size in zip(paths, ((90, 60), (50, 50), (200, 100))):
        plain(size).save(path)
    command(
        "detect",
        *paths,
        "--weights",
        a_model(tmp_path / "m.safetensors"),
        "--threshold",
        0.2,
        "--out",
        "found",
    )
    assert {path.name for path in (tmp_path / "found").iterdir()} == {
        "a.png",
        "a-1.png",
        "b.png",
        "detections.json",
    }
    results = json.loads((tmp_path / "found" / "detections.json").read_text())
    assert list(results) == [str(path) for path in paths]
    for path, result in results.items():
        width, height = Image.open(path).size
        drawing = Image.open(tmp_path / "found" / result["drawing"])
        assert drawing.width / drawing.height == pytest.approx(width / height, rel=0.02)
        assert result["detections"]
        for found in result["detections"]:
            assert set(found) == {"label", "score", "box"}
            assert found["label"] in Shapes.classes
            assert 0.2 <= found["score"] <= 1
            assert len(found["box"]) == 4
        scores = [found["score"] for found in result["detections"]]
        assert scores == sorted(scores, reverse=True)
    assert (
        f"{paths[0]}: {len(results[str(paths[0])]['detections'])} objects, drawn in"
        in capsys.readouterr().out
    )


def test_detection_and_evaluation_compute_in_bf16_where_it_is_asked_for(tmp_path, capsys):
    plain().save(tmp_path / "a.png")
    weights, found = a_model(tmp_path / "m.safetensors"), {}
    for precision in ("fp32", "bf16"):
        command(
            "detect",
            "a.png",
            "--weights",
            weights,
            "--threshold",
            0,
            "--out",
            precision,
            "--precision",
            precision,
        )
        results = json.loads((tmp_path / precision / "detections.json").read_text())
        found[precision] = [d["score"] for d in results["a.png"]["detections"]]
    assert found["fp32"] != found["bf16"]
    assert found["fp32"] == pytest.approx(found["bf16"], abs=0.02)


def test_detect_never_writes_over_the_picture_it_looks_at(tmp_path):
    plain().save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    command("detect", "a.png", "--weights", a_model(tmp_path / "m.safetensors"), "--out", ".")
    assert (tmp_path / "a.png").read_bytes() == before


def test_from_python_three_lines_are_enough(tmp_path):
    a_model(tmp_path / "runs" / "mine" / "best.safetensors")
    plain((300, 200)).save("photo.jpg")

    model, image = load_model("runs/mine"), read_image("photo.jpg")
    [found] = detect(model, [image])
    draw(image, found, model.classes, threshold=0.2).save("found.png")

    assert len(found.boxes) > 0
    assert Image.open("found.png").width > Image.open("found.png").height


def test_evaluate_takes_the_newest_run_and_any_folder(tmp_path, capsys):
    a_model(tmp_path / "runs" / "one" / "best.safetensors", sorted(Shapes.classes))
    command("evaluate", "--data", folder_of_scenes(tmp_path / "scenes", 1, 2))
    said = capsys.readouterr().out
    assert "LITE on " in said
    assert "scenes, 3 pictures" in said


def test_a_voc_folder_may_have_train_and_val_instead(tmp_path):
    write_folder(tmp_path / "a", {"x": (plain(), annotation(("cell", (1, 1, 9, 9))))}, "train")
    write_folder(tmp_path / "a", {"y": (plain(), annotation(("cell", (1, 1, 9, 9))))}, "val")
    data = datasets.open_data(str(tmp_path / "a"), tmp_path, 64, download=False)
    assert (len(data.train), len(data.test), data.classes) == (1, 1, ("cell",))


def test_an_interrupt_says_how_to_go_on(tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "fit", interrupt)
    with pytest.raises(
        SystemExit, match="interrupted; go on with: python -m ssd_lite train --resume mine"
    ):
        command(*tiny(tmp_path / "scenes"), "--out", "mine")


def test_a_run_killed_between_its_last_checkpoint_and_its_record_can_still_be_finished(tmp_path):
    command(*tiny(tmp_path / "scenes"), "--out", "mine")
    record = json.loads((tmp_path / "mine" / "record.json").read_text())
    (tmp_path / "mine" / "record.json").unlink()
    command("train", "--resume", "mine")
    again = json.loads((tmp_path / "mine" / "record.json").read_text())
    assert again["map50"] == record["map50"]


# Errors. ------------------------------------------------------------------------------------------


def test_an_error_in_a_real_shell_is_one_line_and_exit_code_2(tmp_path):
    code, output, errors = run("train", "--data", "nowhere", cwd=tmp_path)
    assert (code, output) == (2, "")
    assert errors == "error: --data nowhere: neither shapes, bccd, cards or voc, nor a folder\n"
    assert not list(tmp_path.iterdir())


ERRORS = {
    "unknown data": (
        ["train", "--data", "nowhere"],
        "--data nowhere: neither shapes, bccd, cards or voc, nor a folder",
    ),
    "empty folder": (["train", "--data", "."], "no pictures in it; expected pictures"),
    "no VOC": (["train", "--data", "voc"], "no PASCAL VOC 2007 trainval here"),
    "unknown device": (
        ["train", "--device", "gpu"],
        "device: 'gpu' is unknown; try cuda, mps or cpu",
    ),
    "no CUDA": (
        ["train", "--device", "cuda"],
        "device: 'cuda' was asked for, but PyTorch finds none here; use cpu",
    ),
    "no steps": (["train", "--steps", 0], "steps: expected more than 0, got 0"),
    "no learning rate": (
        ["train", "--learning-rate", "nan"],
        "learning_rate: expected more than 0, got nan",
    ),
    "negative seed": (["train", "--seed", -1], "seed: expected 0 or more, got -1"),
    "large batch": (["train", "--batch-size", 100_000], "batch_size: 100000 is more than the"),
    "nothing to resume": (
        ["train", "--resume", "nowhere"],
        "--resume nowhere: no config.json in it; name a run's",
    ),
    "no base to load": (
        ["train", "--pretrained"],
        "LITE's base, lite, was never trained on ImageNet",
    ),
    "no run": (
        ["detect", "a.jpg"],
        "--weights: no run below runs/ yet; train one with: python -m ssd_lite train",
    ),
    "no run to evaluate": (["evaluate"], "--weights: no run below runs/ yet; train one with"),
    "no weights": (["evaluate", "--weights", "a.safetensors"], "a.safetensors: no such file"),
    "no state dict": (["evaluate", "--weights", "a.pth"], "a.pth: no such file"),
    "no folder": (["evaluate", "--weights", "runs/x"], "runs/x: no such file"),
}


@pytest.mark.parametrize("arguments, message", ERRORS.values(), ids=ERRORS)
def test_errors_name_what_is_wrong_and_what_to_do(arguments, message, capsys):
    assert message in refused(capsys, *arguments)


def test_a_run_is_never_written_over(tmp_path, capsys):
    a_model(tmp_path / "mine" / "last.safetensors")
    before = (tmp_path / "mine" / "last.safetensors").read_bytes()
    assert "--out mine: holds a run already; go on with --resume mine" in refused(
        capsys, "train", "--out", "mine"
    )
    assert (tmp_path / "mine" / "last.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "config", ["", "{}", "[]", '{"data": "shapes", "model": "lite", "root": "data", "recipe": {}}']
)
def test_a_damaged_config_is_named(config, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text(config)
    assert "mine/config.json: " in refused(capsys, "train", "--resume", "mine")


def test_other_classes_are_named(tmp_path, capsys):
    weights = a_model(tmp_path / "m.safetensors", ["disc", "square"])
    message = refused(capsys, "evaluate", "--weights", weights, "--data", "shapes")
    assert "--data shapes has the classes ellipse, " in message
    assert "the model knows disc, square: none in common" in message


def test_a_state_dict_of_another_model_is_told_in_one_line(tmp_path, capsys):
    torch.save({"head.classification_head.module_list.0.bias": torch.zeros(12)}, tmp_path / "a.pth")
    message = refused(capsys, "detect", "x.jpg", "--weights", "a.pth")
    assert "state_dict: not torchvision's ssd300_vgg16" in message
    assert "base.fc7.10.bias" in message


@pytest.mark.parametrize("content", [b"", b"Once upon a time"])
def test_a_file_that_is_no_picture_is_named(content, tmp_path, capsys):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        command("detect", "a.jpg", "--weights", a_model(tmp_path / "m.safetensors"))
    assert stopped.value.code == 1
    assert "a.jpg: not a picture that can be read" in capsys.readouterr().err


def test_a_missing_picture_is_named(tmp_path, capsys):
    message = refused(capsys, "detect", "a.jpg", "--weights", a_model(tmp_path / "m.safetensors"))
    assert message == "error: a.jpg: no such file"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_breaks_off_is_named_whoever_reads_it(workers, tmp_path, capsys):
    arguments = tiny(tmp_path / "scenes")
    for path in (tmp_path / "scenes" / "JPEGImages").glob("trainval*.jpg"):
        path.write_bytes(path.read_bytes()[:-200])
    message = refused(capsys, *arguments, "--workers", workers)
    assert message.startswith("error: ")
    assert ".jpg: not a picture that can be read" in message


def test_weights_that_are_nan_are_told(tmp_path, capsys):
    model = SSD(LITE, Shapes.classes)
    model.logits[0].bias.data[0] = float("nan")
    save_checkpoint(tmp_path / "m.safetensors", model)
    plain().save(tmp_path / "a.jpg")
    assert "NaN or infinity" in refused(capsys, "detect", "a.jpg", "--weights", "m.safetensors")


def test_an_absurd_learning_rate_is_told_with_a_remedy(tmp_path, capsys):
    message = refused(capsys, *tiny(tmp_path / "scenes"), "--learning-rate", 1e30)
    assert "not finite" in message or "NaN or infinity" in message


def test_a_full_disk_is_told_with_the_files_name(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    arguments = tiny(tmp_path / "scenes")
    monkeypatch.setattr(checkpoint.os, "replace", full)
    message = refused(capsys, *arguments, "--out", "mine")
    assert "config.json: cannot be written (No space left on device)" in message
    assert "make room" in message


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", None])
def test_a_letter_that_the_output_cannot_show_ends_nothing(encoding, tmp_path):
    """A class name in a table that is written into a file, as on Windows."""
    program = (
        "import sys; from ssd_lite.cli import print_anything; "
        "print_anything(sys.stdout); print('梨  0.9')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if encoding:
        environment["PYTHONIOENCODING"] = encoding
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    expected = b"\\u68a8  0.9" if encoding else "梨  0.9".encode()
    assert done.stdout.strip() == expected


def no_network(*_, **__):
    raise URLError("no network here")


@pytest.mark.parametrize(
    "words, address, place",
    [
        (
            ["train", "--data", "voc", "--download"],
            "VOCtrainval_06-Nov-2007.tar",
            "save it as data",
        ),
        (["evaluate", "--weights", "coco", "--data", "bccd"], "ssd300_vgg16_coco", "checkpoints"),
        (["train", "--model", "ssd300", "--pretrained"], "vgg16_features", "checkpoints"),
        (["train", "--data", "bccd"], "BCCD_Dataset", "into data"),
    ],
    ids=["VOC", "COCO", "VGG", "BCCD"],
)
def test_a_download_without_a_network_names_address_and_place(
    words, address, place, capsys, monkeypatch, tmp_path
):
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    message = refused(capsys, *words, "--root", "data")
    assert "https://" in message and address in message
    assert "cannot be downloaded (no network here); try again where there is a network" in message
    assert place in message.replace("\\", "/")


def out_of_memory(*_, **__):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_a_full_gpu_ends_in_one_line_with_the_remedy(capsys, monkeypatch, tmp_path):
    without_a_gpu(tmp_path, monkeypatch)
    monkeypatch.setattr(commands, "fit", out_of_memory)
    message = refused(capsys, "train", "--batch-size", 48, "--out", tmp_path / "run")
    assert "--batch-size 48: too many for the GPU's memory; end what else uses it" in message
    assert "train with fewer, or try --precision bf16" in message
    monkeypatch.setattr(measure, "load_model", out_of_memory)
    message = refused(capsys, "evaluate", "--weights", "coco", "--data", "shapes")
    assert "the GPU's memory is full; end what else uses it, or add --device cpu" in message
