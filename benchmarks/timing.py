"""Two ways to do the same thing, timed in turn, so that a slow moment slows both."""

from collections.abc import Callable
from statistics import median, quantiles
from time import perf_counter

import torch

ENOUGH = 0.2  # seconds that a timing should last; in a shorter one the call is repeated


def time_call(function: Callable[[], object], repeats: int) -> float:
    """Seconds a call, until a GPU has done its part too."""
    synchronize()
    start = perf_counter()
    for _ in range(repeats):
        function()
    synchronize()
    return (perf_counter() - start) / repeats


def synchronize() -> None:
    """Wait until the GPU, if there is one, has nothing left to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def repeats_of(function: Callable[[], object]) -> int:
    """Calls that make a timing long enough. The first call warms up, the second is timed."""
    function()
    return max(1, round(ENOUGH / time_call(function, 1)))


def time_pair(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> dict:
    """Seconds a call, ``rounds`` times each, in turn; and theirs over ours, by round."""
    repeats = [repeats_of(ours), repeats_of(theirs)]
    times = [[], []]
    for i in range(rounds):
        for k in (0, 1) if i % 2 else (1, 0):  # neither is always the first
            times[k].append(time_call((ours, theirs)[k], repeats[k]))
    return {
        "ours": times[0],
        "theirs": times[1],
        "ratio": quartiles([b / a for a, b in zip(*times)]),
    }


def quartiles(values: list[float]) -> dict[str, float]:
    """The median, and the range in which the middle half lies."""
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": median(values), "low": low, "high": high}


def median_time(function: Callable[[], object], rounds: int) -> float:
    """Median of ``rounds`` timings, in seconds a call."""
    repeats = repeats_of(function)
    return median(time_call(function, repeats) for _ in range(rounds))
