"""Train the built-in text models: tiny-base from nothing, tiny-instruct from tiny-base.

`python -m scripts.builtin.train_text base --output FOLDER` and
`python -m scripts.builtin.train_text instruct --start FOLDER --output FOLDER`.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from scripts.builtin.corpus import instructions, texts
from scripts.builtin.make_tokenizer import make as make_tokenizer

IGNORED = -100
ROW_LENGTH = 128


def new_model(tokenizer: Any) -> Qwen3ForCausalLM:
    """Return the untrained model, about one million parameters."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=16384,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config)


def text_tokens(
    tokenizer: Any, rows: Iterator[dict[str, Any]]
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield (token ids, labels) of plain texts, each ended by <|endoftext|>."""
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    for row in rows:
        ids = [*tokenizer.encode(row["text"], add_special_tokens=False), end]
        yield ids, ids


def chat_tokens(
    tokenizer: Any, rows: Iterator[dict[str, Any]]
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield (token ids, labels) of chats; only the assistant's words and <|im_end|> train."""
    for row in rows:
        ids: list[int] = []
        labels: list[int] = []
        for message in row["messages"]:
            head = tokenizer.encode(f"<|im_start|>{message['role']}\n", add_special_tokens=False)
            said = tokenizer.encode(message["content"] + "<|im_end|>", add_special_tokens=False)
            tail = tokenizer.encode("\n", add_special_tokens=False)
            trains = message["role"] == "assistant"
            ids += head + said + tail
            labels += [IGNORED] * len(head) + (said if trains else [IGNORED] * len(said))
            labels += [IGNORED] * len(tail)
        yield ids, labels


def batches(
    stream: Iterator[tuple[list[int], list[int]]], rows: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pack sequences one after the other into rows of ROW_LENGTH; a row starts with a fresh one."""
    while True:
        packed = []
        for _ in range(rows):
            ids: list[int] = []
            labels: list[int] = []
            while len(ids) < ROW_LENGTH:
                more_ids, more_labels = next(stream)
                ids += more_ids
                labels += more_labels
            packed.append((ids[:ROW_LENGTH], labels[:ROW_LENGTH]))
        both = torch.tensor(packed)
        yield both[:, 0], both[:, 1]


def optimizers(model: torch.nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices, AdamW for embeddings and norms."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in named if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(
            matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw", momentum=0.95
        ),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(
    model: Qwen3ForCausalLM,
    stream: Iterator[tuple[torch.Tensor, torch.Tensor]],
    steps: int,
    rate: float,
    *,
    compiled: bool,
) -> None:
    """Run `steps` updates: short warm-up, then linear decay to zero."""
    body = torch.compile(model.model) if compiled else model.model
    optimizer_list = optimizers(model, rate)
    model.train()
    begin, mean = time.time(), float("nan")
    for step in range(steps):
        share = min(1.0, (step + 1) / 50, (steps - step) / (0.7 * steps))
        for optimizer in optimizer_list:
            for group in optimizer.param_groups:
                group["lr"] = rate * share
        token_ids, labels = next(stream)
        hidden = body(input_ids=token_ids, use_cache=False).last_hidden_state[:, :-1]
        trained = labels[:, 1:] != IGNORED
        logits = model.lm_head(hidden[trained])
        loss = torch.nn.functional.cross_entropy(logits, labels[:, 1:][trained])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizer_list:
            optimizer.step()
            optimizer.zero_grad()
        mean = loss.item() if math.isnan(mean) else 0.98 * mean + 0.02 * loss.item()
        if (step + 1) % 100 == 0:
            spent = time.time() - begin
            print(f"step {step + 1}/{steps} loss {mean:.3f} {spent:.0f} s", flush=True)


def save(model: Qwen3ForCausalLM, tokenizer: Any, folder: Path, *, chat: bool) -> None:
    """Write weights in bfloat16, tokenizer, template and generation settings."""
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    stops = [tokenizer.eos_token_id, end] if chat else end
    model = model.to(torch.bfloat16)
    model.config.eos_token_id = tokenizer.eos_token_id if chat else end
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_p=0.95,
        eos_token_id=stops,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Train one of the two models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=("base", "instruct"))
    parser.add_argument("--start", type=Path, help="tiny-base's folder, for the instruct stage")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="faster; needs a C++ compiler")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rng = random.Random(f"swiftrl train {options.stage}")
    chat = options.stage == "instruct"
    if chat:
        tokenizer = AutoTokenizer.from_pretrained(options.start)
        model = Qwen3ForCausalLM.from_pretrained(options.start, dtype=torch.float32)
        stream = chat_tokens(tokenizer, instructions(rng))
    else:
        tokenizer = make_tokenizer()
        model = new_model(tokenizer)
        stream = text_tokens(tokenizer, texts(rng))
    print(f"{sum(p.numel() for p in model.parameters())} parameters")
    packed = batches(stream, options.rows)
    train(model, packed, options.steps, options.rate, compiled=options.compile)
    save(model, tokenizer, options.output, chat=chat)


if __name__ == "__main__":
    main()
