"""`--to local`, and what is made before anything is published."""

import json

import pytest
import torch
from cloud_fakes import folders
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from swiftrl.cli.main import main
from swiftrl.models.builtin_models import builtin_path


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A LoRA adapter of the built-in model that changes what it says."""
    base = builtin_path("tiny-instruct")
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(0)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    tuned = get_peft_model(model, config)
    folder = tmp_path_factory.mktemp("adapter") / "checkpoint-1"
    tuned.save_pretrained(str(folder))
    (folder / "optimizer.safetensors").write_bytes(b"not to be published")
    return folder


def test_merged_read_again_and_copied(tmp_path, adapter, capsys):
    words = [
        "export", "--to", "local", "--model", "builtin:tiny-instruct", "--adapters", str(adapter),
        "--torch_dtype", "float32", "--output_dir", str(tmp_path / "merged"),
        "--destination", str(tmp_path / "disk"),
    ]  # fmt: skip
    assert main(words) == 0
    assert "Merged, written and read again: logits agree" in capsys.readouterr().out
    ids = torch.arange(5, 25)[None]
    base = AutoModelForCausalLM.from_pretrained(builtin_path("tiny-instruct"), dtype=torch.float32)
    with torch.no_grad():
        plain = base(ids).logits
        tuned = PeftModel.from_pretrained(base, str(adapter))(ids).logits
        found = AutoModelForCausalLM.from_pretrained(tmp_path / "disk", dtype=torch.float32)(ids)
    assert (plain - tuned).abs().max() > 1e-3
    torch.testing.assert_close(found.logits, tuned, atol=2e-5, rtol=2e-5)
    made = (tmp_path / "merged" / "model.safetensors").stat().st_mtime_ns
    assert main(words) == 0
    assert "was made before, of the same settings and files" in capsys.readouterr().out
    assert (tmp_path / "merged" / "model.safetensors").stat().st_mtime_ns == made


def test_an_adapter_as_it_is(tmp_path, adapter):
    words = ["export", "--to", "local", "--model", "builtin:tiny-instruct", "--merge_lora", "false"]
    assert main([*words, "--adapters", str(adapter), "--destination", str(tmp_path / "a")]) == 0
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names
    assert "optimizer.safetensors" not in names
    before = load_file(adapter / "adapter_model.safetensors")
    after = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_copies_are_checked(tmp_path, capsys):
    folder, disk = folders.model(tmp_path / "model"), tmp_path / "disk"
    words = ["export", "--to", "local", "--model", str(folder), "--destination", str(disk)]
    assert main(words) == 0
    (disk / "config.json").write_text("{}")
    assert main([*words, "--stage", "verify"]) == 2
    assert "config.json: is absent or not what was copied" in capsys.readouterr().err
    assert main([*words, "--stage", "cleanup", "--yes"]) == 0
    assert not list(disk.iterdir())


def test_mistakes_are_named(tmp_path, capsys):
    folder = folders.model(tmp_path / "model")
    words = ["export", "--model", str(folder), "--to"]
    for more, message in (
        (["locla"], "Did you mean 'local'"),
        (["local", "--stage", "register", "--destination", "x"], "--to local has no such step"),
        (["local", "--region", "x"], "--region: belongs to --to"),
        (["local", "--destination", str(folder)], "is the model's own folder"),
    ):
        assert main([*words, *more]) == 2
        assert message in capsys.readouterr().err, more
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"b.weight": "model.safetensors"}})
    )
    assert main([*words, "local", "--destination", str(tmp_path / "disk")]) == 2
    assert "names b.weight in model.safetensors; it is not there" in capsys.readouterr().err
