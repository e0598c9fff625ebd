"""Random models in the shapes that are quantised, with what makes weights hard to quantise.

Trained models have a few channels whose activations are many times larger than the rest, inputs
that go together, and weights with heavy tails. Independent normal numbers have none of this, and
any method does equally well on them.

`python benchmarks/quant_models.py FOLDER [SHAPE ...]` writes them; all use the tokenizer of
builtin:tiny-instruct.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

__all__ = ["BUILTIN", "SHAPES", "write_model", "write_text"]

BUILTIN = Path(__file__).resolve().parent.parent / "swiftrl" / "models" / "builtin"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
OUTLIERS = 0.01
"""Channels of a normalisation that are large, as a share of all."""
COMMON = {
    "vocab_size": 2048,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "pad_token_id": 2035,
    "eos_token_id": 2034,
    "bos_token_id": None,
}
EXPERTS = {"num_experts_per_tok": 2, "router_jitter_noise": 0.0}
VISION = {
    "text_config": {key: value for key, value in COMMON.items() if key != "head_dim"}
    | {
        "model_type": "qwen2_5_vl_text",
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [8, 12, 12],
        },
    },
    "vision_config": {
        "depth": 2,
        "hidden_size": 64,
        "out_hidden_size": 256,
        "intermediate_size": 128,
        "num_heads": 4,
        "patch_size": 8,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 32,
        "fullatt_block_indexes": [1],
    },
    "vision_start_token_id": 2038,
    "vision_end_token_id": 2039,
    "image_token_id": 2040,
    "video_token_id": 2041,
    "tie_word_embeddings": False,
    "eos_token_id": 2034,
    "bos_token_id": None,
    "pad_token_id": 2035,
}
"""Qwen2.5-VL; rows are text, and towers stay as they are for everybody."""
SHAPES: dict[str, dict[str, Any]] = {
    "llama": COMMON,
    "qwen2": {key: value for key, value in COMMON.items() if key != "head_dim"},
    "mixtral": COMMON | EXPERTS | {"num_local_experts": 4, "intermediate_size": 256},
    "qwen3_moe": COMMON
    | {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 128},
    "qwen2_5_vl": VISION,
}
"""Shapes by model type."""


def _spread(weight: Any, chance: Any) -> None:
    """Fill a matrix [..., O, I]: heavy tails, and a part of low rank that inputs share."""
    import torch

    inputs = weight.shape[-1]
    normal = torch.randn(weight.shape, generator=chance)
    # Student's t with five degrees of freedom: normal over the root of a mean of squares.
    squares = torch.randn((5, *weight.shape), generator=chance).square().mean(0)
    tails = normal / squares.sqrt()
    left = torch.randn((*weight.shape[:-1], 8), generator=chance)
    right = torch.randn((*weight.shape[:-2], 8, inputs), generator=chance)
    weight.copy_((tails + 0.5 * left @ right / 8**0.5) * 0.7 / inputs**0.5)


def _fill(model: Any, chance: Any) -> None:
    """Fill every weight of a causal language model."""
    import torch

    for name, weight in model.named_parameters():
        if name.endswith("lm_head.weight"):
            weight.copy_(torch.randn(weight.shape, generator=chance) * 2 / weight.shape[-1] ** 0.5)
        elif "embed" in name and weight.dim() == 2:
            shared = torch.randn((weight.shape[0], 16), generator=chance)
            mixed = shared @ torch.randn((16, weight.shape[1]), generator=chance) / 4
            weight.copy_(mixed + 0.5 * torch.randn(weight.shape, generator=chance))
        elif weight.dim() >= 2:
            _spread(weight, chance)
        elif "norm" in name and weight.shape[0] > 128:
            scale = torch.exp(0.5 * torch.randn(weight.shape, generator=chance))
            large = torch.randperm(weight.shape[0], generator=chance)
            scale[large[: max(1, int(OUTLIERS * weight.shape[0]))]] *= 10
            weight.copy_(scale / scale.square().mean().sqrt())
        elif name.endswith("bias"):
            weight.copy_(0.1 * torch.randn(weight.shape, generator=chance))


def write_model(folder: Path, shape: str, seed: int = 0) -> None:
    """Save a random model of `SHAPES` in bfloat16, with the built-in tokenizer."""
    import torch
    from transformers import AutoConfig

    config = AutoConfig.for_model(shape, **SHAPES[shape])
    model = model_class(shape).from_config(config, dtype=torch.float32)
    with torch.no_grad():
        _fill(model, torch.Generator().manual_seed(seed))
    model.to(torch.bfloat16).save_pretrained(folder)
    for name in TOKENIZER:
        shutil.copy(BUILTIN / "tiny-instruct" / name, folder / name)
    if "vision_config" in SHAPES[shape]:
        name = "preprocessor_config.json"
        shutil.copy(BUILTIN / "tiny-vl" / name, folder / name)


def model_class(shape: str) -> Any:
    """Return the class of transformers that makes and reads a shape's models."""
    import transformers

    vision = "vision_config" in SHAPES[shape]
    return transformers.AutoModelForImageTextToText if vision else transformers.AutoModelForCausalLM


def write_text(folder: Path, target: Path, rows: int, length: int, seed: int = 0) -> None:
    """Write texts that a model samples itself, a line each as swiftrl reads them.

    Args:
        folder: the model.
        target: a file of JSON lines.
        rows: how many.
        length: tokens of each as sampled; the tokenizer may read them as somewhat other ones.
        seed: of the draw.
    """
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    shape = json.loads((folder / "config.json").read_text())["model_type"]
    model = model_class(shape).from_pretrained(folder, dtype=torch.float32)
    special = list(range(COMMON["eos_token_id"], COMMON["vocab_size"]))
    torch.manual_seed(seed)
    with target.open("w") as file:
        for start in range(0, rows, 32):
            first = torch.randint(3, COMMON["eos_token_id"], (min(32, rows - start), 1))
            ids = model.generate(
                first,
                attention_mask=torch.ones_like(first),
                do_sample=True,
                top_k=0,
                max_new_tokens=length - 1,
                suppress_tokens=special,
            )
            for text in tokenizer.batch_decode(ids):
                file.write(json.dumps({"text": text}) + "\n")


if __name__ == "__main__":
    for chosen in sys.argv[2:] or SHAPES:
        write_model(Path(sys.argv[1]) / chosen, chosen)
