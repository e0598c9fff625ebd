"""`make demo`: trains the built-in model on the built-in preferences and shows what changed.

Everything is done by the commands that a user has; this script runs them one after another, judges
the replies before and after with the built-in judge, and prints both in one table.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftrl.data.builtin.score import score

MODEL = "builtin:tiny-instruct"
MARK = "demo.json"
EXAMPLES = 5


@dataclass(frozen=True)
class Reply:
    """One held-out prompt with the model's greedy replies and their scores in [0, 1]."""

    row: dict[str, Any]
    before: str
    after: str
    score_before: float
    score_after: float

    @property
    def gain(self) -> float:
        """How much better the later reply is."""
        return self.score_after - self.score_before


def run(*words: str) -> None:
    """Run `swiftrl WORDS`, its output visible; leave with its exit code if it fails."""
    print(f"\n$ swiftrl {shlex.join(words)}", flush=True)
    # A model this small is several times slower when its products are split over threads.
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    code = subprocess.run(
        [sys.executable, "-m", "swiftrl", *words], env=environment, check=False
    ).returncode
    if code:
        sys.exit(code)


def answer(path: Path, prompts: str, *model: str) -> list[dict[str, Any]]:
    """Return the held-out prompts with greedy replies, as `swiftrl infer` writes them."""
    run(
        "infer", *model, "--dataset", prompts, "--temperature", "0", "--max_new_tokens", "80",
        "--max_batch_size", "64", "--result_path", str(path),
    )  # fmt: skip
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def compare(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> list[Reply]:
    """Judge both replies to each prompt."""
    return [
        Reply(
            old,
            old["response"],
            new["response"],
            score(old, old["response"]),
            score(new, new["response"]),
        )
        for old, new in zip(before, after, strict=True)
    ]


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the sign test: ties are left out.

    That is the probability, if a win and a loss were equally likely, of a difference at least
    as large.
    """
    count = wins + losses
    tail = sum(math.comb(count, k) for k in range(max(wins, losses), count + 1))
    return min(1.0, 2 * tail / 2**count)


def held_out(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Return the first and the last held-out metrics of a run."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    found = [line for line in lines if "eval_rewards/accuracies" in line]
    return found[0], found[-1]


def table(folder: Path, replies: Sequence[Reply]) -> str:
    """Return what was measured before and after."""
    first, last = held_out(folder)
    wins = sum(reply.gain > 0 for reply in replies)
    losses = sum(reply.gain < 0 for reply in replies)
    ties = len(replies) - wins - losses
    means = [
        sum(values) / len(replies)
        for values in ([r.score_before for r in replies], [r.score_after for r in replies])
    ]
    rows = [
        ("held-out pairs", "before", "after"),
        *(
            (name, f"{first[f'eval_{key}']:.3f}", f"{last[f'eval_{key}']:.3f}")
            for name, key in (
                ("  reward accuracy (a tie counts 1/2)", "rewards/accuracies"),
                ("  reward margin", "rewards/margins"),
                ("  loss", "loss"),
            )
        ),
        (f"greedy replies to {len(replies)} held-out prompts", "", ""),
        ("  mean score of the judge, 0 to 1", f"{means[0]:.3f}", f"{means[1]:.3f}"),
    ]
    lines = [f"  {name:<44}{old:>10}{new:>10}".rstrip() for name, old, new in rows]
    lines.append(
        f"    after against before: {wins} better, {ties} the same, {losses} worse "
        f"(sign test, two-sided: p = {sign_test(wins, losses):.2g})"
    )
    return "\n".join(lines)


def examples(replies: Sequence[Reply]) -> list[Reply]:
    """Return a few replies: the first improved of each manner and language, and one that got worse.

    If nothing improved, the first replies.
    """
    picked: dict[tuple[str, str], Reply] = {}
    for reply in replies:
        if reply.gain > 0:
            picked.setdefault((reply.row["style"], reply.row["language"]), reply)
    worse = next((reply for reply in replies if reply.gain < 0), None)
    shown = list(picked.values())[: EXAMPLES - 1] or list(replies[: EXAMPLES - 1])
    return [*shown, worse] if worse is not None else shown


def example_text(reply: Reply) -> str:
    """Return a prompt with both replies."""
    said = [
        f"{m['role']}: {m['content']}" for m in reply.row["messages"] if m["role"] != "assistant"
    ]
    return "\n".join(
        [
            *(f"  {line}" for line in said),
            f"    before ({reply.score_before:.1f}): {reply.before}",
            f"    after  ({reply.score_after:.1f}): {reply.after}",
        ]
    )


def next_commands(output: Path, checkpoint: Path) -> str:
    """Return what to try next, ready to be copied."""
    beside = Path(sys.executable).parent / "swiftrl"
    tool = "swiftrl"
    if beside.is_file():
        inside = beside.is_relative_to(Path.cwd())
        tool = str(beside.relative_to(Path.cwd()) if inside else beside)
    return textwrap.dedent(f"""\
        Talk to the trained model, and to the one before:
          {tool} infer --model {output / "merged"}
          {tool} infer --model {MODEL}
        Fold the adapter into its base (done above, into {output / "merged"}):
          {tool} merge-lora --adapters {checkpoint} --output_dir my-model
        See which tokens train:
          {tool} template --model {MODEL} --data builtin:preferences --rows 2
        Check your own pairs, then train on them:
          {tool} data check pairs.jsonl --model {MODEL}
          {tool} rlhf --rlhf_type dpo --model {MODEL} \\
              --dataset pairs.jsonl --split_dataset_ratio 0.1
        Every setting:
          {tool} rlhf --help""")


def prepare(output: Path) -> None:
    """Make the output folder, and take away what an earlier demo left in it."""
    if output.exists() and any(output.iterdir()) and not (output / MARK).is_file():
        sys.exit(f"{output} is not empty and no demo made it; choose another folder with --output.")
    output.mkdir(parents=True, exist_ok=True)
    (output / MARK).write_text("{}\n")
    for name in ("dpo", "merged"):
        shutil.rmtree(output / name, ignore_errors=True)


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo_output"))
    parser.add_argument("--steps", type=int, default=80, help="optimizer steps")
    parser.add_argument("--pairs", type=int, help="training pairs; all if unset")
    parser.add_argument("--prompts", type=int, help="held-out prompts and pairs; all if unset")
    options = parser.parse_args()
    output: Path = options.output
    began = time.monotonic()
    prepare(output)
    held = f"#{options.prompts}" if options.prompts else ""
    prompts = f"builtin:prompts:heldout{held}"

    print("1. The model before training answers the held-out prompts.")
    before = answer(output / "replies_before.jsonl", prompts, "--model", MODEL)
    print("\n2. DPO with LoRA.")
    run(
        "rlhf", "--rlhf_type", "dpo", "--model", MODEL,
        "--dataset", "builtin:preferences" + (f"#{options.pairs}" if options.pairs else ""),
        "--val_dataset", f"builtin:preferences:heldout{held}",
        "--tuner_type", "lora", "--lora_rank", "8", "--learning_rate", "1e-3",
        "--warmup_ratio", "0.1", "--rpo_alpha", "1", "--per_device_train_batch_size", "32",
        "--gradient_accumulation_steps", "1", "--gradient_checkpointing", "false",
        "--max_steps", str(options.steps), "--eval_steps", "20", "--logging_steps", "5",
        "--output_dir", str(output / "dpo"), "--add_version", "false",
    )  # fmt: skip
    checkpoint = output / "dpo" / f"checkpoint-{options.steps}"
    print("\n3. The adapter is folded into the model.")
    run("merge-lora", "--adapters", str(checkpoint), "--output_dir", str(output / "merged"))
    print("\n4. The trained model answers the same prompts.")
    after = answer(output / "replies_after.jsonl", prompts, "--model", str(output / "merged"))

    replies = compare(before, after)
    result = table(output / "dpo", replies)
    print(f"\nBefore and after ({options.steps} steps of DPO)\n\n{result}\n\nReplies\n")
    print("\n\n".join(example_text(reply) for reply in examples(replies)))
    print(f"\nCurves: {output / 'dpo' / 'images'}/*.png, e.g. loss.png, rewards_accuracies.png")
    print(f"Merged model: {output / 'merged'} (loads with plain transformers)")
    print(f"This took {time.monotonic() - began:.0f} seconds.\n")
    print(next_commands(output, checkpoint))


if __name__ == "__main__":
    main()
