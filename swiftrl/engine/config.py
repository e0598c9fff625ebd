"""Settings of generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from swiftrl.core.config import setting
from swiftrl.engine.sampling import SamplingParams

__all__ = ["GenerationConfig", "sampling_params"]


@dataclass(frozen=True)
class GenerationConfig:
    """Generation."""

    max_new_tokens: int | None = setting(
        512, "Most tokens of a reply; null is as many as the model can take."
    )
    temperature: float | None = setting(
        None,
        "Divides the logits; 0 takes the likeliest token. Unset: what the model's "
        "generation_config.json says, which is 0 where it says nothing.",
    )
    top_p: float | None = setting(
        None, "Keep the likeliest tokens up to this probability. Unset: the model's, else all."
    )
    top_k: int | None = setting(
        None, "Keep this many of the likeliest tokens; -1 is off. Unset: the model's, else off."
    )
    min_p: float | None = setting(
        None, "Drop tokens less likely than this times the likeliest. Unset: the model's, else 0."
    )
    repetition_penalty: float | None = setting(
        None, "Makes tokens that occurred less likely; 1 is off. Unset: the model's, else 1."
    )
    stop_words: list[str] = setting([], "Texts that end a reply and are left out of it.")
    seed: int | None = setting(42, "Makes replies reproducible; null draws a seed.")
    max_batch_size: int = setting(32, "Replies generated at once.")


def sampling_params(config: GenerationConfig, published: Any = None) -> SamplingParams:
    """Return what the user asked for, filled up from the model's published defaults.

    Args:
        config: the user's settings.
        published: transformers' GenerationConfig of the model. Its sampling values count only
            where it says do_sample, as they do in transformers.

    Raises:
        EngineError: a value is out of range.
    """
    samples = bool(getattr(published, "do_sample", False))

    def value(name: str, otherwise: float, *, only_sampling: bool = True) -> Any:
        asked = getattr(config, name)
        if asked is not None:
            return asked
        if only_sampling and not samples:
            return otherwise
        told = getattr(published, name, None)
        return otherwise if told is None else told

    return SamplingParams(
        temperature=value("temperature", 1.0 if samples else 0.0),
        top_p=value("top_p", 1.0),
        top_k=value("top_k", 0),
        min_p=value("min_p", 0.0),
        repetition_penalty=value("repetition_penalty", 1.0, only_sampling=False),
        max_tokens=config.max_new_tokens,
        stop=tuple(config.stop_words),
        seed=config.seed,
    )
