"""Adapters on weights quantised as they are read, through the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import device
import pytest

from swiftrl.cli.main import main

RUN = [
    *device.flags(), "--max_steps", "2", "--per_device_train_batch_size", "4",
    "--gradient_accumulation_steps", "2", "--logging_steps", "1", "--lora_dropout", "0",
    "--learning_rate", "1e-3", "--add_version", "false", "--torch_dtype", "float32",
]  # fmt: skip
TEXT = ["--model", "builtin:tiny-instruct"]
DPO = ["rlhf", "--rlhf_type", "dpo", *TEXT, "--dataset", "builtin:preferences#24"]
NF4 = ["--quant_method", "nf4"]


def places(folder: Path) -> list[str]:
    return ["--output_dir", str(folder / "out"), "--cache_dir", str(folder / "cache")]


def losses(folder: Path) -> list[float]:
    lines = (folder / "out" / "metrics.jsonl").read_text().splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


@pytest.fixture(scope="module")
def dpo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dpo")
    assert main([*DPO, *NF4, *RUN, *places(folder)]) == 0
    return folder


def test_dpo_learns_about_as_on_full_weights(dpo, tmp_path):
    assert main([*DPO, *RUN, *places(tmp_path)]) == 0
    assert losses(dpo)[0] == pytest.approx(losses(tmp_path)[0])  # ln 2: the model is its reference
    assert losses(dpo)[1] == pytest.approx(losses(tmp_path)[1], rel=0.02)
    assert losses(dpo) != losses(tmp_path)


def test_the_adapter_runs_on_quantised_weights_and_merges_into_full_ones(dpo, tmp_path, capsys):
    adapter = ["--adapters", str(dpo / "out" / "checkpoint-2")]
    merged = tmp_path / "merged"
    assert main(["infer", *adapter, *NF4, *device.flags(), "--prompt", "Hi"]) == 0
    assert main(["merge-lora", *adapter, "--output_dir", str(merged), *device.flags()]) == 0
    assert "quantization_config" not in json.loads((merged / "config.json").read_text())
    assert main(["infer", "--model", str(merged), *device.flags(), "--prompt", "Hi"]) == 0


def test_grpo_writes_with_quantised_weights(tmp_path):
    words = ["rlhf", "--rlhf_type", "grpo", *TEXT, "--dataset", "builtin:prompts#8",
             "--reward_funcs", "builtin", "--num_generations", "4",
             "--max_completion_length", "8"]  # fmt: skip
    assert main([*words, *NF4, *RUN, "--max_steps", "1", *places(tmp_path)]) == 0
    assert len((tmp_path / "out" / "completions.jsonl").read_text().splitlines()) >= 4


def test_pictures(tmp_path):
    words = ["rlhf", "--rlhf_type", "dpo", "--model", "builtin:tiny-vl",
             "--dataset", "builtin:vl-preferences#16"]  # fmt: skip
    assert main([*words, *NF4, *RUN, *places(tmp_path)]) == 0
    assert losses(tmp_path)[1] < losses(tmp_path)[0]


@pytest.mark.slow
@pytest.mark.parametrize("way", [[], ["--fsdp", "fsdp2"]])
def test_two_processes_train_as_one(dpo, tmp_path, way):
    words = [*DPO, *NF4, *RUN, "--gradient_accumulation_steps", "1", *way, *places(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "swiftrl", *words],
        env=os.environ | {"NPROC_PER_NODE": "2", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path) == pytest.approx(losses(dpo), rel=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tuner_type", "full"], "quantised weights cannot be trained"),
        (["--deepspeed", "zero3"], "ZeRO 3 does not divide packed weights"),
    ],
)
def test_refused_before_anything_is_loaded(words, said, capsys, tmp_path):
    assert main([*DPO, *NF4, *RUN, *words, *places(tmp_path)]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
