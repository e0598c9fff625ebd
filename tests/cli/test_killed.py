"""A run killed with -9 at random moments and resumed ends with the weights of an unharmed one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = 10
STEPS = 40
WORDS = [
    "rlhf", "--model", "builtin:tiny-instruct", "--use_cpu", "true", "--torch_dtype", "float32",
    "--dataset", "builtin:preferences#64", "--val_dataset", "builtin:preferences:heldout#8",
    "--max_steps", str(STEPS), "--per_device_train_batch_size", "4",
    "--gradient_accumulation_steps", "2", "--learning_rate", "1e-3", "--save_steps", "2",
    "--save_total_limit", "3", "--eval_steps", "10", "--add_version", "false",
]  # fmt: skip
WEIGHTS = f"checkpoint-{STEPS}/adapter_model.safetensors"


def start(output: Path, *more: str) -> subprocess.Popen:
    words = [
        *WORDS,
        "--output_dir",
        str(output),
        "--cache_dir",
        str(output.parent / "cache"),
        *more,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with open(output.parent / "log.txt", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "swiftrl", *words], env=environment, stdout=log, stderr=log
        )


def newest(output: Path) -> int:
    return max((int(p.name.split("-")[1]) for p in output.glob("checkpoint-*")), default=0)


@pytest.mark.slow
def test_ten_kills(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0
    moments = random.Random(0)
    process = start(killed)
    kills = 0
    while kills < KILLS:
        seen = newest(killed)
        # Some moments after the first sign of progress, so that kills fall on steps and on saves.
        while process.poll() is None and newest(killed) == seen:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        process = start(killed, "--resume_from_checkpoint", str(killed))
    assert process.wait() == 0, (tmp_path / "log.txt").read_text()[-2000:]
    assert kills == KILLS
    assert (killed / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    steps = (killed / "metrics.jsonl").read_text().splitlines()
    assert len(steps) == len((whole / "metrics.jsonl").read_text().splitlines())
