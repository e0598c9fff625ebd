"""`swiftrl export --quant_method` with other settings: shards, adapters, layers left alone.

And what is refused before weights are read.
"""

import json

import device
import pytest
import torch
from safetensors.torch import load_file

from swiftrl.cli.main import main
from swiftrl.models.builtin_models import builtin_path

MODEL = ["--model", "builtin:tiny-instruct"]
SMALL = ["--quant_n_samples", "24", "--quant_eval_samples", "12", *device.flags()]


def export(output, *words, code=0):
    cache = ["--cache_dir", str(output.parent / "cache")]
    assert main(["export", *SMALL, *words, *cache, "--output_dir", str(output)]) == code


def tensors(folder):
    found = {}
    for path in folder.glob("*.safetensors"):
        found |= load_file(path)
    return found


def test_weights_in_shards_are_those_of_one_file(tmp_path):
    words = [*MODEL, "--quant_method", "rtn"]
    export(tmp_path / "one", *words)
    export(tmp_path / "many", *words, "--max_shard_size", "200KB")
    files = list((tmp_path / "many").glob("model-*.safetensors"))
    assert len(files) > 3
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    one, many = tensors(tmp_path / "one"), tensors(tmp_path / "many")
    assert set(index["weight_map"]) == set(many)
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
    words = ["infer", "--model", str(tmp_path / "many"), *device.flags(), "--max_new_tokens", "4"]
    assert main([*words, "--prompt", "Hi"]) == 0


def test_adapters_are_merged_before_weights_are_rounded(tmp_path):
    train = ["sft", *MODEL, "--dataset", "builtin:instructions#8", "--max_steps", "2",
             "--learning_rate", "1e-2", "--add_version", "false", *device.flags()]  # fmt: skip
    assert main([*train, "--output_dir", str(tmp_path / "lora")]) == 0
    adapters = ["--adapters", str(tmp_path / "lora" / "checkpoint-2")]
    export(tmp_path / "together", *adapters, "--quant_method", "gptq")
    merge = ["merge-lora", *adapters, "--output_dir", str(tmp_path / "merged"), *device.flags()]
    assert main(merge) == 0
    export(tmp_path / "apart", "--model", str(tmp_path / "merged"), "--quant_method", "gptq")
    together, apart = tensors(tmp_path / "together"), tensors(tmp_path / "apart")
    assert together.keys() == apart.keys()
    assert all(torch.equal(together[name], apart[name]) for name in apart)
    export(tmp_path / "without", *MODEL, "--quant_method", "gptq")
    name = "model.layers.0.mlp.down_proj.qweight"
    assert not torch.equal(together[name], tensors(tmp_path / "without")[name])


def test_layers_that_are_not_converted_stay_bit_by_bit(tmp_path):
    left = ["--modules_to_not_convert", "down_proj", "layers.0.self_attn"]
    export(tmp_path / "out", *MODEL, "--quant_method", "gptq", *left)
    found = tensors(tmp_path / "out")
    before = load_file(builtin_path("tiny-instruct") / "model.safetensors")
    same = {n for n, w in before.items() if n in found and torch.equal(w, found[n])}
    assert {f"model.layers.{i}.mlp.down_proj.weight" for i in range(4)} <= same
    assert {f"model.layers.0.self_attn.{n}_proj.weight" for n in "qkvo"} <= same
    packed = {name for name in found if name.endswith(".qweight")}
    assert len(packed) == 28 - 4 - 4
    report = json.loads((tmp_path / "out" / "quantisation_report.json").read_text())
    assert "model.layers.0.self_attn.q_proj" in report["left_alone"]
    infer = ["infer", "--model", str(tmp_path / "out"), *device.flags(), "--max_new_tokens", "4"]
    assert main([*infer, "--prompt", "Hi"]) == 0


def test_a_layer_that_is_not_there_is_named(tmp_path, capsys):
    words = ["--quant_method", "gptq", "--modules_to_not_convert", "dwon_proj"]
    export(tmp_path / "out", *MODEL, *words, code=2)
    assert "dwon_proj: no linear layer has it in its name" in capsys.readouterr().err


def test_fewer_tokens_than_inputs_are_refused_unless_forced(tmp_path, capsys):
    words = [*MODEL, "--quant_method", "gptq", "--quant_n_samples", "2"]
    export(tmp_path / "out", *words, code=2)
    said = capsys.readouterr().err
    assert "too few samples: the 2 calibration rows hold" in said
    assert "the widest layer has 384 inputs" in said
    assert not list(tmp_path.glob("*out*"))
    export(tmp_path / "out", *words, "--force", "true")
    assert "Going on (--force true)" in capsys.readouterr().err


def test_few_tokens_are_warned_of_and_do_for_methods_that_invert_nothing(tmp_path, capsys):
    few = ["--quant_n_samples", "12"]
    export(tmp_path / "gptq", *MODEL, "--quant_method", "gptq", *few)
    assert "4 tokens an input or more are better" in capsys.readouterr().err
    export(tmp_path / "awq", *MODEL, "--quant_method", "awq", "--awq_rounding", "nearest", *few)
    assert "tokens an input" not in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_named_before_weights_are_read(tmp_path, capsys):
    """/proc takes no folders from anybody, a superuser included."""
    words = [*MODEL, "--quant_method", "gptq"]
    assert main(["export", *SMALL, *words, "--output_dir", "/proc/here/out"]) == 2
    said = capsys.readouterr()
    assert "/proc/here/out: cannot be written" in said.err
    assert "calibration" not in said.out


def test_a_read_only_folder(tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o555)
    try:
        (tmp_path / "locked" / "probe").touch()
    except PermissionError:
        pass
    else:
        pytest.skip("this user may write to any folder")
    export(tmp_path / "locked" / "out", *MODEL, "--quant_method", "rtn", code=2)
    assert "cannot be written (Permission denied)" in capsys.readouterr().err


def test_a_damaged_block_of_an_interrupted_run_is_made_again(tmp_path, capsys, monkeypatch):
    from swiftrl.export import work_folder

    monkeypatch.setattr(work_folder.WorkFolder, "remove", lambda self: None)
    words = [*MODEL, "--quant_method", "gptq"]
    export(tmp_path / "out", *words)
    block = tmp_path / ".out.partial" / "block-00002.safetensors"
    block.write_bytes(block.read_bytes()[:-100])
    whole = (tmp_path / "out" / "model.safetensors").read_bytes()
    capsys.readouterr()
    export(tmp_path / "out", *words, "--exist_ok", "true")
    said = capsys.readouterr()
    assert "block-00002.safetensors: is damaged" in said.err
    assert "Going on behind 2 blocks" in said.out
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == whole
