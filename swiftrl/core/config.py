"""Settings: dataclasses that become flags, YAML keys, help pages and one resolved record.

A command's settings are a few small dataclasses ("groups") whose field names are unique in the
command and serve as flags and as keys of a YAML or JSON file alike. `parse` reads them with the
precedence default < file < command line, using argparse for the command line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

from swiftrl.core.coerce import coerce, type_name
from swiftrl.core.errors import ConfigError
from swiftrl.core.registry import did_you_mean

__all__ = ["Option", "Settings", "flag_values", "help_page", "options_of", "parse", "setting"]

Group = TypeVar("Group")
CONFIG_SUFFIXES = (".yaml", ".yml", ".json")


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
                    f"{name} = {_plain(self.shown(name))} "
                    f"({source}; default {_plain(option.default)})"
                )
        return result

    def as_dict(self) -> dict[str, Any]:
        """Return every setting by name, ready for JSON; secrets are masked."""
        return {name: self.shown(name) for name in self.options}


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower() if isinstance(value, bool) else "unset"
    if isinstance(value, list):
        return " ".join(map(str, value)) if value else "[]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def flag_values(argv: Sequence[str], name: str) -> list[str]:
    """Return the raw words given for one flag, on the command line or in its file.

    It serves settings on which the others depend (`rlhf_type`), before the full parse.
    """
    arguments, file_values, _ = _split_file(list(argv))
    words: list[str] = []
    inside = False
    for word in arguments:
        head, equals, tail = word.partition("=")
        if word.startswith("--"):
            inside = head == f"--{name}"
            words = words if not inside else ([tail] if equals else [])
        elif inside:
            words.append(word)
    if not words and name in file_values:
        value = file_values[name]
        words = [str(item) for item in (value if isinstance(value, list) else [value])]
    return words


def parse(
    command: str,
    groups: Sequence[type],
    argv: Sequence[str],
    *,
    description: str,
    refuse: Callable[[str], str | None] = lambda name: None,
    shown_in_help: Sequence[type] = (),
) -> Settings:
    """Read the settings of a command.

    Args:
        command: what the user typed, for messages and help ("rlhf").
        groups: the command's settings.
        argv: the words after the command; the first may be a YAML or JSON file.
        description: shown by `--help`.
        refuse: given an unknown name (no dashes), returns why it is refused, or None.
        shown_in_help: groups that only other settings bring in, for a complete help page.

    Raises:
        ConfigError: an unknown name, a malformed value, or an unreadable file.
    """
    options = options_of(groups)
    arguments, file_values, file_name = _split_file(list(argv))
    known = {alias: o.name for o in options.values() for alias in (o.name, *o.aliases)}
    given: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for key, value in file_values.items():
        name = _known_name(str(key), known, refuse, f"{file_name}: ")
        given[name] = coerce(value, options[name].type, f"{file_name}: {key}")
        sources[name] = file_name
    if "-h" in arguments or "--help" in arguments:
        sys.stdout.write(help_page(command, groups, description, shown_in_help))
        raise SystemExit(0)
    parser = _build_parser(command, groups, description)
    namespace, rest = parser.parse_known_args(arguments)
    for name, raw in vars(namespace).items():
        if name in options:
            given[name] = coerce(raw, options[name].type, f"--{name}")
            sources[name] = "cli"
    for word in rest:
        if word.startswith("--"):
            _known_name(word[2:].partition("=")[0], known, refuse, "")
        raise ConfigError(f"unexpected argument {word!r}; flags start with -- and lists are words.")
    for name, value in given.items():
        _check_choice(options[name], value, sources[name])
    instances = {
        group: group(**{n: v for n, v in given.items() if options[n].group is group})
        for group in groups
    }
    return Settings(instances, sources, options)


def help_page(
    command: str, groups: Sequence[type], description: str, shown_in_help: Sequence[type] = ()
) -> str:
    """Return a command's help: every flag, those that other settings bring in included."""
    text = _build_parser(command, groups, description).format_help()
    for group in shown_in_help:
        if group not in groups:
            section = argparse.ArgumentParser(
                prog="", usage=argparse.SUPPRESS, add_help=False, formatter_class=_formatter
            )
            _add_section(section, group)
            text += "\n" + section.format_help().lstrip()
    return text


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=34, width=100)


def _build_parser(
    command: str, groups: Sequence[type], description: str
) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"swiftrl {command}",
        usage=f"swiftrl {command} [CONFIG.yaml] [--flag value ...]",
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=_formatter,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="YAML or JSON file of these settings; it may also stand first, without the flag. "
        "Flags win over it.",
    )
    for group in groups:
        _add_section(parser, group)
    return parser


def _add_section(parser: argparse.ArgumentParser, group: type) -> None:
    title = (group.__doc__ or group.__name__).strip().splitlines()[0].rstrip(".")
    section = parser.add_argument_group(title)
    for option in options_of([group]).values():
        boolean = "bool" in type_name(option.type)
        section.add_argument(
            *[f"--{name}" for name in (option.name, *option.aliases)],
            dest=option.name,
            nargs="*" if option.is_list else ("?" if boolean else None),
            const="true" if boolean else None,
            metavar=_metavar(option),
            help=f"{option.help} (default: {_plain(option.default)})".replace("%", "%%"),
        )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ConfigError(f"{self.prog}: {message}. See {self.prog} --help.")


def _metavar(option: Option) -> str:
    if option.choices:
        return "{" + ",".join(map(str, option.choices)) + "}"
    return type_name(option.type).removeprefix("list of ").upper()


def _known_name(
    name: str, known: Mapping[str, str], refuse: Callable[[str], str | None], where: str
) -> str:
    if name in known:
        return known[name]
    reason = refuse(name)
    if reason:
        raise ConfigError(f"{where}--{name}: {reason}")
    raise ConfigError(f"{where}unknown setting --{name}.{did_you_mean(name, list(known))}")


def _check_choice(option: Option, value: Any, source: str) -> None:
    if option.choices is None or value is None:
        return
    for item in value if isinstance(value, list) else [value]:
        if item not in option.choices:
            where = f"--{option.name}" if source == "cli" else f"{source}: {option.name}"
            raise ConfigError(
                f"{where}: found {item!r}; expected one of {', '.join(map(str, option.choices))}."
                + did_you_mean(str(item), [str(choice) for choice in option.choices])
            )


def _split_file(argv: list[str]) -> tuple[list[str], dict[str, Any], str]:
    """Return (words without the file, the file's values, its name); apply its ENV block."""
    path = None
    if argv and not argv[0].startswith("-") and argv[0].endswith(CONFIG_SUFFIXES):
        path, argv = argv[0], argv[1:]
    else:
        for index, word in enumerate(argv):
            if word == "--config" or word.startswith("--config="):
                inline = word.partition("=")[2]
                width = 1 if inline else 2
                path = inline or (argv[index + 1] if index + 1 < len(argv) else "")
                argv = argv[:index] + argv[index + width :]
                break
    if path is None:
        return argv, {}, ""
    values = _read_file(Path(path))
    for name, value in (values.pop("ENV", None) or {}).items():
        os.environ.setdefault(str(name), str(value))
    return argv, values, Path(path).name


def _read_file(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected a YAML or JSON file of settings.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as YAML or JSON: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected `name: value` lines; found a {type(values).__name__}.")
    return values
