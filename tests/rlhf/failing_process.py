"""A process of a run whose steps only exchange sums, and that fails in the way it is told.

python failing_process.py '{"rank": 1, "way": "raise", "step": 3, "folder": "...", ...}'
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from swiftrl.backends.detect import BACKENDS
from swiftrl.core.errors import DataError, SwiftRLError
from swiftrl.core.lifeline import run_as_rank
from swiftrl.rlhf.distributed import Processes


def fail(way: str) -> None:
    match way:
        case "raise":
            raise DataError("rows.jsonl:7: no reply.")
        case "bug":
            raise KeyError("lost")
        case "sleep":
            time.sleep(600)
        case "child":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            time.sleep(600)


def work(told: dict) -> int:
    processes = Processes.start(
        BACKENDS.get("cpu"),
        timeout_s=told.get("timeout_s", 2),
        start_timeout_s=told.get("start_timeout_s", 60),
    )
    with processes.ending_together():
        folder = Path(told["folder"])
        processes.write_stacks_to(folder)
        with processes.stacks_on_signal():
            for step in range(1, told.get("steps", 10**6)):
                processes.at("reading the rows", step)
                if step == told.get("step") and processes.rank == told.get("rank"):
                    (folder / "now").write_text(str(os.getpid()))
                    fail(told["way"])
                time.sleep(0.05)
                processes.at("the gradient sum")
                processes.sum([1.0])
    processes.leave()
    return 0


def main() -> int:
    try:
        return work(json.loads(sys.argv[1]))
    except SwiftRLError as error:
        if str(error):
            sys.stderr.write(f"swiftrl: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    run_as_rank(main)
