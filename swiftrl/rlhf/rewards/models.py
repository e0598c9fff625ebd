"""Rewards from reward models: a head of scores on the whole conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftrl.core.errors import ConfigError
from swiftrl.core.messages import Conversation, Message
from swiftrl.engine.scores import RewardModel
from swiftrl.rlhf.rewards.reward import Reward

__all__ = ["check_scores", "model_reward", "model_reward_name"]


def check_scores(name: str, scores: int | None, *, stepwise: bool = False) -> None:
    """Refuse what cannot serve as a reward.

    Raises:
        ConfigError: it has no head of scores, several scores, or one for steps.
    """
    if scores is None:
        raise ConfigError(
            f"--reward_model {name}: is no reward model: its config.json names no "
            "...ForSequenceClassification. Train one with swiftrl rlhf --rlhf_type rm; adapters of "
            "one must be merged first (swiftrl merge-lora)."
        )
    if stepwise:
        raise ConfigError(
            f"--reward_model {name}: is a process reward model, which scores steps; a reward is "
            "one number a reply. Take a model of swiftrl rlhf --rlhf_type rm."
        )
    if scores != 1:
        raise ConfigError(f"--reward_model {name}: gives {scores} scores; a reward is one number.")


def model_reward_name(name: str, others: Sequence[str]) -> str:
    """Return under which name a reward model is reported: its folder's, if no other has it.

    Args:
        name: as given.
        others: every reward of the run, this one among them.
    """
    short = name.rstrip("/").rpartition("/")[2]
    taken = [other.rstrip("/").rpartition("/")[2] for other in others]
    return short if taken.count(short) == 1 else name


def model_reward(name: str, source: str, model: RewardModel) -> Reward:
    """Return the reward that a reward model gives; a conversation too long for it gets None."""

    def score(prompts: list[list[Mapping[str, Any]]], completions: list[str]) -> list[float | None]:
        whole = [_conversation(p, c) for p, c in zip(prompts, completions, strict=True)]
        return [None if scores is None else scores[0] for scores in model(whole)]

    return Reward(name, score, source)


def _conversation(prompt: Sequence[Mapping[str, Any]], completion: str) -> Conversation:
    """Return the texts as they are: what a model wrote is no row of data, and may hold anything."""
    turns = [Message(turn["role"], str(turn.get("content") or "")) for turn in prompt]
    return Conversation((*turns, Message("assistant", completion)))
