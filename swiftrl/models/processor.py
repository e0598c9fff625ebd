"""Processors of media and text, also where a library that only video needs is absent."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftrl.core import log
from swiftrl.models.folder import read_json
from swiftrl.models.frames import FrameProcessor, takes_frames
from swiftrl.models.load import load_processor
from swiftrl.models.quiet import quiet_transformers
from swiftrl.models.resolve import Resolved

__all__ = ["load_media_processor", "processor_of"]

# The first of these files that names a class decides.
_SETTINGS = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")


def load_media_processor(resolved: Resolved, tokenizer: Any) -> Any | None:
    """Return a model's processor with its parts and a tokenizer, or None without media.

    A processor that cannot be built whole, for want of a library for video, is built with
    `FrameProcessor` in that part's place, or without it. Where that fails too, a warning says
    what is missing, and the model is one of text.

    Args:
        resolved: the model's folder.
        tokenizer: the model's, for a processor built here.
    """
    processor = load_processor(resolved)
    if processor is None or hasattr(processor, "tokenizer"):
        return processor
    name = _class_name(resolved)
    if name is None:
        return None
    parts = {"image_processor": processor, "tokenizer": tokenizer}
    try:
        with quiet_transformers():
            return processor_of(name, parts, resolved.path)
    except (ImportError, OSError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        log.warn(f"{resolved.path}: media cannot be trained on: {name}: {reason}")
        return None


def _class_name(resolved: Resolved) -> str | None:
    """Return the processor's class: as the folder says, else the one of the model's type."""
    from transformers.models.auto.configuration_auto import model_type_to_module_name
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    for file in _SETTINGS:
        named = _settings(resolved.path / file).get("processor_class")
        if isinstance(named, str) and named in PROCESSOR_MAPPING_NAMES.values():
            return named
    model_type = str(resolved.config.get("model_type"))
    module = model_type_to_module_name(model_type)
    return PROCESSOR_MAPPING_NAMES.get(model_type) or PROCESSOR_MAPPING_NAMES.get(module)


def _settings(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}


def processor_of(name: str, parts: Mapping[str, Any], folder: Path) -> Any:
    """Return transformers' processor `name` made of these parts; picklable.

    Args:
        name: of the class.
        parts: its image_processor, tokenizer and the like, by name.
        folder: where its settings are, and a feature extractor if the class wants one.
    """
    import transformers

    whole: Any = getattr(transformers, name)
    wanted = whole.get_attributes()
    given = {key: value for key, value in parts.items() if key in wanted}
    if "feature_extractor" in wanted and "feature_extractor" not in parts:
        given["feature_extractor"] = transformers.AutoFeatureExtractor.from_pretrained(folder)
    pictures = parts["image_processor"]
    if "video_processor" in wanted:
        given["video_processor"] = FrameProcessor(pictures) if takes_frames(pictures) else None
    known = inspect.signature(whole.__init__).parameters.keys() - set(wanted)
    own = _settings(folder / _SETTINGS[0])

    class FrameWiseProcessor(whole):
        """The family's processor, video by way of pictures or not at all."""

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if argument_name == "video_processor":
                return type(argument)
            return super().check_argument_for_proper_class(argument_name, argument)

        def __reduce__(self) -> tuple[Any, ...]:
            return processor_of, (name, dict(parts), folder)

    FrameWiseProcessor.__name__ = name
    return FrameWiseProcessor(**given, **{key: own[key] for key in known & own.keys()})
