"""Replies to prompts, scored and chosen from, as rows to train on; goes on where it was stopped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftrl.core import log
from swiftrl.core.errors import ConfigError
from swiftrl.core.files import disk_errors, write_text
from swiftrl.data.rows import Prompt
from swiftrl.engine.base import Completion, Engine
from swiftrl.engine.rows import media_columns, message_dict
from swiftrl.engine.sampling import SamplingParams
from swiftrl.rlhf.rewards.reward import Reward
from swiftrl.rlhf.rewards.scoring import Scores, columns_of, score
from swiftrl.rlhf.selecting import Kept, Selection, select
from swiftrl.templates.template import Template

__all__ = ["Sampler", "Tally"]


@dataclass
class Tally:
    """What came of it.

    Attributes:
        prompts: answered.
        rows: written.
        without: prompts that gave no row, by the reason.
        mean: sum of the prompts' mean scores.
        best: sum of their best scores.
        scored: prompts with a score.
    """

    prompts: int = 0
    rows: int = 0
    without: Counter[str] = field(default_factory=Counter)
    mean: float = 0.0
    best: float = 0.0
    scored: int = 0

    def add(self, entry: Mapping[str, Any]) -> None:
        """Count a prompt's entry of the file."""
        self.prompts += 1
        self.rows += len(entry["rows"])
        if entry["why"]:
            self.without[entry["why"]] += 1
        known = [value for value in entry["scores"] if value is not None]
        if known:
            self.scored += 1
            self.mean += sum(known) / len(known)
            self.best += max(known)


