"""Media in a conversation: how many tokens each takes, and the tensors that a model wants.

The chat template writes one placeholder token for a picture, video or sound; the processor makes
it the tokens that this medium takes. What a placeholder becomes depends on the medium's size or
length alone, so it is found with a blank one of that size and remembered.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np

from swiftrl.core import log
from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Conversation, Part
from swiftrl.templates.clips import Film, FrameSampling, open_film, open_sound
from swiftrl.templates.fetch import UrlRule
from swiftrl.templates.media_source import shown_source
from swiftrl.templates.pictures import open_picture
from swiftrl.templates.render import ChatRenderer

__all__ = ["MediaEncoder", "MediaOptions", "media_encoder", "media_of"]

_PLACEHOLDERS = {
    "image": ("boi_token", "image_token"),
    "video": ("video_token",),
    "audio": ("audio_token",),
}
_ARGUMENTS = {"image": "images", "video": "videos", "audio": "audio"}
_NOT_THE_MODELS = {
    "input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids", "video_metadata",
}  # fmt: skip
"""Outputs of processors that the model does not take as media."""
_REFUSALS = (ValueError, TypeError, KeyError, AttributeError, IndexError)


@dataclass(frozen=True, slots=True)
class MediaOptions:
    """How media are read.

    Attributes:
        max_pixels: pictures of more pixels are scaled down; None leaves that to the processor.
        allow_urls: which http(s) addresses are fetched.
        sampling: which frames of videos are seen.
    """

    max_pixels: int | None = None
    allow_urls: UrlRule = False
    sampling: FrameSampling = field(default_factory=FrameSampling)


class MediaEncoder:
    """Expands placeholders and makes tensors of media; picklable.

    Args:
        processor: a Hugging Face processor with a tokenizer.
        written: by kind of medium, what the chat template writes where one stands.
        options: how media are read.

    Attributes:
        placeholders: by kind, the text of the token that stands for a medium.
        kind_of: by token id, the kind that it stands for.

    Raises:
        TemplateError: the template writes none of the processor's placeholders.
    """

    def __init__(
        self, processor: Any, written: Mapping[str, str], options: MediaOptions | None = None
    ) -> None:
        self.processor, self.options = processor, options or MediaOptions()
        self.placeholders: dict[str, str] = {}
        for kind, text in written.items():
            names = [getattr(processor, name, None) for name in _PLACEHOLDERS[kind]]
            found = [name for name in names if isinstance(name, str) and name and name in text]
            if found:
                self.placeholders[kind] = found[0]
        if not self.placeholders:
            raise TemplateError(
                f"the chat template writes {' and '.join(map(repr, written.values()))} for media, "
                f"which holds no placeholder of {type(processor).__name__}."
            )
        ids = processor.tokenizer.convert_tokens_to_ids
        self.kind_of: dict[int, str] = {ids(t): kind for kind, t in self.placeholders.items()}
        self._expanded = functools.lru_cache(maxsize=4096)(self._expand_blank)

    def __reduce__(self) -> tuple[Any, ...]:
        return MediaEncoder, (self.processor, self.placeholders, self.options)

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of media that the model takes."""
        return frozenset(self.placeholders)

    @property
    def fingerprint(self) -> str:
        """Changes with every setting that matters to tokens or tensors."""
        parts = (_subprocessor(self.processor, kind) for kind in sorted(self.placeholders))
        made_by = [part.to_dict() for part in parts if part is not None]
        options = self.options
        own = {k: v for k, v in vars(self.processor).items() if isinstance(v, (str, int, float))}
        settings = (type(self.processor).__name__, own, made_by, options.max_pixels)
        read = (sorted(self.kinds), astuple(options.sampling))
        return json.dumps((settings, read), sort_keys=True, default=str)

    def count(self, token_ids: np.ndarray) -> int:
        """Return how many tokens of [T] `token_ids` stand for parts of media."""
        names = {
            getattr(self.processor, f"{kind}_token", None) or text
            for kind, text in self.placeholders.items()
        }
        wanted = [self.processor.tokenizer.convert_tokens_to_ids(name) for name in names]
        return int(np.isin(token_ids, wanted).sum())

    def expand(
        self, ids: list[list[int]], weights: list[list[float]], parts: Sequence[Part]
    ) -> None:
        """Put each medium's tokens in the place of its placeholder, untrained; in place.

        Args:
            ids: token ids of each segment.
            weights: their loss weights.
            parts: the conversation's media in order.

        Raises:
            TemplateError: placeholders and media differ, or a medium is at fault.
        """
        found = [self.kind_of[i] for segment in ids for i in segment if i in self.kind_of]
        if found != [part.kind for part in parts]:
            raise TemplateError(
                f"the conversation holds {_listed([part.kind for part in parts])}, but its text "
                f"has placeholders for {_listed(found)}; write one <image>, <video> or <audio> "
                "where each belongs."
            )
        media = iter(parts)
        for index, segment in enumerate(ids if parts else ()):
            if not self.kind_of.keys().isdisjoint(segment):
                ids[index], weights[index] = self._with_media(segment, weights[index], media)

    def _with_media(
        self, segment: list[int], weights: list[float], media: Iterator[Part]
    ) -> tuple[list[int], list[float]]:
        made: list[int] = []
        scaled: list[float] = []
        for token, weight in zip(segment, weights, strict=True):
            if token not in self.kind_of:
                made.append(token)
                scaled.append(weight)
                continue
            own = self._tokens_of(next(media))
            made += own
            scaled += [0.0] * len(own)
        return made, scaled

    def _tokens_of(self, part: Part) -> tuple[int, ...]:
        medium = self._read(part)
        if part.kind == "image":
            shape = medium.size
        elif part.kind == "audio":
            shape = (len(medium),)
        else:
            shape = (*medium.frames.shape, medium.fps, medium.total, *medium.indices)
        try:
            return self._expanded(part.kind, shape)
        except TemplateError as error:
            raise TemplateError(f"{part.kind} {shown_source(part.source)}: {error}") from error

    def _read(self, part: Part) -> Any:
        """Return PIL's picture, a Film, or [S] float32 samples."""
        options = self.options
        if part.kind == "image":
            return open_picture(
                part.source, max_pixels=options.max_pixels, allow_urls=options.allow_urls
            )
        if part.kind == "video":
            return open_film(part.source, options.sampling, allow_urls=options.allow_urls)
        extractor = _subprocessor(self.processor, "audio")
        rate = extractor.sampling_rate
        sound = open_sound(part.source, rate, allow_urls=options.allow_urls)
        longest = getattr(extractor, "n_samples", None)
        if longest is not None and len(sound) > longest:
            raise TemplateError(
                f"audio of {len(sound) / rate:.1f} seconds is longer than the "
                f"{longest / rate:.0f} seconds that this model hears. Cut the file."
            )
        return sound

    def _expand_blank(self, kind: str, shape: tuple[Any, ...]) -> tuple[int, ...]:
        if kind == "image":
            from PIL import Image

            blank, told = Image.new("RGB", shape), f"a picture of {shape[0]} x {shape[1]} pixels"
        elif kind == "audio":
            blank, told = np.zeros(shape, dtype=np.float32), f"audio of {shape[0]} samples"
        else:
            frames = np.zeros(shape[:4], dtype=np.uint8)
            blank = Film(frames, tuple(shape[6:]), shape[4], shape[5])
            told = f"a video of {shape[0]} frames, {shape[2]} x {shape[1]} pixels each"
        try:
            made = self._processed([(kind, blank)])
        except _REFUSALS as error:
            raise TemplateError(
                f"{type(self.processor).__name__} refuses {told}: {error}"
            ) from error
        return tuple(int(token) for token in np.asarray(made["input_ids"][0]).reshape(-1))

    def _processed(self, media: Sequence[tuple[str, Any]], **options: Any) -> Mapping[str, Any]:
        """Return what the processor makes of the placeholders and their media."""
        given: dict[str, list[Any]] = {}
        for kind, medium in media:
            given.setdefault(kind, []).append(medium)
        named: dict[str, Any] = {_ARGUMENTS[kind]: items for kind, items in given.items()}
        if "video" in given:
            named["videos"] = [film.frames for film in given["video"]]
            told = [film.metadata() for film in given["video"]]
            named["videos_kwargs"] = {"video_metadata": told, "do_sample_frames": False}
        if "audio" in given:
            rate = _subprocessor(self.processor, "audio").sampling_rate
            named["audio_kwargs"] = {"sampling_rate": rate}
        text = "".join(self.placeholders[kind] for kind, _ in media)
        return self.processor(text=[text], add_special_tokens=False, **named, **options)

    def tensors(self, parts: Sequence[Part]) -> dict[str, Any]:
        """Return what the model takes of the media, by the name of its argument.

        Args:
            parts: media of one conversation, in order.

        Returns:
            Tensors such as pixel_values and image_grid_thw; the first dimension runs over media
            or their patches.

        Raises:
            TemplateError: a medium is at fault.
        """
        media = [(part.kind, self._read(part)) for part in parts]
        made = self._processed(media, return_tensors="pt")
        tensors = {name: value for name, value in made.items() if name not in _NOT_THE_MODELS}
        if "video_second_per_grid" in tensors:
            tensors["video_second_per_grid"] = self._grid_seconds(media)
        return tensors

    def _grid_seconds(self, media: Sequence[tuple[str, Any]]) -> Any:
        """[videos] float32 seconds between temporal patches, of the frames that were sampled.

        Qwen2.5-Omni's processor would take 2 frames a second for granted.
        """
        import torch

        frames = _subprocessor(self.processor, "video").temporal_patch_size
        seconds = [frames / film.sampled_fps for kind, film in media if kind == "video"]
        return torch.tensor(seconds, dtype=torch.float32)


