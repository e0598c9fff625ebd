"""Make every built-in data set and model anew: `python scripts/builtin/make_all.py`.

Half an hour to an hour on one core. `--models FOLDER` and `--data FOLDER` write elsewhere than
into the package.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def steps(models: Path, data: Path, *, compiled: bool) -> list[list[str]]:
    """Return the commands in order, without `python -m scripts.builtin.`."""
    base, instruct, vl = (str(models / f"tiny-{name}") for name in ("base", "instruct", "vl"))
    extra = ["--compile"] if compiled else []
    warm = ["--start", base, "--steps", "600", "--rate", "2e-3"]
    return [
        ["make_data", "--folder", str(data)],
        ["train_text", "base", "--output", base, "--steps", "1800", *extra],
        ["train_text", "instruct", "--output", instruct, *warm, *extra],
        ["train_vl", "--start", instruct, "--output", vl],
        ["make_cards", "--models", str(models)],
    ]


def main() -> None:
    """Run every step; stop at the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=ROOT / "swiftrl" / "models" / "builtin")
    parser.add_argument("--data", type=Path, default=ROOT / "swiftrl" / "data" / "builtin")
    parser.add_argument("--compile", action="store_true", help="faster; needs a C++ compiler")
    options = parser.parse_args()
    todo = steps(options.models.absolute(), options.data.absolute(), compiled=options.compile)
    for module, *rest in todo:
        begin = time.time()
        command = [sys.executable, "-m", f"scripts.builtin.{module}", *rest]
        print("$", *command, flush=True)
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        if code:
            sys.exit(code)
        print(f"{module}: {time.time() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
