"""`swiftrl infer`: chat in the terminal, or replies to a data set."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
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
from swiftrl.models.config import ModelConfig
from swiftrl.templates.config import TemplateConfig

if TYPE_CHECKING:
    from swiftrl.engine.batch import Question

__all__ = ["COMMAND", "InferConfig"]


@dataclass(frozen=True)
class InferConfig:
    """Where replies go."""

    result_path: str | None = setting(
        None,
        "With --dataset or --val_dataset: the jsonl file for replies. Unset: replies.jsonl here.",
    )
    num_return_sequences: int = setting(1, "Replies to each row.")
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

    config, generation = settings[ModelConfig], settings[GenerationConfig]
    if settings[InferConfig].num_return_sequences < 1:
        raise ConfigError("--num_return_sequences: expected at least 1.")
    hardware.check(settings, hardware.choose(config))
    resolved = find_model(config)
    template = load_template(settings, resolved)
    loaded = load(config, resolved)
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


def _questions(settings: Settings, results: Path) -> Iterator[Question]:
    """Yield the rows as prompts; a reply that the data holds becomes the column "labels".

    Bad rows go into a file beside the results.
    """
    from swiftrl.data.dataset import load_rows
    from swiftrl.data.rejects import write_rejects
    from swiftrl.engine.batch import Question

    data = settings[DataConfig]
    names = [*data.dataset, *data.val_dataset]
    rows, rejects = load_rows(
        data, names, "prompt", seed=settings[GenerationConfig].seed or 0,
        use_hf=settings[ModelConfig].use_hf,
    )  # fmt: skip
    if rejects:
        aside = results.with_name(f"{results.stem}-rejected_rows.jsonl")
        write_rejects(aside, rejects)
        log.warn(f"{len(rejects)} bad rows were set aside in {aside}; the first, {rejects[0]}")
    for row in rows:
        yield Question(row.conversation, row.extra, str(row.origin))  # type: ignore[union-attr]


COMMAND = Command(
    summary="Chat in the terminal, or answer the rows of a data set.",
    description="Chat with a model in the terminal; with --prompt answer one message; with "
    "--dataset or --val_dataset write a reply to every row into --result_path.",
    groups=lambda argv: [ModelConfig, GenerationConfig, TemplateConfig, DataConfig, InferConfig],
    run=run,
    refuse=lambda flag, argv: why_refused(flag),
)
