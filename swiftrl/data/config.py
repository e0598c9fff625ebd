"""Settings of data."""

from __future__ import annotations

from dataclasses import dataclass

from swiftrl.core.config import setting

__all__ = ["DataConfig"]


@dataclass(frozen=True)
class DataConfig:
    """Data."""

    dataset: list[str] = setting(
        [],
        "Files (jsonl json csv parquet arrow), folders, hub ids or builtin:NAME, with "
        ":subset and #n (rows) behind.",
    )
    val_dataset: list[str] = setting([], "Held-out data, in the same syntax.")
    split_dataset_ratio: float = setting(
        0.0, "Share of --dataset held out when there is no --val_dataset."
    )
    columns: dict[str, str] = setting({}, 'Columns to rename, as JSON: {"found": "expected"}.')
    dataset_info: str | None = setting(
        None,
        "A LLaMA-Factory dataset_info.json: names in --dataset are looked up there.",
        aliases=("custom_dataset_info",),
    )
    strict: bool = setting(
        True,
        "Stop at the first bad row, naming file and line. false: set bad rows aside in a file "
        "with their reasons, and go on.",
    )
    dataset_num_proc: int = setting(1, "Processes that encode rows.")
    dataset_shuffle: bool = setting(True, "Shuffle the training rows each epoch.")
    streaming: bool = setting(
        False, "Read rows as they are needed instead of encoding all first; needs --max_steps."
    )
    shuffle_buffer_size: int = setting(1000, "Rows held for shuffling when streaming.")
    interleave_prob: list[float] = setting(
        [], "Probability of each data set: rows are drawn in turn instead of joined end to end."
    )
    stopping_strategy: str = setting(
        "first_exhausted", "When interleaving ends.", choices=("first_exhausted", "all_exhausted")
    )
    load_from_cache_file: bool = setting(True, "Reuse rows encoded before with these settings.")
    cache_dir: str | None = setting(None, "Folder for encoded rows. Unset: ~/.cache/swiftrl.")
    data_seed: int | None = setting(None, "Seed of shuffling and splitting. Unset: --seed.")
