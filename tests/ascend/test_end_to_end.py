"""`swiftrl` on device npu: each step's loss is the CPU's, to rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from swiftrl.cli.main import main

# Sums of float32 in another order; the step of bfloat16 between 0.5 and 1, where the losses lie.
BOUNDS = {"float32": 2e-6, "bfloat16": 2**-8}
MODELS = {
    "text": ["--model", "builtin:tiny-instruct", "--dataset", "builtin:preferences#24"],
    "vision": ["--model", "builtin:tiny-vl", "--dataset", "builtin:vl-preferences#24"],
}
TUNERS = {
    "lora": ["--lora_dropout", "0", "--learning_rate", "1e-3"],
    "full": ["--tuner_type", "full", "--learning_rate", "1e-4"],
    "nf4": ["--quant_method", "nf4", "--lora_dropout", "0", "--learning_rate", "1e-3"],
}
SHORT = ["--max_steps", "4", "--per_device_train_batch_size", "4", "--logging_steps", "1",
         "--add_version", "false"]  # fmt: skip
CPU = ["--use_cpu", "true"]


def words_of(model: str, tuner: str, dtype: str) -> list[str]:
    kind = ["rlhf", "--rlhf_type", "dpo", *MODELS[model], *TUNERS[tuner]]
    return [*kind, *SHORT, "--torch_dtype", dtype]


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in metrics(folder) if "loss" in entry]


def train(folder: Path, words: list[str], accumulation: int = 2) -> list[float]:
    """Train in this process and return the losses of the steps."""
    places = ["--output_dir", str(folder), "--cache_dir", str(folder.parent / "cache")]
    passes = ["--gradient_accumulation_steps", str(accumulation)]
    assert main([*words, *passes, *places]) == 0
    return losses(folder)


def train_with_two(folder: Path, words: list[str]) -> tuple[list[float], str]:
    """Train with two processes; return the losses and what was written to stderr."""
    places = ["--output_dir", str(folder), "--cache_dir", str(folder.parent / "cache")]
    done = subprocess.run(
        [sys.executable, "-m", "swiftrl", *words, "--gradient_accumulation_steps", "1", *places],
        env=os.environ | {"NPROC_PER_NODE": "2", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return losses(folder), done.stderr


def assert_equal(ours: list[float], theirs: list[float], dtype: str) -> None:
    assert len(ours) == len(theirs) == 4
    assert all(0.5 < loss < 1 for loss in theirs)
    differences = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    print(f"largest difference: {max(differences):.1e}")
    assert max(differences) <= BOUNDS[dtype], (ours, theirs)


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    """Return a function from settings to the CPU's losses, each computed once."""
    known: dict[tuple[str, ...], list[float]] = {}

    def run(*settings: str) -> list[float]:
        if settings not in known:
            folder = tmp_path_factory.mktemp("cpu") / "run"
            known[settings] = train(folder, [*words_of(*settings), *CPU])
        return known[settings]

    return run


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("tuner", TUNERS)
@pytest.mark.parametrize("model", MODELS)
def test_dpo_equals_the_cpus(model, tuner, dtype, on_cpu, tmp_path):
    ours = train(tmp_path / "run", words_of(model, tuner, dtype))
    assert_equal(ours, on_cpu(model, tuner, dtype), dtype)


@pytest.mark.parametrize(
    ("model", "tuner", "dtype"),
    [
        ("text", "lora", "float32"),
        ("text", "full", "bfloat16"),
        ("vision", "lora", "bfloat16"),
        ("vision", "full", "float32"),
    ],
)
def test_dpo_with_two_processes_equals_the_cpus_with_one(model, tuner, dtype, on_cpu, tmp_path):
    ours, stderr = train_with_two(tmp_path / "run", words_of(model, tuner, dtype))
    assert_equal(ours, on_cpu(model, tuner, dtype), dtype)
    assert "double dtype" not in stderr  # which torch_npu says when it makes float32 of float64


@pytest.mark.parametrize("tuner", ["full", "nf4"])
def test_two_processes_that_share_the_weights_equal_the_cpus_with_one(tuner, on_cpu, tmp_path):
    words = [*words_of("text", tuner, "float32"), "--fsdp", "fsdp2"]
    ours, stderr = train_with_two(tmp_path / "run", words)
    assert_equal(ours, on_cpu("text", tuner, "float32"), "float32")
    assert "double dtype" not in stderr
