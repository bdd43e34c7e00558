"""``python -m benchmarks``: everything side by side, to the terminal and into ``figures/records/benchmark_*.json``."""

import argparse
import json
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks import machine, memory, questions
from ssd_lite.distributed import choose_device


def main() -> None:
    """Ask the questions that were named, one after the other, and write the record after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=questions.__doc__)
    parser.add_argument(
        "questions", nargs="*", help="limits, contests, curves, memory or accuracy; by default all"
    )
    parser.add_argument("--device", help="cuda or cpu; by default the best there is")
    parser.add_argument(
        "--threads", type=int, help="of the processor; by default as many as PyTorch takes"
    )
    parser.add_argument("--rounds", type=int, default=9, help="timings of each (default: 9)")
    parser.add_argument(
        "--only", default="", help="contests with this in their name; others keep their record"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes: does all work? The numbers say little"
    )
    parser.add_argument(
        "--out", type=Path, help="the record; what is in it already and is not asked anew stays"
    )
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    device, rounds, quick = choose_device(options.device), options.rounds, options.quick
    out = (
        options.out
        or questions.RECORDS / f"benchmark_{'gpu' if device.type == 'cuda' else device.type}.json"
    )
    record = json.loads(out.read_text()) if out.exists() else {}
    record["machine"] = machine.describe(device)
    ask = {
        "limits": lambda: machine.limits(device, rounds) | questions.operations(device),
        "contests": lambda: questions.contests(
            device, rounds, quick, options.only, record.get("contests", ())
        ),
        "curves": lambda: questions.curves(device, rounds, quick),
        "memory": lambda: memory.peaks(
            device, "bf16" if machine.has_bf16(device) else "fp32", quick
        ),
        "accuracy": lambda: questions.accuracy(device, quick),
    }
    if unknown := [name for name in options.questions if name not in ask]:
        parser.error(f"questions: {unknown[0]!r} is unknown; expected some of {', '.join(ask)}")

    for question in options.questions or ask:
        tqdm.write(f"\n{question}")
        record[question] = ask[question]()
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nwritten to {out}")


if __name__ == "__main__":
    main()
