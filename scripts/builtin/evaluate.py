"""Score a text model on the held-out prompts: `python -m scripts.builtin.evaluate FOLDER`."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from swiftrl.data.builtin.load import path
from swiftrl.data.builtin.score import manner_kept, right_answer, score


def replies(
    model: Any, tokenizer: Any, rows: list[dict[str, Any]], *, temperature: float = 0.0
) -> list[str]:
    """Return the model's replies to rows of prompts; temperature 0 is greedy."""
    tokenizer.padding_side = "left"
    said: list[str] = []
    sampling = {"do_sample": temperature > 0}
    if temperature > 0:
        sampling |= {"temperature": temperature, "top_p": 1.0, "top_k": 0}
    else:
        sampling |= {"temperature": None, "top_p": None, "top_k": None}
    for start in range(0, len(rows), 64):
        prompts = [
            tokenizer.apply_chat_template(
                row["messages"], tokenize=False, add_generation_prompt=True
            )
            for row in rows[start : start + 64]
        ]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            out = model.generate(**batch, max_new_tokens=80, **sampling)
        new = out[:, batch["input_ids"].shape[1] :]
        said += tokenizer.batch_decode(new, skip_special_tokens=True)
    return said


def report(rows: list[dict[str, Any]], said: list[str]) -> str:
    """Return a table of right answers, manners kept and scores, in all and by task and style."""
    groups: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for row, reply in zip(rows, said, strict=True):
        marks = (right_answer(row, reply), manner_kept(row, reply), score(row, reply))
        for group in ("all", f"task {row['task']}", f"style {row['style']}"):
            groups[group].append(marks)
    lines = ["| Held-out prompts | Rows | Right | Manner | Score |", "|---|---|---|---|---|"]
    for group in sorted(groups):
        means = [sum(column) / len(groups[group]) for column in zip(*groups[group], strict=True)]
        cells = " | ".join(f"{mean:.2f}" for mean in means)
        lines.append(f"| {group} | {len(groups[group])} | {cells} |")
    return "\n".join(lines)


def load_rows(split: str) -> list[dict[str, Any]]:
    """Return the rows of the built-in prompts."""
    return [json.loads(line) for line in path("prompts", split).read_text("utf-8").splitlines()]


def main() -> None:
    """Print the table for one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--show", type=int, default=0, help="print so many replies")
    options = parser.parse_args()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    rows = load_rows("heldout")
    said = replies(model, tokenizer, rows, temperature=options.temperature)
    for row, reply in list(zip(rows, said, strict=True))[: options.show]:
        print(f"{score(row, reply):.1f} {row['messages'][-1]['content']} -> {reply}")
    print(report(rows, said))


if __name__ == "__main__":
    main()
