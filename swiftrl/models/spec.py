"""What the package knows about a family of models before looking into a folder: data, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "Capability",
    "HubId",
    "Markers",
    "Modality",
    "ModelSpec",
    "Towers",
    "only_huggingface",
    "only_modelscope",
    "same_ids",
]

Modality = Literal["text", "image", "video", "audio"]
Capability = Literal["base", "chat", "tools", "reasoning", "reward", "embedding", "reranker"]


@dataclass(frozen=True, slots=True)
class HubId:
    """Where one model is published; None where no public source shows it.

    Attributes:
        modelscope: id on modelscope.cn, e.g. "Qwen/Qwen3-0.6B".
        huggingface: id on huggingface.co.
    """

    modelscope: str | None
    huggingface: str | None

    def on(self, use_hf: bool) -> str | None:
        """Return the id on Hugging Face or on ModelScope."""
        return self.huggingface if use_hf else self.modelscope

    @property
    def known(self) -> tuple[str, ...]:
        """The ids that are known, ModelScope's first; both if they are the same."""
        return tuple(id for id in (self.modelscope, self.huggingface) if id is not None)


@dataclass(frozen=True, slots=True)
class Towers:
    """The parts of a multimodal model, as module-name fragments matched at dots.

    A module belongs to the tower whose fragment occurs in its name; the aligner is asked first,
    because projectors often sit inside the vision tower (`model.visual.merger`).

    Attributes:
        vision: encoders of pictures, video and sound, e.g. ("visual",).
        aligner: what maps their output into the language model's space, e.g. ("visual.merger",).
    """

    vision: tuple[str, ...] = ()
    aligner: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Markers:
    """What a model's folder must hold to be of a family that shares its architecture with others.

    Every condition given must hold; of several families whose conditions hold, the one with the
    most wins. A family without conditions is what is left when no other one's hold.

    Attributes:
        config: dotted key of config.json -> accepted values, e.g. {"vocab_size": (128256,)} or
            {"rope_scaling.rope_type": ("llama3",)}; None is the value of an absent key.
        tokens: tokens that the tokenizer must have, e.g. ("<|eot_id|>",).
        template_contains: texts that must occur in the chat template.
        names: fragments, in lower case, one of which must occur in the name the model is asked
            for by, the folder's name, or config.json's "_name_or_path".
    """

    config: Mapping[str, tuple[str | int | float | bool | None, ...]] = field(
        default_factory=dict, hash=False
    )
    tokens: tuple[str, ...] = ()
    template_contains: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of conditions."""
        texts = len(self.tokens) + len(self.template_contains)
        return len(self.config) + texts + bool(self.names)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model family that loads, trains and stops in the same way.

    Attributes:
        name: the value of `--model_type`, e.g. "qwen3".
        architectures: class names in config.json's "architectures".
        hub_ids: published models, for did-you-mean and listings.
        modalities: what a user turn may hold.
        template: template in templates/library for models that publish none; None means the
            model's own chat template is the only one.
        stop_tokens: tokens that end a turn besides the tokenizer's EOS.
        lora_targets: last part of the names of the language tower's linear layers.
        towers: parts of a multimodal model.
        min_transformers: first version of transformers that has the architectures; None means
            that 5.0 and every version this package runs with have them.
        requires: extra packages that the processor needs.
        markers: what tells the family from others with the same architecture.
        tool_syntax: how the model writes tool calls, a name in templates/tools; None means that
            the chat template's text shows it, or that the model was taught no calls.
        reasoning: the style of the marks around its reasoning, e.g. "think"; None is none.
        capabilities: what the published models were made for.
        quant_groups: linear layers of one decoder layer, those that share an input together, in
            order of execution, e.g. (("q_proj", "k_proj", "v_proj"), ("o_proj",)).
        trains_as: class in transformers of the part that writes text, where the published folder
            holds more, such as a voice.
    """

    name: str
    architectures: tuple[str, ...]
    hub_ids: tuple[HubId, ...] = ()
    modalities: tuple[Modality, ...] = ("text",)
    template: str | None = None
    stop_tokens: tuple[str, ...] = ()
    lora_targets: tuple[str, ...] = ()
    towers: Towers = Towers()
    min_transformers: str | None = None
    requires: tuple[str, ...] = ()
    markers: Markers = Markers()
    tool_syntax: str | None = None
    reasoning: str | None = None
    capabilities: tuple[Capability, ...] = ("chat",)
    quant_groups: tuple[tuple[str, ...], ...] = ()
    trains_as: str | None = None


def same_ids(*ids: str) -> tuple[HubId, ...]:
    """Return hub ids that are the same on ModelScope and Hugging Face."""
    return tuple(HubId(id, id) for id in ids)


def only_huggingface(*ids: str) -> tuple[HubId, ...]:
    """Return hub ids of models that no public source shows on ModelScope."""
    return tuple(HubId(None, id) for id in ids)


def only_modelscope(*ids: str) -> tuple[HubId, ...]:
    """Return hub ids of models that no public source shows on Hugging Face."""
    return tuple(HubId(id, None) for id in ids)
