"""Quantisation against GPTQModel: what is lost, in how much processor time and memory.

Every contestant quantises the same model on the same rows of token ids in a process of its own;
quant_score.py judges the folders. `python benchmarks/quant.py` prints a table and writes
benchmarks/results/quant.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
import quant_models

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ROWS, HELD_OUT, LENGTH = 128, 100, 128
BUILTIN_HELD_OUT = 300
COMPARED = 32
"""Rows on which `swiftrl export` itself compares the result; it takes time that others save."""
BUILTIN_DATA = {"tiny-base": "builtin:pretrain", "tiny-instruct": "builtin:instructions"}
"""What a built-in model was trained on last: elsewhere a worse model may well have less loss."""
GIB = 2**30
IMPORTS = {
    "swiftrl": "from transformers import AutoModelForCausalLM; import swiftrl.cli.exporting, "
    "swiftrl.export.pipeline, swiftrl.models.load, swiftrl.models.lora",
    "gptqmodel": "from gptqmodel import BACKEND, GPTQModel; "
    "from transformers import AutoModelForCausalLM",
}
"""What a contestant imports before it does anything."""


@dataclass(frozen=True)
class Contestant:
    """Somebody's way of quantising.

    Attributes:
        who: swiftrl or gptqmodel.
        method: in words of the table.
        words: flags of swiftrl, or settings of GPTQModel as JSON.
    """

    who: str
    method: str
    words: tuple[str, ...]


def _ours(method: str, *more: str) -> Contestant:
    return Contestant("swiftrl", method, ("--quant_method", *more))


def _theirs(title: str, **settings: Any) -> Contestant:
    return Contestant("gptqmodel", title, (json.dumps(settings),))


CONTESTANTS = [
    _ours("GPTQ", "gptq"),
    _theirs("GPTQ", method="gptq"),
    _ours("GPTQ, act-order", "gptq", "--desc_act", "true"),
    _theirs("GPTQ, act-order", method="gptq", desc_act=True, act_group_aware=False),
    _ours("round to nearest", "rtn", "--quant_format", "awq"),
    _ours("AWQ, to nearest", "awq", "--awq_rounding", "nearest"),
    _ours("AWQ", "awq"),
    _theirs("AWQ", method="awq"),
]
"""Those with one name are compared with each other."""


class Failed(SystemExit):
    """A program ended with an error.

    Attributes:
        reason: its last words.
    """

    def __init__(self, log: Path) -> None:
        lines = [line.strip() for line in log.read_text().splitlines() if line.strip()]
        errors = [n for n, line in enumerate(lines) if re.match(r"[\w.]*Error\b", line)]
        self.reason = " ".join(lines[errors[-1] :] if errors else lines[-1:])[:160]
        super().__init__(f"{self.reason}\nsee {log}")


def variables() -> dict[str, str]:
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "GPTQMODEL_CPU_WORKERS": "2",
        "PYTHONPATH": str(ROOT),
    }


def run(words: list[str], folder: Path, log: Path) -> dict[str, float]:
    """Run a program in a folder; return its processor seconds and largest memory."""
    with log.open("w") as output:
        process = subprocess.Popen(words, cwd=folder, env=variables(), stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise Failed(log)
    return {"cpu_s": used.ru_utime + used.ru_stime, "peak_gib": used.ru_maxrss * 1024 / GIB}


def prepare(shape: str, folder: Path) -> tuple[str, list[str]]:
    """Make a model and its rows unless they are there; return its name and swiftrl's flags."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = ["--max_length", "512", "--seed", "1"]
    many = BUILTIN_HELD_OUT if shape in BUILTIN_DATA else HELD_OUT
    if shape in BUILTIN_DATA:
        model = str(quant_models.BUILTIN / shape)
        data = BUILTIN_DATA[shape]
        flags += ["--dataset", data, "--val_dataset", f"{data}:heldout"]
        flags += ["--quant_n_samples", "256"]
    else:
        model = str(folder / "original")
        if not (folder / "text.jsonl").exists():
            quant_models.write_model(Path(model), shape)
            quant_models.write_text(Path(model), folder / "text.jsonl", ROWS, LENGTH)
            quant_models.write_text(Path(model), folder / "other.jsonl", HELD_OUT, LENGTH, seed=1)
        flags += ["--dataset", str(folder / "text.jsonl"), "--quant_n_samples", str(ROWS)]
        flags += ["--val_dataset", str(folder / "other.jsonl")]
    held_out = [*flags, "--quant_eval_samples", str(many), "--use_cpu", "true"]
    flags = [*flags, "--quant_eval_samples", str(COMPARED), "--use_cpu", "true"]
    rows = [str(folder / "calibration.json"), str(folder / "held_out.json")]
    program = str(HERE / "contestants" / "swiftrl_rows.py")
    named = ["--model", model, "--quant_method", "gptq"]
    run([sys.executable, program, *rows, *named, *held_out], folder, folder / "rows.log")
    return model, flags


