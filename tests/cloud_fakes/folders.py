"""Small folders with a model's files, whose weights are random bytes of some size."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path


def weights(path: Path, size: int, seed: int = 0, names: tuple[str, ...] = ("a.weight",)) -> None:
    """Write a safetensors file of about `size` random bytes."""
    each = size // len(names) // 2 * 2
    header, offset = {}, 0
    for name in names:
        header[name] = {
            "dtype": "BF16", "shape": [each // 2], "data_offsets": [offset, offset + each]
        }  # fmt: skip
        offset += each
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + random.Random(seed).randbytes(offset))


def model(folder: Path, size: int = 2**20, seed: int = 0, **config: object) -> Path:
    """Write a model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], **config}
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    weights(folder / "model.safetensors", size, seed)
    return folder


def adapter(folder: Path, base: Path, rank: int = 8, **config: object) -> Path:
    """Write a LoRA adapter's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "peft_type": "LORA", "r": rank, "lora_alpha": 16, "base_model_name_or_path": str(base),
        "target_modules": ["q_proj", "v_proj"], "modules_to_save": None, "rank_pattern": {},
        "use_dora": False, "bias": "none", **config,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(values))
    stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    weights(folder / "adapter_model.safetensors", 4096, 1, (f"{stem}A.weight", f"{stem}B.weight"))
    (folder / "chat_template.jinja").write_text((base / "chat_template.jinja").read_text())
    return folder
