"""Vision DPO on the built-in model: what held-out pairs and replies say before and after.

`python benchmarks/vision_dpo.py` trains builtin:tiny-vl on the built-in pairs about pictures, once
for each seed, with the commands that a user has.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.demo import answer, compare, held_out, run, sign_test

MODEL = "builtin:tiny-vl"
PROMPTS = "builtin:vl-preferences:heldout"
COLUMNS = ("Seed", "Reward accuracy", "Margin", "Right and in the manner asked for", "Sign test")


def train(folder: Path, seed: int, steps: int) -> Path:
    """Train and merge; return the merged model's folder."""
    run(
        "rlhf", "--rlhf_type", "dpo", "--model", MODEL, "--dataset", "builtin:vl-preferences",
        "--val_dataset", PROMPTS, "--tuner_type", "lora", "--lora_rank", "8",
        "--learning_rate", "1e-3", "--warmup_ratio", "0.1", "--rpo_alpha", "1",
        "--per_device_train_batch_size", "32", "--gradient_accumulation_steps", "1",
        "--gradient_checkpointing", "false", "--max_steps", str(steps),
        "--eval_steps", str(steps), "--seed", str(seed), "--data_seed", str(seed),
        "--output_dir", str(folder / "dpo"), "--add_version", "false",
    )  # fmt: skip
    merged = folder / "merged"
    checkpoint = folder / "dpo" / f"checkpoint-{steps}"
    run("merge-lora", "--adapters", str(checkpoint), "--output_dir", str(merged))
    return merged


def main() -> None:
    """Run every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=80)
    options = parser.parse_args()
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    with tempfile.TemporaryDirectory() as parent:
        root = Path(parent)
        before = answer(root / "before.jsonl", PROMPTS, "--model", MODEL)
        for seed in options.seeds:
            folder = root / str(seed)
            merged = train(folder, seed, options.steps)
            after = answer(folder / "after.jsonl", PROMPTS, "--model", str(merged))
            replies = compare(before, after)
            first, last = held_out(folder / "dpo")
            scores = [sum(r.score_before for r in replies), sum(r.score_after for r in replies)]
            better = sum(r.gain > 0 for r in replies)
            worse = sum(r.gain < 0 for r in replies)
            names = ("eval_rewards/accuracies", "eval_rewards/margins")
            told = [f"{first[name]:.3f} → {last[name]:.3f}" for name in names]
            told.append(" → ".join(f"{total / len(replies):.3f}" for total in scores))
            told.append(f"{better} better, {worse} worse, p = {sign_test(better, worse):.2g}")
            lines.append((str(seed), *told))
    print("\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))


if __name__ == "__main__":
    main()
