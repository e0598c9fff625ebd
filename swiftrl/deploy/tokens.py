"""Tokens as clients see them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from swiftrl.engine.base import Top

__all__ = ["TokenTexts"]


class TokenTexts:
    """The texts and bytes of single tokens.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
        self._by_bytes = "ByteLevel" in repr(decoder)
        self.bytes_of = lru_cache(maxsize=65536)(self._bytes_of)

    def text(self, token: int) -> str:
        """Return a token's text; bytes that are no character become replacement characters."""
        return self.bytes_of(token).decode("utf-8", errors="replace")

    def entry(self, token: int, logprob: float) -> dict[str, Any]:
        """Return a token as chat completions tell it."""
        raw = self.bytes_of(token)
        return {
            "token": raw.decode("utf-8", errors="replace"),
            "logprob": max(logprob, -9999.0),
            "bytes": list(raw),
        }

    def entries(
        self, tokens: Sequence[int], logprobs: Sequence[float], tops: Sequence[Top]
    ) -> list[dict[str, Any]]:
        """Return tokens with the likeliest in their places, as chat completions tell them."""
        tops = tops or [()] * len(tokens)
        return [
            {**self.entry(token, logprob), "top_logprobs": [self.entry(*other) for other in top]}
            for token, logprob, top in zip(tokens, logprobs, tops, strict=True)
        ]

    def _bytes_of(self, token: int) -> bytes:
        name = self._tokenizer.convert_ids_to_tokens(token)
        if name is None:
            return b""
        if self._by_bytes and token not in self._tokenizer.added_tokens_decoder:
            table = _byte_table()
            return bytes(table[letter] for letter in name if letter in table)
        if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
            return bytes([int(name[3:5], 16)])
        if token in self._tokenizer.added_tokens_decoder:
            return name.encode()
        return name.replace("\u2581", " ").encode()


@lru_cache(maxsize=1)
def _byte_table() -> dict[str, int]:
    """Return the byte that each character of a byte-level vocabulary stands for (GPT-2's)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    table = {chr(byte): byte for byte in shown}
    return table | {chr(256 + place): byte for place, byte in enumerate(hidden)}
