"""Evaluation beside lm-evaluation-harness: the same replies and scores, item by item.

python benchmarks/eval_parity.py --gsm8k test.jsonl --humaneval HumanEval.jsonl.gz

Both take the same prompts greedily, in float32, with a built-in model. The harness runs in an
environment of its own (`--harness`: its Python). Its code_eval metric is fetched from a hub, so of
HumanEval the programs are compared, and only our scores are shown.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GSM8K = """task: own_gsm8k
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
output_type: generate_until
test_split: test
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: exact_match
    ignore_case: true
    regexes_to_ignore: [",", "\\\\$", "(?s).*#### ", "\\\\.$"]
generation_kwargs:
  until: ["Question:", "</s>", "<|im_end|>"]
  do_sample: false
  max_gen_toks: {n}
filter_list:
  - name: strict
    filter:
      - {{function: regex, regex_pattern: "#### (\\\\-?[0-9\\\\.\\\\,]+)"}}
      - {{function: take_first}}
  - name: flexible
    filter:
      - {{function: regex, group_select: -1, regex_pattern: "(-?[$0-9.,]{{{{2,}}}})|(-?[0-9]+)"}}
      - {{function: take_first}}
"""
HUMANEVAL = """task: own_humaneval
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
output_type: generate_until
test_split: test
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{canonical_solution}}}}"
metric_list: [{{metric: exact_match}}]
generation_kwargs:
  until: ["\\nclass", "\\ndef", "\\n#", "\\nif", "\\nprint"]
  do_sample: false
  max_gen_toks: {n}
"""


def harness(
    python: str, model: Path, task: str, text: str, folder: Path, url: str | None
) -> list[dict]:
    """Run the harness on one task, by a model of its own or by a server; return its samples."""
    tasks = folder / "tasks"
    tasks.mkdir(exist_ok=True)
    (tasks / f"{task}.yaml").write_text(text)
    engine, told = "hf", f"pretrained={model},dtype=float32"
    if url is not None:
        engine = "local-completions"
        told = f"model=builtin:{model.name},base_url={url}/completions,tokenizer={model}"
    words = ["-m", "lm_eval", "run", "--model", engine, "--model_args", told, "--include_path",
             str(tasks), "--tasks", task, "--device", "cpu", "--batch_size",
             "8" if url is None else "1", "--log_samples", "--output_path",
             str(folder / task)]  # fmt: skip
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    subprocess.run([python, *words], check=True, env=os.environ | offline, stdout=sys.stderr)
    file = next((folder / task).rglob("samples_*.jsonl"))
    return [json.loads(line) for line in file.read_text().splitlines()]


def ours(
    model: str, task: str, file: Path, length: int, folder: Path, url: str | None
) -> list[dict]:
    """Run swiftrl on the same; return its samples."""
    told = {task: {"local_path": str(file), "few_shot_num": 0, "max_tokens": length}}
    own = ["--torch_dtype", "float32", "--use_cpu", "true", "--eval_batch_size", "8"]
    place = own if url is None else ["--eval_url", url]
    words = ["-m", "swiftrl", "eval", "--model", model, *place, "--eval_dataset", task,
             "--eval_prompt", "raw", "--eval_dataset_args", json.dumps(told),
             "--eval_output_dir", str(folder / f"ours-{task}")]  # fmt: skip
    subprocess.run([sys.executable, *words], check=True, stdout=sys.stderr)
    lines = (folder / f"ours-{task}/samples/{task}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def first_rows(file: Path, number: int, place: Path) -> Path:
    """Write the first rows of a file."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as rows:
        lines = [line for _, line in zip(range(number), rows, strict=False)]
    place.write_text("".join(lines), encoding="utf-8")
    return place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gsm8k", type=Path, required=True)
    parser.add_argument("--humaneval", type=Path, required=True)
    parser.add_argument("--harness", default=str(ROOT / "benchmarks/.venvs/lmeval/bin/python"))
    parser.add_argument("--model", default="tiny-instruct")
    parser.add_argument("--url", help="both ask this server (swiftrl deploy, float32)")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--max_tokens", type=int, default=64)
    options = parser.parse_args()
    weights = ROOT / "swiftrl/models/builtin" / options.model
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        print("| task | items | replies equal | scores equal | mean |\n|---|---|---|---|---|")
        for task, given, text in (
            ("gsm8k", options.gsm8k, GSM8K), ("humaneval", options.humaneval, HUMANEVAL),
        ):  # fmt: skip
            file = first_rows(given, options.limit, folder / f"{task}.jsonl")
            yaml = text.format(file=file, n=options.max_tokens)
            theirs = harness(options.harness, weights, f"own_{task}", yaml, folder, options.url)
            mine = ours(
                f"builtin:{options.model}", task, file, options.max_tokens, folder, options.url
            )
            print(row(task, mine, theirs), flush=True)


def row(task: str, mine: list[dict], theirs: list[dict]) -> str:
    """Return a line of the table."""
    replies = {line["doc_id"]: line["resps"][0][0] for line in theirs}
    equal = sum(one["replies"][0] == replies[i] for i, one in enumerate(mine))
    if task == "gsm8k":
        scores = {(line["doc_id"], line["filter"]): line["exact_match"] for line in theirs}
        same = sum(
            one["values"][f"exact_match_{way}"][0] == scores[i, way]
            for i, one in enumerate(mine)
            for way in ("strict", "flexible")
        )
        shown = f"{same} of {2 * len(mine)}"
        mean = sum(one["values"]["exact_match_flexible"][0] for one in mine) / len(mine)
    else:
        shown, mean = "-", sum(one["values"]["pass@1"][0] for one in mine) / len(mine)
    return f"| {task} | {len(mine)} | {equal} | {shown} | {mean:.4f} |"


if __name__ == "__main__":
    main()
