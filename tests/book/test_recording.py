"""A record goes on where it stopped, and never mixes two protocols."""

import json
from dataclasses import asdict

import pytest
import torch

from book.recording import Recording
from ssd_lite.recipe import LITE_RECIPE

CPU = torch.device("cpu")
PROTOCOL = {"steps": 3, "sizes": (30, 60)}  # a file makes a list of the tuple


def test_a_run_is_in_the_file_at_once_and_the_next_recording_goes_on(tmp_path):
    path = tmp_path / "new" / "record.json"
    recording = Recording(path, PROTOCOL, CPU)
    assert not path.exists() and not recording.holds(variant="plain", seed=0)
    recording.add({"variant": "plain", "seed": 0, "map50": 0.5})
    first = json.loads(path.read_text())
    assert first["versions"]["torch"] == torch.__version__

    again = Recording(path, PROTOCOL, CPU)
    assert again.holds(variant="plain", seed=0)
    assert not again.holds(variant="plain", seed=1) and not again.holds(variant="focal", seed=0)
    again.add({"variant": "plain", "seed": 1}, {"variant": "focal", "seed": 0})
    assert json.loads(path.read_text()) == first | {"runs": again.record["runs"]}
    assert [run["seed"] for run in again.record["runs"]] == [0, 1, 0]


def test_a_field_that_recipes_have_had_since_does_not_end_a_recording(tmp_path):
    recipe = asdict(LITE_RECIPE)
    now = {"recipe": recipe}
    then = {"recipe": {name: x for name, x in recipe.items() if name != "freeze"}}
    Recording(tmp_path / "record.json", then, CPU).add({"seed": 0})
    assert Recording(tmp_path / "record.json", now, CPU).holds(seed=0)
    with pytest.raises(SystemExit):
        Recording(tmp_path / "record.json", {"recipe": recipe | {"freeze": 1}}, CPU)


def test_another_protocol_is_refused_and_the_file_left_alone(tmp_path):
    path = tmp_path / "record.json"
    Recording(path, PROTOCOL, CPU).add({"seed": 0})
    before = path.read_bytes()
    with pytest.raises(SystemExit, match="record.json: .* move it away first"):
        Recording(path, PROTOCOL | {"steps": 4}, CPU)
    assert path.read_bytes() == before
