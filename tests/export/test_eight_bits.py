"""`swiftrl export` to formats of compressed-tensors: the folder, and weights as they come back."""

import json

import device
import pytest
import torch
from safetensors.torch import load_file

from swiftrl.cli.main import main
from swiftrl.models.builtin_models import builtin_path
from swiftrl.quant.format import FORMATS
from swiftrl.quant.scheme import Scheme

_ENDS = {
    "w8a8": ("weight", "weight_scale"),
    "fp8": ("weight", "weight_scale"),
    "compressed_tensors": ("weight_packed", "weight_scale", "weight_shape"),
}


def export(output, *words, code=0):
    small = ["--quant_n_samples", "16", "--quant_eval_samples", "8", *device.flags()]
    model = ["--model", "builtin:tiny-instruct", "--cache_dir", str(output.parent / "cache")]
    assert main(["export", *model, *small, *words, "--output_dir", str(output)]) == code


@pytest.mark.parametrize(
    ("words", "form", "scheme", "error"),
    [
        (["w8a8"], "w8a8", Scheme(8, -1), 0.03),
        (["fp8"], "fp8", Scheme(8, -1), 0.04),
        (["gptq", "--quant_format", "compressed_tensors"], "compressed_tensors", Scheme(4), 0.3),
    ],
)
def test_weights_come_back_near_the_original(tmp_path, words, form, scheme, error):
    folder = tmp_path / "out"
    export(folder, "--quant_method", *words)
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert FORMATS.get(form).from_config(config) == scheme
    assert config["ignore"] == ["lm_head"]
    before = load_file(builtin_path("tiny-instruct") / "model.safetensors")
    after = load_file(folder / "model.safetensors")
    layers = {name.rpartition(".")[0] for name in after if name.endswith(".weight_scale")}
    assert len(layers) == 28
    for layer in layers:
        weight = before[f"{layer}.weight"].float()
        own = {end: after[f"{layer}.{end}"] for end in _ENDS[form]}
        rounded = FORMATS.get(form).dequantise(own, scheme, torch.float32)
        found = float((rounded - weight).norm() / weight.norm())
        assert 1e-4 < found < error, (layer, found)


def test_weights_whose_inputs_are_rounded_are_not_trained_on(tmp_path, capsys):
    folder = tmp_path / "out"
    export(folder, "--quant_method", "fp8")
    assert "vllm serve" in capsys.readouterr().out
    words = ["--model", str(folder), "--dataset", "builtin:instructions", *device.flags()]
    assert main(["sft", *words, "--output_dir", str(tmp_path / "sft")]) == 2
    assert "float-quantized weights are made for serving" in capsys.readouterr().err


def test_w8a8_has_no_groups(tmp_path, capsys):
    words = ["--quant_method", "w8a8", "--group_size", "64", "--symmetric", "false"]
    export(tmp_path / "out", *words, code=2)
    said = capsys.readouterr().err
    assert "--group_size 64, --symmetric false: w8a8 has one scale a row" in said
