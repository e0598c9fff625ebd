"""Folders of `swiftrl export` in other people's readers: do they compute what the files say?

Each folder is read by swiftrl, transformers, GPTQModel and vLLM (CPU build), in bfloat16, and the
log-probabilities of the same tokens are compared with those of its dequantised weights in float32
(quant_score.py unpacks them). What bfloat16 alone changes stands beside it. Prints a table; a
reader that cannot read a folder is named with its last words.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import environments
import quant_models
import quant_score

HERE = Path(__file__).resolve().parent
WAYS = {
    "gptq": ["gptq"],
    "gptq, 8 bits": ["gptq", "--quant_bits", "8"],
    "gptq, act-order": ["gptq", "--desc_act", "true"],
    "gptq_v2": ["gptq", "--quant_format", "gptq_v2"],
    "awq": ["awq"],
    "compressed_tensors": ["gptq", "--quant_format", "compressed_tensors"],
    "w8a8": ["w8a8"],
    "fp8": ["fp8"],
}
READERS = ("swiftrl", "transformers", "gptqmodel", "vllm")
VARIABLES = {
    "OMP_NUM_THREADS": "1",
    "GPTQMODEL_CPU_WORKERS": "2",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "TORCHDYNAMO_DISABLE": "1",
    "PYTHONPATH": str(HERE.parent),
}


def run(words: list[str], folder: Path) -> str | None:
    """Run a program in a folder; return its last error, or None if it went well."""
    done = subprocess.run(
        words, cwd=folder, env=os.environ | VARIABLES, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return None
    said = [line for line in done.stderr.splitlines() if re.search(r"Error\b|swiftrl: ", line)]
    return (said or [f"exit code {done.returncode}"])[-1][-160:]


def expected(folder: Path, original: Path, rows: list[list[int]], kind: str) -> Any:
    """Return log-probabilities by the dequantised weights, computed in a type of torch."""
    import torch

    weights = quant_score._every_tensor(original)
    with tempfile.TemporaryDirectory() as target:
        plain, _ = quant_score.plain_weights(folder, weights)
        quant_score.plain_folder(original, weights | plain, Path(target))
        model = quant_score.load(Path(target)).to(getattr(torch, kind))
    found = []
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row])
            logits = model(ids, use_cache=False).logits[0].float().log_softmax(-1)
            found.append(logits[:-1].gather(1, ids[0, 1:, None])[:, 0])
    return torch.cat(found)


def read(reader: str, folder: Path, rows: Path, work: Path) -> list[float] | str:
    """Return what a reader computes, or why it does not."""
    output = work / f"{reader}.json"
    output.unlink(missing_ok=True)
    here, name = HERE / "contestants", "quant_reader_ours.py"
    words = [sys.executable, str(here / name)]
    if reader != "swiftrl":
        words = [environments.create("quant"), str(here / "quant_reader.py"), reader]
    failed = run([*words, str(folder), str(rows), str(output)], work)
    if failed is not None:
        return failed
    return [value for row in json.loads(output.read_text()) for value in row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=["tiny-instruct", "qwen2", "qwen3_moe"])
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    parser.add_argument("--readers", nargs="+", default=list(READERS))
    options = parser.parse_args()
    import torch

    work = HERE / "results" / "readers"
    work.mkdir(parents=True, exist_ok=True)
    chance = random.Random(0)
    ids = [[chance.randrange(3, 2000) for _ in range(24)] for _ in range(4)]
    rows = work / "rows.json"
    rows.write_text(json.dumps(ids))
    print(f"| Model | Written as | bfloat16 | {' | '.join(options.readers)} |")
    print("|---|---|---|" + "---|" * len(options.readers))
    for shape in options.shapes:
        original = quant_models.BUILTIN / shape
        if not original.exists():
            original = work / f"{shape}-original"
            quant_models.write_model(original, shape)
        for way in options.ways:
            folder = work / f"{shape}-{re.sub('[^a-z0-9]+', '-', way)}"
            small = ["--quant_n_samples", "64", "--quant_eval_samples", "8", "--use_cpu", "true"]
            words = [sys.executable, "-m", "swiftrl", "export", "--model", str(original), *small]
            words += ["--quant_method", *WAYS[way], "--output_dir", str(folder)]
            failed = run([*words, "--exist_ok", "true", "--force", "true"], work)
            if failed is not None:
                print(f"| {shape} | {way} | not written: {failed} |", flush=True)
                continue
            exact = expected(folder, original, ids, "float32")
            noise = (expected(folder, original, ids, "bfloat16") - exact).abs()
            cells = [f"{float(noise.mean()):.3f}"]
            for reader in options.readers:
                found = read(reader, folder, rows, work)
                if isinstance(found, str):
                    cells.append(found)
                    continue
                error = (torch.tensor(found) - exact).abs()
                cells.append(f"{float(error.mean()):.3f} (≤ {float(error.max()):.2f})")
            print(f"| {shape} | {way} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
