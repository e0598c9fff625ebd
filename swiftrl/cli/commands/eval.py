"""`swiftrl eval`: how good a model is, by tasks; and whether one is better than another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftrl.cli.command import Command
from swiftrl.cli.swift_flags import why_refused
from swiftrl.core import log
from swiftrl.core.compat import require
from swiftrl.core.config import Settings, setting
from swiftrl.core.errors import ConfigError
from swiftrl.eval.task import TASKS, Task
from swiftrl.models.config import ModelConfig, QuantLoadConfig
from swiftrl.templates.config import TemplateConfig

if TYPE_CHECKING:
    from swiftrl.eval.answering import Answerer
    from swiftrl.eval.rows import Items
    from swiftrl.eval.runner import TaskResult

__all__ = ["COMMAND", "EvalConfig"]

TASK_ARGUMENTS = ("local_path", "subset_list", "few_shot_num", "max_tokens")


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation."""

    eval_dataset: list[str] = setting(
        [], "Tasks, e.g. gsm8k; `swiftrl eval --list_tasks true` names all."
    )
    eval_backend: str = setting(
        "Native", "Who evaluates: the tasks of this package.", choices=("Native",)
    )
    eval_limit: int | None = setting(None, "First questions of each group of a task; unset: all.")
    eval_dataset_args: dict[str, dict[str, Any]] = setting(
        {},
        'By task, as JSON: {"gsm8k": {"local_path": file or folder, "subset_list": [...], '
        '"few_shot_num": n, "max_tokens": n}}.',
    )
    eval_prompt: str = setting(
        "chat",
        "chat: questions are messages, choices are answered by letter. raw: text is gone on with, "
        "and choices are compared by their likelihood, as base models are evaluated.",
        choices=("chat", "raw"),
    )
    eval_generation_config: dict[str, Any] = setting(
        {}, 'Sampling, as JSON: {"temperature": 0, "top_p": 1, "top_k": -1, "max_tokens": n, '
        '"seed": 42}; temperature 0 takes the likeliest token.',
    )  # fmt: skip
    eval_repeats: int = setting(
        1, "Replies to each question; more give pass@k and maj@k, and want a temperature."
    )
    eval_url: str | None = setting(
        None, "An OpenAI-compatible server instead of a model here, e.g. http://127.0.0.1:8000/v1."
    )
    eval_api_key: str | None = setting(None, "Sent to --eval_url; never shown.", secret=True)
    eval_num_proc: int = setting(16, "Requests to --eval_url at a time; programs run at a time.")
    eval_batch_size: int = setting(32, "Replies generated at once here.")
    eval_output_dir: str = setting(
        "eval_output", "Folder for the report; a run that was stopped goes on there."
    )
    compare: list[str] = setting(
        [], "Two such folders: says of each task whether the second's model is better."
    )
    list_tasks: bool = setting(False, "Name the tasks and exit.")


def run(settings: Settings) -> int:
    """List, compare or evaluate."""
    config = settings[EvalConfig]
    if config.list_tasks:
        rows = [(name, _task(name).summary) for name in TASKS.names()]
        log.table("Tasks", ("task", ""), rows)
        return 0
    if config.compare:
        return _compare(config.compare)
    from swiftrl.eval.answering import Kept
    from swiftrl.eval.report import table_rows, write_report, write_samples
    from swiftrl.eval.runner import Options, run_task

    tasks = _chosen(config)
    sampling = _sampling(config)
    folder = Path(config.eval_output_dir)
    _check_folder(folder)
    items = {name: _items(settings, name, task) for name, task in tasks.items()}
    _say_risk(tasks)
    answerer, model = _answerer(settings, sampling)
    kept = Kept(folder / "replies.jsonl")
    results: list[TaskResult] = []
    try:
        for name, task in tasks.items():
            told = config.eval_dataset_args.get(name, {})
            options = Options(
                told.get("few_shot_num"),
                told.get("max_tokens", config.eval_generation_config.get("max_tokens")),
                config.eval_repeats,
                config.eval_num_proc,
            )
            results.append(run_task(name, task, items[name], answerer, kept, options))
            write_samples(folder, results[-1])
    finally:
        kept.close()
    files = write_report(folder, model, results, settings.as_dict())
    log.table(
        f"Evaluation of {model}",
        ("task", "metric", "value ± standard error", "questions", "examples"),
        table_rows(results),
    )
    for result in results:
        if result.unscored:
            log.warn(f"{result.name}: {result.unscored} questions could not be scored.")
    log.info(f"Report: {files['html']} (also .md and .json); every reply: {folder / 'samples'}")
    log.info(f"Next: swiftrl eval --compare {folder} OTHER_OUTPUT_DIR")
    return 0


