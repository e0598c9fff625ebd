"""Classes of transformers' generating auto-classes that no family lists, and why."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["COMPARED_WITH", "LEFT_OUT"]

COMPARED_WITH = "5.24"
"""The transformers release whose classes the families were last compared with."""


_ENCODER = (
    "an encoder with a causal head: its published weights fill masks and were never a decoder"
)
_HALF = "the decoder half of an encoder-decoder model, published only as a part of the whole"
_DRAFT = "drafts tokens for a larger model's speculative decoding and cannot run by itself"
_MUSIC = "generates codes of sound, not text"
_PAIR = "any encoder with any decoder: an architecture only once both are chosen"

_BY_REASON: Mapping[str, tuple[str, ...]] = {
    _ENCODER: (
        "BertLMHeadModel",
        "BigBirdForCausalLM",
        "CamembertForCausalLM",
        "Data2VecTextForCausalLM",
        "ElectraForCausalLM",
        "ErnieForCausalLM",
        "MegatronBertForCausalLM",
        "RemBertForCausalLM",
        "RoCBertForCausalLM",
        "RoFormerForCausalLM",
        "RobertaForCausalLM",
        "RobertaPreLayerNormForCausalLM",
        "XLMRobertaForCausalLM",
        "XLMRobertaXLForCausalLM",
        "XmodForCausalLM",
    ),
    _HALF: (
        "BartForCausalLM",
        "BertGenerationDecoder",
        "BigBirdPegasusForCausalLM",
        "BlenderbotForCausalLM",
        "BlenderbotSmallForCausalLM",
        "MBartForCausalLM",
        "MarianForCausalLM",
        "MvpForCausalLM",
        "PLBartForCausalLM",
        "PegasusForCausalLM",
        "ProphetNetForCausalLM",
        "TrOCRForCausalLM",
        "WhisperForCausalLM",
    ),
    _DRAFT: ("Gemma4AssistantForCausalLM", "Gemma4UnifiedAssistantForCausalLM"),
    _MUSIC: ("MusicgenForCausalLM", "MusicgenMelodyForCausalLM"),
    _PAIR: ("VisionEncoderDecoderModel",),
    "predicts masked or permuted tokens; its log-probabilities are not those of the next token": (
        "XLMWithLMHeadModel",
        "XLNetLMHeadModel",
    ),
    "trains only on rows whose length is a multiple of its hashing chunk": (
        "ReformerModelWithLMHead",
    ),
    "predicts a robot's actions, not text": ("PI0ForConditionalGeneration",),
    "has no published weights of its own": ("InstructBlipVideoForConditionalGeneration",),
}

LEFT_OUT: Mapping[str, str] = {
    architecture: reason for reason, names in _BY_REASON.items() for architecture in names
}
