"""`swiftrl plan` against what training takes: planned and measured peak memory, setting by setting.

Each case makes a random model and rows of random characters, trains for two steps in a process of
its own, and asks `swiftrl plan --json` with the same words. Measured is the most memory
that the process ever had resident (ru_maxrss, which is VmHWM): Python, PyTorch and the allocator's
unused heap included, nothing taken off.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from plan_models import write_rows

GIB = 2**30
BOUND = 0.15
FULL = ("--tuner_type", "full")
PLAIN = ("--gradient_checkpointing", "false")
NO_DROPOUT = ("--lora_dropout", "0")


@dataclass(frozen=True)
class Case:
    """A setting.

    Attributes:
        name: in the table.
        model: key of SHAPES.
        lengths: tokens of prompt and reply.
        words: of the command line, the algorithm first.
        rows: a forward pass.
        steps: of the optimizer.
        processes: started by the launcher.
    """

    name: str
    model: str
    lengths: tuple[int, int]
    words: tuple[str, ...]
    rows: int = 2
    steps: int = 2
    processes: int = 1


DPO = ("rlhf", "--rlhf_type", "dpo")
SFT = ("sft",)
GRPO = ("rlhf", "--rlhf_type", "grpo", "--reward_funcs", "format", "--num_generations", "4")
GKD = ("rlhf", "--rlhf_type", "gkd", "--teacher_model", "TEACHER", "--lmbda", "0")
ONCE = ("--gradient_accumulation_steps", "1")
TWICE = ("--gradient_accumulation_steps", "2")
FLOAT32 = ("--torch_dtype", "float32")
ROWS = ("--layout", "rows")
NF4 = ("--quant_method", "nf4")

CASES = (
    Case("DPO LoRA", "qwen-39m", (512, 128), (*DPO, *PLAIN, *NO_DROPOUT, *ONCE), rows=4),
    Case("DPO LoRA, dropout", "qwen-168m", (256, 128), (*DPO, *PLAIN, *ONCE)),
    Case("DPO LoRA, checkpointing", "qwen-168m", (384, 128), (*DPO, *ONCE), rows=3),
    Case("DPO LoRA, padded rows", "qwen-168m", (256, 128), (*DPO, *PLAIN, *ROWS, *ONCE), rows=1),
    Case("DPO LoRA, float32", "llama-134m", (256, 128), (*DPO, *PLAIN, *FLOAT32, *ONCE), rows=1),
    Case("DPO LoRA on NF4", "qwen-168m", (384, 128), (*DPO, *ONCE, *NF4), rows=3),
    Case("DPO LoRA on NF4, all kept", "llama-200m", (256, 128), (*DPO, *PLAIN, *ONCE, *NF4)),
    Case("DPO LoRA on GPTQ", "qwen-168m-gptq", (384, 128), (*DPO, *ONCE), rows=3),
    Case("DPO full, copied reference", "qwen-168m", (64, 64), (*DPO, *FULL, *TWICE)),
    Case(
        "DPO full, precomputed reference",
        "llama-134m",
        (64, 64),
        (*DPO, *FULL, *PLAIN, "--precompute_ref_log_probs", "true", *ONCE),
    ),
    Case("SFT full", "qwen-168m", (64, 192), (*SFT, *FULL, *PLAIN, *ONCE)),
    Case("SFT full, float32", "llama-134m", (64, 128), (*SFT, *FULL, *PLAIN, *FLOAT32, *TWICE)),
    Case("SFT LoRA, SGD", "llama-134m", (128, 384), (*SFT, *PLAIN, *ONCE, "--optim", "sgd")),
    Case("SFT full, checkpointing", "llama-200m", (64, 128), (*SFT, *FULL, *TWICE)),
    Case("DPO LoRA, experts", "moe-150m", (128, 128), (*DPO, *PLAIN, *NO_DROPOUT, *ONCE)),
    Case("SFT full, experts", "moe-150m", (64, 128), (*SFT, *FULL, *ONCE)),
    Case(
        "GRPO LoRA",
        "qwen-168m",
        (256, 64),
        (*GRPO, *PLAIN, "--max_completion_length", "16", *ONCE, "--beta", "0"),
        rows=8,
    ),
    Case(
        "GRPO full",
        "qwen-39m",
        (256, 64),
        (*GRPO, *FULL, "--max_completion_length", "16", *ONCE),
        rows=8,
    ),
    Case("GKD LoRA, the data's replies", "qwen-168m", (256, 128), (*GKD, *PLAIN, *ONCE)),
    Case(
        "GKD full, its own replies",
        "qwen-39m",
        (128, 64),
        (*GKD, *FULL, *ONCE, "--lmbda", "1", "--max_completion_length", "32"),
        rows=4,
    ),
    Case(
        "SFT full, FSDP2",
        "llama-134m",
        (64, 128),
        (*SFT, *FULL, *ONCE, "--fsdp", "fsdp2"),
        processes=2,
    ),
)
QUICK = (
    Case("DPO LoRA", "qwen-39m", (384, 64), (*DPO, *PLAIN, *NO_DROPOUT, *ONCE), rows=4),
    Case("DPO full, copied reference", "qwen-39m", (128, 64), (*DPO, *FULL, *TWICE)),
    Case("SFT full", "qwen-39m", (128, 256), (*SFT, *FULL, *PLAIN, *ONCE)),
)


def words_of(case: Case, folder: Path) -> list[str]:
    """Return the command line of a case, without what only a plan or only training takes."""
    command, *rest = case.words
    rows = folder / "rows" / f"{case.lengths[0]}-{case.lengths[1]}.jsonl"
    return [
        command,
        "--model", str(folder / case.model),
        "--dataset", str(rows),
        "--per_device_train_batch_size", str(case.rows),
        "--max_steps", str(case.steps),
        "--cache_dir", str(folder / "cache"),
        "--use_cpu", "true",
        *(word.replace("TEACHER", str(folder / case.model)) for word in rest),
    ]  # fmt: skip


def prepare(case: Case, folder: Path) -> None:
    """Write the model and the rows of a case, unless they are there."""
    if not (folder / case.model / "model.safetensors").exists():
        # In a process of its own: a child must not begin with this one's memory.
        code = "import sys; from plan_models import write_model; write_model(*sys.argv[1:])"
        here = Path(__file__).resolve().parent
        subprocess.run(
            [sys.executable, "-c", code, case.model, str(folder / case.model)], check=True, cwd=here
        )
    write_rows(folder / "rows", *case.lengths)


def planned(case: Case, words: list[str]) -> dict:
    """Return the plan, as JSON."""
    # Not before every case has been measured: a child's figure never begins below what its parent
    # holds when it is started.
    from swiftrl.cli.main import main as swiftrl

    extra = ["--processes", str(case.processes), "--json", "true"]
    if "grpo" in words:
        extra += ["--prompt_tokens", str(case.lengths[0])]
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = swiftrl(["plan", *words, *extra])
    if code not in (0, 3):
        raise SystemExit(f"swiftrl plan {' '.join(words)} ended with {code}")
    return json.loads(text.getvalue())


def measured(words: list[str], output: Path, processes: int = 1) -> int:
    """Train, and return the peak of resident memory in bytes (of the largest process)."""
    command = [sys.executable, "-m", "swiftrl", *words, "--output_dir", str(output)]
    environment = {**os.environ, "NPROC_PER_NODE": str(processes)}
    output.mkdir(parents=True, exist_ok=True)
    with (output.parent / "log.txt").open("w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        peak = 0
        while True:
            found, status, usage = os.wait4(child.pid, os.WNOHANG)
            if processes > 1:
                peak = max([peak, *(resident(pid) for pid in descendants(child.pid))])
            if found:
                break
            time.sleep(0.2)
    if status:
        raise SystemExit(f"{' '.join(words)} failed:\n{(output.parent / 'log.txt').read_text()}")
    shutil.rmtree(output)
    return peak if processes > 1 else usage.ru_maxrss * 1024


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that a process has started, and theirs."""
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from descendants(int(child))
    except OSError:
        return