def _task(name: str) -> Task:
    return TASKS.get(name)


def _chosen(config: EvalConfig) -> dict[str, Task]:
    """Return the tasks asked for, with all that is wrong with their arguments said first."""
    if not config.eval_dataset:
        raise ConfigError(
            "--eval_dataset is missing: tasks, e.g. --eval_dataset builtin to try things out; "
            "`swiftrl eval --list_tasks true` names all."
        )
    if config.eval_repeats < 1 or config.eval_num_proc < 1 or config.eval_batch_size < 1:
        raise ConfigError("--eval_repeats, --eval_num_proc, --eval_batch_size: at least 1 each.")
    if config.eval_limit is not None and config.eval_limit < 1:
        raise ConfigError(f"--eval_limit {config.eval_limit}: expected at least 1, or nothing.")
    tasks = {name: _task(name) for name in dict.fromkeys(config.eval_dataset)}
    for name, task in tasks.items():
        if task.needs is not None:
            require(task.needs[0], extra=task.needs[1], purpose=f"--eval_dataset {name}")
    _check_arguments(config.eval_dataset_args, tasks)
    return tasks


def _check_arguments(arguments: dict[str, dict[str, Any]], tasks: dict[str, Task]) -> None:
    for name, told in arguments.items():
        if name not in tasks:
            raise ConfigError(f"--eval_dataset_args: {name!r} is not among --eval_dataset.")
        if not isinstance(told, dict):
            raise ConfigError(f"--eval_dataset_args: {name}: {told!r}; expected an object.")
        for key, value in told.items():
            if key not in TASK_ARGUMENTS:
                raise ConfigError(
                    f"--eval_dataset_args: {name}: unknown {key!r}; known: "
                    f"{', '.join(TASK_ARGUMENTS)}."
                )
            if key in ("few_shot_num", "max_tokens") and (
                not isinstance(value, int) or value < (key == "max_tokens")
            ):
                raise ConfigError(f"--eval_dataset_args: {name}: {key} {value!r}: not a number "
                                  "that can be used.")  # fmt: skip


def _sampling(config: EvalConfig) -> Any:
    from swiftrl.engine.sampling import SamplingParams

    told = dict(config.eval_generation_config)
    length = told.pop("max_tokens", None)
    if length is not None and (not isinstance(length, int) or length < 1):
        raise ConfigError(f"--eval_generation_config: max_tokens {length!r}: at least 1.")
    known = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed")
    for key in told:
        if key not in known:
            raise ConfigError(
                f"--eval_generation_config: unknown {key!r}; known: {', '.join(known)}, max_tokens."
            )
    try:
        sampling = replace(SamplingParams(temperature=0.0, seed=42), **told)
    except TypeError as error:
        raise ConfigError(f"--eval_generation_config: {error}.") from error
    if config.eval_repeats > 1 and sampling.greedy:
        raise ConfigError(
            f"--eval_repeats {config.eval_repeats}: all replies to a question would be the same; "
            "give --eval_generation_config '{\"temperature\": 0.7}'."
        )
    return sampling


def _check_folder(folder: Path) -> None:
    from swiftrl.core.files import check_writable

    if folder.is_file():
        raise ConfigError(f"--eval_output_dir {folder}: is a file; expected a folder.")
    check_writable(folder)


def _items(settings: Settings, name: str, task: Task) -> Items:
    from swiftrl.eval.rows import items_of

    config = settings[EvalConfig]
    told = config.eval_dataset_args.get(name, {})
    few_shot = told.get("few_shot_num")
    local = told.get("local_path")
    return items_of(
        name,
        task,
        local=None if local is None else Path(local),
        subsets=told.get("subset_list", ()),
        few_shot=task.few_shot if few_shot is None else few_shot,
        limit=config.eval_limit,
        use_hf=settings[ModelConfig].use_hf,
    )


