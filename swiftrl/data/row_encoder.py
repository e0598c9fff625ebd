"""From a raw row to token ids, through its kind and the model's template."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from swiftrl.core.errors import TemplateError
from swiftrl.data.rows import (
    LabelledReply,
    PlainText,
    PreferencePair,
    Prompt,
    RawRow,
    Row,
    RowError,
    RowKind,
    ScoredReply,
    StepwiseReply,
)
from swiftrl.data.schema import to_row
from swiftrl.data.store import EncodedRow
from swiftrl.data.workers import TooLong
from swiftrl.templates.encoding import Encoded
from swiftrl.templates.media import media_of
from swiftrl.templates.template import Template, TrainMode
from swiftrl.templates.truncate import split_text, truncate, truncate_pair

__all__ = ["TemplateRowEncoder"]


@dataclass(frozen=True)
class TemplateRowEncoder:
    """Encodes raw rows of one kind; picklable.

    Attributes:
        template: the model's.
        kind: what the algorithm takes.
        columns: columns to rename.
        max_length: longest sequence in tokens; None for no limit.
        truncation_strategy: what happens to longer ones: "raise" a RowError, "delete" the row
            (set aside and counted), cut it "left" or "right", or "split" text into several rows.
        train: which turns of an instruction train. Of pairs and labelled replies the reply does.
        step_separator: stands behind each step of stepwise rows; the last token of a step and it
            is the one that counts.
        objectives: columns of scored rows, or names in their column "scores", that are learnt.
    """

    template: Template
    kind: RowKind
    columns: Mapping[str, str] = field(default_factory=dict)
    max_length: int | None = None
    truncation_strategy: str = "raise"
    train: TrainMode = "default"
    step_separator: str = ""
    objectives: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Changes with every setting that matters to the tokens."""
        settings = (
            self.template.fingerprint,
            self.kind,
            sorted(self.columns.items()),
            self.max_length,
            self.truncation_strategy,
            self.train,
            self.step_separator,
            self.objectives,
        )
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()

    def __call__(self, raw: RawRow) -> list[EncodedRow]:
        """Encode one row; several come of an instruction whose rounds are trained one by one.

        Raises:
            RowError: it does not fit its kind or the template, or is too long.
        """
        return self.encode(to_row(raw, self.kind, self.columns))

    def encode(self, row: Row) -> list[EncodedRow]:
        """Encode a checked row."""
        try:
            cuts = [
                cut for sequences in self._sequences(row) for cut in self._fitted(sequences, row)
            ]
        except TemplateError as error:
            raise RowError(row.origin, str(error)) from None
        for cut in cuts if self.kind != "prompt" else ():
            if not all(sequence.num_trained for sequence in cut):
                raise RowError(row.origin, "no token of the row trains.")
        return [self._encoded(cut, row) for cut in cuts]

    def _encoded(self, cut: tuple[Encoded, ...], row: Row) -> EncodedRow:
        if isinstance(row, ScoredReply):
            return EncodedRow(cut, _objectives(row, self.objectives), row.origin)
        if not isinstance(row, StepwiseReply):
            return EncodedRow(cut, _columns(row), row.origin)
        if row.labels is None:
            raise RowError(row.origin, 'row needs "labels": for each step, whether it is right.')
        labels = row.labels[: cut[0].num_trained]
        return EncodedRow(cut, {"label": sum(labels) / len(labels)}, row.origin, labels)

    def _sequences(self, row: Row) -> list[tuple[Encoded, ...]]:
        template = self.template
        if isinstance(row, PreferencePair):
            return [template.encode_pair(row.conversation, row.chosen, row.rejected)]
        if isinstance(row, PlainText):
            return [(template.encode_text(row.text),)]
        if isinstance(row, StepwiseReply):
            steps = [step + self.step_separator for step in row.steps]
            return [(template.encode_steps(row.conversation, steps),)]
        if isinstance(row, ScoredReply):
            return [(template.encode(row.conversation, train="last_round"),)]
        if isinstance(row, LabelledReply):
            return [(template.encode(row.conversation, train="last_round"),)]
        if isinstance(row, Prompt):
            ids = np.array(template.encode_prompt(row.conversation), dtype=np.int32)
            weights = np.zeros(len(ids), dtype=np.float32)
            return [(Encoded(ids, weights, media=media_of(row.conversation)),)]
        if self.train == "default":
            return [(part,) for part in template.encode_rounds(row.conversation)]
        return [(template.encode(row.conversation, train=self.train),)]

    def _fitted(self, sequences: tuple[Encoded, ...], row: Row) -> list[tuple[Encoded, ...]]:
        """Return what is left of a row within the maximal length: nothing, one or several."""
        limit = self.max_length
        longest = max(map(len, sequences))
        if limit is None or longest <= limit:
            return [sequences]
        too_long = f"the row is {longest} tokens long; max_length is {limit}."
        if self.truncation_strategy == "raise":
            raise RowError(
                row.origin,
                f"{too_long} Raise --max_length, or choose --truncation_strategy delete, left or "
                "right. swiftrl data check shows how long the rows are.",
            )
        if self.truncation_strategy == "delete":
            raise TooLong(row.origin, too_long)
        if self.truncation_strategy == "split":
            return [(part,) for part in split_text(sequences[0], limit)]
        if isinstance(row, StepwiseReply) and self.truncation_strategy != "right":
            raise RowError(
                row.origin,
                f"{too_long} Steps cannot be cut on the {self.truncation_strategy}: choose "
                "--truncation_strategy delete or right, or raise --max_length.",
            )
        if isinstance(row, PlainText) and self.truncation_strategy == "left":
            return [(_text_end(sequences[0], limit),)]
        if sequences[0].media:
            return [self._cut_behind_pictures(sequences, row, limit)]
        if len(sequences) == 2:
            return [truncate_pair(*sequences, limit, self.truncation_strategy)]
        return [(truncate(sequences[0], limit, self.truncation_strategy),)]

    def _cut_behind_pictures(
        self, sequences: tuple[Encoded, ...], row: Row, limit: int
    ) -> tuple[Encoded, ...]:
        """Cut sequences on their right, if every picture's tokens stay whole."""
        if self.truncation_strategy != "right":
            cut = sequences
        else:
            cut = tuple(truncate(sequence, limit, "right") for sequence in sequences)
        lost = any(
            self._picture_tokens(sequence) < self._picture_tokens(whole)
            for sequence, whole in zip(cut, sequences, strict=True)
        )
        if lost or self.truncation_strategy != "right":
            raise RowError(
                row.origin,
                f"the row is {max(map(len, sequences))} tokens long, max_length is {limit}, and "
                "pictures cannot be cut. Raise --max_length, lower --max_pixels, or choose "
                "--truncation_strategy delete.",
            )
        return cut

    def _picture_tokens(self, sequence: Encoded) -> int:
        media = self.template.media
        return 0 if media is None else media.count(sequence.token_ids)

    def load_media(self, row: EncodedRow) -> EncodedRow:
        """Return a row with the tensors of its pictures, which are read now.

        Raises:
            RowError: a picture cannot be read any more.
        """
        media = self.template.media
        if not row.media or media is None:
            return row
        try:
            return replace(row, tensors=media.tensors(row.media))
        except TemplateError as error:
            raise RowError(row.origin, str(error)) from None


