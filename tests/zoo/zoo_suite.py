"""The whole suite for one architecture, and the table of all results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub.errors import StrictDataclassError
from zoo_case import Case
from zoo_checks import CHECKS, MEDIA_CHECKS, layout_of
from zoo_files import save_and_load
from zoo_recipes import recipe_of

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
    recipe = recipe_of(architecture)
    if recipe.beyond:
        return failed(recipe.beyond)
    case = Case(architecture)
    try:
        layout, reason = layout_of(case)
    except FAILURES as error:
        cause = f"; cause: {recipe.cause}" if recipe.cause else ""
        return failed(f"a tiny model: {_first_line(error)}{cause}")
    checks: dict[str, bool] = {}
    problems = []
    for name, check in ALL_CHECKS.items():
        if name in recipe.left_out or not _applies(name, case, layout):
            continue
        try:
            check(case)
            checks[name] = True
        except FAILURES as error:
            checks[name] = False
            problems.append(f"{name}: {_first_line(error)}")
    if problems and recipe.cause:
        problems.append(f"cause: {recipe.cause}")
    left_out = [f"without {name}: {why}" for name, why in recipe.without.items()]
    left_out += [f"without {name}: {why}" for name, why in recipe.left_out.items()]
    return {
        "level": "tiny" if checks and all(checks.values()) else "listed",
        "layout": layout,
        "reason": "; ".join([*problems, *([reason] if reason else []), *left_out]),
        "checks": checks,
        "modalities": case.modalities,
    }


def _applies(name: str, case: Case, layout: str) -> bool:
    if name == "tree":
        return layout == "tree"
    return name not in MEDIA_CHECKS or bool(case.media)


def failed(reason: str) -> dict[str, Any]:
    """Return the result of an architecture whose checks never ran."""
    return {"level": "listed", "layout": "rows", "reason": reason, "checks": {}, "modalities": []}


def write(path: Path, results: Mapping[str, Mapping[str, Any]], *, whole: bool) -> None:
    """Write the table; without `whole`, results that are there already and not in it stay."""
    stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() and not whole else {}
    stored.update(results)
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
