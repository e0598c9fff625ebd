"""DPO on a file of preference pairs, cross-validated: what unseen pairs say before and after.

`python benchmarks/pairs.py FILE` takes a JSON list (or jsonl) of pairs in any form that swiftrl
reads, such as LLaMA-Factory's. Rows of one prompt stay together; every fold trains a new adapter on
the others with the command that a user has. Rows before `--first` are trained on in every fold and
never held out: choose settings on those. Words that are not options of this script go to
`swiftrl rlhf` and replace the settings of `RECIPE`.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.pair_signal import signal
from scripts.demo import held_out, run, sign_test

MODEL = "builtin:tiny-instruct"
RECIPE = (
    "--gradient_accumulation_steps", "4", "--warmup_ratio", "0.1",
    "--precompute_ref_log_probs", "true",
)  # fmt: skip
REPLIES = ("chosen", "rejected", "rejected_response", "rejected_messages")
METRICS = ("rewards/accuracies", "loss", "rewards/margins")
COLUMNS = ("Fold", "Trained on", "Held out", "Reward accuracy", "Loss", "Margin")
Metrics = dict[str, float]


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON list or of a jsonl file."""
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("["):
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def prompt(row: dict[str, Any]) -> str:
    """Return what a row asks, as text: everything but its replies."""
    return json.dumps({key: value for key, value in row.items() if key not in REPLIES})


def folds(rows: Sequence[dict[str, Any]], count: int, first: int, seed: int) -> list[int]:
    """Return each row's fold, -1 for rows that are trained on only."""
    always = {prompt(row) for row in rows[:first]}
    free = sorted({prompt(row) for row in rows} - always)
    random.Random(seed).shuffle(free)
    fold_of = {text: place % count for place, text in enumerate(free)}
    return [fold_of.get(prompt(row), -1) for row in rows]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as jsonl."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def train(folder: Path, parts: Sequence[list[dict[str, Any]]], words: Sequence[str]) -> Path:
    """Train on the first part, measure on the second; return the run's folder."""
    folder.mkdir(parents=True)
    files = [
        write(folder / name, part)
        for name, part in zip(("train.jsonl", "held_out.jsonl"), parts, strict=True)
    ]
    run(
        "rlhf", "--rlhf_type", "dpo", "--train_type", "lora", "--lora_rank", "8",
        "--model", MODEL, "--dataset", str(files[0]), "--val_dataset", str(files[1]),
        "--max_length", "2752", "--truncation_strategy", "left",
        "--gradient_checkpointing", "false", "--save_only_model", "true",
        *words, "--output_dir", str(folder / "dpo"), "--add_version", "false",
    )  # fmt: skip
    return folder / "dpo"


def mean_and_error(values: Sequence[float]) -> str:
    """Return the mean over folds with its standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.3f} ± {error:.3f}"


def table(sizes: Sequence[tuple[int, int]], measured: Sequence[Sequence[Metrics]]) -> list[str]:
    """Return a line for each fold, with the rows it trained on and held out, and their mean."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for fold, (size, found) in enumerate(zip(sizes, measured, strict=True)):
        told = [" → ".join(f"{at[f'eval_{name}']:.3f}" for at in found) for name in METRICS]
        lines.append((str(fold), *map(str, size), *told))
    columns = [[[at[f"eval_{name}"] for at in found] for found in measured] for name in METRICS]
    told = [
        f"{statistics.mean(first for first, _ in column):.3f} → "
        f"{mean_and_error([last for _, last in column])}"
        for column in columns
    ]
    lines.append(("all", "", str(sum(held for _, held in sizes)), *told))
    return [f"| {' | '.join(line)} |" for line in lines]


def main() -> None:
    """Run every fold and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--folds", type=int, default=5, help="at least 2")
    parser.add_argument("--first", type=int, default=0, help="rows that are never held out")
    parser.add_argument("--split_seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="keep the runs in this folder")
    options, words = parser.parse_known_args()
    rows = read(options.file)
    fold_of = folds(rows, options.folds, options.first, options.split_seed)
    sizes: list[tuple[int, int]] = []
    measured: list[tuple[Metrics, Metrics]] = []
    with tempfile.TemporaryDirectory() as parent:
        for fold in range(options.folds):
            parts: list[list[dict[str, Any]]] = [[], []]
            for row, place in zip(rows, fold_of, strict=True):
                parts[place == fold].append(row)
            folder = (options.output or Path(parent)) / str(fold)
            measured.append(held_out(train(folder, parts, words or RECIPE)))
            sizes.append((len(parts[0]), len(parts[1])))
    print("\n" + "\n".join(table(sizes, measured)))
    total = sum(held for _, held in sizes)
    shares = (found[1]["eval_rewards/accuracies"] for found in measured)
    right = round(sum(share * held for share, (_, held) in zip(shares, sizes, strict=True)))
    print(f"\n{right} of {total} right, sign test p = {sign_test(right, total - right):.2g}")
    print(signal(rows, fold_of))


if __name__ == "__main__":
    main()