def _subprocessor(processor: Any, kind: str) -> Any:
    """Return the processor's part for a kind of media, or None."""
    names = {
        "image": ("image_processor",),
        "video": ("video_processor",),
        "audio": ("audio_processor", "feature_extractor"),
    }
    found = (getattr(processor, name, None) for name in names[kind])
    return next((part for part in found if part is not None), None)


def _listed(kinds: Sequence[str]) -> str:
    counts = {kind: kinds.count(kind) for kind in kinds}
    return ", ".join(f"{number} {kind}" for kind, number in counts.items()) or "no media"


def media_encoder(
    renderer: ChatRenderer, processor: Any, options: MediaOptions | None
) -> MediaEncoder | None:
    """Return what expands media, or None where the model or its template takes none."""
    if processor is None or getattr(processor, "tokenizer", None) is None:
        return None
    kinds = [kind for kind in _PLACEHOLDERS if _subprocessor(processor, kind) is not None]
    written: dict[str, str] = {}
    for kind in kinds:
        parts = [{"type": kind}, {"type": "text", "text": "q"}]
        try:
            written[kind] = renderer.render([{"role": "user", "content": parts}])
        except TemplateError as error:
            log.warn(f"{kind} cannot be trained on: {error}")
    if not written:
        return None
    try:
        return MediaEncoder(processor, written, options)
    except TemplateError as error:
        log.warn(f"media cannot be trained on: {error}")
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
