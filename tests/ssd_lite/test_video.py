"""``detect`` on videos: what is drawn and listed, frame by frame, and files that are none."""

import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from ssd_lite import detect, load_model
from ssd_lite.cli import main
from ssd_lite.video import detect_in_video
from tests.helpers.scenes import ROOT, command, plain, without_a_gpu

av = pytest.importorskip("av", reason="pip install ssd_lite[video]")
WEIGHTS = ROOT / "figures/records/shapes_lite_cpu.safetensors"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    without_a_gpu(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def model():
    return load_model(WEIGHTS)


def scene(i, size=(320, 240)):
    """A disc that moves to the right by 4 pixels a frame, and its box."""
    picture = Image.new("RGB", size, (120, 140, 160))
    box = (30 + 4 * i, 60, 130 + 4 * i, 160)
    ImageDraw.Draw(picture).ellipse(box, fill=(200, 60, 40))
    return picture, box


def video(path, frames=20, rate=Fraction(12), size=(320, 240), codec="h264", turned=0, **options):
    """Write a video of moving discs; a ``turned`` one lies on its side, and says so."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size if turned % 180 == 0 else size[::-1]
        stream.pix_fmt = "yuv420p" if codec == "h264" else "yuvj444p"
        if turned:
            stream.set_display_rotation(turned)
        for i in range(frames):
            pixels = np.rot90(np.asarray(scene(i, size)[0]), -turned // 90)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels.copy(), format="rgb24")))
        container.mux(stream.encode())
    return Path(path)


def frames_of(path):
    with av.open(str(path)) as container:
        return [(f.time, f.to_image()) for f in container.decode(container.streams.video[0])]


def lines_of(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def failing(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, arguments), "--weights", str(WEIGHTS)])
    assert stopped.value.code == 1


def test_a_video_is_drawn_and_listed_frame_by_frame(model, capsys):
    clip = video("clip.mp4", rate=Fraction(30000, 1001))
    command("detect", clip, "--weights", WEIGHTS)
    said = capsys.readouterr().out
    drawn, lines = Path("detections/clip.mp4"), lines_of("detections/clip.mp4.jsonl")
    assert said.startswith("clip.mp4: 20 frames, ")
    assert f"a second in the detector, drawn in {drawn}, listed in {drawn}.jsonl" in said
    assert json.loads(Path("detections/detections.json").read_text()) == {
        "clip.mp4": {"drawing": "clip.mp4"}
    }
    # 1. The same frames at the same times, with boxes drawn where none was before.
    before, after = frames_of(clip), frames_of(drawn)
    assert [time for time, _ in after] == pytest.approx([time for time, _ in before], abs=1e-4)
    with av.open(str(drawn)) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)
        assert not container.streams.audio
    apart = [np.abs(np.asarray(a) - np.asarray(b, float)) for (_, a), (_, b) in zip(before, after)]
    assert all(x.shape == (240, 320, 3) for x in apart)
    assert all((x > 60).any() and np.median(x) < 8 for x in apart)
    # 2. What is listed is what detect finds in the frames.
    assert [line["frame"] for line in lines] == list(range(20))
    assert [line["seconds"] for line in lines] == pytest.approx(
        [i * 1001 / 30000 for i in range(20)]
    )
    for line, (_, picture) in zip(lines, before):
        [found] = detect(model, [picture])
        assert [one["label"] for one in line["detections"]] == [
            model.classes[label - 1]
            for label, score in zip(found.labels, found.scores)
            if score >= 0.5
        ]
    # 3. And that follows the disc.
    discs = [[o["box"] for o in line["detections"] if o["label"] == "ellipse"] for line in lines]
    truth = [scene(i)[1] for i in range(20)]
    close = [any(np.abs(np.subtract(b, t)).max() < 12 for b in box) for box, t in zip(discs, truth)]
    assert sum(close) >= 15


@pytest.mark.parametrize("turned", [90, -90, 180])
def test_a_telephone_held_upright_is_turned(turned, model):
    clip = video("clip.mp4", frames=2, size=(240, 320), turned=turned)
    detect_in_video(model, clip, Path("drawn.mp4"), threshold=1.1)  # nothing is drawn
    for i, (_, picture) in enumerate(frames_of("drawn.mp4")):
        expected = np.asarray(scene(i, (240, 320))[0], float)
        assert picture.size == (240, 320)
        assert np.abs(np.asarray(picture) - expected).mean() < 8


def test_odd_sides_grow_by_a_pixel_and_tiny_frames_are_enlarged(model):
    clip = video("odd.mkv", frames=2, size=(321, 205), codec="mjpeg")
    detect_in_video(model, clip, Path("odd.mp4"))
    assert {picture.size for _, picture in frames_of("odd.mp4")} == {(322, 206)}
    clip = video("tiny.mp4", frames=2, size=(96, 64))
    detect_in_video(model, clip, Path("tiny-drawn.mp4"))
    assert {picture.size for _, picture in frames_of("tiny-drawn.mp4")} == {(384, 256)}


def test_a_video_with_a_changing_rate_keeps_its_times(model):
    with av.open("clip.mkv", "w") as container:
        stream = container.add_stream("h264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i, at in enumerate((500, 540, 700, 1000)):  # does not begin at zero
            frame = av.VideoFrame.from_image(scene(i)[0])
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    detect_in_video(model, Path("clip.mkv"), Path("drawn.mp4"))
    expected = pytest.approx([0, 0.04, 0.2, 0.5], abs=0.002)
    assert [line["seconds"] for line in lines_of("drawn.mp4.jsonl")] == expected
    times = [time for time, _ in frames_of("drawn.mp4")]
    assert [time - times[0] for time in times] == expected


def test_a_bare_stream_without_times_is_read(model):
    clip = video("bare.h264", frames=5)
    detect_in_video(model, clip, Path("drawn.mp4"))
    seconds = [line["seconds"] for line in lines_of("drawn.mp4.jsonl")]
    assert seconds[0] == 0 and (np.diff(seconds) > 0).all() and len(seconds) == 5


def test_bad_videos_are_named_at_the_end_and_leave_nothing(capsys):
    Path("text.mp4").write_text("no video\n" * 100)
    Path("empty.mov").write_bytes(b"")
    whole = video("whole.mp4").read_bytes()
    Path("cut.mp4").write_bytes(whole[: len(whole) // 2])
    with av.open("sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=48000)
        silence = np.zeros((1, 1024 * stream.channels if stream.format.is_packed else 1024), "f4")
        silence = np.repeat(silence, 1 if stream.format.is_packed else stream.channels, axis=0)
        frame = av.AudioFrame.from_ndarray(silence, stream.format.name, stream.layout.name)
        frame.sample_rate = 48000
        container.mux([*stream.encode(frame), *stream.encode()])
    plain().save("picture.png")
    failing("detect", *(f"{n}.mp4" for n in ("text", "cut", "sound", "none")), "empty.mov", "*.png")
    errors = capsys.readouterr().err
    assert "5 of 6 pictures failed:" in errors
    for name in ("text.mp4", "cut.mp4", "empty.mov"):
        assert f"{name}: not a video that can be read (" in errors
    assert "sound.mp4: no pictures in it, only sound or text" in errors
    assert "none.mp4: no such file" in errors
    assert "Traceback" not in errors
    assert sorted(p.name for p in Path("detections").iterdir()) == [
        "detections.json",
        "picture.png",
    ]


@pytest.mark.parametrize("ending, options", [("mp4", {"movflags": "faststart"}), ("mkv", {})])
def test_what_was_found_before_the_damage_is_kept(ending, options, model, capsys):
    """A download that broke off. MP4 says how many frames there should be, MKV does not."""
    clip = video(f"clip.{ending}", frames=40, **options)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    if ending == "mp4":
        failing("detect", clip)
        errors = capsys.readouterr().err
        assert "clip.mp4: damaged after " in errors and "Traceback" not in errors
    else:
        command("detect", clip, "--weights", WEIGHTS)
    lines = lines_of("detections/clip.mp4.jsonl")
    assert 5 <= len(lines) < 40 and len(frames_of("detections/clip.mp4")) == len(lines)
    assert list(json.loads(Path("detections/detections.json").read_text())) == [str(clip)]


def test_an_interrupt_leaves_a_video_that_can_be_played(model, monkeypatch):
    clip, calls = video("clip.mp4"), []

    def ends(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return detect(*arguments, **options)

    monkeypatch.setattr("ssd_lite.video.detect", ends)
    with pytest.raises(KeyboardInterrupt):
        detect_in_video(model, clip, Path("drawn.mp4"))
    assert len(frames_of("drawn.mp4")) == len(lines_of("drawn.mp4.jsonl")) == 8


def test_videos_in_a_folder_are_passed_over_and_said_how_to_be_taken(capsys):
    Path("album").mkdir()
    video("album/a.mp4", frames=2)
    plain().save("album/b.png")
    failing("detect", "album")
    assert "a.mp4: a video, not a picture; to have it looked through, name it" in (
        capsys.readouterr().err
    )
    main(["detect", "album", "album/*.MP4", "--weights", str(WEIGHTS), "--out", "out"])
    assert {path.name for path in Path("out").iterdir()} == {
        *("a.mp4", "a.mp4.jsonl", "b.png", "detections.json")
    }
    # Drawn videos of the last time are no videos of the folder.
    video("b.mp4", frames=2)
    for _ in range(2):
        main(["detect", "*.mp4", "--weights", str(WEIGHTS), "--out", "."])
        assert list(json.loads(Path("detections.json").read_text())) == ["b.mp4"]


def test_without_pyav_a_line_says_how_to_get_it(monkeypatch, capsys):
    clip = video("clip.mp4", frames=1)
    monkeypatch.setitem(sys.modules, "av", None)
    failing("detect", clip)
    assert "videos need PyAV: pip install ssd_lite[video]" in capsys.readouterr().err
    assert torch.is_inference_mode_enabled() is False
