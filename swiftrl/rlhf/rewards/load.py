"""From `--reward_funcs` to functions: registered names, and functions of Python files."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections import Counter
from types import ModuleType

from swiftrl.core.errors import ConfigError, SwiftRLError
from swiftrl.core.registry import did_you_mean, load_file
from swiftrl.rlhf.rewards.calling import raised
from swiftrl.rlhf.rewards.config import RewardConfig
from swiftrl.rlhf.rewards.reward import REWARDS, Reward, RewardFunction

__all__ = ["load_rewards", "weights_of"]

FLAG = "--reward_funcs"


def load_rewards(config: RewardConfig, *, max_completion_length: int | None = None) -> list[Reward]:
    """Return the rewards that `config.reward_funcs` names, in its order.

    A reward of a file is called after its function, or by its whole entry where two functions
    share a name. Files are run once.

    Args:
        config: their settings.
        max_completion_length: the longest completion in tokens, for settings that follow it.

    Raises:
        ConfigError: an unknown name, a file or function that is absent or unfit, a reward named
            twice, a weight too many or too few, or a setting that a reward refuses.
    """
    if config.reward_timeout <= 0:
        raise ConfigError(f"--reward_timeout {config.reward_timeout:g}: expected seconds above 0.")
    weights_of(config)
    config = dataclasses.replace(
        config,
        cosine_max_len=config.cosine_max_len or max_completion_length,
        soft_max_length=config.soft_max_length or max_completion_length,
    )
    entries = config.reward_funcs
    for entry, count in Counter(entries).items():
        if count > 1:
            raise ConfigError(f"{FLAG}: {entry} is named {count} times; name it once.")
    names = [_short_name(entry) for entry in entries]
    return [
        Reward(name if names.count(name) == 1 else entry, _function(entry, config), entry)
        for name, entry in zip(names, entries, strict=True)
    ]


def weights_of(config: RewardConfig) -> list[float]:
    """Return the weight of each reward.

    Raises:
        ConfigError: their number is not that of the rewards, or one is not finite.
    """
    entries = [*config.reward_funcs, *config.reward_model]
    if not config.reward_weights:
        return [1.0] * len(entries)
    if len(config.reward_weights) != len(entries):
        raise ConfigError(
            f"--reward_weights has {len(config.reward_weights)} numbers for "
            f"{len(entries)} rewards ({' '.join(entries)}); give one each."
        )
    for weight in config.reward_weights:
        if not math.isfinite(weight):
            raise ConfigError(f"--reward_weights {weight}: expected a finite number.")
    return list(config.reward_weights)


def _is_file(entry: str) -> bool:
    return ".py:" in entry or entry.endswith(".py")


def _short_name(entry: str) -> str:
    return entry.rpartition(":")[2] if _is_file(entry) else entry


def _function(entry: str, config: RewardConfig) -> RewardFunction:
    if not _is_file(entry):
        if entry not in REWARDS.names():
            known = REWARDS.names()
            raise ConfigError(
                f"{FLAG}: unknown reward {entry!r}.{did_you_mean(entry, known)} "
                f"Known: {', '.join(known)}. One of your own: path/to/file.py:function."
            )
        return REWARDS.get(entry).make(config)
    path, _, name = entry.rpartition(".py:")
    if not path:
        raise ConfigError(f"{FLAG} {entry}: which function of the file? Write {entry}:function.")
    module = _module(f"{path}.py")
    function = vars(module).get(name)
    if function is None:
        raise ConfigError(
            f"{FLAG} {entry}: the file {path}.py has no {name!r}.{_suggested(module, name)}"
        )
    _check_function(entry, function)
    return function


def _module(path: str) -> ModuleType:
    try:
        return load_file(path, FLAG)
    except SwiftRLError:
        raise
    except Exception as error:
        raise ConfigError(f"{FLAG} {path}: cannot be run: {raised(error, path)}.") from error


def _suggested(module: ModuleType, name: str) -> str:
    own = [
        key
        for key, value in vars(module).items()
        if inspect.isroutine(value) and value.__module__ == module.__name__
    ]
    listed = f" Its functions: {', '.join(own)}." if own else " It has no functions."
    return did_you_mean(name, own) + listed


def _check_function(entry: str, function: object) -> None:
    if inspect.isclass(function) or not callable(function):
        found = "a class" if inspect.isclass(function) else f"of type {type(function).__name__}"
        raise ConfigError(
            f"{FLAG} {entry}: is {found}; expected a function "
            "(prompts, completions, **columns) -> list[float | None]."
        )
    parameters = inspect.signature(function).parameters.values()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    if any(p.kind is p.POSITIONAL_ONLY and p.default is p.empty for p in parameters):
        raise ConfigError(f"{FLAG} {entry}: is called by keyword; leave out the '/'.")
    if not takes_all and "completions" not in {p.name for p in parameters}:
        named = ", ".join(p.name for p in parameters) or "none"
        raise ConfigError(
            f"{FLAG} {entry}: has no parameter 'completions' (it has: {named}); expected "
            "(prompts, completions, **columns) -> list[float | None]."
        )
