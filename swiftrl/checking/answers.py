"""The answer in a reply, and whether two answers are the same text."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["answer_part", "normalised", "same_text"]

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_AROUND = " \t\"'“”‘’`*"
_BEHIND = _AROUND + ".。,;:?、"


def answer_part(text: str) -> str:
    """Return what stands in the last <answer>, or else all that follows the thoughts.

    Thoughts that were begun and not ended leave nothing.
    """
    before, ended, rest = text.rpartition("</think>")
    if not ended and "<think>" in before + rest:
        return ""
    marked = _ANSWER.findall(rest)
    return (marked[-1] if marked else rest).strip()


def same_text(reply: str, reference: str) -> bool:
    """Whether a reply's answer part, or its last line with text in it, is the reference.

    Case, width of characters, spaces, quotes, marks around and thousands' commas don't count.
    """
    part = answer_part(reply)
    wanted = normalised(answer_part(reference) or reference)
    lines = [line for line in part.splitlines() if line.strip()]
    return bool(lines) and wanted in (normalised(part), normalised(lines[-1]))


def normalised(text: str) -> str:
    """Return a text as `same_text` compares it."""
    text = unicodedata.normalize("NFKC", text).casefold()
    text = " ".join(_THOUSANDS.sub("", text).split())
    bare = text.lstrip(_AROUND).rstrip(_BEHIND)
    calm = bare.rstrip("!")
    if not calm.endswith((*"0123456789)",)):  # 5! is a number
        bare = calm.rstrip(_BEHIND)
    return bare or text
