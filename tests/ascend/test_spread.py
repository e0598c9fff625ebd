"""--device_map: a model over two devices of one process trains and writes as on one."""

import json
from pathlib import Path

import device
import pytest
import torch
from quantised_files import save_quantised_builtin

from swiftrl.cli.main import main
from swiftrl.core.errors import ModelError
from swiftrl.models.config import ModelConfig
from swiftrl.models.load import load_model
from swiftrl.models.resolve import resolve
from swiftrl.models.spread import is_spread
from swiftrl.quant.scheme import Scheme

MEMORY = {"0": "3MiB", "1": "1GiB"}
OVER_TWO = ["--device_map", "sequential", "--max_memory", json.dumps(MEMORY)]


@pytest.fixture(autouse=True)
def both_devices():
    """Use each device once: torch_npu wants that before it runs a backward pass over both."""
    for index in (1, 0):
        torch.zeros(1, device=f"{device.name()}:{index}")


def train(folder: Path, *words: str) -> list[float]:
    code = main(
        ["rlhf", "--model", "builtin:tiny-instruct", "--torch_dtype", "float32",
         "--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2",
         "--max_steps", "3", "--learning_rate", "1e-3", "--logging_steps", "1",
         "--lora_dropout", "0", "--add_version", "false", "--output_dir", str(folder), *words]
    )  # fmt: skip
    assert code == 0
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_layers_lie_on_both():
    config = ModelConfig(device_map="sequential", max_memory=MEMORY, torch_dtype="float32")
    model = load_model(resolve("builtin:tiny-instruct"), config, device.backend()).model
    assert is_spread(model)
    assert {parameter.device.index for parameter in model.parameters()} == {0, 1}


@pytest.mark.parametrize(
    "settings",
    [["--tuner_type", "lora"], ["--tuner_type", "full"], ["--quant_method", "nf4"]],
    ids=lambda words: words[-1],
)
def test_losses_are_those_of_one_device(settings, tmp_path):
    words = ["--rlhf_type", "dpo", "--dataset", "builtin:preferences#16", *settings]
    one = train(tmp_path / "one", *words)
    two = train(tmp_path / "two", *words, *OVER_TWO)
    assert two == pytest.approx(one, abs=2e-6)
    assert abs(one[-1] - one[0]) > 1e-3


def test_packed_weights_lie_on_both_and_train_as_on_one(tmp_path):
    model = save_quantised_builtin(tmp_path / "gptq", "gptq", Scheme(4, 32))
    words = ["--rlhf_type", "dpo", "--dataset", "builtin:preferences#16", "--model", str(model)]
    one = train(tmp_path / "one", *words)
    most = ["--device_map", "sequential", "--max_memory", '{"0": "1700KiB", "1": "1GiB"}']
    two = train(tmp_path / "two", *words, *most)
    assert two == pytest.approx(one, abs=2e-6)
    assert abs(one[-1] - one[0]) > 1e-3


def test_replies_are_those_of_one_device(tmp_path):
    words = ["--rlhf_type", "grpo", "--dataset", "builtin:prompts#8", "--reward_funcs", "builtin",
             "--num_generations", "4", "--max_completion_length", "8"]  # fmt: skip
    for name, more in {"one": [], "two": OVER_TWO}.items():
        train(tmp_path / name, *words, *more)
    one, two = (
        [json.loads(line)["completion"] for line in path.read_text().splitlines()][:8]
        for path in (tmp_path / name / "completions.jsonl" for name in ("one", "two"))
    )
    assert two == one


def test_what_does_not_fit_is_refused():
    small = {"0": "1MiB", "1": "1MiB"}
    config = ModelConfig(device_map="auto", max_memory=small, torch_dtype="float32")
    with pytest.raises(ModelError, match=r"--device_map: the devices hold .* parts of the model"):
        load_model(resolve("builtin:tiny-instruct"), config, device.backend())
