"""Tiny random models that see and hear, as folders like the published ones.

`python tests/tiny_media_models.py FAMILY FOLDER` writes one; `FAMILIES` names them. Weights are
random and the vocabulary is that of builtin:tiny-instruct, so that a run takes seconds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

from swiftrl.models.load import load_tokenizer
from swiftrl.models.quiet import quiet_transformers
from swiftrl.models.resolve import resolve

__all__ = ["FAMILIES", "make_folder"]

_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
_VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"
_AUDIO = "<|audio_bos|><|AUDIO|><|audio_eos|>"
_ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
_CLIP = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
_GRID = {"depth": 2, "num_heads": 4, "patch_size": 8, "spatial_merge_size": 2}
_WHISPER = {
    "d_model": 32, "encoder_layers": 1, "encoder_attention_heads": 4, "num_mel_bins": 16,
    "encoder_ffn_dim": 64,
}  # fmt: skip
_HEARD_SECONDS = 30


@dataclass(frozen=True)
class _Family:
    """How a family's folder is made.

    Attributes:
        model: function of the tokenizer that makes the random model.
        written: by kind of medium, what the chat template writes where one stands.
        processor: name of the processor's class.
        parts: settings of its image processor and feature extractor, in one file as published.
        settings: of the processor itself.
        tokens: attribute of the tokenizer -> token.
    """

    model: Callable[[Any], Any]
    written: dict[str, str]
    processor: str
    parts: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)


def _text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "max_position_embeddings": 8192, "vocab_size": len(tokenizer),
        "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id, **more,
    }  # fmt: skip


def _vision_ids(tokenizer: Any) -> dict[str, int]:
    ids = tokenizer.convert_tokens_to_ids
    return {
        "image_token_id": ids("<|image_pad|>"),
        "video_token_id": ids("<|video_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
    }


def _qwen2_vl(tokenizer: Any) -> Any:
    config = transformers.Qwen2VLConfig(
        text_config=_text(tokenizer, rope_parameters=_ROPE),
        vision_config=_GRID | {"embed_dim": 32, "hidden_size": 32},
        **_vision_ids(tokenizer),
    )
    return transformers.Qwen2VLForConditionalGeneration(config)


def _qwen2_5_vl(tokenizer: Any) -> Any:
    vision = {"hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 32}
    config = transformers.Qwen2_5_VLConfig(
        text_config=_text(tokenizer, rope_parameters=_ROPE),
        vision_config=_GRID | vision | {"window_size": 32, "fullatt_block_indexes": [1]},
        **_vision_ids(tokenizer),
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def _qwen3_vl(tokenizer: Any) -> Any:
    vision = {"hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 32}
    vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    config = transformers.Qwen3VLConfig(
        text_config=_text(tokenizer, rope_parameters=_ROPE | {"mrope_interleaved": True}),
        vision_config=_GRID | vision,
        **_vision_ids(tokenizer),
    )
    return transformers.Qwen3VLForConditionalGeneration(config)


def _llava(tokenizer: Any) -> Any:
    config = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**_text(tokenizer)),
        vision_config=transformers.CLIPVisionConfig(**_CLIP),
        image_token_index=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
    )
    return transformers.LlavaForConditionalGeneration(config)


def _gemma3(tokenizer: Any) -> Any:
    config = transformers.Gemma3Config(
        text_config=_text(tokenizer, sliding_window=16),
        vision_config=_CLIP,
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        mm_tokens_per_image=4,
    )
    return transformers.Gemma3ForConditionalGeneration(config)


def _smolvlm(tokenizer: Any) -> Any:
    config = transformers.SmolVLMConfig(
        text_config=transformers.LlamaConfig(**_text(tokenizer)),
        vision_config=_CLIP,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    return transformers.SmolVLMForConditionalGeneration(config)


def _qwen2_audio(tokenizer: Any) -> Any:
    config = transformers.Qwen2AudioConfig(
        audio_config=_WHISPER | {"max_source_positions": 50 * _HEARD_SECONDS},
        text_config=_text(tokenizer, model_type="qwen2"),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    return transformers.Qwen2AudioForConditionalGeneration(config)


def _thinker(tokenizer: Any) -> Any:
    ids = tokenizer.convert_tokens_to_ids
    vision = {"hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 32}
    vision |= {"window_size": 32, "fullatt_block_indexes": [1]}
    sound = _WHISPER | {"max_source_positions": 50 * _HEARD_SECONDS, "output_dim": 32}
    return transformers.Qwen2_5OmniThinkerConfig(
        text_config=_text(tokenizer, rope_parameters=_ROPE),
        vision_config=_GRID | vision,
        audio_config=sound | {"n_window": 50},
        image_token_index=ids("<|image_pad|>"),
        video_token_index=ids("<|video_pad|>"),
        audio_token_index=ids("<|AUDIO|>"),
        audio_start_token_id=ids("<|audio_bos|>"),
        audio_end_token_id=ids("<|audio_eos|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )


def _qwen2_5_omni(tokenizer: Any) -> Any:
    return transformers.Qwen2_5OmniThinkerForConditionalGeneration(_thinker(tokenizer))


def _with_voice(tokenizer: Any) -> Any:
    """As published: the thinker beside the parts that speak."""
    talker = _text(tokenizer, rope_parameters=_ROPE, vocab_size=64, embedding_size=32)
    spectrum = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ff_mult": 1}
    spectrum |= {"emb_dim": 16, "head_dim": 8, "num_embeds": 8}
    wave = {"mel_dim": 8, "upsample_initial_channel": 16, "upsample_rates": [2]}
    wave |= {"upsample_kernel_sizes": [4], "resblock_kernel_sizes": [3]}
    config = transformers.Qwen2_5OmniConfig(
        thinker_config=_thinker(tokenizer).to_dict(),
        talker_config=talker | {"num_hidden_layers": 1, "pad_token_id": 0},
        token2wav_config={
            "dit_config": spectrum,
            "bigvgan_config": wave | {"resblock_dilation_sizes": [[1, 3, 5]]},
        },
    )
    return transformers.Qwen2_5OmniForConditionalGeneration(config)


_QWEN_IMAGES = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "patch_size": 8,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "size": {"shortest_edge": 256, "longest_edge": 4096},
}
_WHISPER_SOUND = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 16,
    "sampling_rate": 16_000,
    "chunk_length": _HEARD_SECONDS,
}
_SQUARE = {"height": 32, "width": 32}
_OMNI_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "audio_token": "<|AUDIO|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}

FAMILIES: dict[str, _Family] = {
    "qwen2_vl": _Family(
        _qwen2_vl, {"image": _IMAGE, "video": _VIDEO}, "Qwen2VLProcessor", _QWEN_IMAGES
    ),
    "qwen2_5_vl": _Family(
        _qwen2_5_vl, {"image": _IMAGE, "video": _VIDEO}, "Qwen2_5_VLProcessor", _QWEN_IMAGES
    ),
    "qwen3_vl": _Family(
        _qwen3_vl, {"image": _IMAGE, "video": _VIDEO}, "Qwen3VLProcessor", _QWEN_IMAGES
    ),
    "llava": _Family(
        _llava,
        {"image": "<|image_pad|>\n"},
        "LlavaProcessor",
        {
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": 32},
            "crop_size": _SQUARE,
        },
        {
            "patch_size": 8,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
            "image_token": "<|image_pad|>",
        },
    ),
    "gemma3": _Family(
        _gemma3,
        {"image": "<start_of_image>"},
        "Gemma3Processor",
        {"image_processor_type": "Gemma3ImageProcessor", "size": _SQUARE},
        {"image_seq_length": 4},
        {
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
    ),
    "smolvlm": _Family(
        _smolvlm,
        {"image": "<image>"},
        "SmolVLMProcessor",
        {
            "image_processor_type": "SmolVLMImageProcessor",
            "size": {"longest_edge": 64},
            "max_image_size": {"longest_edge": 32},
        },
        {"image_seq_len": 4},
        {
            "image_token": "<image>",
            "fake_image_token": "<fake_token_around_image>",
            "global_image_token": "<global-img>",
            "end_of_utterance_token": "<end_of_utterance>",
        },
    ),
    "qwen2_audio": _Family(_qwen2_audio, {"audio": _AUDIO}, "Qwen2AudioProcessor", _WHISPER_SOUND),
    "qwen2_5_omni": _Family(
        _qwen2_5_omni,
        {"image": _IMAGE, "video": _VIDEO, "audio": _AUDIO},
        "Qwen2_5OmniProcessor",
        _QWEN_IMAGES | _WHISPER_SOUND,
        tokens=_OMNI_TOKENS,
    ),
    "qwen2_5_omni_with_voice": _Family(
        _with_voice,
        {"image": _IMAGE, "video": _VIDEO, "audio": _AUDIO},
        "Qwen2_5OmniProcessor",
        _QWEN_IMAGES | _WHISPER_SOUND,
        tokens=_OMNI_TOKENS,
    ),
}


def make_folder(family: str, folder: Path, *, seed: int = 0) -> Path:
    """Write a random model of a family with its tokenizer, template and processor settings.

    Args:
        family: key of `FAMILIES`.
        folder: made if absent.
        seed: of the weights.

    Returns:
        `folder`.
    """
    made = FAMILIES[family]
    tokenizer: Any = load_tokenizer(resolve("builtin:tiny-instruct"))
    tokenizer.add_special_tokens({"additional_special_tokens": _new_tokens(made, tokenizer)})
    tokenizer.chat_template = _chat_template(made.written)
    torch.manual_seed(seed)
    with quiet_transformers():
        made.model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if made.tokens:
        file = folder / "tokenizer_config.json"
        told = json.loads(file.read_text(encoding="utf-8"))
        _write(file, told | {"extra_special_tokens": made.tokens})
    settings = {**made.parts, "processor_class": made.processor}
    _write(folder / "preprocessor_config.json", settings)
    if made.settings:
        _write(folder / "processor_config.json", {**made.settings, **settings})
    return folder


def _new_tokens(made: _Family, tokenizer: Any) -> list[str]:
    """Return the tokens that the family's template and processor write and that are missing."""
    text = "".join(made.written.values())
    known = ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]
    wanted = [token for token in known if token in text] + list(made.tokens.values())
    vocabulary = tokenizer.get_vocab()
    return [token for token in dict.fromkeys(wanted) if token not in vocabulary]


def _chat_template(written: dict[str, str]) -> str:
    """Return ChatML that writes `written` where media stand."""
    media = "".join(
        f"{{% elif part.type == '{kind}' %}}{{{{ {text!r} }}}}" for kind, text in written.items()
    )
    return (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n"
        "{% if message.content is string %}{{ message.content }}{% else %}"
        "{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }}"
        f"{media}{{% endif %}}{{% endfor %}}{{% endif %}}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def _write(file: Path, settings: dict[str, Any]) -> None:
    file.write_text(json.dumps(settings, indent=1), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    make_folder(given.family, given.folder)
