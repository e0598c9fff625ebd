"""A tokenizer as GGUF holds it: byte-level BPE."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftrl.core.errors import ModelError
from swiftrl.export.publish.weights import read_json

__all__ = ["Vocabulary", "vocabulary_of"]

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Types of tokens in GGUF."""

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)

_SPLITS = {_QWEN2: "qwen2", _LLAMA3: "llama-bpe"}
"""How text is cut before merging -> llama.cpp's name for it."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens in order of their ids.

    Attributes:
        pre: llama.cpp's name for how text is cut first.
        tokens: their texts.
        types: what each is.
        merges: "left right", in order.
        special: role ("bos", "eos", "eot", "pad") -> id.
        adds_bos: whether the first is put in front of every text.
        chat_template: Jinja, or None.
    """

    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    special: dict[str, int]
    adds_bos: bool
    chat_template: str | None


def vocabulary_of(folder: Path, size: int) -> Vocabulary:
    """Read the tokenizer of a model folder.

    Args:
        folder: of the model.
        size: rows of its embedding; ids without a token are filled up.

    Raises:
        ModelError: the tokenizer is of a kind that is not written here.
    """
    path = folder / "tokenizer.json"
    found = read_json(path)
    model = found.get("model", {})
    if model.get("type") != "BPE" or model.get("byte_fallback"):
        kind = "BPE with byte fallback" if model.get("byte_fallback") else model.get("type")
        raise ModelError(
            f"{path}: a tokenizer of kind {kind}; GGUF is written for byte-level BPE. Use "
            "llama.cpp's convert_hf_to_gguf.py."
        )
    tokens = [f"[PAD{index}]" for index in range(size)]
    types = [UNUSED] * size
    for text, index in model["vocab"].items():
        tokens[index], types[index] = text, NORMAL
    ids = dict(model["vocab"])
    for entry in found.get("added_tokens", []):
        if entry["id"] >= size:
            raise ModelError(f"{path}: token {entry['content']!r} is {entry['id']}; the model has "
                             f"{size} embeddings.")  # fmt: skip
        tokens[entry["id"]] = entry["content"]
        types[entry["id"]] = CONTROL if entry.get("special") else USER_DEFINED
        ids[entry["content"]] = entry["id"]
    settings = read_json(folder / "tokenizer_config.json")
    return Vocabulary(
        pre=_pre(found, path),
        tokens=tokens,
        types=types,
        merges=[m if isinstance(m, str) else " ".join(m) for m in model["merges"]],
        special=_special(folder, settings, ids),
        adds_bos=_adds_bos(found, settings),
        chat_template=_chat_template(folder, settings),
    )


def _pre(found: Mapping[str, Any], path: Path) -> str:
    pre = found.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", [pre])
    patterns = [step["pattern"].get("Regex") for step in steps if step.get("type") == "Split"]
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Split", "ByteLevel"] and patterns[0] in _SPLITS:
        return _SPLITS[patterns[0]]
    raise ModelError(
        f"{path}: text is cut in a way that is not known here ({json.dumps(pre)[:200]}), so "
        "llama.cpp could give other tokens. Use llama.cpp's convert_hf_to_gguf.py."
    )


def _special(folder: Path, settings: Mapping[str, Any], ids: Mapping[str, int]) -> dict[str, int]:
    special: dict[str, int] = {}
    for role in ("bos", "eos", "pad"):
        text = settings.get(f"{role}_token")
        text = text.get("content") if isinstance(text, dict) else text
        if isinstance(text, str) and text in ids:
            special[role] = ids[text]
    ends = read_json(folder / "generation_config.json").get("eos_token_id")
    others = [end for end in (ends if isinstance(ends, list) else [ends]) if end is not None]
    if others and "eos" not in special:
        special["eos"] = others[0]
    for end in others:
        if end != special.get("eos"):
            special["eot"] = end
            break
    return special


def _adds_bos(found: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Return whether the tokenizer puts a token in front of every text."""
    post = found.get("post_processor") or {}
    steps = post.get("processors", [post])
    for step in steps:
        if (
            step.get("type") == "TemplateProcessing"
            and "SpecialToken" in (step["single"] or [{}])[0]
        ):
            return True
    return bool(settings.get("add_bos_token"))


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    found = settings.get("chat_template")
    return found if isinstance(found, str) else None
