"""The conformance suite over the model zoo, into swiftrl/models/conformance.json.

python scripts/zoo.py [--only NAME ...] [--from FIRST] [--to LAST] [--workers 2] [--dry]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "swiftrl/models/conformance.json"
FOLDERS = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/zoo")]
sys.path[:0] = FOLDERS


def work(architecture: str, answer: Connection) -> None:
    """Run one architecture's checks and send the result."""
    import torch
    from transformers import logging
    from zoo_suite import run

    from swiftrl.core import log

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    log.set_quiet(True)
    answer.send(run(architecture))


def results(
    names: Sequence[str], *, workers: int, limit_s: float
) -> Iterator[tuple[str, dict[str, Any], float]]:
    """Yield each architecture's result and seconds, as they come.

    Each runs in a process of its own, forked from one that has imported what all need, so that
    a crash or a loop is the end of one architecture only.
    """
    from zoo_suite import failed

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["zoo_suite", "peft"])
    waiting, running = list(reversed(names)), {}
    while waiting or running:
        while waiting and len(running) < workers:
            name = waiting.pop()
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=work, args=(name, sender), daemon=True)
            process.start()
            sender.close()
            running[receiver] = (name, process, time.monotonic())
        wait(list(running), timeout=1.0)
        for receiver, (name, process, started) in list(running.items()):
            seconds = time.monotonic() - started
            if receiver.poll():
                try:
                    found = receiver.recv()
                except EOFError:
                    process.join()
                    found = failed("", errors=[f"the process ended with code {process.exitcode}"])
            elif seconds > limit_s:
                process.kill()
                found = failed("", errors=[f"took longer than {limit_s:g} s"])
            else:
                continue
            process.join()
            del running[receiver]
            yield name, found, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="class names")
    parser.add_argument("--from", dest="first", default="", help="first name, alphabetically")
    parser.add_argument("--to", dest="last", default="~", help="last name, alphabetically")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit_s", type=float, default=180, help="seconds an architecture has")
    parser.add_argument("--dry", action="store_true", help="show results, write nothing")
    options = parser.parse_args()
    from zoo_suite import architectures, write

    every = architectures()
    unknown = sorted(set(options.only) - set(every))
    if unknown:
        parser.error(f"not in the registry, or not in this transformers: {', '.join(unknown)}")
    names = options.only or [n for n in every if options.first <= n <= options.last]
    found: dict[str, dict[str, Any]] = {}
    started = time.monotonic()
    for name, result, seconds in results(names, workers=options.workers, limit_s=options.limit_s):
        found[name] = result
        left = (time.monotonic() - started) / len(found) * (len(names) - len(found))
        print(
            f"[{len(found)}/{len(names)}, {left:.0f} s left] {result['level']:6} "
            f"{result['layout']} {name} {seconds:.1f} s {result['reason']}",
            *(f"\n    {error}" for error in result["errors"]),
            flush=True,
        )
    lost = lost_levels(found)
    if not options.dry:
        write(TABLE, found, whole=len(names) == len(every))
    passed = sum(result["level"] == "tiny" for result in found.values())
    print(f"{passed} of {len(found)} architectures passed every check.")
    unexplained = [name for name, r in found.items() if r["level"] != "tiny" and not r["reason"]]
    if unexplained:
        print(f"A cause is missing, in tests/zoo/*_recipes.py, for: {', '.join(unexplained)}")
    if lost:
        sys.exit(f"passed before and fail now: {', '.join(lost)}")


def lost_levels(found: dict[str, dict[str, Any]]) -> list[str]:
    """Return the architectures that the table shows as passing and that no longer do."""
    stored = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.is_file() else {}
    return [
        name
        for name, result in found.items()
        if result["level"] != "tiny" and stored.get(name, {}).get("level") == "tiny"
    ]


if __name__ == "__main__":
    main()
