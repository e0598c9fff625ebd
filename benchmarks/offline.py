"""KTO, ORPO and reward models against TRL: processor time of a step, and peak memory.

As in dpo.py: each in its own environment on the same model and rows, in turns step by step.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from dpo import HERE, race, summary
from environments import create

SCRIPTS = {"swiftrl": "run_swiftrl.py", "trl": "run_trl_offline.py"}


def main() -> None:
    """Run kinds and shapes, and write results/offline.json and a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=["kto", "orpo", "rm"])
    parser.add_argument("--shapes", nargs="+", default=["256/128", "64/192"])
    parser.add_argument("--steps", type=int, default=5, help="measured steps")
    parser.add_argument("--threads", type=int, help="of each contestant; unset, its own default")
    parser.add_argument("--trl_python", help="Python with TRL; unset, created under .venvs")
    parser.add_argument("--output", type=Path, default=HERE / "results")
    given = parser.parse_args()
    pythons = {"swiftrl": sys.executable, "trl": given.trl_python or create("trl")}
    given.output.mkdir(parents=True, exist_ok=True)
    results, lines = {}, []
    for kind in given.kinds:
        for text in given.shapes:
            prompt, reply = map(int, text.split("/"))
            print(f"{kind}: prompt {prompt}, reply {reply}", flush=True)
            found = race(
                pythons,
                (prompt, reply),
                steps=given.steps,
                threads=given.threads,
                folder=given.output / f"work-{prompt}-{reply}",
                scripts=SCRIPTS,
                more=[kind],
            )
            results[f"{kind} {text}"] = found
            lines += [f"| {kind} {line}" for line in summary(found, (prompt, reply))]
            (given.output / "offline.json").write_text(json.dumps(results, indent=1))
    print(
        "\n| | prompt/reply | contestant | CPU s a step | times ours | peak GiB | ours / theirs |"
    )
    print("|---|---|---|---|---|---|---|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
