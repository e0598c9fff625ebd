"""Command line and file to settings: precedence default < file < command line, by argparse."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftrl.core.coerce import coerce, type_name
from swiftrl.core.config import Option, Settings, options_of, plain
from swiftrl.core.errors import ConfigError
from swiftrl.core.registry import did_you_mean

__all__ = ["CONFIG_SUFFIXES", "flag_values", "help_page", "parse"]

CONFIG_SUFFIXES = (".yaml", ".yml", ".json")
"""Of files of settings."""


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
    keys = [str(key) for key in file_values]
    _refuse_unknown(keys, known, refuse, f"{file_name}: ")
    for key, value in file_values.items():
        name = known[str(key)]
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
    flags = [word[2:].partition("=")[0] for word in rest if word.startswith("--")]
    _refuse_unknown(flags, known, refuse, "")
    if rest:
        raise ConfigError(
            f"unexpected argument {rest[0]!r}; flags start with -- and lists are words."
        )
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
            help=f"{option.help} (default: {plain(option.default)})".replace("%", "%%"),
        )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ConfigError(f"{message.removeprefix('argument ')}. See {self.prog} --help.")


def _metavar(option: Option) -> str:
    if option.choices:
        return "{" + ",".join(map(str, option.choices)) + "}"
    return type_name(option.type).removeprefix("list of ").upper()


def _refuse_unknown(
    names: Sequence[str],
    known: Mapping[str, str],
    refuse: Callable[[str], str | None],
    where: str,
) -> None:
    """Name every setting that there is not, all at once."""
    problems = []
    for name in dict.fromkeys(names):
        if name in known:
            continue
        reason = refuse(name)
        problems.append(
            f"{where}--{name}: {reason}"
            if reason
            else f"{where}unknown setting --{name}.{did_you_mean(name, list(known))}"
        )
    if problems:
        raise ConfigError("\n  ".join(problems))


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
    if not path:
        raise ConfigError("--config: expected a YAML or JSON file behind it.")
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
