"""The answer in a reply, the reference in the columns, and whether they are the same text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from swiftrl.rlhf.rewards.reward import MissingColumn, RowFault

__all__ = ["answer_part", "normalised", "references", "same_text"]

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_AROUND = " \t\"'“”‘’`*"
_BEHIND = _AROUND + ".。,;:?、"


def references(columns: Mapping[str, Sequence[Any]]) -> list[str | None]:
    """Return the reference answers: the column `solution`, or `answer` where there is none.

    Raises:
        MissingColumn: the data have neither.
        RowFault: one is no text and no number.
    """
    name = next((name for name in ("solution", "answer") if name in columns), None)
    if name is None:
        raise MissingColumn("solution", "answer")
    found: list[str | None] = []
    for index, value in enumerate(columns[name]):
        if value is not None and not isinstance(value, (str, int, float)):
            kind = type(value).__name__
            raise RowFault(index, f"{name!r} is a {kind}; expected a text or a number.")
        text = None if value is None else str(value).strip()
        found.append(text or None)
    return found


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
