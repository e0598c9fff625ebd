"""What a built-in problem is, and which side of the split it belongs to.

A problem never depends on anything but the random generator it is drawn with. Problems that are
computed (sums, sorting, copying, ...) are split into train and held-out by a hash of the problem
itself, whatever its wording and language; facts, which cannot be answered unless they were seen,
by a hash of the whole prompt.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

HELDOUT_SHARE = 10  # one in ten


@dataclass(frozen=True)
class Problem:
    """One problem in one wording.

    Attributes:
        task: its kind, for reports.
        language: "en" or "zh".
        question: what the user asks.
        answer: the right answer, bare.
        sentence: the answer as a full sentence that ends with it.
        wrong: plausible wrong answers.
        key: what is hashed to split computed problems; None for facts.
    """

    task: str
    language: str
    question: str
    answer: str
    sentence: str
    wrong: tuple[str, ...]
    key: str | None


def is_heldout(key: str) -> bool:
    """Whether what `key` names is kept out of everything that is trained on."""
    digest = hashlib.blake2b(key.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % HELDOUT_SHARE == 0
