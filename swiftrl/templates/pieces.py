"""Text to token ids, piece by piece.

A sequence is tokenised in pieces cut where training starts and stops, so that the tokens before a
reply are those of the generation prompt, whatever the reply begins with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["PieceEncoder"]

_BREAK = "\n"


class PieceEncoder:
    """Encodes consecutive pieces of one text.

    Some tokenizers put a space before every text they are given, or swallow white space next to
    their added tokens; their pieces are encoded behind an anchor - the end of what precedes -
    whose tokens are dropped again.

    Args:
        tokenizer: a Hugging Face tokenizer, fast or not.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        added = [str(token) for token in tokenizer.added_tokens_decoder.values()]
        self._added = tuple(sorted(filter(None, added), key=len, reverse=True))
        self._first: tuple[str, list[int]] = ("", [])
        self._anchors: dict[str, list[int]] = {}
        self._anchored = self._needs_anchor()

    def _needs_anchor(self) -> bool:
        tokens = self.tokenizer.added_tokens_decoder.values()
        if any(getattr(token, "rstrip", False) for token in tokens):
            return True
        alone, behind = self._encode(["\n", "\nx"])
        return behind != alone + self._encode(["x"])[0]

    def __call__(self, pieces: Sequence[str]) -> list[list[int]]:
        """Return the ids of each piece; their concatenation is the whole text's."""
        if not pieces:
            return []
        if not self._anchored:
            # The replies of a pair, and the rounds of a conversation, share their first piece.
            first = self._first
            if first[0] != pieces[0]:
                first = self._first = (pieces[0], self._encode(pieces[:1])[0])
            return [first[1], *(self._encode(pieces[1:]) if pieces[1:] else ())]
        encoded, before = [], ""
        for piece in pieces:
            encoded.append(self._behind(before, piece) if before else self._encode([piece])[0])
            before = (before + piece)[-256:]
        return encoded

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        backend = _plain_backend(self.tokenizer)
        if backend is not None:
            encodings = backend.encode_batch_fast(list(texts), add_special_tokens=False)
            return [encoding.ids for encoding in encodings]
        return self.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)[
            "input_ids"
        ]

    def _behind(self, before: str, piece: str) -> list[int]:
        if not piece:
            return []
        anchor = self._anchor(before)
        ids = self._encode([anchor + piece])[0]
        lead = self._anchor_ids(anchor)
        if ids[: len(lead)] == lead:
            return ids[len(lead) :]
        return self._encode([piece])[0]

    def _anchor(self, before: str) -> str:
        """Return the last added token and the white space behind it, or a line break."""
        bare = before.rstrip()
        for token in self._added:
            if bare.endswith(token):
                return before[len(bare) - len(token) :]
        return _BREAK

    def _anchor_ids(self, anchor: str) -> list[int]:
        if anchor not in self._anchors:
            self._anchors[anchor] = self._encode([anchor])[0]
        return self._anchors[anchor]


def _plain_backend(tokenizer: Any) -> Any:
    """Return the Rust tokenizer where calling it is all that the Python class does, else None."""
    from transformers import PreTrainedTokenizerFast

    kind = type(tokenizer)
    if getattr(kind, "_encode_plus", None) is not PreTrainedTokenizerFast._encode_plus:
        return None
    if kind.__call__ is not PreTrainedTokenizerFast.__call__:
        return None
    backend = tokenizer.backend_tokenizer
    if backend.truncation is not None or backend.padding is not None:
        return None
    return backend if not tokenizer.split_special_tokens else None
