"""The `objects` column of grounding data: names and boxes that tags in the text stand for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from swiftrl.data.draft import as_list, shown
from swiftrl.data.rows import BadRow

__all__ = ["fill_objects"]

_TAG = re.compile(r"<(ref-object|bbox)>")
_COLUMNS = {"ref-object": "ref", "bbox": "bbox"}


def fill_objects(turns: list[Any], objects: Any) -> list[Any]:
    """Return `turns` with each <ref-object> and <bbox> replaced by the next entry of `objects`.

    Boxes are written as they stand, as a JSON list of numbers: models disagree on how boxes are
    scaled and marked, so data should hold the form that the model was trained on.

    Args:
        turns: raw messages.
        objects: {"ref": [names], "bbox": [[x1, y1, x2, y2], ...]}.

    Raises:
        BadRow: the numbers of tags and entries differ.
    """
    if isinstance(objects, str):
        try:
            objects = json.loads(objects)
        except json.JSONDecodeError:
            objects = None
    if not isinstance(objects, Mapping):
        raise BadRow(f'"objects" is {shown(objects)}; expected {{"ref": [...], "bbox": [...]}}.')
    entries = {
        tag: as_list(objects.get(name) or [], f"objects.{name}") for tag, name in _COLUMNS.items()
    }
    taken = dict.fromkeys(entries, 0)

    def replacement(match: re.Match[str]) -> str:
        tag = match.group(1)
        if taken[tag] >= len(entries[tag]):
            raise BadRow(
                f"the text has more <{tag}> tags than objects.{_COLUMNS[tag]} has entries "
                f"({len(entries[tag])})."
            )
        item = entries[tag][taken[tag]]
        taken[tag] += 1
        return item if isinstance(item, str) else json.dumps(item, default=repr)

    filled = [_filled(turn, replacement) for turn in turns]
    for tag, count in taken.items():
        if count and count < len(entries[tag]):
            raise BadRow(
                f"objects.{_COLUMNS[tag]} has {len(entries[tag])} entries, but the text has "
                f"{count} <{tag}> tags."
            )
    return filled


def _filled(turn: Any, replacement: Any) -> Any:
    if not isinstance(turn, Mapping):
        return turn
    key = "content" if "content" in turn else "value"
    content = turn.get(key)
    if not isinstance(content, str):
        return turn
    return {**turn, key: _TAG.sub(replacement, content)}
