"""Replies to every row of a data set, written to a file as they come."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from swiftrl.core import log
from swiftrl.core.errors import EngineError, TemplateError
from swiftrl.core.files import disk_errors
from swiftrl.core.messages import Conversation
from swiftrl.engine.base import Completion, Engine
from swiftrl.engine.rows import media_columns, message_dict
from swiftrl.engine.sampling import SamplingParams
from swiftrl.templates.template import Template

__all__ = ["BatchReport", "Question", "answer_all"]


@dataclass(frozen=True, slots=True)
class Question:
    """One row to answer.

    Attributes:
        conversation: ends with what the model answers.
        columns: written beside the reply, e.g. {"labels": the data's own reply}.
        origin: file and line, for messages.
    """

    conversation: Conversation
    columns: Mapping[str, Any]
    origin: str


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What happened.

    Attributes:
        answered: rows with a reply.
        failed: rows without, each with its reason in the file.
        tokens: generated in all.
        seconds: it took.
    """

    answered: int
    failed: int
    tokens: int
    seconds: float


def answer_all(
    engine: Engine,
    template: Template,
    questions: Iterable[Question],
    sampling: SamplingParams,
    path: Path,
    *,
    n: int = 1,
    rows_at_once: int = 128,
) -> BatchReport:
    """Answer every question and write one JSON line each, in order.

    A line holds the row's columns, "messages" with the reply at the end, its thoughts and tool
    calls apart, "response" (all that the model wrote) and "finish_reason"; with n > 1, "responses"
    and "finish_reasons" instead. A row that cannot be answered gets "error", and is counted.
    Lines are written group by group, so that what was done survives an interruption.

    Args:
        engine: generates.
        template: the model's.
        questions: the rows.
        sampling: how.
        path: the file; replaced if it exists.
        n: replies to each row.
        rows_at_once: rows given to the engine in one go.
    """
    began = time.monotonic()
    answered = failed = tokens = 0
    rows = iter(questions)
    progress = log.Progress("Answering", None)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8")
    with disk_errors(path), file:  # closing writes too
        while group := list(islice(rows, rows_at_once)):
            prompts, replies = _answer(engine, template, group, sampling, n)
            with disk_errors(path):
                for index, (question, reply) in enumerate(zip(group, replies, strict=True)):
                    line = _line(template, question, reply, prompts.get(index, []))
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                file.flush()
            answered += sum(isinstance(reply, list) for reply in replies)
            failed += sum(isinstance(reply, str) for reply in replies)
            tokens += sum(len(item.token_ids) for reply in replies for item in _completions(reply))
            progress.update(answered + failed)
    progress.close()
    if failed:
        log.warn(f'{failed} rows could not be answered; {path} says why in "error".')
    return BatchReport(answered, failed, tokens, time.monotonic() - began)


def _completions(reply: list[Completion] | str) -> list[Completion]:
    return reply if isinstance(reply, list) else []


def _answer(
    engine: Engine,
    template: Template,
    group: Sequence[Question],
    sampling: SamplingParams,
    n: int,
) -> tuple[dict[int, list[int]], list[list[Completion] | str]]:
    """Return the prompts by row, and each row's completions or why there are none."""
    prompts: dict[int, list[int]] = {}
    media: list[dict[str, Any]] = []
    replies: list[list[Completion] | str] = ["" for _ in group]
    for index, question in enumerate(group):
        try:
            prompt = template.encode_prompt(question.conversation)
            engine.check_prompt(prompt)
            media.append(template.media_tensors(question.conversation))
        except (TemplateError, EngineError) as error:
            replies[index] = f"{question.origin}: {error}"
        else:
            prompts[index] = prompt
    completions = engine.generate(list(prompts.values()), sampling, n, media)
    for index, found in zip(prompts, completions, strict=True):
        replies[index] = found
    return prompts, replies


def _line(
    template: Template, question: Question, reply: list[Completion] | str, prompt: list[int]
) -> dict[str, Any]:
    line = {**question.columns, **media_columns(question.conversation.messages)}
    if question.conversation.tools:
        line["tools"] = list(question.conversation.tools)
    messages = [message_dict(message) for message in question.conversation.messages]
    if isinstance(reply, str):
        return {**line, "messages": messages, "error": reply}
    prefix = template.options.response_prefix
    texts = [prefix + completion.text for completion in reply]
    reasons = [completion.finish_reason for completion in reply]
    if len(texts) > 1:
        return {**line, "messages": messages, "responses": texts, "finish_reasons": reasons}
    parser = template.parser(prompt, question.conversation.tools)
    parser.feed(texts[0])
    parser.finish()
    messages.append(message_dict(parser.reply.message()))
    return {**line, "messages": messages, "response": texts[0], "finish_reason": reasons[0]}
