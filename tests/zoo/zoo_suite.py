"""The whole suite for one architecture, and the table of all results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import transformers
import zoo_groups
import zoo_scores
from huggingface_hub.errors import StrictDataclassError
from zoo_case import Case
from zoo_checks import CHECKS, MEDIA_CHECKS, layout_of
from zoo_files import save_and_load

from swiftrl.core.errors import SwiftRLError
from swiftrl.models.catalog import all_specs

__all__ = ["ALL_CHECKS", "architectures", "failed", "run", "write"]

ALL_CHECKS: Mapping[str, Callable[[Case], None]] = {**CHECKS, "save and load": save_and_load}
# Whatever a tiny model of any make may raise is a failed check, not the end of the suite.
FAILURES = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError,
    RuntimeError, StrictDataclassError, SwiftRLError, TypeError, ValueError,
)  # fmt: skip


def architectures() -> list[str]:
    """Return every class that the registry names and this transformers implements."""
    named = {name for spec in all_specs() for name in spec.architectures}
    return sorted(name for name in named if hasattr(transformers, name))


def run(architecture: str) -> dict[str, Any]:
    """Return what the checks find of one architecture, ready for the table."""
    case = Case(architecture)
    if case.recipe.beyond:
        return failed(case.recipe.beyond)
    if not case.model_class.can_generate():
        checks, problems = _checked(case, zoo_scores.CHECKS)
        return failed(zoo_scores.REASON, checks=checks, errors=problems)
    try:
        layout, reason = layout_of(case)
    except FAILURES as error:
        return failed(case.recipe.cause, errors=[f"a tiny model: {_first_line(error)}"])
    checks, problems = _checked(
        case,
        {
            name: check
            for name, check in ALL_CHECKS.items()
            if name not in case.recipe.left_out and _applies(name, case, layout)
        },
    )
    left_out = {**case.recipe.without, **case.recipe.left_out}
    reasons = [case.recipe.cause if problems else "", reason]
    reasons += [f"without {name}: {why}" for name, why in left_out.items()]
    groups = {} if case.spec.quant_groups else {"quant_groups": _groups(case)}
    return {
        **groups,
        "level": "tiny" if checks and all(checks.values()) else "listed",
        "layout": layout,
        "reason": "; ".join(filter(None, reasons)),
        "checks": checks,
        "modalities": case.modalities,
        "errors": problems,
    }


def _groups(case: Case) -> list[list[str]]:
    """Return which layers share an input, for a family whose entry does not say."""
    try:
        return zoo_groups.shared_inputs(case)
    except FAILURES:
        return []


def _checked(
    case: Case, checks: Mapping[str, Callable[[Case], None]]
) -> tuple[dict[str, bool], list[str]]:
    """Return which checks passed, and what the others raised."""
    problems: dict[str, str] = {}
    for name, check in checks.items():
        try:
            check(case)
        except FAILURES as error:
            problems[name] = f"{name}: {_first_line(error)}"
    return {name: name not in problems for name in checks}, list(problems.values())


def _applies(name: str, case: Case, layout: str) -> bool:
    if name == "tree":
        return layout == "tree"
    return name not in MEDIA_CHECKS or bool(case.media)


def failed(
    reason: str, *, checks: Mapping[str, bool] | None = None, errors: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the result of an architecture that not all of the suite runs on."""
    return {
        "level": "listed",
        "layout": "rows",
        "reason": reason,
        "checks": dict(checks or {}),
        "modalities": [],
        "errors": list(errors),
    }


def write(path: Path, results: Mapping[str, Mapping[str, Any]], *, whole: bool) -> None:
    """Write the table; without `whole`, results that are there already and not in it stay.

    What checks raised stays out: a failure has a cause, in words, in its recipe.
    """
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() and not whole else {}
    for name, result in results.items():
        stored[name] = {key: value for key, value in result.items() if key != "errors"}
    stored.pop("_versions", None)
    versions = {name: metadata.version(name) for name in ("transformers", "torch")}
    versions["torch"] = versions["torch"].partition("+")[0]
    table = {"_versions": versions, **{name: stored[name] for name in sorted(stored)}}
    path.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    # A validator's message has the cause on its second line.
    text = " ".join(line.strip() for line in lines[:2])
    return f"{type(error).__name__}: {text}"[:240] if text else type(error).__name__
