"""Write the built-in models' README.md, scores included: `python -m scripts.builtin.make_cards`."""

from __future__ import annotations

import argparse
import json
import random
from itertools import islice
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.builtin import corpus, evaluate, evaluate_vl
from scripts.builtin.train_text import text_tokens

MODELS = Path(__file__).resolve().parents[2] / "swiftrl" / "models" / "builtin"
CARD = """# {name}

{what}

- Architecture: {architecture}, {parameters:.2f} million parameters, bfloat16.
- Tokenizer: byte-level BPE of 2048 entries, digits one by one; ChatML chat template.
- Made by `scripts/builtin` of swiftrl, from generated text alone. Licence: Apache-2.0.

{scores}

It is for trying out training, serving and evaluation within minutes on a CPU, and for tests. It
knows nothing besides its tasks: arithmetic, comparing, sorting, reversing, copying, repeating and
counting short lists, and a table of facts (capitals, opposites, colours, days and months, words)
in English and Chinese, asked for in a plain, polite or terse manner.
"""
WHAT = {
    "tiny-base": "A language model pre-trained on lines of solved problems and small scenes; it "
    "has seen no chats.",
    "tiny-instruct": "tiny-base taught to chat, on replies that often miss the manner (plain, "
    "polite, terse) that was asked for, so that preference training has something to gain.",
    "tiny-vl": "tiny-instruct's language model with a small picture encoder. It names the colour, "
    "the shape and the number of shapes drawn in a picture.",
}


def base_loss(folder: Path) -> float:
    """Return the mean loss, nats per token, on the held-out texts' generator."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    total, count = 0.0, 0
    stream = text_tokens(tokenizer, corpus.texts(random.Random("card"), heldout=True))
    for ids, _ in islice(stream, 200):
        tokens = torch.tensor([ids])
        with torch.no_grad():
            loss = model(input_ids=tokens, labels=tokens).loss
        total += loss.item() * (len(ids) - 1)
        count += len(ids) - 1
    return total / count


def scores(name: str, folder: Path) -> str:
    """Return the card's paragraph on how good the model is."""
    if name == "tiny-base":
        return f"Loss on held-out text: {base_loss(folder):.2f} nats per token."
    if name == "tiny-vl":
        return "Greedy replies, judged by `score()`:\n\n" + evaluate_vl.table(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rows = evaluate.load_rows("heldout")
    said = evaluate.replies(model, tokenizer, rows)
    return "Greedy replies, judged by `score()`:\n\n" + evaluate.report(rows, said)


def parameters(folder: Path) -> float:
    """Return the number of parameters in millions, from the size of the bfloat16 weights."""
    return (folder / "model.safetensors").stat().st_size / 2e6


def main() -> None:
    """Write the card of each model that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=MODELS)
    models = parser.parse_args().models
    for name, what in WHAT.items():
        folder = models / name
        if not folder.is_dir():
            continue
        config = json.loads((folder / "config.json").read_text("utf-8"))
        card = CARD.format(
            name=name,
            what=what,
            architecture=config["architectures"][0],
            parameters=parameters(folder),
            scores=scores(name, folder),
        )
        (folder / "README.md").write_text(card, "utf-8")
        print(card)


if __name__ == "__main__":
    main()
