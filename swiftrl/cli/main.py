"""The `swiftrl` command: picks the command, reports errors, sets the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from swiftrl import __version__
from swiftrl.backends.detect import BACKENDS
from swiftrl.backends.importing import import_torch
from swiftrl.cli.command import COMMANDS, command_of, settings_of
from swiftrl.cli.launch import launch, wants_launch
from swiftrl.core.errors import ConfigError, MachineError, SwiftRLError
from swiftrl.core.lifeline import end_with_parent
from swiftrl.core.registry import did_you_mean

__all__ = ["main"]

LATER = {
    "rollout": "rollout servers are not part of this version",
    "app": "the chat page is not part of this version; chat with `swiftrl infer`",
    "web-ui": "the web page is not part of this version",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `swiftrl` and return its exit code: 0, 2 (the user's to mend) or 1 (the machine's)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_overview())
        return 0
    if words[0] in ("-V", "--version"):
        sys.stdout.write(f"swiftrl {__version__}\n")
        return 0
    try:
        return _dispatch(words[0], words[1:])
    except SwiftRLError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted.", 130)
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        problem = MachineError(f"out of memory: {error}")
        return _fail(str(problem), problem.exit_code)


def _dispatch(name: str, words: list[str]) -> int:
    known = [entry.replace("_", "-") for entry in COMMANDS.names()]
    if name not in known:
        if name in LATER:
            raise ConfigError(f"swiftrl {name}: {LATER[name]}.")
        raise ConfigError(
            f"unknown command {name!r}; known: {', '.join(known)}.{did_you_mean(name, known)}"
        )
    if "LOCAL_RANK" in os.environ:
        end_with_parent()
    # Read first: a wrong flag is said once, and a file's ENV block may ask for processes.
    settings = settings_of(name, words)
    command = command_of(name)
    if command.trains:
        # The processor works whatever the device, and reads its variables when torch is loaded.
        BACKENDS.get("cpu").default_env("train")
    if command.needs_torch:
        import_torch()
    if wants_launch(name):
        command.check(settings)  # once, not in every process
        return launch(name, words, settings)
    return command.run(settings)


def _fail(message: str, code: int) -> int:
    sys.stdout.flush()
    if message:
        sys.stderr.write(f"swiftrl: {message}\n")
    return code


def _overview() -> str:
    lines = [
        f"swiftrl {__version__}: align, evaluate and ship open language models.",
        "",
        "usage: swiftrl COMMAND [CONFIG.yaml] [--flag value ...]",
        "",
        "commands:",
    ]
    for name, command in COMMANDS.items():
        lines.append(f"  {name.replace('_', '-'):<12} {command.summary}")
    lines += [
        "",
        "swiftrl COMMAND --help lists every flag. NPROC_PER_NODE=2 swiftrl ... uses two processes.",
        "Try: swiftrl rlhf --rlhf_type dpo --model builtin:tiny-instruct "
        "--dataset builtin:preferences",
    ]
    return "\n".join(lines) + "\n"
