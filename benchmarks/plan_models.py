"""Random models and rows for `plan.py`."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from prepare import VOCABULARY, characters, write_tokenizer

ROWS = 64
GPTQ = "-gptq"
"""Behind a shape's name: its linear layers are packed."""
_SHARED = {
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen-39m": (
        "Qwen2",
        {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8,
         "num_attention_heads": 8, "num_key_value_heads": 2, "tie_word_embeddings": True},
    ),
    "qwen-168m": (
        "Qwen2",
        {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12,
         "num_attention_heads": 16, "num_key_value_heads": 4, "tie_word_embeddings": True},
    ),
    "llama-134m": (
        "Llama",
        {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12,
         "num_attention_heads": 12, "num_key_value_heads": 12, "tie_word_embeddings": False},
    ),
    "llama-200m": (
        "Llama",
        {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12,
         "num_attention_heads": 16, "num_key_value_heads": 4, "tie_word_embeddings": False},
    ),
    "moe-150m": (
        "Qwen3Moe",
        {"hidden_size": 512, "intermediate_size": 1024, "moe_intermediate_size": 512,
         "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 2,
         "head_dim": 64, "num_experts": 16, "num_experts_per_tok": 2,
         "tie_word_embeddings": True},
    ),
}  # fmt: skip


def write_model(name: str, folder: str | Path) -> None:
    """Save a random model of a shape in bfloat16, with a tokenizer of single characters."""
    import torch
    import transformers

    kind, sizes = SHAPES[name.removesuffix(GPTQ)]
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_tokenizer(Path(folder))
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**_SHARED, **sizes)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    model.to(torch.bfloat16).save_pretrained(folder)
    if name.endswith(GPTQ):
        _pack(Path(folder))


def _pack(folder: Path) -> None:
    """Put random 4-bit codes in GPTQ's layout in the place of the linear layers of a folder."""
    import torch
    from safetensors.torch import load_file, save_file

    from swiftrl.quant.format import FORMATS
    from swiftrl.quant.scheme import QuantWeight, Scheme

    form, scheme = FORMATS.get("gptq"), Scheme(bits=4, group_size=128)
    found = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            found[name] = weight
            continue
        groups = weight.shape[0], weight.shape[1] // scheme.group_size
        packed = QuantWeight(
            torch.randint(0, 16, weight.shape, dtype=torch.uint8),
            torch.full(groups, 0.005, dtype=torch.float16),
            torch.full(groups, 8, dtype=torch.uint8),
        )
        for ending, tensor in form.pack(packed, scheme).items():
            found[f"{name.removesuffix('.weight')}.{ending}"] = tensor.contiguous()
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = form.to_config(scheme, ["lm_head"])
    (folder / "config.json").write_text(json.dumps(config))


def write_rows(folder: Path, prompt: int, reply: int) -> Path:
    """Write rows of exactly these lengths, fit for every algorithm."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{prompt}-{reply}.jsonl"
    chance, known = random.Random(f"{prompt}/{reply}"), characters()

    def words(length: int) -> str:
        return "".join(chance.choice(known) for _ in range(length))

    with path.open("w", encoding="utf-8") as file:
        for _ in range(ROWS):
            # The template ends each reply with a token of its own.
            messages = [
                {"role": "user", "content": words(prompt)},
                {"role": "assistant", "content": words(reply - 1)},
            ]
            row = {"messages": messages, "rejected_response": words(reply - 1)}
            file.write(json.dumps(row) + "\n")
    return path
