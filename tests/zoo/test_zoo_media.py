"""A multimodal part of the conformance suite; `make test-zoo` runs all of it."""

from __future__ import annotations

import pytest
import torch
from zoo_case import Case
from zoo_checks import CHECKS
from zoo_media import found_media
from zoo_suite import ALL_CHECKS, architectures, run

from swiftrl.models.catalog import conformance
from swiftrl.models.spec import Towers

STRATA = {
    "LlavaForConditionalGeneration": ("tree", ["image"]),  # pictures of one size
    "Qwen3VLForConditionalGeneration": ("tree", ["image", "video"]),  # M-RoPE, deepstack
    "Qwen2_5_VLForConditionalGeneration": ("tree", ["image", "video"]),  # windows, seconds a frame
    "AyaVisionForConditionalGeneration": ("tree", ["image"]),  # logits without their scale
    "Gemma3ForConditionalGeneration": ("rows", ["image"]),  # pictures seen both ways
    "Idefics3ForConditionalGeneration": ("tree", ["image"]),  # tiles
    "AudioFlamingo3ForConditionalGeneration": ("tree", ["audio"]),
    "HunYuanVLForConditionalGeneration": ("tree", ["image"]),  # four axes, pictures counted
    "MllamaForConditionalGeneration": ("rows", ["image"]),  # cross-attention, rows apart
    "NemotronH_Omni_Reasoning_V3": ("rows", ["image", "audio"]),  # a language model inside
    "PaliGemmaForConditionalGeneration": ("rows", ["image"]),  # prompts read both ways
}


@pytest.mark.parametrize("architecture", STRATA)
def test_stratum(architecture):
    if architecture not in architectures():
        pytest.skip("this transformers has no such class")
    found = run(architecture)
    layout, media = STRATA[architecture]
    assert found["level"] == "tiny", found["reason"]
    assert (found["layout"], found["modalities"]) == (layout, ["text", *media])
    expected = [name for name in ALL_CHECKS if name != "tree" or layout == "tree"]
    assert list(found["checks"]) == expected


def test_a_picture_that_nobody_looks_at_is_noticed(monkeypatch):
    case = Case("LlavaForConditionalGeneration")
    whole = case.model

    def blind(seed=0):
        model = whole(seed)
        for parameter in model.model.multi_modal_projector.parameters():
            torch.nn.init.zeros_(parameter)
        return model

    monkeypatch.setattr(case, "model", blind)
    with pytest.raises(AssertionError, match="the image does not matter"):
        CHECKS["media"](case)


def test_towers_of_other_names_are_noticed(monkeypatch):
    case = Case("LlavaForConditionalGeneration")
    fields = {name: getattr(case.spec, name) for name in type(case.spec).__slots__}
    for towers, message in (
        (Towers(vision=("vision_tower",), aligner=("language_model",)), "text runs through"),
        (Towers(vision=("vision_tower",), aligner=("absent",)), "only media run through"),
    ):
        monkeypatch.setattr(case, "spec", type(case.spec)(**{**fields, "towers": towers}))
        with pytest.raises(AssertionError, match=message):
            CHECKS["towers"](case)


def test_a_model_without_pictures_says_so():
    with pytest.raises(ValueError, match="names no placeholder"):
        found_media(Case("Qwen3ForCausalLM").model(), "image")


def test_at_least_150_architectures_pass_and_40_of_them_take_more_than_text():
    passed = [entry for entry in conformance().values() if entry.get("level") == "tiny"]
    assert len(passed) >= 150
    assert sum(len(entry["modalities"]) > 1 for entry in passed) >= 40
