"""Check rendering and masks against golden ones of vendors' chat templates.

    python scripts/golden.py FOLDER

FOLDER holds `templates/NAME.jinja`; `fixtures.json`, a list of conversations with an "id";
`golden.jsonl.gz`, a line a rendering, with the text or the error of the template; and, if masks are
to be checked, `golden_masks.jsonl.gz`, a line a conversation with the spans of the assistant's
characters. Spans of the confidence "prefix==slot" must be met exactly, others are counted only. The
date is that of the golden renderings, 15 January 2026.
"""

from __future__ import annotations

import datetime
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from swiftrl.core.errors import TemplateError
from swiftrl.core.messages import Conversation, Message, ToolCall
from swiftrl.templates.template import Template

_ERROR_LENGTH = 160  # golden errors are cut there


class _Noon(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> _Noon:
        return cls(2026, 1, 15, 12, tzinfo=tz)


def main(folder: Path) -> int:
    """Print every difference and the counts; return 1 if a certain one differs."""
    counts: Counter[str] = Counter()
    fixtures = {item["id"]: item for item in json.loads((folder / "fixtures.json").read_text())}
    templates: dict[str, Template] = {}
    for row in _rows(folder / "golden.jsonl.gz"):
        template = _template(folder, row, templates)
        _count(counts, "renderings", _renders(template, row, fixtures[row["fixture"]]), row)
    for row in _rows(folder / "golden_masks.jsonl.gz"):
        template = _template(folder, row, templates)
        _count(counts, f"masks ({row['confidence']})", _masks(template, row), row)
    for name, count in sorted(counts.items()):
        _say(f"{count:7d} {name}")
    certain = ("renderings: differ", "masks (prefix==slot): differ")
    return int(any(counts[name] for name in certain))


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if file.exists():
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            yield from map(json.loads, lines)


def _count(counts: Counter[str], name: str, exact: bool, row: dict[str, Any]) -> None:
    counts[f"{name}: {'exact' if exact else 'differ'}"] += 1
    if not exact:
        _say(f"{name} differ: {row['template']} {row.get('fixture') or row.get('scenario')}")


def _template(folder: Path, row: dict[str, Any], known: dict[str, Template]) -> Template:
    name = row["template"]
    if name not in known:
        source = (folder / "templates" / f"{name}.jinja").read_text(encoding="utf-8")
        known[name] = Template.load(_tokenizer(source, row["special_tokens"]))
    return known[name]


def _tokenizer(chat_template: str, special: dict[str, str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    tokenizer.chat_template = chat_template
    return tokenizer


def _renders(template: Template, row: dict[str, Any], fixture: dict[str, Any]) -> bool:
    messages = fixture["messages"]
    if row["content_style"] == "parts":
        messages = [_in_parts(message) for message in messages]
    try:
        text = template.renderer.render(
            messages,
            fixture["tools"] or (),
            add_generation_prompt=row["add_generation_prompt"],
            continue_final_message=row["continue_final_message"],
            **row["kwargs"],
        )
    except TemplateError as error:
        cause = error.__cause__
        kind, said = type(cause).__name__, str(cause)[:_ERROR_LENGTH]
        return f"{kind}: {said}" == row["error"]
    return text == row["rendered"]


def _in_parts(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, str):
        return message
    return {**message, "content": [{"type": "text", "text": content}]}


def _masks(template: Template, row: dict[str, Any]) -> bool:
    messages = tuple(_message(message) for message in row["messages"])
    conversation = Conversation(messages, tuple(row["tools"] or ()))
    try:
        run = template.run(conversation)
        found = run.locate(run.wanted("default"))
    except TemplateError:
        return False
    spans = [(span.message, span.start, span.end) for span in found.spans]
    golden = [(span["message"], span["start"], span["end"]) for span in row["spans"] or ()]
    return found.text == row["rendered"] and spans == golden


def _message(message: dict[str, Any]) -> Message:
    calls = tuple(
        ToolCall(call["function"]["name"], call["function"]["arguments"], call.get("id"))
        for call in message.get("tool_calls") or ()
    )
    return Message(
        message["role"],
        message.get("content") or "",
        message.get("reasoning_content"),
        calls,
        message.get("name"),
        message.get("tool_call_id"),
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    with mock.patch("transformers.utils.chat_template_utils.datetime", _Noon):
        sys.exit(main(Path(sys.argv[1])))
