"""``python -m benchmarks``: measure everything side by side.

The results go to the terminal and into ``figures/records/benchmark_*.json``.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks import machine, memory, suite
from ssd_lite.distributed import choose_device


def main() -> None:
    """Measure the parts that were named, in turn; what is done is written at once."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=suite.__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        help="limits, comparisons, sweeps, memory or accuracy; by default all",
    )
    parser.add_argument("--device", help="cuda or cpu; by default the best there is")
    parser.add_argument(
        "--threads", type=int, help="of the processor; by default as many as PyTorch takes"
    )
    parser.add_argument("--rounds", type=int, default=9, help="timings of each (default: 9)")
    parser.add_argument(
        "--only", default="", help="comparisons with this in their name; others keep their record"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small sizes, to see that everything runs; the numbers say little",
    )
    parser.add_argument(
        "--out", type=Path, help="the record; what is in it and is not measured again stays"
    )
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device, rounds, quick = choose_device(options.device), options.rounds, options.quick
    if device.type == "cuda":
        torch.cuda.set_device(device)  # the one that is timed and waited for
    out = (
        options.out
        or suite.RECORDS / f"benchmark_{'gpu' if device.type == 'cuda' else device.type}.json"
    )
    record = json.loads(out.read_text()) if out.exists() else {}
    record["machine"] = machine.describe_machine(device)

    def keep(part: str, result: object) -> None:
        record[part] = result
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(record, indent=1) + "\n")

    known, keep_comparisons = record.get("comparisons", ()), partial(keep, "comparisons")
    measure = {
        "limits": lambda: machine.limits(device, rounds) | suite.operations(device),
        "comparisons": lambda: suite.compare(
            device, rounds, quick, options.only, known, keep_comparisons
        ),
        "sweeps": lambda: suite.sweep(device, rounds, quick),
        "memory": lambda: memory.peaks(
            device, "bf16" if machine.has_bf16(device) else "fp32", quick
        ),
        "accuracy": lambda: suite.accuracy(device, quick),
    }
    if unknown := [name for name in options.parts if name not in measure]:
        parser.error(f"parts: {unknown[0]!r} is unknown; expected some of {', '.join(measure)}")

    for part in options.parts or measure:
        tqdm.write(f"\n{part}")
        keep(part, measure[part]())
    print(f"\nwritten to {out}")


if __name__ == "__main__":
    main()
