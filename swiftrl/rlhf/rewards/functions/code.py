"""Whether the program in a reply passes its tests."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from swiftrl.checking.answers import answer_part
from swiftrl.checking.programs import fenced_blocks, runs_to_its_end
from swiftrl.checking.sandbox import Limits, network_is_cut, run_program
from swiftrl.core import log
from swiftrl.core.errors import ConfigError
from swiftrl.rlhf.rewards.config import RewardConfig
from swiftrl.rlhf.rewards.reward import RewardFunction, RewardMaker, RowFault

__all__ = ["REWARD", "passed_share", "program_in"]


def program_in(completion: str) -> str:
    """Return the last fenced block of the answer, or the whole answer if it has none."""
    part = answer_part(completion)
    blocks = fenced_blocks(part)
    return blocks[-1] if blocks else part


def passed_share(program: str, tests: str | list[Mapping[str, str]], limits: Limits) -> float:
    """Return the share of tests that a program passes.

    Args:
        program: Python.
        tests: statements to run after the program (1 if all of them run to their end, else 0), or
            cases {"input": what it reads, "output": what it must write}, compared line by line
            without white space at the ends.
        limits: of each run.
    """
    if not program.strip():
        return 0.0
    if isinstance(tests, str):
        return float(runs_to_its_end(f"{program}\n\n{tests}", limits))
    passed = 0
    for case in tests:
        outcome = run_program(program, case["input"], limits)
        passed += outcome.exit_code == 0 and _lines(outcome.stdout) == _lines(case["output"])
    return passed / len(tests)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def _checked(index: int, tests: object) -> Any:
    """Return a row's tests, or None if it has none."""
    if tests is None or isinstance(tests, str):
        return tests or None
    cases = tests if isinstance(tests, list) else [tests]
    for case in cases:
        fits = isinstance(case, Mapping) and all(
            isinstance(case.get(key), str) for key in ("input", "output")
        )
        if not fits:
            raise RowFault(
                index, '\'tests\' is no text and no list of {"input": text, "output": text}.'
            )
    return cases or None


def make(config: RewardConfig) -> RewardFunction:
    """Return the reward; programs run side by side, one for each processor."""
    if config.code_timeout <= 0:
        raise ConfigError(f"--code_timeout {config.code_timeout:g}: expected seconds above 0.")
    limits = Limits(config.code_timeout, config.code_memory)
    # Else every program would fail for want of room, and count as wrong.
    trial = run_program("print('ok')", limits=limits)
    if trial.stdout != "ok\n":
        raise ConfigError(
            f"the reward code: a program that only prints does not run within --code_timeout "
            f"{config.code_timeout:g} and --code_memory {config.code_memory}; raise them."
            f"{' It said: ' + trial.stderr.strip()[-200:] if trial.stderr.strip() else ''}"
        )
    if not network_is_cut():
        log.warn("the reward code: this system does not let programs be cut off the network.")

    def code(completions: list[str], tests: list[Any], **columns: Any) -> list[float | None]:
        checked = [_checked(index, row) for index, row in enumerate(tests)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            running = [
                None if row is None else pool.submit(passed_share, program_in(text), row, limits)
                for text, row in zip(completions, checked, strict=True)
            ]
            return [None if future is None else future.result() for future in running]

    return code


REWARD = RewardMaker(
    "The share of `tests` that the Python program in the reply passes, run with limits.",
    make,
    columns=("tests",),
)
