"""What only a GPU can show: tests, peak arithmetic, DPO beside TRL, 70B in 4 bits, GPTQ of 7B.

    python benchmarks/gpu.py                       all parts on the first GPU
    python benchmarks/gpu.py --only dpo --shape qwen2.5-0.5b
    python benchmarks/gpu.py --device cpu --small  every line on a processor, figures mean nothing

Models are random and made on the device; nothing is downloaded but TRL's environment (pip). Each
part fits ten minutes of one H100 or H200.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from environments import create
from gpu_models import products, write_folder

HERE = Path(__file__).resolve().parent
GIB = 2**30
WARM_UP = 2
LIMIT_GIB = 48
DPO_FLAGS = [
    "--lora_rank", "8", "--lora_alpha", "32", "--lora_dropout", "0", "--torch_dtype", "bfloat16",
    "--gradient_accumulation_steps", "1", "--learning_rate", "1e-4", "--logging_steps", "1000",
]  # fmt: skip


def environment() -> dict[str, str]:
    """Return what every contestant starts with; nothing is fetched."""
    places = [str(HERE.parent), str(HERE / "contestants"), str(HERE)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(places),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def run(command: list[Any], log: Path) -> int:
    """Run a program with its words in a log; return its exit code."""
    with log.open("w") as file:
        done = subprocess.run(
            list(map(str, command)), stdout=file, stderr=file, env=environment(), check=False
        )
    if done.returncode:
        print(f"exit code {done.returncode}; the end of {log}:")
        print("\n".join(log.read_text(errors="replace").splitlines()[-15:]))
    return done.returncode


def suite(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the tests that take their device from `--device`."""
    if given.small:
        tests = ["tests/rlhf/test_tree.py"]
    else:
        lines = (HERE.parent / "tests" / "ascend" / "suite.txt").read_text().split()
        tests = [line for line in lines if line != "tests/ascend"]
    report = folder / "suite.xml"
    command = [
        sys.executable, "-m", "pytest", "-q", "--device", given.device, "-m",
        "not slow and not network and not ascend", f"--junitxml={report}", *tests,
    ]  # fmt: skip
    begun = time.perf_counter()
    log = folder / "suite.log"
    with log.open("w") as file:
        code = subprocess.run(
            command, cwd=HERE.parent, stdout=file, stderr=file, env=environment(), check=False
        ).returncode
    found = ElementTree.parse(report).getroot().find("testsuite") if report.exists() else None
    kinds = ("tests", "failures", "errors", "skipped")
    counts = {kind: int(found.get(kind, 0)) for kind in kinds} if found is not None else {}
    return {"exit_code": code, **counts, "seconds": time.perf_counter() - begun}


