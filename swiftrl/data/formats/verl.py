"""verl's rows: `data_source`, `prompt` (messages), `reward_model`, `extra_info`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.data.draft import Draft, RowFormat, as_list

_REWARD = "reward_model"


def detect(values: Mapping[str, Any]) -> int:
    """A `prompt` beside `reward_model`."""
    return 40 if "prompt" in values and _REWARD in values else 0


def convert(values: Mapping[str, Any]) -> Draft:
    """Read one row; `reward_model.ground_truth` reaches reward functions as `ground_truth`."""
    turns = as_list(values["prompt"], "prompt")
    reward = values[_REWARD]
    truth = reward.get("ground_truth") if isinstance(reward, Mapping) else None
    derived = {} if truth is None else {"ground_truth": truth}
    return Draft(turns, 0, prompt_columns=frozenset(("prompt",)), derived=derived)


FORMAT = RowFormat(detect, convert, "prompt, reward_model [data_source, ability, extra_info]")
