"""llm-compressor: GPTQ as compressed-tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swiftrl.export.engine import EngineFacts

__all__ = ["ENGINE", "quantise"]

ENGINE: EngineFacts = {
    "package": "llmcompressor",
    "imports": "llmcompressor",
    "writes": {"gptq": ("compressed_tensors",)},
    "takes": ("damp_percent", "modules_to_not_convert"),
    "environment": {},
    "note": "llmcompressor 0.14 wants transformers 5.15 to 5.17, older than swiftrl's: give an "
    "environment of its own by --quant_python.",
}


def quantise(request: dict[str, Any]) -> None:
    """Quantise the model of a request and write it."""
    from importlib import import_module

    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM

    package: Any = import_module("llmcompressor")
    modifiers: Any = import_module("llmcompressor.modifiers.gptq")
    schemes: Any = import_module("compressed_tensors.quantization")
    dtype = getattr(torch, request["dtype"])
    model = AutoModelForCausalLM.from_pretrained(
        request["model"], dtype=dtype, device_map=request["device"]
    )
    grouped = request["group_size"] != -1
    weights = schemes.QuantizationArgs(
        num_bits=request["bits"],
        symmetric=request["symmetric"],
        strategy="group" if grouped else "channel",
        group_size=request["group_size"] if grouped else None,
    )
    scheme = schemes.QuantizationScheme(targets=["Linear"], weights=weights)
    damping = {} if request["damp_percent"] is None else {"dampening_frac": request["damp_percent"]}
    recipe = modifiers.GPTQModifier(
        config_groups={"group_0": scheme}, ignore=["lm_head", *request["skipped"]], **damping
    )
    rows = Dataset.from_list(
        [{"input_ids": row, "attention_mask": [1] * len(row)} for row in request["rows"]]
    )
    package.oneshot(
        model=model,
        dataset=rows,
        recipe=recipe,
        max_seq_length=max(map(len, request["rows"])),
        num_calibration_samples=len(request["rows"]),
        shuffle_calibration_samples=False,
    )
    model.save_pretrained(
        request["output"], save_compressed=True, max_shard_size=request["max_shard_size"]
    )
