"""What a model's folder holds that tells families of one architecture apart; weights unread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from swiftrl.models.folder import read_json
from swiftrl.models.spec import Markers

__all__ = ["Evidence"]

_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json")
# transformers 5 writes `rope_parameters` where older versions wrote these.
_ROPE = {"rope_theta": "rope_parameters.rope_theta", "rope_scaling": "rope_parameters"}


@dataclass(frozen=True)
class Evidence:
    """A model's configuration and tokenizer files, read when asked for.

    Attributes:
        config: config.json.
        folder: where the tokenizer's files are looked for; None where there is only a config.
        names: names that the model goes by: what the user typed, the folder's name, and so on.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    names: tuple[str, ...] = ()

    @property
    def has_tokenizer(self) -> bool:
        """Whether any file of a tokenizer is there."""
        return any(self._file(name) is not None for name in _TOKENIZER_FILES)

    @cached_property
    def tokens(self) -> frozenset[str]:
        """Every token that the tokenizer's JSON files name."""
        settings = self._json("tokenizer_config.json")
        found = {_content(entry) for entry in settings.get("added_tokens_decoder", {}).values()}
        found |= {_content(value) for key, value in settings.items() if key.endswith("_token")}
        found |= {_content(value) for value in self._json("special_tokens_map.json").values()}
        found |= set(self._json("added_tokens.json"))
        whole = self._json("tokenizer.json")
        found |= {_content(entry) for entry in whole.get("added_tokens") or ()}
        vocabulary = (whole.get("model") or {}).get("vocab")
        if isinstance(vocabulary, Mapping):
            found |= set(vocabulary)
        return frozenset(found - {""})

    @cached_property
    def template(self) -> str:
        """The text of every chat template in the folder; empty if there is none."""
        texts = []
        for name in ("chat_template.jinja", *self._extra_templates()):
            file = self._file(name)
            if file is not None:
                texts.append(file.read_text(encoding="utf-8", errors="replace"))
        for name in ("chat_template.json", "tokenizer_config.json"):
            texts += _template_texts(self._json(name).get("chat_template"))
        return "\n".join(texts)

    @cached_property
    def eos(self) -> str:
        """The tokenizer's end-of-sequence token, or an empty string."""
        return _content(self._json("tokenizer_config.json").get("eos_token"))

    def holds(self, markers: Markers) -> bool | None:
        """Return whether all of a family's conditions hold.

        None: nothing speaks against them, but what would prove them is absent (no tokenizer
        files, or a folder that was renamed).
        """
        results = [self._setting(key) in wanted for key, wanted in markers.config.items()]
        unknown = bool(markers.tokens or markers.template_contains) and not self.has_tokenizer
        if not unknown:
            results += [token in self.tokens for token in markers.tokens]
            results += [text in self.template for text in markers.template_contains]
        if not all(results):
            return False
        if markers.names and not self._is_called(markers.names):
            unknown = True
        return None if unknown else True

    def _is_called(self, fragments: tuple[str, ...]) -> bool:
        names = [name.lower() for name in self.names]
        return any(fragment in name for fragment in fragments for name in names)

    def _setting(self, key: str) -> Any:
        value = _dotted(self.config, key)
        if value is None:
            first, dot, rest = key.partition(".")
            if first in _ROPE:
                value = _dotted(self.config, _ROPE[first] + dot + rest)
        return value if isinstance(value, (str, int, float, bool)) else None

    def _file(self, name: str) -> Path | None:
        file = self.folder / name if self.folder is not None else None
        return file if file is not None and file.is_file() else None

    def _extra_templates(self) -> list[str]:
        if self.folder is None:
            return []
        found = (self.folder / "additional_chat_templates").glob("*.jinja")
        return sorted(str(file.relative_to(self.folder)) for file in found)

    def _json(self, name: str) -> dict[str, Any]:
        file = self._file(name)
        return read_json(file) if file is not None else {}


def _dotted(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _content(entry: Any) -> str:
    """Return a token's text: stored as it is, or in an object's "content"."""
    if isinstance(entry, Mapping):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else ""


def _template_texts(stored: Any) -> list[str]:
    """Return the texts under "chat_template": one, or a list of {"name", "template"}."""
    if isinstance(stored, str):
        return [stored]
    if isinstance(stored, Mapping):
        return [text for text in stored.values() if isinstance(text, str)]
    if isinstance(stored, list):
        return [str(entry.get("template", "")) for entry in stored if isinstance(entry, Mapping)]
    return []
