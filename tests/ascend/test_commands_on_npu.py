"""Other commands on device npu: SFT, GRPO, replies, and what was trained there used on a CPU."""

import json
from pathlib import Path

import pytest

from swiftrl.cli.main import main

CPU = ["--use_cpu", "true"]
MODEL = ["--model", "builtin:tiny-instruct", "--torch_dtype", "float32"]
RUN = ["--max_steps", "3", "--logging_steps", "1", "--lora_dropout", "0", "--learning_rate", "1e-3",
       "--add_version", "false", "--per_device_train_batch_size", "4"]  # fmt: skip
GRPO = ["--rlhf_type", "grpo", "--num_generations", "4", "--max_completion_length", "12",
        "--reward_funcs", "builtin", "--temperature", "0.7"]  # fmt: skip
QUESTIONS = ["What is 2 + 3?", "Name the capital of Germany.", "Say hello."]


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def train(folder: Path, *words: str) -> list[dict]:
    places = ["--output_dir", str(folder), "--cache_dir", str(folder.parent / "cache")]
    assert main([*words, *MODEL, *RUN, *places]) == 0
    return [line for line in metrics(folder) if "loss" in line]


def replies(capsys, *words: str) -> list[str]:
    """Return the greedy answers of a model to the questions."""
    said = []
    for question in QUESTIONS:
        capsys.readouterr()
        greedy = ["--temperature", "0", "--max_new_tokens", "24", "--prompt", question]
        assert main(["infer", "--torch_dtype", "float32", *words, *greedy]) == 0
        said.append(capsys.readouterr().out)
    return said


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("npu") / "run"
    train(folder, "rlhf", "--rlhf_type", "dpo", "--dataset", "builtin:preferences#24")
    return folder / "checkpoint-3"


def test_sft_equals_the_cpus(tmp_path):
    words = ["sft", "--dataset", "builtin:instructions#24"]
    ours = train(tmp_path / "npu", *words)
    theirs = train(tmp_path / "cpu", *words, *CPU)
    assert [a["loss"] for a in ours] == pytest.approx([b["loss"] for b in theirs], rel=2e-6)


def test_grpo_writes_and_learns_what_it_does_on_a_cpu(tmp_path):
    """Random numbers of rollouts are the host's, so that a reply is the same on any device."""
    words = ["rlhf", *GRPO, "--dataset", "builtin:prompts#24"]
    ours = train(tmp_path / "npu", *words)
    theirs = train(tmp_path / "cpu", *words, *CPU)
    files = [tmp_path / name / "completions.jsonl" for name in ("npu", "cpu")]
    said = [[json.loads(line)["completion"] for line in f.read_text().splitlines()] for f in files]
    assert said[0] == said[1]
    for name in ("loss", "reward", "grad_norm"):
        expected = [line[name] for line in theirs]
        assert [line[name] for line in ours] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_greedy_replies_are_the_cpus(trained, capsys):
    """Of the model as it came, and of the adapter trained on npu, which the CPU loads."""
    for words in (MODEL[:2], ["--adapters", str(trained)]):
        assert replies(capsys, *words) == replies(capsys, *words, *CPU)


def test_an_adapter_trained_on_npu_merges_on_both_alike(trained, tmp_path):
    from safetensors.torch import load_file

    merged = []
    for place, words in (("npu", []), ("cpu", CPU)):
        target = str(tmp_path / place)
        assert main(["merge-lora", "--adapters", str(trained), "--output_dir", target, *words]) == 0
        merged.append(load_file(tmp_path / place / "model.safetensors"))
    assert merged[0].keys() == merged[1].keys()
    assert all(tensor.device.type == "cpu" for tensor in merged[0].values())
    for name, tensor in merged[1].items():
        assert (merged[0][name].float() - tensor.float()).abs().max() <= 1e-2, name


def test_a_run_of_npu_goes_on_there_as_if_never_stopped(tmp_path):
    words = ["rlhf", "--rlhf_type", "dpo", "--dataset", "builtin:preferences#24"]
    words += ["--save_steps", "2", "--lora_dropout", "0.2"]
    whole = train(tmp_path / "whole", *words)
    import shutil

    again = tmp_path / "again"
    shutil.copytree(tmp_path / "whole", again)
    shutil.rmtree(again / "checkpoint-3")
    resumed = train(again, *words, "--resume_from_checkpoint", str(again))
    assert [line["loss"] for line in resumed] == [line["loss"] for line in whole]
    file = "checkpoint-3/adapter_model.safetensors"
    assert (again / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_step_waits_for_the_device_a_bounded_number_of_times(tmp_path):
    """Each wait empties the queue of a card; there may be a few a step, never one a layer."""
    import standin_kernels

    words = ["rlhf", "--rlhf_type", "dpo", "--dataset", "builtin:preferences#24"]
    counts = []
    for steps in ("2", "4"):
        standin_kernels.forget()
        train(tmp_path / steps, *words, "--max_steps", steps, "--gradient_accumulation_steps", "1")
        counts.append(standin_kernels.waits())
    each = {name: (n - counts[0].get(name, 0)) / 2 for name, n in counts[1].items()}
    assert sum(each.values()) <= 20, each