@dataclass(frozen=True)
class Sampler:
    """Answers prompts n times each and keeps what scored well.

    Attributes:
        engine: generates.
        template: the model's.
        sampling: how.
        n: replies to each prompt.
        rewards: score them.
        weights: of each reward.
        timeout_s: of one call.
        selection: what is kept.
        prompts_at_once: prompts between two writes to the disk.
    """

    engine: Engine
    template: Template
    sampling: SamplingParams
    n: int
    rewards: Sequence[Reward]
    weights: Sequence[float]
    timeout_s: float
    selection: Selection
    prompts_at_once: int

    def run(self, prompts: Sequence[Prompt], path: Path, fingerprint: str) -> Tally:
        """Write the rows to `path`, which is there when all is done.

        Meanwhile they stand in a hidden file beside it; a run with the same fingerprint goes on
        from there, and gives what an uninterrupted one would have.

        Args:
            prompts: to answer.
            path: the result, replaced if it exists.
            fingerprint: of everything that decides the rows.

        Raises:
            ConfigError: an unfinished result of other settings is in the way.
        """
        partial = path.with_name(f".{path.name}.partial")
        tally = Tally()
        with disk_errors(partial):
            path.parent.mkdir(parents=True, exist_ok=True)
            for entry in _done(partial, fingerprint):
                tally.add(entry)
        if tally.prompts:
            log.info(f"{path}: goes on behind the {tally.prompts} prompts answered before")
        progress = log.Progress("sampling", len(prompts))
        with disk_errors(partial), partial.open("a", encoding="utf-8") as file:
            if not file.tell():
                file.write(json.dumps({"fingerprint": fingerprint}) + "\n")
            for start in range(tally.prompts, len(prompts), self.prompts_at_once):
                group = prompts[start : start + self.prompts_at_once]
                for entry in self._entries(group, start):
                    file.write(json.dumps(entry, ensure_ascii=False, default=str) + "\n")
                    tally.add(entry)
                file.flush()
                progress.update(start + len(group), f"{tally.rows} rows")
        progress.close()
        with disk_errors(path):
            rows = (row for entry in _done(partial, fingerprint) for row in entry["rows"])
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(path, text)
        partial.unlink()
        return tally

    def _entries(self, group: Sequence[Prompt], first: int) -> Iterator[dict[str, Any]]:
        ids = [self.template.encode_prompt(row.conversation) for row in group]
        media = [self.template.media_tensors(row.conversation) for row in group]
        written = self.engine.generate(
            ids, self.sampling, self.n, media, numbers=range(first, first + len(ids))
        )
        scores = self._scores(group, written)
        for index, (row, prompt, replies) in enumerate(zip(group, ids, written, strict=True)):
            here = slice(index * self.n, (index + 1) * self.n)
            totals = [_or_none(value) for value in scores.total[here].tolist()]
            parts = [
                dict(zip(scores.names, map(_or_none, values), strict=True))
                for values in scores.values[here].tolist()
            ]
            kept, why = select(self.selection, totals, [reply.text for reply in replies])
            rows = [self._row(row, prompt, replies, totals, parts, one) for one in kept]
            yield {"rows": rows, "why": why, "scores": totals}

    def _scores(self, group: Sequence[Prompt], written: Sequence[Sequence[Completion]]) -> Scores:
        replies = [(row, reply) for row, n in zip(group, written, strict=True) for reply in n]
        columns = columns_of([row.extra for row, _ in replies])
        columns["completion_ids"] = [list(reply.token_ids) for _, reply in replies]
        return score(
            self.rewards,
            self.weights,
            [list(map(message_dict, row.conversation.messages)) for row, _ in replies],
            [self._text(reply) for _, reply in replies],
            columns,
            timeout_s=self.timeout_s,
            origins=[row.origin for row, _ in replies],
        )

    def _text(self, reply: Completion) -> str:
        return self.template.options.response_prefix + reply.text

    def _row(
        self,
        row: Prompt,
        prompt: list[int],
        replies: Sequence[Completion],
        totals: Sequence[float | None],
        parts: Sequence[dict[str, float | None]],
        kept: Kept,
    ) -> dict[str, Any]:
        conversation = row.conversation
        line = {**row.extra, **media_columns(conversation.messages)}
        if conversation.tools:
            line["tools"] = list(conversation.tools)
        messages = [message_dict(message) for message in conversation.messages]
        better = totals[kept.chosen]
        assert better is not None
        line["messages"] = [*messages, self._message(row, prompt, replies[kept.chosen])]
        line["score"], line["scores"] = better, parts[kept.chosen]
        if kept.rejected is not None:
            worse = totals[kept.rejected]
            assert worse is not None
            line |= _rejected(messages, self._message(row, prompt, replies[kept.rejected]))
            line["rejected_score"], line["margin"] = worse, better - worse
        if self.selection.keep == "all" and self.selection.threshold is not None:
            line["label"] = better >= self.selection.threshold
        return line

    def _message(self, row: Prompt, prompt: list[int], reply: Completion) -> dict[str, Any]:
        parser = self.template.parser(prompt, row.conversation.tools)
        parser.feed(self._text(reply))
        parser.finish()
        return message_dict(parser.reply.message())


def _rejected(messages: list[dict[str, Any]], reply: dict[str, Any]) -> dict[str, Any]:
    """Return the column of the worse reply: its text where it is no more than that."""
    if reply.keys() == {"role", "content"}:
        return {"rejected_response": reply["content"]}
    return {"rejected_messages": [*messages, reply]}


def _or_none(value: float) -> float | None:
    return None if value != value else value


def _done(partial: Path, fingerprint: str) -> list[dict[str, Any]]:
    """Return the whole entries of an unfinished result, and cut off what is not whole.

    Raises:
        ConfigError: it is of other settings.
    """
    if not partial.exists():
        return []
    lines = partial.read_bytes().splitlines(keepends=True)
    entries: list[dict[str, Any]] = []
    length = 0
    for line in lines:
        if not line.endswith(b"\n"):
            break
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
        length += len(line)
    if length < partial.stat().st_size:
        with partial.open("rb+") as file:
            file.truncate(length)
    if entries and entries[0].get("fingerprint") != fingerprint:
        raise ConfigError(
            f"{partial}: is the unfinished result of another model, data or settings. Remove it "
            "to begin anew, choose another --result_path, or give the settings it was begun with."
        )
    return entries[1:]
