"""Processors of media and text, also where a library that only video needs is absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.models.frames import FrameProcessor, takes_frames
from swiftrl.models.load import load_processor
from swiftrl.models.resolve import Resolved

__all__ = ["load_media_processor", "processor_of"]


def load_media_processor(resolved: Resolved, tokenizer: Any) -> Any | None:
    """Return a model's processor with its parts and a tokenizer, or None without media.

    A processor that cannot be built whole, for want of a library for video, is built with
    `FrameProcessor` in that part's place, or without it.

    Args:
        resolved: the model's folder.
        tokenizer: the model's, for a processor built here.
    """
    processor = load_processor(resolved)
    if processor is None or hasattr(processor, "tokenizer"):
        return processor
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    name = PROCESSOR_MAPPING_NAMES.get(str(resolved.config.get("model_type")))
    if name is None:
        return processor
    return processor_of(name, {"image_processor": processor, "tokenizer": tokenizer}, resolved.path)


def processor_of(name: str, parts: Mapping[str, Any], folder: Any = None) -> Any:
    """Return transformers' processor `name` made of these parts; picklable.

    Args:
        name: of the class.
        parts: its image_processor, tokenizer and the like, by name.
        folder: where a feature extractor that the class wants is found.
    """
    import transformers

    whole: Any = getattr(transformers, name)
    parts = dict(parts)
    if "feature_extractor" in whole.get_attributes() and "feature_extractor" not in parts:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        parts["feature_extractor"] = extractor
    pictures = parts["image_processor"]
    frames = FrameProcessor(pictures) if takes_frames(pictures) else None

    class FrameWiseProcessor(whole):
        """The family's processor, video by way of pictures or not at all."""

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name == "video_processor":
                return type(argument)
            return super().check_argument_for_proper_class(argument_name, argument)

        def __reduce__(self) -> tuple[Any, ...]:
            return processor_of, (name, parts)

    wanted = whole.get_attributes()
    given = {key: value for key, value in parts.items() if key in wanted}
    if "video_processor" in wanted:
        given["video_processor"] = frames
    return FrameWiseProcessor(**given)
