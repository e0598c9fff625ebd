"""Adapters folded into the weights they change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swiftrl.core import log
from swiftrl.core.errors import ModelError
from swiftrl.models.quiet import quiet_peft
from swiftrl.models.tied_adapters import repeated_layers

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

__all__ = ["merge"]

# Largest relative difference of logits that rounding the merged weights explains, by dtype.
_MERGE_TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}


def merge(adapted: PeftModel, *, verify: bool = True, unpack: bool = False) -> PreTrainedModel:
    """Return the base model with its active adapters folded into the weights, in place.

    Each layer is merged in float32 and then cast back, so that a bfloat16 weight is rounded once.

    Args:
        adapted: a model with adapters.
        verify: compare the logits of a probe sequence before and after.
        unpack: a quantised base is unpacked first, to weights in the model's type.

    Raises:
        ModelError: the base is quantised, or the merged model computes something else.
    """
    base: Any = adapted.get_base_model()
    tuner: Any = adapted.base_model
    adapted.eval()
    compute = base.dtype
    before = _probe_logits(adapted, compute) if verify else None
    if getattr(base, "is_quantized", False):
        _unpack(base, asked=unpack)
    _merge_layers(adapted)
    with quiet_peft():
        merged: Any = tuner.merge_and_unload()
    if before is not None:
        _compare(before, _probe_logits(merged, compute), str(compute).removeprefix("torch."))
    return merged


def _unpack(base: Any, *, asked: bool) -> None:
    from swiftrl.models.dequantise import dequantise

    if asked and dequantise(base):
        return
    raise ModelError(
        "adapters cannot be merged into quantised weights as they are. Merge them into the weights "
        "that these stand for (--dequantise true, several times as large), or into the original "
        "model (--model ORIGINAL); either can be quantised again."
    )


def _merge_layers(adapted: Any) -> None:
    """Merge each layer in float32, and give what trained in float32 its module's own type back."""
    import torch
    from peft.tuners.lora import LoraLayer
    from peft.utils import ModulesToSaveWrapper

    firsts = {id(other): first for other, first in repeated_layers(adapted)}
    for module in adapted.modules():
        if id(module) in firsts:
            # Its weight has the adapter already.
            module.merged_adapters = list(firsts[id(module)].merged_adapters)
        elif isinstance(module, LoraLayer):
            layer: Any = module.get_base_layer()
            # Experts are one module with stacked weights, and none called `weight`.
            dtype = next(layer.parameters()).dtype
            layer.to(torch.float32)
            module.merge()
            layer.to(dtype)
        elif isinstance(module, ModulesToSaveWrapper):
            module.modules_to_save.to(next(module.original_module.parameters()).dtype)
        elif getattr(module, "bias", None) is not None and hasattr(module, "weight"):
            module.bias.data = module.bias.data.to(module.weight.dtype)


def _probe_logits(model: Any, dtype: torch.dtype) -> torch.Tensor:
    """Return float32 logits [T, V] of up to 64 tokens spread over the vocabulary."""
    import torch

    rows = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(0, rows, max(1, rows // 64), device=model.device)[:64]
    # Modules trained in full are float32 beside a base in a smaller type.
    mixed = torch.autocast(model.device.type, dtype=dtype, enabled=dtype != torch.float32)
    with torch.no_grad(), mixed:
        return model(input_ids=ids[None], use_cache=False).logits[0].float()


def _compare(before: torch.Tensor, after: torch.Tensor, dtype: str) -> None:
    error = float((after - before).norm() / before.norm().clamp_min(1e-12))
    limit = _MERGE_TOLERANCE.get(dtype, 1e-1)
    if not error <= limit:
        raise ModelError(
            f"the merged model differs from the one with adapters: relative error of its logits "
            f"{error:.2g}, expected at most {limit:g} in {dtype}. Nothing was saved. Tied "
            "embeddings that the adapter trained apart are a known cause."
        )
    log.info(f"Merged: logits agree with the adapted model to {error:.1g} (relative, {dtype}).")
