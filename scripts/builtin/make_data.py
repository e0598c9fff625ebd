"""Write the built-in data sets: `python -m scripts.builtin.make_data`."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from scripts.builtin import corpus, pictures

FOLDER = Path(__file__).resolve().parents[2] / "swiftrl" / "data" / "builtin"
SETS = {
    "pretrain": corpus.texts,
    "instructions": corpus.instructions,
    "preferences": corpus.preferences,
    "labelled": corpus.labelled,
    "prompts": corpus.prompt_rows,
    "vl-instructions": pictures.instructions,
    "vl-preferences": pictures.preferences,
}
ROWS = {
    "pretrain": (3000, 300),
    "instructions": (4000, 400),
    "preferences": (2000, 400),
    "labelled": (2000, 400),
    "prompts": (2000, 400),
    "vl-instructions": (1500, 200),
    "vl-preferences": (1000, 200),
}
SPLITS = ("train", "heldout")


def stream(name: str, split: str) -> Iterator[dict[str, Any]]:
    """Yield a set's rows, each once, for ever; the shipped file holds the first of them."""
    seen: set[str] = set()
    for row in SETS[name](random.Random(f"swiftrl {name} {split}"), split == "heldout"):
        line = as_line(row)
        if line not in seen:
            seen.add(line)
            yield row


def as_line(row: dict[str, Any]) -> str:
    """Return a row as its line of jsonl."""
    return json.dumps(row, ensure_ascii=False)


def main() -> None:
    """Write every set and split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    for name, counts in ROWS.items():
        for split, count in zip(SPLITS, counts, strict=True):
            file = folder / name / f"{split}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = islice(stream(name, split), count)
            file.write_text("".join(as_line(row) + "\n" for row in rows), "utf-8")
            print(f"{file} {file.stat().st_size} bytes")


if __name__ == "__main__":
    main()
