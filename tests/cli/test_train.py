"""Training from the command line, whole: built-in model and data in, a usable model out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import device
import pytest

from swiftrl.cli.main import main

MODEL = ["--model", "builtin:tiny-instruct", *device.flags(), "--torch_dtype", "float32"]
DATA = ["--dataset", "builtin:preferences#24", "--val_dataset", "builtin:preferences:heldout#8"]
SHORT = ["--max_steps", "3", "--per_device_train_batch_size", "4",
         "--gradient_accumulation_steps", "2", "--logging_steps", "1",
         "--learning_rate", "1e-3", "--lora_dropout", "0"]  # fmt: skip


def train(tmp_path: Path, *words: str, command: str = "rlhf") -> tuple[int, Path]:
    output = tmp_path / "out"
    base = [command, *MODEL, *SHORT, "--output_dir", str(output), "--add_version", "false",
            "--cache_dir", str(tmp_path / "cache")]  # fmt: skip
    return main([*base, *words]), output


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in metrics(folder) if "loss" in entry]


@pytest.fixture(scope="module")
def dpo_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dpo")
    code, output = train(folder, *DATA)
    assert code == 0
    return output


def test_dpo_writes_what_people_need(dpo_run):
    settings = json.loads((dpo_run / "args.json").read_text())
    assert settings["beta"] == 0.1
    assert settings["lora_rank"] == 8
    assert len(losses(dpo_run)) == 3
    assert (dpo_run / "checkpoint-3" / "adapter_model.safetensors").is_file()
    assert list((dpo_run / "images").glob("*.png"))


def test_held_out_metrics_stand_before_and_after(dpo_run):
    held_out = [entry for entry in metrics(dpo_run) if any("eval" in key for key in entry)]
    assert held_out[0]["step"] == 0
    assert held_out[-1]["step"] == 3
    assert held_out[0]["eval_rewards/accuracies"] == 0.5
    assert held_out[-1]["eval_loss"] != held_out[0]["eval_loss"]


def test_the_adapter_loads_in_plain_peft_and_merges(dpo_run, tmp_path, capsys):
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adapter = dpo_run / "checkpoint-3"
    merged = tmp_path / "merged"
    words = ["--adapters", str(adapter), "--output_dir", str(merged), *MODEL[2:]]
    assert main(["merge-lora", *words]) == 0
    tokenizer = AutoTokenizer.from_pretrained(merged)
    ids = tokenizer("What is 2 + 3?", return_tensors="pt").input_ids
    with torch.no_grad():
        whole = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)(ids).logits
        parts = AutoPeftModelForCausalLM.from_pretrained(adapter, dtype=torch.float32)(ids).logits
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-4)
    assert main(["merge-lora", *words]) == 2
    assert "--exist_ok true" in capsys.readouterr().err


def test_settings_from_a_file_give_the_same_run(dpo_run, tmp_path):
    """The saved settings of a run, given as a file, repeat it."""
    file = tmp_path / "again.json"
    settings = json.loads((dpo_run / "args.json").read_text())
    settings["output_dir"] = str(tmp_path / "again")
    file.write_text(json.dumps(settings))
    assert main(["rlhf", str(file)]) == 0
    assert losses(tmp_path / "again") == losses(dpo_run)


def test_two_processes_equal_one(dpo_run, tmp_path):
    output = tmp_path / "out"
    words = ["rlhf", *MODEL, *SHORT, *DATA, "--output_dir", str(output), "--add_version", "false",
             "--gradient_accumulation_steps", "1"]  # fmt: skip
    environment = os.environ | {"NPROC_PER_NODE": "2", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "swiftrl", *words], env=environment, check=True)
    assert losses(output) == pytest.approx(losses(dpo_run), rel=1e-4)


def test_full_training_starts_from_the_same_loss(dpo_run, tmp_path):
    code, output = train(tmp_path, *DATA, "--tuner_type", "full", "--learning_rate", "1e-4")
    assert code == 0
    assert losses(output)[0] == pytest.approx(losses(dpo_run)[0], rel=1e-4)
    assert (output / "checkpoint-3" / "model.safetensors").is_file()


def test_the_frozen_reference_and_the_cached_one_agree(tmp_path):
    """A second copy as --ref_model, adapters off, and log-probabilities computed once."""
    runs = []
    for number, words in enumerate(
        ([], ["--ref_model", "builtin:tiny-instruct"], ["--precompute_ref_log_probs", "true"])
    ):
        (tmp_path / str(number)).mkdir()
        code, output = train(tmp_path / str(number), *DATA, *words)
        assert code == 0
        runs.append(losses(output))
    assert runs[1] == pytest.approx(runs[0], rel=1e-5)
    assert runs[2] == pytest.approx(runs[0], rel=1e-5)


@pytest.mark.parametrize(
    ("command", "dataset"), [("sft", "builtin:instructions#24"), ("pt", "builtin:pretrain#24")]
)
def test_likelihood_training(command, dataset, tmp_path):
    code, output = train(tmp_path, "--dataset", dataset, command=command)
    assert code == 0
    assert len(losses(output)) == 3


def test_resume_goes_on_and_ends_alike(dpo_run, tmp_path):
    code, output = train(tmp_path, *DATA, "--save_steps", "2")
    assert code == 0
    import shutil

    shutil.rmtree(output / "checkpoint-3")
    code, _ = train(tmp_path, *DATA, "--save_steps", "2", "--resume_from_checkpoint", str(output))
    assert code == 0
    assert losses(output) == losses(dpo_run)
    weights = "adapter_model.safetensors"
    resumed = (output / "checkpoint-3" / weights).read_bytes()
    assert resumed == (dpo_run / "checkpoint-3" / weights).read_bytes()


def broken(tmp_path: Path, content: bytes, name: str = "rows.jsonl") -> list[str]:
    (tmp_path / name).write_bytes(content)
    return ["--dataset", str(tmp_path / name)]


GOOD = json.dumps(
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
     "rejected_response": "c"}
)  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["rows.jsonl", "empty"]),
        (bytes(range(256)) * 8, ["rows.jsonl"]),
        (GOOD.encode() + b"\n{broken\n", ["rows.jsonl:2"]),
        (GOOD.encode() + b'\n{"messages": [{"role": "user", "content": "a"}, '
         b'{"role": "assistant", "content": "b"}]}\n', ["rows.jsonl:2", "rejected"]),
        ((GOOD.replace('"b"', '"' + "long " * 400 + '"') + "\n").encode(),
         ["rows.jsonl:1", "max_length"]),
    ],
)  # fmt: skip
def test_broken_data_is_named(content, words, tmp_path, capsys):
    code, _ = train(tmp_path, *broken(tmp_path, content), "--max_length", "64")
    err = capsys.readouterr().err
    assert code == 2, err
    assert all(word in err for word in words), err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "no/such/folder"], "no/such/folder"),
        (["--model", "builtin:tiny-instrct"], "Did you mean"),
        (["--template", "chatmll"], "chatmll"),
        (["--target_modules", "q_prj"], "q_prj"),
        (["--resume_from_checkpoint", "nowhere"], "nowhere"),
        (["--dataset", "builtin:preferencs"], "preferencs"),
        (["--dataset", "missing.jsonl"], "missing.jsonl"),
    ],
)
def test_users_mistakes_before_training(words, message, tmp_path, capsys):
    code, _ = train(tmp_path, *DATA, *words)
    err = capsys.readouterr().err
    assert code == 2, err
    assert message in err
    assert "Traceback" not in err


def test_a_folder_in_use_is_left_alone(dpo_run, capsys):
    before = sorted(path.name for path in dpo_run.iterdir())
    words = ["rlhf", *MODEL, *SHORT, *DATA, "--output_dir", str(dpo_run), "--add_version", "false"]
    assert main(words) == 2
    assert "not empty" in capsys.readouterr().err
    assert sorted(path.name for path in dpo_run.iterdir()) == before


def test_a_checkpoint_cut_short_and_changed_settings(dpo_run, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(dpo_run, copy)
    words = ["rlhf", *MODEL, *SHORT, *DATA, "--max_steps", "4", "--resume_from_checkpoint"]
    assert main([*words, str(copy / "checkpoint-3"), "--beta", "0.5"]) == 2
    assert "beta" in capsys.readouterr().err
    weights = copy / "checkpoint-3" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert main([*words, str(copy / "checkpoint-3")]) == 2
    assert "adapter_model.safetensors" in capsys.readouterr().err


def test_a_run_that_never_began_leaves_no_folder(tmp_path, capsys):
    code, output = train(tmp_path, *DATA, "--max_length", "16")
    assert code == 2
    assert "max_length" in capsys.readouterr().err
    assert not output.exists()


def test_an_evaluation_leaves_training_as_it_was(tmp_path):
    """With dropout in every layer from the first step on, evaluated before or not."""
    runs = []
    for first in ("true", "false"):
        (tmp_path / first).mkdir()
        code, output = train(
            tmp_path / first, *DATA, "--lora_dropout", "0.3", "--eval_on_start", first
        )
        assert code == 0
        runs.append([entry["grad_norm"] for entry in metrics(output) if "loss" in entry])
    assert runs[0] == runs[1]


def test_rows_with_tools_train_a_template_that_has_no_place_for_them(tmp_path, capsys):
    tool = {"name": "get_weather", "parameters": {"properties": {"city": {"type": "string"}}}}
    called = {"role": "assistant", "content": "", "tool_calls": [
        {"function": {"name": "get_weather", "arguments": {"city": "Rome"}}}]}  # fmt: skip
    turns = [{"role": "user", "content": "Rain in Rome?"}, called,
             {"role": "tool", "content": "no"},
             {"role": "assistant", "content": "No."}]  # fmt: skip
    row = json.dumps({"messages": turns, "tools": [tool]})
    data = tmp_path / "tools.jsonl"
    data.write_text(f"{row}\n" * 8)
    for words in ([], ["--template", "gemma"], ["--agent_template", "react"]):
        folder = tmp_path / "-".join(["run", *words])
        assert train(folder, "--dataset", str(data), *words, command="sft")[0] == 0
    capsys.readouterr()
    assert main(["template", *MODEL[:2], "--data", str(data), "--agent_template", "react"]) == 0
    shown = capsys.readouterr().out
    assert "\u00abAction: get_weather" in shown.replace("\n", "") or "Action: get_weather" in shown
    assert "Observation: no" in shown and "react" in shown
