"""`swiftrl infer`: chat in the terminal, or replies to a data set."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftrl.cli.command import Command
from swiftrl.cli.swift_flags import why_refused
from swiftrl.core import log
from swiftrl.core.config import Settings, setting
from swiftrl.core.errors import ConfigError
from swiftrl.data.config import DataConfig
from swiftrl.engine.config import GenerationConfig
from swiftrl.models.config import ModelConfig, QuantLoadConfig
from swiftrl.models.quantise import check_quantisation
from swiftrl.templates.config import TemplateConfig

if TYPE_CHECKING:
    from swiftrl.data.rows import RowKind
    from swiftrl.engine.batch import Question

__all__ = ["COMMAND", "InferConfig"]

SCORED_AT_ONCE = 64


@dataclass(frozen=True)
class InferConfig:
    """Where replies go."""

    result_path: str | None = setting(
        None,
        "With --dataset or --val_dataset: the jsonl file for replies. Unset: replies.jsonl here.",
    )
    num_return_sequences: int = setting(1, "Replies to each row.")
    step_separator: str = setting(
        "\n", "With a process reward model: what stood behind every step in training."
    )
    prompt: str | None = setting(None, "Answer this one message and exit.")
    images: list[str] = setting(
        [], "Pictures that the first message shows, where its <image> tags stand or before it."
    )
    videos: list[str] = setting([], "Videos that the first message shows, by <video> tags.")
    tools: str | None = setting(
        None,
        "A JSON file with the functions that the model may call in the chat, as data sets have "
        'them in "tools"; /result tells what a call returned.',
    )
    audios: list[str] = setting([], "Audio that the first message plays, by <audio> tags.")


def run(settings: Settings) -> int:
    """Chat, answer one message, or answer a data set."""
    from swiftrl.cli import hardware
    from swiftrl.cli.loading import find_model, load, load_template
    from swiftrl.engine.config import sampling_params
    from swiftrl.engine.transformers import TransformersEngine
    from swiftrl.models.heads import scores_in, scores_tokens

    config, generation = settings[ModelConfig], settings[GenerationConfig]
    if settings[InferConfig].num_return_sequences < 1:
        raise ConfigError("--num_return_sequences: expected at least 1.")
    check_quantisation(settings[QuantLoadConfig])
    hardware.check(settings, hardware.choose(config))
    resolved = find_model(config)
    template = load_template(settings, resolved)
    if scores_in(resolved, config.adapters) is not None:
        stepwise = scores_tokens(resolved, config.adapters)
        return _score_rows(settings, resolved, template, stepwise=stepwise)
    loaded = load(config, resolved, quantisation=settings[QuantLoadConfig])
    sampling = sampling_params(generation, loaded.model.generation_config)
    engine = TransformersEngine(
        loaded.model,
        loaded.tokenizer,
        stop_token_ids=template.stop_token_ids,
        max_batch_size=generation.max_batch_size,
        shown_token_ids=template.mark_token_ids,
    )
    data = settings[DataConfig]
    if data.dataset or data.val_dataset:
        return _answer_rows(settings, engine, template, sampling)
    return _chat(settings[InferConfig], engine, template, sampling)


def _chat(config: InferConfig, engine: Any, template: Any, sampling: Any) -> int:
    from swiftrl.engine.chat import Chat

    media = {"image": config.images, "video": config.videos, "audio": config.audios}
    tools = _tools(config.tools)
    chat = Chat(engine, template, sampling, media=media, tools=tools)
    if config.prompt is not None:
        chat.ask(config.prompt)
    elif sys.stdin.isatty():
        importlib.import_module("readline")  # gives input() history and line editing

        chat.run()
    else:
        # Piped lines are questions; the prompt sign would only litter the output.
        chat = Chat(engine, template, sampling, media=media, tools=tools, read=lambda sign: input())
        chat.run()
    return 0


def _tools(name: str | None) -> tuple[dict[str, Any], ...]:
    from swiftrl.data.rows import BadRow
    from swiftrl.data.toolcalls import parse_tools

    if name is None:
        return ()
    try:
        return parse_tools(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--tools {name}: cannot be read: {error}.") from error
    except BadRow as error:
        raise ConfigError(f"--tools {name}: {error}") from None


def _answer_rows(settings: Settings, engine: Any, template: Any, sampling: Any) -> int:
    from swiftrl.engine.batch import answer_all

    path = Path(settings[InferConfig].result_path or "replies.jsonl")
    report = answer_all(
        engine,
        template,
        _questions(settings, path),
        sampling,
        path,
        n=settings[InferConfig].num_return_sequences,
    )
    rate = report.tokens / max(report.seconds, 1e-9)
    log.info(
        f"{path}: {report.answered} rows answered, {report.failed} not; {report.tokens} tokens, "
        f"{rate:.0f} a second"
    )
    return 0 if report.answered or not report.failed else 2


def _score_rows(settings: Settings, resolved: Any, template: Any, *, stepwise: bool) -> int:
    """Write what a reward model says of each row's conversation, or of each step of its reply."""
    from swiftrl.core.files import disk_errors

    data = settings[DataConfig]
    if not data.dataset and not data.val_dataset:
        raise ConfigError(
            f"{resolved.name} is a reward model: it scores conversations; give them by --dataset."
        )
    path = Path(settings[InferConfig].result_path or "scores.jsonl")
    rows = _rows(settings, "stepwise" if stepwise else "instruction", path)
    score = (_steps_scored if stepwise else _scored)(settings, resolved, template)
    progress = log.Progress("scoring", len(rows))
    with disk_errors(path), path.open("w", encoding="utf-8") as file:
        for start in range(0, len(rows), SCORED_AT_ONCE):
            group = rows[start : start + SCORED_AT_ONCE]
            for line in score(group):
                file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
            file.flush()
            progress.update(start + len(group))
    progress.close()
    log.info(f"{path}: {len(rows)} conversations scored")
    return 0


