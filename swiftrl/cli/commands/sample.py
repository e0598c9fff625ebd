"""`swiftrl sample`: replies to prompts, scored, and the good ones kept as data to train on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from swiftrl.cli.command import Command
from swiftrl.cli.swift_flags import why_refused
from swiftrl.core import log
from swiftrl.core.config import Settings, setting
from swiftrl.core.errors import ConfigError
from swiftrl.data.config import DataConfig
from swiftrl.engine.config import GenerationConfig
from swiftrl.models.config import ModelConfig
from swiftrl.rlhf.rewards.config import RewardConfig
from swiftrl.templates.config import TemplateConfig

if TYPE_CHECKING:
    from swiftrl.data.rows import Prompt
    from swiftrl.rlhf.sample import Tally
    from swiftrl.rlhf.selecting import Selection

__all__ = ["COMMAND", "SampleConfig"]


@dataclass(frozen=True)
class SampleConfig:
    """Sampling."""

    num_return_sequences: int = setting(8, "Replies to each prompt.")
    keep: str = setting(
        "best",
        "What is written: best (replies to fine-tune on), pairs (a better and a worse reply, to "
        "align on), all (every reply with its score, and a label with --reward_threshold).",
        choices=("best", "pairs", "all"),
    )
    n_best_to_keep: int = setting(1, "Most replies, or pairs, of a prompt.")
    reward_threshold: float | None = setting(
        None, "Least score of a reply that is kept; of a pair, of the better one. Unset: any."
    )
    easy_query_threshold: float = setting(
        1.0, "Leave prompts out of whose replies more than this share reach --reward_threshold."
    )
    min_margin: float = setting(0.0, "By how much the better reply of a pair must score more.")
    result_path: str = setting("samples.jsonl", "The file for the rows.", aliases=("output_file",))
    exist_ok: bool = setting(False, "Replace --result_path if it exists.")


def run(settings: Settings) -> int:
    """Answer, score, choose and write."""
    config = settings[SampleConfig]
    selection = _selection(config)
    path = Path(config.result_path)
    _check_target(path, config.exist_ok)
    from swiftrl.cli import hardware
    from swiftrl.cli.loading import find_model, load, load_template
    from swiftrl.cli.rewards import all_rewards, check_rewards
    from swiftrl.engine.config import sampling_params
    from swiftrl.engine.transformers import TransformersEngine
    from swiftrl.models.heads import scores_in
    from swiftrl.rlhf.rewards.load import weights_of
    from swiftrl.rlhf.sample import Sampler

    model, generation = settings[ModelConfig], settings[GenerationConfig]
    backend = hardware.choose(model)
    hardware.check(settings, backend)
    check_rewards(settings, generation.max_new_tokens)
    resolved = find_model(model)
    if scores_in(resolved, model.adapters) is not None:
        raise ConfigError(f"{resolved.name} is a reward model and writes nothing; see --help.")
    template = load_template(settings, resolved)
    prompts = _prompts(settings, path)
    loaded = load(model, resolved)
    sampling = sampling_params(generation, loaded.model.generation_config)
    if generation.temperature is None and sampling.temperature == 0:
        sampling = replace(sampling, temperature=1.0)
    if sampling.temperature == 0 and config.num_return_sequences > 1:
        raise ConfigError("--temperature 0: all replies to a prompt would be the same; give more.")
    rewards = all_rewards(
        settings,
        backend,
        longest=generation.max_new_tokens,
        batch_size=generation.max_batch_size,
    )
    sampler = Sampler(
        TransformersEngine(
            loaded.model,
            loaded.tokenizer,
            stop_token_ids=template.stop_token_ids,
            max_batch_size=generation.max_batch_size,
            shown_token_ids=template.mark_token_ids,
        ),
        template,
        sampling,
        config.num_return_sequences,
        rewards,
        weights_of(settings[RewardConfig]),
        settings[RewardConfig].reward_timeout,
        selection,
        max(4 * generation.max_batch_size // config.num_return_sequences, 1),
    )
    tally = sampler.run(prompts, path, _fingerprint(settings, prompts))
    _report(tally, path, config, model)
    return 0 if tally.rows else 2


def _selection(config: SampleConfig) -> Selection:
    from swiftrl.rlhf.selecting import Selection

    for name in ("num_return_sequences", "n_best_to_keep"):
        if getattr(config, name) < 1:
            raise ConfigError(f"--{name} {getattr(config, name)}: expected at least 1.")
    if config.keep == "pairs" and config.num_return_sequences < 2:
        raise ConfigError("--keep pairs: needs --num_return_sequences 2 or more.")
    if not 0 <= config.easy_query_threshold <= 1:
        raise ConfigError(
            f"--easy_query_threshold {config.easy_query_threshold}: expected a share, 0 to 1."
        )
    if config.easy_query_threshold < 1 and config.reward_threshold is None:
        raise ConfigError("--easy_query_threshold counts replies that reach --reward_threshold; "
                          "give that too.")  # fmt: skip
    if config.min_margin < 0:
        raise ConfigError(f"--min_margin {config.min_margin}: expected 0 or more.")
    return Selection(
        config.keep,  # type: ignore[arg-type]
        config.n_best_to_keep,
        config.reward_threshold,
        config.easy_query_threshold,
        config.min_margin,
    )


def _check_target(path: Path, exist_ok: bool) -> None:
    if path.is_dir():
        raise ConfigError(f"--result_path {path}: is a folder; expected a file.")
    if path.exists() and not exist_ok:
        raise ConfigError(
            f"--result_path {path}: exists. Choose another file, or --exist_ok true to replace it."
        )


def _prompts(settings: Settings, path: Path) -> list[Prompt]:
    from swiftrl.data.dataset import load_rows
    from swiftrl.data.rejects import write_rejects
    from swiftrl.data.rows import Prompt

    data = settings[DataConfig]
    if not data.dataset:
        raise ConfigError("--dataset is missing: prompts, e.g. builtin:prompts to try things out.")
    rows, rejects = load_rows(
        data, data.dataset, "prompt", seed=settings[GenerationConfig].seed or 0,
        use_hf=settings[ModelConfig].use_hf,
    )  # fmt: skip
    if rejects:
        aside = path.with_name(f"{path.stem}-rejected_rows.jsonl")
        write_rejects(aside, rejects)
        log.warn(f"{len(rejects)} bad rows were set aside in {aside}; the first, {rejects[0]}")
    return [row for row in rows if isinstance(row, Prompt)]


def _fingerprint(settings: Settings, prompts: list[Prompt]) -> str:
    """Return a hash of all that decides the rows."""
    left_out = ("result_path", "exist_ok", "hub_token")
    chosen = {name: value for name, value in settings.as_dict().items() if name not in left_out}
    digest = hashlib.sha256(json.dumps(chosen, sort_keys=True, default=str).encode())
    for row in prompts:
        digest.update(json.dumps(asdict(row), sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _report(tally: Tally, path: Path, config: SampleConfig, model: ModelConfig) -> None:
    scored = max(tally.scored, 1)
    rows: list[tuple[str, str]] = [
        ("prompts", f"{tally.prompts:,}"),
        ("mean score", f"{tally.mean / scored:.4f}"),
        (f"best of {config.num_return_sequences}", f"{tally.best / scored:.4f}"),
        *((f"without a row: {why}", f"{count:,}") for why, count in sorted(tally.without.items())),
        ("rows written", f"{tally.rows:,}"),
    ]
    log.table("Sampling", ("", ""), rows)
    if not tally.rows:
        log.warn(f"{path}: no row was kept; lower --reward_threshold or --min_margin.")
        return
    log.info(f"Rows: {path}")
    commands = {
        "best": "sft", "pairs": "rlhf --rlhf_type dpo", "all": "rlhf --rlhf_type kto",
    }  # fmt: skip
    if config.keep != "all" or config.reward_threshold is not None:
        name = model.model or ""
        log.info(f"Next: swiftrl {commands[config.keep]} --model {name} --dataset {path}")


COMMAND = Command(
    summary="Answer prompts many times, score the replies, keep the good ones as data.",
    description="Write --num_return_sequences replies to every prompt of --dataset, score them by "
    "--reward_funcs and --reward_model, and write the best, or pairs of better and worse ones, as "
    "rows to train on. A run that is stopped goes on where it was when started again.",
    groups=lambda argv: [
        ModelConfig,
        GenerationConfig,
        TemplateConfig,
        DataConfig,
        RewardConfig,
        SampleConfig,
    ],
    run=run,
    refuse=lambda flag, argv: why_refused(flag),
)
