"""The prompts of online learning."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swiftrl.core.errors import DataError
from swiftrl.data.rows import Prompt

__all__ = ["EncodedPrompt", "Prompts", "check_prompts"]


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt and its tokens.

    Attributes:
        row: the conversation and the data's further columns, for rewards.
        token_ids: of the conversation, up to where the reply begins.
    """

    row: Prompt
    token_ids: list[int]


class Prompts(Sequence[EncodedPrompt]):
    """The prompts of a run, in the data's order."""

    def __init__(self, items: Sequence[EncodedPrompt]) -> None:
        self._items = list(items)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> EncodedPrompt:  # type: ignore[override]
        return self._items[index]

    @property
    def fingerprint(self) -> str:
        """A hash of tokens and columns, by which a resumed run knows its data."""
        digest = hashlib.sha256()
        for item in self._items:
            digest.update(np.asarray(item.token_ids, dtype="<i4").tobytes())
            digest.update(json.dumps(item.row.extra, sort_keys=True, default=str).encode())
        return digest.hexdigest()


def check_prompts(
    prompts: Sequence[EncodedPrompt], room: int | None, reply: int, longest: int | None = None
) -> None:
    """Refuse prompts that leave no room for a reply, before any weights are loaded.

    Args:
        prompts: of the run.
        room: the longest sequence that the model takes.
        reply: most tokens of a reply.
        longest: --max_length, most tokens of a prompt.

    Raises:
        DataError: the first prompt that is too long.
    """
    for prompt in prompts:
        if longest is not None and len(prompt.token_ids) > longest:
            raise DataError(
                f"{prompt.row.origin}: the prompt is {len(prompt.token_ids)} tokens long; "
                f"--max_length is {longest}. Raise it, or take the row out."
            )
        if room is not None and len(prompt.token_ids) + reply > room:
            raise DataError(
                f"{prompt.row.origin}: the prompt is {len(prompt.token_ids)} tokens long; with "
                f"--max_completion_length {reply} that is more than the model's {room}. Lower it, "
                "or take the row out."
            )