def quantise(
    one: Contestant, model: str, flags: list[str], group: int, folder: Path
) -> dict[str, Any]:
    """Let a contestant quantise; return what it used, and its folder."""
    name = f"{one.who}-{one.method.replace(' ', '-').replace(',', '').lower()}"
    target = folder / name
    subprocess.run(["rm", "-rf", str(target)], check=True)
    if one.who == "swiftrl":
        words = [sys.executable, "-m", "swiftrl", "export", "--model", model, *one.words, *flags]
        words += ["--output_dir", str(target), "--group_size", str(group), "--force", "true"]
    else:
        program = str(HERE / "contestants" / "gptqmodel_quantise.py")
        rows = str(folder / "calibration.json")
        settings = json.dumps(json.loads(one.words[0]) | {"group_size": group})
        words = [environments.create("quant"), program, model, rows, str(target), settings]
    try:
        return run(words, folder, folder / f"{name}.log") | {"folder": str(target)}
    except Failed as failed:
        return {"failed": failed.reason}


def measure(shape: str, chosen: list[Contestant], group: int, repeats: int) -> list[dict[str, Any]]:
    """Return a record for each contestant, and one for plain rounding."""
    folder = HERE / "results" / "quant" / shape
    model, flags = prepare(shape, folder)
    used: list[list[dict[str, Any]]] = [[] for _ in chosen]
    # In turns, so that a busy machine is busy for everybody.
    for _ in range(repeats):
        for one, found in zip(chosen, used, strict=True):
            found.append(quantise(one, model, flags, group, folder))
    program = str(HERE / "quant_score.py")
    done = [found for found in used if "failed" not in found[0]]
    folders = [f"nearest:{group}", *(found[0]["folder"] for found in done)]
    scored = subprocess.run(
        [sys.executable, program, model, str(folder / "held_out.json"), *folders],
        env=variables(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True,
    )  # fmt: skip
    scores = [json.loads(line) for line in scored.stdout.splitlines()]
    plain = {"who": "papers' baseline", "method": "min-max to nearest"}
    records = [plain | {"shape": shape, "group": group} | scores[0]]
    losses = iter(scores[1:])
    for one, found in zip(chosen, used, strict=True):
        record = {"shape": shape, "group": group, "who": one.who, "method": one.method}
        if "failed" in found[0]:
            records.append(record | found[0])
            continue
        costs = {
            "cpu_s": statistics.median(turn["cpu_s"] for turn in found),
            "peak_gib": max(turn["peak_gib"] for turn in found),
        }
        records.append(record | next(losses) | costs)
    return records


def baselines(folder: Path) -> dict[str, dict[str, float]]:
    """Return what importing alone takes."""
    pythons = {"swiftrl": sys.executable, "gptqmodel": environments.create("quant")}
    folder.mkdir(parents=True, exist_ok=True)
    return {
        who: run([python, "-c", IMPORTS[who]], folder, folder / "imports.log")
        for who, python in pythons.items()
    }


def table(records: list[dict[str, Any]], imports: dict[str, dict[str, float]]) -> str:
    """Return the table of the README."""
    lines = [
        "| Model | Method | By | Layer error | Block error | KL | Perplexity | CPU s | work | "
        "Peak GiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        start = f"| {record['shape']} | {record['method']} | {record['who']} |"
        if "failed" in record:
            lines.append(f"{start} failed: {record['failed']} | | | | | | |")
            continue
        layer = "" if record["layer_error"] is None else f"{record['layer_error']:.4f}"
        # Texts that random models sample are read as other tokens: no perplexity of their own.
        perplexity = (
            f"{record['perplexity_before']:.4f} → {record['perplexity']:.4f}"
            if record["shape"] in BUILTIN_DATA
            else ""
        )
        costs = " | | |"
        if "cpu_s" in record:
            work = record["cpu_s"] - imports[record["who"]]["cpu_s"]
            costs = f" {record['cpu_s']:.1f} | {work:.1f} | {record['peak_gib']:.2f} |"
        lines.append(
            f"{start} {layer} | {record['block_error']:.4f} | {record['kl']:.5f} | "
            f"{perplexity} |{costs}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=[*BUILTIN_DATA, *quant_models.SHAPES])
    parser.add_argument("--methods", nargs="+", default=sorted({c.method for c in CONTESTANTS}))
    parser.add_argument("--who", nargs="+", default=["swiftrl", "gptqmodel"])
    parser.add_argument("--group", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path, default=HERE / "results" / "quant.json")
    options = parser.parse_args()
    chosen = [c for c in CONTESTANTS if c.method in options.methods and c.who in options.who]
    imports = baselines(HERE / "results" / "quant")
    records: list[dict[str, Any]] = []
    for shape in options.shapes:
        began = time.monotonic()
        records += measure(shape, chosen, options.group, options.repeats)
        print(f"{shape}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        found = {"imports": imports, "records": records}
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    print(table(records, imports))
    for who, used in imports.items():
        print(f"Importing {who} alone: {used['cpu_s']:.1f} s, {used['peak_gib']:.2f} GiB.")


if __name__ == "__main__":
    main()
