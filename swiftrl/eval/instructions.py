"""Instructions that a program can check: was a reply written as it was told to be?

The instructions and their names are those of IFEval (Zhou et al. 2023, arXiv:2311.07911, table 1).
Sentences are split at marks that end them, where the authors use a trained splitter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

__all__ = ["CHECKS", "followed", "loose_forms"]


def _related(found: int, wanted: int, relation: str) -> bool:
    if relation not in ("at least", "less than"):
        raise ValueError(f"the relation {relation!r}; expected 'at least' or 'less than'")
    return found >= wanted if relation == "at least" else found < wanted


def _occurs(word: str, reply: str) -> int:
    return len(re.findall(re.escape(word), reply, re.IGNORECASE))


def _words(reply: str) -> list[str]:
    return re.findall(r"\w+", reply)


def _sentences(reply: str) -> int:
    return len([part for part in re.split(r"(?<=[.!?。！？])[\"')\]]*\s+", reply) if part.strip()])


def _paragraphs(reply: str, mark: str) -> list[str] | None:
    """Return the parts between marks; None if one within is empty."""
    parts = [part.strip() for part in re.split(mark, reply)]
    if parts and not parts[0]:
        parts = parts[1:]
    if parts and not parts[-1]:
        parts = parts[:-1]
    return None if any(not part for part in parts) else parts


def _nth_first_word(
    reply: str, num_paragraphs: int, nth_paragraph: int, first_word: str, **_: Any
) -> bool:
    parts = [part for part in reply.split("\n\n") if part.strip()]
    if len(parts) != num_paragraphs or nth_paragraph > len(parts):
        return False
    word = parts[nth_paragraph - 1].strip().split()[0].strip("\"'“‘(*").rstrip(".,?!\"'”’)*:;")
    return word.lower() == first_word.lower()


def _two_responses(reply: str, **_: Any) -> bool:
    parts = _paragraphs(reply, r"\*{6}")
    return parts is not None and len(parts) == 2 and parts[0] != parts[1]


def _is_json(reply: str, **_: Any) -> bool:
    text = re.sub(r"^```(?:json)?|```$", "", reply.strip(), flags=re.IGNORECASE).strip()
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _postscript(reply: str, postscript_marker: str, **_: Any) -> bool:
    letters = re.sub(r"[^a-z]", "", postscript_marker.lower())
    spaced = r"\.?\s?".join(letters)
    return re.search(rf"(?m)(?:^|\s){spaced}\b", reply.lower()) is not None


def _highlights(reply: str, num_highlights: int, **_: Any) -> bool:
    once = re.findall(r"(?<!\*)\*([^\n*]+)\*(?!\*)", reply)
    twice = re.findall(r"\*\*([^\n*]+)\*\*", reply)
    return sum(bool(text.strip()) for text in [*once, *twice]) >= num_highlights


CHECKS: dict[str, Callable[..., bool]] = {
    "keywords:existence": lambda reply, keywords, **_: all(_occurs(w, reply) for w in keywords),
    "keywords:frequency": lambda reply, keyword, frequency, relation, **_: _related(
        _occurs(keyword, reply), frequency, relation
    ),
    "keywords:forbidden_words": lambda reply, forbidden_words, **_: (
        not any(
            re.search(rf"\b{re.escape(word)}\b", reply, re.IGNORECASE) for word in forbidden_words
        )
    ),
    "keywords:letter_frequency": lambda reply, letter, let_frequency, let_relation, **_: _related(
        reply.lower().count(letter.lower()), let_frequency, let_relation
    ),
    "length_constraints:number_sentences": lambda reply, num_sentences, relation, **_: _related(
        _sentences(reply), num_sentences, relation
    ),
    "length_constraints:number_paragraphs": lambda reply, num_paragraphs, **_: (
        len(_paragraphs(reply, r"\s?\*{3}\s?") or []) == num_paragraphs
    ),
    "length_constraints:number_words": lambda reply, num_words, relation, **_: _related(
        len(_words(reply)), num_words, relation
    ),
    "length_constraints:nth_paragraph_first_word": _nth_first_word,
    "detectable_content:number_placeholders": lambda reply, num_placeholders, **_: (
        len(re.findall(r"\[.*?\]", reply)) >= num_placeholders
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": lambda reply, num_bullets, **_: (
        len(re.findall(r"(?m)^\s*(?:\*(?!\*)|-)\s*\S", reply)) == num_bullets
    ),
    "detectable_format:constrained_response": lambda reply, **_: any(
        f"My answer is {word}." in reply for word in ("yes", "no", "maybe")
    ),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": lambda reply, section_spliter, num_sections, **_: (
        len(re.findall(rf"\s?{re.escape(section_spliter)}\s?\d+\s?", reply)) >= num_sections
    ),
    "detectable_format:json_format": _is_json,
    "detectable_format:title": lambda reply, **_: (
        re.search(r"<<\s*[^\n<>]*[^\s<>][^\n<>]*>>", reply) is not None
    ),
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": lambda reply, prompt_to_repeat, **_: (
        reply.strip().lower().startswith(prompt_to_repeat.strip().lower())
    ),
    "startend:end_checker": lambda reply, end_phrase, **_: (
        reply.strip().strip('"').lower().endswith(end_phrase.strip().lower())
    ),
    "startend:quotation": lambda reply, **_: (
        len(reply.strip()) > 1 and reply.strip()[0] == '"' == reply.strip()[-1]
    ),
    "change_case:capital_word_frequency": (
        lambda reply, capital_frequency, capital_relation, **_: _related(
            sum(word.isupper() for word in reply.split()), capital_frequency, capital_relation
        )
    ),
    "change_case:english_capital": lambda reply, **_: reply.isupper(),
    "change_case:english_lowercase": lambda reply, **_: reply.islower(),
    "punctuation:no_comma": lambda reply, **_: "," not in reply,
}
"""Name -> whether a reply follows the instruction, given its arguments."""


def followed(name: str, reply: str, arguments: dict[str, Any]) -> bool:
    """Say whether a reply follows an instruction; an empty one follows none.

    Args:
        name: of the instruction.
        reply: the model's.
        arguments: the instruction's; those that are None are left out.

    Raises:
        ValueError: an argument is missing or out of place.
    """
    told = {key: value for key, value in arguments.items() if value is not None}
    try:
        return bool(reply.strip()) and CHECKS[name](reply, **told)
    except TypeError as error:
        raise ValueError(f"the instruction {name}: {error}") from error


def loose_forms(reply: str) -> list[str]:
    """Return a reply without its first line, last line, stars, and every mixture of these."""
    lines = reply.split("\n")
    cut = [
        reply, "\n".join(lines[1:]).strip(), "\n".join(lines[:-1]).strip(),
        "\n".join(lines[1:-1]).strip(),
    ]  # fmt: skip
    return [*cut, *(text.replace("*", "") for text in cut)]
