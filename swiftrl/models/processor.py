"""Processors of pictures and text, also where a library that only films need is absent."""

from __future__ import annotations

from typing import Any

from swiftrl.models.load import load_processor
from swiftrl.models.resolve import Resolved

__all__ = ["load_media_processor", "without_video"]


def load_media_processor(resolved: Resolved, tokenizer: Any) -> Any | None:
    """Return a model's processor with an image processor and a tokenizer, or None without media.

    A processor that cannot be built whole, for want of a library for video, is built without that
    part.

    Args:
        resolved: the model's folder.
        tokenizer: the model's, for a processor built here.
    """
    processor = load_processor(resolved)
    if processor is None or hasattr(processor, "image_processor"):
        return processor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    name = PROCESSOR_MAPPING_NAMES.get(str(resolved.config.get("model_type")))
    return processor if name is None else without_video(name, processor, tokenizer)


def without_video(name: str, image_processor: Any, tokenizer: Any) -> Any:
    """Return transformers' processor `name` made of these two parts; picklable."""
    import transformers

    whole: Any = getattr(transformers, name)

    class PictureProcessor(whole):
        """The family's processor, pictures and text only."""

        @classmethod
        def get_attributes(cls) -> list[str]:
            return ["image_processor", "tokenizer"]

        def __reduce__(self) -> tuple[Any, ...]:
            return without_video, (name, image_processor, tokenizer)

    return PictureProcessor(image_processor=image_processor, tokenizer=tokenizer)
