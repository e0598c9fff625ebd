"""Encoders that need no model and load fast in worker processes."""

import os
from dataclasses import dataclass

import numpy as np

from swiftrl.data.rows import RowError
from swiftrl.data.store import EncodedRow
from swiftrl.templates.encoding import Encoded


@dataclass(frozen=True)
class Letters:
    """An encoder that needs no model: one token a letter of the prompt. Counts its calls."""

    calls: list
    fingerprint: str = "letters"

    def __call__(self, raw):
        self.calls.append(raw.origin.line)
        text = raw.values.get("prompt")
        if text is None:
            raise RowError(raw.origin, "no prompt")
        ids = np.array([ord(letter) for letter in text], dtype=np.int32)
        weights = np.ones(len(ids), dtype=np.float32)
        return [EncodedRow((Encoded(ids, weights),), {"label": float(len(ids))}, raw.origin)]


class Dies:
    """An encoder whose process ends without a word."""

    fingerprint = "dies"

    def __call__(self, raw):
        os._exit(9)
