"""DeepSpeed's ZeRO in two processes on a CPU: one process's run, to rounding; saved and resumed."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import Setup, environment, lines_of, program

from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.parallel.deepspeed_config import PRESETS, read_deepspeed

pytest.importorskip("deepspeed", reason="an extra: pip install 'swiftrl[deepspeed]'")
LAUNCH = "import sys; from swiftrl.cli.launch import run; sys.exit(run(sys.argv[1:]))"
STEPS = 20
GLOBAL = 8


def launch(setups: list[Setup], processes: int) -> None:
    words = program(setups)
    if processes > 1:
        words = [sys.executable, "-c", LAUNCH, *words]
    done = subprocess.run(
        words, env=environment() | {"NPROC_PER_NODE": str(processes)},
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]


def setup_of(folder: Path, processes: int, **changes) -> Setup:
    train = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": GLOBAL // 2 // processes,
        "max_steps": STEPS,
        "save_steps": 10,
        "eval_steps": 9,
        "learning_rate": 1e-3,
    } | changes.pop("train", {})
    # 21 rows: the last step of an epoch has fewer than there are processes' places for.
    setup = Setup(train=train, num_rows=21, num_held_out=3, timeout_s=60.0)
    return replace(setup, weights=str(folder.with_suffix(".safetensors")), **changes)


def differences(folder: Path, other: Path) -> tuple[float, float]:
    """Return the largest differences of trained weights and of anything in the metrics."""
    ours, theirs = (load_file(path.with_suffix(".safetensors")) for path in (folder, other))
    assert ours.keys() == theirs.keys()
    weights = max(float((ours[name] - theirs[name]).abs().max()) for name in ours)
    names = ("loss", "eval_loss", "grad_norm", "rewards/margins")
    pairs = zip(lines_of(folder), lines_of(other), strict=True)
    lines = [abs(a[name] - b[name]) for a, b in pairs for name in names if name in a]
    return weights, max(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Runs of one process without DeepSpeed, of two with it."""
    folder = tmp_path_factory.mktemp("deepspeed")
    launch([setup_of(folder / "full", 1, lora=False), setup_of(folder / "lora", 1)], 1)
    both = [
        setup_of(folder / f"full-{name}", 2, lora=False, deepspeed=name) for name in PRESETS
    ] + [
        setup_of(folder / f"lora-{name}", 2, deepspeed=name, checkpointing=True)
        for name in ("zero2", "zero3")
    ]
    launch(both, 2)
    return folder


@pytest.mark.parametrize(
    "name", [f"full-{name}" for name in PRESETS] + ["lora-zero2", "lora-zero3"]
)
def test_two_processes_equal_one(folder, name):
    weights, lines = differences(folder / name.partition("-")[0], folder / name)
    assert weights < 2e-6 and lines < 2e-6


def test_files_for_use_are_whole(folder):
    for name in ("full-zero3", "full-zero1"):
        ours = load_file(folder / name / f"checkpoint-{STEPS}" / "model.safetensors")
        plain = load_file(folder / "full" / f"checkpoint-{STEPS}" / "model.safetensors")
        assert ours.keys() == plain.keys()
        for key, value in plain.items():
            torch.testing.assert_close(ours[key], value, rtol=0, atol=2e-6)
    ours = load_file(folder / "lora-zero3" / f"checkpoint-{STEPS}" / "adapter_model.safetensors")
    assert (
        ours.keys()
        == load_file(folder / "lora" / f"checkpoint-{STEPS}" / "adapter_model.safetensors").keys()
    )


@pytest.mark.parametrize(
    ("before", "after", "processes"),
    [("zero3", None, 1), ("zero3", "zero2_offload", 2),
     pytest.param("zero2", "zero3", 2, marks=pytest.mark.slow),
     pytest.param("zero3_offload", "zero3", 4, marks=pytest.mark.slow),
     pytest.param("zero1", "zero1", 4, marks=pytest.mark.slow)],
)  # fmt: skip
def test_resumed_in_other_numbers_and_ways(folder, tmp_path, before, after, processes):
    """From the tenth step on, with another number of processes, stage or none at all."""
    again = tmp_path / "again"
    shutil.copytree(folder / f"full-{before}", again)
    shutil.rmtree(again / f"checkpoint-{STEPS}")
    train = {"resume_from_checkpoint": str(again / "checkpoint-10")}
    launch([setup_of(again, processes, lora=False, deepspeed=after, train=train)], processes)
    weights, lines = differences(folder / "full", again)
    assert weights < 2e-6 and lines < 2e-6


def test_files_of_settings(tmp_path):
    file = tmp_path / "ds.json"

    def read(**content):
        file.write_text(json.dumps(content))
        return read_deepspeed(str(file))

    found = read(
        zero_optimization={"stage": 3, "reduce_bucket_size": "auto", "overlap_comm": False},
        bf16={"enabled": "auto"}, fp16={"enabled": "auto", "loss_scale": 0},
        train_batch_size="auto", gradient_clipping="auto", steps_per_print=2000,
    )  # fmt: skip
    assert found.stage == 3 and dict(found.zero) == {"stage": 3, "overlap_comm": False}
    assert read_deepspeed("zero3_offload").offload and not read_deepspeed("zero2").offload
    zero = {"stage": 2}
    for wrong, message in (
        ({"zero_optimization": {"stage": 0}}, "expected an object"),
        ({"zero_optimization": zero, "gradient_clipping": 0.5}, "set by --max_grad_norm"),
        ({"zero_optimization": zero, "bf16": {"enabled": True}}, "set by --torch_dtype"),
        ({"zero_optimization": zero, "zero_optimisation": {}}, "Did you mean 'zero_optimization'"),
    ):
        with pytest.raises(ConfigError, match=message):
            read(**wrong)
    with pytest.raises(ConfigError, match="zero3"):
        read_deepspeed("zero33")