def _text_end(text: Encoded, length: int) -> Encoded:
    """Cut plain text on its left; unlike a turn it trains from any place on."""
    weights = text.loss_weights[-length:].copy()
    weights[0] = 0
    return replace(text, token_ids=text.token_ids[-length:], loss_weights=weights, truncated=True)


def _objectives(row: ScoredReply, names: tuple[str, ...]) -> dict[str, float]:
    """Return the row's numbers, not a number for those it lacks."""
    scores = row.extra.get("scores")
    known = {**row.extra, **(scores if isinstance(scores, dict) else {})}
    found = {name: _number(row, name, known.get(name)) for name in names}
    if names and all(value is None for value in found.values()):
        wanted = ", ".join(f'"{name}"' for name in names)
        listed = ", ".join(f'"{name}"' for name in known) or "(none)"
        raise RowError(
            row.origin,
            f"row needs a number in {wanted} (--objectives); its further columns are {listed}.",
        )
    return {name: math.nan if value is None else value for name, value in found.items()}


def _number(row: ScoredReply, name: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return float(value)
    raise RowError(row.origin, f'"{name}" is {value!r}; expected a number.')


def _columns(row: Row) -> dict[str, float]:
    if isinstance(row, PreferencePair):
        return {"margin": math.nan if row.margin is None else row.margin}
    if isinstance(row, LabelledReply):
        return {"label": float(row.label)}
    return {}
