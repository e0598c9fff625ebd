"""A small batch with media, to try a multimodal model's layout on."""

from __future__ import annotations

import importlib.util
import io
import wave

from swiftrl.core.messages import Conversation, Message, Part
from swiftrl.data.batch import TreeBatch, make_tree, pack
from swiftrl.templates.template import Template

__all__ = ["picture_probe"]

_SIZES = ((64, 48), (40, 96))


def picture_probe(template: Template) -> TreeBatch | None:
    """Return two pairs about media of different shapes for each kind, and one about none.

    Video and sound are tried where the library that reads them is there.

    Returns:
        None where the template takes no media.
    """
    if template.media is None:
        return None
    readable = importlib.util.find_spec("av") is not None
    makers = {"image": _gradient, "video": _film, "audio": _sound}
    kinds = [kind for kind in makers if kind in template.media.kinds]
    seen = [
        (Part(kind, source=makers[kind](size)),)  # type: ignore[arg-type]
        for kind in kinds
        if kind == "image" or readable
        for size in _SIZES
    ]
    trees = []
    for parts in (*seen, ()):
        asked = Message("user", (*parts, Part("text", text="What is it?")))
        chosen, rejected = Message("assistant", "It is red."), Message("assistant", "A cat.")
        pair = template.encode_pair(Conversation((asked,)), [chosen], [rejected])
        tensors = template.media.tensors(pair[0].media) if pair[0].media else None
        trees.append(make_tree(pair, media=tensors))
    return pack(trees)


def _gradient(size: tuple[int, int]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def _film(size: tuple[int, int]) -> bytes:
    """A GIF of one to two seconds."""
    from PIL import Image

    frames = [Image.linear_gradient("L").rotate(40 * n).resize(size) for n in range(size[0] // 8)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=200)
    return stream.getvalue()


def _sound(size: tuple[int, int]) -> bytes:
    """A WAV file of one tone, `size[0]` hundredths of a second long."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes(128 + n % size[1] for n in range(80 * size[0])))
    return stream.getvalue()