def resident(pid: int) -> int:
    """Return the peak of a process's resident memory so far, in bytes."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="words of cases' names")
    parser.add_argument("--quick", action="store_true", help="three of them, on small models")
    parser.add_argument("--folder", type=Path, help="where models and rows stay")
    parser.add_argument("--again", type=Path, help="plan anew for the figures in this file")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="swiftrl-plan-"))
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [
        case
        for case in (QUICK if given.quick else CASES)
        if all(word.lower() in case.name.lower() for word in given.only)
    ]
    before = {}
    if given.again:
        before = {item["case"]: item["measured"] for item in json.loads(given.again.read_text())}
        chosen = [case for case in chosen if case.name in before]
    peaks = {}
    for case in chosen:
        if case.name in before:
            peaks[case] = before[case.name]
            continue
        prepare(case, folder)
        words = words_of(case, folder)
        peaks[case] = measured(words, folder / "output" / case.model, case.processes)
        print(f"{case.name}: {peaks[case] / GIB:.2f} GiB measured", flush=True)
    print("| setting | model | planned GiB | measured GiB | planned / measured |")
    print("|---|---|---|---|---|", flush=True)
    results = []
    for case, peak in peaks.items():
        plan = planned(case, words_of(case, folder))
        ratio = plan["peak"] / peak
        results.append({"case": case.name, "planned": plan, "measured": peak, "ratio": ratio})
        print(
            f"| {case.name} | {case.model} | {plan['peak'] / GIB:.2f} | {peak / GIB:.2f} | "
            f"{ratio:.2f} |",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))
    beyond = [r["case"] for r in results if abs(r["ratio"] - 1) > BOUND]
    print(f"{len(results) - len(beyond)} of {len(results)} within {BOUND:.0%}.")
    if beyond:
        raise SystemExit(f"beyond: {', '.join(beyond)}")


if __name__ == "__main__":
    main()
