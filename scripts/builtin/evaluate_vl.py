"""Score tiny-vl on held-out pictures: `python -m scripts.builtin.evaluate_vl FOLDER`."""

from __future__ import annotations

import argparse
import base64
import io
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from scripts.builtin.evaluate import report
from scripts.builtin.train_vl import chat_text
from swiftrl.data.builtin.load import path

PREFIX = "data:image/png;base64,"


def load_rows() -> list[dict[str, Any]]:
    """Return the held-out picture rows of both sets, the replies cut off."""
    rows = []
    for name in ("vl-instructions", "vl-preferences"):
        for line in path(name, "heldout").read_text("utf-8").splitlines():
            row = json.loads(line)
            rows.append({**row, "messages": row["messages"][:-1]})
    return rows


def picture(row: dict[str, Any]) -> Image.Image:
    """Return the picture of a row."""
    encoded = base64.b64decode(row["images"][0].removeprefix(PREFIX))
    return Image.open(io.BytesIO(encoded)).convert("RGB")


def replies(model: Any, tokenizer: Any, processor: Any, rows: list[dict[str, Any]]) -> list[str]:
    """Return the model's greedy replies."""
    tokenizer.padding_side = "left"
    image_token = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    said: list[str] = []
    for start in range(0, len(rows), 50):
        some = rows[start : start + 50]
        prompts = [chat_text(row["messages"]) for row in some]
        batch = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
        seen = processor(images=[picture(row) for row in some], return_tensors="pt")
        with torch.no_grad():
            out = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                mm_token_type_ids=(batch["input_ids"] == image_token).int(),
                **seen,
                max_new_tokens=80,
                do_sample=False,
            )
        new = out[:, batch["input_ids"].shape[1] :]
        said += tokenizer.batch_decode(new, skip_special_tokens=True)
    return said


def table(folder: Path) -> str:
    """Return the table of scores for the model in `folder`."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    rows = load_rows()
    return report(rows, replies(model, tokenizer, processor, rows))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    print(table(parser.parse_args().model))


if __name__ == "__main__":
    main()
