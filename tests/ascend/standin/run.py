"""Runs a command with device "npu": python run.py [--folder FOLDER] COMMAND...

The first call builds the stand-in in FOLDER (by default .ascend_standin at the root of the
repository). Only PYTHONPATH, LD_LIBRARY_PATH and TASK_QUEUE_ENABLE are set; torch finds torch_npu
by itself, in child processes too.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def environment(folder: Path) -> dict[str, str]:
    """Return this process's variables with the stand-in added."""
    added = {
        "PYTHONPATH": f"{HERE.parent}{os.pathsep}{folder / 'site'}",
        "LD_LIBRARY_PATH": str(folder / "lib"),
    }
    before = {name: os.environ[name] for name in added if os.environ.get(name)}
    joined = {
        name: f"{value}{os.pathsep}{before[name]}" if name in before else value
        for name, value in added.items()
    }
    # Kernels run where they are called; the queue's thread would have nothing to do.
    return {"TASK_QUEUE_ENABLE": "0"} | os.environ | joined


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / ".ascend_standin")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    folder = given.folder.resolve()
    sys.path.insert(0, str(HERE.parent))
    from standin.build import build

    build(folder)
    os.execvpe(given.command[0], given.command, environment(folder))


if __name__ == "__main__":
    main()
