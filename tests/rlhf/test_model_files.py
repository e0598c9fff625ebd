"""Checkpoints are models of plain transformers and plain PEFT."""

import device
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tiny_models import make_tokenizer
from tiny_run import Setup, make_trainer, run, tiny_config, tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from swiftrl.rlhf.model_files import save_model


def setup_of(folder, *, lora=True):
    train = {"output_dir": str(folder), "per_device_train_batch_size": 4, "max_steps": 2}
    return Setup(train=train, num_rows=14, lora=lora)


def inputs():
    return torch.arange(1, 20)[None]


def test_an_adapter_loads_in_plain_peft(tmp_path):
    trainer, result = run(setup_of(tmp_path / "run"))
    files_there = {path.name for path in result.checkpoint.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "args.json"} <= files_there
    loaded = PeftModel.from_pretrained(tiny_model(lora=False), result.checkpoint)
    trainer.policy.model.eval()
    with torch.no_grad(), trainer.policy.generating():
        expected = trainer.policy.model(input_ids=device.put(inputs())).logits.cpu()
        logits = loaded.eval()(input_ids=inputs()).logits
        assert torch.allclose(logits, expected, rtol=0, atol=1e-5)
        assert float(expected.std()) > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_full_model_loads_in_plain_transformers(tmp_path, dtype):
    trainer = make_trainer(setup_of(tmp_path / "run", lora=False))
    trainer.saver.dtype, trainer.saver.companions = dtype, [make_tokenizer()]
    folder = trainer.train().checkpoint
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    assert loaded.dtype == dtype
    assert trainer.policy.model.dtype == torch.float32
    with torch.no_grad():
        ours = {n: p.to(dtype).cpu() for n, p in trainer.policy.model.named_parameters()}
        assert {name for name, _ in loaded.named_parameters()} == ours.keys()
        assert all(torch.equal(value, ours[name]) for name, value in loaded.named_parameters())
        with trainer.policy.generating():
            expected = trainer.policy.model.eval()(input_ids=device.put(inputs())).logits.cpu()
        tolerance = 1e-5 if dtype == torch.float32 else 0.05
        logits = loaded(input_ids=inputs()).logits
        assert torch.allclose(logits.float(), expected, rtol=0, atol=tolerance)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == make_tokenizer().chat_template
    assert loaded.config.to_dict()["model_type"] == tiny_config().model_type


def test_tied_weights_stay_tied(tmp_path):
    model = tiny_model(lora=False)
    save_model(model, tmp_path, dtype=torch.bfloat16)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")


def test_frozen_weights_keep_their_type(tmp_path):
    model = tiny_model(lora=False)
    model.model.layers[0].requires_grad_(False)
    save_model(model, tmp_path, dtype=torch.bfloat16)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored["model.layers.0.mlp.up_proj.weight"].dtype == torch.float32
    assert stored["model.layers.1.mlp.up_proj.weight"].dtype == torch.bfloat16
