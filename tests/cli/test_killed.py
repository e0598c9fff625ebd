"""A run killed with -9 at random moments and resumed ends with the weights of an unharmed one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import device
import pytest

KILLS = 10
STEPS = 200
WORDS = [
    "rlhf", "--model", "builtin:tiny-instruct", *device.flags(), "--torch_dtype", "float32",
    "--dataset", "builtin:preferences#64", "--val_dataset", "builtin:preferences:heldout#8",
    "--max_steps", str(STEPS), "--per_device_train_batch_size", "4",
    "--gradient_accumulation_steps", "2", "--learning_rate", "1e-3", "--save_steps", "2",
    "--save_total_limit", "3", "--eval_steps", "50", "--add_version", "false",
]  # fmt: skip


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


def wait_for_kill(process: subprocess.Popen, output: Path, moments: random.Random) -> None:
    """Wait until a random moment: any at all, or one soon after a step or in the midst of saving.

    A run that is only ever killed while it starts would never end, so the two kinds alternate.
    """
    if moments.random() < 0.3:
        time.sleep(moments.uniform(0, 10))
        return
    seen = newest(output)
    while process.poll() is None and newest(output) == seen:
        time.sleep(0.01)
    time.sleep(moments.uniform(0, 0.3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tuner", "weights"), [("lora", "adapter_model.safetensors"), ("full", "model.safetensors")]
)
def test_ten_kills(tmp_path, tuner, weights):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole, "--tuner_type", tuner).wait() == 0
    moments = random.Random(0)
    process = start(killed, "--tuner_type", tuner)
    for _ in range(KILLS):
        wait_for_kill(process, killed, moments)
        assert process.poll() is None, "it ended by itself before all kills"
        process.send_signal(signal.SIGKILL)
        process.wait()
        resume = ["--resume_from_checkpoint", str(killed)] if (killed / ".lock").exists() else []
        process = start(killed, "--tuner_type", tuner, *resume)
    assert process.wait() == 0, (tmp_path / "log.txt").read_text()[-2000:]
    last = f"checkpoint-{STEPS}/{weights}"
    assert (killed / last).read_bytes() == (whole / last).read_bytes()
    lines = (killed / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == len((whole / "metrics.jsonl").read_text().splitlines())
