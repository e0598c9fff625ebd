"""LLaMA-Factory's `dataset_info.json`: what a data file is called and how its columns are named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftrl.core.errors import DataError
from swiftrl.core.registry import did_you_mean
from swiftrl.data.draft import as_list, shown
from swiftrl.data.rows import BadRow

__all__ = ["INFO_NAME", "Entry", "entry_for_file", "load_entry", "load_info"]

INFO_NAME = "dataset_info.json"
_PLACES = (
    "file_name",
    "hf_hub_url",
    "ms_hub_url",
    "om_hub_url",
    "script_url",
    "cloud_file_name",
)
_FORMATTINGS = ("alpaca", "sharegpt", "openai")
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output"}
_CANONICAL = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "history": "history",
    "system": "system",
    "tools": "tools",
    "images": "images",
    "videos": "videos",
    "audios": "audios",
    "chosen": "chosen",
    "rejected": "rejected",
    "kto_tag": "label",
    "messages": "messages",
}
_TAGS = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool_response",
    "function_tag": "tool_call",
    "system_tag": "system",
}


@dataclass(frozen=True)
class Entry:
    """One data set of a `dataset_info.json`.

    Attributes:
        name: its key in the file.
        folder: of the `dataset_info.json`; `file_name` is relative to it.
        file_name: a file or folder, or None for a hub id.
        hubs: hub ids by hub ("hf", "ms").
        subset: of the hub data set.
        split: of the hub data set.
        num_samples: how many rows to take, or None for all.
        formatting: alpaca, sharegpt or openai.
        ranking: the rows are preference pairs.
        columns: LLaMA-Factory's names of columns to the file's.
        tags: its names of keys and roles in messages to the file's.
    """

    name: str
    folder: Path
    file_name: str | None = None
    hubs: Mapping[str, str] = field(default_factory=dict)
    subset: str | None = None
    split: str = "train"
    num_samples: int | None = None
    formatting: str = "alpaca"
    ranking: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def reading(self) -> tuple[object, ...]:
        """All that decides how rows are read, for caches."""
        return (
            self.formatting,
            self.ranking,
            sorted(self.columns.items()),
            sorted(self.tags.items()),
        )

    def apply(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row's columns under the names that the alpaca or messages format knows.

        Raises:
            BadRow: the row lacks the columns that the entry promises.
        """
        names = self._names(values)
        needed = "prompt" if self.formatting == "alpaca" else "messages"
        if names[needed] not in values:
            raise BadRow(
                f"{self.name!r} in {self.folder / INFO_NAME} says that {needed} stand in the "
                f'column "{names[needed]}"; the row has '
                f"{', '.join(map(repr, values)) or 'no columns'}."
            )
        renamed = {old: _CANONICAL[new] for new, old in names.items() if old in values}
        result = {renamed.get(name, name): value for name, value in values.items()}
        if self.formatting == "alpaca":
            return self._alpaca(result)
        turns = as_list(result["messages"], names["messages"])
        result["messages"] = [self._turn(turn) for turn in turns]
        for name in ("chosen", "rejected") if self.ranking else ():
            if isinstance(result.get(name), Mapping):
                result[name] = self._turn(result[name])
        return result

    def _names(self, values: Mapping[str, Any]) -> dict[str, str]:
        """LLaMA-Factory's names of columns to the file's, its defaults where none are given."""
        if self.columns:
            default = {"prompt": "prompt"} if self.formatting == "alpaca" else {}
            return {**default, "messages": "messages", **self.columns}
        if self.formatting == "alpaca":
            return dict(_ALPACA)
        return {"messages": "messages" if "messages" in values else "conversations"}

    def _alpaca(self, values: dict[str, Any]) -> dict[str, Any]:
        output = values.get("output")
        if self.ranking and isinstance(output, list) and len(output) == 2:
            del values["output"]
            values["chosen"], values["rejected"] = output
        if set(self.columns) == {"prompt"}:
            values["text"] = values.pop("instruction")
        return values

    def _turn(self, turn: Any) -> Any:
        if not isinstance(turn, Mapping):
            return turn
        keys = ("role", "content") if self.formatting == "openai" else ("from", "value")
        role_key = self.tags.get("role_tag", keys[0])
        content_key = self.tags.get("content_tag", keys[1])
        roles = {self.tags[tag]: role for tag, role in _TAGS.items() if tag in self.tags}
        rest = {key: item for key, item in turn.items() if key not in (role_key, content_key)}
        role = turn.get(role_key)
        if role is not None:
            rest["role"] = roles.get(role, role) if isinstance(role, str) else role
        if content_key in turn:
            rest["content"] = turn[content_key]
        return rest


