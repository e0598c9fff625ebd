"""A stratified part of the conformance suite; `make test-zoo` runs all of it."""

from __future__ import annotations

import json
import re

import pytest
import torch
from zoo_case import Case
from zoo_checks import CHECKS, MEDIA_CHECKS
from zoo_config import VOCABULARY, tiny_config
from zoo_groups import shared_inputs
from zoo_suite import ALL_CHECKS, architectures, failed, run, write

from swiftrl.models.catalog import conformance

STRATA = {
    "Qwen3ForCausalLM": "tree",
    "LlamaForCausalLM": "tree",
    "Gemma3ForCausalLM": "tree",  # sliding windows
    "GPT2LMHeadModel": "tree",  # learned positions, Conv1D
    "GPTNeoXForCausalLM": "tree",  # joint projections, parallel blocks
    "MixtralForCausalLM": "tree",  # experts
    "Cohere2ForCausalLM": "tree",  # scaled logits
    "FalconForCausalLM": "rows",  # an attention of its own
    "Glm4ForCausalLM": "tree",
    "MiniMaxForCausalLM": "rows",  # linear attention
    "GptOssForCausalLM": "tree",  # sinks; no scaled_dot_product_attention to load with
    "Qwen3NextForCausalLM": "rows",  # norms that take a gate; LoRA on stacked experts is merged
    "MambaForCausalLM": "rows",  # kernels that read weights past LoRA
    "Zamba2ForCausalLM": "rows",  # linear layers that are numbers in a list
    "OPTForCausalLM": "tree",  # learned positions in bfloat16
    "Llama4ForCausalLM": "rows",  # adds to a linear layer's result in place
    "MiniCPM3ForCausalLM": "tree",  # a last layer that is not shortened
    "LagunaForCausalLM": "tree",  # adapters whose names transformers changes on loading
    "MoshiForCausalLM": "tree",  # a cache that changes what it writes
}


@pytest.mark.parametrize("architecture", STRATA)
def test_stratum(architecture):
    if architecture not in architectures():
        pytest.skip("this transformers has no such class")
    found = run(architecture)
    assert found["level"] == "tiny", found["reason"]
    assert found["layout"] == STRATA[architecture]
    left_out = {*MEDIA_CHECKS, *(["tree"] if found["layout"] == "rows" else [])}
    expected = [name for name in ALL_CHECKS if name not in left_out]
    assert list(found["checks"]) == expected
    assert bool(found["reason"]) == (found["layout"] == "rows")


def test_tiny_configurations_keep_one_layer_of_every_kind():
    import transformers

    config = tiny_config(transformers.Qwen3NextConfig)
    assert sorted(config.layer_types) == ["full_attention", "linear_attention"]
    assert config.vocab_size == VOCABULARY
    changed = tiny_config(transformers.Gemma3Config, {"text_config": {"hidden_size": 24}})
    assert changed.text_config.hidden_size == 24
    assert len(set(changed.text_config.layer_types)) == 2


def test_checks_notice_a_broken_model(monkeypatch):
    """Each kind of breakage makes the check that is there for it fail."""
    case = Case("Qwen3ForCausalLM")
    whole = case.model

    def leaking(seed=0, **_):
        model = whole(seed)
        norm = model.model.norm
        model.model.norm.register_forward_hook(lambda m, i, o: o + o.mean(1, keepdim=True))
        assert norm is model.model.norm
        return model

    monkeypatch.setattr(case, "model", leaking)
    for name in ("forward", "rows", "generation"):
        with pytest.raises(AssertionError):
            CHECKS[name](case)

    def infinite(seed=0, **_):
        model = whole(seed)
        with torch.no_grad():
            model.lm_head.weight[5, 5] = float("inf")
        return model

    monkeypatch.setattr(case, "model", infinite)
    with pytest.raises(AssertionError, match="finite"):
        CHECKS["forward"](case)


def test_a_part_of_the_suite_keeps_the_other_results(tmp_path):
    path = tmp_path / "table.json"
    write(path, {"B": failed("no"), "A": failed("no")}, whole=True)
    write(path, {"B": failed("still no")}, whole=False)
    table = json.loads(path.read_text())
    assert list(table) == ["_versions", "A", "B"]
    assert table["B"]["reason"] == "still no"
    write(path, {"B": failed("no")}, whole=True)
    assert "A" not in json.loads(path.read_text())


def test_models_that_score_or_embed_run_and_reload_but_are_not_called_tested():
    for architecture in ("ModernBertModel", "LlamaForSequenceClassification"):
        found = run(architecture)
        assert found["checks"] == {"forward": True, "save and load": True}, found["errors"]
        assert found["level"] == "listed"
        assert "scores or embeds" in found["reason"]


def test_layers_that_share_an_input_are_found_as_the_registry_has_them():
    case = Case("LlamaForCausalLM")
    assert tuple(map(tuple, shared_inputs(case))) == case.spec.quant_groups


def test_the_table_that_is_shipped_is_consistent():
    table = conformance()
    assert re.match(r"\d+\.\d+", table["_versions"]["transformers"])
    for name, entry in table.items():
        if name == "_versions":
            continue
        assert entry["layout"] in ("tree", "rows"), name
        passed = bool(entry["modalities"]) and all(entry["checks"].values())
        assert (entry["level"] == "tiny") == passed, name
        assert passed or entry["reason"], name
