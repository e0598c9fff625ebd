"""Architectures that this package cannot train as transformers has them, and why: data only."""

from __future__ import annotations

from zoo_recipes import Recipe

__all__ = ["RECIPES"]

_BY_REASON: dict[str, tuple[str, ...]] = {
    "an encoder reads the input and a decoder writes, two streams of tokens: training here is of "
    "models that read and write one stream": (
        "CanaryForConditionalGeneration",
        "CohereAsrForConditionalGeneration",
        "Florence2ForConditionalGeneration",
        "MoonshineForConditionalGeneration",
        "MoonshineStreamingForConditionalGeneration",
        "PPFormulaNetForConditionalGeneration",
        "Pix2StructForConditionalGeneration",
        "Speech2TextForConditionalGeneration",
        "T5Gemma2ForConditionalGeneration",
        "UdopForConditionalGeneration",
        "WhisperForConditionalGeneration",
    ),
    "its vision tower is a model of timm, which needs torchvision; the suite runs without both, so "
    "it was not tried": (
        "FastVlmForConditionalGeneration",
        "Gemma3nForConditionalGeneration",
        "PerceptionLMForConditionalGeneration",
    ),
    "its forward pass takes no row without a picture, and the suite, like training on mixed data, "
    "has rows of text": (
        "Blip2ForConditionalGeneration",
        "BlipForConditionalGeneration",
    ),
    "its forward pass takes no row without a picture, and wants the question a second time, in the "
    "tokens of another tokenizer": ("InstructBlipForConditionalGeneration",),
    "its forward pass takes no row without a picture, and is told by a mask beside the tokens "
    "where pictures stand: its configuration names no placeholder": (
        "Kosmos2ForConditionalGeneration",
        "Kosmos2_5ForConditionalGeneration",
    ),
    "its forward pass takes no row without a picture, which its tokens see in cross-attention "
    "under a mask that names one picture a token": ("IdeficsForVisionText2Text",),
    "it puts pictures in front of the text without a placeholder, so that its logits are of more "
    "places than there are tokens": ("GitForCausalLM",),
    "sound runs beside the text: each place holds a token of text and the sound of that moment, "
    "and no row of tokens says that": (
        "KyutaiSpeechToTextForConditionalGeneration",
        "VoxtralRealtimeForConditionalGeneration",
    ),
    "it writes blocks of tokens by removing noise step by step: a reply has no log-probability "
    "token by token": ("DiffusionGemmaForBlockDiffusion",),
    "transformers 5.24 fails on every input: behind its language model it reads `image_outputs`, "
    "which that model's output does not have": ("Llama4ForConditionalGeneration",),
}

RECIPES = {name: Recipe(beyond=reason) for reason, names in _BY_REASON.items() for name in names}
