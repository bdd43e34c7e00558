"""Call the explorers' JavaScript from Python: one run of Node for many calls."""

import json
import os
import shutil
import subprocess

import pytest

PROGRAM = """
const { source, calls } = JSON.parse(require("fs").readFileSync(0, "utf8"));
import("data:text/javascript;base64," + Buffer.from(source).toString("base64")).then((module) =>
  console.log(JSON.stringify(calls.map(([name, args]) => module[name](...args)))));
"""


def call(source: str, calls: list[tuple[str, list]]) -> list:
    """What the functions of an ES module return.

    Given are its source, and pairs of a name and arguments.
    """
    node = shutil.which("node")
    if node is None:
        how = (
            "Node is needed to run the explorers' JavaScript; get it from nodejs.org or with: "
            "apt-get install nodejs"
        )
        assert os.environ.get("CI") != "true", how
        pytest.skip(how)
    given = json.dumps({"source": source, "calls": calls})
    result = subprocess.run(
        [node, "-e", PROGRAM], input=given, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)
