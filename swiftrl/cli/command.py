"""What a command is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swiftrl.cli.hardware import lacking
from swiftrl.core.config import Settings, options_of
from swiftrl.core.parse import CONFIG_SUFFIXES, help_page, parse
from swiftrl.core.registry import Registry

__all__ = ["COMMANDS", "Command", "command_of", "help_of", "settings_of"]


def _no_groups(argv: Sequence[str]) -> list[type]:
    return []


def _unchecked(settings: Settings) -> None:
    return None


def _nothing_refused(name: str, argv: Sequence[str]) -> str | None:
    return None


@dataclass(frozen=True)
class Command:
    """A command of `swiftrl`.

    Attributes:
        summary: one line for `swiftrl --help`.
        description: the first paragraph of its own help page.
        groups: given the words after the command, returns its settings groups.
        run: does the work and returns the exit code.
        check: refuses settings that do not fit each other, before other processes are started.
        refuse: given an unknown flag and the words, says why it is refused, or None.
        shown_in_help: groups listed by --help though these words do not bring them in.
        needs_torch: whether torch is imported, and a failure of that explained, before it runs.
        trains: whether several processes may share the work (NPROC_PER_NODE).
        positional: setting that takes the leading words without a dash: all of them if it is a
            list (`data check FILES`), else the first (`plan rlhf CONFIG.yaml`).
    """

    summary: str
    description: str
    groups: Callable[[Sequence[str]], list[type]]
    run: Callable[[Settings], int]
    check: Callable[[Settings], object] = _unchecked
    refuse: Callable[[str, Sequence[str]], str | None] = _nothing_refused
    shown_in_help: Callable[[Sequence[str]], list[type]] = _no_groups
    needs_torch: bool = True
    trains: bool = False
    positional: str | None = None


COMMANDS: Registry[Command] = Registry("command", "swiftrl.cli.commands", "COMMAND")


def command_of(name: str) -> Command:
    """Return a command by the name that the user types."""
    return COMMANDS.get(name.replace("-", "_"))


def settings_of(name: str, argv: Sequence[str]) -> Settings:
    """Return the settings that the words after a command's name give.

    Raises:
        ConfigError: they do not fit.
    """
    command = command_of(name)
    words = _named(command, list(argv))
    return parse(
        name,
        command.groups(words),
        words,
        description=command.description,
        refuse=lambda flag: lacking(flag, words) or command.refuse(flag, words),
        shown_in_help=command.shown_in_help(words),
    )


def _named(command: Command, words: list[str]) -> list[str]:
    """Give leading words the flag of the command's positional setting."""
    flag = command.positional
    if not flag or not words or words[0].startswith("-"):
        return words
    if options_of(command.groups([]))[flag].is_list:
        return [f"--{flag}", *words]
    if words[0].endswith(CONFIG_SUFFIXES):
        return words
    return [*words[1:], f"--{flag}", words[0]]


def help_of(name: str) -> str:
    """Return the help page of a command (for the docs)."""
    command = command_of(name)
    return help_page(
        name.replace("_", "-"), command.groups([]), command.description, command.shown_in_help([])
    )
