"""AutoAWQ, no longer developed: AWQ in its own layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swiftrl.export.engine import EngineFacts

__all__ = ["ENGINE", "quantise"]

ENGINE: EngineFacts = {
    "package": "autoawq",
    "imports": "awq",
    "writes": {"awq": ("awq",)},
    "takes": ("modules_to_not_convert",),
    "environment": {},
    "note": "autoawq 0.2.9, its last version, imports beside transformers 5.23.",
}


def quantise(request: dict[str, Any]) -> None:
    """Quantise the model of a request and write it."""
    from importlib import import_module

    from transformers import AutoTokenizer

    package: Any = import_module("awq")
    if request["bits"] != 4:
        raise SystemExit("autoawq makes 4 bits only")
    tokenizer = AutoTokenizer.from_pretrained(request["model"])
    model = package.AutoAWQForCausalLM.from_pretrained(
        request["model"], device_map=request["device"], torch_dtype=request["dtype"]
    )
    config = {
        "zero_point": not request["symmetric"],
        "q_group_size": request["group_size"],
        "w_bit": 4,
        "version": "GEMM",
        "modules_to_not_convert": request["skipped"] or None,
    }
    longest = max(map(len, request["rows"]))
    model.quantize(
        tokenizer,
        quant_config=config,
        calib_data=request["rows"],
        max_calib_samples=len(request["rows"]),
        max_calib_seq_len=longest,
        n_parallel_calib_samples=1,
    )
    model.save_quantized(request["output"], shard_size=request["max_shard_size"])
