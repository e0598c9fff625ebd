"""The table of the template library, each format shown by a question and its answer."""

from __future__ import annotations

from swiftrl.templates import library
from swiftrl.templates.render import ChatRenderer

__all__ = ["templates_table"]

_HEADERS = {
    "en": "| In the library | A question and its answer | The same format |",
    "zh": "| 模板库 | 一问一答 | 同一格式的其他名称 |",
}
_CHAT = ({"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"})


def templates_table(language: str) -> str:
    """Return the table in "en" or "zh"."""
    rows = [_HEADERS[language], "|---|---|---|"]
    for name in library.names():
        others = ", ".join(f"`{other}`" for other in library.aliases(name))
        rows.append(f"| `{name}` | `{_shown(name)}` | {others} |")
    return "\n".join(rows)


def _shown(name: str) -> str:
    renderer = ChatRenderer(
        {"default": library.source(name)}, {"bos_token": "", "eos_token": "EOS"}
    )
    text = renderer.render(_CHAT)
    return text.replace("\n", "\\n").replace("|", "\\|")
