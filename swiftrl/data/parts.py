"""A message's content: text with media tags, or the parts of OpenAI's and Hugging Face's forms."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftrl.core.messages import MEDIA_KINDS, Part
from swiftrl.data.draft import as_list, shown
from swiftrl.data.rows import BadRow

__all__ = ["Media", "MediaCursor", "parse_content"]

_REMOTE = re.compile(r"^(https?://|data:|oss://|s3://)", re.IGNORECASE)
_TAG = re.compile(r"<(image|video|audio)>")
_KEYS_OF_SOURCE = ("url", "path", "image", "video", "audio")


@dataclass(frozen=True)
class Media:
    """The media columns of a row.

    Attributes:
        items: by kind, what the row's column holds; a kind that is absent has no column, and its
            tag is then plain text.
        folder: the data file's folder, where relative paths are sought first.
    """

    items: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    folder: Path | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any], folder: Path | None) -> Media:
        """Collect the columns images, videos, audios and their singular forms."""
        items: dict[str, Sequence[Any]] = {}
        for kind in MEDIA_KINDS:
            for name in (f"{kind}s", kind):
                if name in values:
                    items[kind] = _media_list(values[name], name)
                    break
        return cls(items, folder)

    def source(self, item: Any, kind: str) -> str | bytes:
        """Return one medium's path, address or bytes.

        Raises:
            BadRow: it is in no known form, or the file does not exist.
        """
        if isinstance(item, Mapping):
            raw = item.get("bytes")
            if isinstance(raw, bytes):
                return raw
            item = next((item[key] for key in _KEYS_OF_SOURCE if item.get(key)), item)
        if isinstance(item, bytes):
            return item
        if not isinstance(item, str):
            raise BadRow(f"{kind} {shown(item)} is no path, address or bytes.")
        if _REMOTE.match(item):
            return item
        return self._existing(item.removeprefix("file://"), kind)

    def _existing(self, name: str, kind: str) -> str:
        if self.folder is not None and (self.folder / name).is_file():
            return str(self.folder / name)
        if Path(name).is_file():
            return name
        places = [str(self.folder)] if self.folder is not None else []
        places.append("the current folder")
        raise BadRow(f'{kind} "{name}" does not exist (sought in {" and ".join(places)}).')


def _media_list(value: Any, name: str) -> list[Any]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        return as_list(value, name)
    return value if isinstance(value, list) else [value]


class MediaCursor:
    """Hands out a row's media in the order of the tags."""

    def __init__(self, media: Media) -> None:
        self.media = media
        self._next = dict.fromkeys(media.items, 0)

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds the row has a column for."""
        return frozenset(self._next)

    def copy(self) -> MediaCursor:
        """Return a cursor that goes on from here independently."""
        other = MediaCursor(self.media)
        other._next.update(self._next)
        return other

    def take(self, kind: str) -> Part:
        """Return the next medium of `kind`; BadRow when there is none left."""
        place = self._next.get(kind, 0)
        items = self.media.items.get(kind, ())
        if place >= len(items):
            raise BadRow(
                f'the text has more <{kind}> tags than "{kind}s" has entries ({len(items)}).'
            )
        self._next[kind] = place + 1
        return self.part(items[place], kind)

    def part(self, item: Any, kind: str) -> Part:
        """Return the part for a medium given in place."""
        return Part(kind=kind, source=self.media.source(item, kind))  # type: ignore[arg-type]

    def untouched(self) -> list[str]:
        """Kinds that have entries of which none was taken."""
        return [kind for kind, place in self._next.items() if not place and self.media.items[kind]]

    def check_all_used(self) -> None:
        """Raise BadRow when a medium has no tag."""
        for kind, place in self._next.items():
            given = len(self.media.items[kind])
            if place < given:
                raise BadRow(
                    f'"{kind}s" has {given} entries, but the messages have {place} <{kind}> tags; '
                    "add the missing tags where the media belong."
                )


def parse_content(content: Any, cursor: MediaCursor, where: str) -> str | tuple[Part, ...]:
    """Return a message's content: a string, or parts where it holds media.

    Args:
        content: text, in which <image>, <video> and <audio> stand for the next entry of that
            media column if the row has it; or a list of parts in OpenAI's form (`text`,
            `image_url`, `input_audio`, ...) or Hugging Face's (`image` with `image`, `url` or
            `path`, or without a source: the next entry of the column).
        cursor: the row's media.
        where: for messages, e.g. "messages[2]".
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return _split_tags(content, cursor)
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        raise BadRow(f"{where}.content is {shown(content)}; expected text or a list of parts.")
    parts: list[Part] = []
    for number, item in enumerate(content):
        parts.extend(_parse_part(item, cursor, f"{where}.content[{number}]"))
    if all(part.kind == "text" for part in parts):
        return "".join(part.text or "" for part in parts)
    return tuple(parts)


def _split_tags(text: str, cursor: MediaCursor) -> str | tuple[Part, ...]:
    kinds = cursor.kinds
    if not kinds or "<" not in text:
        return text
    parts: list[Part] = []
    end = 0
    for match in _TAG.finditer(text):
        if match.group(1) not in kinds:
            continue
        if match.start() > end:
            parts.append(Part("text", text=text[end : match.start()]))
        parts.append(cursor.take(match.group(1)))
        end = match.end()
    if not parts:
        return text
    if end < len(text):
        parts.append(Part("text", text=text[end:]))
    return tuple(parts)


def _parse_part(item: Any, cursor: MediaCursor, where: str) -> list[Part]:
    if isinstance(item, str):
        return [Part("text", text=item)]
    if not isinstance(item, Mapping) or "type" not in item:
        raise BadRow(f'{where} is {shown(item)}; expected an object with "type".')
    kind = str(item["type"])
    if kind == "text":
        if not isinstance(item.get("text"), str):
            raise BadRow(f"{where}.text is {shown(item.get('text'))}; expected text.")
        return [Part("text", text=item["text"])]
    if kind == "input_audio":
        return [cursor.part(_openai_audio(item, where), "audio")]
    medium = kind.removesuffix("_url")
    if medium not in MEDIA_KINDS:
        raise BadRow(
            f'{where}.type is "{kind}"; expected text, image, image_url, video, video_url, audio, '
            "audio_url or input_audio."
        )
    source = next((item[key] for key in (kind, *_KEYS_OF_SOURCE, "bytes") if item.get(key)), None)
    return [cursor.take(medium) if source is None else cursor.part(source, medium)]


def _openai_audio(item: Mapping[str, Any], where: str) -> str:
    audio = item.get("input_audio")
    if not isinstance(audio, Mapping) or not isinstance(audio.get("data"), str):
        raise BadRow(f'{where}.input_audio needs "data" (base64) and "format".')
    return f"data:audio/{audio.get('format', 'wav')};base64,{audio['data']}"
