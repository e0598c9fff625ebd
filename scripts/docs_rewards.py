"""The table of rewards, for scripts/docs.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from swiftrl.rlhf.rewards.reward import REWARDS

HEADERS = {
    "en": "| Name | Columns | Source | Value |",
    "zh": "| 名称 | 所需的列 | 出处 | 取值 |",
}


def rewards_table(code: str, text: Callable[[str, Sequence[str], str], str]) -> str:
    """Return the table of built-in rewards in the language `code`, its summaries from `text`."""
    lines = [HEADERS[code], "|---|---|---|---|"]
    for name, maker in REWARDS.items():
        columns = ", ".join(f"`{column}`" for column in maker.columns) or "–"
        summary = text("rewards", [name], maker.summary)
        lines.append(f"| `{name}` | {columns} | {maker.paper or '–'} | {summary} |")
    return "\n".join(lines)
