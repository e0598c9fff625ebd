"""`swiftrl plan`: from a configuration alone, before anything is loaded."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from swiftrl.cli.main import main
from swiftrl.cli.plan_inputs import parse_memory
from swiftrl.core.errors import ConfigError
from swiftrl.models import skeleton

GIB = 2**30
SHAPE = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320,
}  # fmt: skip
LENGTHS = ["--prompt_tokens", "100", "--reply_tokens", "50"]
ROOT = Path(__file__).resolve().parents[2]


def planned(capsys, *words: str, code: int = 0) -> dict:
    assert main(["plan", *words, "--use_cpu", "true", "--json", "true"]) == code
    return json.loads(capsys.readouterr().out)


def test_plan_of_a_builtin_model_with_its_data(capsys):
    found = planned(
        capsys, "rlhf", "--rlhf_type", "dpo", "--model", "builtin:tiny-instruct",
        "--dataset", "builtin:preferences#64", "--per_device_train_batch_size", "4",
    )  # fmt: skip
    assert found["architecture"]
    assert found["fits"]
    assert found["batch"]["accumulation"] == 4
    # Three epochs of 64 rows, 16 a step.
    assert found["batch"]["steps"] == "12"
    assert sum(found["parts"].values()) == pytest.approx(found["peak"], abs=len(found["parts"]))


def test_plan_of_a_config_file_without_weights(tmp_path, capsys):
    file = tmp_path / "some.json"
    file.write_text(json.dumps(SHAPE))
    by_file = planned(capsys, "sft", "--model", str(file), *LENGTHS)
    by_shape = planned(capsys, "sft", "--model_shape", json.dumps(SHAPE), *LENGTHS)
    assert by_file["peak"] == by_shape["peak"]
    assert by_file["architecture"] == "LlamaForCausalLM"
    # Embedding, head, norms; of each layer q o, k v, gate up down.
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64
    assert by_file["parameters"] == 2 * 320 * 64 + 64 + 2 * layer
    assert by_file["batch"]["tokens"] == 150


def test_fields_of_a_model_are_replaced(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    changed = ["--model_shape", '{"num_hidden_layers": 4}']
    two = planned(capsys, "sft", "--model", str(tmp_path), *LENGTHS)
    four = planned(capsys, "sft", "--model", str(tmp_path), *LENGTHS, *changed)
    assert four["parameters"] > two["parameters"]


def test_what_does_not_fit_says_what_would(capsys):
    words = ["rlhf", "--model_shape", json.dumps({**SHAPE, "hidden_size": 2048,
             "intermediate_size": 8192, "num_hidden_layers": 24}), *LENGTHS,
             "--tuner_type", "full", "--device_memory", "4GiB", "--use_cpu", "true"]  # fmt: skip
    assert main(["plan", *words]) == 3
    out = capsys.readouterr().out
    assert re.search(r"Does not fit: [\d.]+ GiB of 4\.00 GiB", out)
    assert "--tuner_type lora" in out
    assert "all of these" not in out or "yes" in out


def test_a_file_of_settings_stands_behind_the_command(tmp_path, capsys):
    file = tmp_path / "dpo.yaml"
    file.write_text("rlhf_type: dpo\nmodel: builtin:tiny-instruct\nmax_length: 64\n")
    by_file = planned(capsys, "rlhf", str(file))
    by_words = planned(capsys, "--model", "builtin:tiny-instruct", "--max_length", "64")
    assert by_file["peak"] == by_words["peak"]


def test_grpo_counts_the_cache_of_its_rollouts(capsys):
    words = ["rlhf", "--rlhf_type", "grpo", "--model_shape", json.dumps(SHAPE),
             "--prompt_tokens", "100", "--max_completion_length", "500",
             "--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "8",
             "--beta", "0"]  # fmt: skip
    found = planned(capsys, *words)
    assert found["moment"] == "rollout"
    # 64 replies, 600 tokens, keys and values of 32 numbers in two layers; one layer twice.
    assert found["parts"]["cache"] % (64 * 600 * 2 * 32) == 0
    smaller = planned(capsys, *words, "--rollout_batch_size", "8")
    assert smaller["moments"]["rollout"] < found["moments"]["rollout"]


def test_only_small_files_of_a_hub_are_fetched(tmp_path, monkeypatch, capsys):
    (tmp_path / "config.json").write_text(json.dumps(SHAPE))
    asked = {}

    def fetch(hub_id, *, use_hf, revision, token, only):
        asked.update(id=hub_id, only=only)
        return tmp_path

    monkeypatch.setattr(skeleton, "download", fetch)
    planned(capsys, "sft", "--model", "someone/a-model", *LENGTHS)
    assert asked["id"] == "someone/a-model"
    assert not any("safetensors" in pattern or pattern == "*" for pattern in asked["only"])


def test_a_teacher_is_counted(capsys, tmp_path):
    """Its weights, whole, on top of what SFT needs; and the replies that the student writes."""
    teacher = tmp_path / "teacher.json"
    teacher.write_text(json.dumps(SHAPE | {"num_hidden_layers": 8}))
    words = ["--model_shape", json.dumps(SHAPE), *LENGTHS, "--torch_dtype", "float32"]
    gkd = ["rlhf", "--rlhf_type", "gkd", "--teacher_model", str(teacher), "--lmbda", "0"]
    plain = planned(capsys, "sft", *words)
    taught = planned(capsys, *gkd, *words)
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64
    weights = 4 * (2 * 320 * 64 + 64 + 8 * layer)
    assert taught["parts"]["teacher"] == weights
    assert taught["peak"] >= plain["peak"] + weights
    assert {"teaching", "forward", "backward"} <= set(taught["moments"])
    assert "rollout" not in taught["moments"]
    own = planned(capsys, *gkd, *words, "--lmbda", "1", "--max_completion_length", "200")
    assert own["moments"]["rollout"] > 0
    assert own["batch"]["tokens"] == 300


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sft"], "--model is missing"),
        (["sft", "--model", "nowhere"], "no such folder or file"),
        (["sft", "--model_shape", '{"model_type": "lama"}'], "knows no model_type 'lama'"),
        (
            ["rlhf", "--rlhf_type", "gkd", "--model", "builtin:tiny-instruct", "--use_cpu", "true"],
            "--teacher_model is missing",
        ),
        (["nothing"], "expected one of rlhf, sft, pt"),
        (["sft", "--beta", "1"], "--beta: belongs to"),
        (["sft", "--model_shape", json.dumps(SHAPE), "--device_memory", "lots"], "48GiB"),
        (
            ["sft", "--model_shape", json.dumps(SHAPE), "--deepspeed", "ds.json"],
            "--deepspeed ds.json: ",
        ),
    ],
)
def test_mistakes_are_named(words, message, capsys):
    assert main(["plan", *words]) == 2
    assert message in capsys.readouterr().err


def test_sizes_of_memory():
    assert parse_memory("48GiB") == parse_memory("48g") == parse_memory("48") == 48 * GIB
    assert parse_memory("512 MiB") == GIB // 2
    with pytest.raises(ConfigError, match=r"--device_memory 1\.2\.3"):
        parse_memory("1.2.3")


def test_help_lists_the_flags_of_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["plan", "--help"])
    out = capsys.readouterr().out
    for flag in ("--device_memory", "--rlhf_type", "--lora_rank", "--num_generations", "--fsdp"):
        assert flag in out


@pytest.mark.slow
def test_planned_is_what_training_takes(tmp_path):
    """Three of `make bench-plan`'s settings, small."""
    done = subprocess.run(
        [sys.executable, "benchmarks/plan.py", "--quick", "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 within 15%" in done.stdout
