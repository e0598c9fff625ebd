"""Settings: dataclasses that become flags, YAML keys, help pages and one resolved record.

A command's settings are a few small dataclasses ("groups") whose field names are unique in the
command and serve as flags and as keys of a YAML or JSON file alike; `core.parse` reads them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast, get_type_hints

from swiftrl.core.coerce import type_name

__all__ = ["Option", "Settings", "options_of", "plain", "setting"]

Group = TypeVar("Group")


def setting(
    default: Any,
    help: str,
    *,
    choices: Sequence[Any] | None = None,
    aliases: Sequence[str] = (),
    secret: bool = False,
) -> Any:
    """Declare a field of a settings group.

    Args:
        default: value when nobody sets it; lists and dicts are copied for each instance.
        help: one or two sentences for `--help`.
        choices: allowed values (of each element, for a list).
        aliases: other names by which the flag is known.
        secret: never shown or saved.
    """
    metadata = {"help": help, "choices": choices, "aliases": tuple(aliases), "secret": secret}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Option:
    """One setting as the command line sees it."""

    name: str
    type: Any
    default: Any
    help: str
    choices: tuple[Any, ...] | None
    aliases: tuple[str, ...]
    secret: bool
    group: type

    @property
    def is_list(self) -> bool:
        """Whether the flag takes several values."""
        return "list" in type_name(self.type)


def options_of(groups: Sequence[type]) -> dict[str, Option]:
    """Return the options of some groups by name; a name in two groups is a programming error."""
    options: dict[str, Option] = {}
    for group in groups:
        hints = get_type_hints(group)
        for entry in dataclasses.fields(group):
            assert entry.name not in options, f"{entry.name} stands in two groups"
            default = (
                entry.default_factory()
                if entry.default_factory is not dataclasses.MISSING
                else entry.default
            )
            meta = entry.metadata
            options[entry.name] = Option(
                name=entry.name,
                type=hints[entry.name],
                default=default,
                help=meta["help"],
                choices=tuple(meta["choices"]) if meta["choices"] else None,
                aliases=meta["aliases"],
                secret=meta["secret"],
                group=group,
            )
    return options


@dataclass(frozen=True)
class Settings:
    """The resolved settings of one run.

    Attributes:
        groups: an instance of each group.
        sources: for each setting that was given, "cli" or the file's name.
        options: every setting of the command.
    """

    groups: dict[type, Any]
    sources: dict[str, str]
    options: dict[str, Option]

    def __getitem__(self, group: type[Group]) -> Group:
        return cast(Group, self.groups[group])

    def value(self, name: str) -> Any:
        """Return one setting's value by name."""
        return getattr(self.groups[self.options[name].group], name)

    def replace(self, **changes: Any) -> Settings:
        """Return a copy with settings that the program resolved (`sources` says "resolved")."""
        groups = dict(self.groups)
        for name, value in changes.items():
            group = self.options[name].group
            groups[group] = dataclasses.replace(groups[group], **{name: value})
        sources = self.sources | {name: "resolved" for name in changes if name not in self.sources}
        return Settings(groups, sources, self.options)

    def shown(self, name: str) -> Any:
        """Return one setting's value as it may be shown: secrets are masked."""
        value = self.value(name)
        return "***" if self.options[name].secret and value else value

    def lines(self) -> list[str]:
        """Return "name = value (source; default d)" for every setting that is not its default."""
        result = []
        for name, option in self.options.items():
            value = self.value(name)
            if value != option.default:
                source = self.sources.get(name, "resolved")
                result.append(
                    f"{name} = {plain(self.shown(name))} "
                    f"({source}; default {plain(option.default)})"
                )
        return result

    def as_dict(self) -> dict[str, Any]:
        """Return every setting by name, ready for JSON; secrets are masked."""
        return {name: self.shown(name) for name in self.options}


def plain(value: Any) -> str:
    """Return a setting's value as people write it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower() if isinstance(value, bool) else "unset"
    if isinstance(value, list):
        return " ".join(map(str, value)) if value else "[]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
