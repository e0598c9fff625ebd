"""What stands for everything that decides how a template encodes, for caches."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib.metadata import version
from typing import Any

from swiftrl.templates.media import MediaEncoder
from swiftrl.templates.render import ChatRenderer
from swiftrl.templates.source import TemplateOptions, adds_bos

__all__ = ["template_fingerprint"]

_FORMAT = 2  # raised when the same input would be encoded differently


def template_fingerprint(
    tokenizer: Any, renderer: ChatRenderer, options: TemplateOptions, media: MediaEncoder | None
) -> str:
    """Return a hash that changes whenever a conversation might be encoded differently."""
    digest = hashlib.sha256(f"swiftrl template {_FORMAT}".encode())
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = (
        backend.to_str()
        if backend is not None
        else json.dumps(sorted(tokenizer.get_vocab().items()))
    )
    for item in (
        version("transformers"),
        type(tokenizer).__name__,
        vocabulary,
        json.dumps(dict(renderer.sources), sort_keys=True),
        json.dumps(dict(renderer.variables), sort_keys=True, default=str),
        json.dumps(dataclasses.asdict(options), sort_keys=True, default=str),
        str(adds_bos(tokenizer)),
        *([media.fingerprint] if media is not None else ()),
    ):
        digest.update(item.encode() + b"\0")
    return digest.hexdigest()
