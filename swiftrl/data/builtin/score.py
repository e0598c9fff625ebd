"""The judge of the built-in tasks: is the answer right, and in the manner that was asked for?"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from swiftrl.core.errors import DataError

__all__ = ["manner_kept", "right_answer", "score"]

RIGHT_SHARE = 0.6
MANNER_SHARE = 0.4

# Widths in columns of a terminal: a Chinese character counts 2.
PLAIN_ROOM = 60
POLITE_ROOM = 110
ANSWER_ROOM = 240

_COURTESIES = {
    "en": "of course|certainly|pleasure|thank you|hope this helps|welcome|nice day|glad|happy to",
    "zh": "当然可以|很高兴|谢谢|乐意|希望对您|祝您|欢迎|您好|请您|不客气",
}
_RUDE = "obviously|look it up|这还用问|自己查"
_SENTENCE_END = re.compile(r"[!?。！？\n]|\.(?=\s|$)")
_SEPARATORS = re.compile(r"[\s,、，:：;；\"“”'()（）]+")


def score(row: Mapping[str, Any], reply: str) -> float:
    """Judge a reply to a row of a built-in set.

    Args:
        row: needs the columns `answer`, `style` ("plain", "polite" or "terse") and `language`
            ("en" or "zh"); `messages` helps where the answer is a list.
        reply: the assistant's text, special tokens removed.

    Returns:
        0.6 for the right answer plus 0.4 for the manner asked for, from 0 to 1.

    Raises:
        DataError: the row lacks a column.
    """
    missing = [name for name in ("answer", "style", "language") if name not in row]
    if missing:
        raise DataError(
            f"score() needs the columns answer, style and language; missing: {', '.join(missing)}. "
            "The built-in sets carry them."
        )
    reply = reply.strip()
    return RIGHT_SHARE * right_answer(row, reply) + MANNER_SHARE * manner_kept(row, reply)


def right_answer(row: Mapping[str, Any], reply: str) -> bool:
    """Whether a sentence of the reply ends with the answer and no sentence contradicts it.

    A sentence contradicts the answer if it holds a number that neither the prompt nor the answer
    has; words are not checked for contradiction, but the reply must not be long.
    """
    if _width(reply) > _width(str(row["answer"])) + ANSWER_ROOM:
        return False
    answer = _words(str(row["answer"]))
    sentences = _sentences(reply)
    known = {word for words in _sentences(_last_user_text(row)) for word in words} | set(answer)
    if any(w.isdecimal() and w not in known for words in sentences for w in words):
        return False
    return any(_ends_with(words, answer, known) for words in sentences)


def manner_kept(row: Mapping[str, Any], reply: str) -> bool:
    """Whether the reply is in the manner asked for: plain, polite or terse."""
    if not reply.strip():
        return False
    spare = _width(reply) - _width(str(row["answer"]))
    lowered = reply.lower()
    if re.search(_RUDE, lowered):
        return False
    if row["style"] == "terse":
        return len(_words(reply)) == len(_words(str(row["answer"]))) and spare <= 2
    if row["style"] == "polite":
        courteous = re.search(_COURTESIES[row["language"]], lowered)
        return bool(courteous) and spare <= POLITE_ROOM
    return spare <= PLAIN_ROOM


def _sentences(text: str) -> list[list[str]]:
    return [_words(part) for part in _SENTENCE_END.split(text) if part.strip()]


def _ends_with(words: list[str], answer: list[str], known: set[str]) -> bool:
    """Whether `words` end with `answer`, and what stands before is no further item of a list."""
    tail = words[-len(answer) :]
    if not answer or tail[1:] != answer[1:] or len(tail) != len(answer):
        return False
    if tail[0] != answer[0]:  # "答案是巴黎": Chinese runs words together
        return not answer[0].isascii() and tail[0].endswith(answer[0])
    before = words[: -len(answer)]
    return len(answer) == 1 or not before or not any(_ends_in(before[-1], item) for item in known)


def _ends_in(word: str, item: str) -> bool:
    return word == item or (not item.isascii() and word.endswith(item))


def _words(text: str) -> list[str]:
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub(r"(?<=[一-鿿])(?=[a-z0-9])|(?<=[a-z0-9])(?=[一-鿿])", " ", text)
    return [word for word in _SEPARATORS.split(text.strip(" .。!?！？")) if word]


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _last_user_text(row: Mapping[str, Any]) -> str:
    users = [m["content"] for m in row.get("messages", ()) if m["role"] == "user"]
    return users[-1] if users and isinstance(users[-1], str) else ""
