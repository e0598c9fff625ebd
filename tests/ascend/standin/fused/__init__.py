"""What torch_npu's fused operators compute, in plain PyTorch, within the limits of the real ones.

A call that a card would refuse (types, layouts, shapes, sizes: Ascend's reference of operators)
fails here too. Gradients flow through the reference unless the operator has none.
"""

from collections.abc import Callable, Mapping
from typing import Any

from standin.fused.attention import npu_fusion_attention
from standin.fused.experts import (
    npu_grouped_matmul,
    npu_moe_token_permute,
    npu_moe_token_unpermute,
)
from standin.fused.layers import (
    npu_add_rms_norm,
    npu_cross_entropy_loss,
    npu_format_cast,
    npu_gelu,
    npu_rms_norm,
    npu_rotary_mul,
    npu_swiglu,
)
from standin.fused.quantised import (
    npu_dynamic_quant,
    npu_quant_matmul,
    npu_weight_quant_batchmatmul,
)

__all__ = ["OPERATORS"]

OPERATORS: Mapping[str, Callable[..., Any]] = {
    kernel.__name__: kernel
    for kernel in (
        npu_add_rms_norm,
        npu_cross_entropy_loss,
        npu_dynamic_quant,
        npu_format_cast,
        npu_fusion_attention,
        npu_gelu,
        npu_grouped_matmul,
        npu_moe_token_permute,
        npu_moe_token_unpermute,
        npu_quant_matmul,
        npu_rms_norm,
        npu_rotary_mul,
        npu_swiglu,
        npu_weight_quant_batchmatmul,
    )
}
