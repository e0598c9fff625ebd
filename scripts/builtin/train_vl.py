"""Train tiny-vl: tiny-instruct's language model with a small picture encoder (Qwen3-VL's design).

`python -m scripts.builtin.train_vl --start TINY_INSTRUCT --output FOLDER`
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from scripts.builtin import corpus, pictures
from scripts.builtin.manners import usual_reply
from scripts.builtin.train_text import IGNORED, optimizers

PATCH = 8  # pixels
MERGE = 2  # patches by patches make one token
PICTURE_TOKENS = (pictures.SIDE // PATCH // MERGE) ** 2


def image_processor() -> Qwen2VLImageProcessorPil:
    """Return the processor that cuts a picture into patches."""
    return Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=2,
        size={"shortest_edge": pictures.SIDE**2, "longest_edge": pictures.SIDE**2},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
    )


def new_model(start: Qwen3ForCausalLM, tokenizer: Any) -> Qwen3VLForConditionalGeneration:
    """Return the model with `start`'s language weights and an untrained picture encoder."""
    text = start.config.to_dict()
    text = {key: text[key] for key in _SHARED_SETTINGS} | {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": text["rope_parameters"]["rope_theta"],
            "mrope_section": [6, 5, 5],
            "mrope_interleaved": True,
        },
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": 3,
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_heads": 4,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "out_hidden_size": text["hidden_size"],
        "num_position_embeddings": (pictures.SIDE // PATCH) ** 2,
        "deepstack_visual_indexes": [1],
    }
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )
    model = Qwen3VLForConditionalGeneration(config)
    model.model.language_model.load_state_dict(start.model.state_dict())
    return model


_SHARED_SETTINGS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "eos_token_id",
    "pad_token_id",
)


def chat_text(messages: list[dict[str, str]]) -> str:
    """Return the turns before the reply as text, the picture's tokens in their place."""
    inner = "<|image_pad|>" * PICTURE_TOKENS
    picture = f"<|vision_start|>{inner}<|vision_end|>"
    turns = [f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages]
    return "".join(turns).replace("<image>", picture) + "<|im_start|>assistant\n"


def examples(rng: random.Random) -> Iterator[tuple[Any, list[dict[str, str]], str]]:
    """Yield (picture or None, messages before the reply, reply): one in four without a picture."""
    seen = pictures.prompts(rng, heldout=False)
    unseen = corpus.prompts(rng, heldout=False)
    while True:
        if rng.random() < 0.25:
            prompt = next(unseen)
            yield None, prompt.messages, usual_reply(prompt, rng)
            continue
        scene, prompt = next(seen)
        *before, user = prompt.messages
        user = {"role": "user", "content": "<image>" + user["content"]}
        yield pictures.render(scene), [*before, user], usual_reply(prompt, rng)


def collate(rows: list[tuple], tokenizer: Any, processor: Any) -> dict[str, torch.Tensor]:
    """Tokenise and pad on the right; only replies have labels."""
    sequences = []
    for _, messages, reply in rows:
        head = tokenizer.encode(chat_text(messages), add_special_tokens=False)
        said = tokenizer.encode(reply + "<|im_end|>", add_special_tokens=False)
        sequences.append((head + said, [IGNORED] * len(head) + said))
    longest = max(len(ids) for ids, _ in sequences)
    pad = tokenizer.pad_token_id
    ids = torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in sequences])
    labels = torch.tensor([lab + [IGNORED] * (longest - len(lab)) for _, lab in sequences])
    images = [picture.convert("RGB") for picture, _, _ in rows if picture is not None]
    return {
        "input_ids": ids,
        "attention_mask": (ids != pad).long(),
        "labels": labels,
        "mm_token_type_ids": (ids == tokenizer.convert_tokens_to_ids("<|image_pad|>")).int(),
        **processor(images=images, return_tensors="pt"),
    }


def train(model: Any, tokenizer: Any, processor: Any, steps: int, rows: int, rate: float) -> None:
    """Run `steps` updates of `rows` examples."""
    stream = examples(random.Random("swiftrl train vl"))
    optimizer_list = optimizers(model, rate)
    begin, mean = time.time(), 0.0
    model.train()
    for step in range(steps):
        share = min(1.0, (step + 1) / 50, (steps - step) / (0.7 * steps))
        for optimizer in optimizer_list:
            for group in optimizer.param_groups:
                group["lr"] = rate * share
        loss = model(**collate(list(islice(stream, rows)), tokenizer, processor)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizer_list:
            optimizer.step()
            optimizer.zero_grad()
        mean += loss.item() / 100
        if (step + 1) % 100 == 0:
            print(
                f"step {step + 1}/{steps} loss {mean:.3f} {time.time() - begin:.0f} s", flush=True
            )
            mean = 0.0


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start", type=Path, required=True, help="tiny-instruct's folder")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(options.start)
    start = Qwen3ForCausalLM.from_pretrained(options.start, dtype=torch.float32)
    model, processor = new_model(start, tokenizer), image_processor()
    print(f"{sum(p.numel() for p in model.parameters())} parameters")
    train(model, tokenizer, processor, options.steps, options.rows, options.rate)
    model.generation_config = GenerationConfig(**start.generation_config.to_diff_dict())
    model.to(torch.bfloat16).save_pretrained(options.output)
    (options.output / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(options.output)
    processor.save_pretrained(options.output)


if __name__ == "__main__":
    main()
