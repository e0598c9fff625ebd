"""Training on folders with quantised weights, from the command line to a model that plain
transformers reads."""

import json

import device
import pytest
import torch
from quantised_files import save_quantised_builtin

from swiftrl.cli.main import main
from swiftrl.quant.scheme import Scheme

HERE = [*device.flags(), "--torch_dtype", "float32"]
SHORT = ["--max_steps", "2", "--per_device_train_batch_size", "2", "--logging_steps", "1",
         "--gradient_accumulation_steps", "1", "--learning_rate", "1e-3", "--lora_dropout", "0",
         "--add_version", "false"]  # fmt: skip
RUNS = {
    "sft": ["sft", "--dataset", "builtin:instructions#8"],
    "dpo": ["rlhf", "--rlhf_type", "dpo", "--dataset", "builtin:preferences#8"],
    "grpo": ["rlhf", "--rlhf_type", "grpo", "--dataset", "builtin:instructions#8",
             "--num_generations", "2", "--max_completion_length", "8",
             "--reward_funcs", "format"],
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The built-in model in both formats, and in the weights that the GPTQ files stand for."""
    parent = tmp_path_factory.mktemp("quantised")
    return {
        "gptq": save_quantised_builtin(parent / "gptq", "gptq", Scheme(4, 32), parent / "plain"),
        "awq": save_quantised_builtin(parent / "awq", "awq", Scheme(4, 32, symmetric=False)),
        "plain": parent / "plain",
    }


def _train(model, run, output, *words):
    base = [*RUNS[run], "--model", str(model), *HERE, *SHORT, "--output_dir", str(output)]
    code = main([*base, *words])
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return code, [line["loss"] for line in lines if "loss" in line]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("name", ["gptq", "awq"])
def test_lora_trains(folders, name, run, tmp_path):
    code, losses = _train(folders[name], run, tmp_path / "out")
    assert code == 0
    assert len(losses) == 2
    assert (tmp_path / "out" / "checkpoint-2" / "adapter_model.safetensors").is_file()


def test_losses_are_those_on_the_weights_that_the_files_stand_for(folders, tmp_path):
    code, found = _train(folders["gptq"], "dpo", tmp_path / "packed")
    assert code == 0
    _, wanted = _train(folders["plain"], "dpo", tmp_path / "plain")
    # The first loss is the weights' alone; adapters then start from other random numbers.
    assert found[0] == pytest.approx(wanted[0], rel=1e-6)
    assert found == pytest.approx(wanted, rel=2e-2)


def test_an_adapter_is_used_and_merged(folders, tmp_path, capsys):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    code, _ = _train(folders["gptq"], "sft", tmp_path / "out")
    adapter = tmp_path / "out" / "checkpoint-2"
    assert code == 0
    words = ["infer", "--adapters", str(adapter), *HERE, "--max_new_tokens", "4"]
    assert main([*words, "--prompt", "What is 2 + 3?"]) == 0
    merge = ["merge-lora", "--adapters", str(adapter), *HERE]
    capsys.readouterr()
    assert main([*merge, "--output_dir", str(tmp_path / "refused")]) == 2
    assert "--dequantise true" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()
    merged = tmp_path / "merged"
    assert main([*merge, "--dequantise", "true", "--output_dir", str(merged)]) == 0
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        whole = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)
        assert not hasattr(whole.config, "quantization_config")
        base = AutoModelForCausalLM.from_pretrained(folders["plain"], dtype=torch.float32)
        parts = PeftModel.from_pretrained(base, adapter)
        torch.testing.assert_close(whole(ids).logits, parts(ids).logits, rtol=1e-4, atol=1e-4)


def test_full_training_is_refused_before_anything_loads(folders, tmp_path, capsys):
    words = [*RUNS["sft"], "--model", str(folders["awq"]), *HERE, "--tuner_type", "full"]
    assert main([*words, "--output_dir", str(tmp_path / "out")]) == 2
    assert "--tuner_type lora" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
