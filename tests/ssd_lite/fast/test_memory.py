"""Freed memory stays with the process: counted in page faults, not in seconds."""

import subprocess
import sys

import pytest

from ssd_lite.fast import memory

FAULTS = """
import resource, sys, torch
from ssd_lite.fast import keep_memory

assert sys.argv[1] != "keep" or keep_memory()
torch.empty(2**24).fill_(1)  # 64 MB, once for the first time
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.empty(2**24).fill_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    """Pages that ten tensors of 64 MB, one after the other, had to be given."""
    words = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the C library's own switch, on Linux")
def test_the_next_tensor_lies_where_the_last_one_was():
    assert faults("keep") < faults("give back") / 5


def test_where_there_is_no_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert not memory.keep_memory()
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())  # musl has no mallopt
    assert not memory.keep_memory()
