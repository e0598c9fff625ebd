"""What a reward is: a function of a batch of completions, and where such functions come from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from swiftrl.core.registry import Registry
from swiftrl.rlhf.rewards.config import RewardConfig

__all__ = ["REWARDS", "MissingColumn", "Reward", "RewardFunction", "RewardMaker", "RowFault"]

Values: TypeAlias = "list[float | None]"
RewardFunction: TypeAlias = "Callable[..., Values | Awaitable[Values]]"
"""`(prompts, completions, **columns) -> list[float | None]`, plain or async; called by keyword.

prompts: for each completion the messages that it answers, dicts with "role" and "content".
completions: the texts that the model wrote, thoughts included, special tokens removed.
columns: the further columns of the data, a list each, and `completion_ids`, the token ids of each
    completion. A function that has no `**columns` gets what its parameters name.

It returns a number for each completion, or None for one that it cannot score.
"""


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward of a run.

    Attributes:
        name: under which it is reported.
        function: what computes it.
        source: the entry of `--reward_funcs`; the name, if that is empty.
    """

    name: str
    function: RewardFunction
    source: str = ""


@dataclass(frozen=True, slots=True)
class RewardMaker:
    """A registered reward, exported as `REWARD`.

    Attributes:
        summary: one line for the docs.
        make: builds the function from the settings; raises ConfigError where they don't fit.
        columns: what it reads of the data, for the docs.
        paper: where it comes from.
    """

    summary: str
    make: Callable[[RewardConfig], RewardFunction]
    columns: tuple[str, ...] = ()
    paper: str = ""


REWARDS: Registry[RewardMaker] = Registry("reward", "swiftrl.rlhf.rewards.functions", "REWARD")


class MissingColumn(Exception):
    """Raised by a reward that finds none of the columns `names` in the data."""

    def __init__(self, *names: str) -> None:
        super().__init__(*names)
        self.names = names


class RowFault(Exception):
    """Raised by a reward that finds a row it cannot work on; `index` counts completions from 0."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason
