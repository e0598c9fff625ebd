"""Random models for `gpu.py`, made on the device: nothing is downloaded, and none lies on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prepare import VOCABULARY, write_rows, write_tokenizer

_ENDS = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": (
        "Qwen2",
        {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCABULARY,
         "max_position_embeddings": 8192, "tie_word_embeddings": False},
    ),
    "qwen2.5-0.5b": (
        "Qwen2",
        {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
         "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936,
         "max_position_embeddings": 32768, "tie_word_embeddings": True},
    ),
    "qwen2.5-7b": (
        "Qwen2",
        {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
         "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
         "max_position_embeddings": 32768, "tie_word_embeddings": False},
    ),
    "llama-70b": (
        "Llama",
        {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
         "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 128256,
         "max_position_embeddings": 8192, "tie_word_embeddings": False},
    ),
}  # fmt: skip


def config_of(name: str) -> Any:
    """Return transformers' configuration of a shape."""
    import transformers

    kind, sizes = SHAPES[name]
    config = getattr(transformers, f"{kind}Config")(**_ENDS, **sizes)
    config.architectures = [f"{kind}ForCausalLM"]
    return config


def products(name: str) -> int:
    """Return the weights that every token is multiplied with: all linear layers but the head."""
    _, s = SHAPES[name]
    width, kv = s["hidden_size"], s["num_key_value_heads"] / s["num_attention_heads"]
    attention = width * width * (2 + 2 * kv)
    return int(s["num_hidden_layers"] * (attention + 3 * width * s["intermediate_size"]))


def write_folder(folder: Path, name: str, *, prompt: int, reply: int, rows: int) -> None:
    """Write configuration, tokenizer and rows: what both contestants read. No weights."""
    model = folder / "model"
    model.mkdir(parents=True, exist_ok=True)
    write_tokenizer(model)
    config = config_of(name).to_dict() | {"dtype": "bfloat16"}
    (model / "config.json").write_text(json.dumps(config, default=str), encoding="utf-8")
    write_rows(folder, prompt=prompt, reply=reply, count=rows)


def make(config: Any, device: Any) -> Any:
    """Return a random model in bfloat16, made where it stays."""
    import torch
    import transformers

    architecture = getattr(transformers, config.architectures[0])
    torch.manual_seed(0)
    with torch.device(device):
        return architecture._from_config(config, dtype=torch.bfloat16).eval()


def make_nf4(config: Any, device: Any) -> Any:
    """Return a model whose linear layers are random NF4 codes, made layer by layer.

    No 16-bit weight of them ever exists. Blocks are as large as those of weights around 0.02.
    """
    import torch
    import transformers
    from torch import nn

    from swiftrl.models.targets import linear_names
    from swiftrl.quant import nf4
    from swiftrl.quant.linear import QuantLinear

    with torch.device("meta"):
        model = getattr(transformers, config.architectures[0])._from_config(
            config, dtype=torch.bfloat16
        )
    torch.manual_seed(0)
    for name in linear_names(model):
        old = model.get_submodule(name)
        layout = nf4.layout(old.out_features, old.in_features)
        layer = QuantLinear(
            old.in_features, old.out_features, layout, nf4.dequantise, device=device
        )
        layer.codes.random_(0, 256)
        layer.absmax.random_(0, 256)
        layer.absmax_scale.fill_(0.01)
        layer.absmax_mean.fill_(0.05)
        layer.bias, layer.dtype = old.bias, torch.bfloat16
        model.set_submodule(name, layer)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.is_meta:
                values = torch.empty(parameter.shape, dtype=torch.bfloat16, device=device)
                values.fill_(1.0) if parameter.dim() == 1 else values.normal_(std=0.02)
                if name == "bias":
                    values.zero_()
                setattr(module, name, nn.Parameter(values, requires_grad=False))
    rotary = model.model.rotary_emb
    with torch.device(device):
        model.model.rotary_emb = type(rotary)(config)
    return model.eval()


def save(name: str, folder: Path, device: Any) -> None:
    """Write a random model with its weights, for `swiftrl export`."""
    make(config_of(name), device).save_pretrained(folder)
    write_tokenizer(folder)
