"""AutoGPTQ, no longer developed: GPTQ in the first version of the layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swiftrl.export.engine import EngineFacts

__all__ = ["ENGINE", "quantise"]

ENGINE: EngineFacts = {
    "package": "auto-gptq",
    "imports": "auto_gptq",
    "writes": {"gptq": ("gptq",)},
    "takes": ("desc_act", "damp_percent"),
    "environment": {},
    "note": "auto-gptq 0.7.1, its last version, does not import beside transformers 5, which no "
    "longer has `no_init_weights`: give an environment with transformers 4.4x by --quant_python, "
    "or take --quant_backend gptqmodel, which goes on with it.",
}


def quantise(request: dict[str, Any]) -> None:
    """Quantise the model of a request and write it."""
    from importlib import import_module

    import torch

    package: Any = import_module("auto_gptq")
    config = package.BaseQuantizeConfig(
        bits=request["bits"],
        group_size=request["group_size"],
        sym=request["symmetric"],
        desc_act=request["desc_act"],
        damp_percent=0.01 if request["damp_percent"] is None else request["damp_percent"],
    )
    model = package.AutoGPTQForCausalLM.from_pretrained(
        request["model"], config, torch_dtype=getattr(torch, request["dtype"])
    )
    rows = [torch.tensor([row]) for row in request["rows"]]
    examples = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in rows]
    model.quantize(examples, use_triton=False, cache_examples_on_gpu=request["device"] != "cpu")
    model.save_quantized(request["output"], use_safetensors=True)
