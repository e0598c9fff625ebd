"""Does each offline algorithm better its own held-out metric? One table, over several seeds.

Every algorithm trains the built-in model for a short while with `swiftrl`, on rows of its kind, and
is evaluated on held-out rows before the first step and after the last.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from swiftrl.backends.detect import BACKENDS

# As the command does before torch is imported.
BACKENDS.get("cpu").default_env("train")

from swiftrl.cli.main import main as swiftrl  # noqa: E402

PAIRS = ("--dataset", "builtin:preferences", "--val_dataset", "builtin:preferences:heldout#100")
LABELLED = ("--dataset", "builtin:labelled", "--val_dataset", "builtin:labelled:heldout#100")
REPLIES = ("--dataset", "builtin:instructions", "--val_dataset",
           "builtin:instructions:heldout#100")  # fmt: skip
MADE = ("--dataset", "{folder}/{made}.jsonl", "--val_dataset", "{folder}/{made}-held.jsonl")
FULL = ("--tuner_type", "full", "--learning_rate", "3e-4")
WON = "eval_rewards/accuracies"
WORDS = [
    "cat",
    "dog",
    "sun",
    "tree",
    "fish",
    "star",
    "moon",
    "bird",
    "rain",
    "stone",
    "river",
    "cloud",
]


@dataclass(frozen=True)
class Case:
    """A run.

    Attributes:
        name: in the table.
        words: of the command line.
        metric: of the held-out rows.
        better: 1 if more of it is better, -1 if less is.
        made: name of a data set that is made here.
    """

    name: str
    words: tuple[str, ...]
    metric: str = WON
    better: int = 1
    made: str = ""


def preference(name: str, *words: str, kind: str = "dpo") -> Case:
    return Case(name, ("rlhf", "--rlhf_type", kind, *PAIRS, *words))


GKD = ("rlhf", "--rlhf_type", "gkd", *REPLIES, "--teacher_model", "builtin:tiny-instruct",
       "--model", "builtin:tiny-base", "--max_completion_length", "24")  # fmt: skip
CASES = (
    preference("DPO"),
    preference("DPO, WPO weights", "--use_weighting", "true"),
    preference("DPO, TR-DPO", "--sync_ref_model", "true", "--ref_model_sync_steps", "20"),
    preference("DPO, LD-DPO", "--ld_alpha", "0.5"),
    preference("DPO, sigmoid_norm", "--loss_type", "sigmoid_norm", "--beta", "5"),
    preference("DPO, f-DPO", "--f_divergence_type", "js_divergence"),
    preference("DPO, MPO", "--loss_type", "sigmoid", "bco_pair", "sft", "--loss_weights", "0.8",
               "0.2", "1"),
    preference("ORPO", kind="orpo"),
    preference("SimPO", kind="simpo"),
    preference("SimPO, AlphaPO", "--alphapo_alpha", "0.25", kind="simpo"),
    preference("CPO", kind="cpo"),
    Case("KTO", ("rlhf", "--rlhf_type", "kto", *LABELLED)),
    Case("KTO, unpaired APO",
         ("rlhf", "--rlhf_type", "kto", "--loss_type", "apo_zero_unpaired", *LABELLED)),
    Case("KTO, BCO", ("rlhf", "--rlhf_type", "kto", "--loss_type", "bco", *LABELLED)),
    preference("Reward model", *FULL, kind="rm"),
    Case("Reward model, regression",
         ("rlhf", "--rlhf_type", "rm_regression", "--objectives", "length", "unlike", *MADE, *FULL),
         "eval_loss", -1, "scores"),
    Case("Process reward model", ("rlhf", "--rlhf_type", "prm", *MADE, *FULL),
         "eval_accuracy", 1, "steps"),
    Case("GKD, the data's replies", (*GKD, "--lmbda", "0"), "eval_distance", -1),
    Case("GKD, reverse KL on its own replies", (*GKD, "--lmbda", "1", "--beta", "1"),
         "eval_distance", -1),
    Case("SFT", ("sft", *REPLIES, "--model", "builtin:tiny-base"), "eval_loss", -1),
)  # fmt: skip


def write_rows(folder: Path) -> None:
    """Write rows with scores, and rows of steps: a step is right if the prompt names the word."""
    draw = random.Random(0)
    for count, name in ((1000, ""), (100, "-held")):
        steps, scores = [], []
        for _ in range(count):
            asked = draw.sample(WORDS, 3)
            # About half of the steps are right, so that a constant answer gains nothing.
            said = [word if draw.random() < 0.33 else draw.choice(WORDS) for word in asked]
            labels = [word in asked for word in said]
            prompt = f"Repeat: {' '.join(asked)}."
            steps.append({"prompt": prompt, "completions": said, "labels": labels})
            reply = " ".join(draw.choices(WORDS, k=draw.randint(1, 6)))
            numbers = {"length": len(reply.split()) / 6, "unlike": float("fish" in reply)}
            messages = [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": reply},
            ]
            scores.append({"messages": messages, "scores": numbers})
        for kind, rows in (("steps", steps), ("scores", scores)):
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{kind}{name}.jsonl").write_text(text)


def run(case: Case, seed: int, folder: Path, steps: int) -> tuple[float, float]:
    """Return the metric before and after."""
    output = folder / f"{CASES.index(case)}-{seed}"
    given = [word.format(folder=folder, made=case.made) for word in case.words]
    shared = {
        "model": "builtin:tiny-instruct",
        "learning_rate": "1e-3",
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 32,
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": "false",
        "max_steps": steps,
        "eval_steps": steps,
        "save_strategy": "no",
        "logging_steps": steps,
        "seed": seed,
        "use_cpu": "true",
        "add_version": "false",
        "output_dir": output,
        "cache_dir": folder / "cache",
    }
    for name, value in shared.items():
        if f"--{name}" not in given:
            given += [f"--{name}", str(value)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = swiftrl(given)
    if code:
        raise SystemExit(f"{case.name}: {' '.join(given)}\n{said.getvalue()[-3000:]}")
    lines = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    found = [line[case.metric] for line in lines if case.metric in line]
    return found[0], found[-1]


def main() -> None:
    """Run the cases and print the table; exits with 1 if one did not better its metric."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="words of cases' names")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="swiftrl-improves-"))
    write_rows(folder)
    print("| Algorithm | held-out metric | before | after | seeds that gained |")
    print("|---|---|---|---|---|", flush=True)
    worse = []
    for case in CASES:
        if not all(word.lower() in case.name.lower() for word in given.only):
            continue
        pairs = [run(case, seed, folder, given.steps) for seed in given.seeds]
        gained = sum(case.better * (after - before) > 0 for before, after in pairs)
        before, after = (statistics.mean(side) for side in zip(*pairs, strict=True))
        spread = statistics.pstdev([after for _, after in pairs])
        print(
            f"| {case.name} | {case.metric.removeprefix('eval_')} | {before:.3f} | "
            f"{after:.3f} ± {spread:.3f} | {gained} of {len(pairs)} |",
            flush=True,
        )
        if gained < len(pairs):
            worse.append(case.name)
    if worse:
        raise SystemExit(f"not bettered with every seed: {', '.join(worse)}")


if __name__ == "__main__":
    main()
