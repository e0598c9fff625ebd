"""LoRA on quantised weights beside LoRA on the weights they were made from, by the same commands.

The built-in model is written as GPTQ and AWQ by `swiftrl export`; NF4 is made as weights are read.
Each then trains with the same rows and settings, and the loss on held-out rows is compared with
that on bfloat16 weights. Ends with 1 where one is more than 2% above it.

On the Ascend stand-in, on device npu:
    python tests/ascend/standin/run.py python benchmarks/quant_training.py --device npu
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODEL = "builtin:tiny-instruct"
WEIGHTS = ("bfloat16", "gptq", "awq", "nf4")
BOUND = 0.02
RUNS = {
    "dpo": [
        "rlhf", "--rlhf_type", "dpo", "--dataset", "builtin:preferences",
        "--val_dataset", "builtin:preferences:heldout#100",
    ],
    "sft": [
        "sft", "--dataset", "builtin:instructions",
        "--val_dataset", "builtin:instructions:heldout#100",
    ],
    "grpo": [
        "rlhf", "--rlhf_type", "grpo", "--dataset", "builtin:prompts", "--reward_funcs", "builtin",
        "--num_generations", "4", "--max_completion_length", "16", "--temperature", "1",
    ],
}  # fmt: skip


def run(*words: str, log: Path) -> None:
    """Run a command of swiftrl; a failure ends the program with the command's words."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("w") as file:
        done = subprocess.run(
            [sys.executable, "-m", "swiftrl", *words], env=environment, stdout=file, stderr=file,
            check=False,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"swiftrl {' '.join(words)} failed:\n{log.read_text()[-2000:]}")


def folder_of(weights: str, work: Path, device: list[str]) -> list[str]:
    """Return the words that name a model, written first where it is not there."""
    if weights in ("bfloat16", "nf4"):
        return ["--model", MODEL, *(["--quant_method", "nf4"] if weights == "nf4" else [])]
    folder = work / weights
    if not folder.exists():
        words = ["--model", MODEL, "--quant_method", weights, "--output_dir", str(folder), *device]
        run("export", *words, log=work / f"{weights}.txt")
    return ["--model", str(folder)]


def measures(folder: Path) -> dict[str, float]:
    """Return the held-out loss, or of GRPO the rewards, of a run's last steps."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    held_out = [line["eval_loss"] for line in lines if "eval_loss" in line]
    losses = [line["loss"] for line in lines if "loss" in line]
    rewards = [line["reward"] for line in lines if "reward" in line]
    found = {"train": sum(losses[-20:]) / len(losses[-20:])}
    found |= {"held_out": held_out[-1]} if held_out else {}
    return found | ({"reward": sum(rewards[-20:]) / len(rewards[-20:])} if rewards else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", nargs="+", default=["dpo", "sft"], choices=tuple(RUNS))
    parser.add_argument("--weights", nargs="+", default=list(WEIGHTS))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--device", default="cpu", help="cpu, or what is there")
    parser.add_argument("words", nargs="*", help="more settings of training, after --")
    options = parser.parse_args()
    work = HERE / "results" / "quant_training"
    work.mkdir(parents=True, exist_ok=True)
    device = ["--use_cpu", "true"] if options.device == "cpu" else []
    steps = str(options.steps)
    print("| Training | Weights | Held-out loss | against bfloat16 | Last 20 losses | Reward |")
    print("|---|---|---|---|---|---|", flush=True)
    beyond = []
    for kind in options.runs:
        plain = math.nan
        for weights in options.weights:
            name = f"{kind}-{weights}-{options.device}"
            run(
                *RUNS[kind], *folder_of(weights, work, device), *device,
                "--max_steps", steps, "--per_device_train_batch_size", "4",
                "--gradient_accumulation_steps", "1", "--learning_rate", "5e-4",
                "--logging_steps", "1", "--eval_steps", steps, "--save_steps", steps,
                "--gradient_checkpointing", "false", "--add_version", "false",
                "--output_dir", str(work / name), *options.words, log=work / f"{name}.txt",
            )  # fmt: skip
            found = measures(work / name)
            loss = found.get("held_out", math.nan)
            plain = loss if weights == "bfloat16" else plain
            if loss > plain * (1 + BOUND):
                beyond.append(name)
            print(
                f"| {kind} | {weights} | {loss:.4f} | {loss / plain - 1:+.2%} | "
                f"{found['train']:.4f} | {found.get('reward', math.nan):.3f} |",
                flush=True,
            )
    if beyond:
        raise SystemExit(f"more than {BOUND:.0%} above bfloat16: {', '.join(beyond)}")


if __name__ == "__main__":
    main()
