"""Speech models of several makers."""

from __future__ import annotations

from swiftrl.models.layer_names import DENSE_GROUPS, FAIRSEQ, FAIRSEQ_GROUPS, LINEAR
from swiftrl.models.spec import ModelSpec, Towers, only_huggingface, same_ids

__all__ = ["SPECS"]

SPECS = (
    ModelSpec(
        name="moonshine",
        architectures=("MoonshineForConditionalGeneration",),
        hub_ids=only_huggingface("UsefulSensors/moonshine-tiny"),
        modalities=("text", "audio"),
        lora_targets=("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"),
        towers=Towers(vision=("model.encoder",)),
        capabilities=("base",),
    ),
    ModelSpec(
        name="moonshine_streaming",
        architectures=("MoonshineStreamingForConditionalGeneration",),
        hub_ids=only_huggingface("UsefulSensors/moonshine-streaming-tiny"),
        modalities=("text", "audio"),
        lora_targets=("q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"),
        towers=Towers(vision=("model.encoder",)),
        min_transformers="5.2.0",
        capabilities=("base",),
    ),
    ModelSpec(
        name="speech_to_text",
        architectures=("Speech2TextForConditionalGeneration",),
        hub_ids=only_huggingface("facebook/s2t-small-librispeech-asr"),
        modalities=("text", "audio"),
        lora_targets=FAIRSEQ,
        towers=Towers(vision=("model.encoder",)),
        capabilities=("base",),
        quant_groups=FAIRSEQ_GROUPS,
    ),
    ModelSpec(
        name="fun_asr_nano",
        architectures=("FunAsrNanoForConditionalGeneration",),
        hub_ids=only_huggingface("FunAudioLLM/Fun-ASR-Nano-2512-hf"),
        modalities=("text", "audio"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("audio_tower",), aligner=("multi_modal_projector",)),
        min_transformers="5.17.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="moss_transcribe_diarize",
        architectures=("MossTranscribeDiarizeForConditionalGeneration",),
        hub_ids=only_huggingface("hf-audio/MOSS-Transcribe-Diarize-HF"),
        modalities=("text", "audio"),
        stop_tokens=("<|im_end|>",),
        lora_targets=LINEAR,
        towers=Towers(vision=("audio_tower",), aligner=("multi_modal_projector",)),
        min_transformers="5.20.0",
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="omniasr",
        architectures=("OmniASRForConditionalGeneration",),
        hub_ids=only_huggingface("hf-audio/omniasr-llm-300m-v2"),
        modalities=("text", "audio"),
        lora_targets=LINEAR,
        towers=Towers(vision=("model.audio_tower",), aligner=("model.multi_modal_projector",)),
        min_transformers="5.24.0",
        capabilities=("base",),
        quant_groups=DENSE_GROUPS,
    ),
    ModelSpec(
        name="ultravox",
        architectures=("UltravoxModel",),
        hub_ids=only_huggingface("fixie-ai/ultravox-v0_5-llama-3_2-1b"),
        modalities=("text", "audio"),
    ),
    ModelSpec(
        name="midashenglm",
        architectures=("MiDashengLMModel",),
        hub_ids=same_ids("mispeech/midashenglm-7b"),
        modalities=("text", "audio"),
        stop_tokens=("<|im_end|>",),
    ),
    ModelSpec(
        name="moss_audio",
        architectures=("MossAudioModel",),
        hub_ids=only_huggingface(
            "OpenMOSS-Team/MOSS-Audio-4B-Instruct",
            "OpenMOSS-Team/MOSS-Audio-4B-Thinking",
            "OpenMOSS-Team/MOSS-Audio-8B-Instruct",
            "OpenMOSS-Team/MOSS-Audio-8B-Thinking",
        ),
        modalities=("text", "audio"),
        stop_tokens=("<|im_end|>",),
    ),
)
