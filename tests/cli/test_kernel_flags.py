"""Flags of kernels: refused where they cannot be had, before anything is loaded."""

import json

import pytest

from swiftrl.cli.main import main

ARGS = ["sft", "--model", "builtin:tiny-instruct", "--dataset", "builtin:instructions#4",
        "--use_cpu", "true"]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--use_liger_kernel true --torch_compile true", "leave one of them out"),
        ("--use_liger_kernel true --fused_kernels false", "leave one of them out"),
        ("--use_liger_kernel true", "Triton"),
        ("--torch_compile true --deepspeed zero2", "--deepspeed"),
        ("--enable_npu_model_patch true", "--fused_kernels"),
    ],
)
def test_what_cannot_be_had_is_refused(flags, message, tmp_path, capsys):
    assert main([*ARGS, "--output_dir", str(tmp_path), *flags.split()]) == 2
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "flags",
    ["--fused_kernels false", "--activation_cpu_offload true --gradient_checkpointing true"],
)
def test_losses_do_not_change(flags, tmp_path):
    losses = []
    for number, more in enumerate(("", flags)):
        folder = tmp_path / str(number)
        words = [*ARGS, "--torch_dtype", "float32", "--lora_dropout", "0", "--max_steps", "2",
                 "--logging_steps", "1", "--gradient_accumulation_steps", "1", "--eval_strategy",
                 "no", "--save_strategy", "no", "--add_version", "false"]  # fmt: skip
        assert main([*words, "--output_dir", str(folder), *more.split()]) == 0
        lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert len(losses[0]) == 2
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
