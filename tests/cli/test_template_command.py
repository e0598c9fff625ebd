"""`swiftrl template` and base models, which publish no chat template."""

import json
import shutil
from pathlib import Path

import pytest

from swiftrl.cli.loading import find_model, load_template
from swiftrl.cli.main import main
from swiftrl.core.config import Settings
from swiftrl.models.builtin_models import builtin_path
from swiftrl.models.config import ModelConfig
from swiftrl.templates.config import TemplateConfig


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A Qwen3 without a chat template."""
    folder = tmp_path / "model"
    shutil.copytree(builtin_path("builtin:tiny-instruct"), folder)
    (folder / "chat_template.jinja").unlink()
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"query": "1 + 1?", "response": "2"}) + "\n")
    return file


def test_the_template_of_the_family_is_used(base, rows, capsys):
    assert main(["template", "--model", str(base), "--data", str(rows)]) == 0
    out = capsys.readouterr().out
    assert "The model publishes no chat template: --template chatml is used." in out
    assert "<|im_start|>assistant\n«2<|im_end|>»" in out


def test_another_may_be_named(base, rows, capsys):
    words = ["--template", "llama", "--data", str(rows)]
    assert main(["template", "--model", str(base), *words]) == 0
    out = capsys.readouterr().out
    assert "publishes no chat template" not in out
    assert "[INST] 1 + 1? [/INST]« 2 <|im_end|>»" in out


def test_where_no_family_says_it_the_nearest_are_named(base, capsys):
    config = json.loads((base / "config.json").read_text())
    config.update(architectures=["GPT2LMHeadModel"], model_type="gpt2")
    (base / "config.json").write_text(json.dumps(config))
    assert main(["template", "--model", str(base)]) == 2
    error = capsys.readouterr().err
    assert "the model has no chat template" in error
    assert "--template: chatml suit its tokens" in error


def test_plain_text_needs_no_template(base, tmp_path):
    (base / "config.json").write_text(
        (base / "config.json").read_text().replace("Qwen3ForCausalLM", "NobodysForCausalLM")
    )
    groups = {ModelConfig: ModelConfig(model=str(base)), TemplateConfig: TemplateConfig()}
    settings = Settings(groups, {}, {})
    resolved = find_model(settings[ModelConfig])
    assert load_template(settings, resolved, text_only=True).encode_text("1 + 1 = 2").num_trained
