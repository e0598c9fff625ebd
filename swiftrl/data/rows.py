"""Rows: as found in a file, and as the algorithms take them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from swiftrl.core.errors import DataError
from swiftrl.core.messages import Conversation, Message

__all__ = [
    "KINDS",
    "NOWHERE",
    "BadRow",
    "Instruction",
    "LabelledReply",
    "Origin",
    "PlainText",
    "PreferencePair",
    "Prompt",
    "RawRow",
    "Record",
    "Row",
    "RowError",
    "RowKind",
    "ScoredReply",
    "StepwiseReply",
]

RowKind = Literal["preference", "instruction", "text", "labelled", "prompt", "stepwise", "scored"]
KINDS: tuple[RowKind, ...] = get_args(RowKind)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row stands.

    Attributes:
        source: the file as the user named it, or a hub id.
        line: line of a text file on which the row starts; the element's number in a JSON array,
            a Parquet or Arrow file, or a hub split. Both count from 1.
    """

    source: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}"


NOWHERE = Origin("", 0)


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row's columns as its file holds them, empty (null) columns left out."""

    origin: Origin
    values: dict[str, Any]


class BadRow(Exception):
    """Why a row cannot be used, before its place is known; becomes a RowError."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row before decoding: JSON text, columns, or why it cannot be read."""

    line: int
    data: bytes | dict[str, Any] | BadRow


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two replies to one conversation, the first preferred.

    Attributes:
        conversation: the messages before the replies.
        chosen: messages of the preferred reply; more than one when it uses tools.
        rejected: messages of the other reply.
        margin: by how much the first is better, where the data say so.
        extra: columns that the row's format does not use.
        origin: file and line.
    """

    conversation: Conversation
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    margin: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Instruction:
    """A conversation that ends with the reply to learn."""

    conversation: Conversation
    extra: dict[str, Any] = field(default_factory=dict)
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class PlainText:
    """A document for pre-training."""

    text: str
    extra: dict[str, Any] = field(default_factory=dict)
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class LabelledReply:
    """A conversation that ends with a reply, and whether that reply is desirable."""

    conversation: Conversation
    label: bool
    extra: dict[str, Any] = field(default_factory=dict)
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation to be answered.

    Attributes:
        conversation: the messages up to the reply.
        extra: every column that is not part of the prompt, a reference answer among them; the
            last reply of a row in `messages` form stands under "reply".
        origin: file and line.
    """

    conversation: Conversation
    extra: dict[str, Any] = field(default_factory=dict)
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class StepwiseReply:
    """A reply in steps, each right or wrong.

    Attributes:
        conversation: the messages before the reply.
        steps: the reply's texts.
        labels: of each step, from 0 (wrong) to 1 (right); None where the row has none.
        extra: columns that the row's format does not use.
        origin: file and line.
    """

    conversation: Conversation
    steps: tuple[str, ...]
    labels: tuple[float, ...] | None
    extra: dict[str, Any] = field(default_factory=dict)
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True)
class ScoredReply:
    """A conversation that ends with a reply, and how good that is by one or several measures.

    Attributes:
        conversation: reply included.
        extra: further columns, numbers to be learnt among them.
        origin: file and line.
    """

    conversation: Conversation
    extra: dict[str, Any] = field(default_factory=dict)
    origin: Origin = NOWHERE


Row: TypeAlias = (
    PreferencePair | Instruction | PlainText | LabelledReply | Prompt | StepwiseReply | ScoredReply
)


class RowError(DataError):
    """A row cannot be used. `reason` is the message without the place."""

    def __init__(self, origin: Origin, reason: str) -> None:
        super().__init__(origin, reason)
        self.origin = origin
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.origin}: {self.reason}"
