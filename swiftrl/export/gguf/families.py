"""What GGUF files say of each family of models, and where its weights are laid out otherwise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from swiftrl.core.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FAMILIES", "Family", "family_of", "frequency_factors", "rope_of", "unrotated"]


@dataclass(frozen=True, slots=True)
class Family:
    """A family.

    Attributes:
        architecture: its name in GGUF.
        interleaved: whether rotary embedding turns neighbours, so that rows of queries and keys
            stand in another order than in Hugging Face's files.
    """

    architecture: str
    interleaved: bool = False


FAMILIES: Mapping[str, Family] = {
    "LlamaForCausalLM": Family("llama", interleaved=True),
    "MistralForCausalLM": Family("llama", interleaved=True),
    "Qwen2ForCausalLM": Family("qwen2"),
    "Qwen3ForCausalLM": Family("qwen3"),
}
"""By the first of config.json's architectures."""


def family_of(config: Mapping[str, Any]) -> Family:
    """Return the family of a model.

    Raises:
        ModelError: it is none of these, or uses what GGUF files of its family do not hold.
    """
    name = (config.get("architectures") or ["unknown"])[0]
    if name not in FAMILIES:
        raise ModelError(
            f"config.json: architecture {name}; GGUF is written for {', '.join(FAMILIES)}. For "
            "others use llama.cpp's convert_hf_to_gguf.py."
        )
    if config.get("quantization_config"):
        raise ModelError("config.json: the weights are quantised; give the original model.")
    if config.get("sliding_window") and config.get("use_sliding_window", True):
        raise ModelError("config.json: a sliding window; llama.cpp would attend to all tokens.")
    if config.get("mlp_bias"):
        raise ModelError("config.json: mlp_bias; GGUF files of this family hold none.")
    return FAMILIES[name]


def unrotated(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Return rows of a query or key projection in the order for rotation of neighbours.

    Hugging Face's files turn row i with row i + d/2 of a head; llama.cpp turns 2i with 2i + 1.

    Args:
        weight: [heads * d, ...].
        heads: of queries or of keys.
    """
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, half, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def rope_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return rotary embedding's settings: rope_theta, rope_type and the factors of its type."""
    nested = config.get("rope_parameters") or {}
    scaling = config.get("rope_scaling") or {}
    rope = {"rope_theta": config.get("rope_theta", 10000.0), **scaling, **nested}
    rope["rope_type"] = rope.get("rope_type") or rope.get("type") or "default"
    if rope["rope_type"] not in ("default", "linear", "yarn", "llama3"):
        raise ModelError(f"config.json: rope_type {rope['rope_type']} is not written to GGUF.")
    return rope


def frequency_factors(rope: Mapping[str, Any], head_dim: int) -> NDArray[np.float32]:
    """Return what llama.cpp divides each frequency by, for Llama 3's long context.

    Args:
        rope: settings with factor, low_freq_factor, high_freq_factor and
            original_max_position_embeddings.
        head_dim: d.

    Returns:
        [d / 2] float32.
    """
    import numpy as np

    factor, low, high = (
        float(rope[name]) for name in ("factor", "low_freq_factor", "high_freq_factor")
    )
    length = float(rope["original_max_position_embeddings"])
    factors = []
    for index in range(0, head_dim, 2):
        wavelength = 2 * math.pi * float(rope["rope_theta"]) ** (index / head_dim)
        if wavelength < length / high:
            factors.append(1.0)
        elif wavelength > length / low:
            factors.append(factor)
        else:
            smooth = (length / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, np.float32)
