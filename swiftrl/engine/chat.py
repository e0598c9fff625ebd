"""A conversation in the terminal: lines in, replies streamed out, and a few commands."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swiftrl.core.errors import ConfigError, SwiftRLError
from swiftrl.core.files import disk_errors
from swiftrl.core.messages import Conversation, Message, text_of
from swiftrl.core.registry import did_you_mean
from swiftrl.engine.base import Completion, Engine
from swiftrl.engine.sampling import SamplingParams
from swiftrl.templates.template import Template

__all__ = ["Chat", "message_dict"]

_SETTABLE = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed")
_BLOCK = '"""'


def message_dict(message: Message) -> dict[str, Any]:
    """Return a text message as a row of a "messages" data set holds it."""
    row: dict[str, Any] = {"role": message.role, "content": text_of(message)}
    if message.reasoning_content is not None:
        row["reasoning_content"] = message.reasoning_content
    return row


class Chat:
    """An interactive conversation with a model.

    Args:
        engine: generates.
        template: the model's.
        sampling: how; `/set` changes it.
        system: system prompt.
        read: asks for a line, given the prompt to show; raises EOFError at the end.
        write: shows text.
    """

    def __init__(
        self,
        engine: Engine,
        template: Template,
        sampling: SamplingParams,
        *,
        system: str | None = None,
        read: Callable[[str], str] = input,
        write: Callable[[str], object] | None = None,
    ) -> None:
        self.engine, self.template, self.sampling = engine, template, sampling
        self.system = system
        self.messages: list[Message] = []
        self._read = read
        self._write = write or _to_terminal
        self._commands: dict[str, tuple[Callable[[str], bool | None], str]] = {
            "help": (self._help, "show this"),
            "clear": (self._clear, "begin a new conversation"),
            "system": (
                self._system,
                "TEXT  set the system prompt (none: remove it) and begin anew",
            ),
            "undo": (self._undo, "forget the last turn"),
            "retry": (self._retry, "ask the last question again"),
            "set": (self._set, f"NAME VALUE  change {', '.join(_SETTABLE)}"),
            "save": (self._save, "FILE  append the conversation to a jsonl file"),
            "exit": (lambda _: True, "leave (also /quit or Ctrl-D)"),
            "quit": (lambda _: True, ""),
        }

    def run(self) -> None:
        """Talk until the user leaves."""
        self._write('Type a message; /help lists commands; """ begins and ends several lines.\n')
        while True:
            try:
                text = self._next_input()
            except (EOFError, KeyboardInterrupt):
                self._write("\n")
                return
            if text and self._handle(text):
                return

    def ask(self, text: str) -> Completion | None:
        """Send a user message, stream the reply, and return it; None if it was interrupted."""
        self.messages.append(Message("user", text))
        try:
            completion = self._reply()
        except KeyboardInterrupt:
            self._write("\n[interrupted; this turn is forgotten]\n")
            self.messages.pop()
            return None
        except SwiftRLError:
            self.messages.pop()
            raise
        reply = self.template.options.response_prefix + completion.text
        self.messages.append(Message("assistant", reply))
        return completion

    def _reply(self) -> Completion:
        leading = [Message("system", self.system)] if self.system is not None else []
        prompt = self.template.encode_prompt(Conversation((*leading, *self.messages)))
        sampling = self.sampling
        if sampling.seed is not None:
            # One seed for the session, but not the same luck every turn.
            sampling = dataclasses.replace(sampling, seed=sampling.seed + len(self.messages))
        self._write(self.template.options.response_prefix)
        stream = self.engine.stream(prompt, sampling)
        completion = None
        try:
            for chunk in stream:
                self._write(chunk.text)
                completion = chunk.completion
        finally:
            stream.close()
        assert completion is not None
        ended = " [cut: max_tokens]" if completion.finish_reason == "length" else ""
        self._write(f"{ended}\n")
        return completion

    def _next_input(self) -> str:
        line = self._read("> ").strip()
        if not line.startswith(_BLOCK):
            return line
        lines = [line.removeprefix(_BLOCK)]
        while not lines[-1].endswith(_BLOCK):
            lines.append(self._read(". "))
        lines[-1] = lines[-1].removesuffix(_BLOCK)
        return "\n".join(lines).strip()

    def _handle(self, text: str) -> bool:
        """Run a command or send a message; return whether to leave."""
        try:
            if text in ("exit", "quit"):
                return True
            if text.startswith("/") and not text.startswith("//"):
                return self._command(text[1:])
            self.ask(text.removeprefix("/") if text.startswith("//") else text)
        except SwiftRLError as error:
            self._write(f"{error}\n")
        return False

    def _command(self, line: str) -> bool:
        name, _, rest = line.partition(" ")
        if name not in self._commands:
            hint = did_you_mean(name, [*self._commands])
            raise ConfigError(
                f"/{name}: no such command; /help lists them.{hint} To send a message that begins "
                f"with a slash, write two: //{name}"
            )
        return bool(self._commands[name][0](rest.strip()))

    def _help(self, _: str) -> None:
        for name, (_run, meaning) in self._commands.items():
            if meaning:
                self._write(f"  /{name:<7} {meaning}\n")

    def _clear(self, _: str) -> None:
        self.messages.clear()
        self._write("[new conversation]\n")

    def _system(self, text: str) -> None:
        self.system = text or None
        self._clear("")

    def _undo(self, _: str) -> None:
        self._write(f"[forgotten: {self._take_back()[:60]}]\n")

    def _take_back(self) -> str:
        """Remove the last question and reply, and return the question."""
        if not self.messages:
            raise ConfigError("the conversation is empty.")
        question = text_of(self.messages[-2])
        del self.messages[-2:]
        return question

    def _retry(self, _: str) -> None:
        question = self._take_back()
        if self.sampling.seed is not None:
            self.sampling = dataclasses.replace(self.sampling, seed=self.sampling.seed + 1000)
        self.ask(question)

    def _set(self, line: str) -> None:
        name, _, value = line.partition(" ")
        if name not in _SETTABLE:
            raise ConfigError(
                f"/set {name}: can be set: {', '.join(_SETTABLE)}.{did_you_mean(name, _SETTABLE)}"
            )
        kind = int if name in ("top_k", "max_tokens", "seed") else float
        try:
            number = kind(value)
        except ValueError:
            raise ConfigError(f"/set {name}: expected a number, got {value!r}.") from None
        self.sampling = dataclasses.replace(self.sampling, **{name: number})
        self._write(f"[{name} = {number}]\n")

    def _save(self, name: str) -> None:
        if not name or not self.messages:
            raise ConfigError("/save: needs a file's name, and a conversation to save.")
        leading = [Message("system", self.system)] if self.system is not None else []
        row = {"messages": [message_dict(message) for message in (*leading, *self.messages)]}
        path = Path(name).expanduser()
        with disk_errors(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._write(f"[saved to {path}]\n")


def _to_terminal(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
