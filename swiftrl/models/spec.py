"""What the package knows about a family of models before looking into a folder: data, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["HubId", "ModelSpec", "Tested", "Towers", "same_ids"]

Tested = Literal["golden", "tiny", "listed"]


@dataclass(frozen=True, slots=True)
class HubId:
    """Where one model is published.

    Attributes:
        modelscope: id on modelscope.cn, e.g. "Qwen/Qwen3-0.6B".
        huggingface: id on huggingface.co; None means the same id.
    """

    modelscope: str
    huggingface: str | None = None

    def on(self, use_hf: bool) -> str:
        """Return the id on Hugging Face or on ModelScope."""
        return (self.huggingface or self.modelscope) if use_hf else self.modelscope


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
        min_transformers: first version of transformers that has the architectures.
        requires: extra packages that the processor needs.
        tested: "golden" (compared with the published weights), "tiny" (a random model of this
            architecture runs through training, generation, saving) or "listed" (known by name).
    """

    name: str
    architectures: tuple[str, ...]
    hub_ids: tuple[HubId, ...] = ()
    modalities: tuple[Literal["text", "image", "video", "audio"], ...] = ("text",)
    template: str | None = None
    stop_tokens: tuple[str, ...] = ()
    lora_targets: tuple[str, ...] = ()
    towers: Towers = Towers()
    min_transformers: str | None = None
    requires: tuple[str, ...] = ()
    tested: Tested = "listed"


def same_ids(*ids: str) -> tuple[HubId, ...]:
    """Return hub ids that are the same on ModelScope and Hugging Face."""
    return tuple(HubId(id) for id in ids)