def load_info(path: Path) -> dict[str, Any] | None:
    """Return the contents of a `dataset_info.json`, or None if it is not LLaMA-Factory's.

    `datasets` writes a file of the same name beside its Arrow files.

    Raises:
        DataError: the file is not JSON.
    """
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not JSON: {error}.") from None
    entries = info.values() if isinstance(info, dict) else ()
    ours = any(isinstance(entry, dict) and set(_PLACES) & entry.keys() for entry in entries)
    return info if ours else None


def load_entry(path: Path, name: str) -> Entry:
    """Return the entry called `name`.

    Args:
        path: a `dataset_info.json`, or its folder.
        name: the key of the data set.

    Raises:
        DataError: no such file or entry, or the entry is malformed.
    """
    file = path / INFO_NAME if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{file} does not exist; expected LLaMA-Factory's {INFO_NAME}.")
    info = load_info(file)
    if info is None:
        raise DataError(f"{file}: not in LLaMA-Factory's form; no entry has a file_name or hub id.")
    if name not in info:
        hint = did_you_mean(name, list(info))
        raise DataError(f"{file}: has no data set {name!r}.{hint}")
    return _parse_entry(name, info[name], file)


def entry_for_file(path: Path) -> Entry | None:
    """Return the entry for a data file from the `dataset_info.json` beside it, if there is one.

    Of several entries for one file the one named like the file is taken, else the first.
    """
    beside = path.parent / INFO_NAME
    if path.name == INFO_NAME or not beside.is_file():
        return None
    info = load_info(beside) or {}
    names = [
        name
        for name, entry in info.items()
        if isinstance(entry, dict) and entry.get("file_name") == path.name
    ]
    if not names:
        return None
    name = path.stem if path.stem in names else names[0]
    return _parse_entry(name, info[name], beside)


def _parse_entry(name: str, entry: Any, file: Path) -> Entry:
    where = f"{file}: {name!r}"
    if not isinstance(entry, dict):
        raise DataError(f"{where} is {shown(entry)}; expected an object.")
    formatting = entry.get("formatting", "alpaca")
    if formatting not in _FORMATTINGS:
        raise DataError(
            f"{where} has the formatting {shown(formatting)}; expected {', '.join(_FORMATTINGS)}."
        )
    columns, tags = entry.get("columns") or {}, entry.get("tags") or {}
    for key in ("columns", "tags"):
        value = entry.get(key) or {}
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise DataError(f"{where}: {key} is {shown(value)}; expected an object of names.")
    for key in ("file_name", "hf_hub_url", "ms_hub_url", "subset"):
        if not isinstance(entry.get(key, ""), str | None):
            raise DataError(f"{where}: {key} is {shown(entry[key])}; expected text.")
    unknown = sorted(set(columns) - set(_CANONICAL))
    if unknown:
        hint = did_you_mean(unknown[0], list(_CANONICAL))
        raise DataError(f"{where} maps the column {unknown[0]!r}, which is unknown.{hint}")
    hubs = {hub: entry[f"{hub}_hub_url"] for hub in ("hf", "ms") if f"{hub}_hub_url" in entry}
    if "file_name" not in entry and not hubs:
        raise DataError(f"{where} has neither file_name nor hf_hub_url nor ms_hub_url.")
    return Entry(
        name=name,
        folder=file.parent,
        file_name=entry.get("file_name"),
        hubs=hubs,
        subset=entry.get("subset"),
        split=entry.get("split", "train"),
        num_samples=entry.get("num_samples"),
        formatting=formatting,
        ranking=bool(entry.get("ranking", False)),
        columns={new: old for new, old in columns.items() if old},
        tags={tag: value for tag, value in tags.items() if value},
    )
