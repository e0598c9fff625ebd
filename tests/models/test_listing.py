"""What `swiftrl models` prints."""

import json

import pytest

from swiftrl.cli.main import main
from swiftrl.models.catalog import all_specs
from swiftrl.models.derived import derived
from swiftrl.models.remote_code import needs_remote_code
from swiftrl.models.spec import ModelSpec


def listed(capsys, *words) -> dict:
    assert main(["models", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_has_one_entry_per_id_and_their_counts(capsys):
    found = listed(capsys)
    models = found["models"]
    assert len(models) == sum(len(spec.hub_ids) for spec in all_specs())
    assert len(models) == found["text_ids"] + found["multimodal_ids"]
    assert found["text_ids"] == sum(model["modalities"] == ["text"] for model in models)
    assert found["huggingface_only"] == sum(model["modelscope"] is None for model in models)
    assert found["modelscope_only"] == sum(model["huggingface"] is None for model in models)
    assert found["remote_code_ids"] == sum(model["remote_code"] for model in models)
    assert found["families"] == len(all_specs())
    one = next(m for m in models if m["huggingface"] == "meta-llama/Llama-3.2-1B-Instruct")
    assert one["modelscope"] == "LLM-Research/Llama-3.2-1B-Instruct"
    assert one["model_type"] == "llama"


@pytest.mark.parametrize("modality", ["text", "image", "video", "audio", "vision"])
def test_modality_selects(capsys, modality):
    models = listed(capsys, "--modality", modality)["models"]
    assert models
    for model in models:
        taken = set(model["modalities"])
        if modality == "text":
            assert taken == {"text"}
        else:
            assert taken & ({"image", "video"} if modality == "vision" else {modality})


def test_search_takes_every_word_in_any_case(capsys):
    models = listed(capsys, "--search", "QWEN3 0.6b")["models"]
    assert "Qwen/Qwen3-0.6B" in [model["modelscope"] for model in models]
    for model in models:
        text = json.dumps(model).lower()
        assert "qwen3" in text
        assert "0.6b" in text
    assert listed(capsys, "--search", "no-such-model")["models"] == []


def test_the_table_shows_ids_when_searching(capsys):
    assert main(["models", "--search", "Llama-3.2-1B-Instruct"]) == 0
    out = capsys.readouterr().out
    assert "LLM-Research/Llama-3.2-1B-Instruct (HF: meta-llama/Llama-3.2-1B-Instruct)" in out
    assert main(["models", "--search", "no-such-model"]) == 0
    assert "No listed model matches" in capsys.readouterr().out


def test_an_id_on_one_hub_alone_says_so(capsys):
    models = {m["huggingface"] or m["modelscope"]: m for m in listed(capsys)["models"]}
    assert models["allenai/OLMo-1B-hf"]["modelscope"] is None
    assert models["iic/ModelScope-Agent-7B"]["huggingface"] is None
    assert main(["models", "--search", "OLMo-1B-hf"]) == 0
    assert "allenai/OLMo-1B-hf (HF only)" in capsys.readouterr().out
    assert main(["models", "--search", "ModelScope-Agent-7B"]) == 0
    assert "iic/ModelScope-Agent-7B (ModelScope only)" in capsys.readouterr().out


def test_of_says_which_family_a_config_is(capsys, tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"architectures": ["Qwen3ForCausalLM"]}')
    assert {model["model_type"] for model in listed(capsys, "--of", str(file))["models"]} == {
        "qwen3"
    }
    file.write_text('{"architectures": ["NobodysForCausalLM"]}')
    assert main(["models", "--of", str(file)]) == 2
    assert "chat template of its own trains all the same" in capsys.readouterr().err


def test_remote_code_is_refused_before_a_download(capsys):
    spec = next(spec for spec in all_specs() if needs_remote_code(spec) and spec.hub_ids)
    words = ["template", "--model", spec.hub_ids[0].known[0]]
    assert main(words) == 2
    assert "never run" in capsys.readouterr().err


def test_what_an_entry_leaves_open_follows_from_template_or_architecture(capsys):
    models = listed(capsys)["models"]
    named = next(model for model in models if model["huggingface"] == "Qwen/Qwen3-0.6B")
    assert named["stop_tokens"] and named["sources"]["stop_tokens"] == "registry"
    for model in models:
        sources = model["sources"]
        assert set(sources) == {"stop_tokens", "tool_syntax", "reasoning", "quant_groups"}
        for name, source in sources.items():
            # A value has a place that it comes from, and one that says so has a value.
            assert bool(model[name]) == (source not in ("chat template", "eos", "none")), name
        if not model["remote_code"]:
            assert model["min_transformers"]
        assert (model["untested_because"] is None) == (model["tested"] != "listed")


def test_a_library_template_tells_what_ends_a_reply():
    known = derived(ModelSpec("x", ("A",), template="chatml"))
    assert known.stop_tokens == ("<|im_end|>",)
    assert known.sources["stop_tokens"] == "library template"
    assert derived(ModelSpec("x", ("A",), template="zephyr")).stop_tokens == ()  # its EOS
    assert derived(ModelSpec("x", ("A",), capabilities=("base",))).sources["stop_tokens"] == "eos"
    loaded = derived(ModelSpec("x", ("A",), capabilities=("chat", "tools")))
    assert loaded.sources["tool_syntax"] == loaded.sources["reasoning"] == "chat template"


def test_layers_that_share_an_input_are_those_that_the_suite_saw(monkeypatch):
    seen = {"A": {"quant_groups": [["q", "k"], ["o"]]}}
    monkeypatch.setattr("swiftrl.models.derived.conformance", lambda: seen)
    assert derived(ModelSpec("x", ("A",))).quant_groups == (("q", "k"), ("o",))
    named = derived(ModelSpec("x", ("A",), quant_groups=(("q",),)))
    assert named.quant_groups == (("q",),) and named.sources["quant_groups"] == "registry"