def arithmetic(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the most bfloat16 operations a second that a square product reaches."""
    import torch

    best = {}
    for size in (256,) if given.small else (4096, 8192, 16384):
        a = torch.randn(size, size, device=given.device, dtype=torch.bfloat16)
        b = torch.randn(size, size, device=given.device, dtype=torch.bfloat16)
        best[size] = max(_rate(lambda a=a, b=b: a @ b, 2 * size**3, given) for _ in range(3))
    return {"flops_by_size": best, "flops": max(best.values())}


def _rate(work: Callable[[], Any], operations: int, given: argparse.Namespace) -> float:
    import torch

    def wait() -> None:
        if given.device != "cpu":
            torch.get_device_module(given.device).synchronize()

    work()
    wait()
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < (0.1 if given.small else 1.0):
        for _ in range(10):
            work()
        wait()
        count += 10
    return operations * count / (time.perf_counter() - begun)


def dpo(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train LoRA DPO with swiftrl and, in an environment of its own, TRL: step for step alike."""
    shape = "tiny" if given.small else given.shape
    prompt, reply = given.lengths
    folder = folder / shape
    steps = WARM_UP + given.steps + 1
    write_folder(folder, shape, prompt=prompt, reply=reply, rows=given.rows * (steps + 1))
    checkpointing = str(given.checkpointing).lower()
    results: dict[str, Any] = {"shape": shape, "lengths": [prompt, reply], "rows": given.rows}
    ours = [
        sys.executable, HERE / "contestants" / "gpu_swiftrl.py", folder, shape, given.device,
        "--per_device_train_batch_size", given.rows, "--max_steps", steps,
        "--gradient_checkpointing", checkpointing, *DPO_FLAGS,
        *(["--use_cpu", "true"] if given.device == "cpu" else []),
    ]  # fmt: skip
    if run(ours, folder / "swiftrl.log") == 0:
        tokens = given.rows * (prompt + 2 * reply)
        results["swiftrl"] = _figures(folder / f"swiftrl-{shape}.json", given, shape, tokens)
    if not given.no_trl:
        python = given.trl_python or create("trl")
        theirs = [
            python, HERE / "contestants" / "gpu_trl.py", folder, shape, given.device, given.rows,
            steps, checkpointing,
        ]  # fmt: skip
        if run(theirs, folder / "trl.log") == 0:
            tokens = given.rows * 2 * (prompt + reply)
            results["trl"] = _figures(folder / f"trl-{shape}.json", given, shape, tokens)
    return results


def _figures(file: Path, given: argparse.Namespace, shape: str, tokens: int) -> dict[str, Any]:
    """Return a contestant's figures.

    Tokens a second are those of the data, prompt and reply of each sequence, so that they compare
    contestants. Operations are those of the tokens that run (swiftrl runs a prompt once): a
    forward pass of policy and reference and a backward pass to the inputs, 2 a weight each, without
    what checkpointing repeats, attention and the head.
    """
    found = json.loads(file.read_text())
    seconds = statistics.median(found["seconds"][WARM_UP:])
    prompt, reply = given.lengths
    return {
        "step_s": seconds,
        "data_tokens_per_s": given.rows * 2 * (prompt + reply) / seconds,
        "flops": 3 * 2 * products(shape) * tokens / seconds,
        "peak_gib": found["peak_reserved"] / GIB,
        "allocated_gib": found["peak_allocated"] / GIB,
    }


def four_bits(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train LoRA DPO on a 70B-shaped model in NF4 and hold its peak against 48 GiB."""
    shape = "tiny" if given.small else "llama-70b"
    folder = folder / f"{shape}-nf4"
    prompt, reply = (64, 32) if given.small else (512, 512)
    write_folder(folder, shape, prompt=prompt, reply=reply, rows=8)
    command = [
        sys.executable, HERE / "contestants" / "gpu_swiftrl.py", folder, shape, given.device, "nf4",
        "--per_device_train_batch_size", 1, "--max_steps", 3, "--gradient_checkpointing", "true",
        *DPO_FLAGS, *(["--use_cpu", "true"] if given.device == "cpu" else []),
    ]  # fmt: skip
    begun = time.perf_counter()
    if run(command, folder / "swiftrl.log"):
        return {"shape": shape, "failed": True}
    found = json.loads((folder / f"swiftrl-{shape}.json").read_text())
    peak = found["peak_reserved"] / GIB
    return {
        "shape": shape,
        "lengths": [prompt, reply],
        "peak_gib": peak,
        "allocated_gib": found["peak_allocated"] / GIB,
        "under_48_gib": peak < LIMIT_GIB,
        "step_s": min(found["seconds"]),
        "seconds": time.perf_counter() - begun,
    }


def gptq(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Quantise a 7B-shaped model by GPTQ with `swiftrl export`; its weights lie on disk."""
    shape = "tiny" if given.small else given.shape
    folder = folder / f"{shape}-gptq"
    folder.mkdir(parents=True, exist_ok=True)
    write_folder(folder, shape, prompt=64 if given.small else 512, reply=32, rows=160)
    code = "import sys; from gpu_models import save; save(*sys.argv[1:])"
    if run([sys.executable, "-c", code, shape, folder / "whole", given.device], folder / "a.log"):
        return {"shape": shape, "failed": True}
    count = 8 if given.small else 128
    command = [
        sys.executable, "-m", "swiftrl", "export", "--model", folder / "whole", "--dataset",
        folder / "chat.jsonl", "--quant_method", "gptq", "--quant_bits", "4", "--group_size", "128",
        "--quant_n_samples", count, "--quant_eval_samples", 8, "--force", "true", "--exist_ok",
        "true", "--output_dir", folder / "gptq",
        *(["--use_cpu", "true"] if given.device == "cpu" else []),
    ]  # fmt: skip
    begun = time.perf_counter()
    failed = run(command, folder / "export.log") != 0
    minutes = (time.perf_counter() - begun) / 60
    return {"shape": shape, "failed": failed, "minutes": minutes, "rows": count}


PARTS = {"suite": suite, "peak": arithmetic, "dpo": dpo, "nf4": four_bits, "gptq": gptq}


def table(results: dict[str, Any]) -> list[str]:
    """Return the figures as lines of a table."""
    peak = results.get("peak", {}).get("flops")
    lines = ["| part | figure |", "|---|---|"]
    if peak:
        lines.append(f"| bfloat16 product | {peak / 1e12:.1f} TFLOP/s |")
    if (tests := results.get("suite")) is not None:
        bad = tests.get("failures", 0) + tests.get("errors", 0)
        lines.append(f"| tests | {tests.get('tests', 0)}, of which {bad} failed |")
    for name in ("swiftrl", "trl"):
        if (one := results.get("dpo", {}).get(name)) is not None:
            share = f", {one['flops'] / peak:.0%} of the product's" if peak else ""
            lines.append(
                f"| DPO LoRA {results['dpo']['shape']}, {name} | {one['step_s']:.3f} s a step, "
                f"{one['data_tokens_per_s']:,.0f} tokens/s, {one['flops'] / 1e12:.1f} TFLOP/s"
                f"{share}, peak {one['peak_gib']:.1f} GiB |"
            )
    if (four := results.get("nf4")) is not None and "peak_gib" in four:
        lines.append(
            f"| DPO LoRA {four['shape']} in NF4 | peak {four['peak_gib']:.1f} GiB "
            f"({'under' if four['under_48_gib'] else 'NOT under'} 48), {four['step_s']:.1f} s a "
            "step |"
        )
    if (export := results.get("gptq")) is not None and not export["failed"]:
        lines.append(f"| GPTQ of {export['shape']} | {export['minutes']:.1f} minutes |")
    return lines


def main() -> None:
    """Run the parts, keep the figures and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--device", default="cuda", help="torch's name of it")
    parser.add_argument("--shape", default="qwen2.5-7b", help="of the DPO and GPTQ parts")
    parser.add_argument("--lengths", type=int, nargs=2, default=[512, 256], help="prompt, reply")
    parser.add_argument("--rows", type=int, default=4, help="pairs a step")
    parser.add_argument("--steps", type=int, default=10, help="measured, behind 2 others")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    parser.add_argument("--small", action="store_true", help="tiny shapes, to try every line")
    parser.add_argument("--no-trl", action="store_true")
    parser.add_argument("--trl_python", help="Python of an environment that has TRL")
    parser.add_argument("--folder", type=Path, help="where work stays")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "gpu.json")
    given = parser.parse_args()
    folder = (given.folder or Path(tempfile.mkdtemp(prefix="swiftrl-gpu-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"device": given.device}
    for name in given.only:
        print(f"{name} ...", flush=True)
        results[name] = PARTS[name](given, folder)
        given.output.write_text(json.dumps(results, indent=1))
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
