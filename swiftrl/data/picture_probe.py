"""A small batch with pictures, to try a multimodal model's layout on."""

from __future__ import annotations

import io

from swiftrl.core.messages import Conversation, Message, Part
from swiftrl.data.batch import TreeBatch, make_tree, pack
from swiftrl.templates.template import Template

__all__ = ["picture_probe"]

_SIZES = ((64, 48), (40, 96))


def picture_probe(template: Template) -> TreeBatch | None:
    """Return two pairs about pictures of different shapes, and one about none.

    Returns:
        None where the template takes no pictures.
    """
    if template.media is None:
        return None
    trees = []
    for size in (*_SIZES, None):
        seen = () if size is None else (Part("image", source=_gradient(size)),)
        asked = Message("user", (*seen, Part("text", text="What is it?")))
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
