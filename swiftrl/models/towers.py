"""Which part of a multimodal model a module belongs to, and which parts train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from swiftrl.core.errors import ConfigError
from swiftrl.models.config import TunerConfig
from swiftrl.models.spec import ModelSpec, Towers

if TYPE_CHECKING:
    import torch

__all__ = [
    "CONVENTIONAL_TOWERS",
    "Tower",
    "frozen_towers",
    "keep_frozen_statistics",
    "prepare_full",
    "tower_of",
]

Tower = Literal["language", "vision", "aligner"]

# The names transformers gives these parts; they serve architectures the registry does not list.
CONVENTIONAL_TOWERS = Towers(
    vision=(
        "visual", "vision_tower", "vision_model", "vision_encoder", "image_tower",
        "vision_backbone", "audio_tower", "audio_encoder", "speech_encoder",
    ),
    aligner=(
        "multi_modal_projector", "visual.merger", "visual.deepstack_merger_list", "mm_projector",
        "connector", "aligner", "image_newline", "embed_vision", "embed_audio", "vision_projection",
        "vision_language_adapter", "modality_projection",
    ),
)  # fmt: skip


def tower_of(module_name: str, spec: ModelSpec | None) -> Tower:
    """Return the tower that a module or parameter belongs to, by its dotted name."""
    towers = spec.towers if spec is not None and spec.towers != Towers() else CONVENTIONAL_TOWERS
    dotted = f".{module_name}."
    if any(f".{fragment}." in dotted for fragment in towers.aligner):
        return "aligner"
    if any(f".{fragment}." in dotted for fragment in towers.vision):
        return "vision"
    return "language"


def frozen_towers(config: TunerConfig) -> dict[Tower, str]:
    """Return the towers whose weights stay as they are, with the flag that frees each."""
    frozen: dict[Tower, str] = {}
    if config.freeze_llm:
        frozen["language"] = "--freeze_llm false"
    if config.freeze_vit:
        frozen["vision"] = "--freeze_vit false"
    if config.freeze_aligner:
        frozen["aligner"] = "--freeze_aligner false"
    return frozen


def prepare_full(model: torch.nn.Module, config: TunerConfig, spec: ModelSpec | None) -> None:
    """Make a model ready for training of its weights themselves.

    Frozen towers stop requiring gradients; the weights that train are held in float32, since
    updates smaller than 2^-9 of a weight would vanish in bfloat16. The forward pass must then
    run under autocast if it is to compute in a smaller type.

    Raises:
        ConfigError: everything is frozen.
    """
    import torch

    frozen = frozen_towers(config)
    trained = 0
    for name, parameter in model.named_parameters():
        train = tower_of(name, spec) not in frozen and parameter.is_floating_point()
        parameter.requires_grad_(train)
        if train:
            parameter.data = parameter.data.to(torch.float32)
            trained += parameter.numel()
    if trained == 0:
        raise ConfigError(
            "--tuner_type full: every weight is frozen. Free a part with "
            + " or ".join(frozen.values())
            + "."
        )


def keep_frozen_statistics(model: torch.nn.Module) -> None:
    """Make frozen batch normalisation use its running statistics, and leave them as they are.

    In training mode it would take each batch's own and change the running ones: a frozen encoder
    would then compute something else, and drift.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    for module in model.modules():
        if isinstance(module, _BatchNorm) and not any(
            parameter.requires_grad for parameter in module.parameters()
        ):
            module.eval()
