"""Two ways to do the same thing, timed in turns, so that a machine that slows down slows both."""

from collections.abc import Callable
from statistics import median, quantiles
from time import perf_counter

import torch

ENOUGH = 0.2  # seconds that a timing should last at least: a shorter one is repeated


def seconds(function: Callable[[], object], repeats: int) -> float:
    """Seconds a call, until a GPU has done its part too."""
    wait()
    start = perf_counter()
    for _ in range(repeats):
        function()
    wait()
    return (perf_counter() - start) / repeats


def wait() -> None:
    """Until the GPU has nothing left to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def repeats_of(function: Callable[[], object]) -> int:
    """Calls that make a timing long enough. The first call warms up, the second is timed."""
    function()
    return max(1, round(ENOUGH / seconds(function, 1)))


def race(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> dict:
    """Seconds a call, ``rounds`` times each, in turns; and theirs over ours, round by round."""
    repeats = [repeats_of(ours), repeats_of(theirs)]
    times = [[], []]
    for i in range(rounds):
        for k in (0, 1) if i % 2 else (1, 0):  # neither is always the first
            times[k].append(seconds((ours, theirs)[k], repeats[k]))
    return {"ours": times[0], "theirs": times[1], "ratio": spread([b / a for a, b in zip(*times)])}


def spread(values: list[float]) -> dict[str, float]:
    """The middle, and between what the middle half lies."""
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": median(values), "low": low, "high": high}


def once(function: Callable[[], object], rounds: int) -> float:
    """The middle of ``rounds`` timings, in seconds a call."""
    repeats = repeats_of(function)
    return median(seconds(function, repeats) for _ in range(rounds))
