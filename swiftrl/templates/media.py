"""Pictures in a conversation: how many tokens each takes, and the tensors that a model wants.

The chat template writes one placeholder token for a picture; the processor makes it the tokens
that this picture's size takes. What a placeholder becomes depends on the size alone, so it is
found with a blank picture of that size and remembered.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swiftrl.core import log
from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Conversation, Part
from swiftrl.templates.pictures import open_picture, picture_size
from swiftrl.templates.render import ChatRenderer

__all__ = ["MediaEncoder", "MediaOptions", "media_encoder", "media_of"]

_PLACEHOLDERS = ("boi_token", "image_token")
_TEXT_OUTPUTS = {"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"}


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """How media are read.

    Attributes:
        max_pixels: pictures of more pixels are scaled down; None leaves that to the processor.
        allow_urls: whether http(s) addresses are fetched.
    """

    max_pixels: int | None = None
    allow_urls: bool = False


class MediaEncoder:
    """Expands placeholders and makes tensors of pictures; picklable.

    Args:
        processor: a Hugging Face processor with an image processor and a tokenizer.
        written: what the chat template writes where a picture stands.
        options: how media are read.

    Attributes:
        placeholder_id: the token that stands for a picture in the rendered text.

    Raises:
        TemplateError: the template writes none of the processor's placeholders.
    """

    def __init__(self, processor: Any, written: str, options: MediaOptions | None = None) -> None:
        self.processor, self.options = processor, options or MediaOptions()
        names = [getattr(processor, name, None) for name in _PLACEHOLDERS]
        found = [name for name in names if isinstance(name, str) and name and name in written]
        if not found:
            raise TemplateError(
                f"the chat template writes {written!r} for a picture, which holds no placeholder "
                f"of {type(processor).__name__} ({', '.join(map(str, filter(None, names)))})."
            )
        self.placeholder = found[0]
        self.placeholder_id = processor.tokenizer.convert_tokens_to_ids(self.placeholder)
        self._expanded = functools.lru_cache(maxsize=4096)(self._expand_size)

    def __reduce__(self) -> tuple[Any, ...]:
        return MediaEncoder, (self.processor, self.placeholder, self.options)

    @property
    def fingerprint(self) -> str:
        """Changes with every setting that matters to tokens or tensors."""
        made_by = self.processor.image_processor.to_dict()
        settings = (type(self.processor).__name__, made_by, self.options.max_pixels)
        return json.dumps(settings, sort_keys=True, default=str)

    def count(self, token_ids: np.ndarray) -> int:
        """Return how many tokens of [T] `token_ids` stand for parts of pictures."""
        name = getattr(self.processor, "image_token", None) or self.placeholder
        wanted = self.processor.tokenizer.convert_tokens_to_ids(name)
        return int(np.count_nonzero(token_ids == wanted))

    def expand(
        self, ids: list[list[int]], weights: list[list[float]], parts: Sequence[Part]
    ) -> None:
        """Put each picture's tokens in the place of its placeholder, untrained; in place.

        Args:
            ids: token ids of each segment.
            weights: their loss weights.
            parts: the conversation's media in order.

        Raises:
            TemplateError: placeholders and pictures differ in number, or a picture is at fault.
        """
        found = sum(segment.count(self.placeholder_id) for segment in ids)
        if found != len(parts):
            raise TemplateError(
                f"the conversation holds {len(parts)} pictures, but its text has {found} "
                f"placeholders ({self.placeholder}); write one <image> where each picture belongs."
            )
        pictures = iter(parts)
        for index, segment in enumerate(ids if parts else ()):
            if self.placeholder_id in segment:
                ids[index], weights[index] = self._with_pictures(segment, weights[index], pictures)

    def _with_pictures(
        self, segment: list[int], weights: list[float], pictures: Any
    ) -> tuple[list[int], list[float]]:
        made: list[int] = []
        scaled: list[float] = []
        for token, weight in zip(segment, weights, strict=True):
            if token != self.placeholder_id:
                made.append(token)
                scaled.append(weight)
                continue
            own = self._tokens_of(next(pictures))
            made += own
            scaled += [0.0] * len(own)
        return made, scaled

    def _tokens_of(self, part: Part) -> tuple[int, ...]:
        options = self.options
        size = picture_size(
            part.source, max_pixels=options.max_pixels, allow_urls=options.allow_urls
        )
        return self._expanded(size)

    def _expand_size(self, size: tuple[int, int]) -> tuple[int, ...]:
        from PIL import Image

        blank = Image.new("RGB", size)
        try:
            made = self.processor(text=[self.placeholder], images=[blank], add_special_tokens=False)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise TemplateError(
                f"{type(self.processor).__name__} refuses a picture of {size[0]} x {size[1]} "
                f"pixels: {error}"
            ) from error
        return tuple(int(token) for token in np.asarray(made["input_ids"][0]).reshape(-1))

    def tensors(self, parts: Sequence[Part]) -> dict[str, Any]:
        """Return what the model takes of the pictures, by the name of its argument.

        Args:
            parts: pictures of one conversation, in order.

        Returns:
            Tensors such as pixel_values and image_grid_thw; the first dimension runs over
            pictures or their patches.
        """
        options = self.options
        pictures = [
            open_picture(part.source, max_pixels=options.max_pixels, allow_urls=options.allow_urls)
            for part in parts
        ]
        made: Mapping[str, Any] = self.processor(
            text=[self.placeholder * len(pictures)], images=pictures, return_tensors="pt"
        )
        return {name: value for name, value in made.items() if name not in _TEXT_OUTPUTS}


def media_encoder(
    renderer: ChatRenderer, processor: Any, options: MediaOptions | None
) -> MediaEncoder | None:
    """Return what expands pictures, or None where the model or its template takes none."""
    if getattr(processor, "image_processor", None) is None:
        return None
    parts = [{"type": "image"}, {"type": "text", "text": "q"}]
    try:
        shown = renderer.render([{"role": "user", "content": parts}])
        return MediaEncoder(processor, shown, options)
    except TemplateError as error:
        log.warn(f"pictures cannot be trained on: {error}")
        return None


def media_of(conversation: Conversation) -> tuple[Part, ...]:
    """Return a conversation's media in order."""
    return tuple(
        part
        for message in conversation.messages
        if not isinstance(message.content, str)
        for part in message.content
        if part.kind != "text"
    )