def _say_risk(tasks: dict[str, Task]) -> None:
    """Say that programs of the model are going to run."""
    running = [name for name, task in tasks.items() if task.runs_programs]
    if running:
        log.warn(
            f"{', '.join(running)}: programs that the model writes are run here, with limits but "
            "as this user; use a container for models that you do not trust."
        )


def _answerer(settings: Settings, sampling: Any) -> tuple[Answerer, str]:
    """Return who answers and its name."""
    if settings[EvalConfig].eval_url is not None:
        return _remote(settings, sampling)
    return _local(settings, sampling)


def _remote(settings: Settings, sampling: Any) -> tuple[Answerer, str]:
    from swiftrl.eval.remote import RemoteAnswerer, served_model

    config = settings[EvalConfig]
    url = str(config.eval_url).rstrip("/").removesuffix("/chat/completions")
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"--eval_url {url}: expected http://HOST:PORT/v1 or https://...")
    model = served_model(url, config.eval_api_key, settings[ModelConfig].model)
    identity = f"{url} {model} {config.eval_prompt} {sampling}"
    answerer = RemoteAnswerer(
        url,
        model,
        sampling,
        identity,
        config.eval_prompt == "chat",
        config.eval_num_proc,
        config.eval_api_key,
    )
    return answerer, model


def _local(settings: Settings, sampling: Any) -> tuple[Answerer, str]:
    from swiftrl.cli import hardware
    from swiftrl.cli.loading import find_model, load, load_template
    from swiftrl.engine.transformers import TransformersEngine
    from swiftrl.eval.local import LocalAnswerer, files_identity
    from swiftrl.models.heads import scores_in
    from swiftrl.models.quantise import check_quantisation

    config, model = settings[EvalConfig], settings[ModelConfig]
    check_quantisation(settings[QuantLoadConfig])
    hardware.check(settings, hardware.choose(model))
    resolved = find_model(model)
    if scores_in(resolved, model.adapters) is not None:
        raise ConfigError(f"{resolved.name} is a reward model and writes nothing.")
    template = load_template(settings, resolved)
    loaded = load(model, resolved, quantisation=settings[QuantLoadConfig])
    engine = TransformersEngine(
        loaded.model,
        loaded.tokenizer,
        # Text that is gone on with ends by the model's own token, not by the chat's.
        stop_token_ids=template.stop_token_ids if config.eval_prompt == "chat" else None,
        max_batch_size=config.eval_batch_size,
    )
    folders = [Path(resolved.path), *map(Path, model.adapters)]
    ways = (loaded.model.dtype, settings[QuantLoadConfig], config.eval_prompt, sampling)
    identity = f"{files_identity(folders)} {template.fingerprint} {ways}"
    answerer = LocalAnswerer(
        engine,
        loaded.model,
        template,
        sampling,
        identity,
        config.eval_prompt == "chat",
        at_once=4 * config.eval_batch_size,
    )
    return answerer, resolved.name


def _compare(folders: list[str]) -> int:
    from swiftrl.eval.comparing import compare_folders

    if len(folders) != 2:
        raise ConfigError(f"--compare: {len(folders)} folders; expected two --eval_output_dir's.")
    first, second = map(Path, folders)
    verdicts = compare_folders(first, second)
    rows = [
        (
            f"{one.task} ({one.metric})",
            f"{one.first:.4f}",
            f"{one.second:.4f}",
            f"{one.found.difference:+.4f} ± {one.found.error:.4f}",
            f"{one.found.better} / {one.found.worse} of {one.found.number}",
            f"{one.found.p:.3g}",
            one.words,
        )
        for one in verdicts
    ]
    heads = ("task", "first", "second", "difference", "better / worse", "p", "")
    log.table(f"{first} (first) and {second} (second)", heads, rows)
    for one in verdicts:
        if one.alone:
            log.warn(f"{one.task}: {one.alone} questions were answered by one of them only.")
    return 0


COMMAND = Command(
    summary="Evaluate a model or a server by tasks; compare two models.",
    description="Put the questions of --eval_dataset to a model, or to a server by --eval_url, and "
    "write a report with standard errors and every reply into --eval_output_dir. --compare says "
    "whether one model is better than another. A run that is stopped goes on where it was.",
    groups=lambda argv: [ModelConfig, QuantLoadConfig, TemplateConfig, EvalConfig],
    run=run,
    refuse=lambda flag, argv: why_refused(flag),
)
