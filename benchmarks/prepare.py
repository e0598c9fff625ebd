"""Writes what every contestant reads: a random model, its tokenizer, rows of random characters."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

VOCABULARY = 32_000
CHARACTERS = 31_000
TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}<eos>{% endif %}{% endfor %}"
)


def byte_letters() -> list[str]:
    """The letter that stands for each byte in byte-level vocabularies (GPT-2's)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {byte: chr(byte) for byte in shown}
    letters |= {byte: chr(256 + number) for number, byte in enumerate(hidden)}
    return [letters[byte] for byte in range(256)]


def characters() -> list[str]:
    """Characters of three bytes in UTF-8, one token each: ideographs, then Hangul syllables."""
    every = [chr(code) for code in (*range(0x4E00, 0xA000), *range(0xAC00, 0xD7A4))]
    return every[:CHARACTERS]


def write_tokenizer(folder: Path) -> None:
    """Save a tokenizer that AutoTokenizer reads as Qwen2's, with a token for each character."""
    from transformers import Qwen2Tokenizer

    letters = byte_letters()
    spelled = ["".join(letters[byte] for byte in char.encode()) for char in characters()]
    starts = list(dict.fromkeys(word[:2] for word in spelled))
    merges = [(start[0], start[1]) for start in starts]
    merges += [(word[:2], word[2]) for word in spelled]
    tokens = ["<pad>", "<eos>", *letters, *starts, *spelled]
    tokens += [f"<spare{number}>" for number in range(VOCABULARY - len(tokens))]
    Qwen2Tokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<pad>",
        chat_template=TEMPLATE,
    ).save_pretrained(folder)


def write_model(folder: Path) -> None:
    """Save a Qwen2-shaped model of 39M parameters in bfloat16, and its tokenizer."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    write_tokenizer(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def write_rows(folder: Path, *, prompt: int, reply: int, count: int) -> None:
    """Write the same preference rows in the form each contestant reads."""
    chance = random.Random(f"{prompt}/{reply}")

    known = characters()

    def words(length: int) -> str:
        return "".join(chance.choice(known) for _ in range(length))

    with (
        (folder / "text.jsonl").open("w") as text,
        (folder / "chat.jsonl").open("w") as chat,
        (folder / "labelled.jsonl").open("w") as labelled,
    ):
        for number in range(count):
            # About the stated lengths: within 10% of them.
            parts = [words(round(n * chance.uniform(0.9, 1.1))) for n in (prompt, reply, reply)]
            row = {"prompt": parts[0], "chosen": parts[1], "rejected": parts[2]}
            text.write(json.dumps(row) + "\n")
            good = number % 2 == 0
            reply_text = parts[1] if good else parts[2]
            single = {"prompt": parts[0], "completion": reply_text, "label": good}
            labelled.write(json.dumps(single) + "\n")
            messages = [
                {"role": "user", "content": parts[0]},
                {"role": "assistant", "content": parts[1]},
            ]
            chat.write(json.dumps({"messages": messages, "rejected_response": parts[2]}) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompt", type=int, required=True)
    parser.add_argument("--reply", type=int, required=True)
    parser.add_argument("--rows", type=int, required=True)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if not (given.folder / "model" / "model.safetensors").exists():
        write_model(given.folder / "model")
    write_rows(given.folder, prompt=given.prompt, reply=given.reply, count=given.rows)
