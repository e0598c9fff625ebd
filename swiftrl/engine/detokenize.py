"""Text from tokens as they come."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

__all__ = ["Detokenizer"]

_INCOMPLETE = "\ufffd"


class Detokenizer:
    """Decodes one reply token by token; the pieces joined equal the decoded whole.

    A piece is held back while it ends inside a multi-byte character, or while it may be the
    beginning of a stop text.

    Args:
        tokenizer: of the model.
        stop: texts that end the reply; nothing from the first complete one on is given out.
        shown_ids: special tokens that the text shows; the others are left out of it.
    """

    def __init__(
        self, tokenizer: Any, stop: Sequence[str] = (), shown_ids: Collection[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._hidden = _special_ids(tokenizer) - set(shown_ids) if shown_ids else frozenset()
        self._all_hidden = not shown_ids
        self._ids: list[int] = []
        # Decoding starts some tokens back, since many tokenizers drop a leading space.
        self._prefix = self._read = 0
        self._text = ""
        self._given = 0
        self.stopped = False

    def push(self, token: int) -> str:
        """Add a token and return the text that has become certain."""
        if self.stopped:
            return ""
        if token in self._hidden:
            return self._give(self._certain())
        self._ids.append(token)
        before = self._decode(self._ids[self._prefix : self._read])
        after = self._decode(self._ids[self._prefix :])
        if len(after) > len(before) and not after.endswith(_INCOMPLETE):
            self._append(after[len(before) :])
            self._prefix, self._read = self._read, len(self._ids)
        return self._give(self._certain())

    def hold(self, token: int) -> None:
        """Add a token whose text may wait for `finish`; not where there are stop texts."""
        if token not in self._hidden:
            self._ids.append(token)

    def finish(self) -> str:
        """Return what was held back and is now certain, the reply being over."""
        if not self.stopped:
            before = self._decode(self._ids[self._prefix : self._read])
            self._append(self._decode(self._ids[self._prefix :])[len(before) :])
        return self._give(len(self._text))

    @property
    def text(self) -> str:
        """All text so far, up to the stop text."""
        return self._text

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(
            ids, skip_special_tokens=self._all_hidden, clean_up_tokenization_spaces=False
        )

    def _append(self, piece: str) -> None:
        self._text += piece
        starts = {stop: self._text.find(stop) for stop in self._stop}
        # The one complete first wins, so that the borders of tokens do not matter.
        found = [(start + len(stop), start) for stop, start in starts.items() if start >= 0]
        if found:
            self._text = self._text[: min(found)[1]]
            self.stopped = True

    def _certain(self) -> int:
        """Return the number of characters that no stop text can take back."""
        if self.stopped:
            return len(self._text)
        held = 0
        for stop in self._stop:
            for length in range(min(len(stop) - 1, len(self._text)), held, -1):
                if self._text.endswith(stop[:length]):
                    held = length
                    break
        return len(self._text) - held

    def _give(self, until: int) -> str:
        piece = self._text[self._given : until]
        self._given = max(self._given, until)
        return piece


def _special_ids(tokenizer: Any) -> frozenset[int]:
    added = tokenizer.added_tokens_decoder.items()
    special = {number for number, token in added if token.special}
    return frozenset(special | set(tokenizer.all_special_ids))
