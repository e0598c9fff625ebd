"""Scores completions by every reward and checks what the rewards return.

n completions, F rewards.
"""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from swiftrl.core.errors import RewardError, SwiftRLError
from swiftrl.core.registry import did_you_mean
from swiftrl.rlhf.rewards.calling import Call, CallFailed, call_all, raised, title
from swiftrl.rlhf.rewards.reward import MissingColumn, Reward, RowFault

__all__ = ["Scores", "columns_of", "score"]

CONTRACT = "Expected a list with a finite number, or None where there is no score, per completion."
LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True, slots=True)
class Scores:
    """What the rewards gave.

    Attributes:
        names: of the F rewards.
        values: [n, F] float32, NaN where a reward returned None.
        total: [n] float32, the weighted sum over the rewards that scored the completion; NaN
            where none did.
    """

    names: tuple[str, ...]
    values: Tensor
    total: Tensor


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the columns of some rows as lists; None where a row lacks a column of the others."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def score(
    functions: Sequence[Reward],
    weights: Sequence[float],
    prompts: Sequence[Sequence[Mapping[str, Any]]],
    completions: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    *,
    timeout_s: float,
    origins: Sequence[object] | None = None,
) -> Scores:
    """Call every reward on the whole batch at once.

    Args:
        functions: F rewards.
        weights: F numbers.
        prompts: n lists of messages ({"role": ..., "content": ...}), what was to be answered.
        completions: n texts.
        columns: further columns of the rows, n values each; `completion_ids` among them.
        timeout_s: seconds that each reward has.
        origins: n places of the rows (file and line), for messages.

    Raises:
        RewardError: a reward raised, hung, asks for a column that is absent, or returned
            anything but a list of n finite numbers and None.
    """
    count = len(completions)
    assert len(functions) == len(weights)
    assert len(prompts) == count and all(len(column) == count for column in columns.values())
    if count == 0:
        return Scores(
            tuple(f.name for f in functions),
            torch.zeros(0, len(functions)),
            torch.zeros(0),
        )
    offered: dict[str, Sequence[Any]] = dict(columns)
    if "completion_ids" in offered:  # what ms-swift calls it
        offered.setdefault("response_token_ids", offered["completion_ids"])
    calls = [Call(f, _arguments(f, prompts, completions, offered)) for f in functions]
    try:
        returned = call_all(calls, timeout_s)
    except CallFailed as failure:
        raise _explained(failure, columns, origins) from failure.__cause__
    values = torch.tensor(
        [_checked(f, r, count, origins) for f, r in zip(functions, returned, strict=True)],
        dtype=torch.float64,  # on the host, all of it
    ).reshape(len(functions), count)
    # Also on the host.
    weighted = values * torch.tensor(weights, dtype=torch.float64)[:, None]
    total = weighted.nansum(dim=0).masked_fill(values.isnan().all(dim=0), torch.nan)
    return Scores(tuple(f.name for f in functions), values.T.float(), total.float())


def _arguments(
    reward: Reward,
    prompts: Sequence[Sequence[Mapping[str, Any]]],
    completions: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    """Return what a reward's parameters ask for, in lists of its own."""
    for taken in ("prompts", "completions"):
        if taken in columns:
            raise RewardError(
                f"the data has a column {taken!r}, a name that rewards know as the batch's "
                f"{taken}; rename it with --columns."
            )
    offered = {"prompts": prompts, "completions": completions, **columns}
    parameters = inspect.signature(reward.function).parameters.values()
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    missing = [p.name for p in named if p.default is p.empty and p.name not in offered]
    if missing:
        raise _missing_column(reward, missing[:1], columns)
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        offered = {p.name: offered[p.name] for p in named if p.name in offered}
    return {name: list(column) for name, column in offered.items()}


def _missing_column(
    reward: Reward, names: Sequence[str], columns: Mapping[str, Sequence[Any]]
) -> RewardError:
    wanted = " or ".join(repr(name) for name in names)
    known = [name for name in columns if name not in ("completion_ids", "response_token_ids")]
    return RewardError(
        f"{title(reward)} needs the column {wanted}, which the data lack; their further columns: "
        f"{', '.join(known) or 'none'}.{did_you_mean(names[0], known)} Add it to the data, or "
        f'name the column that holds it: --columns \'{{"YOUR_COLUMN": "{names[0]}"}}\'.'
    )


def _explained(
    failure: CallFailed,
    columns: Mapping[str, Sequence[Any]],
    origins: Sequence[object] | None,
) -> RewardError:
    reward, error = failure.call.reward, failure.__cause__
    assert error is not None
    if isinstance(error, MissingColumn):
        return _missing_column(reward, error.names, columns)
    if isinstance(error, RowFault):
        return RewardError(f"{_place(error.index, origins)}: {title(reward)}: {error.reason}")
    if isinstance(error, SwiftRLError):
        return RewardError(f"{title(reward)}: {error}")
    code = getattr(reward.function, "__code__", None)
    return RewardError(
        f"{title(reward)} raised {raised(error, code.co_filename if code else '')}. "
        "A reward that cannot score a completion returns None for it."
    )


def _checked(
    reward: Reward, returned: object, count: int, origins: Sequence[object] | None
) -> list[float]:
    """Return `returned` as `count` floats, NaN for None."""
    if not isinstance(returned, (list, tuple)):
        raise RewardError(
            f"{title(reward)} returned {_shown(returned)} for {count} completions. {CONTRACT}"
        )
    if len(returned) != count:
        raise RewardError(
            f"{title(reward)} returned {len(returned)} values for {count} completions. {CONTRACT}"
        )
    values = []
    for index, value in enumerate(returned):
        fits = isinstance(value, numbers.Real) and abs(cast(float, value)) <= LARGEST
        if value is not None and not fits:  # NaN is no smaller than anything
            raise RewardError(
                f"{_place(index, origins)}: {title(reward)} returned {_shown(value)}. {CONTRACT}"
            )
        values.append(torch.nan if value is None else float(value))
    return values


def _shown(value: object) -> str:
    text = repr(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return text if isinstance(value, float) or value is None else f"{type(value).__name__} {text}"


def _place(index: int, origins: Sequence[object] | None) -> str:
    """Return a row's file and line, or the completion's number where they are not known."""
    known = str(origins[index]) if origins is not None else ""
    return known or f"completion {index + 1}"