_Scored = Callable[[Sequence[Any]], Iterator[dict[str, Any]]]


def _scored(settings: Settings, resolved: Any, template: Any) -> _Scored:
    """Return what makes a line with "score" of each row: one number, or several as a list."""
    from swiftrl.engine.rows import message_dict
    from swiftrl.engine.scores import RewardModel

    size = settings[GenerationConfig].max_batch_size
    model = RewardModel(_reward_model(settings, resolved), template, max_batch_size=size)

    def lines(rows: Sequence[Any]) -> Iterator[dict[str, Any]]:
        found = model([row.conversation for row in rows])
        for row, scores in zip(rows, found, strict=True):
            messages = [message_dict(message) for message in row.conversation.messages]
            value = scores[0] if scores is not None and len(scores) == 1 else scores
            yield {**row.extra, "messages": messages, "score": value}

    return lines


def _steps_scored(settings: Settings, resolved: Any, template: Any) -> _Scored:
    """Return what makes a line with "scores" of each row: of each step, that it is right."""
    from swiftrl.engine.rows import message_dict
    from swiftrl.engine.scores import ProcessRewardModel

    model = ProcessRewardModel(
        _reward_model(settings, resolved),
        template,
        separator=settings[InferConfig].step_separator,
        max_batch_size=settings[GenerationConfig].max_batch_size,
    )

    def lines(rows: Sequence[Any]) -> Iterator[dict[str, Any]]:
        found = model.steps([(row.conversation, row.steps) for row in rows])
        for row, scores in zip(rows, found, strict=True):
            prompt = [message_dict(message) for message in row.conversation.messages]
            known = {} if row.labels is None else {"labels": row.labels}
            steps = {"prompt": prompt, "completions": row.steps, **known}
            yield {**row.extra, **steps, "scores": scores}

    return lines


def _reward_model(settings: Settings, resolved: Any) -> Any:
    from swiftrl.cli.loading import load

    return load(settings[ModelConfig], resolved, quantisation=settings[QuantLoadConfig]).model


def _questions(settings: Settings, results: Path) -> Iterator[Question]:
    """Yield the rows as prompts; a reply that the data holds becomes the column "labels"."""
    from swiftrl.engine.batch import Question

    for row in _rows(settings, "prompt", results):
        yield Question(row.conversation, row.extra, str(row.origin))


def _rows(settings: Settings, kind: RowKind, results: Path) -> list[Any]:
    """Return the data's rows of a kind; bad ones go into a file beside the results."""
    from swiftrl.data.dataset import load_rows
    from swiftrl.data.rejects import write_rejects

    data = settings[DataConfig]
    names = [*data.dataset, *data.val_dataset]
    rows, rejects = load_rows(
        data, names, kind, seed=settings[GenerationConfig].seed or 0,
        use_hf=settings[ModelConfig].use_hf,
    )  # fmt: skip
    if rejects:
        aside = results.with_name(f"{results.stem}-rejected_rows.jsonl")
        write_rejects(aside, rejects)
        log.warn(f"{len(rejects)} bad rows were set aside in {aside}; the first, {rejects[0]}")
    return list(rows)


COMMAND = Command(
    summary="Chat in the terminal, or answer (or score) the rows of a data set.",
    description="Chat with a model in the terminal; with --prompt answer one message; with "
    "--dataset or --val_dataset write a reply to every row into --result_path; a reward model "
    "writes the score of each row's conversation.",
    groups=lambda argv: [
        ModelConfig,
        QuantLoadConfig,
        GenerationConfig,
        TemplateConfig,
        DataConfig,
        InferConfig,
    ],
    run=run,
    refuse=lambda flag, argv: why_refused(flag),
)
