"""In which type matrix products are fastest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

__all__ = ["exact_sums", "product_dtype", "rows_in_cache"]

# Absent from torch before 2.9.
_PRODUCTS: Any = getattr(torch.backends.mkldnn, "matmul", None)
_PRECISION = "fp32_precision"
_CACHED = 2**18
"""Float32 numbers of a strip: 1 MiB, the second-level cache of a core."""


def product_dtype(device: torch.device, compute_dtype: torch.dtype) -> torch.dtype:
    """Return the type for the matrix products of a computation in `compute_dtype`.

    A processor without matrix units may multiply 16-bit numbers at half the speed of float32 ones
    (80 against 155 GFLOP/s a core, oneDNN on an Intel Xeon's AVX-512 bf16 instructions), so that
    widening the factors first is faster, and more exact. AMD's run the same instructions at full
    width (470 against 100 GFLOP/s on an EPYC of family 26).
    """
    narrow = compute_dtype in (torch.bfloat16, torch.float16)
    if not narrow or device.type != "cpu":
        return compute_dtype
    # torch 2.10 cannot say what the processor has: then nothing is widened.
    able = getattr(torch.cpu, "get_capabilities", dict)()
    if able.get("architecture") != "x86_64":
        return compute_dtype
    unit = "amx_bf16" if compute_dtype == torch.bfloat16 else "amx_fp16"
    full_width = (
        compute_dtype == torch.bfloat16
        and able.get("avx512_bf16")
        and str(able.get("cpu_name")).startswith("AMD")
    )
    return compute_dtype if able.get(unit) or full_width else torch.float32


def exact_sums(
    device: torch.device, dtype: torch.dtype
) -> Callable[[], AbstractContextManager[None]] | None:
    """Return a context in which products of float32 factors multiply in `dtype`, fast.

    Within it, factors whose values fit `dtype` give float32 products that are never rounded to
    it. None where the hardware or this torch has no such mode.
    """
    native = device.type == "cpu" and dtype == torch.bfloat16
    if not native or product_dtype(device, dtype) != dtype or not hasattr(_PRODUCTS, _PRECISION):
        return None
    return _bfloat16_factors


def rows_in_cache(device: torch.device, columns: int, rows: int) -> int:
    """Return how many of `rows` float32 rows to work on at a time.

    A processor goes through a strip that its cache holds several times faster than through
    memory; an accelerator wants as many rows as there are.
    """
    return max(min(_CACHED // columns, rows), 1) if device.type == "cpu" else rows


@contextmanager
def _bfloat16_factors() -> Iterator[None]:
    before = getattr(_PRODUCTS, _PRECISION)
    setattr(_PRODUCTS, _PRECISION, "bf16")
    try:
        yield
    finally:
        setattr(_PRODUCTS, _PRECISION, before)
