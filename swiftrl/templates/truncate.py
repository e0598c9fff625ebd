"""Cutting sequences to a length, so that what trains still makes sense.

left
    The first tokens go, the last `max_length` stay. A turn cut in its middle does not train: nobody
    writes the second half of a reply out of nothing.
right
    The last tokens go, the first `max_length` stay. A reply cut at its end trains without an end.
split
    Plain text becomes several sequences. Each starts with the last token of the one before, so that
    every token but the text's first is a target once.

For a pair, both replies keep the same prompt tokens: `left` drops as many tokens from the start of
the shared prompt as the longer reply demands and never touches a reply; `right` cuts the replies'
ends and never touches the prompt.

Where nothing would be left to train, these functions raise; an empty mask is never returned.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from swiftrl.core.errors import TemplateError
from swiftrl.templates.encoding import Encoded

__all__ = ["shared_prompt", "split_text", "truncate", "truncate_pair"]


def truncate(encoded: Encoded, max_length: int, strategy: str) -> Encoded:
    """Return `encoded` cut to at most `max_length` tokens.

    Args:
        encoded: the sequence.
        max_length: in tokens, at least 2.
        strategy: "left" or "right".

    Raises:
        TemplateError: nothing that trains would be left.
    """
    _check(max_length, strategy)
    if len(encoded) <= max_length:
        return encoded
    if strategy == "right":
        return _kept(encoded, 0, max_length)
    start = len(encoded) - max_length
    weights = encoded.loss_weights[start:].copy()
    if encoded.loss_weights[start - 1] > 0:
        untrained = np.flatnonzero(weights == 0)
        weights[: untrained[0] if len(untrained) else len(weights)] = 0
    weights[0] = 0
    cut = replace(
        encoded, token_ids=encoded.token_ids[start:], loss_weights=weights, truncated=True
    )
    return _still_trains(cut, encoded, max_length, strategy)


def truncate_pair(
    chosen: Encoded, rejected: Encoded, max_length: int, strategy: str
) -> tuple[Encoded, Encoded]:
    """Return two replies behind one prompt, each cut to at most `max_length` tokens.

    Args:
        chosen: prompt and the better reply.
        rejected: the same prompt tokens and the worse reply.
        max_length: in tokens, at least 2.
        strategy: "left" shortens the prompt, "right" the replies.

    Raises:
        TemplateError: a reply alone fills `max_length` (left), or the prompt does (right).
    """
    _check(max_length, strategy)
    longest = max(len(chosen), len(rejected))
    if longest <= max_length:
        return chosen, rejected
    if strategy == "right":
        return _kept(chosen, 0, max_length), _kept(rejected, 0, max_length)
    excess, prompt = longest - max_length, shared_prompt(chosen, rejected)
    if excess >= prompt:
        raise TemplateError(
            f"a reply of {longest - prompt} tokens leaves no room for its prompt within max_length "
            f"{max_length}. Raise --max_length, choose --truncation_strategy right or delete, or "
            "let --strict false set such rows aside."
        )
    return _kept(chosen, excess, len(chosen)), _kept(rejected, excess, len(rejected))


def split_text(encoded: Encoded, max_length: int) -> tuple[Encoded, ...]:
    """Return plain text as sequences of at most `max_length` tokens.

    Args:
        encoded: a text of which every token but the first trains.
        max_length: in tokens, at least 2.

    Raises:
        TemplateError: the sequence is no plain text; turns cannot be split.
    """
    _check(max_length, "split")
    if len(encoded) <= max_length:
        return (encoded,)
    if (encoded.loss_weights[1:] == 0).any():
        raise TemplateError(
            "only plain text can be split: a conversation's parts would train without their "
            "beginning. Choose --truncation_strategy left, right or delete."
        )
    starts = range(0, len(encoded) - 1, max_length - 1)
    return tuple(_kept(encoded, start, start + max_length) for start in starts)


def shared_prompt(first: Encoded, second: Encoded) -> int:
    """Return how many tokens two sequences share before either trains."""
    limit = min(first.first_trained, second.first_trained)
    different = np.flatnonzero(first.token_ids[:limit] != second.token_ids[:limit])
    return int(different[0]) if len(different) else limit


def _kept(encoded: Encoded, start: int, end: int) -> Encoded:
    if start == 0 and end >= len(encoded):
        return encoded
    weights = encoded.loss_weights[start:end].copy()
    weights[0] = 0
    cut = replace(
        encoded, token_ids=encoded.token_ids[start:end], loss_weights=weights, truncated=True
    )
    return _still_trains(cut, encoded, end - start, "right" if start == 0 else "left")


def _still_trains(cut: Encoded, whole: Encoded, max_length: int, strategy: str) -> Encoded:
    if whole.num_trained and not cut.num_trained:
        other = "left" if strategy == "right" else "right"
        raise TemplateError(
            f"of {len(whole)} tokens, cut {strategy} to {max_length}, none would train. Raise "
            f"--max_length, choose --truncation_strategy {other} or delete, or let --strict false "
            "set such rows aside."
        )
    return cut


def _check(max_length: int, strategy: str) -> None:
    if strategy not in ("left", "right", "split"):
        raise ValueError(f"strategy {strategy!r} is not left, right or split")
    if max_length < 2:
        raise TemplateError(f"--max_length {max_length}: a sequence needs 2 tokens at least.")
