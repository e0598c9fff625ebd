"""A conversation in the terminal: lines in, replies streamed out, and a few commands."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftrl.core.errors import ConfigError, SwiftRLError
from swiftrl.core.files import disk_errors
from swiftrl.core.messages import Conversation, Message, Part
from swiftrl.core.registry import did_you_mean
from swiftrl.engine.base import Completion, Engine
from swiftrl.engine.rows import ReplyView, media_columns, message_dict, tagged
from swiftrl.engine.sampling import SamplingParams
from swiftrl.templates.stream import Reply
from swiftrl.templates.template import Template

__all__ = ["Chat"]

_SETTABLE = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens", "seed")
_TAG = re.compile("(<image>|<video>|<audio>)")
_BLOCK = '"""'


class Chat:
    """An interactive conversation with a model.

    Args:
        engine: generates.
        template: the model's.
        sampling: how; `/set` changes it.
        system: system prompt.
        media: by kind, files that the first message shows.
        tools: JSON schemas of the functions on offer; the user plays them (`/result`).
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
        media: Mapping[str, Sequence[str]] | None = None,
        tools: Sequence[dict[str, Any]] = (),
        read: Callable[[str], str] = input,
        write: Callable[[str], object] | None = None,
    ) -> None:
        self.engine, self.template, self.sampling = engine, template, sampling
        self.system, self.tools = system, tuple(tools)
        self._given = {kind: list(names) for kind, names in (media or {}).items()}
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
            "result": (self._result, "TEXT  tell what the called function returned"),
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

    def ask(self, content: str | tuple[Part, ...]) -> Completion | None:
        """Send a user message, stream the reply, and return it; None if it was interrupted.

        A tag in a text (<image>, <video>, <audio>) stands for the next file of its kind that was
        given, or else for one that the user is asked for; files without a tag come first.
        """
        if isinstance(content, str):
            content = self._with_media(content)
        return self._answer_to(Message("user", content))

    def _answer_to(self, message: Message) -> Completion | None:
        """Add a message and the reply to it; neither if there is no whole reply."""
        self.messages.append(message)
        try:
            completion, reply = self._reply()
        except KeyboardInterrupt:
            self._write("\n[interrupted; this turn is forgotten]\n")
            self.messages.pop()
            return None
        except SwiftRLError:
            self.messages.pop()
            raise
        self.messages.append(reply.message())
        return completion

    def _with_media(self, text: str) -> str | tuple[Part, ...]:
        kinds = self.template.media.kinds if self.template.media is not None else ()
        parts: list[Part] = []
        for piece in _TAG.split(text):
            kind = piece[1:-1]
            if kind in kinds and piece == f"<{kind}>":
                given = self._given.get(kind)
                source = given.pop(0) if given else self._asked_for(kind)
                parts.append(Part(kind, source=source))  # type: ignore[arg-type]
            elif piece:
                parts.append(Part("text", text=piece))
        rest = [
            Part(kind, source=name)  # type: ignore[arg-type]
            for kind, names in self._given.items()
            for name in names
        ]
        self._given = {}
        parts = [*rest, *parts]
        return tuple(parts) if any(part.kind != "text" for part in parts) else text

    def _asked_for(self, kind: str) -> str:
        try:
            return self._read(f"{kind}: ").strip()
        except EOFError:
            raise ConfigError(
                f"the message holds <{kind}>, but no file was given for it; name one by --{kind}s."
            ) from None

    def _reply(self) -> tuple[Completion, Reply]:
        leading = [Message("system", self.system)] if self.system is not None else []
        conversation = Conversation((*leading, *self.messages), self.tools)
        prompt = self.template.encode_prompt(conversation)
        media = self.template.media_tensors(conversation)
        sampling = self.sampling
        if sampling.seed is not None:
            # One seed for the session, but not the same luck every turn.
            sampling = dataclasses.replace(sampling, seed=sampling.seed + len(self.messages))
        parser, view = self.template.parser(prompt, self.tools), ReplyView(self._write)
        view.show(parser.feed(self.template.options.response_prefix))
        stream = self.engine.stream(prompt, sampling, media)
        completion = None
        try:
            for chunk in stream:
                view.show(parser.feed(chunk.text))
                completion = chunk.completion
        finally:
            stream.close()
        assert completion is not None
        view.show(parser.finish())
        ended = " [cut: max_tokens]" if completion.finish_reason == "length" else ""
        self._write(f"{ended}\n")
        return completion, parser.reply

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
        self._write(f"[forgotten: {tagged(self._take_back())[:60]}]\n")

    def _take_back(self) -> Message:
        """Remove the last question and reply, and return the question."""
        if not self.messages:
            raise ConfigError("the conversation is empty.")
        last = max(i for i, message in enumerate(self.messages) if message.role == "user")
        question = self.messages[last]
        del self.messages[last:]
        return question

    def _result(self, text: str) -> None:
        last = [i for i, message in enumerate(self.messages) if message.role != "tool"][-1:]
        told = self.messages[last[0] + 1 :] if last else []
        waiting = self.messages[last[0]].tool_calls[len(told) :] if last else ()
        if not waiting:
            raise ConfigError("/result: no function was called, or all have answered.")
        call = waiting[0]
        result = Message("tool", text, name=call.name, tool_call_id=call.id)
        if len(waiting) > 1:
            self.messages.append(result)
            self._write(f"[{call.name}: noted; next {waiting[1].name}]\n")
        else:
            self._answer_to(result)

    def _retry(self, _: str) -> None:
        question = self._take_back()
        if self.sampling.seed is not None:
            self.sampling = dataclasses.replace(self.sampling, seed=self.sampling.seed + 1000)
        self.ask(question.content)

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
        row: dict[str, Any] = {"messages": [message_dict(m) for m in (*leading, *self.messages)]}
        row |= media_columns(self.messages) | ({"tools": list(self.tools)} if self.tools else {})
        path = Path(name).expanduser()
        with disk_errors(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._write(f"[saved to {path}]\n")


def _to_terminal(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
