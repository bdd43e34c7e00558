"""``detect`` on what people have: folders, patterns, broken pictures, kills."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssd_lite import picture_files
from ssd_lite.checkpoint import save_checkpoint
from ssd_lite.cli import main
from ssd_lite.model import SSD
from ssd_lite.picture_files import find_pictures, picture_kinds, results_file
from ssd_lite.spec import LITE
from tests.helpers.scenes import ROOT, plain


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def album():
    """A folder with pictures of many kinds, and with what is none."""
    for name in ("a.jpg", "B.JPG", "c.png", "d.webp", "e [1].bmp", "deep/f.TIFF", "ü ß.jpeg"):
        path = Path("album", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        plain((30, 20)).save(path)
    for name in ("notes.txt", ".hidden.jpg", "data.h5"):
        Path("album", name).write_bytes(b"no picture")
    return Path("album")


def names(words, out="out"):
    return [path.name for path in find_pictures(words, Path(out))]


def found(*arguments):
    """Run the command; what detections.json then holds, and the exit code."""
    torch.manual_seed(0)
    save_checkpoint(Path("m.safetensors"), SSD(LITE, ["disc"]))
    code = 0
    try:
        main(["detect", *map(str, arguments), "--weights", "m.safetensors", "--out", "out"])
    except SystemExit as stopped:
        code = stopped.code
    path = Path("out/detections.json")
    return json.loads(path.read_text()) if path.exists() else None, code


def test_a_folder_means_the_pictures_right_in_it(album):
    assert names([album]) == ["B.JPG", "a.jpg", "c.png", "d.webp", "e [1].bmp", "ü ß.jpeg"]


def test_patterns_are_expanded_with_any_case_of_the_ending(album):
    assert names(["album/*.jpg"]) == ["B.JPG", "a.jpg"]
    assert names(["album/**/*.tif*"]) == ["f.TIFF"]
    assert sorted(names(["album/**"])) == [
        *("B.JPG", "a.jpg", "c.png", "d.webp", "e [1].bmp", "f.TIFF", "ü ß.jpeg")
    ]
    assert names(["album/e [1].bmp"]) == ["e [1].bmp"]  # a name, not a pattern


def test_each_picture_comes_once(album):
    assert names([album / "c.png", "album/*.png", album]).count("c.png") == 1


@pytest.mark.parametrize(
    "word, message",
    [
        ("empty", r"empty: a folder without pictures$"),
        ("deep", r"deep: a folder without pictures; for those in folders below it, name deep.\*\*"),
        ("*.gif", r"\*\.gif: no picture has such a name"),
        ("none.jpg", r"none\.jpg: no such file"),
    ],
)
def test_words_that_mean_no_picture_are_named(word, message):
    Path("empty").mkdir()
    Path("deep/er").mkdir(parents=True)
    plain((30, 20)).save("deep/er/a.png")
    with pytest.raises(ValueError, match=message):
        find_pictures([word], Path("out"))


def test_pillows_formats_are_known_and_no_documents():
    assert {".jpg", ".jpeg", ".png", ".tif", ".webp", ".bmp", ".gif"} <= picture_kinds()
    assert not {".pdf", ".eps", ".mpg", ".h5", ".txt"} & picture_kinds()


def test_a_broken_picture_is_passed_over_and_named_at_the_end(album, capsys):
    Path("album/c.png").write_bytes(b"no picture")
    results, code = found(album, "none.jpg")
    assert code == 1
    assert [Path(name).name for name in results] == [
        *("B.JPG", "a.jpg", "d.webp", "e [1].bmp", "ü ß.jpeg")
    ]
    said = capsys.readouterr()
    assert "2 of 7 pictures failed:" in said.err
    assert "c.png: not a picture that can be read" in said.err
    assert "none.jpg: no such file" in said.err
    assert len(re.findall(r"\d objects?, drawn in", said.out)) == 5
    assert not Path("out/detections.jsonl").exists()


def test_what_pillow_cannot_read_is_named_at_the_end(album, capsys):
    for name in ("IMG_1.HEIC", "clip.mp4"):
        Path("album", name).write_bytes(b"no picture")
    results, code = found(album)
    assert (len(results), code) == (6, 1)
    said = capsys.readouterr().err
    assert "2 of 8 pictures failed:" in said
    assert "IMG_1.HEIC: Pillow cannot read such pictures here; convert them to JPEG" in said
    assert "clip.mp4: a video, not a picture" in said


def test_drawings_of_the_last_time_are_no_pictures(album):
    plain((30, 20)).save("x.png")
    torch.manual_seed(0)
    save_checkpoint(Path("m.safetensors"), SSD(LITE, ["disc"]))
    for _ in range(2):
        main(["detect", ".", "--weights", "m.safetensors", "--out", "."])
        assert list(json.loads(Path("detections.json").read_text())) == ["x.png"]


def test_an_error_keeps_what_was_found_before_it(album, monkeypatch):
    real, calls = picture_files.detect, []

    def ends(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(picture_files, "detect", ends)
    with pytest.raises(KeyboardInterrupt):
        found(album)
    assert len(json.loads(Path("out/detections.json").read_text())) == 2


def test_an_error_before_the_first_result_leaves_the_old_ones(tmp_path):
    path = tmp_path / "detections.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), results_file(path):
        raise RuntimeError
    assert [(p.name, p.read_text()) for p in tmp_path.glob("det*")] == [("detections.json", "old")]


KILLED = """
import os, signal
from pathlib import Path
from ssd_lite.picture_files import results_file
with results_file(Path("detections.json")) as add:
    for i in range(5):
        add(f"{i}.jpg", {"drawing": f"{i}.png", "detections": []})
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_kill_leaves_a_line_for_each_picture_that_was_done(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", KILLED], env=environment, check=False)
    lines = (tmp_path / "detections.jsonl").read_text().splitlines()
    assert [list(json.loads(line)) for line in lines] == [[f"{i}.jpg"] for i in range(5)]


def test_many_pictures_show_a_bar(album, capsys, monkeypatch):
    monkeypatch.setattr(picture_files, "MANY", 3)
    found("album/*.jpg")
    assert "picture" not in capsys.readouterr().err
    found(album)
    assert "6/6" in capsys.readouterr().err
