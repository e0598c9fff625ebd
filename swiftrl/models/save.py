"""Model folders that plain transformers loads."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from swiftrl.core.files import atomic_directory
from swiftrl.models.quiet import quiet_transformers

__all__ = ["copy_companions", "save_model", "write_model"]

# What surrounds the weights: copied as published, since saving again may reorder or rename it.
_COMPANIONS = (
    "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json",
    "chat_template*", "generation_config.json", "*processor_config.json", "*.model", "*.tiktoken",
    "tekken.json",
)  # fmt: skip


def save_model(
    folder: Path,
    model: Any,
    tokenizer: Any,
    *,
    processor: Any = None,
    source: Path | None = None,
    max_shard_size: str = "5GB",
) -> None:
    """Write a whole model folder that appears complete or not at all.

    Args:
        folder: replaced if it exists.
        model: without adapters; weights are stored in the type they are in.
        tokenizer: saved where `source` lacks its files.
        processor: likewise.
        source: folder the model was loaded from; tokenizer, chat template and generation config
            are copied from it byte for byte.
        max_shard_size: size at which weights are split into files, e.g. "5GB".
    """
    with atomic_directory(folder) as temporary:
        write_model(
            temporary, model, tokenizer, processor=processor, source=source,
            max_shard_size=max_shard_size,
        )  # fmt: skip


def write_model(
    folder: Path,
    model: Any,
    tokenizer: Any,
    *,
    processor: Any = None,
    source: Path | None = None,
    max_shard_size: str = "5GB",
    state_dict: Mapping[str, Any] | None = None,
) -> None:
    """Write what `save_model` does into an existing folder, without its atomicity.

    Args:
        folder: exists.
        model: as in `save_model`, like all that follows.
        tokenizer: likewise.
        processor: likewise.
        source: likewise.
        max_shard_size: likewise.
        state_dict: the weights by the model's own names, where they are not the model's.
    """
    weights = None if state_dict is None else dict(state_dict)
    with _without_generation_config(model) as generation, quiet_transformers():
        model.save_pretrained(folder, max_shard_size=max_shard_size, state_dict=weights)
    if generation is not None:
        # to_json_file does not validate: published files often hold values that transformers
        # refuses to save, such as a temperature beside do_sample=false.
        generation.to_json_file(str(folder / "generation_config.json"))
    for part in (tokenizer, processor):
        if part is not None:
            part.save_pretrained(folder)
    if source is not None:
        copy_companions(source, folder)


def copy_companions(source: Path, folder: Path) -> None:
    """Copy tokenizer, chat template, processor and generation config as they are."""
    for pattern in _COMPANIONS:
        for item in source.glob(pattern):
            if item.is_file():
                shutil.copyfile(item, folder / item.name)


@contextlib.contextmanager
def _without_generation_config(model: Any) -> Iterator[Any | None]:
    generation = getattr(model, "generation_config", None)
    if generation is None:
        yield None
        return
    model.generation_config = type(generation)()
    try:
        yield generation
    finally:
        model.generation_config = generation
