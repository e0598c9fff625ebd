"""The rules of Bailian's LoRA import, checked on the files before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftrl.export.publish.weights import headers_of, read_json

__all__ = ["BASES", "LISTED_ON", "adapter_problems"]

LISTED_ON = "2026-11-22"
"""Day on which the vendor's pages were read."""

BASES: Mapping[str, str] = {
    "Qwen3-32B": "qwen3-32b",
    "Qwen3-14B": "qwen3-14b",
    "Qwen3-8B": "qwen3-8b",
    "Qwen3-4B-Instruct-2507": "qwen3-4b-instruct-2507",
    "Qwen3-VL-8B-Instruct": "qwen3-vl-8b-instruct",
    "Qwen2.5-72B-Instruct": "qwen2.5-72b-instruct",
    "Qwen2.5-32B-Instruct": "qwen2.5-32b-instruct",
    "Qwen2.5-14B-Instruct": "qwen2.5-14b-instruct",
    "Qwen2.5-7B-Instruct": "qwen2.5-7b-instruct",
    "Qwen2.5-VL-72B-Instruct": "qwen2.5-vl-72b-instruct",
    "Qwen2.5-VL-7B-Instruct": "qwen2.5-vl-7b-instruct",
}
"""Name on the hubs -> name in Bailian (region Beijing)."""

_RANKS = (8, 16, 32, 64)


def adapter_problems(adapter: Path, base: Path | None, *, any_dtype: bool) -> list[str]:
    """Return which rules an adapter does not keep.

    Args:
        adapter: its folder.
        base: folder of its base model, for the chat template and the tokenizer.
        any_dtype: whether weights of another type than 16 bits are sent as they are.
    """
    config = read_json(adapter / "adapter_config.json")
    problems = _config_problems(config)
    tensors = headers_of(adapter / "adapter_model.safetensors")
    problems += _tensor_problems(tensors, int(config.get("r") or 0))
    problems += [] if any_dtype else _dtype_problems(tensors)
    if base is None:
        return [*problems, "the base model's folder is not known (its config.json is sent too, and "
                "its chat template compared): give --model FOLDER."]  # fmt: skip
    if not (base / "config.json").is_file():
        problems.append(f"{base}: holds no config.json; it is sent with the adapter.")
    for name in ("chat_template.jinja", "added_tokens.json"):
        if _text(adapter / name, base / name):
            problems.append(
                f"{name} differs from the base model's: the service uses the base's own template "
                "and tokens, so the adapter would see other prompts than in training."
            )
    return problems


def _config_problems(config: Mapping[str, Any]) -> list[str]:
    problems = []
    if config.get("peft_type") != "LORA":
        problems.append(f"peft_type is {config.get('peft_type')}; only LORA is taken.")
    if config.get("r") not in _RANKS:
        problems.append(f"the rank is {config.get('r')}; it must be one of 8, 16, 32, 64: train "
                        "with one of them.")  # fmt: skip
    for name, why in (
        ("rank_pattern", "ranks must be the same everywhere"),
        ("alpha_pattern", "alphas must be the same everywhere"),
        ("modules_to_save", "only LoRA weights are taken, no whole layers"),
        ("trainable_token_indices", "new tokens are not taken"),
        ("use_dora", "DoRA is not taken"),
    ):
        if config.get(name):
            problems.append(f"{name} is {config[name]}: {why}.")
    if config.get("bias", "none") != "none":
        problems.append(f"bias is {config['bias']}: trained biases are not taken.")
    return problems


def _tensor_problems(tensors: Mapping[str, Mapping[str, Any]], rank: int) -> list[str]:
    problems = []
    others = [name for name in tensors if ".lora_A." not in name and ".lora_B." not in name]
    if others:
        problems.append(f"adapter_model.safetensors holds {others[0]}: only LoRA weights are "
                        "taken.")  # fmt: skip
    visual = [name for name in tensors if ".visual." in name or ".vision_tower." in name]
    if visual:
        problems.append(f"adapter_model.safetensors holds {visual[0]}: the vision tower must not "
                        "be trained.")  # fmt: skip
    for name, entry in tensors.items():
        shape = entry["shape"]
        found = shape[0] if ".lora_A." in name else shape[-1] if ".lora_B." in name else rank
        if len(shape) == 2 and found != rank:
            problems.append(f"{name} has rank {found}; adapter_config.json says {rank}.")
            break
    return problems


def _dtype_problems(tensors: Mapping[str, Mapping[str, Any]]) -> list[str]:
    wide = [name for name, entry in tensors.items() if entry["dtype"] not in ("BF16", "F16")]
    if not wide:
        return []
    return [
        f"{wide[0]} is {tensors[wide[0]]['dtype']}; the vendor's examples are BF16: save the "
        "adapter so, or send it as it is by --allow_unlisted true."
    ]


def _text(ours: Path, base: Path) -> bool:
    """Return whether a file that is there differs from the base's."""
    if not ours.is_file():
        return False
    return not base.is_file() or ours.read_text().strip() != base.read_text().strip()
